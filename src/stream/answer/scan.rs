//! Goes through JSON in memory, value by value, and makes slices of it.

use std::borrow::Cow;
use std::ops::Range;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{NotUnderstood, plain_record};
use crate::record::{Record, Text};

/// A place in the body.
pub(super) struct Walk<'a> {
    body: &'a Bytes,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Stands at the beginning.
    pub(super) fn new(body: &'a Bytes) -> Self {
        Self { body, at: 0 }
    }

    /// How many bytes it has gone past.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.body.len()
    }

    fn lost<T>(&self) -> Result<T, NotUnderstood> {
        Err(NotUnderstood(self.at))
    }

    fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at += self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    /// Goes past `byte` and the blanks before it, if it comes next.
    fn goes_past(&mut self, byte: u8) -> bool {
        self.blanks();
        let comes = self.rest().first() == Some(&byte);
        self.at += usize::from(comes);
        comes
    }

    pub(super) fn must_pass(&mut self, byte: u8) -> Result<(), NotUnderstood> {
        if self.goes_past(byte) { Ok(()) } else { self.lost() }
    }

    /// Goes past `byte` if it comes next; something must come.
    pub(super) fn next_is(&mut self, byte: u8) -> Result<bool, NotUnderstood> {
        let comes = self.goes_past(byte);
        if !comes && self.is_at_end() { self.lost() } else { Ok(comes) }
    }

    /// Goes past one of two bytes; which.
    pub(super) fn either(&mut self, one: u8, other: u8) -> Result<u8, NotUnderstood> {
        if self.goes_past(one) {
            return Ok(one);
        }
        self.must_pass(other).map(|()| other)
    }

    /// Only blanks may come.
    pub(super) fn must_end(&mut self) -> Result<(), NotUnderstood> {
        self.blanks();
        if self.is_at_end() { Ok(()) } else { self.lost() }
    }

    /// Goes through an object; `each` gets a member's name and must go past its value.
    fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), NotUnderstood>,
    ) -> Result<(), NotUnderstood> {
        self.must_pass(b'{')?;
        if self.goes_past(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            self.must_pass(b':')?;
            each(self, &name)?;
            if self.either(b',', b'}')? == b'}' {
                return Ok(());
            }
        }
    }

    pub(super) fn unless_null<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, NotUnderstood>,
    ) -> Result<Option<T>, NotUnderstood> {
        self.blanks();
        if self.rest().starts_with(b"null") {
            self.at += 4;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The inside of a string that has no escapes, which whoever asks must check.
    fn plain(&mut self) -> Result<Bytes, NotUnderstood> {
        self.must_pass(b'"')?;
        let Some(length) = memchr::memchr(b'"', self.rest()) else { return self.lost() };
        let inside = self.body.slice(self.at..self.at + length);
        self.at += length + 1;
        Ok(inside)
    }

    /// The name of a member; plain ones are looked at once.
    pub(super) fn name(&mut self) -> Result<Cow<'a, [u8]>, NotUnderstood> {
        self.blanks();
        if let Some(inside) = self.rest().strip_prefix(b"\"") {
            let is_plain = |byte: &&u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
            let length = inside.iter().take_while(is_plain).count();
            if inside.get(length) == Some(&b'"') {
                self.at += length + 2;
                return Ok(Cow::Borrowed(&inside[..length]));
            }
        }
        self.string().map(|name| Cow::Owned(name.as_bytes().to_vec()))
    }

    /// A string: a slice of the body, or a copy if it has escapes.
    pub(super) fn string(&mut self) -> Result<Text, NotUnderstood> {
        match self.inside()? {
            Inside::Plain(place) => Text::from_utf8(self.body.slice(place)).or_else(|_| self.lost()),
            Inside::Unescaped(text) => Ok(text.into()),
        }
    }

    fn inside(&mut self) -> Result<Inside, NotUnderstood> {
        self.must_pass(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            let Some(step) = memchr::memchr2(b'"', b'\\', self.rest()) else { return self.lost() };
            self.at += step;
            if self.body[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.at += 2; // the backslash and what it escapes, be it a quote or another backslash
        }
        let end = self.at;
        self.at += 1;
        if escaped {
            let text = serde_json::from_slice(&self.body[begin - 1..=end]).or_else(|_| self.lost())?;
            return Ok(Inside::Unescaped(text));
        }
        // without an early exit the compiler checks many bytes at a time
        if self.body[begin..end].iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            return self.lost();
        }
        Ok(Inside::Plain(begin..end))
    }

    /// A string of base64, checked, because it reaches the child as it is.
    fn base64(&mut self) -> Result<Text, NotUnderstood> {
        let begin = self.at;
        if let Some(text) = Text::from_base64(self.plain()?) {
            return Ok(text);
        }
        self.at = begin; // it may have escapes
        let text = self.string()?;
        if STANDARD.check(text.as_bytes()).is_ok() { Ok(text) } else { self.lost() }
    }

    fn digits(&mut self) -> Result<Text, NotUnderstood> {
        let text = self.plain()?;
        Text::from_digits(text).map_or_else(|| self.lost(), Ok)
    }

    /// The text of a number, by the grammar of JSON.
    fn number(&mut self) -> Result<&'a str, NotUnderstood> {
        self.blanks();
        let rest = self.rest();
        let Some(length) = number_length(rest) else { return self.lost() };
        let text = std::str::from_utf8(&rest[..length]).or_else(|_| self.lost())?;
        self.at += length;
        Ok(text)
    }

    pub(super) fn integer(&mut self) -> Result<i64, NotUnderstood> {
        self.number()?.parse().or_else(|_| self.lost())
    }

    fn seconds_as_millis(&mut self) -> Result<i64, NotUnderstood> {
        let text = self.number()?;
        millis_of_seconds(text).map_or_else(|| self.lost(), Ok)
    }

    /// A value that is rare enough for the general parser.
    pub(super) fn value<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, NotUnderstood> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<T>();
        let Some(Ok(value)) = values.next() else { return self.lost() };
        self.at += values.byte_offset();
        Ok(value)
    }

    pub(super) fn skip(&mut self) -> Result<(), NotUnderstood> {
        self.blanks();
        if self.rest().first() == Some(&b'"') {
            // `EncryptionType` stands in each record
            return match self.inside()? {
                Inside::Plain(place) if std::str::from_utf8(&self.body[place.clone()]).is_err() => self.lost(),
                Inside::Plain(_) | Inside::Unescaped(_) => Ok(()),
            };
        }
        self.value::<IgnoredAny>().map(drop)
    }

    pub(super) fn record(&mut self) -> Result<Record, NotUnderstood> {
        let (mut data, mut partition_key, mut sequence, mut arrival_millis) = (None, None, None, None);
        self.members(|walk, name| {
            match name {
                b"Data" => data = Some(walk.base64()?),
                b"PartitionKey" => partition_key = walk.unless_null(Walk::string)?,
                b"SequenceNumber" => sequence = Some(walk.digits()?),
                b"ApproximateArrivalTimestamp" => arrival_millis = walk.unless_null(Walk::seconds_as_millis)?,
                _ => walk.skip()?,
            }
            Ok(())
        })?;
        let partition_key = partition_key.unwrap_or_else(|| Text::from("")); // the model lets it be absent
        match (data, sequence) {
            (Some(data), Some(sequence)) => Ok(plain_record(data, partition_key, sequence, arrival_millis)),
            _ => self.lost(),
        }
    }
}

/// The inside of a string.
enum Inside {
    /// Where it is; it has no escapes, and is UTF-8 if somebody finds it so.
    Plain(Range<usize>),
    Unescaped(String),
}

/// How long the number is that comes first, if one does and nothing behind it could belong to it.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match (bytes.get(at), digits(at)) {
        (_, 0) => return None,
        (Some(b'0'), 2..) => return None,
        (_, whole) => whole,
    };
    if bytes.get(at) == Some(&b'.') {
        at += 1 + Some(digits(at + 1)).filter(|fraction| *fraction > 0)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at += Some(digits(at)).filter(|exponent| *exponent > 0)?;
    }
    Some(at)
}

/// Seconds as JSON writes them, with fraction or exponent or both, in milliseconds; what is smaller is cut off.
///
/// By the digits, because a float shows some milliseconds as just below themselves.
pub(super) fn millis_of_seconds(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() < 1_000)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let wanted = i32::try_from(whole.len()).ok()? + exponent + 3; // digits before the point once in milliseconds
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut millis = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()).take(wanted) {
        millis = millis.checked_mul(10)?.checked_add(i64::from(char::from(byte).to_digit(10)?))?;
    }
    for _ in (whole.len() + fraction.len())..wanted {
        millis = millis.checked_mul(10)?;
    }
    Some(if negative { -millis } else { millis })
}
