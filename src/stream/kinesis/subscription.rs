//! SubscribeToShard and its events.
//!
//! The SDK decodes each record's base64 on its own; it is encoded again here, all records of an event into one
//! piece of memory.

use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::{
    ChildShard as SdkChild, Record as SdkRecord, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use base64_simd::STANDARD;
use bytes::Bytes;

use super::faults::fetch_error;
use super::records::position;
use super::{Kinesis, range_of};
use crate::record::{Record, Text};
use crate::stream::ChildShard;
use crate::stream::answer::{footprint, plain_record};
use crate::stream::fetch::{Event, FetchError, IteratorStart};
use crate::types::{SequenceNumber, ShardId};

const SUBSCRIBE: &str = "SubscribeToShard";

/// An open subscription. Not reading from it stops the service by flow control; dropping it ends it.
#[derive(Debug)]
pub struct Subscription(SubscribeToShardOutput);

impl Kinesis {
    /// Opens a subscription of the consumer `consumer_arn` to `shard`.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn subscribe_to_shard(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Subscription, FetchError> {
        let (kind, sequence, timestamp) = position(start);
        let starting = StartingPosition::builder().r#type(kind).set_sequence_number(sequence).set_timestamp(timestamp);
        let starting = starting.build().map_err(|error| FetchError::transient(SUBSCRIBE, error))?;
        let call = self.reader.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard.as_str());
        let answer = Box::pin(call.starting_position(starting).send()).await;
        Ok(Subscription(answer.map_err(|error| fetch_error(SUBSCRIBE, error))?))
    }
}

impl Subscription {
    /// Waits, without limit, for the next event; `None` once the service has ended the subscription.
    ///
    /// # Errors
    /// The connection broke, or the service sent an exception.
    pub async fn next(&mut self) -> Result<Option<Event>, FetchError> {
        loop {
            return match self.0.event_stream.recv().await {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => event_of(event).map(Some),
                Ok(Some(_)) => continue, // of a kind that this SDK does not know
                Ok(None) => Ok(None),
                Err(error) => Err(fetch_error(SUBSCRIBE, error)),
            };
        }
    }
}

fn event_of(event: SubscribeToShardEvent) -> Result<Event, FetchError> {
    let malformed = |what: &'static str| FetchError::transient(SUBSCRIBE, what);
    // Source: the SDK gives a member that is absent, as at the end of a shard, as an empty text.
    let continuation = match event.continuation_sequence_number.as_str() {
        "" => None,
        text => Some(text.parse::<SequenceNumber>().map_err(|error| FetchError::transient(SUBSCRIBE, error))?),
    };
    let children = event.child_shards.unwrap_or_default();
    let children = children.iter().map(child_of).collect::<Option<Vec<_>>>();
    let (records, text_bytes) =
        records_of(event.records).ok_or_else(|| malformed("a record's sequence number has other than digits"))?;
    Ok(Event {
        bytes: footprint(text_bytes, &records),
        records,
        continuation,
        millis_behind_latest: Some(event.millis_behind_latest),
        child_shards: children.ok_or_else(|| malformed("a child shard is described badly"))?,
    })
}

/// The records, and how many bytes their texts take.
fn records_of(records: Vec<SdkRecord>) -> Option<(Vec<Record>, usize)> {
    let encoded_len = |record: &SdkRecord| record.data.as_ref().len().div_ceil(3) * 4;
    let mut buffer = Vec::with_capacity(records.iter().map(encoded_len).sum());
    let mut ends = Vec::with_capacity(records.len());
    for record in &records {
        STANDARD.encode_append(record.data.as_ref(), &mut buffer);
        ends.push(buffer.len());
    }
    let data = Bytes::from(buffer);
    let (mut begin, mut text_bytes) = (0, data.len());
    let mut out = Vec::with_capacity(records.len());
    for (record, end) in records.into_iter().zip(ends) {
        let place: SequenceNumber = record.sequence_number.parse().ok()?;
        let key = record.partition_key.unwrap_or_default();
        text_bytes += key.len() + place.as_str().len();
        let arrival = record.approximate_arrival_timestamp.and_then(|time| time.to_millis().ok());
        let data = Text::from_utf8(data.slice(begin..end)).ok()?;
        out.push(plain_record(data, key.into(), record.sequence_number.into(), arrival));
        begin = end;
    }
    Some((out, text_bytes))
}

fn child_of(child: &SdkChild) -> Option<ChildShard> {
    Some(ChildShard {
        id: ShardId::new(child.shard_id()),
        parents: child.parent_shards().iter().map(|parent| ShardId::new(parent.as_str())).collect(),
        hash_range: range_of(child.hash_key_range()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::primitives::{Blob, DateTime};
    use aws_sdk_kinesis::types::HashKeyRange as SdkRange;

    fn record(sequence: &str, data: &[u8]) -> SdkRecord {
        SdkRecord::builder()
            .sequence_number(sequence)
            .partition_key("key")
            .data(Blob::new(data))
            .approximate_arrival_timestamp(DateTime::from_millis(1_700_000_000_124))
            .build()
            .unwrap()
    }

    #[test]
    fn an_events_records_are_encoded_into_one_buffer() {
        let event = SubscribeToShardEvent::builder()
            .records(record("1", b"a"))
            .records(record("2", b""))
            .records(record("3", b"hello"))
            .continuation_sequence_number("3")
            .millis_behind_latest(7)
            .build()
            .unwrap();
        let event = event_of(event).unwrap();
        let data: Vec<_> = event.records.iter().map(|record| record.data.as_str()).collect();
        assert_eq!(data, ["YQ==", "", "aGVsbG8="]);
        assert_eq!(event.continuation, Some("3".parse().unwrap()));
        assert_eq!(event.millis_behind_latest, Some(7));
        assert_eq!(event.records[0].arrival_millis, Some(1_700_000_000_124));
        let (first, last) = (event.records[0].data.as_bytes(), event.records[2].data.as_bytes());
        assert_eq!(first.as_ptr().wrapping_add(4), last.as_ptr());
    }

    #[test]
    fn an_empty_continuation_is_none_and_children_are_read() {
        let child = SdkChild::builder()
            .shard_id("shardId-000000000001")
            .parent_shards("shardId-000000000000")
            .hash_key_range(SdkRange::builder().starting_hash_key("0").ending_hash_key("9").build().unwrap())
            .build()
            .unwrap();
        let event = SubscribeToShardEvent::builder()
            .set_records(Some(Vec::new()))
            .continuation_sequence_number("")
            .millis_behind_latest(0)
            .child_shards(child)
            .build()
            .unwrap();
        let event = event_of(event).unwrap();
        assert_eq!(event.continuation, None);
        assert_eq!(event.child_shards[0].parents, [ShardId::new("shardId-000000000000")]);
        assert_eq!(event.child_shards[0].hash_range.end, 9);
    }
}
