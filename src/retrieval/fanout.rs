//! Reading with SubscribeToShard (enhanced fan-out).
//!
//! A subscription may end at any time; the next one begins where the last event that was taken ended. The service ends
//! each after five minutes, so each is replaced before that: the next one is opened while the old one is still read
//! (`opener`). One that is silent for too long is given up, because half-open connections tell nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tracing::{debug, info};

use super::api::{EventFeed, ShardApi};
use super::episode::Episode;
use super::start::Position;
use super::{Batch, RecordReader, RecordSource, Since};
use crate::clock::Clock;
use crate::config::Compatibility;
use crate::stream::fetch::{Event, FetchError};
use crate::stream::kinesis::Kinesis;
use crate::types::{Checkpoint, InitialPosition, ShardId};

mod opener;
#[cfg(test)]
mod relief_tests;
#[cfg(test)]
mod service;

use opener::Opener;

const SUBSCRIBE: &str = "SubscribeToShard";
/// Longest silence; the service sends an event about every five seconds, records or not.
const SILENCE_LIMIT: Duration = Duration::from_secs(12);

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
    fn open_again(&self, shard: &ShardId, from: &Checkpoint, since: Since) -> Box<dyn RecordReader> {
        let opener = Opener::new(&self.api, &self.consumer_arn, &self.clock, shard, &since);
        let position =
            Position::new(from.clone(), self.initial).since(since.get().copied()).in_the_way_of(self.compatibility);
        Box::new(FanOutReader { opener, position, feed: None, faults: Episode::default(), rivals: Arc::default() })
    }
}

struct FanOutReader {
    opener: Opener,
    position: Position,
    feed: Option<Feed>,
    faults: Episode,
    rivals: Arc<Notify>,
}

struct Feed {
    events: Box<dyn EventFeed>,
    taken: u64,
    /// Over when it is given up unless an event comes. One timer for all events, set whenever somebody begins to wait.
    silence: Pin<Box<Sleep>>,
    is_awaited: bool,
    /// Failed tries to replace it.
    refusals: u32,
}

/// What became of one wait for an event.
enum Outcome {
    Taken(Batch),
    /// The subscription was replaced before its end, or could not be yet.
    Relieved,
    /// The service ended the subscription in good order, after this many events.
    Ended {
        events: u64,
    },
}

#[async_trait]
impl RecordReader for FanOutReader {
    fn rivals(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.rivals))
    }

    async fn next(&mut self) -> Batch {
        loop {
            match self.attempt().await {
                Ok(Outcome::Taken(batch)) => {
                    self.faults.recovered(SUBSCRIBE);
                    return batch;
                }
                Ok(Outcome::Relieved) => {}
                Ok(Outcome::Ended { events }) if events > 0 => {
                    debug!(events, "the subscription has ended, subscribing again");
                    if self.feed.take().is_some_and(|feed| feed.refusals == 0) {
                        self.opener.hurry();
                    }
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
    /// Waits for an event, and for the next subscription once that is due. What the old one still sends is taken
    /// first: the next one sends it again, and it is left out then.
    async fn attempt(&mut self) -> Result<Outcome, FetchError> {
        let feed = match &mut self.feed {
            Some(feed) => feed,
            empty @ None => empty.insert(Feed::new(self.opener.open(&mut self.position).await?)),
        };
        if !std::mem::replace(&mut feed.is_awaited, true) {
            feed.silence.as_mut().reset(Instant::now() + SILENCE_LIMIT);
        }
        let event = tokio::select! {
            biased;
            event = feed.events.next() => event?,
            () = &mut feed.silence => {
                return Err(FetchError::transient(SUBSCRIBE, format!("no event for {SILENCE_LIMIT:?}")));
            }
            next = self.opener.open(&mut self.position), if feed.taken > 0 => {
                match next {
                    Ok(events) => *feed = Feed::new(events),
                    Err(fault) => {
                        feed.refusals = feed.refusals.saturating_add(1);
                        let failures = feed.refusals;
                        debug!(%fault, failures, "the next subscription must wait, the old one lives on");
                        self.hold_back(&fault, failures);
                    }
                }
                return Ok(Outcome::Relieved);
            }
        };
        feed.is_awaited = false;
        let Some(event) = event else { return Ok(Outcome::Ended { events: feed.taken }) };
        let batch = take(&mut self.position, event)?;
        feed.taken += 1;
        Ok(Outcome::Taken(batch))
    }

    /// Gives the subscription up. While the next one is being opened that is no trouble yet; mostly it is the reason.
    fn stumble(&mut self, fault: &FetchError) {
        self.feed = None;
        if self.opener.is_asking() {
            debug!(%fault, "the subscription has ended, the next one is on its way");
            return;
        }
        let failures = self.faults.failed(SUBSCRIBE, fault);
        self.hold_back(fault, failures);
    }

    fn hold_back(&mut self, fault: &FetchError, failures: u32) {
        if matches!(fault, FetchError::Busy(_)) {
            self.rivals.notify_one();
        }
        self.opener.hold_back(fault, failures);
    }
}

impl Feed {
    fn new(events: Box<dyn EventFeed>) -> Self {
        Self { events, taken: 0, silence: Box::pin(sleep(SILENCE_LIMIT)), is_awaited: false, refusals: 0 }
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

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
