//! GetRecords with an end, a true lag and a limited size.
//!
//! The emulator judges the request (it answers one record of it); what is delivered is read from its store.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use ferrokinesis::sequence::{increment_sequence, parse_sequence, resolve_shard_id, shard_ix_to_hex};
use ferrokinesis::shard_iterator::{create_shard_iterator, decode_shard_iterator};
use ferrokinesis::store::Store;
use ferrokinesis::types::StoredRecord;
use serde::Serialize;
use serde_json::{Value, json};

use super::family::{Child, children};
use super::times::{Moment, with_body};
use super::wire::{Blob, Wire};
use super::{Repair, now};

/// The service's limits of one answer, in records and in bytes of data and partition keys.
const MOST_RECORDS: u64 = 10_000;
const MOST_BYTES: usize = 10 << 20;
/// Records read from the store in one go, so that large ones are not all copied to be thrown away.
const READ_AT_ONCE: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<Child<'a>>>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    records: Vec<Record<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    approximate_arrival_timestamp: Moment,
    data: Blob<'a>,
    partition_key: &'a str,
    sequence_number: &'a str,
}

/// Answers GetRecords.
pub(super) async fn answer(repair: &Repair, wire: Wire, question: &Value, request: Request, next: Next) -> Response {
    let _shared = repair.gate.read().await;
    let limit = question["Limit"].as_u64().unwrap_or(MOST_RECORDS);
    let place = decode_shard_iterator(question["ShardIterator"].as_str().unwrap_or_default());
    let (Ok((_, stream, shard, sequence)), 1..=MOST_RECORDS) = (place, limit) else {
        return next.run(request).await; // to be refused
    };
    let verdict = next.run(with_limit_of_one(request, wire, question)).await;
    if verdict.status() != StatusCode::OK {
        return verdict;
    }
    let (parts, body) = verdict.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let judged = wire.question(&body);
    if judged["NextShardIterator"].is_null() {
        let Ok(stream) = repair.store.get_stream(&stream).await else {
            return Response::from_parts(parts, Body::from(body));
        };
        let child_shards = Some(children(&stream.shards, &shard));
        return wire.answer(&Answer {
            child_shards,
            millis_behind_latest: 0,
            next_shard_iterator: None,
            records: Vec::new(),
        });
    }
    if judged["Records"].as_array().is_none_or(Vec::is_empty) {
        return Response::from_parts(parts, Body::from(body)); // caught up: nothing to put right
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let records = read(&repair.store, &stream, &shard, &sequence, limit).await;
    let Some(last) = records.last() else { return Response::from_parts(parts, Body::from(body)) };
    let behind = millis_behind(&repair.store, &stream, &shard, &last.0, last.1.approximate_arrival_timestamp).await;
    let after = parse_sequence(&last.0).map_or_else(|_| last.0.clone(), |place| increment_sequence(&place, None));
    wire.answer(&Answer {
        child_shards: None,
        millis_behind_latest: behind,
        next_shard_iterator: Some(create_shard_iterator(&stream, &shard, &after, now())),
        records: records.iter().map(|(sequence, record)| delivered(sequence, record)).collect(),
    })
}

fn delivered<'a>(sequence_number: &'a str, record: &'a StoredRecord) -> Record<'a> {
    Record {
        approximate_arrival_timestamp: Moment(record.approximate_arrival_timestamp),
        data: Blob(&record.data),
        partition_key: &record.partition_key,
        sequence_number,
    }
}

/// The same request, asking for one record: cheap, and refused exactly when the whole would be.
fn with_limit_of_one(request: Request, wire: Wire, question: &Value) -> Request {
    let mut question = question.clone();
    question["Limit"] = json!(1);
    with_body(request, Bytes::from(wire.write(&question)))
}

/// The records from `sequence` on with their sequence numbers; at least one if there is any, else up to the limits.
async fn read(store: &Store, stream: &str, shard: &str, sequence: &str, limit: usize) -> Vec<(String, StoredRecord)> {
    let Some((mut from, to)) = keys(shard, sequence) else { return Vec::new() };
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < limit {
        let wanted = READ_AT_ONCE.min(limit - records.len());
        let chunk = store.get_records_range_limited(stream, &from, &to, wanted).await;
        let Some((last, _)) = chunk.last() else { break };
        from = format!("{last}\0"); // the first key after it
        let is_last = chunk.len() < wanted;
        for (key, record) in chunk {
            bytes += record.data.len() / 4 * 3 + record.partition_key.len();
            if bytes > MOST_BYTES && !records.is_empty() {
                return records;
            }
            let sequence = key.split_once('/').map_or_else(String::new, |(_, sequence)| sequence.to_owned());
            records.push((sequence, record));
        }
        if is_last {
            break;
        }
    }
    records
}

/// How far a reader that has got `sequence`, arrived at `arrival` seconds, is behind: never 0 while records wait.
pub(super) async fn millis_behind(store: &Store, stream: &str, shard: &str, sequence: &str, arrival: f64) -> u64 {
    let Some((from, to)) = keys(shard, &format!("{sequence}\0")) else { return 0 };
    if store.get_records_range_limited(stream, &from, &to, 1).await.is_empty() {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970, far below 2^53")]
    let arrived = (arrival * 1000.0) as u64;
    now().saturating_sub(arrived).max(1)
}

/// The store's keys of the records of `shard` from `sequence` on: first, and end.
fn keys(shard: &str, sequence: &str) -> Option<(String, String)> {
    let (_, index) = resolve_shard_id(shard).ok()?;
    Some((format!("{}/{sequence}", shard_ix_to_hex(index)), shard_ix_to_hex(index + 1)))
}
