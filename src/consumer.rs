//! One task a shard: from the lease in our hands to the end of the shard, or until the lease goes elsewhere.
//!
//! The task owns its child, its reader and its place. Nothing here knows the fleet; losing the lease and being asked
//! for it are seen through [`HeldLease`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::child::{ChildLauncher, LaunchError};
use crate::config::{Compatibility, Processing};
use crate::consumer::talk::ChildFailure;
use crate::consumer::task::ShardTask;
use crate::coordinator::Assignment;
use crate::coordinator::renew::HeldLease;
use crate::lease::{Lease, LeaseStore};
use crate::progress::Progress;
use crate::record::deaggregate::Fault;
use crate::retrieval::RecordSource;
use crate::retrieval::prefetch::PrefetchLimits;
use crate::types::ShardId;

mod end;
mod parent;
pub mod talk;
mod task;
#[cfg(test)]
mod testing;

/// What all consumers of a worker share.
pub struct Shared {
    /// The leases: those of parents, and of children to be made.
    pub leases: Arc<dyn LeaseStore>,
    /// Where records come from.
    pub source: Arc<dyn RecordSource>,
    /// How children are started.
    pub launcher: Arc<dyn ChildLauncher>,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
    /// Settings.
    pub processing: Processing,
    /// Longest wait between two looks at a parent's lease.
    pub parent_poll: Duration,
    /// Whether Java's ways are wanted where ours are safer.
    pub compatibility: Compatibility,
    /// How far to read ahead.
    pub read_ahead: PrefetchLimits,
    /// Notified whenever a shard of this worker has ended, so that its children need not wait for the next look.
    pub ended: Notify,
}

/// The two ways of being told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Finish the batch, let the child checkpoint, give the lease back.
    pub gracefully: CancellationToken,
    /// The time for that is over.
    pub now: CancellationToken,
}

/// How a consumer ended.
#[derive(Debug)]
pub enum Outcome {
    /// The shard was read to its end and checkpointed so. The lease is still ours.
    Finished,
    /// The shard was read to its end, and the child did not checkpoint that. The lease is still ours.
    EndNotCheckpointed,
    /// The lease was lost, or given to whom it was wanted by.
    LeaseGone,
    /// The child could not be started or failed. The lease is given back.
    Failed(Failure),
}

/// Why a consumer could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The child could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The child died, answered wrongly, or did not answer.
    #[error("child of shard `{shard}` failed: {failure}")]
    Child {
        /// The shard.
        shard: ShardId,
        /// What it did.
        failure: ChildFailure,
    },
    /// An aggregated record is damaged, and Java's way is wanted.
    #[error("aggregated record of shard `{shard}` is damaged, which stops the Java daemon: {fault}")]
    Damaged {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The reader of the shard ended without reaching the shard's end, which it must not.
    #[error("reading shard `{shard}` ended by itself; this is a bug, please report it")]
    ReaderGone {
        /// The shard.
        shard: ShardId,
    },
}

impl Failure {
    /// Whether a child did not answer in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Child { failure: ChildFailure::TimedOut { .. }, .. })
    }
}

/// Runs the consumer of one shard to its end.
pub async fn consume(shared: Arc<Shared>, lease: Lease, held: HeldLease, stops: Stops) -> Outcome {
    let mut task = ShardTask::new(shared, Assignment { lease, held });
    let outcome = tokio::select! {
        biased;
        () = stops.now.cancelled() => None,
        outcome = task.run(&stops.gracefully) => Some(outcome),
    };
    match outcome {
        Some(outcome) => outcome,
        None => task.abandon().await,
    }
}
