//! What `java.net.URI` calls a URI, with its words for what is wrong. Pure.
//!
//! Source: JDK 17 `java.net.URI.Parser`, for endpoints, which the reference takes as they are.

use std::net::Ipv6Addr;

/// Checks the syntax of `text`; gives its scheme if it has one.
///
/// # Errors
/// The message of Java's `URISyntaxException`.
pub fn scheme(text: &str) -> Result<Option<String>, String> {
    Parser { text, chars: text.chars().collect() }.parse()
}

const MARK: &str = "_-!.~'()*";
const REG_NAME: &str = "$,;:@&=+";
const PATH: &str = ":@&=+$,;/";
const URIC: &str = ";/?:@&=+$,[]";

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
}

impl Parser<'_> {
    fn parse(&self) -> Result<Option<String>, String> {
        let end = self.chars.len();
        let colon = self.find(0, end, "/?#:");
        let (mut at, mut scheme) = (0, None);
        let opaque = self.chars.get(colon) == Some(&':');
        if opaque {
            if colon == 0 {
                return self.fail("Expected scheme name", 0);
            }
            for index in 0..colon {
                let c = self.chars[index];
                if !(c.is_ascii_alphabetic() || index > 0 && (c.is_ascii_digit() || "+-.".contains(c))) {
                    return self.fail("Illegal character in scheme name", index);
                }
            }
            scheme = Some(self.chars[..colon].iter().collect());
            at = colon + 1;
        }
        if opaque && self.chars.get(at) != Some(&'/') {
            let fragment = self.find(at, end, "#");
            if fragment <= at {
                return self.fail("Expected scheme-specific part", at);
            }
            self.check(at, fragment, URIC, "opaque part")?;
            at = fragment;
        } else {
            at = self.hierarchical(at)?;
        }
        if self.chars.get(at) == Some(&'#') {
            self.check(at + 1, end, URIC, "fragment")?;
        }
        Ok(scheme)
    }

    fn hierarchical(&self, start: usize) -> Result<usize, String> {
        let end = self.chars.len();
        let mut at = start;
        if self.chars[at..].starts_with(&['/', '/']) {
            at += 2;
            let authority_end = self.find(at, end, "/?#");
            if authority_end > at {
                self.authority(at, authority_end)?;
            } else if at >= end {
                return self.fail("Expected authority", at);
            }
            at = authority_end;
        }
        let path_end = self.find(at, end, "?#");
        self.check(at, path_end, PATH, "path")?;
        if self.chars.get(path_end) == Some(&'?') {
            let query_end = self.find(path_end, end, "#");
            self.check(path_end + 1, query_end, URIC, "query")?;
            return Ok(query_end);
        }
        Ok(path_end)
    }

    fn authority(&self, start: usize, end: usize) -> Result<(), String> {
        let bracket = (start..end).find(|&index| self.chars[index] == '[');
        let closing = self.chars[start..end].contains(&']');
        let Some(bracket) = bracket else {
            return match self.scan(start, end, REG_NAME)? {
                last if last == end => Ok(()),
                _ => self.fail("Illegal character in authority", start),
            };
        };
        let begins_host = bracket == start || self.chars[bracket - 1] == '@';
        if !begins_host {
            return self.fail("Illegal character in authority", start);
        }
        let Some(close) = (bracket..end).find(|&index| self.chars[index] == ']').filter(|_| closing) else {
            return self.fail("Expected closing bracket for IPv6 address", end);
        };
        let address: String = self.chars[bracket + 1..close].iter().collect();
        let address = address.split('%').next().unwrap_or_default();
        if address.parse::<Ipv6Addr>().is_err() {
            return self.fail("Malformed IPv6 address", bracket + 1);
        }
        let port: String = self.chars[close + 1..end].iter().collect();
        let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "?" });
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(());
        }
        self.fail("Expected end of authority", close + 1)
    }

    fn find(&self, start: usize, end: usize, stops: &str) -> usize {
        (start..end).find(|&index| stops.contains(self.chars[index])).unwrap_or(end)
    }

    fn check(&self, start: usize, end: usize, allowed: &str, part: &str) -> Result<(), String> {
        let last = self.scan(start, end, allowed)?;
        if last < end { self.fail(&format!("Illegal character in {part}"), last) } else { Ok(()) }
    }

    /// The first place from `start` that is neither allowed nor an escape.
    fn scan(&self, start: usize, end: usize, allowed: &str) -> Result<usize, String> {
        let mut at = start;
        while at < end {
            let c = self.chars[at];
            if c == '%' {
                let escape = self.chars.get(at + 1..at + 3).filter(|_| at + 3 <= end);
                if !escape.is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit)) {
                    return self.fail("Malformed escape pair", at);
                }
                at += 3;
            } else if c.is_ascii_alphanumeric() || MARK.contains(c) || allowed.contains(c) || is_other(c) {
                at += 1;
            } else {
                break;
            }
        }
        Ok(at)
    }

    fn fail<T>(&self, reason: &str, index: usize) -> Result<T, String> {
        Err(format!("{reason} at index {index}: {}", self.text))
    }
}

/// Visible and not ASCII.
fn is_other(c: char) -> bool {
    c > '\u{80}' && !c.is_control() && !c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}')
}
