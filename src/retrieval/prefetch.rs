//! Reads ahead of the consumer, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::budget::{Account, Budget, Grant};
use super::{Batch, RecordReader};
use crate::config::Retrieval;

/// A first answer may be the largest there is, so two shards at a time ask for theirs as long as none is known.
const FIRST_PART: usize = 2;

/// How much may wait for the consumer. Where nothing waits, one more batch is always fetched, whatever its size.
#[derive(Clone, Debug)]
pub struct PrefetchLimits {
    /// Batches, empty ones too.
    pub batches: usize,
    /// Kinesis records; nothing is fetched while so many wait.
    pub records: usize,
    /// Bytes of memory that they keep; nothing is fetched while so many wait.
    pub bytes: usize,
    /// What all shards may keep together, the batches in work too; `None` is no limit.
    pub budget: Option<Arc<Budget>>,
}

impl PrefetchLimits {
    /// For polling. Source: RETRIEVAL.md section 1.4 (KCL 3.x: 4 batches, 30,000 records, 8 MiB).
    pub const POLLING: Self = Self { batches: 4, records: 30_000, bytes: 8 << 20, budget: None };
    /// For fan-out: the service pushes, so one event ahead keeps the pipe full.
    pub const FAN_OUT: Self = Self { batches: 1, ..Self::POLLING };

    /// Those of a way of reading, all shards together within `budget`.
    #[must_use]
    pub fn of(retrieval: &Retrieval, budget: Arc<Budget>) -> Self {
        let limits = match retrieval {
            Retrieval::Polling(_) => Self::POLLING,
            Retrieval::FanOut(_) => Self::FAN_OUT,
        };
        Self { budget: Some(budget), ..limits }
    }
}

/// A batch and its part of the budget.
#[derive(Debug)]
struct Fetched {
    batch: Batch,
    grant: Option<Grant>,
}

/// A reader at work in a task of its own. Dropping this stops the reader.
#[derive(Debug)]
pub struct Prefetch {
    batches: mpsc::Receiver<Fetched>,
    waiting: Arc<Waiting>,
    /// Of the batch that was received last, which is being processed.
    in_work: Option<Grant>,
}

/// What was fetched and not yet received.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    records: AtomicUsize,
    fell: Notify,
    /// Who receives has no use for a batch that says what the one before it said.
    only_news: AtomicBool,
}

impl Waiting {
    fn is_full(&self, limits: &PrefetchLimits) -> bool {
        let reached = |now: &AtomicUsize, limit: usize| now.load(Ordering::Acquire) >= limit.max(1);
        reached(&self.bytes, limits.bytes) || reached(&self.records, limits.records)
    }

    fn add(&self, batch: &Batch) {
        self.bytes.fetch_add(batch.bytes, Ordering::AcqRel);
        self.records.fetch_add(batch.records.len(), Ordering::AcqRel);
    }

    fn remove(&self, batch: &Batch) {
        self.bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
        self.records.fetch_sub(batch.records.len(), Ordering::AcqRel);
        self.fell.notify_one();
    }
}

impl Prefetch {
    /// Starts `reader` in a task that `tasks` owns; it ends after the batch with `end`, or when this is dropped.
    pub fn start(reader: Box<dyn RecordReader>, limits: PrefetchLimits, tasks: &mut JoinSet<()>) -> Self {
        let (sender, batches) = mpsc::channel(limits.batches.max(1));
        let waiting = Arc::new(Waiting::default());
        let theirs = Arc::clone(&waiting);
        let run = async move {
            tokio::select! {
                biased;
                () = sender.closed() => {}
                () = read_ahead(reader, limits, &sender, &theirs) => {}
            }
        };
        tasks.spawn(run.in_current_span());
        Self { batches, waiting, in_work: None }
    }

    /// From now on a batch without records that says nothing else than the one before it is not handed over, so that an
    /// idle shard's consumer sleeps.
    pub fn only_news(&self) {
        self.waiting.only_news.store(true, Ordering::Release);
    }

    /// Waits for the next batch; `None` after the batch with `end`, or if the reader's task has died. Cancel-safe.
    ///
    /// Asking for it says that the batch before is done with, so its part of the budget is given back.
    pub async fn recv(&mut self) -> Option<Batch> {
        self.in_work = None;
        let Fetched { batch, grant } = self.batches.recv().await?;
        self.in_work = grant;
        self.waiting.remove(&batch);
        Some(batch)
    }
}

async fn read_ahead(
    mut reader: Box<dyn RecordReader>,
    limits: PrefetchLimits,
    sender: &mpsc::Sender<Fetched>,
    waiting: &Waiting,
) {
    let account = limits.budget.as_ref().map(Budget::account);
    let mut said = None;
    loop {
        let Ok(room) = sender.reserve().await else { return };
        while waiting.is_full(&limits) {
            waiting.fell.notified().await;
        }
        let Fetched { batch, grant } = loop {
            let Some(fetched) = attempt(&mut *reader, account.as_ref()).await else { continue };
            let says = empty(&fetched.batch);
            let is_news = says.is_none() || says != said || !waiting.only_news.load(Ordering::Acquire);
            said = says;
            if is_news {
                break fetched;
            }
        };
        let last = batch.end.is_some();
        waiting.add(&batch);
        room.send(Fetched { batch, grant });
        if last {
            return;
        }
    }
}

/// What a batch says that has neither records nor the shard's end: how far behind the newest record that is.
fn empty(batch: &Batch) -> Option<Option<i64>> {
    (batch.records.is_empty() && batch.end.is_none()).then_some(batch.millis_behind_latest)
}

/// One try with memory set aside for what may come; after a fault that is given back until it may be tried again.
async fn attempt(reader: &mut dyn RecordReader, account: Option<&Account>) -> Option<Fetched> {
    reader.ready().await;
    let mut grant = match account {
        Some(account) => Some(take(account, reader.expected()).await),
        None => None,
    };
    let batch = reader.attempt().await?;
    if let Some(grant) = &mut grant {
        grant.correct(batch.bytes);
    }
    Some(Fetched { batch, grant })
}

async fn take(account: &Account, expected: Option<usize>) -> Grant {
    account.take(expected.unwrap_or(account.limit() / FIRST_PART)).await
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
