//! To whom leases go that we let go of: a worker that waits for them, an heir when we leave, else nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::coordinator::assign::{FleetView, Need, Step};
use crate::lease::Lease;
use crate::types::{LeaseCounter, ShardId, WorkerId};

/// Longest wait for the heirs to be named; then the lease goes to nobody, and the leader gives it away.
const NAMED_LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
enum Will {
    /// We stay.
    #[default]
    None,
    /// We leave, and look for heirs.
    Sought,
    /// We leave. Who is not named gets nothing.
    Named(BTreeMap<ShardId, WorkerId>),
}

/// What those who give leases away must know of the other workers.
#[derive(Debug, Default)]
pub struct Heirs {
    will: Mutex<Will>,
    /// Wakes the leases up in the order in which they wait; a watch channel would by chance, and no simulated course
    /// would come twice.
    named: Notify,
    living: Mutex<BTreeSet<WorkerId>>,
    /// What was given to heirs, as it was then.
    given: Mutex<BTreeMap<ShardId, (WorkerId, LeaseCounter)>>,
}

impl Heirs {
    fn will(&self) -> MutexGuard<'_, Will> {
        self.will.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn living(&self) -> MutexGuard<'_, BTreeSet<WorkerId>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who can be given leases, as of a look at the table.
    pub fn saw(&self, living: &BTreeSet<WorkerId>) {
        self.living().clone_from(living);
    }

    /// Whether the worker could be given leases when we last looked.
    #[must_use]
    pub fn was_alive(&self, worker: &WorkerId) -> bool {
        self.living().contains(worker)
    }

    fn given(&self) -> MutexGuard<'_, BTreeMap<ShardId, (WorkerId, LeaseCounter)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the row of a lease that we gave to somebody who was there, if we leave.
    pub fn gave(&self, lease: &Lease) {
        let Some(heir) = lease.owner.as_ref().filter(|heir| self.was_alive(heir)) else { return };
        let we_leave = !matches!(*self.will(), Will::None);
        if we_leave {
            self.given().insert(lease.shard.clone(), (heir.clone(), lease.counter));
        }
    }

    /// Whether we gave the lease to a worker that has left before it found it.
    #[must_use]
    pub fn is_astray(&self, lease: &Lease) -> bool {
        let Some((heir, counter)) = self.given().get(&lease.shard).cloned() else { return false };
        lease.is_given_to(&heir) && lease.counter == counter && !self.was_alive(&heir)
    }

    /// From now on whoever gives a lease away waits until its heir is named.
    pub fn seek(&self) {
        *self.will() = Will::Sought;
    }

    /// Ends the waiting.
    pub fn name(&self, heirs: BTreeMap<ShardId, WorkerId>) {
        *self.will() = Will::Named(heirs);
        self.named.notify_waiters();
    }

    /// Ends the waiting for heirs that cannot be found: who was not named so far gets nothing.
    pub fn wait_no_longer(&self) {
        let is_sought = matches!(*self.will(), Will::Sought);
        if is_sought {
            self.name(BTreeMap::new());
        }
    }

    /// Who gets the lease, if anybody; waits a moment while that is being found out.
    pub async fn of(&self, shard: &ShardId) -> Option<WorkerId> {
        timeout(NAMED_LIMIT, self.known(shard)).await.unwrap_or_default()
    }

    async fn known(&self, shard: &ShardId) -> Option<WorkerId> {
        loop {
            let mut named = pin!(self.named.notified());
            named.as_mut().enable(); // what is named from here on is not missed
            match &*self.will() {
                Will::None => return None,
                Will::Named(heirs) => return heirs.get(shard).cloned(),
                Will::Sought => {}
            }
            named.await;
        }
    }
}

/// The view of a fleet that `me` leaves: `orphans` need an owner, and nothing else is touched. Pure.
#[must_use]
pub fn without<'a>(me: &WorkerId, orphans: impl Fn(&Lease) -> bool, mut view: FleetView<'a>) -> FleetView<'a> {
    view.workers.remove(me);
    for (lease, need) in &mut view.leases {
        *need = if orphans(lease) { Need::Owner } else { Need::Nothing };
    }
    view
}

/// Who gets which lease by such a plan. Pure.
#[must_use]
pub fn heirs_by(steps: Vec<Step>) -> BTreeMap<ShardId, WorkerId> {
    let assigned = steps.into_iter().filter_map(|step| match step {
        Step::Assign { lease: Lease { shard, .. }, to } => Some((shard, to)),
        Step::HandOff { .. } => None,
    });
    assigned.collect()
}
