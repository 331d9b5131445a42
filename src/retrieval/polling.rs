//! Reading with GetRecords.
//!
//! One call in flight per shard. Nothing is left out: an iterator is given up only for one that begins where the
//! last taken record was, see [`start`](super::start).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::api::ShardApi;
use super::episode::Episode;
use super::start::{Position, fixed_at};
use super::{Batch, RecordReader, RecordSource, Since};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::{Compatibility, Polling};
use crate::stream::fetch::{Answer, Dated, FetchError};
use crate::stream::kinesis::Kinesis;
use crate::stream::memory::MemoryStream;
use crate::types::{Checkpoint, InitialPosition, ShardId};

const GET_RECORDS: &str = "GetRecords";
/// Longest wait for one answer. Source: RETRIEVAL.md section 1.2.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Age at which an iterator is not used any more; the service refuses it at five minutes.
const ITERATOR_LIMIT: Duration = Duration::from_secs(270);
/// Waits after faults. The service refuses a shard for up to five seconds after a large answer.
const FAULT_WAITS: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// Pause at the tip while records keep coming and nobody has set an idle time: two reads a second, so that another
/// application, and the polls of a Java worker, fit into the five that all share.
const LIVELY_PAUSE: Duration = Duration::from_millis(500);
/// How long after its last record a shard counts as lively.
const LIVELY_FOR: Duration = Duration::from_secs(15);
/// How long after a refusal for load the idle time counts, whatever comes, and calls while behind start twice a second:
/// somebody else reads the shard, too, and two who take all they may are refused half of the time.
const CAREFUL_FOR: Duration = Duration::from_secs(60);

/// What the service allows on one shard, all applications together.
///
/// Source: Kinesis Data Streams quotas: five reads a second, 2 MiB a second; after an answer of 10 MiB it refuses
/// reads for five seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Least time between the beginnings of two calls.
    pub gap: Duration,
    /// Bytes of data and partition keys a second; `None` is without limit.
    pub bytes_per_second: Option<u32>,
}

impl ReadLimits {
    /// Those of the service.
    pub const SERVICE: Self = Self { gap: Duration::from_millis(200), bytes_per_second: Some(2 << 20) };
    /// For stand-ins that have none.
    pub const NONE: Self = Self { gap: Duration::ZERO, bytes_per_second: None };

    /// Those of one who shares the shard with another application: two calls a second of five, as [`LIVELY_PAUSE`].
    fn shared(self) -> Self {
        Self { gap: self.gap * 5 / 2, ..self }
    }

    /// Least time from the beginning of a call that brought `bytes` to the beginning of the next one.
    fn least(&self, bytes: usize) -> Duration {
        let paid = self.bytes_per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_millis(
                u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000) / u64::from(rate.max(1)),
            )
        });
        self.gap.max(paid)
    }
}

/// Reads shards by polling.
pub struct PollingSource {
    api: Arc<dyn ShardApi>,
    settings: Polling,
    limits: ReadLimits,
    initial: InitialPosition,
    clock: Arc<dyn Clock>,
    compatibility: Compatibility,
}

impl PollingSource {
    /// Reads from the service. `initial` gives the time for leases that begin at a time.
    #[must_use]
    pub fn new(kinesis: Arc<Kinesis>, settings: Polling, initial: InitialPosition, clock: Arc<dyn Clock>) -> Self {
        Self::over(kinesis, settings, initial, clock)
    }

    /// Reads a stream in memory, for simulations.
    #[must_use]
    pub fn in_memory(
        stream: Arc<MemoryStream>,
        settings: Polling,
        initial: InitialPosition,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::over(stream, settings, initial, clock)
    }

    pub(super) fn over(
        api: Arc<dyn ShardApi>,
        settings: Polling,
        initial: InitialPosition,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { api, settings, limits: ReadLimits::SERVICE, initial, clock, compatibility: Compatibility::Safe }
    }

    /// Begins in the way of Java where that loses records, if that is wanted.
    #[must_use]
    pub fn in_the_way_of(self, compatibility: Compatibility) -> Self {
        Self { compatibility, ..self }
    }

    /// Keeps to other limits than the service's.
    #[must_use]
    pub fn with_limits(self, limits: ReadLimits) -> Self {
        Self { limits, ..self }
    }
}

impl RecordSource for PollingSource {
    fn open_again(&self, shard: &ShardId, from: &Checkpoint, since: Since) -> Box<dyn RecordReader> {
        let position = Position::new(from.clone(), self.initial).since(since.get().copied());
        Box::new(PollingReader {
            api: Arc::clone(&self.api),
            settings: self.settings.clone(),
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            shard: shard.clone(),
            position: position.in_the_way_of(self.compatibility),
            since,
            iterator: None,
            due: Instant::now(),
            faults: Episode::default(),
            odd_answers: u32::default(),
            // at the newest record there is next to nothing to read
            last_bytes: matches!(from, Checkpoint::Latest).then_some(0),
            last_record: None,
            last_refusal: None,
        })
    }
}

struct Iterator {
    text: String,
    since: Instant,
}

struct PollingReader {
    api: Arc<dyn ShardApi>,
    settings: Polling,
    limits: ReadLimits,
    clock: Arc<dyn Clock>,
    shard: ShardId,
    position: Position,
    since: Since,
    iterator: Option<Iterator>,
    /// Not before this moment may the service be asked again.
    due: Instant,
    faults: Episode,
    odd_answers: u32,
    /// Memory of the last answer, which the next one will be like.
    last_bytes: Option<usize>,
    last_record: Option<Instant>,
    last_refusal: Option<Instant>,
}

#[async_trait]
impl RecordReader for PollingReader {
    async fn ready(&mut self) {
        sleep_until(self.due).await;
    }

    fn expected(&self) -> Option<usize> {
        self.last_bytes
    }

    async fn next(&mut self) -> Batch {
        loop {
            if let Some(batch) = self.attempt().await {
                return batch;
            }
        }
    }

    async fn attempt(&mut self) -> Option<Batch> {
        sleep_until(self.due).await;
        let began = Instant::now();
        match self.ask().await {
            Ok(answer) => {
                self.faults.recovered(GET_RECORDS);
                let took = began.elapsed();
                self.last_bytes = Some(answer.bytes);
                if !answer.records.is_empty() {
                    self.last_record = Some(Instant::now());
                }
                self.due = Instant::now() + pause(&self.settings, &self.limits(), &answer, took, self.idle());
                self.take(answer)
            }
            Err(FetchError::ShardGone) => {
                info!("the shard is gone from the service, which counts as its end");
                Some(Batch { records: Vec::new(), millis_behind_latest: None, end: Some(Vec::new()), bytes: 0 })
            }
            Err(fault) => {
                let failures = self.faults.failed(GET_RECORDS, &fault);
                if matches!(fault, FetchError::Throttled(_)) {
                    self.last_refusal = Some(Instant::now());
                }
                if needs_new_iterator(&fault) {
                    self.iterator = None;
                }
                self.due = Instant::now() + wait_after(&fault, failures, fastrand::f64());
                None
            }
        }
    }
}

impl PollingReader {
    fn limits(&self) -> ReadLimits {
        let is_careful = self.last_refusal.is_some_and(|refusal| refusal.elapsed() < CAREFUL_FOR);
        if is_careful { self.limits.shared() } else { self.limits }
    }

    fn idle(&self) -> Duration {
        let since = |moment: Option<Instant>| moment.map(|moment| moment.elapsed());
        tip_pause(&self.settings, since(self.last_record), since(self.last_refusal))
    }

    /// One attempt: an iterator if there is none that lives, then its records.
    async fn ask(&mut self) -> Result<Answer, FetchError> {
        let silent = |_| FetchError::transient(GET_RECORDS, format!("no answer within {CALL_LIMIT:?}"));
        if let Some(old) = self.iterator.take_if(|iterator| iterator.since.elapsed() >= ITERATOR_LIMIT) {
            debug!(age = ?old.since.elapsed(), "the shard iterator is old, getting another");
        }
        let iterator = match &mut self.iterator {
            Some(iterator) => iterator,
            empty @ None => {
                let (start, sent, since) = (self.position.start(), self.clock.now(), Instant::now());
                let call = self.api.iterator(&self.shard, &start);
                let Dated { given: text, date } = timeout(CALL_LIMIT, call).await.map_err(silent)??;
                self.position.began(&start, fixed_at(sent, date, since.elapsed()));
                if let Some(latest) = self.position.latest_since() {
                    self.since.get_or_init(|| latest);
                }
                empty.insert(Iterator { text, since })
            }
        };
        let call = self.api.records(&iterator.text, self.settings.max_records);
        timeout(CALL_LIMIT, call).await.map_err(silent)?
    }

    /// Makes a batch of a valid answer. One that is not valid is dropped, and the same iterator is asked again.
    fn take(&mut self, answer: Answer) -> Option<Batch> {
        let Answer { mut records, next_iterator, millis_behind_latest, child_shards, bytes } = answer;
        // Source: KCL 3.x `KinesisDataFetcher.isValidResult`
        let ended = match next_iterator {
            Some(_) if child_shards.is_empty() => false,
            None if !child_shards.is_empty() && child_shards.iter().all(|child| !child.parents.is_empty()) => true,
            Some(_) => return self.odd("it has both a next iterator and child shards"),
            None => return self.odd("it has no next iterator, as at a shard's end, but no child shards with parents"),
        };
        if self.position.take(&mut records).is_err() {
            return self.odd("a sequence number has other than digits");
        }
        self.iterator = next_iterator.map(|text| Iterator { text, since: Instant::now() });
        if self.odd_answers > 0 {
            info!(answers = std::mem::take(&mut self.odd_answers), "GetRecords answers are complete again");
        }
        Some(Batch { records, millis_behind_latest, end: ended.then_some(child_shards), bytes })
    }

    fn odd(&mut self, what: &str) -> Option<Batch> {
        if self.odd_answers == 0 {
            warn!(what, "an answer of GetRecords is incomplete, asking with the same iterator until it is not");
        }
        self.odd_answers = self.odd_answers.saturating_add(1);
        self.due = self.due.max(Instant::now() + self.settings.idle);
        None
    }
}

/// How long to wait at the tip, by the time since the last record and since the last refusal.
fn tip_pause(settings: &Polling, record: Option<Duration>, refusal: Option<Duration>) -> Duration {
    let is_lively = record.is_some_and(|since| since < LIVELY_FOR);
    let is_careful = refusal.is_some_and(|since| since < CAREFUL_FOR);
    if settings.follows_arrivals && is_lively && !is_careful {
        return settings.idle.min(LIVELY_PAUSE);
    }
    settings.idle
}

/// How long to wait between the end of a call that took `took` and the next one; `idle` is the pause at the tip.
///
/// Source: RETRIEVAL.md sections 1.3 and 4: the idle time at the tip; what the service's limits ask for when more
/// records are waiting.
fn pause(settings: &Polling, limits: &ReadLimits, answer: &Answer, took: Duration, idle: Duration) -> Duration {
    let bytes: usize = answer.records.iter().map(|r| r.data_len() + r.partition_key.as_bytes().len()).sum();
    let behind = u64::try_from(answer.millis_behind_latest.unwrap_or(0)).unwrap_or(0);
    let full = i32::try_from(answer.records.len()).is_ok_and(|n| n >= settings.max_records);
    let more_is_waiting = full || (behind > 0 && !answer.records.is_empty());
    let reduced = Duration::from_millis(behind) < settings.reduced_tps_threshold;
    let wanted = match (reduced, more_is_waiting) {
        (true, _) => settings.idle.max(settings.reduced_tps_threshold.saturating_sub(took)),
        (false, true) => Duration::ZERO,
        (false, false) => idle,
    };
    wanted.max(limits.least(bytes).saturating_sub(took))
}

fn needs_new_iterator(fault: &FetchError) -> bool {
    match fault {
        FetchError::Expired | FetchError::InvalidIterator(_) => true,
        FetchError::Throttled(_)
        | FetchError::Busy(_)
        | FetchError::ShardGone
        | FetchError::AccessDenied { .. }
        | FetchError::Transient { .. } => false,
    }
}

/// The first need of a new iterator is not waited for; it costs no read.
fn wait_after(fault: &FetchError, failures: u32, jitter: f64) -> Duration {
    if failures <= 1 && needs_new_iterator(fault) { Duration::ZERO } else { FAULT_WAITS.wait(failures, jitter) }
}

#[cfg(test)]
#[path = "polling_tests.rs"]
mod tests;
