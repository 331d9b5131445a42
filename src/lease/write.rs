//! The conditional writes of LEASES.md section 2 as values: what must hold, and what then changes.
//!
//! One place for both stores: DynamoDB is sent them as `Expected` and `AttributeUpdates`, the memory store applies
//! them itself. Nothing is written here.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::migration::{TableMigration, TableMigrationRow};
use super::row::attribute::{number_text, text, whole};
use super::row::{self, fleet, migration};
use super::{CheckpointWrite, ClientVersion, ClientVersionRow, HandoffKnown, Lease};
use crate::types::{EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};

/// What an attribute must be for a write to take effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expect {
    /// `Value`: it has this value.
    Is(AttributeValue),
    /// `Exists: true` with `Value`: the same, as Java writes it for the key.
    Exists(AttributeValue),
    /// `Exists: false`: it is not there.
    Absent,
}

/// What a write does to an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Sets it.
    Put(AttributeValue),
    /// Adds to its number, 0 if there is none.
    Add(i64),
    /// Removes it.
    Remove,
}

/// One conditional UpdateItem.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowWrite {
    /// Key of the row.
    pub(crate) key: String,
    /// All of these must hold.
    pub(crate) expected: Vec<(&'static str, Expect)>,
    /// Then all of these happen.
    pub(crate) changes: Vec<(&'static str, Change)>,
}

/// "renew": the counter moves; the other form also demands that nobody asked for the lease.
pub(crate) fn renew(
    shard: &ShardId,
    seen: LeaseCounter,
    throughput_kbps: Option<f64>,
    handoff: HandoffKnown,
) -> RowWrite {
    let mut expected = vec![(row::COUNTER, Expect::Is(whole(seen.0)))];
    if handoff == HandoffKnown::No {
        expected.push((row::CHECKPOINT_OWNER, Expect::Absent));
    }
    let mut changes = vec![(row::COUNTER, Change::Put(whole(seen.next().0)))];
    changes.extend(put_throughput(throughput_kbps));
    RowWrite { key: shard.as_str().to_owned(), expected, changes }
}

/// "checkpoint": fenced by the counter only.
pub(crate) fn checkpoint(write: &CheckpointWrite) -> RowWrite {
    let mut changes = vec![
        (row::COUNTER, Change::Put(whole(write.seen.next().0))),
        (row::CHECKPOINT, Change::Put(text(write.checkpoint.sequence_text()))),
        (row::CHECKPOINT_SUB, Change::Put(row::sub_value(&write.checkpoint))),
        (row::SWITCHES, Change::Put(whole(0))),
    ];
    changes.extend(row::PENDING.map(|name| (name, Change::Remove)));
    if let Some(range) = write.hash_range {
        changes.extend(put_range(range));
    }
    if let Some(children) = row::shards_value(&write.children) {
        changes.push((row::CHILDREN, Change::Put(children)));
    }
    changes.extend(put_throughput(write.throughput_kbps));
    RowWrite {
        key: write.shard.as_str().to_owned(),
        expected: vec![(row::COUNTER, Expect::Is(whole(write.seen.0)))],
        changes,
    }
}

/// "take": fenced by the counter; also ends a handoff.
pub(crate) fn take(seen: &Lease, me: &WorkerId) -> RowWrite {
    let mut changes = vec![
        (row::OWNER, Change::Put(text(me.as_str()))),
        (row::CHECKPOINT_OWNER, Change::Remove),
        (row::COUNTER, Change::Put(whole(seen.counter.next().0))),
    ];
    changes.extend(switch(seen, me));
    RowWrite {
        key: seen.shard.as_str().to_owned(),
        expected: vec![(row::COUNTER, Expect::Is(whole(seen.counter.0)))],
        changes,
    }
}

/// "assign": fenced by both owners. `ADD` on the counter, because the holder may renew in between.
pub(crate) fn assign(seen: &Lease, to: &WorkerId) -> RowWrite {
    let mut changes = vec![
        (row::OWNER, Change::Put(text(to.as_str()))),
        (row::CHECKPOINT_OWNER, Change::Remove),
        (row::COUNTER, Change::Add(1)),
    ];
    changes.extend(switch(seen, to));
    RowWrite { key: seen.shard.as_str().to_owned(), expected: same_owners(seen), changes }
}

/// "begin handoff": the counter stays; `None` if there is no owner to ask.
pub(crate) fn begin_handoff(seen: &Lease, to: &WorkerId) -> Option<RowWrite> {
    let owner = seen.owner.as_ref()?;
    Some(RowWrite {
        key: seen.shard.as_str().to_owned(),
        expected: vec![
            row_exists(&seen.shard),
            (row::OWNER, Expect::Is(text(owner.as_str()))),
            (row::CHECKPOINT_OWNER, Expect::Absent),
        ],
        changes: vec![
            (row::OWNER, Change::Put(text(to.as_str()))),
            (row::CHECKPOINT_OWNER, Change::Put(text(owner.as_str()))),
        ],
    })
}

/// "evict": in a handoff the next owner stays and only the present one goes.
pub(crate) fn evict(seen: &Lease) -> RowWrite {
    let mut changes = vec![(row::CHECKPOINT_OWNER, Change::Remove), (row::COUNTER, Change::Add(1))];
    if seen.checkpoint_owner.is_none() {
        changes.push((row::OWNER, Change::Remove));
    }
    RowWrite { key: seen.shard.as_str().to_owned(), expected: same_owners(seen), changes }
}

/// "note children": no counter; `None` for no children, because empty sets are never written.
pub(crate) fn note_children(shard: &ShardId, children: &BTreeSet<ShardId>) -> Option<RowWrite> {
    let children = row::shards_value(children)?;
    Some(RowWrite {
        key: shard.as_str().to_owned(),
        expected: vec![row_exists(shard)],
        changes: vec![(row::CHILDREN, Change::Put(children))],
    })
}

/// Not among Java's: the moment that LATEST stands for, in attributes which each checkpoint removes. The counter stays.
pub(crate) fn note_latest(shard: &ShardId, seen: LeaseCounter, since: EpochMillis) -> RowWrite {
    RowWrite {
        key: shard.as_str().to_owned(),
        expected: vec![(row::COUNTER, Expect::Is(whole(seen.0)))],
        changes: row::latest_values(since).map(|(name, value)| (name, Change::Put(value))).to_vec(),
    }
}

/// "fill hash range": no counter.
pub(crate) fn fill_hash_range(shard: &ShardId, range: HashKeyRange) -> RowWrite {
    RowWrite { key: shard.as_str().to_owned(), expected: vec![row_exists(shard)], changes: put_range(range).to_vec() }
}

/// "change coordinator item", for `Migration3.0`: while it still says `from`.
pub(crate) fn change_client_version(from: ClientVersion, next: &ClientVersionRow) -> RowWrite {
    RowWrite {
        key: row::CLIENT_VERSION_KEY.to_owned(),
        expected: vec![
            (row::KEY, Expect::Is(text(row::CLIENT_VERSION_KEY))),
            (fleet::VERSION, Expect::Is(text(fleet::version_text(from)))),
        ],
        changes: fleet::client_version_attributes(next).map(|(name, value)| (name, Change::Put(value))).to_vec(),
    }
}

/// "change coordinator item", for `TableMigration3.5`: while it still says `from`.
pub(crate) fn change_table_migration(from: TableMigration, next: &TableMigrationRow) -> RowWrite {
    let changes = migration::table_migration_attributes(next);
    RowWrite {
        key: row::TABLE_MIGRATION_KEY.to_owned(),
        expected: vec![
            (row::KEY, Expect::Is(text(row::TABLE_MIGRATION_KEY))),
            (migration::STATE, Expect::Is(text(migration::state_text(from)))),
        ],
        changes: changes.into_iter().map(|(name, value)| (name, Change::Put(value))).collect(),
    }
}

fn row_exists(shard: &ShardId) -> (&'static str, Expect) {
    (row::KEY, Expect::Exists(text(shard.as_str())))
}

fn same_owners(seen: &Lease) -> Vec<(&'static str, Expect)> {
    let same = |owner: &Option<WorkerId>| match owner {
        Some(owner) => Expect::Is(text(owner.as_str())),
        None => Expect::Absent,
    };
    vec![
        row_exists(&seen.shard),
        (row::OWNER, same(&seen.owner)),
        (row::CHECKPOINT_OWNER, same(&seen.checkpoint_owner)),
    ]
}

/// Source: LEASES.md section 2, the "switches" rule.
fn switch(seen: &Lease, next: &WorkerId) -> Option<(&'static str, Change)> {
    let from_another = seen.owner.as_ref().is_some_and(|owner| owner != next);
    let back_to_the_present = seen.checkpoint_owner.as_ref() == Some(next);
    (from_another || back_to_the_present).then_some((row::SWITCHES, Change::Add(1)))
}

fn put_throughput(kbps: Option<f64>) -> Option<(&'static str, Change)> {
    let number = kbps.and_then(number_text)?;
    Some((row::THROUGHPUT, Change::Put(AttributeValue::N(number))))
}

fn put_range(range: HashKeyRange) -> [(&'static str, Change); 2] {
    [
        (row::RANGE_START, Change::Put(text(range.start.to_string()))),
        (row::RANGE_END, Change::Put(text(range.end.to_string()))),
    ]
}
