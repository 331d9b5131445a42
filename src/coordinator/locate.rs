//! Finds out where this worker is, and tells the store.
//!
//! Never makes the old tables: that they exist is what tells the layouts apart (Source: COEXISTENCE.md section 1).

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Fleet;
use super::layout::{LayoutError, Seen, decide};
use super::start::StartError;
use crate::lease::LeaseStoreError;
use crate::lease::migration::TableMigration;
use crate::lease::place::Layout;

/// Time between two looks at a lock that should not be there.
const LOOK: Duration = Duration::from_secs(2);
/// A lock that has not moved for so long missed two heartbeats of 30 s: nobody renews it. Also the longest wait for a
/// table that is being made.
const ABANDONED: Duration = Duration::from_secs(65);

/// Decides the layout of this process and settles the store on it.
///
/// # Errors
/// The tables cannot be read, phase 2 is asked for too early, or going on would make a second leader.
pub async fn locate(fleet: &Fleet) -> Result<(), StartError> {
    let mut seen = look(fleet).await?;
    let mut layout = layout_for(fleet, seen)?;
    if layout != Layout::OneTable
        && let Some(error) = second_leader(fleet, seen.item).await?
    {
        // The move may have become complete while we watched, and then the lock is where it should be.
        seen = look(fleet).await?;
        layout = layout_for(fleet, seen)?;
        if layout != Layout::OneTable {
            return Err(error.into());
        }
    }
    fleet.state.settle(layout);
    match layout {
        Layout::OneTable => debug!("everything is in the lease table"),
        Layout::ThreeTables | Layout::Moving => {
            let names = fleet.state.names();
            info!(?layout, item = ?seen.item, coordinator = names.coordinator, load = names.metrics, "the application was made by KCL 3.0 to 3.4 and keeps its rows in three tables");
        }
    }
    Ok(())
}

async fn look(fleet: &Fleet) -> Result<Seen, LeaseStoreError> {
    let to_lease_table = fleet.config.table_migration.to_lease_table;
    let began = Instant::now();
    loop {
        if !fleet.state.has_legacy_tables().await? {
            return Ok(Seen { old_table: false, item: None, to_lease_table });
        }
        match fleet.state.table_migration().await {
            Ok(item) => return Ok(Seen { old_table: true, item: item.map(|row| row.state), to_lease_table }),
            // it is being made by an older worker, or being deleted
            Err(LeaseStoreError::TableMissing { .. }) if began.elapsed() < ABANDONED => sleep(LOOK).await,
            Err(error) => return Err(error),
        }
    }
}

fn layout_for(fleet: &Fleet, seen: Seen) -> Result<Layout, LayoutError> {
    decide(seen).ok_or_else(|| LayoutError::TooEarly { table: fleet.state.names().coordinator, item: seen.item })
}

/// Watches the lock of the lease table, which nobody may hold before the move is complete.
///
/// Source: COEXISTENCE.md D3; Java does not look, and two leaders are the consequence.
async fn second_leader(fleet: &Fleet, item: Option<TableMigration>) -> Result<Option<LayoutError>, LeaseStoreError> {
    let Some(first) = fleet.state.lock_in_lease_table().await? else { return Ok(None) };
    let names = fleet.state.names();
    warn!(owner = %first.owner, table = names.leases, old_table = names.coordinator, "a leader lock is in the lease table, though the application keeps its lock in the old table: watching whether somebody renews it");
    let began = Instant::now();
    while began.elapsed() < ABANDONED {
        sleep(LOOK).await;
        match fleet.state.lock_in_lease_table().await? {
            None => return Ok(None),
            Some(now) if now.version != first.version => {
                return Ok(Some(LayoutError::TwoLeaders { names, item, owner: now.owner }));
            }
            Some(_) => {}
        }
    }
    warn!(owner = %first.owner, table = names.leases, "nobody renews that lock; it is a remainder");
    Ok(None)
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
