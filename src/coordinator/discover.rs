//! Finds leases that a leader has given to this worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::coordinator::Fleet;
use crate::coordinator::held::Holdings;
use crate::coordinator::renew::{Proof, chain};
use crate::lease::LeaseStoreError;

/// Time between two looks. Java's is 10 s; a look is one small query (Source: COEXISTENCE.md section 5). The leader sees
/// a death up to a second after the failover time (`rounds::watch`), and with this a shard of the dead is read again less
/// than two seconds after it, round trips included; nor shall anybody wait so long for what a leaving worker gives away.
pub const INTERVAL: Duration = Duration::from_millis(900);

/// Looks for leases that name us as their owner and are nobody else's any more, until `stop`, while `needed` says that
/// nothing else would find them in time. Without an index everything is looked at instead, for which it asks by `poke`.
///
/// The index may be seconds old, so each find is read again and proven by a renewal (Source: COEXISTENCE.md D11).
pub async fn discover(
    fleet: Fleet,
    holdings: Arc<Holdings>,
    mut needed: watch::Receiver<bool>,
    poke: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let due = async {
            sleep(INTERVAL).await;
            needed.wait_for(|needed| *needed).await.is_ok()
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            is_needed = due => if !is_needed { return },
        }
        let found = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            found = look(&fleet, &holdings) => found,
        };
        match found {
            Ok(()) => failing = false,
            Err(LeaseStoreError::IndexMissing { .. }) => {
                debug!("the index is not there yet");
                poke.notify_one();
            }
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
        if lease.is_given_to(&fleet.me) {
            holdings.adopt(lease, Proof::Needed).await?;
        }
    }
    Ok(())
}
