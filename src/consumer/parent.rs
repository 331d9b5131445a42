//! Waits until a shard's parents are read to their ends: children after parents, always.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::consumer::Shared;
use crate::coordinator::renew::chain;
use crate::lease::{Lease, LeaseStoreError};
use crate::types::ShardId;

/// First wait between two looks; the longest one is configured.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Returns when no parent of `lease` holds it back any more. Cancel-safe.
pub(super) async fn wait_for_parents(shared: &Shared, lease: &Lease) {
    let backoff = Backoff::new(FIRST_WAIT, shared.parent_poll.max(FIRST_WAIT));
    let (mut looks, mut failing) = (0, false);
    loop {
        let ended = shared.ended.notified(); // before the look, so that no end falls between
        match first_unfinished(shared, lease).await {
            Ok(None) => {
                let parents: Vec<&str> = lease.parents.iter().map(ShardId::as_str).collect();
                let parents = parents.join(", ");
                info!(shard = %lease.shard, "No need to block on parents [{parents}] of shard {}", lease.shard);
                return;
            }
            Ok(Some(parent)) if looks == 0 => {
                info!(shard = %lease.shard, %parent, "waiting for the parent shard to be finished");
            }
            Ok(Some(_)) => failing = false,
            Err(_) if failing => {}
            Err(error) => {
                failing = true;
                warn!(shard = %lease.shard, error = %chain(&error), "parent's lease could not be read, trying on");
            }
        }
        looks += 1;
        tokio::select! {
            biased;
            () = sleep(backoff.jittered(looks)) => {}
            () = ended => {}
        }
    }
}

/// A parent without a lease does not hold its children back (Source: KCL 3.x `BlockOnParentShardTask`). An answer from
/// the past may lack a lease that is younger, so its absence is made sure of.
async fn first_unfinished(shared: &Shared, lease: &Lease) -> Result<Option<ShardId>, LeaseStoreError> {
    for parent in &lease.parents {
        let row = match shared.leases.get(parent).await? {
            Some(row) => Some(row),
            None => shared.leases.get_now(parent).await?,
        };
        if row.is_some_and(|row| !row.is_finished()) {
            return Ok(Some(parent.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod beside;
