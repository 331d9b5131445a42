//! Words of the field as types: shards, workers, sequence numbers, checkpoints, hash key ranges.
//!
//! Values are valid once made; nothing here does I/O, looks at a clock or logs.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Name of a shard, for example `shardId-000000000000`.
///
/// In single-stream mode, the only one the daemon has, it is also the key of the shard's lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

/// Name of one worker process of the application; unique among the workers alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text as the service knows it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
name!(ShardId);
name!(WorkerId);

/// Fencing counter of a lease: every renewal, checkpoint, take and assignment moves it by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseCounter(pub i64);

impl LeaseCounter {
    /// The counter after one more write.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Decimal digits of a record's place in its shard; up to 186 bits, so no integer type fits.
///
/// Ordered and compared as a number. Leading zeros are kept in the text, because the lease table keeps
/// what a child sent (Source: PROTOCOL.md section 4).
#[derive(Clone, Debug)]
pub struct SequenceNumber(Box<str>);

impl SequenceNumber {
    /// The digits as they were given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn significant(&self) -> &str {
        self.0.trim_start_matches('0')
    }
}

/// A text that should have been a sequence number was not all digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sequence number: expected decimal digits")]
pub struct NotASequenceNumber(pub String);

impl FromStr for SequenceNumber {
    type Err = NotASequenceNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotASequenceNumber(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.significant(), other.significant());
        (a.len(), a).cmp(&(b.len(), b)) // without leading zeros, longer is larger
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SequenceNumber {}

impl std::hash::Hash for SequenceNumber {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Place of one user record: the sequence number of its Kinesis record, and its index inside the aggregate
/// (0 for a plain record).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedSequenceNumber {
    /// Sequence number of the Kinesis record.
    pub sequence: SequenceNumber,
    /// Index of the user record in the aggregate, from 0.
    pub sub: u64,
}

impl ExtendedSequenceNumber {
    /// Puts both parts together.
    #[must_use]
    pub fn new(sequence: SequenceNumber, sub: u64) -> Self {
        Self { sequence, sub }
    }
}

impl fmt::Display for ExtendedSequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sub {
            0 => write!(f, "{}", self.sequence),
            sub => write!(f, "{}.{sub}", self.sequence),
        }
    }
}

/// A word for a place before all records of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// [`Checkpoint::AtTimestamp`].
    AtTimestamp,
    /// [`Checkpoint::TrimHorizon`].
    TrimHorizon,
    /// [`Checkpoint::Latest`].
    Latest,
}

/// Where a lease stands, in the order of the lease table.
///
/// Source: KCL 3.x `ExtendedSequenceNumber.compareTo`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// Nothing read yet; begin at the configured time.
    AtTimestamp,
    /// Nothing read yet; begin at the oldest record.
    TrimHorizon,
    /// Nothing read yet; begin after the newest record.
    Latest,
    /// A word for a start with a sub-sequence number, which a child may ask for and a Java worker stores. It means
    /// what the word means, and lies after it.
    StartWithSub(Start, NonZeroU64),
    /// Everything up to and including this user record is done.
    At(ExtendedSequenceNumber),
    /// Everything is done and the shard is closed.
    ShardEnd,
}

impl Checkpoint {
    /// The text of attribute `checkpoint`, and of `sequenceNumber` in the child protocol.
    #[must_use]
    pub fn sequence_text(&self) -> &str {
        match self {
            Self::AtTimestamp | Self::StartWithSub(Start::AtTimestamp, _) => "AT_TIMESTAMP",
            Self::TrimHorizon | Self::StartWithSub(Start::TrimHorizon, _) => "TRIM_HORIZON",
            Self::Latest | Self::StartWithSub(Start::Latest, _) => "LATEST",
            Self::At(place) => place.sequence.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }

    /// The number of attribute `checkpointSubSequenceNumber`.
    #[must_use]
    pub fn sub(&self) -> u64 {
        match self {
            Self::At(place) => place.sub,
            Self::StartWithSub(_, sub) => sub.get(),
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => 0,
        }
    }

    /// This checkpoint, or the plain word if it is one for a start with a sub-sequence number: all that a reader
    /// needs to know.
    #[must_use]
    pub fn without_sub_of_start(self) -> Self {
        if let Self::StartWithSub(start, _) = self { Self::of(start) } else { self }
    }

    fn of(start: Start) -> Self {
        match start {
            Start::AtTimestamp => Self::AtTimestamp,
            Start::TrimHorizon => Self::TrimHorizon,
            Start::Latest => Self::Latest,
        }
    }

    /// Reads the two attributes of a lease row, or the two fields of a child's request. The end of a shard has no
    /// sub-sequence number: a Java worker keeps one, and then takes the shard for unfinished.
    ///
    /// # Errors
    /// The text is neither all digits nor one of the four words (case matters).
    pub fn parse(sequence: &str, sub: u64) -> Result<Self, NotACheckpoint> {
        let start = |start| NonZeroU64::new(sub).map_or(Self::of(start), |sub| Self::StartWithSub(start, sub));
        Ok(match sequence {
            "AT_TIMESTAMP" => start(Start::AtTimestamp),
            "TRIM_HORIZON" => start(Start::TrimHorizon),
            "LATEST" => start(Start::Latest),
            "SHARD_END" => Self::ShardEnd,
            digits => match digits.parse() {
                Ok(sequence) => Self::At(ExtendedSequenceNumber { sequence, sub }),
                Err(_) => return Err(NotACheckpoint(sequence.to_owned())),
            },
        })
    }

    /// Whether both are the same text, the comparison by which a checkpoint counts as "already there".
    ///
    /// Source: KCL 3.x `ExtendedSequenceNumber.equals` (textual, unlike the order).
    #[must_use]
    pub fn same_text(&self, other: &Self) -> bool {
        self.sequence_text() == other.sequence_text() && self.sub() == other.sub()
    }

    /// Decides the order of two that are not both records.
    fn rank(&self) -> (u8, u64) {
        let start = |start: Start| match start {
            Start::AtTimestamp => 0,
            Start::TrimHorizon => 1,
            Start::Latest => 2,
        };
        match self {
            Self::AtTimestamp => (start(Start::AtTimestamp), 0),
            Self::TrimHorizon => (start(Start::TrimHorizon), 0),
            Self::Latest => (start(Start::Latest), 0),
            Self::StartWithSub(word, sub) => (start(*word), sub.get()),
            Self::At(_) => (3, 0),
            Self::ShardEnd => (4, 0),
        }
    }
}

impl Ord for Checkpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::At(a), Self::At(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Checkpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(place) => write!(f, "{place}"),
            Self::StartWithSub(_, sub) => write!(f, "{}.{sub}", self.sequence_text()),
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => f.write_str(self.sequence_text()),
        }
    }
}

/// A text that should have been a checkpoint was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a checkpoint: expected decimal digits, AT_TIMESTAMP, TRIM_HORIZON, LATEST or SHARD_END")]
pub struct NotACheckpoint(pub String);

/// The part of the 128-bit hash key ring that a shard takes, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKeyRange {
    /// First hash key of the shard.
    pub start: u128,
    /// Last hash key of the shard.
    pub end: u128,
}

impl HashKeyRange {
    /// The whole ring.
    pub const WHOLE: Self = Self { start: 0, end: u128::MAX };

    /// Whether `key` falls into this shard.
    #[must_use]
    pub fn contains(&self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochMillis(pub i64);

impl EpochMillis {
    /// This moment moved by `by` towards the past.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Where to begin in a shard that has no checkpoint yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialPosition {
    /// After the newest record.
    Latest,
    /// At the oldest record still kept.
    TrimHorizon,
    /// At the first record that arrived at or after this moment.
    AtTimestamp(EpochMillis),
}

impl InitialPosition {
    /// What a new lease's `checkpoint` says.
    #[must_use]
    pub fn sentinel(self) -> Checkpoint {
        match self {
            Self::Latest => Checkpoint::Latest,
            Self::TrimHorizon => Checkpoint::TrimHorizon,
            Self::AtTimestamp(_) => Checkpoint::AtTimestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Checkpoint {
        let (sequence, sub) = text.split_once('.').unwrap_or((text, "0"));
        Checkpoint::parse(sequence, sub.parse().unwrap()).unwrap()
    }

    #[test]
    fn checkpoints_are_ordered_as_the_lease_table_orders_them() {
        let starts = ["AT_TIMESTAMP", "AT_TIMESTAMP.3", "TRIM_HORIZON", "TRIM_HORIZON.1", "LATEST", "LATEST.4"];
        let places = ["0", "7", "7.1", "9", "10", "10.2", "SHARD_END"];
        let rising = [starts.as_slice(), &places].concat();
        for pair in rising.windows(2) {
            assert!(at(pair[0]) < at(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn a_start_keeps_its_sub_sequence_number_and_the_end_has_none() {
        for text in ["AT_TIMESTAMP.3", "TRIM_HORIZON.1", "LATEST.4", "LATEST", "7.1"] {
            let read = at(text);
            assert_eq!(read.to_string(), text);
            assert_eq!(Checkpoint::parse(read.sequence_text(), read.sub()), Ok(read));
        }
        assert_eq!(at("LATEST.4").without_sub_of_start(), Checkpoint::Latest);
        assert_eq!(at("SHARD_END.4"), Checkpoint::ShardEnd);
    }

    #[test]
    fn leading_zeros_are_kept_but_do_not_count() {
        assert_eq!(at("007"), at("7"));
        assert!(!at("007").same_text(&at("7")));
        assert_eq!(at("007").sequence_text(), "007");
    }

    #[test]
    fn only_digits_and_the_four_words_are_checkpoints() {
        for bad in ["", " 7", "7 ", "-7", "+7", "7.5", "latest", "SHARD_END ", "٣"] {
            assert_eq!(Checkpoint::parse(bad, 0), Err(NotACheckpoint(bad.to_owned())), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn sequence_numbers_are_ordered_as_numbers(a: u128, b: u128) {
            let number = |n: u128| n.to_string().parse::<SequenceNumber>().unwrap();
            prop_assert_eq!(number(a).cmp(&number(b)), a.cmp(&b));
        }
    }
}
