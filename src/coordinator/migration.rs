//! Moves an application from three tables into one: what the leader does next. Pure: time comes in as values.
//!
//! Source: LEASES.md section 10, KCL 3.5 `TableMigrationStateMachineImpl` and `MigrationAwareLAMDataManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::TableMigrationSettings;
use crate::lease::migration::{TableMigration, TableMigrationRow};
use crate::lease::{FleetRows, Lease, WorkerRow};
use crate::types::{EpochMillis, WorkerId};

/// Time in INIT before DEPLOYED (Source: KCL 3.5 `TableMigrationState.DEFAULT_BAKE_TIME_SECONDS`).
pub const DEPLOYED_AFTER: Duration = Duration::from_secs(3_600);
/// Code of a worker that understands one table (Source: LEASES.md section 1.4, `sup`).
const ONE_TABLE: i64 = 1;

/// What the leader's look at all rows says about the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// When the rows were read.
    pub taken: Instant,
    /// Workers with leases that live.
    pub owners: usize,
    /// Those of them that have not said lately that they understand one table.
    pub unsupported: BTreeSet<WorkerId>,
    /// Those of them without a fresh load row.
    pub silent: BTreeSet<WorkerId>,
    /// Workers with a fresh load row in the old table.
    pub in_old_table: BTreeSet<WorkerId>,
}

impl Survey {
    /// Reads off `rows`. `interval` is the time between two load rows of a worker: twice that old a row is not fresh,
    /// three times that old a support code counts for nothing.
    #[must_use]
    pub fn of(
        rows: &FleetRows,
        is_expired: impl Fn(&Lease) -> bool,
        (taken, wall): (Instant, EpochMillis),
        interval: Duration,
    ) -> Self {
        let alive = rows.leases.iter().filter(|lease| !is_expired(lease));
        let owners: BTreeSet<&WorkerId> =
            alive.flat_map(|lease| lease.owner.iter().chain(&lease.checkpoint_owner)).collect();
        let young = |seconds: Option<i64>, intervals: u32| {
            seconds.is_some_and(|at| at.saturating_mul(1000) >= wall.before(interval * intervals).0)
        };
        let fresh = |row: &WorkerRow| young(row.last_update_seconds, 2);
        let loads: BTreeMap<&WorkerId, &WorkerRow> = rows.workers.iter().map(|row| (&row.worker, row)).collect();
        let supports = |owner: &WorkerId| {
            loads.get(owner).is_some_and(|row| {
                row.support_code.is_some_and(|code| code >= ONE_TABLE) && young(row.support_update_seconds, 3)
            })
        };
        let speaks = |owner: &WorkerId| loads.get(owner).is_some_and(|row| fresh(row));
        let without = |has: &dyn Fn(&WorkerId) -> bool| {
            owners.iter().filter(|owner| !has(owner)).map(|owner| (*owner).clone()).collect()
        };
        let old = rows.workers_in_old_table.iter().filter(|row| fresh(row));
        Self {
            taken,
            owners: owners.len(),
            unsupported: without(&supports),
            silent: without(&speaks),
            in_old_table: old.map(|row| row.worker.clone()).collect(),
        }
    }

    /// Whether every worker understands one table. Without workers nobody has said so.
    fn is_supported(&self) -> bool {
        self.owners > 0 && self.unsupported.is_empty()
    }

    /// Whether nobody writes to the old table of load rows, and everybody to the lease table. (Java compares how many
    /// owners of any lease have a row with how many have a lease that lives.)
    fn has_left_old_table(&self) -> bool {
        self.silent.is_empty() && self.in_old_table.is_empty()
    }
}

/// What the leader has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing, for now.
    Nothing,
    /// Create the item in this state.
    Create(TableMigration),
    /// Delete the item, so that the hour begins anew.
    Delete,
    /// Change the item to this state.
    Change(TableMigration),
    /// Move the coordinator items into the lease table, then change the item to PENDING.
    MoveItems,
    /// Write COMPLETE to both tables and leave the old ones.
    Complete,
    /// It is complete: leave the old tables.
    Leave,
}

/// What the leader knows when it decides.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Item `TableMigration3.5`.
    pub item: Option<&'a TableMigrationRow>,
    /// The fleet; `None` while too little was seen. Java decides then as if nobody understood one table, and a new
    /// leader deletes the item of the old one.
    pub survey: Option<&'a Survey>,
    /// The old coordinator table holds items that have to move; asked only in PENDING.
    pub items_left: bool,
    /// Phase, and time in PENDING.
    pub settings: TableMigrationSettings,
    /// Wall time.
    pub now: EpochMillis,
}

/// Decides what the lock holder does about the move.
#[must_use]
pub fn duty(seen: Situation<'_>) -> Duty {
    let to_lease_table = seen.settings.to_lease_table;
    let Some(item) = seen.item else {
        return match (to_lease_table, seen.survey) {
            // deleted by hand under a worker of phase 2, which started when phase 1 was over
            (true, _) => Duty::Create(TableMigration::Deployed),
            (false, Some(survey)) if survey.is_supported() => Duty::Create(TableMigration::Init),
            (false, _) => Duty::Nothing,
        };
    };
    match (item.state, to_lease_table, seen.survey) {
        (TableMigration::Complete, _, _) => Duty::Leave,
        // a worker of phase 1 leads: the fleet went back
        (TableMigration::Pending, false, _) => Duty::Change(TableMigration::Deployed),
        (TableMigration::Deployed, false, _) | (_, _, None) => Duty::Nothing,
        (TableMigration::Init, _, Some(survey)) if !survey.is_supported() => Duty::Delete,
        (TableMigration::Init, _, Some(_)) => {
            after(DEPLOYED_AFTER, item, seen.now, Duty::Change(TableMigration::Deployed))
        }
        (TableMigration::Deployed, true, Some(survey)) if survey.has_left_old_table() => Duty::MoveItems,
        (TableMigration::Deployed, true, Some(_)) => Duty::Nothing,
        (TableMigration::Pending, true, Some(survey)) if !survey.has_left_old_table() || seen.items_left => {
            Duty::Change(TableMigration::Deployed)
        }
        (TableMigration::Pending, true, Some(_)) => after(seen.settings.complete_after, item, seen.now, Duty::Complete),
    }
}

/// `duty` once the item has been as it is for `bake`, in whole seconds as Java counts.
fn after(bake: Duration, item: &TableMigrationRow, now: EpochMillis, duty: Duty) -> Duty {
    let baked = now.0.div_euclid(1000).saturating_sub(item.modified_at.0.div_euclid(1000));
    if u64::try_from(baked).is_ok_and(|baked| baked >= bake.as_secs()) { duty } else { Duty::Nothing }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
