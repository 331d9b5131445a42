//! The JSON of a GetRecords answer or of a SubscribeToShard event, walked once; records come out as slices of it.
//!
//! Pure. [`walk`] and [`walk_event`] differ in one member. The walk takes only what it fully understands and is fast, and
//! it can go as far as an answer has arrived ([`Stepwise`]); [`tolerate`] takes anything that can be made sense of and is
//! slow. Neither relies on the order of members, and both pass over members they do not know.

use bytes::Bytes;
use serde::Deserialize;

use crate::record::{Data, Record, Text};
use crate::stream::ChildShard;
use crate::stream::fetch::{Answer, Event};
use crate::types::{HashKeyRange, ShardId};

mod number;
mod scan;
mod stepwise;
mod tolerate;

pub use stepwise::Stepwise;
pub use tolerate::{tolerate, tolerate_event};

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
    walk_members(body).map(|(answer, _)| answer)
}

/// Reads the payload of an event in one pass.
///
/// # Errors
/// As [`walk`].
pub fn walk_event(payload: &Bytes) -> Result<Event, NotUnderstood> {
    let (answer, continuation) = walk_members(payload)?;
    event(answer, continuation.as_ref().map(Text::as_str)).map_err(|_| NotUnderstood(payload.len()))
}

fn walk_members(body: &Bytes) -> Result<(Answer, Option<Text>), NotUnderstood> {
    let mut walk = Stepwise::expecting(body.len());
    walk.take(body);
    walk.finish(body.len())
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

/// Memory that records and the body they are slices of take together, in bytes.
pub(crate) fn footprint(body: usize, records: &[Record]) -> usize {
    body + size_of_val(records)
}

pub(crate) fn plain_record(data: Data, partition_key: Text, sequence: Text, arrival_millis: Option<i64>) -> Record {
    Record { data, partition_key, sequence, arrival_millis, sub: 0, aggregated: false, explicit_hash_key: None }
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

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
