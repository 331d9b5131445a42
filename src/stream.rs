//! The stream's shards, as the worker needs them.
//!
//! Only the seam and its words live here. No SDK type may cross this file.

use async_trait::async_trait;

use crate::types::{EpochMillis, HashKeyRange, InitialPosition, SequenceNumber, ShardId};

pub mod answer;
pub mod fetch;
pub mod kinesis;
pub mod memory;

/// One shard as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shard it was split or merged from.
    pub parent: Option<ShardId>,
    /// The second shard it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// Its part of the hash key ring.
    pub hash_range: HashKeyRange,
    /// Where it begins.
    pub starting_sequence: SequenceNumber,
    /// Where it ends; `None` while it is open.
    pub ending_sequence: Option<SequenceNumber>,
}

impl Shard {
    /// Both parents, those that the service names.
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        self.parent.iter().chain(&self.adjacent_parent)
    }

    /// Whether records can still be put into it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ending_sequence.is_none()
    }
}

/// A shard that follows one that has ended, as GetRecords and SubscribeToShard name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildShard {
    /// Its name.
    pub id: ShardId,
    /// All its parents: one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// Its part of the hash key ring.
    pub hash_range: HashKeyRange,
}

/// Which shards to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFilter {
    /// All that the service still knows.
    All,
    /// Those that were open at this place; they cover the ring exactly once.
    At(InitialPosition),
}

/// What the service says of the stream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name in full.
    pub arn: String,
    /// When it was made.
    pub created_at: Option<EpochMillis>,
}

/// Why the stream could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is no such stream.
    #[error("stream `{stream}` does not exist in region `{region}`; check streamName, streamArn and regionName")]
    Missing {
        /// Its name.
        stream: String,
        /// Where it was looked for.
        region: String,
    },
    /// The credentials may not do this.
    #[error("access denied to `kinesis:{action}` on stream `{stream}`; allow it in the worker's policy")]
    AccessDenied {
        /// Kinesis operation.
        action: &'static str,
        /// Its name.
        stream: String,
        /// What the service said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream takes no more consumers, or asking is refused for load. Try later.
    #[error("`{action}` on stream `{stream}` was refused for load or limits: {reason}")]
    Limited {
        /// Kinesis operation.
        action: &'static str,
        /// Its name.
        stream: String,
        /// What the service said.
        reason: String,
    },
    /// Nobody answered, or the service failed.
    #[error("`{action}` on stream `{stream}` failed")]
    Service {
        /// Kinesis operation.
        action: &'static str,
        /// Its name.
        stream: String,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StreamError {
    /// Whether asking again later can help without a human.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Limited { .. } | Self::Service { .. } => true,
            Self::Missing { .. } | Self::AccessDenied { .. } => false,
        }
    }
}

/// The list of shards.
#[async_trait]
pub trait StreamCatalog: Send + Sync + 'static {
    /// Lists the shards, all pages.
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError>;
}
