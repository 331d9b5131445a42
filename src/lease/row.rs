//! Rows of the lease table to values and back: exactly the attributes and types of LEASES.md 1.3 and 1.4.
//!
//! Pure: nothing here asks a table or a clock. What cannot be read becomes a sentence, never a failure of a scan.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use self::attribute::{Reader, number_text, text, whole};
use super::{ClientVersionRow, FleetRows, Lease, LockRow, WorkerRow};
use crate::types::{Checkpoint, EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};

pub mod attribute;
pub mod fleet;
pub mod history;
pub mod migration;

/// One item of a table: attribute name to value.
pub type Row = HashMap<String, AttributeValue>;

/// Hash key of the lease table. Source: LEASES.md 1.1.
pub const KEY: &str = "leaseKey";
/// Tells the kinds of rows apart; absent means lease. Source: LEASES.md 1.3, 1.4.
pub const ENTITY_TYPE: &str = "entityType";
/// Fencing counter.
pub const COUNTER: &str = "leaseCounter";
/// Owner, or next owner during a handoff.
pub const OWNER: &str = "leaseOwner";
/// Who still works during a handoff.
pub const CHECKPOINT_OWNER: &str = "checkpointOwner";
/// Sequence number or one of the four words.
pub const CHECKPOINT: &str = "checkpoint";
/// Index inside an aggregated record.
pub const CHECKPOINT_SUB: &str = "checkpointSubSequenceNumber";
/// Changes of owner since the last checkpoint.
pub const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
/// Shards before this one.
pub const PARENTS: &str = "parentShardId";
/// Shards after this one.
pub const CHILDREN: &str = "childShardIds";
/// First hash key, as decimal text.
pub const RANGE_START: &str = "startingHashKey";
/// Last hash key, as decimal text.
pub const RANGE_END: &str = "endingHashKey";
/// Moving average of what was read.
pub const THROUGHPUT: &str = "throughputKBps";
/// Of two-phase checkpoints, which children cannot ask for; every checkpoint removes them. Where nothing is checkpointed
/// yet they keep the moment that LATEST stands for ([`Lease::latest_since`]): Java's daemon looks at none of them.
pub const PENDING: [&str; 3] = ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"];

/// Key of the leader lock.
pub const LOCK_KEY: &str = "Leader";
/// Key of the client version row.
pub const CLIENT_VERSION_KEY: &str = "Migration3.0";
/// Key of the row that tells how far the move into one table is.
pub const TABLE_MIGRATION_KEY: &str = "TableMigration3.5";

/// `entityType` of a lease.
pub const LEASE: &str = "LEASE";
/// `entityType` of the leader lock.
pub const LEADER: &str = "LEADER";
/// `entityType` of the client version row.
pub const CLIENT_VERSION: &str = "CLIENT_VERSION_MIGRATION";
/// `entityType` of the table migration row, which this store only recognises.
pub const TABLE_MIGRATION: &str = "TABLE_MIGRATION";
/// `entityType` of stream information, which this store only recognises.
pub const STREAM: &str = "STREAM";
/// `entityType` of a worker's load.
pub const WORKER_METRICS: &str = "WORKER_METRIC_STATS";

/// One row of the lease table, told apart by `entityType` or, without one, by its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    /// A shard's row.
    Lease(Lease),
    /// A worker's load.
    Worker(WorkerRow),
    /// The leader lock.
    Lock(LockRow),
    /// The client version.
    ClientVersion(ClientVersionRow),
    /// A kind that is known and of no use here: table migration, stream information.
    Known,
}

/// Why a row could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// Key of the row, empty if it has none.
    pub key: String,
    /// One sentence: key, attribute, value, and what was expected.
    pub reason: String,
}

/// Reads one row of whatever kind.
///
/// # Errors
/// The kind is unknown, or an attribute is missing or of the wrong type.
pub fn read(row: &Row) -> Result<Entity, Unreadable> {
    let reader = Reader::new(row)?;
    match reader.text(ENTITY_TYPE)?.or_else(|| kind_by_key(reader.key())) {
        None | Some(LEASE) => lease(row).map(Entity::Lease),
        Some(WORKER_METRICS) => fleet::worker(row).map(Entity::Worker),
        Some(LEADER) => fleet::lock(row).map(Entity::Lock),
        Some(CLIENT_VERSION) => fleet::client_version(row).map(Entity::ClientVersion),
        Some(TABLE_MIGRATION | STREAM) => Ok(Entity::Known),
        Some(_) => {
            let known = "LEASE, LEADER, CLIENT_VERSION_MIGRATION, TABLE_MIGRATION, STREAM or WORKER_METRIC_STATS";
            Err(reader.wrong(ENTITY_TYPE, known))
        }
    }
}

/// Rows without `entityType` are recognised by their key. Source: LEASES.md 1.4.
fn kind_by_key(key: &str) -> Option<&'static str> {
    match key {
        LOCK_KEY => Some(LEADER),
        CLIENT_VERSION_KEY => Some(CLIENT_VERSION),
        TABLE_MIGRATION_KEY => Some(TABLE_MIGRATION),
        _ => None,
    }
}

/// Sorts the rows of a scan by kind. The client version has its own, consistent read and is left out.
#[must_use]
pub fn collect<'a>(rows: impl IntoIterator<Item = &'a Row>) -> FleetRows {
    rows.into_iter().map(read).collect()
}

impl FromIterator<Result<Entity, Unreadable>> for FleetRows {
    fn from_iter<T: IntoIterator<Item = Result<Entity, Unreadable>>>(rows: T) -> Self {
        let mut found = Self::default();
        for row in rows {
            match row {
                Ok(Entity::Lease(lease)) => found.leases.push(lease),
                Ok(Entity::Worker(worker)) => found.workers.push(worker),
                Ok(Entity::Lock(lock)) => found.lock = Some(lock),
                Ok(Entity::ClientVersion(_) | Entity::Known) => {}
                Err(Unreadable { key, reason }) => found.unreadable.push((key, reason)),
            }
        }
        found
    }
}

/// Reads a lease. Attributes that are not known are ignored.
///
/// Source: KCL 3.x `DynamoDBLeaseSerializer.fromDynamoRecord`, which refuses a lease without counter, checkpoint
/// or owner switches, takes an absent sub-sequence number for 0, and a hash range only when both ends are there.
///
/// # Errors
/// Names the key, the attribute, its value and what was expected.
pub fn lease(row: &Row) -> Result<Lease, Unreadable> {
    let reader = Reader::new(row)?;
    Ok(Lease {
        shard: ShardId::new(reader.key()),
        owner: reader.text(OWNER)?.map(WorkerId::new),
        checkpoint_owner: reader.text(CHECKPOINT_OWNER)?.map(WorkerId::new),
        counter: LeaseCounter(reader.need(COUNTER, reader.whole(COUNTER)?, "a whole number")?),
        checkpoint: checkpoint(&reader)?,
        owner_switches: reader.need(SWITCHES, reader.whole(SWITCHES)?, "a whole number")?,
        parents: shards(&reader, PARENTS)?,
        children: shards(&reader, CHILDREN)?,
        hash_range: hash_range(&reader)?,
        throughput_kbps: reader.number(THROUGHPUT)?,
        latest_since: latest_since(row),
    })
}

/// Before the moment that LATEST stands for, in milliseconds since the Unix epoch, in `pendingCheckpointState`.
const SINCE: &str = "multilangd: latest since ";

/// What [`latest_values`] has written. Anything else there is a two-phase checkpoint of somebody else's.
fn latest_since(row: &Row) -> Option<EpochMillis> {
    let word = Checkpoint::Latest;
    let is_latest =
        |name| row.get(name).and_then(|value| value.as_s().ok()).is_some_and(|text| text == word.sequence_text());
    let [pending, _, state] = PENDING;
    let state = row.get(state)?.as_b().ok()?;
    let millis = std::str::from_utf8(state.as_ref()).ok()?.strip_prefix(SINCE)?.parse().ok()?;
    (is_latest(CHECKPOINT) && is_latest(pending)).then_some(EpochMillis(millis))
}

/// The attributes that say at which moment a shard began that begins at LATEST.
pub(crate) fn latest_values(EpochMillis(since): EpochMillis) -> [(&'static str, AttributeValue); 3] {
    let [pending, sub, state] = PENDING;
    let word = Checkpoint::Latest;
    [
        (pending, text(word.sequence_text())),
        (sub, sub_value(&word)),
        (state, AttributeValue::B(format!("{SINCE}{since}").into_bytes().into())),
    ]
}

fn checkpoint(reader: &Reader<'_>) -> Result<Checkpoint, Unreadable> {
    let expected = "decimal digits, AT_TIMESTAMP, TRIM_HORIZON, LATEST or SHARD_END";
    let place = reader.need(CHECKPOINT, reader.text(CHECKPOINT)?, expected)?;
    let sub = u64::try_from(reader.whole(CHECKPOINT_SUB)?.unwrap_or(0))
        .map_err(|_| reader.wrong(CHECKPOINT_SUB, "a whole number from 0"))?;
    Checkpoint::parse(place, sub).map_err(|_| reader.wrong(CHECKPOINT, expected))
}

fn shards(reader: &Reader<'_>, name: &'static str) -> Result<BTreeSet<ShardId>, Unreadable> {
    Ok(reader.texts(name)?.iter().map(|id| ShardId::new(id.as_str())).collect())
}

fn hash_range(reader: &Reader<'_>) -> Result<Option<HashKeyRange>, Unreadable> {
    let digits_of = |name| Ok(reader.text(name)?.filter(|digits| !digits.is_empty()));
    let Some((start, end)) = digits_of(RANGE_START)?.zip(digits_of(RANGE_END)?) else { return Ok(None) };
    let key = |name, digits: &str| digits.parse().map_err(|_| reader.wrong(name, "a decimal number below 2^128"));
    Ok(Some(HashKeyRange { start: key(RANGE_START, start)?, end: key(RANGE_END, end)? }))
}

/// The row of a lease as it is created, with `entityType`. Absent what is empty.
///
/// Source: KCL 3.5 `DynamoDBLeaseSerializer.toDynamoRecord`.
#[must_use]
pub fn lease_row(lease: &Lease) -> Row {
    let mut row = Row::from([
        (KEY.to_owned(), text(lease.shard.as_str())),
        (ENTITY_TYPE.to_owned(), text(LEASE)),
        (COUNTER.to_owned(), whole(lease.counter.0)),
        (CHECKPOINT.to_owned(), text(lease.checkpoint.sequence_text())),
        (CHECKPOINT_SUB.to_owned(), sub_value(&lease.checkpoint)),
        (SWITCHES.to_owned(), whole(lease.owner_switches)),
    ]);
    let mut add = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            row.insert(name.to_owned(), value);
        }
    };
    add(OWNER, lease.owner.as_ref().and_then(worker_value));
    add(CHECKPOINT_OWNER, lease.checkpoint_owner.as_ref().and_then(worker_value));
    add(PARENTS, shards_value(&lease.parents));
    add(CHILDREN, shards_value(&lease.children));
    add(THROUGHPUT, lease.throughput_kbps.and_then(number_text).map(AttributeValue::N));
    add(RANGE_START, lease.hash_range.map(|range| text(range.start.to_string())));
    add(RANGE_END, lease.hash_range.map(|range| text(range.end.to_string())));
    for (name, value) in lease.latest_since.into_iter().flat_map(latest_values) {
        add(name, Some(value));
    }
    row
}

fn worker_value(worker: &WorkerId) -> Option<AttributeValue> {
    (!worker.as_str().is_empty()).then(|| text(worker.as_str()))
}

/// Attribute `checkpointSubSequenceNumber`.
#[must_use]
pub fn sub_value(checkpoint: &Checkpoint) -> AttributeValue {
    AttributeValue::N(checkpoint.sub().to_string())
}

/// A set of shards; `None` when empty, because empty sets are never written.
#[must_use]
pub fn shards_value(shards: &BTreeSet<ShardId>) -> Option<AttributeValue> {
    (!shards.is_empty()).then(|| AttributeValue::Ss(shards.iter().map(|shard| shard.as_str().to_owned()).collect()))
}
