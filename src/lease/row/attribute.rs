//! Single attributes: typed reading with a sentence when it fails, and the texts of numbers.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{KEY, Row, Unreadable};

/// DynamoDB keeps no number of this size or above. Source: DynamoDB data types, numbers up to 9.99E+125.
const TOO_LARGE: f64 = 1e126;
/// From here on a `f64` has no six decimals left to print.
const ONLY_WHOLE: f64 = 1e15;
/// Longest piece of a foreign value that goes into a sentence.
const SHOWN: usize = 60;

/// A text attribute.
#[must_use]
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A whole number attribute.
#[must_use]
pub fn whole(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A number with at most six decimals and no needless zeros; `None` if DynamoDB could not keep it.
///
/// Source: LEASES.md 1.3, `throughputKBps` and `sts` are rounded to six decimals.
#[must_use]
pub fn number_text(value: f64) -> Option<String> {
    if !value.is_finite() || value.abs() >= TOO_LARGE {
        return None;
    }
    if value.abs() >= ONLY_WHOLE {
        return Some(format!("{value:e}"));
    }
    let digits = format!("{value:.6}");
    let short = digits.trim_end_matches('0').trim_end_matches('.');
    Some(if short == "-0" { "0".to_owned() } else { short.to_owned() })
}

/// Reads a finite number from its text.
#[must_use]
pub fn finite(digits: &str) -> Option<f64> {
    digits.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A row that is being read; remembers its key for the sentences.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    key: &'a str,
    row: &'a Row,
}

impl<'a> Reader<'a> {
    /// Begins with the key.
    ///
    /// # Errors
    /// The row has no text as key.
    pub fn new(row: &'a Row) -> Result<Self, Unreadable> {
        match row.get(KEY).and_then(|key| key.as_s().ok()) {
            Some(key) => Ok(Self { key, row }),
            None => Err(Self { key: "", row }.wrong(KEY, "a text")),
        }
    }

    /// Key of the row.
    #[must_use]
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The sentence about an attribute that is not what it should be.
    #[must_use]
    pub fn wrong(&self, name: &str, expected: &str) -> Unreadable {
        let found = self.row.get(name).map_or_else(|| "absent".to_owned(), describe);
        let reason = format!("row `{}`: attribute `{name}` is {found}, expected {expected}", shorten(self.key));
        Unreadable { key: self.key.to_owned(), reason }
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn need<T>(&self, name: &str, value: Option<T>, expected: &str) -> Result<T, Unreadable> {
        value.ok_or_else(|| self.wrong(name, expected))
    }

    /// A text, if there.
    ///
    /// # Errors
    /// It is of another type.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Unreadable> {
        let Some(value) = self.row.get(name) else { return Ok(None) };
        value.as_s().map(|text| Some(text.as_str())).map_err(|_| self.wrong(name, "a text"))
    }

    /// A whole number, if there. Source: KCL reads `Long.valueOf`, so a fraction is an error there, too.
    ///
    /// # Errors
    /// It is of another type, has a fraction or does not fit 64 bits.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Unreadable> {
        let Some(value) = self.row.get(name) else { return Ok(None) };
        let number = value.as_n().ok().and_then(|digits| digits.parse().ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "a whole number"))
    }

    /// A number, if there.
    ///
    /// # Errors
    /// It is of another type.
    pub fn number(&self, name: &str) -> Result<Option<f64>, Unreadable> {
        let Some(value) = self.row.get(name) else { return Ok(None) };
        let number = value.as_n().ok().and_then(|digits| finite(digits));
        number.map(Some).ok_or_else(|| self.wrong(name, "a number"))
    }

    /// A set of texts; empty if not there.
    ///
    /// # Errors
    /// It is of another type.
    pub fn texts(&self, name: &str) -> Result<&'a [String], Unreadable> {
        let Some(value) = self.row.get(name) else { return Ok(&[]) };
        value.as_ss().map(Vec::as_slice).map_err(|_| self.wrong(name, "a set of texts"))
    }

    /// An attribute as it is.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a AttributeValue> {
        self.row.get(name)
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may learn new types")]
fn describe(value: &AttributeValue) -> String {
    let kind = match value {
        AttributeValue::B(_) => "binary",
        AttributeValue::Bool(_) => "a truth value",
        AttributeValue::Bs(_) => "a set of binaries",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        AttributeValue::Ns(_) => "a set of numbers",
        AttributeValue::Null(_) => "null",
        AttributeValue::Ss(_) => "a set of texts",
        AttributeValue::S(text) => return format!("the text `{}`", shorten(text)),
        AttributeValue::N(number) => return format!("the number `{}`", shorten(number)),
        _ => "of an unknown type",
    };
    kind.to_owned()
}
