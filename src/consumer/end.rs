//! The end of a shard, before the child hears of it: leases for the shards that follow.
//!
//! Children's leases exist before the parent says SHARD_END, so that nothing between is ever without a lease
//! (Source: LEASES.md section 7.3).

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::consumer::Shared;
use crate::coordinator::renew::{HeldLease, chain};
use crate::coordinator::tree::child_leases;
use crate::lease::LeaseStoreError;
use crate::stream::ChildShard;
use crate::types::ShardId;

/// Waits between tries.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// Creates the leases of `children` and notes them in the parent's row; tries on until that is done. Cancel-safe in
/// the sense that it may be begun again at any time.
pub(super) async fn hand_on(shared: &Shared, held: &HeldLease, children: &[ChildShard]) {
    let mut failures = 0;
    loop {
        match try_hand_on(shared, held, children).await {
            Ok(None) => return,
            Ok(Some(parent)) => {
                failures += 1;
                if failures == 1 {
                    warn!(shard = %held.shard(), %parent,
                        "the other parent of the merged shard has no lease yet; waiting for it, so that order is kept");
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
}

/// `Some` names the other parent of a merge when it has no lease: then the child must wait for it to have one.
async fn try_hand_on(
    shared: &Shared,
    held: &HeldLease,
    children: &[ChildShard],
) -> Result<Option<ShardId>, LeaseStoreError> {
    for child in children {
        for parent in child.parents.iter().filter(|parent| *parent != held.shard()) {
            if shared.leases.get(parent).await?.is_none() && shared.leases.get(&child.id).await?.is_none() {
                return Ok(Some(parent.clone()));
            }
        }
    }
    for lease in child_leases(children) {
        if shared.leases.get(&lease.shard).await?.is_none() && shared.leases.create(&lease).await? {
            info!(shard = %held.shard(), child = %lease.shard, "created the lease of a following shard");
        }
    }
    held.note_children(children.to_vec()).await?;
    Ok(None)
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
