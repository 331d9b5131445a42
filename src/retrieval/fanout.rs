//! Reading with SubscribeToShard (enhanced fan-out).
//!
//! A subscription may end at any time; the next one begins where the last event that was taken ended. One that is
//! silent for too long is given up, because half-open connections tell nobody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::api::{EventFeed, ShardApi};
use super::episode::Episode;
use super::start::Position;
use super::{Batch, RecordReader, RecordSource};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Compatibility;
use crate::stream::fetch::{Event, FetchError};
use crate::stream::kinesis::Kinesis;
use crate::types::{Checkpoint, EpochMillis, InitialPosition, ShardId};

const SUBSCRIBE: &str = "SubscribeToShard";
/// Longest wait for a subscription to open.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Longest silence; the service sends an event about every five seconds, records or not.
const SILENCE_LIMIT: Duration = Duration::from_secs(12);
/// The service refuses a second subscription of a consumer to a shard for five seconds.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Waits after all other faults.
const FAULT_WAITS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// First subscriptions are spread over this time, because a worker opens many at once.
const SPREAD: Duration = Duration::from_millis(200);

/// Reads shards by subscription.
pub struct FanOutSource {
    api: Arc<dyn ShardApi>,
    consumer_arn: Arc<str>,
    initial: InitialPosition,
    clock: Arc<dyn Clock>,
    compatibility: Compatibility,
}

impl FanOutSource {
    /// Reads from the service as the registered consumer `consumer_arn`. `initial` gives the time for leases that
    /// begin at a time.
    #[must_use]
    pub fn new(
        kinesis: Arc<Kinesis>,
        consumer_arn: impl Into<Arc<str>>,
        initial: InitialPosition,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let compatibility = Compatibility::Safe;
        Self { api: kinesis, consumer_arn: consumer_arn.into(), initial, clock, compatibility }
    }

    /// Begins in the way of Java where that loses records, if that is wanted.
    #[must_use]
    pub fn in_the_way_of(self, compatibility: Compatibility) -> Self {
        Self { compatibility, ..self }
    }
}

impl RecordSource for FanOutSource {
    fn open_again(&self, shard: &ShardId, from: &Checkpoint, since: Option<EpochMillis>) -> Box<dyn RecordReader> {
        Box::new(FanOutReader {
            api: Arc::clone(&self.api),
            consumer_arn: Arc::clone(&self.consumer_arn),
            clock: Arc::clone(&self.clock),
            shard: shard.clone(),
            position: Position::new(from.clone(), self.initial).since(since).in_the_way_of(self.compatibility),
            feed: None,
            due: Instant::now() + SPREAD.mul_f64(fastrand::f64()),
            faults: Episode::default(),
        })
    }
}

struct FanOutReader {
    api: Arc<dyn ShardApi>,
    consumer_arn: Arc<str>,
    clock: Arc<dyn Clock>,
    shard: ShardId,
    position: Position,
    feed: Option<Feed>,
    /// Not before this moment may the service be asked for a subscription.
    due: Instant,
    faults: Episode,
}

struct Feed {
    events: Box<dyn EventFeed>,
    taken: u64,
}

/// What became of one wait for an event.
enum Outcome {
    Taken(Batch),
    /// The service ended the subscription in good order, after this many events.
    Ended {
        events: u64,
    },
}

#[async_trait]
impl RecordReader for FanOutReader {
    async fn next(&mut self) -> Batch {
        loop {
            match self.attempt().await {
                Ok(Outcome::Taken(batch)) => {
                    self.faults.recovered(SUBSCRIBE);
                    return batch;
                }
                Ok(Outcome::Ended { events }) if events > 0 => {
                    debug!(events, "the subscription has ended, subscribing again");
                    self.feed = None;
                    self.due = Instant::now();
                }
                Ok(Outcome::Ended { .. }) => {
                    self.stumble(&FetchError::transient(SUBSCRIBE, "the subscription ended before its first event"));
                }
                Err(FetchError::ShardGone) => {
                    info!("the shard is gone from the service, which counts as its end");
                    return Batch { records: Vec::new(), millis_behind_latest: None, end: Some(Vec::new()), bytes: 0 };
                }
                Err(fault) => self.stumble(&fault),
            }
        }
    }
}

impl FanOutReader {
    async fn attempt(&mut self) -> Result<Outcome, FetchError> {
        let feed = match &mut self.feed {
            Some(feed) => feed,
            empty @ None => {
                sleep_until(self.due).await;
                let (start, sent) = (self.position.start(), self.clock.now());
                let call = self.api.subscribe(&self.consumer_arn, &self.shard, &start);
                let silent = |_| FetchError::transient(SUBSCRIBE, format!("no answer within {OPEN_LIMIT:?}"));
                let events = timeout(OPEN_LIMIT, call).await.map_err(silent)??;
                self.position.began(&start, sent);
                empty.insert(Feed { events, taken: 0 })
            }
        };
        let silent = |_| FetchError::transient(SUBSCRIBE, format!("no event for {SILENCE_LIMIT:?}"));
        let Some(event) = timeout(SILENCE_LIMIT, feed.events.next()).await.map_err(silent)?? else {
            return Ok(Outcome::Ended { events: feed.taken });
        };
        let batch = take(&mut self.position, event)?;
        feed.taken += 1;
        Ok(Outcome::Taken(batch))
    }

    fn stumble(&mut self, fault: &FetchError) {
        let failures = self.faults.failed(SUBSCRIBE, fault);
        self.feed = None;
        self.due = Instant::now() + wait_after(fault, failures, fastrand::f64());
    }
}

/// Makes a batch of a valid event and moves the position.
///
/// Source: KCL 3.x `FanOutRecordsPublisher.isValidEvent`: exactly one of continuation and child shards with their
/// parents.
fn take(position: &mut Position, event: Event) -> Result<Batch, FetchError> {
    let Event { mut records, continuation, millis_behind_latest, child_shards, bytes } = event;
    let odd = |what: &'static str| Err(FetchError::transient(SUBSCRIBE, what));
    let ended = match continuation {
        Some(_) if child_shards.is_empty() => false,
        None if !child_shards.is_empty() && child_shards.iter().all(|child| !child.parents.is_empty()) => true,
        Some(_) => return odd("an event has both a continuation and child shards"),
        None => return odd("an event has neither a continuation nor child shards with their parents"),
    };
    position.take(&mut records).map_err(|error| FetchError::transient(SUBSCRIBE, error))?;
    if let Some(continuation) = continuation {
        position.reached(continuation);
    }
    Ok(Batch { records, millis_behind_latest, end: ended.then_some(child_shards), bytes })
}

fn wait_after(fault: &FetchError, failures: u32, jitter: f64) -> Duration {
    match fault {
        FetchError::Busy(_) => BUSY_WAIT + FAULT_WAITS.wait(failures.saturating_sub(1), jitter) / 2,
        FetchError::Expired
        | FetchError::InvalidIterator(_)
        | FetchError::Throttled(_)
        | FetchError::ShardGone
        | FetchError::AccessDenied { .. }
        | FetchError::Transient { .. } => FAULT_WAITS.wait(failures, jitter),
    }
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
