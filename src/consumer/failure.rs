//! Why a shard's consumer could not go on, in sentences for the operator.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::child::message::Action;
use crate::child::{Death, LaunchError};
use crate::record::deaggregate::Fault;
use crate::types::ShardId;

/// What a child did that ends its conversation.
#[derive(Debug, thiserror::Error)]
pub enum ChildFailure {
    /// It closed its output, most likely because it died.
    #[error("it ended its output before it answered `{awaited}`; look for its last words on standard error")]
    Ended {
        /// What it was told.
        awaited: Action,
    },
    /// It ended, or closed its output, while nothing was asked of it.
    #[error("it ended while it waited for work")]
    Gone,
    /// It answered something else.
    #[error("it answered `{}` to `{awaited}`; expected responseFor \"{awaited}\"", .answered.as_deref().unwrap_or("null"))]
    WrongAnswer {
        /// What it was told.
        awaited: Action,
        /// What it said.
        answered: Option<String>,
    },
    /// It sent JSON `null`.
    #[error("it sent the line `null` in answer to `{awaited}`; expected a status message")]
    Null {
        /// What it was told.
        awaited: Action,
    },
    /// A message could not be written.
    #[error("`{message}` could not be written to it: {source}")]
    Write {
        /// What was to be written.
        message: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its output could not be read.
    #[error("its answer to `{awaited}` could not be read: {source}")]
    Read {
        /// What it was told.
        awaited: Action,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("Timedout to get status message for {awaited} action: no answer within {limit:?} (timeoutInSeconds)")]
    TimedOut {
        /// What it was told.
        awaited: Action,
        /// The limit.
        limit: Duration,
    },
}

impl ChildFailure {
    /// Whether the child is simply gone.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Gone | Self::Write { .. })
    }
}

/// Why a consumer could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The child could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The child died, answered wrongly, or did not answer.
    #[error("child of shard `{shard}` failed: {failure}{death}")]
    Child {
        /// The shard.
        shard: ShardId,
        /// What it did.
        failure: ChildFailure,
        /// How it ended.
        death: Death,
    },
    /// The shard was read to its end, and the child did not checkpoint that.
    #[error(
        "child of shard `{shard}` did not checkpoint at the end of the shard; it must checkpoint in shardEnded, or, with \
         multilangd.checkpointAtShardEnd, after its last record, or the shards that follow cannot begin"
    )]
    EndNotCheckpointed {
        /// The shard.
        shard: ShardId,
    },
    /// It failed again and again.
    #[error(
        "shard `{shard}` failed {failures} times without a checkpoint in between (multilangd.childRestartLimit), \
         the last time because: {last}"
    )]
    GaveUp {
        /// The shard.
        shard: ShardId,
        /// How often.
        failures: NonZeroU32,
        /// The last time's reason, in full.
        last: String,
    },
    /// Our own part of it broke down again and again.
    #[error(
        "the consumer of shard `{shard}` broke down {failures} times without a checkpoint in between \
         (multilangd.childRestartLimit); this is a bug, please report it with the lines about a panic in the log"
    )]
    BrokeDown {
        /// The shard.
        shard: ShardId,
        /// How often.
        failures: NonZeroU32,
    },
    /// A record that was to be set aside could not be written down, so it was not.
    #[error(
        "poison record `{place}` of shard `{shard}` could not be written to {target}: {source}; make room or correct the \
         path"
    )]
    NoDeadLetter {
        /// The shard.
        shard: ShardId,
        /// Sequence number of the record, and its place in its aggregate.
        place: String,
        /// Key and value that name where to.
        target: String,
        /// What the system said.
        source: std::io::Error,
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

    /// Whether the child had answered everything when it failed.
    #[must_use]
    pub fn was_idle(&self) -> bool {
        matches!(self, Self::Child { failure: ChildFailure::Gone, .. })
    }

    /// The same, with what became of the child.
    #[must_use]
    pub(super) fn with(self, end: Death) -> Self {
        match self {
            Self::Child { shard, failure, .. } => Self::Child { shard, failure, death: end },
            other @ (Self::Launch(_)
            | Self::EndNotCheckpointed { .. }
            | Self::GaveUp { .. }
            | Self::BrokeDown { .. }
            | Self::NoDeadLetter { .. }
            | Self::Damaged { .. }
            | Self::ReaderGone { .. }) => other,
        }
    }
}
