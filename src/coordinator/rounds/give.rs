//! Carries a plan out: as leader, or in a dead leader's place.

use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Rounds;
use super::watch::Role;
use crate::coordinator::WRITES_AT_ONCE;
use crate::coordinator::assign::Step;
use crate::coordinator::renew::{Proof, chain};
use crate::lease::{Lease, LeaseStoreError, Written};
use crate::types::WorkerId;

impl Rounds {
    /// As leader. `false` if a write failed.
    pub(super) async fn perform(&self, steps: Vec<Step>, now: Instant) -> bool {
        let all = futures_util::stream::iter(steps).map(|step| self.give(step, now)).buffer_unordered(WRITES_AT_ONCE);
        all.fold(true, async |well, done| well && done).await
    }

    async fn give(&self, step: Step, now: Instant) -> bool {
        let leases = &self.fleet.leases;
        let (to, sent) = (step.to().clone(), Instant::now());
        let written = match &step {
            // Expired as we saw it; its owner may have renewed it since, and then it is not to be had.
            Step::Assign { lease, to } if lease.owner.is_some() && self.is_expired(lease, now) => {
                leases.take(lease, to).await
            }
            Step::Assign { lease, to } => leases.assign(lease, to).await,
            Step::HandOff { lease, to } if self.fleet.config.graceful_handoff => leases.begin_handoff(lease, to).await,
            Step::HandOff { lease, to } => leases.assign(lease, to).await,
        };
        self.given(written, &step, &to, sent).await
    }

    /// In the place of a leader that is gone though its lock is still there. Nothing is written without the fence of
    /// the counter, so a second one who does the same does no harm, and neither does the leader if it lives after all.
    pub(super) async fn stand_in(&self, steps: Vec<Step>, role: Role, now: Instant) -> bool {
        let steps = steps.into_iter().filter_map(|step| match step {
            Step::Assign { ref lease, ref to } => {
                let to = self.whose(lease, to, role, now)?;
                Some((step, to))
            }
            Step::HandOff { .. } => None,
        });
        let takes = steps.map(|(step, to)| async move {
            let Step::Assign { lease, .. } = &step else { return true };
            let sent = Instant::now();
            let written = self.fleet.leases.take(lease, &to).await;
            self.given(written, &step, &to, sent).await
        });
        let all = futures_util::stream::iter(takes).buffer_unordered(WRITES_AT_ONCE);
        all.fold(true, async |well, done| well && done).await
    }

    /// Who gets a lease from us when nobody leads: the successor gives everybody their share, the others take their own
    /// in case there is none. What has lain for as long again is anybody's, for a worker that holds nothing looks alive
    /// for a while after its death.
    fn whose(&self, lease: &Lease, to: &WorkerId, role: Role, now: Instant) -> Option<WorkerId> {
        let me = &self.fleet.me;
        let long_abandoned = self.watch.age(lease, now) > self.fleet.config.failover_time * 2;
        match role {
            Role::Leader | Role::Successor => Some(to.clone()),
            Role::Member => (to == me || long_abandoned).then(|| me.clone()),
        }
    }

    async fn given(
        &self,
        written: Result<Written<Lease>, LeaseStoreError>,
        step: &Step,
        to: &WorkerId,
        sent: Instant,
    ) -> bool {
        let shard = step.shard();
        match written {
            Ok(Written::Yes(lease)) => {
                info!(%shard, %to, handoff = lease.checkpoint_owner.is_some(), "gave lease");
                let ours = lease.owner.as_ref() == Some(&self.fleet.me) && lease.checkpoint_owner.is_none();
                if ours && let Err(error) = self.holdings.adopt(lease, Proof::Given(sent)).await {
                    debug!(%shard, error = %chain(&error), "lease given to ourselves is found later");
                }
                true
            }
            Ok(Written::No(_)) => {
                debug!(%shard, "the lease changed since it was read; looked at again next time");
                true
            }
            Err(error) => {
                warn!(%shard, %to, error = %chain(&error), "lease could not be given, trying later");
                false
            }
        }
    }
}
