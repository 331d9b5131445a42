//! The end of a shard, before the child hears of it: leases for the shards that follow.
//!
//! Children's leases exist before the parent says SHARD_END, so that nothing between is ever without a lease
//! (Source: LEASES.md section 7.3).

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::consumer::Shared;
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::coordinator::tree::child_leases;
use crate::lease::LeaseStoreError;
use crate::stream::ChildShard;
use crate::types::ShardId;

/// Waits between tries.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Wait before the shard is given back whose last answer was incomplete, so that it does not go round in circles.
const INCOMPLETE_WAIT: Duration = Duration::from_secs(10);

/// The last answer cannot name all that follows: nobody may take it for the end of the shard.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Incomplete {
    /// A shard that follows alone has been merged from two.
    #[error("shard `{0}` follows alone, and the service does not name the two parents that it was merged from")]
    Merge(ShardId),
    /// It could begin before its parents have ended.
    #[error("the service names no parents of shard `{0}`, which follows")]
    Orphan(ShardId),
}

/// Creates the leases of `children` and notes them in the parent's row; tries on until that is done, or the lease is
/// lost. Cancel-safe in the sense that it may be begun again at any time.
///
/// # Errors
/// The children cannot be all, and nothing was written; whoever asks the service again may be told more.
pub(super) async fn hand_on(shared: &Shared, held: &HeldLease, children: &[ChildShard]) -> Result<(), Incomplete> {
    let parents = match parents_of_a_merge(children) {
        Ok(parents) => parents,
        Err(incomplete) => {
            warn!(shard = %held.shard(), error = %incomplete, "the last answer is not believed; the shard is given back");
            sleep(INCOMPLETE_WAIT).await;
            return Err(incomplete);
        }
    };
    let mut failures = 0;
    while held.standing() != Standing::Lost {
        match try_hand_on(shared, held, children, parents).await {
            Ok(None) => break,
            Ok(Some(parent)) => {
                failures += 1;
                if failures == 1 {
                    warn!(shard = %held.shard(), %parent,
                        "a parent of the merged shard has no lease yet; waiting for it, so that order is kept");
                }
            }
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    warn!(shard = %held.shard(), error = %chain(&error), "leases of the following shards could not be made, trying on");
                }
            }
        }
        sleep(RETRY.jittered(failures)).await;
    }
    Ok(())
}

/// Both parents, if the shard was merged with another one. Pure.
///
/// Of a split that names one child only the other one would be lost: once this shard is finished nobody looks for it.
///
/// Source: KCL 3.x `ShutdownTask.createLeasesForChildShardsIfNotExist`, `HierarchicalShardSyncer.newKCLLeaseForChildShard`.
fn parents_of_a_merge(children: &[ChildShard]) -> Result<Option<[&ShardId; 2]>, Incomplete> {
    if let Some(orphan) = children.iter().find(|child| child.parents.is_empty()) {
        return Err(Incomplete::Orphan(orphan.id.clone()));
    }
    let [only] = children else { return Ok(None) };
    match only.parents.as_slice() {
        [one, other] => Ok(Some([one, other])),
        _ => Err(Incomplete::Merge(only.id.clone())),
    }
}

/// `Some` names a parent of a merge that has no lease while the other one has: then the child must wait for it, unless
/// it has a lease itself.
async fn try_hand_on(
    shared: &Shared,
    held: &HeldLease,
    children: &[ChildShard],
    parents: Option<[&ShardId; 2]>,
) -> Result<Option<ShardId>, LeaseStoreError> {
    if let Some([one, other]) = parents {
        let missing = match (shared.leases.get(one).await?, shared.leases.get(other).await?) {
            (None, Some(_)) => Some(one),
            (Some(_), None) => Some(other),
            (Some(_), Some(_)) | (None, None) => None,
        };
        if let (Some(missing), [child]) = (missing, children)
            && shared.leases.get(&child.id).await?.is_none()
        {
            return Ok(Some(missing.clone()));
        }
    }
    for lease in child_leases(children) {
        let is_missing = shared.leases.get(&lease.shard).await?.is_none();
        if held.standing() == Standing::Lost {
            return Ok(None); // after a standstill the child may be done and its lease gone: it must not come back
        }
        if is_missing && shared.leases.create(&lease).await? {
            info!(shard = %held.shard(), child = %lease.shard, "created the lease of a following shard");
        }
    }
    held.note_children(children.to_vec()).await?;
    Ok(None)
}

#[cfg(test)]
#[path = "end_deaths_tests.rs"]
mod deaths;
#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
