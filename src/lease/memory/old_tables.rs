//! The old tables in memory: what `lease/old_tables.rs` does with transactions happens here under one lock.

use async_trait::async_trait;
use tokio::sync::watch;

use super::MemoryStore;
use super::faults::Operation;
use super::table::Tables;
use crate::lease::migration::{MigrationStore, Moved, TableMigration, TableMigrationRow, TableNames};
use crate::lease::place::{Layout, Table};
use crate::lease::row::attribute::text;
use crate::lease::row::migration::{self as codec, Mover};
use crate::lease::row::{self, Row, fleet};
use crate::lease::state::unusable;
use crate::lease::{LeaseStoreError, LockRow, WorkerRow, write};
use crate::types::WorkerId;

impl MemoryStore {
    /// Lets the tables of KCL 3.0-3.4 appear, empty, or vanish.
    pub fn set_legacy_tables(&self, exist: bool) {
        let mut tables = self.tables();
        tables.legacy = exist;
        tables.at(Table::OldCoordinator).clear();
        tables.at(Table::OldMetrics).clear();
    }

    /// Keys of the rows in `table`, past all faults.
    #[must_use]
    pub fn keys(&self, table: Table) -> Vec<String> {
        self.tables().at(table).rows().keys().cloned().collect()
    }

    /// Puts a worker's load into `table`, whatever was there. For the beginning of a simulation.
    pub fn put_load(&self, table: Table, row: &WorkerRow) {
        self.tables().at(table).set(row.worker.as_str(), fleet::worker_attributes(row));
    }

    /// Puts a row of text attributes that no worker of ours would write into `table`.
    pub fn put_foreign_row_in(&self, table: Table, key: &str, attributes: &[(&str, &str)]) {
        let mut foreign = Row::from([(row::KEY.to_owned(), text(key))]);
        foreign.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), text(*value))));
        self.tables().at(table).put(key, foreign);
    }
}

fn movers(tables: &mut Tables) -> Vec<Mover> {
    let rows = tables.at(Table::OldCoordinator).rows().values().cloned().map(codec::mover);
    rows.filter(|mover| *mover != Mover::Stays).collect()
}

fn leads(tables: &mut Tables, leader: &WorkerId) -> bool {
    let lock = tables.at(Table::OldCoordinator).rows().get(row::LOCK_KEY);
    lock.and_then(|row| row.get(fleet::LOCK_OWNER)) == Some(&text(leader.as_str()))
}

fn is(tables: &mut Tables, state: TableMigration) -> bool {
    let item = tables.at(Table::OldCoordinator).rows().get(row::TABLE_MIGRATION_KEY);
    item.and_then(|row| row.get(codec::STATE)) == Some(&text(codec::state_text(state)))
}

#[async_trait]
impl MigrationStore for MemoryStore {
    fn layout(&self) -> watch::Receiver<Layout> {
        self.layout.subscribe()
    }

    fn settle(&self, layout: Layout) {
        self.layout.send_if_modified(|now| std::mem::replace(now, layout) != layout);
    }

    fn names(&self) -> TableNames {
        let name = |table: Table| format!("{}-by-{}", super::NAME, table.key());
        TableNames {
            leases: name(Table::Leases),
            coordinator: name(Table::OldCoordinator),
            metrics: name(Table::OldMetrics),
        }
    }

    async fn table_migration(&self) -> Result<Option<TableMigrationRow>, LeaseStoreError> {
        self.run_all(Operation::TableMigration, |tables| {
            let row = tables.old(Table::OldCoordinator)?.rows().get(row::TABLE_MIGRATION_KEY);
            row.map(codec::table_migration).transpose().map_err(unusable)
        })
        .await
    }

    async fn create_table_migration(&self, row: &TableMigrationRow) -> Result<bool, LeaseStoreError> {
        let item = codec::table_migration_row(row);
        self.run_all(Operation::CreateTableMigration, |tables| {
            Ok(tables.old(Table::OldCoordinator)?.put_new(row::TABLE_MIGRATION_KEY, item.clone()))
        })
        .await
    }

    async fn change_table_migration(
        &self,
        from: TableMigration,
        row: &TableMigrationRow,
    ) -> Result<bool, LeaseStoreError> {
        let write = write::change_table_migration(from, row);
        self.run_all(Operation::ChangeTableMigration, |tables| {
            Ok(tables.old(Table::OldCoordinator)?.update(&write).is_ok())
        })
        .await
    }

    async fn delete_table_migration(&self, seen: TableMigration) -> Result<bool, LeaseStoreError> {
        self.run_all(Operation::DeleteTableMigration, |tables| {
            let same = is(tables, seen);
            if same {
                tables.old(Table::OldCoordinator)?.remove(row::TABLE_MIGRATION_KEY);
            }
            Ok(same)
        })
        .await
    }

    async fn lock_in_lease_table(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        self.run_all(Operation::Lock, |tables| {
            let row = tables.at(Table::Leases).rows().get(row::LOCK_KEY);
            row.map(fleet::lock).transpose().map_err(unusable)
        })
        .await
    }

    async fn has_items_to_move(&self) -> Result<bool, LeaseStoreError> {
        self.run_all(Operation::ItemsToMove, |tables| Ok(!movers(tables).is_empty())).await
    }

    async fn move_items(&self, leader: &WorkerId) -> Result<Moved, LeaseStoreError> {
        self.run_all(Operation::MoveItems, |tables| {
            let mut moved = 0;
            for mover in movers(tables) {
                let row = match mover {
                    Mover::Stays => continue,
                    Mover::Goes(row) => row,
                    Mover::Unknown(sentence) => return Ok(Moved::Not(sentence)),
                };
                let key = row.get(row::KEY).and_then(|key| key.as_s().ok()).cloned().unwrap_or_default();
                if !leads(tables, leader) || !tables.at(Table::Leases).put_new(&key, row) {
                    return Ok(Moved::Not("a condition did not hold".to_owned()));
                }
                tables.at(Table::OldCoordinator).remove(&key);
                moved += 1;
            }
            Ok(Moved::All(moved))
        })
        .await
    }

    async fn complete_table_migration(
        &self,
        row: &TableMigrationRow,
        leader: &WorkerId,
    ) -> Result<bool, LeaseStoreError> {
        let item = codec::table_migration_row(row);
        self.run_all(Operation::CompleteTableMigration, |tables| {
            let may = leads(tables, leader)
                && is(tables, TableMigration::Pending)
                && tables.at(Table::Leases).put_new(row::TABLE_MIGRATION_KEY, item.clone());
            if may {
                tables.at(Table::OldCoordinator).put(row::TABLE_MIGRATION_KEY, item.clone());
            }
            Ok(may)
        })
        .await
    }
}
