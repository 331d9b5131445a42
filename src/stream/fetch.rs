//! Words of reading a shard: where to begin, what came back, why nothing came.
//!
//! No SDK type may cross this file.

use crate::record::Record;
use crate::stream::ChildShard;
use crate::types::{EpochMillis, SequenceNumber};

/// Where an iterator or a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IteratorStart {
    /// At the oldest record still kept.
    TrimHorizon,
    /// After the newest record.
    Latest,
    /// At the first record that arrived at or after this moment.
    AtTimestamp(EpochMillis),
    /// At this record.
    At(SequenceNumber),
    /// At the record behind this one.
    After(SequenceNumber),
}

/// What the service gave, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated<T> {
    /// What it gave.
    pub given: T,
    /// The time of its answer by its own clock, in whole seconds, if it told it.
    pub date: Option<EpochMillis>,
}

/// One answer of GetRecords.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answer {
    /// In the order of the shard.
    pub records: Vec<Record>,
    /// With which to ask next; absent at the end of the shard.
    pub next_iterator: Option<String>,
    /// How far behind the newest record the answer was, in milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards that follow; only at the end of the shard.
    pub child_shards: Vec<ChildShard>,
    /// Memory that the answer keeps, in bytes.
    pub bytes: usize,
}

/// One event of SubscribeToShard.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// In the order of the shard.
    pub records: Vec<Record>,
    /// Behind which a later subscription goes on; absent at the end of the shard.
    pub continuation: Option<SequenceNumber>,
    /// How far behind the newest record the event was, in milliseconds.
    pub millis_behind_latest: Option<i64>,
    /// The shards that follow; only at the end of the shard.
    pub child_shards: Vec<ChildShard>,
    /// Memory that the event keeps, in bytes.
    pub bytes: usize,
}

/// Why nothing came, as far as the reader's next move depends on it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The iterator is older than five minutes: get another one.
    #[error("the shard iterator has expired")]
    Expired,
    /// The service does not take this iterator or this place: get another one.
    #[error("the service refused the iterator or the place to begin: {0}")]
    InvalidIterator(String),
    /// Too many calls or too many bytes: ask again later.
    #[error("the service refused the read for load: {0}")]
    Throttled(String),
    /// Another subscription of this consumer to this shard is younger than five seconds: try again after that.
    #[error("the consumer is subscribed to the shard already: {0}")]
    Busy(String),
    /// The service knows the shard no more: this is its end.
    #[error("the shard is gone from the service")]
    ShardGone,
    /// The credentials may not do this.
    #[error("access denied to `kinesis:{action}`; allow it in the worker's policy")]
    AccessDenied {
        /// Kinesis operation.
        action: &'static str,
        /// What the service said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else; time may cure it.
    #[error("`{action}` failed")]
    Transient {
        /// Kinesis operation.
        action: &'static str,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FetchError {
    /// A fault that time may cure.
    pub(crate) fn transient(action: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Transient { action, source: source.into() }
    }
}
