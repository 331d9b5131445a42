//! Opens the subscriptions of one shard, one after the other, no faster than the service takes them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::SUBSCRIBE;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::retrieval::Since;
use crate::retrieval::api::{EventFeed, ShardApi};
use crate::retrieval::start::{Position, fixed_at};
use crate::stream::fetch::{Dated, FetchError, IteratorStart};
use crate::types::{EpochMillis, ShardId};

/// Longest wait for a subscription to open.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// The service refuses a second subscription of a consumer to a shard for five seconds.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Waits after all other faults.
const FAULT_WAITS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Least time between the beginnings of two calls. Source: Kinesis Data Streams quotas: one SubscribeToShard a second
/// for a consumer and a shard.
const CALL_GAP: Duration = Duration::from_secs(1);
/// First subscriptions are spread over this time, because a worker opens many at once.
const SPREAD: Duration = Duration::from_millis(200);
/// Age at which a subscription is replaced, at most. The service ends it at five minutes; the rest is for tries that
/// are refused.
const RELIEF_AGE: Duration = Duration::from_secs(270);
/// It may be so much younger, so that those that began together are not replaced together.
const RELIEF_SPREAD: Duration = Duration::from_secs(60);

type Answer = Result<Box<dyn EventFeed>, FetchError>;
/// Where a call begins to read, when the service took it at the earliest, and the subscription.
type Opened = Result<(IteratorStart, EpochMillis, Box<dyn EventFeed>), FetchError>;
type Call = Pin<Box<dyn Future<Output = Opened> + Send>>;

pub(super) struct Opener {
    api: Arc<dyn ShardApi>,
    consumer_arn: Arc<str>,
    clock: Arc<dyn Clock>,
    shard: ShardId,
    since: Since,
    /// Not before this moment may the service be asked for a subscription. One timer for all the waits that end early.
    due: Pin<Box<Sleep>>,
    asked: Option<Instant>,
    call: Option<Call>,
}

impl Opener {
    pub(super) fn new(
        api: &Arc<dyn ShardApi>,
        consumer_arn: &Arc<str>,
        clock: &Arc<dyn Clock>,
        shard: &ShardId,
        since: &Since,
    ) -> Self {
        Self {
            api: Arc::clone(api),
            consumer_arn: Arc::clone(consumer_arn),
            clock: Arc::clone(clock),
            shard: shard.clone(),
            since: Arc::clone(since),
            due: Box::pin(sleep_until(Instant::now() + SPREAD.mul_f64(fastrand::f64()))),
            asked: None,
            call: None,
        }
    }

    /// Waits until a call is due, makes it, and gives the subscription that it opens; the next one is due when that
    /// one is to be replaced. Cancel-safe: a call under way is waited for at the next time.
    pub(super) async fn open(&mut self, position: &mut Position) -> Answer {
        let call = match &mut self.call {
            Some(call) => call,
            none @ None => {
                self.due.as_mut().await;
                let asked = Instant::now();
                self.asked = Some(asked);
                let (api, consumer, shard) = (self.api.clone(), self.consumer_arn.clone(), self.shard.clone());
                let (start, sent) = (position.start(), self.clock.now());
                none.insert(Box::pin(async move {
                    let silent = |_| FetchError::transient(SUBSCRIBE, format!("no answer within {OPEN_LIMIT:?}"));
                    let answer = timeout(OPEN_LIMIT, api.subscribe(&consumer, &shard, &start)).await;
                    let Dated { given, date } = answer.map_err(silent).flatten()?;
                    Ok((start, fixed_at(sent, date, asked.elapsed()), given))
                }))
            }
        };
        let opened = call.await;
        self.call = None;
        let (start, at, events) = opened?;
        position.began(&start, at);
        if let Some(latest) = position.latest_since() {
            self.since.get_or_init(|| latest);
        }
        self.due.as_mut().reset(Instant::now() + RELIEF_AGE - RELIEF_SPREAD.mul_f64(fastrand::f64()));
        Ok(events)
    }

    /// Whether a call is under way.
    pub(super) fn is_asking(&self) -> bool {
        self.call.is_some()
    }

    /// Makes the next call due at once.
    pub(super) fn hurry(&mut self) {
        self.wait(Duration::ZERO);
    }

    /// Puts the next call off after a fault, the `failures`th in a row.
    pub(super) fn hold_back(&mut self, fault: &FetchError, failures: u32) {
        self.wait(wait_after(fault, failures, fastrand::f64()));
    }

    fn wait(&mut self, wait: Duration) {
        let now = Instant::now();
        self.due.as_mut().reset((now + wait).max(self.asked.map_or(now, |asked| asked + CALL_GAP)));
    }
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
