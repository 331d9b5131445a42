//! Where am I: decides from what the tables say where this worker keeps the rows that are not leases. Pure.
//!
//! Source: COEXISTENCE.md section 1, LEASES.md section 10, KCL 3.5 `TableMigrationStateMachineImpl`.

use std::fmt;

use crate::lease::migration::{TableMigration, TableNames};
use crate::lease::place::Layout;
use crate::types::WorkerId;

/// What was seen at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The coordinator table of KCL 3.0-3.4 exists.
    pub old_table: bool,
    /// What its item `TableMigration3.5` says.
    pub item: Option<TableMigration>,
    /// `migrateAllEntitiesToLeaseTable`.
    pub to_lease_table: bool,
}

/// Why no layout is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Phase 2 is asked for, and phase 1 is not over. Java does not start either.
    #[error(
        "`migrateAllEntitiesToLeaseTable = true` asks for phase 2 of the move into one table, but item \
         `TableMigration3.5` of table `{table}` {}: phase 1 is not over; set it to false, let every worker run for an \
         hour until the item says TABLE_MIGRATION_STATUS_DEPLOYED, then set it to true", Says(*item)
    )]
    TooEarly {
        /// The old coordinator table.
        table: String,
        /// What its item says.
        item: Option<TableMigration>,
    },
    /// Somebody leads by the lock of the lease table, though the application is in three tables.
    #[error(
        "table `{}` exists and its item `TableMigration3.5` {}, so the leader lock belongs there, but worker `{owner}` \
         keeps renewing a lock in lease table `{}`: a worker that started now would make a second leader, and both \
         would move leases about; if the application keeps everything in one table (KCL 3.5), delete the tables `{}` \
         and `{}`, which something made by accident; if not, stop worker `{owner}` and those it works with first",
        names.coordinator, Says(*item), names.leases, names.coordinator, names.metrics
    )]
    TwoLeaders {
        /// The tables.
        names: TableNames,
        /// What the item says.
        item: Option<TableMigration>,
        /// Who renews the lock.
        owner: WorkerId,
    },
}

struct Says(Option<TableMigration>);

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("does not exist"),
            Some(state) => write!(f, "says {}", crate::lease::row::migration::state_text(state)),
        }
    }
}

/// Decides the layout; `None` if phase 2 is asked for too early.
///
/// Source: KCL 3.5 `TableMigrationStateMachineImpl.determineStatusForInitialization`.
#[must_use]
pub fn decide(seen: Seen) -> Option<Layout> {
    use TableMigration::{Complete, Deployed, Init, Pending};
    match (seen.old_table, seen.item, seen.to_lease_table) {
        (false, _, _) | (true, Some(Complete), _) => Some(Layout::OneTable),
        (true, None | Some(Init | Deployed | Pending), false) => Some(Layout::ThreeTables),
        (true, Some(Deployed | Pending), true) => Some(Layout::Moving),
        (true, None | Some(Init), true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_follows_the_old_table_its_item_and_the_phase() {
        use Layout::{Moving, OneTable, ThreeTables};
        use TableMigration::{Complete, Deployed, Init, Pending};
        #[rustfmt::skip]
        let table = [
            // old table, item           phase 1            phase 2
            (false, None,           Some(OneTable),    Some(OneTable)),
            (true,  None,           Some(ThreeTables), None),
            (true,  Some(Init),     Some(ThreeTables), None),
            (true,  Some(Deployed), Some(ThreeTables), Some(Moving)),
            (true,  Some(Pending),  Some(ThreeTables), Some(Moving)),
            (true,  Some(Complete), Some(OneTable),    Some(OneTable)),
        ];
        for (old_table, item, first, second) in table {
            for (to_lease_table, expected) in [(false, first), (true, second)] {
                let seen = Seen { old_table, item, to_lease_table };
                assert_eq!(decide(seen), expected, "{seen:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_what_was_seen_and_the_cure() {
        let early = LayoutError::TooEarly { table: "a-CoordinatorState".into(), item: Some(TableMigration::Init) };
        assert_eq!(
            early.to_string(),
            "`migrateAllEntitiesToLeaseTable = true` asks for phase 2 of the move into one table, but item \
             `TableMigration3.5` of table `a-CoordinatorState` says TABLE_MIGRATION_STATUS_INIT: phase 1 is not over; \
             set it to false, let every worker run for an hour until the item says TABLE_MIGRATION_STATUS_DEPLOYED, \
             then set it to true"
        );
        let names = TableNames { leases: "a".into(), coordinator: "a-C".into(), metrics: "a-W".into() };
        let two = LayoutError::TwoLeaders { names, item: None, owner: WorkerId::new("e1") }.to_string();
        let begin = "table `a-C` exists and its item `TableMigration3.5` does not exist, so the leader lock belongs \
                     there, but worker `e1` keeps renewing a lock in lease table `a`: ";
        assert!(two.starts_with(begin), "{two}");
        assert!(two.contains("delete the tables `a-C` and `a-W`") && two.contains("stop worker `e1`"), "{two}");
    }
}
