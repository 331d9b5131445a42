//! What the consumers tell the outside about their shards while they work.

use crate::record::Record;
use crate::types::{Checkpoint, ShardId};

/// What a shard's consumer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Its parents are not finished.
    WaitingForParents,
    /// The child is being started.
    Initializing,
    /// Records flow.
    Processing,
    /// The child failed; a fresh one is started after a wait.
    Restarting,
    /// The child was asked to stop.
    ShutdownRequested,
    /// The end was reached and is being told to the child.
    Ending,
    /// Read to the end.
    Ended,
    /// The lease is somebody else's now, or was given back.
    Released,
}

/// Hears of everything that happens to shards. Called often and from many tasks: must be quick and must not block.
pub trait Progress: Send + Sync + 'static {
    /// The shard's consumer changed its state.
    fn state(&self, shard: &ShardId, state: ShardState);
    /// The child has handled these records; `behind` is the lag in milliseconds that came with them. Answers without
    /// records are told, too, but those that only repeat the lag of the one before are not.
    fn delivered(&self, shard: &ShardId, records: &[Record], behind: Option<i64>);
    /// This checkpoint is stored.
    fn checkpointed(&self, shard: &ShardId, at: &Checkpoint);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn state(&self, _: &ShardId, _: ShardState) {}
    fn delivered(&self, _: &ShardId, _: &[Record], _: Option<i64>) {}
    fn checkpointed(&self, _: &ShardId, _: &Checkpoint) {}
}
