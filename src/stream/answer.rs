//! The JSON of a GetRecords answer or of a SubscribeToShard event, walked once; records come out as slices of it.
//!
//! Pure. [`walk`] and [`walk_event`] differ in one member. [`walk`] takes only what it fully understands and is fast; [`tolerate`] takes anything that can be made
//! sense of and is slow. Neither relies on the order of members, and both pass over members they do not know.

use base64_simd::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::record::{Record, Text};
use crate::stream::ChildShard;
use crate::stream::fetch::{Answer, Event};
use crate::types::{HashKeyRange, ShardId};

/// The walk met something that it does not know, at this byte. Not a fault: [`tolerate`] may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected form of the answer at byte {0}")]
pub struct NotUnderstood(pub usize);

/// The body is no answer of GetRecords, or was cut off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be read: {0}")]
pub struct Malformed(pub String);

/// Reads the body in one pass; data and plain strings are slices of it.
///
/// # Errors
/// The body is not of the form that the service sends today.
pub fn walk(body: &Bytes) -> Result<Answer, NotUnderstood> {
    walk_with(body, |walk, _| walk.skip())
}

/// Reads the payload of an event in one pass.
///
/// # Errors
/// As [`walk`].
pub fn walk_event(payload: &Bytes) -> Result<Event, NotUnderstood> {
    let mut continuation = None;
    let answer = walk_with(payload, |walk, name| match name {
        b"ContinuationSequenceNumber" => {
            continuation = walk.unless_null(Walk::string)?;
            Ok(())
        }
        _ => walk.skip(),
    })?;
    event(answer, continuation.as_ref().map(Text::as_str)).map_err(|_| NotUnderstood(payload.len()))
}

/// An event is an answer with another way to go on. At the end of a shard that is absent or empty.
fn event(answer: Answer, continuation: Option<&str>) -> Result<Event, Malformed> {
    let odd = |text: &str| Malformed(format!("`ContinuationSequenceNumber` is `{text}`, expected decimal digits"));
    let continuation = continuation.filter(|text| !text.is_empty());
    let Answer { records, millis_behind_latest, child_shards, bytes, .. } = answer;
    Ok(Event {
        records,
        continuation: continuation.map(|text| text.parse().map_err(|_| odd(text))).transpose()?,
        millis_behind_latest,
        child_shards,
        bytes,
    })
}

fn walk_with(
    body: &Bytes,
    mut other: impl FnMut(&mut Walk<'_>, &[u8]) -> Result<(), NotUnderstood>,
) -> Result<Answer, NotUnderstood> {
    let mut walk = Walk { body, at: 0 };
    let mut answer = Answer::default();
    walk.members(|walk, name| {
        match name {
            b"Records" => {
                answer.records.clear();
                walk.unless_null(|walk| walk.elements(|walk| walk.record().map(|record| answer.records.push(record))))?;
            }
            b"NextShardIterator" => answer.next_iterator = walk.unless_null(Walk::string)?.map(owned),
            b"MillisBehindLatest" => answer.millis_behind_latest = walk.unless_null(Walk::integer)?,
            b"ChildShards" => {
                let children = walk.unless_null(Walk::value::<Vec<WireChild>>)?.unwrap_or_default();
                answer.child_shards = child_shards(children).ok_or(NotUnderstood(walk.at))?;
            }
            other_name => other(walk, other_name)?,
        }
        Ok(())
    })?;
    walk.blanks();
    if walk.at != body.len() {
        return Err(NotUnderstood(walk.at));
    }
    answer.bytes = footprint(body.len(), &answer.records);
    Ok(answer)
}

/// Memory that records and the body they are slices of take together, in bytes.
pub(crate) fn footprint(body: usize, records: &[Record]) -> usize {
    body + size_of_val(records)
}

fn owned(text: Text) -> String {
    text.as_str().to_owned()
}

/// A place in the body.
struct Walk<'a> {
    body: &'a Bytes,
    at: usize,
}

impl<'a> Walk<'a> {
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

    fn must_pass(&mut self, byte: u8) -> Result<(), NotUnderstood> {
        if self.goes_past(byte) { Ok(()) } else { self.lost() }
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
            let name = self.string()?;
            self.must_pass(b':')?;
            each(self, name.as_bytes())?;
            if !self.goes_past(b',') {
                return self.must_pass(b'}');
            }
        }
    }

    /// Goes through an array; `each` must go past one element.
    fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), NotUnderstood>) -> Result<(), NotUnderstood> {
        self.must_pass(b'[')?;
        if self.goes_past(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.goes_past(b',') {
                return self.must_pass(b']');
            }
        }
    }

    fn unless_null<T>(
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

    /// A string: a slice of the body, or a copy if it has escapes.
    fn string(&mut self) -> Result<Text, NotUnderstood> {
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
            let text: String = serde_json::from_slice(&self.body[begin - 1..=end]).or_else(|_| self.lost())?;
            return Ok(text.into());
        }
        let text = self.body.slice(begin..end);
        // without an early exit the compiler checks many bytes at a time
        if text.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            return self.lost();
        }
        Text::from_utf8(text).or_else(|_| self.lost())
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
        let length = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let text = std::str::from_utf8(&rest[..length]).or_else(|_| self.lost())?;
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return self.lost();
        }
        self.at += length;
        Ok(text)
    }

    fn integer(&mut self) -> Result<i64, NotUnderstood> {
        self.number()?.parse().or_else(|_| self.lost())
    }

    fn seconds_as_millis(&mut self) -> Result<i64, NotUnderstood> {
        let text = self.number()?;
        millis_of_seconds(text).map_or_else(|| self.lost(), Ok)
    }

    /// A value that is rare enough for the general parser.
    fn value<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, NotUnderstood> {
        let mut values = serde_json::Deserializer::from_slice(self.rest()).into_iter::<T>();
        let Some(Ok(value)) = values.next() else { return self.lost() };
        self.at += values.byte_offset();
        Ok(value)
    }

    fn skip(&mut self) -> Result<(), NotUnderstood> {
        self.blanks();
        if self.rest().first() == Some(&b'"') {
            return self.string().map(drop); // `EncryptionType` stands in each record
        }
        self.value::<IgnoredAny>().map(drop)
    }

    fn record(&mut self) -> Result<Record, NotUnderstood> {
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

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

pub(crate) fn plain_record(data: Text, partition_key: Text, sequence: Text, arrival_millis: Option<i64>) -> Record {
    Record { data, partition_key, sequence, arrival_millis, sub: 0, aggregated: false, explicit_hash_key: None }
}

/// Seconds as JSON writes them, with fraction or exponent or both, in milliseconds; what is smaller is cut off.
///
/// By the digits, because a float shows some milliseconds as just below themselves.
fn millis_of_seconds(text: &str) -> Option<i64> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() < 1_000)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let wanted = i32::try_from(whole.len()).ok()? + exponent + 3; // digits before the point once in milliseconds
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat(b'0'));
    let millis = digits.take(usize::try_from(wanted).unwrap_or(0)).try_fold(0_i64, |sum, digit| {
        let digit = char::from(digit).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(i64::from(digit))
    })?;
    Some(if negative { -millis } else { millis })
}

#[derive(Deserialize)]
struct WireChild {
    #[serde(rename = "ShardId")]
    id: String,
    #[serde(rename = "ParentShards", default)]
    parents: Option<Vec<String>>,
    #[serde(rename = "HashKeyRange")]
    range: WireRange,
}

#[derive(Deserialize)]
struct WireRange {
    #[serde(rename = "StartingHashKey")]
    start: String,
    #[serde(rename = "EndingHashKey")]
    end: String,
}

fn child_shards(wire: Vec<WireChild>) -> Option<Vec<ChildShard>> {
    wire.into_iter()
        .map(|child| {
            let hash_range =
                HashKeyRange { start: child.range.start.parse().ok()?, end: child.range.end.parse().ok()? };
            let parents = child.parents.unwrap_or_default().into_iter().map(ShardId::new).collect();
            Some(ChildShard { id: ShardId::new(child.id), parents, hash_range })
        })
        .collect()
}

/// Reads the body by way of a general JSON tree, for whatever [`walk`] did not understand.
///
/// # Errors
/// It is no JSON, or a record lacks what the child must get.
pub fn tolerate(body: &Bytes) -> Result<Answer, Malformed> {
    tolerate_members(body).map(|(answer, _)| answer)
}

/// [`tolerate`] for the payload of an event.
///
/// # Errors
/// As [`tolerate`].
pub fn tolerate_event(payload: &Bytes) -> Result<Event, Malformed> {
    let (answer, members) = tolerate_members(payload)?;
    event(answer, members.get("ContinuationSequenceNumber").and_then(Value::as_str))
}

fn tolerate_members(body: &Bytes) -> Result<(Answer, serde_json::Map<String, Value>), Malformed> {
    let tree: Value = serde_json::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
    let Value::Object(mut members) = tree else { return Err(Malformed("it is no JSON object".to_owned())) };
    let records = match members.get("Records") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(records)) => records.iter().map(tolerate_record).collect::<Result<_, _>>()?,
        Some(_) => return Err(Malformed("`Records` is no list".to_owned())),
    };
    let children: Option<Vec<WireChild>> = serde_json::from_value(members.remove("ChildShards").unwrap_or_default())
        .map_err(|error| Malformed(format!("`ChildShards`: {error}")))?;
    let child_shards = child_shards(children.unwrap_or_default())
        .ok_or_else(|| Malformed("`ChildShards`: a hash key is no number of 128 bits".to_owned()))?;
    let next_iterator = members.get("NextShardIterator").and_then(Value::as_str).map(str::to_owned);
    let millis_behind_latest = members.get("MillisBehindLatest").and_then(whole_number);
    let bytes = footprint(body.len(), &records);
    Ok((Answer { bytes, records, next_iterator, millis_behind_latest, child_shards }, members))
}

fn tolerate_record(record: &Value) -> Result<Record, Malformed> {
    let text = |name: &str| {
        let text = record.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Malformed(format!("a record has no text `{name}`")))
    };
    let sequence = text("SequenceNumber")?;
    if !is_digits(sequence.as_bytes()) {
        return Err(Malformed(format!("`SequenceNumber` is `{sequence}`, expected decimal digits")));
    }
    let data = text("Data")?;
    let data = if STANDARD.check(data.as_bytes()).is_ok() {
        data.to_owned()
    } else {
        let bytes = base64_simd::forgiving_decode_to_vec(data.as_bytes());
        STANDARD.encode_to_string(bytes.map_err(|_| Malformed(format!("data of record {sequence} is not base64")))?)
    };
    let arrival = record.get("ApproximateArrivalTimestamp").filter(|value| value.is_number());
    let arrival_millis = arrival.and_then(|number| millis_of_seconds(&number.to_string()));
    let partition_key = record.get("PartitionKey").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(plain_record(data.into(), partition_key.into(), sequence.to_owned().into(), arrival_millis))
}

fn whole_number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a lag in milliseconds; the cast keeps to the bounds")]
    let cut = |float: f64| float as i64;
    value.as_i64().or_else(|| value.as_f64().map(cut))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
