//! The lease table in memory, for simulations: the same conditional writes as DynamoDB, and faults by script.
//!
//! Clones and [`MemoryStore::connect`]ed handles share one table. The lock is never held over an await.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::time::sleep;

use self::faults::{Drawn, Fault, Faults, Operation};
use self::table::Table;
use super::dynamodb::readable;
use super::refusal::Trouble;
use super::row::attribute::{text, whole};
use super::row::{self, Row, Unreadable, fleet};
use super::write::{self, RowWrite};
use super::{
    CheckpointWrite, ClientVersion, ClientVersionRow, FleetRows, HandoffKnown, Lease, LeaseStore, LeaseStoreError,
    LockRow, StateStore, WorkerRow, Written,
};
use crate::types::{HashKeyRange, LeaseCounter, ShardId, WorkerId};

pub mod faults;
mod table;

/// What messages call the table.
const NAME: &str = "memory";

/// A worker's connection to a lease table in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    table: Arc<Mutex<Table>>,
    faults: Faults,
}

impl MemoryStore {
    /// A new, empty table and a connection without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another worker's connection to the same table, with its own script of faults.
    #[must_use]
    pub fn connect(&self, faults: Faults) -> Self {
        Self { table: Arc::clone(&self.table), faults }
    }

    /// The script of this connection.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Puts a lease as it is, whatever was there. For the beginning of a simulation.
    pub fn put_lease(&self, lease: &Lease) {
        self.rows().rows.insert(lease.shard.as_str().to_owned(), row::lease_row(lease));
    }

    /// Puts a row of text attributes that no worker of ours would write.
    pub fn put_foreign_row(&self, key: &str, attributes: &[(&str, &str)]) {
        let mut foreign = Row::from([(row::KEY.to_owned(), text(key))]);
        foreign.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), text(*value))));
        self.rows().rows.insert(key.to_owned(), foreign);
    }

    /// Lets the tables of KCL 3.0-3.4 appear or vanish.
    pub fn set_legacy_tables(&self, exist: bool) {
        self.rows().legacy = exist;
    }

    /// What the table holds now, past all faults: for the laws of a simulation.
    #[must_use]
    pub fn snapshot(&self) -> FleetRows {
        row::collect(self.rows().rows.values())
    }

    fn rows(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation as the script demands.
    async fn run<T: Send>(
        &self,
        operation: Operation,
        effect: impl Fn(&mut Table) -> Result<T, LeaseStoreError> + Send + Sync,
    ) -> Result<T, LeaseStoreError> {
        let lost = || LeaseStoreError::Service {
            action: operation.action(),
            table: NAME.to_owned(),
            source: Trouble::new("the connection was lost by script"),
        };
        let fault = match self.faults.draw(operation) {
            Drawn::Nothing => return effect(&mut self.rows()),
            Drawn::Fault(fault) => fault,
            Drawn::Cut(timeout) => {
                sleep(timeout).await;
                return Err(lost());
            }
        };
        match fault {
            Fault::LostRequest => Err(lost()),
            Fault::LostReply => effect(&mut self.rows()).and_then(|_| Err(lost())),
            Fault::SentTwice => {
                let mut table = self.rows();
                effect(&mut table)?;
                effect(&mut table)
            }
            Fault::Throttled => Err(LeaseStoreError::Throttled { table: NAME.to_owned(), action: operation.action() }),
            Fault::Slow { before, after } => {
                sleep(before).await;
                let answer = effect(&mut self.rows());
                sleep(after).await;
                answer
            }
        }
    }

    async fn change_owner(&self, operation: Operation, write: RowWrite) -> Result<Written<Lease>, LeaseStoreError> {
        self.run(operation, |table| match table.update(&write) {
            Ok(row) => readable(row).map(Written::Yes),
            Err(old) => Ok(Written::No(before(old))),
        })
        .await
    }

    async fn move_counter(&self, operation: Operation, write: RowWrite) -> Result<Written, LeaseStoreError> {
        self.run(operation, |table| match table.update(&write) {
            Ok(_) => Ok(Written::Yes(())),
            Err(old) => Ok(Written::No(before(old))),
        })
        .await
    }

    async fn update_plain(&self, operation: Operation, write: RowWrite) -> Result<bool, LeaseStoreError> {
        self.run(operation, |table| Ok(table.update(&write).is_ok())).await
    }
}

fn before(old: Option<&Row>) -> Option<Box<Lease>> {
    old.and_then(|row| row::lease(row).ok()).map(Box::new)
}

fn unusable(unreadable: Unreadable) -> LeaseStoreError {
    LeaseStoreError::Unusable(unreadable.reason)
}

/// Whether the lock row is there and has this version, and this owner if one is asked for.
fn lock_is(table: &Table, version: &str, owner: Option<&WorkerId>) -> bool {
    table.rows.get(row::LOCK_KEY).is_some_and(|row| {
        let has = |name: &str, value: &str| row.get(name) == Some(&text(value));
        has(fleet::LOCK_VERSION, version) && owner.is_none_or(|owner| has(fleet::LOCK_OWNER, owner.as_str()))
    })
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.run(Operation::Prepare, |_| Ok(())).await
    }

    async fn prepare_index(&self) -> Result<(), LeaseStoreError> {
        self.run(Operation::PrepareIndex, |_| Ok(())).await
    }

    async fn list(&self) -> Result<FleetRows, LeaseStoreError> {
        self.run(Operation::List, |table| Ok(row::collect(table.rows.values()))).await
    }

    async fn get(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError> {
        self.run(Operation::Get, |table| table.rows.get(shard.as_str()).map(readable).transpose()).await
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseStoreError> {
        self.run(Operation::Create, |table| Ok(table.put_new(lease.shard.as_str(), row::lease_row(lease)))).await
    }

    async fn renew(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        throughput_kbps: Option<f64>,
        handoff: HandoffKnown,
    ) -> Result<Written, LeaseStoreError> {
        self.move_counter(Operation::Renew, write::renew(shard, seen, throughput_kbps, handoff)).await
    }

    async fn checkpoint(&self, write: &CheckpointWrite) -> Result<Written, LeaseStoreError> {
        self.move_counter(Operation::Checkpoint, write::checkpoint(write)).await
    }

    async fn take(&self, seen: &Lease, me: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(Operation::Take, write::take(seen, me)).await
    }

    async fn assign(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(Operation::Assign, write::assign(seen, to)).await
    }

    async fn begin_handoff(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        match write::begin_handoff(seen, to) {
            Some(write) => self.change_owner(Operation::BeginHandoff, write).await,
            None => Ok(Written::No(Some(Box::new(seen.clone())))),
        }
    }

    async fn evict(&self, seen: &Lease) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(Operation::Evict, write::evict(seen)).await
    }

    async fn note_children(&self, shard: &ShardId, children: &BTreeSet<ShardId>) -> Result<bool, LeaseStoreError> {
        match write::note_children(shard, children) {
            Some(write) => self.update_plain(Operation::NoteChildren, write).await,
            None => self.run(Operation::NoteChildren, |table| Ok(table.rows.contains_key(shard.as_str()))).await,
        }
    }

    async fn fill_hash_range(&self, shard: &ShardId, range: HashKeyRange) -> Result<bool, LeaseStoreError> {
        self.update_plain(Operation::FillHashRange, write::fill_hash_range(shard, range)).await
    }

    async fn delete(&self, shard: &ShardId) -> Result<(), LeaseStoreError> {
        self.run(Operation::Delete, |table| {
            table.rows.remove(shard.as_str());
            Ok(())
        })
        .await
    }

    async fn owned_by(&self, worker: &WorkerId) -> Result<Vec<ShardId>, LeaseStoreError> {
        let owner = text(worker.as_str());
        self.run(Operation::OwnedBy, |table| {
            let mine = table.rows.iter().filter(|(_, row)| row.get(row::OWNER) == Some(&owner));
            Ok(mine.map(|(key, _)| ShardId::new(key.as_str())).collect())
        })
        .await
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn has_legacy_tables(&self) -> Result<bool, LeaseStoreError> {
        self.run(Operation::HasLegacyTables, |table| Ok(table.legacy)).await
    }

    async fn client_version(&self) -> Result<Option<ClientVersionRow>, LeaseStoreError> {
        let read = |table: &mut Table| table.rows.get(row::CLIENT_VERSION_KEY).map(fleet::client_version).transpose();
        self.run(Operation::ClientVersion, |table| read(table).map_err(unusable)).await
    }

    async fn create_client_version(&self, row: &ClientVersionRow) -> Result<bool, LeaseStoreError> {
        let item = fleet::client_version_row(row);
        let put = |table: &mut Table| table.put_new(row::CLIENT_VERSION_KEY, item.clone());
        self.run(Operation::CreateClientVersion, |table| Ok(put(table))).await
    }

    async fn change_client_version(
        &self,
        from: ClientVersion,
        row: &ClientVersionRow,
    ) -> Result<bool, LeaseStoreError> {
        self.update_plain(Operation::ChangeClientVersion, write::change_client_version(from, row)).await
    }

    async fn lock(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        let read = |table: &mut Table| table.rows.get(row::LOCK_KEY).map(fleet::lock).transpose();
        self.run(Operation::Lock, |table| read(table).map_err(unusable)).await
    }

    async fn take_lock(&self, row: &LockRow, seen: Option<&str>) -> Result<bool, LeaseStoreError> {
        self.run(Operation::TakeLock, |table| {
            let free = match seen {
                None => !table.rows.contains_key(row::LOCK_KEY),
                Some(seen) => lock_is(table, seen, None),
            };
            if free {
                table.rows.insert(row::LOCK_KEY.to_owned(), fleet::lock_row(row));
            }
            Ok(free)
        })
        .await
    }

    async fn beat_lock(&self, row: &LockRow, next: &str) -> Result<bool, LeaseStoreError> {
        self.run(Operation::BeatLock, |table| {
            let mine = lock_is(table, &row.version, Some(&row.owner));
            if mine {
                let beat =
                    vec![(fleet::LOCK_DURATION, fleet::lock_duration_value(row)), (fleet::LOCK_VERSION, text(next))];
                table.set(row::LOCK_KEY, beat);
            }
            Ok(mine)
        })
        .await
    }

    async fn release_lock(&self, row: &LockRow) -> Result<bool, LeaseStoreError> {
        self.run(Operation::ReleaseLock, |table| {
            let mine = lock_is(table, &row.version, Some(&row.owner));
            if mine {
                table.rows.remove(row::LOCK_KEY);
            }
            Ok(mine)
        })
        .await
    }

    async fn put_worker(&self, row: &WorkerRow) -> Result<Option<i64>, LeaseStoreError> {
        self.run(Operation::PutWorker, |table| {
            let before = table.rows.get(row.worker.as_str()).and_then(fleet::last_update);
            table.set(row.worker.as_str(), fleet::worker_attributes(row));
            Ok(before)
        })
        .await
    }

    async fn delete_worker(&self, worker: &WorkerId, seen: i64) -> Result<bool, LeaseStoreError> {
        let seen: AttributeValue = whole(seen);
        self.run(Operation::DeleteWorker, |table| {
            let same = table.rows.get(worker.as_str()).and_then(|row| row.get(fleet::LAST_UPDATE)) == Some(&seen);
            if same {
                table.rows.remove(worker.as_str());
            }
            Ok(same)
        })
        .await
    }
}
