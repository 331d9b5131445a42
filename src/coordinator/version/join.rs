//! Joins the fleet: reads item `Migration3.0`, writes it where that is this worker's part, and says how to work.

use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::config::ClientVersionConfig;
use crate::coordinator::Fleet;
use crate::coordinator::start::StartError;
use crate::coordinator::version::guard::{holds_other_rows, unproven_owners};
use crate::coordinator::version::{FirstStep, first_step, next_row};
use crate::lease::place::Layout;
use crate::lease::row::CLIENT_VERSION_KEY;
use crate::lease::{ClientVersion, FleetRows, LeaseStoreError};
use crate::types::WorkerId;

/// Losing a race against another worker that starts now is no failure: what it wrote is read again.
const TRIES: u32 = 3;

/// Reads the item, writes it if need be, and returns how this worker works.
///
/// # Errors
/// The item says what no worker writes, cannot be read, or changes all the time.
pub async fn join(fleet: &Fleet) -> Result<ClientVersion, StartError> {
    for _ in 0..TRIES {
        let found = fleet.state.client_version().await?;
        let item = found.as_ref().map(|row| row.version);
        let to = match first_step(fleet.config.client_version, item) {
            FirstStep::Follow(version) => {
                match found {
                    Some(_) => info!(?version, "item `{CLIENT_VERSION_KEY}` tells how the fleet works"),
                    None => info!("working as 2.x and writing nothing but leases, as clientVersionConfig demands"),
                }
                return Ok(version);
            }
            FirstStep::Refuse => return Err(StartError::NoSuchVersion),
            FirstStep::Write(to) => to,
        };
        if found.is_none() && !is_first_item_harmless(fleet, to).await? {
            return Ok(ClientVersion::Init);
        }
        let row = next_row(found, to, &fleet.me, fleet.clock.now());
        let written = match item {
            None => fleet.state.create_client_version(&row).await?,
            Some(from) => fleet.state.change_client_version(from, &row).await?,
        };
        if written {
            info!(version = ?to, "wrote item `{CLIENT_VERSION_KEY}`: the fleet works so from now on");
            return Ok(to);
        }
    }
    Err(LeaseStoreError::Unusable(format!("item `{CLIENT_VERSION_KEY}` changes faster than it can be read")).into())
}

/// Whether the item may be written though no such row is there yet. Says what it would do to whom.
async fn is_first_item_harmless(fleet: &Fleet, to: ClientVersion) -> Result<bool, LeaseStoreError> {
    let rows = fleet.leases.list().await?;
    let suspects = unproven_owners(&rows, &fleet.me);
    if suspects.is_empty() || has_other_rows(fleet, &rows).await? {
        return Ok(true);
    }
    let suspects = named(&suspects);
    if to == ClientVersion::ThreeX || !fleet.config.spare_2x_workers {
        warn!(
            %suspects,
            "writing item `{CLIENT_VERSION_KEY}`, as clientVersionConfig demands, though these lease owners have not \
             shown that they are of KCL 3.5 or later: workers of 2.x fail on every scan from now on and take no \
             lease; where there are any, start with CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1 instead"
        );
        return Ok(true);
    }
    tell_suspects(&suspects);
    Ok(false)
}

/// Whether a worker of 2.x has nothing to fear from the item: the table holds rows that it cannot read already, or the
/// item goes to the table of KCL 3.0-3.4, which 2.x never reads.
pub(super) async fn has_other_rows(fleet: &Fleet, rows: &FleetRows) -> Result<bool, LeaseStoreError> {
    let own_table = *fleet.state.layout().borrow() != Layout::OneTable;
    Ok(own_table || holds_other_rows(rows) || fleet.state.lock().await?.is_some())
}

pub(super) fn named(workers: &BTreeSet<WorkerId>) -> String {
    workers.iter().map(|worker| format!("`{worker}`")).collect::<Vec<_>>().join(", ")
}

/// Whether a worker with this configuration creates the item as soon as that harms nobody.
pub(super) fn wants_upgrade(config: ClientVersionConfig) -> bool {
    first_step(config, None) == FirstStep::Write(ClientVersion::UpgradeFrom2x)
}

pub(super) fn tell_suspects(suspects: &str) {
    warn!(
        %suspects,
        "these lease owners have not shown that they are of KCL 3.5 or later, and workers of 2.x fail on every scan \
         once item `{CLIENT_VERSION_KEY}` is there: working as 2.x and writing nothing but leases until they have; \
         replace workers of 2.x, or set clientVersionConfig = CLIENT_VERSION_CONFIG_3X when none is left"
    );
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
