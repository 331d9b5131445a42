//! Texts to lists: tags of tables and names of metric dimensions, as the Java daemon reads them. Pure.

use serde::Serialize;

use super::values::{split, trim};

/// One tag of a DynamoDB table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tag {
    /// May be empty.
    pub key: String,
    /// May be empty.
    pub value: String,
}

/// The tags of `text`, and the pieces that are none.
///
/// Source: daemon 3.5.1 `TagConverter`.
#[must_use]
pub fn tags(text: &str) -> (Vec<Tag>, Vec<String>) {
    let (mut tags, mut refused) = (Vec::new(), Vec::new());
    for piece in split(trim(text), ',') {
        let piece = trim(piece);
        if let [key, value] = split(piece, '=')[..] {
            tags.push(Tag { key: trim(key).to_owned(), value: trim(value).to_owned() });
        } else {
            refused.push(piece.to_owned());
        }
    }
    (tags, refused)
}

/// The names in `text`, sorted, each once.
///
/// Source: commons-beanutils 1.11 `ArrayConverter.parseElements`, which runs a `java.io.StreamTokenizer` with its
/// default table: `_` and other punctuation separate, `/` begins a comment, quotes keep blanks.
#[must_use]
pub fn names(text: &str) -> Vec<String> {
    let trimmed = trim(text);
    let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(trimmed);
    let characters: Vec<char> = inner.chars().collect();
    let mut names = std::collections::BTreeSet::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        at += 1;
        if is_word(first) {
            let begin = at - 1;
            while characters.get(at).copied().is_some_and(is_word) {
                at += 1;
            }
            names.insert(characters[begin..at].iter().collect::<String>());
        } else if matches!(first, '"' | '\'') {
            names.insert(quoted(&characters, &mut at, first));
        } else if first == '/' {
            while characters.get(at).is_some_and(|c| !matches!(c, '\n' | '\r')) {
                at += 1;
            }
        }
    }
    names.into_iter().collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-') || c >= '\u{a0}'
}

/// Reads up to the closing quote, the end of the line or the end of the text.
fn quoted(characters: &[char], at: &mut usize, quote: char) -> String {
    let mut name = String::new();
    while let Some(&c) = characters.get(*at) {
        if matches!(c, '\n' | '\r') {
            return name;
        }
        *at += 1;
        if c == quote {
            return name;
        }
        name.push(if c == '\\' { escaped(characters, at) } else { c });
    }
    name
}

fn escaped(characters: &[char], at: &mut usize) -> char {
    let Some(&c) = characters.get(*at) else { return '\\' };
    *at += 1;
    let Some(first) = c.to_digit(8) else {
        return match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            other => other,
        };
    };
    let mut code = first;
    let most = if first <= 3 { 2 } else { 1 };
    for _ in 0..most {
        let Some(next) = characters.get(*at).and_then(|c| c.to_digit(8)) else { break };
        code = code * 8 + next;
        *at += 1;
    }
    char::from_u32(code).unwrap_or('\u{fffd}')
}
