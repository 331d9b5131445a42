//! Puts right what ferrokinesis 0.7.0 answers differently from the service where a consumer depends on it.
//!
//! | operation | the emulator's answer | put right here |
//! |---|---|---|
//! | GetRecords | no `ChildShards` at the end, `MillisBehindLatest` always 0, no 10 MB cap | [`get_records`] |
//! | SubscribeToShard | `ChildShards` in every event of a closed shard and never an end, always 0 behind | [`subscribe`] |
//! | ListShards | no filter, no second page, not by ARN | [`list_shards`] |
//! | any, in CBOR | moments in seconds, both ways | [`times`] |
//! | PutRecord(s), resharding | numbers are given before records are stored: a reader can pass one | [`Repair::exclusive`] |
//!
//! Everything else passes through. What the service would answer is decided in [`family`], from values alone.

mod family;
mod get_records;
mod list_shards;
mod subscribe;
mod times;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use ferrokinesis::store::Store;
use ferrokinesis::types::{Stream, StreamStatus};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use wire::Wire;

/// A reshard of the emulator is done in a millisecond or two; this many looks at it are far more.
const LOOKS_AT_A_RESHARD: usize = 500;

/// What the layer needs of the backend.
#[derive(Clone)]
pub(super) struct Repair {
    store: Store,
    /// Writers hold it alone, readers together, so that a reader never sees a later record before an earlier one.
    gate: Arc<RwLock<()>>,
    stop: CancellationToken,
}

impl Repair {
    pub(super) fn new(store: Store, stop: CancellationToken) -> Self {
        Self { store, gate: Arc::default(), stop }
    }

    /// Performs a write with no read under way; a reshard counts as done when the stream is ACTIVE again.
    async fn exclusive(&self, reshard: Option<&Value>, request: Request, next: Next) -> Response {
        let _alone = self.gate.write().await;
        let answer = next.run(request).await;
        if let Some(question) = reshard {
            for _ in 0..LOOKS_AT_A_RESHARD {
                match self.stream_of(question).await {
                    Some(stream) if stream.stream_status == StreamStatus::Updating => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    _ => break,
                }
            }
        }
        answer
    }

    /// The stream a request names, by name or by ARN.
    async fn stream_of(&self, question: &Value) -> Option<Stream> {
        let name = self.store.resolve_stream_name(question).ok()?;
        self.store.get_stream(&name).await.ok()
    }
}

/// Now, in milliseconds since the Unix epoch.
fn now() -> u64 {
    u64::try_from(SystemClock.now().0).unwrap_or_default()
}

/// The operation a request names in `X-Amz-Target`; empty when it names none.
pub(super) fn operation(request: &Request) -> &str {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}

/// The layer in front of the emulator.
pub(super) async fn repair(State(repair): State<Repair>, request: Request, next: Next) -> Response {
    let operation = operation(&request).to_owned();
    let wire = Wire::of(&request);
    let name = operation.as_str();
    match name {
        "GetRecords" | "SubscribeToShard" | "ListShards" | "SplitShard" | "MergeShards" | "UpdateShardCount" => {}
        // Reads the write frontier, which must not move between two looks.
        "GetShardIterator" => {
            let Ok((request, body)) = buffered(request).await else { return too_large(wire) };
            let (request, _) = times::question(wire, request, &body);
            let _shared = repair.gate.read().await;
            return next.run(request).await;
        }
        "PutRecord" | "PutRecords" => {
            // The body first: a slow sender must not hold up the others.
            let Ok((request, _)) = buffered(request).await else { return too_large(wire) };
            return repair.exclusive(None, request, next).await;
        }
        // PutRecord has no moments, the others are small
        _ => return times::answer(wire, next.run(request).await).await,
    }
    let Ok((request, body)) = buffered(request).await else { return too_large(wire) };
    let question = wire.question(&body);
    match name {
        "GetRecords" => get_records::answer(&repair, wire, &question, request, next).await,
        "SubscribeToShard" => {
            let (request, body) = times::question(wire, request, &body);
            subscribe::answer(&repair, wire, &wire.question(&body), request, next).await
        }
        "ListShards" => list_shards::answer(&repair, wire, &question).await,
        _ => repair.exclusive(Some(&question), request, next).await,
    }
}

/// The request with its whole body read.
async fn buffered(request: Request) -> Result<(Request, Bytes), axum::Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, super::LARGEST_REQUEST).await?;
    Ok((Request::from_parts(parts, Body::from(body.clone())), body))
}

fn too_large(wire: Wire) -> Response {
    wire.refuse(StatusCode::PAYLOAD_TOO_LARGE, "SerializationException", "the request could not be read")
}
