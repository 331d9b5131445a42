//! The move of an application from three tables into one: its item, and what the stores must do for it.
//!
//! Source: LEASES.md section 10; KCL 3.5 `TableMigrationState`.

use async_trait::async_trait;
use tokio::sync::watch;

use super::place::{Layout, Table};
use super::{Earlier, LeaseStoreError, LockRow, StateStore, history_with};
use crate::types::{EpochMillis, WorkerId};

/// How far the move is, as item `TableMigration3.5` of the old coordinator table says.
///
/// Source: KCL 3.5 `TableMigrationStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableMigration {
    /// Every worker understands one table; since the item was written.
    Init,
    /// That lasted for an hour: phase 2 may begin.
    Deployed,
    /// Everybody writes to the lease table, and the coordinator items are there.
    Pending,
    /// The old tables are of no use any more.
    Complete,
}

/// Item `TableMigration3.5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMigrationRow {
    /// `tm`.
    pub state: TableMigration,
    /// `mb`: who changed it last.
    pub modified_by: WorkerId,
    /// `mts`: when, by that worker's clock.
    pub modified_at: EpochMillis,
    /// `h`: earlier states, newest first.
    pub history: Vec<Earlier<TableMigration>>,
}

impl TableMigrationRow {
    /// The item as it is created. Its history begins with INIT, as Java's does.
    #[must_use]
    pub fn first(state: TableMigration, by: &WorkerId, at: EpochMillis) -> Self {
        let history = vec![(TableMigration::Init, by.clone(), at)];
        Self { state, modified_by: by.clone(), modified_at: at, history }
    }

    /// The item with the next state, the present one in its history.
    #[must_use]
    pub fn advanced(&self, state: TableMigration, by: &WorkerId, at: EpochMillis) -> Self {
        let now = (self.state, self.modified_by.clone(), self.modified_at);
        let history = history_with(now, self.history.iter().cloned());
        Self { state, modified_by: by.clone(), modified_at: at, history }
    }
}

/// Names of an application's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// The lease table.
    pub leases: String,
    /// The old coordinator table, whether it exists or not.
    pub coordinator: String,
    /// The old table of workers' load, whether it exists or not.
    pub metrics: String,
}

/// What became of moving the coordinator items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many were moved, and the old table holds none any more.
    All(usize),
    /// One sentence: what is in the way.
    Not(String),
}

/// The old tables and the layout of this process. The old tables are never created.
#[async_trait]
pub trait MigrationStore: Send + Sync + 'static {
    /// Where this process reads and writes rows that are not leases; [`Layout::OneTable`] until settled.
    fn layout(&self) -> watch::Receiver<Layout>;

    /// Decides where this process reads and writes rows that are not leases.
    fn settle(&self, layout: Layout);

    /// What the tables are called.
    fn names(&self) -> TableNames;

    /// Reads item `TableMigration3.5` of the old coordinator table, consistently.
    async fn table_migration(&self) -> Result<Option<TableMigrationRow>, LeaseStoreError>;

    /// Creates that item; `false` if somebody was faster.
    async fn create_table_migration(&self, row: &TableMigrationRow) -> Result<bool, LeaseStoreError>;

    /// Changes that item while it still says `from`; `false` if it does not.
    async fn change_table_migration(
        &self,
        from: TableMigration,
        row: &TableMigrationRow,
    ) -> Result<bool, LeaseStoreError>;

    /// Deletes that item while it still says `seen`; `false` if it does not.
    async fn delete_table_migration(&self, seen: TableMigration) -> Result<bool, LeaseStoreError>;

    /// Reads the leader lock of the lease table, whatever the layout, consistently.
    async fn lock_in_lease_table(&self) -> Result<Option<LockRow>, LeaseStoreError>;

    /// Whether the old coordinator table holds items other than the lock and `TableMigration3.5`.
    async fn has_items_to_move(&self) -> Result<bool, LeaseStoreError>;

    /// Moves those items into the lease table while `leader` holds the lock, each batch at once or not at all.
    async fn move_items(&self, leader: &WorkerId) -> Result<Moved, LeaseStoreError>;

    /// Writes COMPLETE into both tables at once, while `leader` holds the lock and the item says PENDING; `false` if
    /// not. The layout is not touched.
    async fn complete_table_migration(
        &self,
        row: &TableMigrationRow,
        leader: &WorkerId,
    ) -> Result<bool, LeaseStoreError>;
}

/// After a lock was taken in `table`: whether it is the right one. It is not if the application has meanwhile moved
/// into one table; then it is given back, and the layout is one table from here on.
///
/// Source: KCL 3.5 `DynamoDBLockBasedLeaderDecider.isLeader`, which looks at the item after each acquisition.
pub(super) async fn is_right_lock<S: StateStore + ?Sized>(
    store: &S,
    table: Table,
    taken: &LockRow,
) -> Result<bool, LeaseStoreError> {
    if table == Table::Leases {
        return Ok(true);
    }
    let item = store.table_migration().await?;
    if item.is_none_or(|row| row.state != TableMigration::Complete) {
        return Ok(true);
    }
    store.release_lock(taken).await?;
    store.settle(Layout::OneTable);
    Ok(false)
}

/// Ends the move for this process: gives the lock of the old table back if `me` holds it, then works with one table.
///
/// # Errors
/// The old lock could not be given back; the layout is settled all the same, because nobody looks there any more.
pub async fn leave_old_tables<S: StateStore + ?Sized>(store: &S, me: &WorkerId) -> Result<(), LeaseStoreError> {
    let released = release_own_lock(store, me).await;
    store.settle(Layout::OneTable);
    released
}

async fn release_own_lock<S: StateStore + ?Sized>(store: &S, me: &WorkerId) -> Result<(), LeaseStoreError> {
    // A heartbeat may come between reading and deleting, but not every time: the next one is half a minute away.
    for _ in 0..3 {
        match store.lock().await? {
            Some(lock) if lock.owner == *me => {
                if store.release_lock(&lock).await? {
                    return Ok(());
                }
            }
            Some(_) | None => return Ok(()),
        }
    }
    Ok(())
}
