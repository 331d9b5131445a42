//! The last looks of a worker that leaves: who gets its leases, and whether one was left behind.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::coordinator::age::LeaseWatch;
use crate::coordinator::assign::plan;
use crate::coordinator::heirs::{Heirs, heirs_by, without};
use crate::coordinator::renew::chain;
use crate::coordinator::view::Look;
use crate::coordinator::{Fleet, LEAVING_LIMIT, LEAVING_RETRY};
use crate::lease::LeaseStoreError;

/// Names the workers that get our leases: those that could be given some when we last looked, by the same plan as a
/// leader makes. They find them sooner than a leader could give them, and no leader need be there. Names nobody when
/// the table cannot be read; then the leases go to nobody, and a leader gives them away.
pub(super) async fn name_heirs(fleet: &Fleet, heirs: &Heirs) {
    let (now, me) = (Instant::now(), &fleet.me);
    let named = match timeout(LEAVING_LIMIT, fleet.leases.list()).await {
        Ok(Ok(rows)) => {
            let (watch, dead) = (&LeaseWatch::default(), &BTreeSet::new());
            let look = Look { rows: &rows, watch, dead, config: &fleet.config, me, now, wall: fleet.clock.now() };
            let mut view = without(me, look.view());
            view.workers.retain(|worker, _| heirs.was_alive(worker));
            heirs.saw(&view.workers.keys().cloned().collect());
            heirs_by(plan(&view, &fleet.config.balancing, false).steps)
        }
        Ok(Err(error)) => {
            warn!(error = %chain(&error), "no worker could be found that takes our leases over; a leader must");
            Default::default()
        }
        Err(_) => Default::default(),
    };
    debug!(leases = named.len(), "other workers take our leases over");
    heirs.name(named);
}

/// Gives back leases that name us though we do not hold them: a write of ours may have come through unseen, or a
/// leader may have given them to us while we were leaving.
pub(super) async fn give_back_unheld(fleet: &Fleet) {
    let mut failures = 0;
    while let Err(error) = try_give_back_unheld(fleet).await {
        failures += 1;
        if !error.is_transient() {
            warn!(error = %chain(&error), "leases in our name could not be given back; they will expire");
            return;
        }
        sleep(LEAVING_RETRY.jittered(failures)).await;
    }
}

async fn try_give_back_unheld(fleet: &Fleet) -> Result<(), LeaseStoreError> {
    let rows = fleet.leases.list().await?;
    for lease in rows.leases.iter().filter(|lease| lease.actual_owner() == Some(&fleet.me)) {
        match (&lease.checkpoint_owner, &lease.owner) {
            (Some(_), Some(next)) => fleet.leases.assign(lease, next).await?,
            (Some(_) | None, _) => fleet.leases.evict(lease).await?,
        };
        debug!(shard = %lease.shard, "gave back a lease that we did not hold");
    }
    Ok(())
}
