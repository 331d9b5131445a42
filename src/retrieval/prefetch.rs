//! Reads ahead of the consumer, within bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::{Batch, RecordReader};
use crate::config::Retrieval;

/// How much may wait for the consumer. Where nothing waits, one more batch is always fetched, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefetchLimits {
    /// Batches, empty ones too.
    pub batches: usize,
    /// Bytes of memory that they keep; nothing is fetched while so many wait.
    pub bytes: usize,
}

impl PrefetchLimits {
    /// For polling. Source: RETRIEVAL.md section 1.4 (KCL 3.x: 4 batches, 8 MiB); the Java limit of 30,000 records
    /// is one of memory and the bytes hold it here.
    pub const POLLING: Self = Self { batches: 4, bytes: 8 << 20 };
    /// For fan-out: the service pushes, so one event ahead keeps the pipe full.
    pub const FAN_OUT: Self = Self { batches: 1, bytes: 8 << 20 };

    /// Those of a way of reading.
    #[must_use]
    pub fn of(retrieval: &Retrieval) -> Self {
        match retrieval {
            Retrieval::Polling(_) => Self::POLLING,
            Retrieval::FanOut(_) => Self::FAN_OUT,
        }
    }
}

/// A reader at work in a task of its own. Dropping this stops the reader.
#[derive(Debug)]
pub struct Prefetch {
    batches: mpsc::Receiver<Batch>,
    waiting: Arc<Waiting>,
}

/// Bytes fetched and not yet received.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    fell: Notify,
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
        Self { batches, waiting }
    }

    /// Waits for the next batch; `None` after the batch with `end`, or if the reader's task has died. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Batch> {
        let batch = self.batches.recv().await?;
        self.waiting.bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
        self.waiting.fell.notify_one();
        Some(batch)
    }
}

async fn read_ahead(
    mut reader: Box<dyn RecordReader>,
    limits: PrefetchLimits,
    sender: &mpsc::Sender<Batch>,
    waiting: &Waiting,
) {
    loop {
        let Ok(room) = sender.reserve().await else { return };
        while waiting.bytes.load(Ordering::Acquire) >= limits.bytes.max(1) {
            waiting.fell.notified().await;
        }
        let batch = reader.next().await;
        let last = batch.end.is_some();
        waiting.bytes.fetch_add(batch.bytes, Ordering::AcqRel);
        room.send(batch);
        if last {
            return;
        }
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
