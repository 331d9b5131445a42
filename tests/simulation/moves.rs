//! The move of a fleet from three tables into one.

use std::time::Duration;

use multilangd::lease::memory::MemoryStore;
use multilangd::lease::memory::faults::Faults;
use multilangd::lease::migration::{MigrationStore, TableMigration};
use multilangd::lease::place::Layout;
use multilangd::lease::{LockRow, StateStore};
use multilangd::types::WorkerId;
use tokio::time::Instant;

use crate::world::{F, World};

/// Time in which a leader beats its lock, with some slack.
const BEATEN: Duration = Duration::from_secs(40);

impl World {
    /// Who holds which lock: that of the lease table, that of the old table as long as it counts.
    pub(crate) async fn locks(table: &MemoryStore) -> [Option<WorkerId>; 2] {
        let new = table.lock_in_lease_table().await.unwrap();
        let old = if Self::is_moved(table).await { None } else { Self::old_lock(table).await };
        [new, old].map(|lock| lock.map(|lock| lock.owner))
    }

    async fn is_moved(table: &MemoryStore) -> bool {
        let item = table.table_migration().await.ok().flatten(); // an error where there are no old tables
        item.is_some_and(|item| item.state == TableMigration::Complete)
    }

    async fn old_lock(table: &MemoryStore) -> Option<LockRow> {
        let old = table.connect(Faults::default());
        old.settle(Layout::ThreeTables);
        old.lock().await.ok().flatten()
    }

    /// Lets time pass until the move into one table is complete. The clocks are set right before: of a worker whose
    /// clock is a minute wrong nobody knows whether it has left the old tables. An old lock that could not be given
    /// back stays where it is; nobody may beat it any more.
    pub(crate) async fn until_moved(&mut self, limit: Duration) {
        self.workers.iter().for_each(|worker| worker.set_clock(0));
        let begin = Instant::now();
        loop {
            let locks = Self::locks(&self.table).await;
            if Self::is_moved(&self.table).await && locks[0].is_some() {
                break;
            }
            if begin.elapsed() > limit {
                return self.laws.break_law(format!("a move comes to its end within {limit:?}: {locks:?}"));
            }
            self.pass(Duration::from_secs(1)).await;
        }
        self.pass(F * 2).await; // what was under way is over
        if let Some(before) = Self::old_lock(&self.table).await {
            self.pass(BEATEN).await;
            let after = Self::old_lock(&self.table).await;
            if after.is_some_and(|after| after.version != before.version) {
                self.laws.break_law(format!("one lock counts: {} beats the old one", before.owner));
            }
        }
    }
}
