//! The slow way to read an answer, which takes any form that makes sense.

use base64_simd::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::number::millis_of_seconds;
use super::{Malformed, WireChild, child_shards, event, footprint, plain_record};
use crate::record::Record;
use crate::stream::fetch::{Answer, Event};

/// Reads the body by way of a general JSON tree, for whatever the walk did not understand.
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
    // what is wrong with a text is wrong each time it is asked for, and must not stop its shard
    let tree: Value = serde_json::from_slice(body)
        .or_else(|odd| serde_json::from_str(&with_whole_characters(body)).map_err(|_| odd))
        .map_err(|error| Malformed(error.to_string()))?;
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

/// The same JSON, but halves of characters become question marks, as they do on Java's way to a child, and what is no
/// UTF-8 becomes U+FFFD: a producer may have sent either as a partition key.
fn with_whole_characters(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut whole = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        let (keep, length) = match (half(escape), escape.get(6..).and_then(half)) {
            (Some(Half::First), Some(Half::Second)) => (true, 12),
            (Some(_), _) => (false, 6),
            // a backslash and what it escapes, be it another one
            (None, _) => (true, 1 + escape.chars().nth(1).map_or(0, char::len_utf8)),
        };
        let (escape, behind) = escape.split_at(length);
        whole.push_str(before);
        whole.push_str(if keep { escape } else { "?" });
        rest = behind;
    }
    whole + rest
}

/// Half of a character beyond 16 bits.
enum Half {
    First,
    Second,
}

/// Whether the text begins with the escape of half a character.
fn half(text: &str) -> Option<Half> {
    let unit = u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    match unit {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn whole_number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a lag in milliseconds; the cast keeps to the bounds")]
    let cut = |float: f64| float as i64;
    value.as_i64().or_else(|| value.as_f64().map(cut))
}
