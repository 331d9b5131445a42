//! Reading a shard: the seam between consumers and the two ways of reading, polling and enhanced fan-out.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::record::Record;
use crate::stream::ChildShard;
use crate::types::{Checkpoint, EpochMillis, ShardId};

pub(crate) mod api;
pub mod budget;
pub(crate) mod episode;
pub mod fanout;
pub mod polling;
pub mod prefetch;
pub mod registration;
#[cfg(test)]
mod script;
pub mod start;

/// One answer of GetRecords or one event of SubscribeToShard; at most one `processRecords` for the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order of the shard.
    pub records: Vec<Record>,
    /// How far behind the newest record the answer was, in milliseconds, as the service says.
    pub millis_behind_latest: Option<i64>,
    /// Set on the last batch of a shard: the shards that follow (none if the shard is gone from the service).
    pub end: Option<Vec<ChildShard>>,
    /// Memory that the batch keeps, in bytes.
    pub bytes: usize,
}

/// Reads the shards of one stream.
pub trait RecordSource: Send + Sync + 'static {
    /// Begins to read `shard` after `from`. Does no I/O; the reader's first [`RecordReader::next`] does.
    fn open(&self, shard: &ShardId, from: &Checkpoint) -> Box<dyn RecordReader> {
        self.open_again(shard, from, Since::default())
    }

    /// [`Self::open`] for a shard that may have been read before under the same lease: `since` says when
    /// [`Checkpoint::Latest`] was first asked for, and is what that stands for from then on, so that nothing which came
    /// in between is left out.
    fn open_again(&self, shard: &ShardId, from: &Checkpoint, since: Since) -> Box<dyn RecordReader>;
}

/// When the newest record of a shard was first asked for: set once, by the reader that did.
pub type Since = Arc<OnceLock<EpochMillis>>;

/// The reader of one shard.
#[async_trait]
pub trait RecordReader: Send {
    /// Waits until the pace of reading lets the service be asked again. Cancel-safe.
    async fn ready(&mut self) {}

    /// Notified whenever the service says that another subscription has this shard: the lease may be somebody else's by
    /// now, and who does not know that would take the shard away from its new owner. `None` where nobody can.
    fn rivals(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Memory that the next batch will take, in bytes, as far as can be said before it is asked for; `None` before
    /// the first one. Zero where the service pushes.
    fn expected(&self) -> Option<usize> {
        Some(0)
    }

    /// Waits for the next batch. Faults that time can cure (throttling, expired iterators, broken connections) are
    /// survived inside, with growing jittered waits and one log line an episode; no record is left out by them.
    ///
    /// Not cancel-safe: a reader dropped in the middle of it must be opened again from the last checkpoint.
    /// Must not be called after a batch with `end`.
    async fn next(&mut self) -> Batch;

    /// [`Self::next`], but where a fault must be waited out it is `None`, and [`Self::ready`] waits: who has set memory
    /// aside for the batch need not do so meanwhile.
    async fn attempt(&mut self) -> Option<Batch> {
        Some(self.next().await)
    }
}
