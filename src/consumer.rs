//! One task a shard: from the lease in our hands to the end of the shard, or until the lease goes elsewhere.
//!
//! The task owns its child, its reader and its place. Nothing here knows the fleet; losing the lease and being asked
//! for it are seen through [`HeldLease`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::child::ChildLauncher;
use crate::clock::Clock;
use crate::config::{Compatibility, Processing};
use crate::lease::LeaseStore;
use crate::poison::target::Target;
use crate::progress::Progress;
use crate::retrieval::RecordSource;
use crate::retrieval::prefetch::PrefetchLimits;

mod attempts;
mod breakdown;
mod end;
mod failure;
mod lives;
mod parent;
mod poison;
#[cfg(test)]
mod real_tests;
pub mod talk;
mod task;
#[cfg(test)]
mod testing;

pub use breakdown::Breakdowns;
pub use failure::{ChildFailure, Failure};
pub use lives::consume;

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
    /// `applicationName`, for what is written down.
    pub application: String,
    /// `streamName`, for the same.
    pub stream: String,
    /// Wall time, for the same.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub processing: Processing,
    /// Where poison is written down, if it is (`multilangd.onPoison = deadLetter`).
    pub dead_letters: Option<Arc<dyn Target>>,
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
    /// The shard was read to its end, and the child did not checkpoint that. The lease is still ours. Final in strict
    /// mode only.
    EndNotCheckpointed,
    /// The lease was lost, or given to whom it was wanted by.
    LeaseGone,
    /// The child could not be started or failed, for the last time. The lease is given back.
    Failed(Failure),
}
