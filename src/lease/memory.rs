//! The lease table in memory, for simulations: the same conditional writes as DynamoDB, and faults by script.
//!
//! Clones and [`MemoryStore::connect`]ed handles share one table. The lock is never held over an await.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::faults::{Drawn, Fault, Faults, Operation};
use self::table::{Table, Tables};
use super::dynamodb::readable;
use super::migration::is_right_lock;
use super::place::{self, Layout};
use super::refusal::Trouble;
use super::row::attribute::{text, whole};
use super::row::{self, Row, fleet};
use super::state::unusable;
use super::write::{self, RowWrite};
use super::{
    CheckpointWrite, ClientVersion, ClientVersionRow, FleetRows, HandoffKnown, Lease, LeaseStore, LeaseStoreError,
    LockRow, StateStore, WorkerRow, Written,
};
use crate::types::{EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};

pub mod faults;
mod old_tables;
mod table;

/// What messages call the table.
const NAME: &str = "memory";

/// A worker's connection to the tables of an application in memory. Clones share the layout, too.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    faults: Faults,
    layout: Arc<watch::Sender<Layout>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let layout = Arc::new(watch::Sender::new(Layout::OneTable));
        Self { tables: Arc::default(), faults: Faults::default(), layout }
    }
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
        Self { tables: Arc::clone(&self.tables), faults, ..Self::default() }
    }

    /// The script of this connection.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Puts a lease as it is, whatever was there. For the beginning of a simulation.
    pub fn put_lease(&self, lease: &Lease) {
        self.tables().leases.put(lease.shard.as_str(), row::lease_row(lease));
    }

    /// Puts a row of text attributes that no worker of ours would write.
    pub fn put_foreign_row(&self, key: &str, attributes: &[(&str, &str)]) {
        let mut foreign = Row::from([(row::KEY.to_owned(), text(key))]);
        foreign.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), text(*value))));
        self.tables().leases.put(key, foreign);
    }

    /// What the tables hold now, past all faults and in any layout: for the laws of a simulation.
    #[must_use]
    pub fn snapshot(&self) -> FleetRows {
        let mut tables = self.tables();
        let mut found = tables.leases.scan();
        let old = tables.at(place::Table::OldMetrics).rows().values();
        found.add_old(old.filter_map(|row| fleet::worker(row).ok()).collect());
        found
    }

    /// Tells of each write to the lease table: how many there have been. For the laws of a simulation.
    #[must_use]
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.tables().leases.writes()
    }

    /// When the worker's hold on a lease ended last, and the lease as it was until then; now if it holds it. Past all
    /// faults, for the laws of a simulation; remembers 30 s.
    #[must_use]
    pub fn last_owned(&self, shard: &ShardId, worker: &WorkerId) -> Option<(Instant, Lease)> {
        let tables = self.tables();
        let leases =
            tables.leases.history(shard.as_str()).filter_map(|(until, row)| Some((until, row::lease(row).ok()?)));
        leases.into_iter().find(|(_, lease)| lease.actual_owner() == Some(worker))
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> Layout {
        *self.layout.borrow()
    }

    /// Runs one operation on the lease table as the script demands.
    async fn run<T: Send>(
        &self,
        operation: Operation,
        effect: impl Fn(&mut Table) -> Result<T, LeaseStoreError> + Send + Sync,
    ) -> Result<T, LeaseStoreError> {
        self.run_all(operation, |tables| effect(&mut tables.leases)).await
    }

    /// Runs one operation on any of the tables as the script demands.
    async fn run_all<T: Send>(
        &self,
        operation: Operation,
        effect: impl Fn(&mut Tables) -> Result<T, LeaseStoreError> + Send + Sync,
    ) -> Result<T, LeaseStoreError> {
        let lost = || LeaseStoreError::Service {
            action: operation.action(),
            table: NAME.to_owned(),
            source: Trouble::new("the connection was lost by script"),
        };
        let fault = match self.faults.draw(operation) {
            Drawn::Nothing => return effect(&mut self.tables()),
            Drawn::Fault(fault) => fault,
            Drawn::Cut(timeout) => {
                sleep(timeout).await;
                return Err(lost());
            }
        };
        match fault {
            Fault::LostRequest => Err(lost()),
            Fault::LostReply => effect(&mut self.tables()).and_then(|_| Err(lost())),
            Fault::SentTwice => {
                let mut tables = self.tables();
                effect(&mut tables)?;
                effect(&mut tables)
            }
            Fault::Stale(age) if operation.may_be_stale() => effect(&mut self.tables().before(age)),
            Fault::Stale(_) => effect(&mut self.tables()),
            Fault::Death { done } => {
                if done {
                    let _nobody_hears = effect(&mut self.tables());
                }
                self.faults.die();
                std::future::pending().await
            }
            Fault::Throttled => Err(LeaseStoreError::Throttled { table: NAME.to_owned(), action: operation.action() }),
            Fault::Slow { before, after } => {
                sleep(before).await;
                let answer = effect(&mut self.tables());
                sleep(after).await;
                answer
            }
        }
    }

    async fn change_lease(&self, operation: Operation, write: RowWrite) -> Result<Written<Lease>, LeaseStoreError> {
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

/// Whether the lock row is there and has this version, and this owner if one is asked for.
fn lock_is(table: &Table, version: &str, owner: Option<&WorkerId>) -> bool {
    table.rows().get(row::LOCK_KEY).is_some_and(|row| {
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
        let with_old = self.settled().loads().contains(&place::Table::OldMetrics);
        self.run_all(Operation::List, |tables| {
            let mut found = tables.leases.scan();
            if with_old {
                let old = tables.at(place::Table::OldMetrics).rows().values().map(fleet::worker);
                found.add_old(old.collect::<Result<_, _>>().map_err(unusable)?);
                found.lock = None; // as in the real store
            }
            Ok(found)
        })
        .await
    }

    async fn get(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError> {
        self.run(Operation::Get, |table| table.rows().get(shard.as_str()).map(readable).transpose()).await
    }

    async fn get_now(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError> {
        self.run(Operation::GetNow, |table| table.rows().get(shard.as_str()).map(readable).transpose()).await
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

    async fn checkpoint(&self, write: &CheckpointWrite) -> Result<Written<Option<Lease>>, LeaseStoreError> {
        Ok(match self.change_lease(Operation::Checkpoint, write::checkpoint(write)).await? {
            Written::Yes(lease) => Written::Yes(Some(lease)),
            Written::No(old) => Written::No(old),
        })
    }

    async fn take(&self, seen: &Lease, me: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_lease(Operation::Take, write::take(seen, me)).await
    }

    async fn assign(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_lease(Operation::Assign, write::assign(seen, to)).await
    }

    async fn begin_handoff(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        match write::begin_handoff(seen, to) {
            Some(write) => self.change_lease(Operation::BeginHandoff, write).await,
            None => Ok(Written::No(Some(Box::new(seen.clone())))),
        }
    }

    async fn evict(&self, seen: &Lease) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_lease(Operation::Evict, write::evict(seen)).await
    }

    async fn note_children(&self, shard: &ShardId, children: &BTreeSet<ShardId>) -> Result<bool, LeaseStoreError> {
        match write::note_children(shard, children) {
            Some(write) => self.update_plain(Operation::NoteChildren, write).await,
            None => self.run(Operation::NoteChildren, |table| Ok(table.rows().contains_key(shard.as_str()))).await,
        }
    }

    async fn note_latest(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        since: EpochMillis,
    ) -> Result<bool, LeaseStoreError> {
        self.update_plain(Operation::NoteLatest, write::note_latest(shard, seen, since)).await
    }

    async fn fill_hash_range(&self, shard: &ShardId, range: HashKeyRange) -> Result<bool, LeaseStoreError> {
        self.update_plain(Operation::FillHashRange, write::fill_hash_range(shard, range)).await
    }

    async fn delete(&self, shard: &ShardId) -> Result<(), LeaseStoreError> {
        self.run(Operation::Delete, |table| {
            table.remove(shard.as_str());
            Ok(())
        })
        .await
    }

    async fn owned_by(&self, worker: &WorkerId) -> Result<Vec<ShardId>, LeaseStoreError> {
        let owner = text(worker.as_str());
        self.run(Operation::OwnedBy, |table| {
            let mine = table.rows().iter().filter(|(_, row)| row.get(row::OWNER) == Some(&owner));
            Ok(mine.map(|(key, _)| ShardId::new(key.as_str())).collect())
        })
        .await
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn has_legacy_tables(&self) -> Result<bool, LeaseStoreError> {
        self.run_all(Operation::HasLegacyTables, |tables| Ok(tables.legacy)).await
    }

    async fn client_version(&self) -> Result<Option<ClientVersionRow>, LeaseStoreError> {
        let places = self.settled().items_read();
        self.run_all(Operation::ClientVersion, |tables| {
            let found = places.iter().find_map(|place| tables.at(*place).rows().get(row::CLIENT_VERSION_KEY).cloned());
            found.as_ref().map(fleet::client_version).transpose().map_err(unusable)
        })
        .await
    }

    async fn create_client_version(&self, row: &ClientVersionRow) -> Result<bool, LeaseStoreError> {
        let (place, item) = (self.settled().items_written(), fleet::client_version_row(row));
        self.run_all(Operation::CreateClientVersion, |tables| {
            Ok(tables.old(place)?.put_new(row::CLIENT_VERSION_KEY, item.clone()))
        })
        .await
    }

    async fn change_client_version(
        &self,
        from: ClientVersion,
        row: &ClientVersionRow,
    ) -> Result<bool, LeaseStoreError> {
        let (places, write) = (self.settled().items_read(), write::change_client_version(from, row));
        self.run_all(Operation::ChangeClientVersion, |tables| {
            Ok(places.iter().any(|place| tables.at(*place).update(&write).is_ok()))
        })
        .await
    }

    async fn lock(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        let place = self.settled().lock();
        self.run_all(Operation::Lock, |tables| {
            tables.old(place)?.rows().get(row::LOCK_KEY).map(fleet::lock).transpose().map_err(unusable)
        })
        .await
    }

    async fn take_lock(&self, row: &LockRow, seen: Option<&str>) -> Result<bool, LeaseStoreError> {
        let place = self.settled().lock();
        let taken = self.run_all(Operation::TakeLock, |tables| {
            let table = tables.old(place)?;
            let free = match seen {
                None => !table.rows().contains_key(row::LOCK_KEY),
                Some(seen) => lock_is(table, seen, None),
            };
            if free {
                table.put(row::LOCK_KEY, fleet::lock_row(row));
            }
            Ok(free)
        });
        Ok(taken.await? && is_right_lock(self, place, row).await?)
    }

    async fn beat_lock(&self, row: &LockRow, next: &str) -> Result<bool, LeaseStoreError> {
        let place = self.settled().lock();
        self.run_all(Operation::BeatLock, |tables| {
            let table = tables.old(place)?;
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
        let place = self.settled().lock();
        self.run_all(Operation::ReleaseLock, |tables| {
            let table = tables.old(place)?;
            let mine = lock_is(table, &row.version, Some(&row.owner));
            if mine {
                table.remove(row::LOCK_KEY);
            }
            Ok(mine)
        })
        .await
    }

    async fn put_worker(&self, row: &WorkerRow) -> Result<Option<i64>, LeaseStoreError> {
        let place = self.settled().loads_written();
        self.run_all(Operation::PutWorker, |tables| {
            let table = tables.old(place)?;
            let before = table.rows().get(row.worker.as_str()).and_then(fleet::last_update);
            table.set(row.worker.as_str(), fleet::worker_attributes(row));
            Ok(before)
        })
        .await
    }

    async fn delete_worker(&self, worker: &WorkerId, seen: i64) -> Result<bool, LeaseStoreError> {
        let (places, seen): (_, AttributeValue) = (self.settled().loads(), whole(seen));
        self.run_all(Operation::DeleteWorker, |tables| {
            let unchanged = places.iter().find(|place| {
                let row = tables.at(**place).rows().get(worker.as_str());
                row.and_then(|row| row.get(fleet::LAST_UPDATE)) == Some(&seen)
            });
            Ok(unchanged.is_some_and(|place| tables.at(*place).remove(worker.as_str())))
        })
        .await
    }
}
