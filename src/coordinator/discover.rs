//! Finds leases that a leader has given to this worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::coordinator::Fleet;
use crate::coordinator::held::Holdings;
use crate::coordinator::renew::{Proof, chain};
use crate::lease::LeaseStoreError;

/// Time between two looks. Java's is 10 s; a look is one small query (Source: COEXISTENCE.md section 5).
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks for leases that name us as their owner and are nobody else's any more, until `stop`.
///
/// The index may be seconds old, so each find is read again and proven by a renewal (Source: COEXISTENCE.md D11).
pub async fn discover(fleet: Fleet, holdings: Arc<Holdings>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(INTERVAL) => {}
        }
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            found = look(&fleet, &holdings) => found,
        };
        match found {
            Ok(()) => failing = false,
            Err(LeaseStoreError::IndexMissing { .. }) => debug!("the index is not there yet"),
            Err(error) => {
                if !failing {
                    warn!(error = %chain(&error), "leases given to us cannot be looked up, trying on");
                }
                failing = true;
            }
        }
    }
}

async fn look(fleet: &Fleet, holdings: &Holdings) -> Result<(), LeaseStoreError> {
    for shard in fleet.leases.owned_by(&fleet.me).await? {
        if holdings.has(&shard) {
            continue;
        }
        let Some(lease) = fleet.leases.get(&shard).await? else { continue };
        if lease.owner.as_ref() == Some(&fleet.me) && lease.checkpoint_owner.is_none() {
            holdings.adopt(lease, Proof::Needed).await?;
        }
    }
    Ok(())
}
