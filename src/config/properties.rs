//! The `.properties` dialect of Java, byte for byte.
//!
//! Reads bytes as ISO-8859-1 and gives the entries in the order of their first appearance. It never looks at
//! what an entry means.
//!
//! Written by hand: the crate `java-properties` reads bytes as windows-1252 (0x80 to 0x9f differ), drops any
//! Unicode white space after a continuation, gives a NUL for a backslash at the end of the file, and refuses
//! surrogates. It is the second reader of the property tests where the two must agree.

/// A `\u` escape was not followed by four hexadecimal digits.
///
/// Source: JDK 17 `java.util.Properties.loadConvert`, the whole file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Malformed \\uxxxx encoding. (line {line}: expected four hexadecimal digits after `\\u`; write `\\\\u` for a backslash)"
)]
pub struct Malformed {
    /// Number of the line where the entry begins, from 1.
    pub line: usize,
}

/// Reads a whole file. Equal keys: the last value wins, the place of the first stays.
///
/// # Errors
/// A broken `\u` escape; nothing else is wrong in this format.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut lines = Lines { bytes, at: 0, line: 1 };
    while let Some((number, line)) = lines.next_logical() {
        let (key, value) = split(&line);
        let malformed = |()| Malformed { line: number };
        let key = unescape(key).map_err(malformed)?;
        let value = unescape(value).map_err(malformed)?;
        if let Some(&place) = places.get(&key) {
            let entry: &mut (String, String) = &mut entries[place];
            entry.1 = value;
        } else {
            places.insert(key.clone(), entries.len());
            entries.push((key, value));
        }
    }
    Ok(entries)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        let cr_before_lf = byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n');
        if matches!(byte, b'\n' | b'\r') && !cr_before_lf {
            self.line += 1;
        }
        Some(byte)
    }

    /// Gives the next line that is neither blank nor comment, with its continuations and without their marks.
    ///
    /// Source: JDK 17 `Properties.LineReader.readLine`, including its two corners: a line that is nothing but a
    /// continuation mark may be followed by a comment, and at the end of the file it is an entry with empty key.
    fn next_logical(&mut self) -> Option<(usize, Vec<u8>)> {
        let mut line = Vec::new();
        let mut number = self.line;
        let (mut skip_blanks, mut continued, mut after_backslash) = (true, false, false);
        while let Some(byte) = self.next_byte() {
            let ends = matches!(byte, b'\n' | b'\r');
            if skip_blanks {
                if is_blank(byte) || (ends && !continued) {
                    continue;
                }
                skip_blanks = false;
                continued = false;
            }
            if line.is_empty() {
                number = self.line;
                if matches!(byte, b'#' | b'!') {
                    while self.next_byte().is_some_and(|b| !matches!(b, b'\n' | b'\r')) {}
                    skip_blanks = true;
                    continue;
                }
            }
            if !ends {
                line.push(byte);
                after_backslash = byte == b'\\' && !after_backslash;
            } else if line.is_empty() {
                skip_blanks = true;
            } else if after_backslash {
                line.pop();
                (skip_blanks, continued, after_backslash) = (true, true, false);
                if self.at == self.bytes.len() {
                    return Some((number, line));
                }
                if byte == b'\r' && self.bytes.get(self.at) == Some(&b'\n') {
                    self.next_byte();
                }
            } else {
                return Some((number, line));
            }
        }
        if line.is_empty() {
            return None;
        }
        if after_backslash {
            line.pop();
        }
        Some((number, line))
    }
}

/// Cuts a logical line into the still escaped key and value.
///
/// Source: JDK 17 `Properties.load0`.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut key_end = 0;
    let mut after_backslash = false;
    while let Some(&byte) = line.get(key_end) {
        if !after_backslash && (is_blank(byte) || matches!(byte, b'=' | b':')) {
            break;
        }
        after_backslash = byte == b'\\' && !after_backslash;
        key_end += 1;
    }
    let mut value = &line[key_end..];
    let mut separator_seen = false;
    while let [first, rest @ ..] = value {
        if matches!(first, b'=' | b':') && !separator_seen {
            separator_seen = true;
        } else if !is_blank(*first) {
            break;
        }
        value = rest;
    }
    (&line[..key_end], value)
}

/// Turns Latin-1 bytes with escapes into text. A half of a surrogate pair alone becomes U+FFFD.
fn unescape(bytes: &[u8]) -> Result<String, ()> {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match rest.next() {
            Some(b'u') => units.push(hex_unit(&mut rest)?),
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0c),
            Some(other) => units.push(u16::from(other)),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

fn hex_unit(rest: &mut impl Iterator<Item = u8>) -> Result<u16, ()> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or(())?;
        unit = unit * 16 + u16::try_from(digit).map_err(drop)?;
    }
    Ok(unit)
}
