//! Creates leases: for an empty table, and where leases are missing.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::coordinator::Fleet;
use crate::coordinator::renew::chain;
use crate::coordinator::ring::{Hole, first_hole, storable};
use crate::coordinator::tree::{Inconsistent, first_leases, missing_leases};
use crate::lease::{Lease, LeaseStoreError};
use crate::stream::{ShardFilter, StreamError};
use crate::types::HashKeyRange;

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
        match first_leases(&shards, fleet.initial, fleet.config.ignore_unexpected_child_shards) {
            Ok(leases) => break leases,
            Err(Inconsistent::Ring(_)) if tries < HOLE_TRIES => sleep(HOLE_WAIT).await,
            Err(error) => return Err(error.into()),
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

/// Looks whether the unfinished ones of `have` cover the ring, and creates what is missing once that is certain; how many
/// leases are new.
///
/// # Errors
/// As [`create_missing`].
pub async fn audit_ring(fleet: &Fleet, audit: &mut Audit, have: &[Lease]) -> Result<usize, SyncError> {
    let ranges = unfinished_ranges(fleet, have).await?;
    if audit.must_repair(ranges) { create_missing(fleet, have).await } else { Ok(0) }
}

/// The ranges of what is to be read. Where a row has none, as the first versions of 2.x wrote it, it is taken from the
/// list of shards and filled in; a shard that is not listed any more counts for nothing.
///
/// Source: KCL 3.x `PeriodicShardSyncManager.fillWithHashRangesIfRequired`.
async fn unfinished_ranges(fleet: &Fleet, have: &[Lease]) -> Result<Vec<HashKeyRange>, SyncError> {
    let unfinished = || have.iter().filter(|lease| !lease.is_finished());
    let mut ranges: Vec<HashKeyRange> = unfinished().filter_map(|lease| lease.hash_range).collect();
    if unfinished().all(|lease| lease.hash_range.is_some()) {
        return Ok(ranges);
    }
    let shards = fleet.catalog.list_shards(ShardFilter::All).await?;
    for lease in unfinished().filter(|lease| lease.hash_range.is_none()) {
        let Some(shard) = shards.iter().find(|shard| shard.id == lease.shard) else { continue };
        ranges.push(shard.hash_range);
        let Some(range) = storable(shard.hash_range) else { continue };
        if let Err(error) = fleet.leases.fill_hash_range(&lease.shard, range).await {
            warn!(shard = %lease.shard, error = %chain(&error), "the hash range could not be filled in, trying later");
        }
    }
    Ok(ranges)
}

/// Counts how often in a row the unfinished leases left the same hole in the ring. Pure.
///
/// Source: KCL 3.x `PeriodicShardSyncManager`: one sighting may be a scan between two writes.
#[derive(Debug, Default)]
pub struct Audit {
    last: Option<Hole>,
    sightings: u32,
}

/// Sightings of a hole from which leases are created for it, at each audit until it is gone.
const HOLE_CONFIDENCE: u32 = 3;

impl Audit {
    /// Takes in the ranges of one scan's unfinished leases; says whether leases must be created now.
    pub fn must_repair(&mut self, ranges: impl IntoIterator<Item = HashKeyRange>) -> bool {
        let Some(hole) = first_hole(ranges) else {
            *self = Self::default();
            return false;
        };
        let is_same = self.last.is_some_and(|last| last.between == hole.between);
        self.sightings = if is_same { self.sightings.saturating_add(1) } else { 1 };
        self.last = Some(hole);
        warn!(from = %hole.gap.start, to = %hole.gap.end, seen = self.sightings, "no lease covers some hash keys");
        self.sightings >= HOLE_CONFIDENCE
    }
}

#[cfg(test)]
mod beside;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{fleet, lease, row};
    use crate::lease::memory::MemoryStore;
    use crate::types::Checkpoint;

    fn range(start: u128, end: u128) -> HashKeyRange {
        HashKeyRange { start, end }
    }

    #[test]
    fn a_hole_is_repaired_from_its_third_sighting_in_a_row() {
        let mut audit = Audit::default();
        let (whole, holed, other) = (range(0, u128::MAX), range(1, u128::MAX), range(2, u128::MAX));
        let seen = [holed, holed, whole, holed, holed, other, holed, holed, holed, holed, whole, holed];
        let repairs = seen.map(|range| audit.must_repair([range]));
        assert_eq!(repairs, [false, false, false, false, false, false, false, false, true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_that_is_not_known_is_filled_in_and_finished_leases_cover_nothing() {
        let table = MemoryStore::new();
        let fleet = fleet(&table, "a");
        let shards = fleet.catalog.list_shards(ShardFilter::All).await.unwrap();
        let mut leases = [lease(0, None), lease(1, None), lease(2, None)];
        leases[1].checkpoint = Checkpoint::ShardEnd;
        leases[1].hash_range = Some(shards[1].hash_range);
        leases[2].checkpoint = Checkpoint::ShardEnd;
        leases.iter().for_each(|lease| table.put_lease(lease));
        let mut audit = Audit::default();
        assert_eq!(audit_ring(&fleet, &mut audit, &leases).await.unwrap(), 0);
        assert_eq!(row(&table, 0).hash_range, Some(shards[0].hash_range));
        assert_eq!(row(&table, 2).hash_range, None, "nobody asks for it");
        assert_eq!(audit.last.map(|hole| hole.gap), Some(shards[1].hash_range));
    }
}
