//! SubscribeToShard with an end, a true lag and events of a limited size.
//!
//! The emulator makes the events; each is taken apart, put right and framed again.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::Message;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use ciborium::Value as Document;
use ferrokinesis::sequence::{increment_sequence, parse_sequence};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::Repair;
use super::family::{children, is_closed};
use super::get_records::millis_behind;
use super::times;
use super::wire::Wire;
use crate::types::SequenceNumber;

/// Bytes of data and partition keys that one event brings at most, after its first record.
const MOST_BYTES: usize = 2 << 20;

/// Whose events these are.
#[derive(Clone)]
struct Subscription {
    repair: Repair,
    wire: Wire,
    stream: String,
    shard: String,
    from: Start,
}

/// Where the caller wants to begin. The emulator forgets all but the type of a starting position and begins at the
/// oldest record, so the records before are left out here.
#[derive(Clone, Debug, PartialEq)]
enum Start {
    /// Where the emulator begins.
    Anywhere,
    /// At this record or later.
    At(SequenceNumber),
    /// After this record.
    After(SequenceNumber),
    /// At the first record that arrived then or later, in seconds since the Unix epoch.
    Since(f64),
}

impl Start {
    fn of(question: &Value) -> Self {
        let position = &question["StartingPosition"];
        let sequence = || position["SequenceNumber"].as_str().and_then(|text| text.parse().ok());
        let start = match position["Type"].as_str() {
            Some("AT_SEQUENCE_NUMBER") => sequence().map(Self::At),
            Some("AFTER_SEQUENCE_NUMBER") => sequence().map(Self::After),
            Some("AT_TIMESTAMP") => position["Timestamp"].as_f64().map(Self::Since),
            Some(_) | None => None,
        };
        start.unwrap_or(Self::Anywhere)
    }

    fn takes(&self, record: &Document) -> bool {
        let (sequence, arrival) = place_of(record);
        let Ok(sequence) = sequence.parse::<SequenceNumber>() else { return true };
        match self {
            Self::Anywhere => true,
            Self::At(first) => sequence >= *first,
            Self::After(last) => sequence > *last,
            Self::Since(moment) => arrival >= moment.floor(), // the emulator stamps whole seconds
        }
    }
}

/// Answers SubscribeToShard; the events end with the backend.
pub(super) async fn answer(repair: &Repair, wire: Wire, question: &Value, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let consumer = question["ConsumerARN"].as_str().unwrap_or_default();
    let subscription = Subscription {
        repair: repair.clone(),
        wire,
        stream: repair.store.stream_name_from_arn(consumer).unwrap_or_default(),
        shard: question["ShardId"].as_str().unwrap_or_default().to_owned(),
        from: Start::of(question),
    };
    let stop = repair.stop.clone().cancelled_owned();
    let (parts, body) = answer.into_parts();
    let events = body.into_data_stream().take_until(stop).then(move |frame| {
        let subscription = subscription.clone();
        async move { Ok::<_, axum::Error>(subscription.put_right(frame?).await) }
    });
    Response::from_parts(parts, Body::from_stream(events))
}

impl Subscription {
    /// One frame of the emulator as one or more frames of the service; what is no event passes as it is.
    async fn put_right(&self, frame: Bytes) -> Bytes {
        let Ok(message) = read_message_from(frame.clone()) else { return frame };
        let Some(Document::Map(mut event)) = self.wire.read(message.payload()) else { return frame };
        let Ok(stream) = self.repair.store.get_stream(&self.stream).await else { return frame };
        let Some(Document::Array(records)) = take(&mut event, "Records") else { return frame };
        let continuation = take(&mut event, "ContinuationSequenceNumber");
        let ended = stream.shards.iter().any(|shard| shard.shard_id == self.shard && is_closed(shard));
        // The emulator says so in its last event of a closed shard, the only one without records.
        let is_end =
            ended && records.is_empty() && take(&mut event, "ChildShards").is_some_and(|list| !is_empty(&list));
        if is_end {
            let children = Document::serialized(&children(&stream.shards, &self.shard)).unwrap_or(Document::Null);
            return self.frames(&message, vec![event_of(Vec::new(), None, 0, Some(children))], frame);
        }
        let records: Vec<_> = records.into_iter().filter(|record| self.from.takes(record)).collect();
        if records.is_empty() {
            return self.frames(&message, vec![event_of(records, continuation, 0, None)], frame);
        }
        let mut events = Vec::new();
        for batch in batches(records) {
            let last = batch.last().map(place_of).unwrap_or_default();
            let behind = millis_behind(&self.repair.store, &self.stream, &self.shard, &last.0, last.1).await;
            let after = parse_sequence(&last.0).map(|place| Document::Text(increment_sequence(&place, None)));
            events.push(event_of(batch, after.ok().or(continuation.clone()), behind, None));
        }
        self.frames(&message, events, frame)
    }

    fn frames(&self, like: &Message, events: Vec<Document>, otherwise: Bytes) -> Bytes {
        let mut bytes = Vec::new();
        for mut event in events {
            if self.wire == Wire::Cbor {
                times::to_millis(&mut event);
            }
            let message = Message::new_from_parts(like.headers().to_vec(), self.wire.write(&event));
            if write_message_to(&message, &mut bytes).is_err() {
                return otherwise;
            }
        }
        Bytes::from(bytes)
    }
}

type Members = Vec<(Document, Document)>;

/// Removes a member and returns its value.
fn take(members: &mut Members, name: &str) -> Option<Document> {
    let place = members.iter().position(|(key, _)| key.as_text() == Some(name))?;
    Some(members.swap_remove(place).1)
}

fn is_empty(list: &Document) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn member<'a>(record: &'a Document, name: &str) -> Option<&'a Document> {
    record.as_map()?.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// A record's sequence number and its arrival in seconds.
fn place_of(record: &Document) -> (String, f64) {
    let sequence = member(record, "SequenceNumber").and_then(Document::as_text).unwrap_or_default();
    let arrival = match member(record, "ApproximateArrivalTimestamp") {
        Some(Document::Float(seconds)) => *seconds,
        Some(Document::Integer(seconds)) => i64::try_from(*seconds).map_or(0.0, |seconds| seconds as f64),
        _ => 0.0,
    };
    (sequence.to_owned(), arrival)
}

fn size_of(record: &Document) -> usize {
    let data = match member(record, "Data") {
        Some(Document::Bytes(bytes)) => bytes.len(),
        Some(Document::Text(base64)) => base64.len() / 4 * 3,
        _ => 0,
    };
    data + member(record, "PartitionKey").and_then(Document::as_text).map_or(0, str::len)
}

/// Cuts records into lists of limited size; none is empty.
fn batches(records: Vec<Document>) -> Vec<Vec<Document>> {
    let mut batches: Vec<Vec<Document>> = Vec::new();
    let mut room = 0;
    for record in records {
        let size = size_of(&record);
        match batches.last_mut() {
            Some(batch) if size <= room => {
                batch.push(record);
                room -= size;
            }
            _ => {
                batches.push(vec![record]);
                room = MOST_BYTES.saturating_sub(size);
            }
        }
    }
    batches
}

/// An event; the last one of a shard has children and no continuation.
fn event_of(
    records: Vec<Document>,
    continuation: Option<Document>,
    behind: u64,
    children: Option<Document>,
) -> Document {
    let mut members =
        vec![("Records".into(), Document::Array(records)), ("MillisBehindLatest".into(), Document::from(behind))];
    members.extend(continuation.map(|after| ("ContinuationSequenceNumber".into(), after)));
    members.extend(children.map(|children| ("ChildShards".into(), children)));
    Document::Map(members)
}
