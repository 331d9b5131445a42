//! Creates leases: for an empty table, and where leases are missing.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::coordinator::Fleet;
use crate::coordinator::tree::{Inconsistent, first_hole, first_leases, missing_leases};
use crate::lease::{Lease, LeaseStoreError};
use crate::stream::{ShardFilter, StreamError};

/// Looks at the shard list that may find a hole before that is an error (Source: LEASES.md section 7.1).
const HOLE_TRIES: u32 = 3;
/// Wait between them.
const HOLE_WAIT: Duration = Duration::from_secs(1);

/// Why leases could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The lease table.
    #[error(transparent)]
    Table(#[from] LeaseStoreError),
    /// The stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The list of shards.
    #[error("the list of shards is not consistent")]
    Shards(#[from] Inconsistent),
}

/// Time between two audits of the ring (Source: KCL 3.x `leasesRecoveryAuditorExecutionFrequencyMillis`).
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(120);
/// First audit after this worker began to lead (Source: LEASES.md section 3.1).
pub const FIRST_AUDIT: Duration = Duration::from_secs(60);

/// Creates the first leases, and remembers when it could not bring that to its end.
#[derive(Debug, Default)]
pub struct FirstLeases {
    /// We began and do not know of all that they are there.
    creating: bool,
}

impl FirstLeases {
    /// Creates leases if the table is empty and we `may_begin`, or the rest of them where we failed half way; whether
    /// there are new ones.
    ///
    /// # Errors
    /// As [`create_first`] and [`create_missing`].
    pub async fn create(&mut self, fleet: &Fleet, have: &[Lease], may_begin: bool) -> Result<bool, SyncError> {
        let created = if have.is_empty() && may_begin {
            self.creating = true;
            create_first(fleet).await?
        } else if self.creating {
            create_missing(fleet, have).await? > 0
        } else {
            return Ok(false);
        };
        self.creating = false;
        Ok(created)
    }
}

/// Creates the leases of an empty table; `false` if it was not empty after all.
///
/// List, look and create follow each other closely: leases made from an old list could begin at the wrong shards
/// (Source: COEXISTENCE.md D9). Creation is conditional, so two workers doing it at once do no harm.
///
/// # Errors
/// The stream or the table could not be asked, or the shards do not cover all hash keys.
pub async fn create_first(fleet: &Fleet) -> Result<bool, SyncError> {
    let mut tries = 0;
    let leases = loop {
        tries += 1;
        let shards = fleet.catalog.list_shards(ShardFilter::At(fleet.initial)).await?;
        match first_leases(&shards, fleet.initial) {
            Ok(leases) => break leases,
            Err(error) if tries == HOLE_TRIES => return Err(error.into()),
            Err(_) => sleep(HOLE_WAIT).await,
        }
    };
    if !fleet.leases.list().await?.leases.is_empty() {
        return Ok(false);
    }
    create(fleet, &leases).await?;
    info!(leases = leases.len(), initial = ?fleet.initial, "created the first leases");
    Ok(true)
}

/// Creates what `have` lacks.
///
/// # Errors
/// The stream or the table could not be asked, or the list of shards is not consistent.
pub async fn create_missing(fleet: &Fleet, have: &[Lease]) -> Result<usize, SyncError> {
    let shards = fleet.catalog.list_shards(ShardFilter::All).await?;
    let missing = missing_leases(&shards, have, fleet.initial, fleet.config.ignore_unexpected_child_shards)?;
    create(fleet, &missing).await?;
    for lease in have.iter().filter(|lease| lease.hash_range.is_none()) {
        if let Some(shard) = shards.iter().find(|shard| shard.id == lease.shard) {
            fleet.leases.fill_hash_range(&lease.shard, shard.hash_range).await?;
        }
    }
    if !missing.is_empty() {
        info!(leases = missing.len(), "created leases that were missing");
    }
    Ok(missing.len())
}

async fn create(fleet: &Fleet, leases: &[Lease]) -> Result<(), LeaseStoreError> {
    for lease in leases {
        fleet.leases.create(lease).await?; // in the order of the shards, so that a crash leaves nothing out for long
    }
    Ok(())
}

/// Counts how often in a row the unfinished leases left a hole in the ring. Pure.
///
/// Source: KCL 3.x `PeriodicShardSyncManager`: one sighting may be a scan between two writes.
#[derive(Debug, Default)]
pub struct Audit {
    holes: u32,
}

/// Sightings of a hole before leases are created for it.
const HOLE_CONFIDENCE: u32 = 3;

impl Audit {
    /// Takes in one scan; says whether leases must be created now.
    pub fn must_repair(&mut self, leases: &[Lease]) -> bool {
        if leases.iter().any(|lease| lease.hash_range.is_none()) {
            return true; // old rows: the ranges are filled in first
        }
        let unfinished = leases.iter().filter(|lease| !lease.is_finished());
        match first_hole(unfinished.filter_map(|lease| lease.hash_range)) {
            None => self.holes = 0,
            Some(hole) => {
                self.holes += 1;
                warn!(from = %hole.start, to = %hole.end, seen = self.holes, "no lease covers some hash keys");
            }
        }
        if self.holes < HOLE_CONFIDENCE {
            return false;
        }
        self.holes = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Checkpoint, HashKeyRange, ShardId};

    fn lease(number: u128, start: u128, end: u128) -> Lease {
        let mut lease = Lease::new(ShardId::new(format!("shardId-{number:012}")), Checkpoint::TrimHorizon);
        lease.hash_range = Some(HashKeyRange { start, end });
        lease
    }

    #[test]
    fn only_the_third_sighting_of_a_hole_in_a_row_is_repaired() {
        let mut audit = Audit::default();
        let (whole, holed) = ([lease(0, 0, u128::MAX)], [lease(0, 1, u128::MAX)]);
        let seen = [&holed, &holed, &whole, &holed, &holed, &holed, &holed];
        let repairs: Vec<bool> = seen.iter().map(|leases| audit.must_repair(*leases)).collect();
        assert_eq!(repairs, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn finished_leases_cover_nothing() {
        let mut parent = lease(0, 0, u128::MAX);
        parent.checkpoint = Checkpoint::ShardEnd;
        let mut audit = Audit::default();
        let leases = [parent, lease(1, 0, 5)];
        assert_eq!([(); 3].map(|()| audit.must_repair(&leases)), [false, false, true]);
    }

    #[test]
    fn leases_without_a_range_are_filled_in_at_once() {
        let mut old = lease(0, 0, u128::MAX);
        old.hash_range = None;
        assert!(Audit::default().must_repair(&[old]));
    }
}
