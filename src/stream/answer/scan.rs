//! Goes through JSON in memory, value by value, and makes slices of it.

use std::borrow::Cow;
use std::ops::Range;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::number::{length_of_number, millis_of_seconds, usual_seconds};
use super::{NotUnderstood, plain_record};
use crate::record::{Data, Record, Text};

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

    #[inline]
    fn blanks(&mut self) {
        self.at += self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    /// Goes past `byte` and the blanks before it, if it comes next.
    #[inline]
    fn goes_past(&mut self, byte: u8) -> bool {
        self.blanks();
        let comes = self.rest().first() == Some(&byte);
        self.at += usize::from(comes);
        comes
    }

    #[inline]
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

    #[inline]
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
            let length = plain_length(inside);
            if inside.get(length) == Some(&b'"') {
                self.at += length + 2;
                return Ok(Cow::Borrowed(&inside[..length]));
            }
        }
        self.string().map(|name| Cow::Owned(name.as_bytes().to_vec()))
    }

    /// Goes past the name of a record's member and the colon behind it.
    fn member(&mut self) -> Result<Member, NotUnderstood> {
        let rest = self.rest();
        // as the service writes them; each comparison is a few instructions without a call
        let (length, member) = if rest.starts_with(b"\"Data\":") {
            (7, Member::Data)
        } else if rest.starts_with(b"\"PartitionKey\":") {
            (15, Member::PartitionKey)
        } else if rest.starts_with(b"\"SequenceNumber\":") {
            (17, Member::SequenceNumber)
        } else if rest.starts_with(b"\"ApproximateArrivalTimestamp\":") {
            (30, Member::Arrival)
        } else {
            return self.odd_member();
        };
        self.at += length;
        Ok(member)
    }

    /// [`member`](Self::member) in any form.
    #[cold]
    fn odd_member(&mut self) -> Result<Member, NotUnderstood> {
        let name = self.name()?;
        self.must_pass(b':')?;
        Ok(match name.as_ref() {
            b"Data" => Member::Data,
            b"PartitionKey" => Member::PartitionKey,
            b"SequenceNumber" => Member::SequenceNumber,
            b"ApproximateArrivalTimestamp" => Member::Arrival,
            _ => Member::Other,
        })
    }

    /// [`string`](Self::string), quick for what is mostly short and plain.
    fn key(&mut self) -> Result<Text, NotUnderstood> {
        if let Some(inside) = self.rest().strip_prefix(b"\"") {
            let length = plain_length(inside);
            if inside.get(length) == Some(&b'"') {
                let place = self.at + 1..self.at + 1 + length;
                self.at = place.end + 1;
                return Text::from_utf8(self.body.slice(place)).or_else(|_| self.lost());
            }
        }
        self.string()
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
    fn base64(&mut self) -> Result<Data, NotUnderstood> {
        let begin = self.at;
        if let Some(data) = Data::from_base64(self.plain()?) {
            return Ok(data);
        }
        self.at = begin; // it may have escapes
        let text = self.string()?;
        if STANDARD.check(text.as_bytes()).is_ok() { Ok(Data::trusted(text)) } else { self.lost() }
    }

    fn digits(&mut self) -> Result<Text, NotUnderstood> {
        let text = self.plain()?;
        Text::from_digits(text).map_or_else(|| self.lost(), Ok)
    }

    /// The text of a number, by the grammar of JSON.
    fn number(&mut self) -> Result<&'a str, NotUnderstood> {
        self.blanks();
        let rest = self.rest();
        let Some(length) = length_of_number(rest) else { return self.lost() };
        let text = std::str::from_utf8(&rest[..length]).or_else(|_| self.lost())?;
        self.at += length;
        Ok(text)
    }

    pub(super) fn integer(&mut self) -> Result<i64, NotUnderstood> {
        self.number()?.parse().or_else(|_| self.lost())
    }

    fn seconds_as_millis(&mut self) -> Result<i64, NotUnderstood> {
        if let Some((millis, length)) = usual_seconds(self.rest()) {
            self.at += length;
            return Ok(millis);
        }
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
        self.must_pass(b'{')?;
        let mut goes_on = !self.goes_past(b'}');
        while goes_on {
            match self.member()? {
                Member::Data => data = Some(self.base64()?),
                Member::PartitionKey => partition_key = self.unless_null(Walk::key)?,
                Member::SequenceNumber => sequence = Some(self.digits()?),
                Member::Arrival => arrival_millis = self.unless_null(Walk::seconds_as_millis)?,
                Member::Other => self.skip()?,
            }
            goes_on = self.either(b',', b'}')? == b',';
        }
        let partition_key = partition_key.unwrap_or_else(|| Text::from("")); // the model lets it be absent
        match (data, sequence) {
            (Some(data), Some(sequence)) => Ok(plain_record(data, partition_key, sequence, arrival_millis)),
            _ => self.lost(),
        }
    }
}

/// A member of a record.
enum Member {
    Data,
    PartitionKey,
    SequenceNumber,
    Arrival,
    Other,
}

/// How many characters come first that stand for themselves and are ASCII.
#[inline]
fn plain_length(text: &[u8]) -> usize {
    let is_plain = |byte: &&u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    text.iter().take_while(is_plain).count()
}

/// The inside of a string.
enum Inside {
    /// Where it is; it has no escapes, and is UTF-8 if somebody finds it so.
    Plain(Range<usize>),
    Unescaped(String),
}
