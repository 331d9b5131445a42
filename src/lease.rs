//! The lease table as the worker needs it: leases, and the fleet's other rows.
//!
//! Only seams and their words live here. No SDK type may cross this file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;

use crate::types::{Checkpoint, EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};

pub mod dynamodb;
pub mod memory;
pub mod migration;
mod old_tables;
pub mod place;
mod refusal;
pub mod row;
mod segments;
pub mod state;
pub mod table;
mod update;
mod write;

/// One shard's row: who reads it, how far it is done, who its relatives are.
///
/// Source: KCL 3.x `Lease`; attributes in LEASES.md section 1.3.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The shard, which is also the key of the row.
    pub shard: ShardId,
    /// Who reads the shard; in a handoff, who reads it next.
    pub owner: Option<WorkerId>,
    /// Only during a handoff: who still reads the shard.
    pub checkpoint_owner: Option<WorkerId>,
    /// Fencing counter.
    pub counter: LeaseCounter,
    /// How far the shard is done.
    pub checkpoint: Checkpoint,
    /// How often an owned lease changed hands since the last checkpoint.
    pub owner_switches: i64,
    /// Shards that must be finished before this one begins.
    pub parents: BTreeSet<ShardId>,
    /// Shards that follow this one; known once its end was reached.
    pub children: BTreeSet<ShardId>,
    /// The shard's part of the hash key ring, if the row says so.
    pub hash_range: Option<HashKeyRange>,
    /// Moving average of what was read, in KiB a second.
    pub throughput_kbps: Option<f64>,
    /// Where nothing is checkpointed yet: when the newest record, at which reading began, was first asked for.
    pub latest_since: Option<EpochMillis>,
}

impl Lease {
    /// A row nobody owns yet.
    #[must_use]
    pub fn new(shard: ShardId, checkpoint: Checkpoint) -> Self {
        Self {
            shard,
            owner: None,
            checkpoint_owner: None,
            counter: LeaseCounter(0),
            checkpoint,
            owner_switches: 0,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            throughput_kbps: None,
            latest_since: None,
        }
    }

    /// Who reads the shard now: `checkpointOwner` if present, else `leaseOwner`.
    #[must_use]
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// Whether the row says that `worker` owns the lease and nobody must hand it over first.
    #[must_use]
    pub fn is_given_to(&self, worker: &WorkerId) -> bool {
        self.owner.as_ref() == Some(worker) && self.checkpoint_owner.is_none()
    }

    /// Whether the shard was read to its end and the end was checkpointed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }
}

/// What a worker tells the fleet about its load (LEASES.md sections 1.4 and 4).
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    /// The worker that wrote the row.
    pub worker: WorkerId,
    /// `lut`: when it was written, seconds since the Unix epoch by the writer's clock. Absent in broken rows.
    pub last_update_seconds: Option<i64>,
    /// `sts`: the last values of each metric, oldest first.
    pub stats: BTreeMap<String, Vec<f64>>,
    /// `opr`: operating range of each metric.
    pub operating_ranges: BTreeMap<String, Vec<f64>>,
    /// `sup`: 1 = understands the single-table layout.
    pub support_code: Option<i64>,
    /// `slu`: when `sup` was written, seconds since the Unix epoch.
    pub support_update_seconds: Option<i64>,
}

/// The row of the leader lock (LEASES.md section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRow {
    /// Worker that leads.
    pub owner: WorkerId,
    /// How long the row may stay unchanged before somebody else may take it.
    pub lease_duration: Duration,
    /// Changes with every heartbeat (`recordVersionNumber`).
    pub version: String,
}

/// What the rows of item `Migration3.0` say: which generation of workers the application is for.
///
/// Source: KCL 3.x `ClientVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientVersion {
    /// State before the first one; only seen in the history.
    Init,
    /// Everybody works as 2.x and gets ready for 3.x.
    UpgradeFrom2x,
    /// 3.x, and the way back to 2.x is open.
    ThreeXWithRollback,
    /// 3.x.
    ThreeX,
    /// Everybody works as 2.x.
    TwoX,
}

/// A state that an item had: what it said, who made it say so, and when by that worker's clock.
pub type Earlier<S> = (S, WorkerId, EpochMillis);

/// Most entries of an item's history (Source: LEASES.md section 1.4).
pub const HISTORY_KEPT: usize = 10;

/// The history of an item that is about to leave the state `now`, newest first.
#[must_use]
pub fn history_with<S>(now: Earlier<S>, before: impl IntoIterator<Item = Earlier<S>>) -> Vec<Earlier<S>> {
    std::iter::once(now).chain(before).take(HISTORY_KEPT).collect()
}

/// Item `Migration3.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientVersionRow {
    /// `cv`.
    pub version: ClientVersion,
    /// `mb`: who changed it last.
    pub modified_by: WorkerId,
    /// `mts`: when.
    pub modified_at: EpochMillis,
    /// `h`: earlier states, newest first, at most ten.
    pub history: Vec<Earlier<ClientVersion>>,
}

/// Everything one scan of the lease table brought, by kind. Rows may be from different moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetRows {
    /// The leases.
    pub leases: Vec<Lease>,
    /// The workers' load; where a worker has rows in two tables, the younger one.
    pub workers: Vec<WorkerRow>,
    /// Those of them that come from the old table of KCL 3.0-3.4, and those that are outdated by a younger one.
    pub workers_in_old_table: Vec<WorkerRow>,
    /// The leader lock, if it lies in this table and there is one; read without consistency.
    pub lock: Option<LockRow>,
    /// Rows that are none of the kinds we know, or that cannot be read: key and reason.
    pub unreadable: Vec<(String, String)>,
}

impl FleetRows {
    /// Adds the rows of the old table of workers' load.
    pub fn add_old(&mut self, old: Vec<WorkerRow>) {
        for row in &old {
            match self.workers.iter_mut().find(|known| known.worker == row.worker) {
                Some(known) if known.last_update_seconds < row.last_update_seconds => *known = row.clone(),
                Some(_) => {}
                None => self.workers.push(row.clone()),
            }
        }
        self.workers_in_old_table = old;
    }
}

/// Whether a conditional write took effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<T = ()> {
    /// It did; `T` is what the table answered.
    Yes(T),
    /// The condition did not hold. The row as it was then, where the server sends it.
    No(Option<Box<Lease>>),
}

/// What a holder knows about a handoff when it renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoffKnown {
    /// Renew only while nobody asked for the lease, so that we learn of it.
    No,
    /// We know that the lease is asked for; renew all the same.
    Yes,
}

/// A checkpoint to be written (LEASES.md section 2, "checkpoint").
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointWrite {
    /// The lease.
    pub shard: ShardId,
    /// Counter that the row must still have; it will be one more after the write.
    pub seen: LeaseCounter,
    /// The new place.
    pub checkpoint: Checkpoint,
    /// Rewritten with every checkpoint when known.
    pub hash_range: Option<HashKeyRange>,
    /// Rewritten with every checkpoint when known.
    pub children: BTreeSet<ShardId>,
    /// Written when the checkpoint stands for a renewal, which would have carried it.
    pub throughput_kbps: Option<f64>,
}

/// Why the lease table could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LeaseStoreError {
    /// The request was refused for load. Try later.
    #[error("table `{table}` throttled `{action}`; give it more capacity or on-demand billing if this lasts")]
    Throttled {
        /// Table asked.
        table: String,
        /// DynamoDB operation.
        action: &'static str,
    },
    /// There is no such table.
    #[error("table `{table}` does not exist")]
    TableMissing {
        /// Table asked.
        table: String,
    },
    /// The index over `leaseOwner` is not there or not ready.
    #[error("index `{index}` of table `{table}` is not there yet")]
    IndexMissing {
        /// Table asked.
        table: String,
        /// Index asked.
        index: String,
    },
    /// The credentials may not do this.
    #[error("access denied to `dynamodb:{action}` on table `{table}`; allow it in the worker's policy")]
    AccessDenied {
        /// DynamoDB operation.
        action: &'static str,
        /// Table asked.
        table: String,
        /// What the service said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something in the table is not what a lease table holds.
    #[error("{0}")]
    Unusable(String),
    /// Nobody answered, or the service failed; the write may have taken effect.
    #[error("`{action}` on table `{table}` failed")]
    Service {
        /// DynamoDB operation.
        action: &'static str,
        /// Table asked.
        table: String,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LeaseStoreError {
    /// Whether asking again later can help without a human.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Service { .. } | Self::IndexMissing { .. } => true,
            Self::TableMissing { .. } | Self::AccessDenied { .. } | Self::Unusable(_) => false,
        }
    }
}

/// The leases. Every write is conditional as LEASES.md section 2 says, except where that says otherwise.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Creates the table if it is missing, as configured, and waits until leases can be read and written.
    async fn prepare(&self) -> Result<(), LeaseStoreError>;

    /// Creates the index over `leaseOwner` if it is missing, and does not wait for it.
    async fn prepare_index(&self) -> Result<(), LeaseStoreError>;

    /// Reads every row, all pages.
    async fn list(&self) -> Result<FleetRows, LeaseStoreError>;

    /// Reads one lease; `None` if there is none. May answer from the past.
    async fn get(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError>;

    /// Reads one lease as it is; for those who must know that there is none.
    async fn get_now(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError>;

    /// Creates the lease unless the key exists; says whether it did.
    async fn create(&self, lease: &Lease) -> Result<bool, LeaseStoreError>;

    /// Moves the counter from `seen` to the next, and stores `throughput_kbps` when known.
    async fn renew(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        throughput_kbps: Option<f64>,
        handoff: HandoffKnown,
    ) -> Result<Written, LeaseStoreError>;

    /// Stores a checkpoint, fenced by the counter only; answers with the row as it is then, where the server sends it.
    async fn checkpoint(&self, write: &CheckpointWrite) -> Result<Written<Option<Lease>>, LeaseStoreError>;

    /// Takes the lease, fenced by the counter of `seen` ("take" in LEASES.md: also ends a handoff).
    async fn take(&self, seen: &Lease, me: &WorkerId) -> Result<Written<Lease>, LeaseStoreError>;

    /// Gives the lease to `to`, fenced by both owners of `seen`, never by the counter.
    async fn assign(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError>;

    /// Asks the owner of `seen` to hand the lease over to `to`; does not touch the counter.
    async fn begin_handoff(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError>;

    /// Takes the owner away, fenced by both owners of `seen`.
    async fn evict(&self, seen: &Lease) -> Result<Written<Lease>, LeaseStoreError>;

    /// Notes the shards that follow; no counter. `false` if the lease is gone.
    async fn note_children(&self, shard: &ShardId, children: &BTreeSet<ShardId>) -> Result<bool, LeaseStoreError>;

    /// Notes when the newest record was first asked for, fenced by the counter `seen`, which stays; the next checkpoint
    /// removes it. `false` if the lease is not as seen.
    async fn note_latest(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        since: EpochMillis,
    ) -> Result<bool, LeaseStoreError>;

    /// Fills in a missing hash range; no counter. `false` if the lease is gone.
    async fn fill_hash_range(&self, shard: &ShardId, range: HashKeyRange) -> Result<bool, LeaseStoreError>;

    /// Deletes the lease, unconditionally.
    async fn delete(&self, shard: &ShardId) -> Result<(), LeaseStoreError>;

    /// Shards whose `leaseOwner` is `worker`, from the index, so possibly seconds old.
    async fn owned_by(&self, worker: &WorkerId) -> Result<Vec<ShardId>, LeaseStoreError>;
}

/// The fleet's other rows: leader lock, client version, worker load. Which table they are in is the layout's business
/// ([`place::Layout`]).
#[async_trait]
pub trait StateStore: migration::MigrationStore {
    /// Whether the tables of KCL 3.0-3.4 exist for this application (DescribeTable of the coordinator table).
    async fn has_legacy_tables(&self) -> Result<bool, LeaseStoreError>;

    /// Reads item `Migration3.0`, from the old table first where there is one.
    async fn client_version(&self) -> Result<Option<ClientVersionRow>, LeaseStoreError>;

    /// Creates item `Migration3.0`; `false` if somebody was faster.
    async fn create_client_version(&self, row: &ClientVersionRow) -> Result<bool, LeaseStoreError>;

    /// Changes item `Migration3.0` while it still says `from`; `false` if it does not.
    async fn change_client_version(&self, from: ClientVersion, row: &ClientVersionRow)
    -> Result<bool, LeaseStoreError>;

    /// Reads the leader lock, consistently.
    async fn lock(&self) -> Result<Option<LockRow>, LeaseStoreError>;

    /// Writes the whole lock row while there is none (`seen` is `None`) or its version is `seen`.
    async fn take_lock(&self, row: &LockRow, seen: Option<&str>) -> Result<bool, LeaseStoreError>;

    /// Moves our lock's version from `seen` to `next`; `false` if it is not ours any more.
    async fn beat_lock(&self, row: &LockRow, next: &str) -> Result<bool, LeaseStoreError>;

    /// Deletes our lock; `false` if it is not ours any more.
    async fn release_lock(&self, row: &LockRow) -> Result<bool, LeaseStoreError>;

    /// Writes a worker's load, unconditionally; says what `lut` (seconds) was there before.
    async fn put_worker(&self, row: &WorkerRow) -> Result<Option<i64>, LeaseStoreError>;

    /// Deletes a worker's load while its `lut` is still `seen` (seconds); `false` if it is not.
    async fn delete_worker(&self, worker: &WorkerId, seen: i64) -> Result<bool, LeaseStoreError>;
}
