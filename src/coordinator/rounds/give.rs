//! Carries a plan out: as leader, or in a dead leader's place.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{Stream, StreamExt};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Rounds;
use super::watch::Role;
use crate::coordinator::WRITES_AT_ONCE;
use crate::coordinator::assign::Step;
use crate::coordinator::renew::{Proof, chain};
use crate::lease::{FleetRows, Lease, LeaseStoreError, Written};
use crate::types::{ShardId, WorkerId};

/// What came of the steps of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// A write failed.
    pub(super) failed: bool,
    /// Leases that somebody got.
    pub(super) given: BTreeSet<ShardId>,
}

impl Outcome {
    async fn of(steps: impl Stream<Item = (Step, Result<bool, LeaseStoreError>)>) -> Self {
        let note = async |mut outcome: Self, (step, result): (Step, Result<bool, LeaseStoreError>)| {
            match result {
                Ok(true) => _ = outcome.given.insert(step.shard().clone()),
                Ok(false) => {}
                Err(_) => outcome.failed = true,
            }
            outcome
        };
        steps.fold(Self::default(), note).await
    }
}

impl Rounds {
    /// As leader.
    pub(super) async fn perform(&self, steps: Vec<Step>, now: Instant) -> Outcome {
        let all = futures_util::stream::iter(steps).map(|step| self.give(step, now)).buffer_unordered(WRITES_AT_ONCE);
        Outcome::of(all).await
    }

    async fn give(&self, step: Step, now: Instant) -> (Step, Result<bool, LeaseStoreError>) {
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
        let given = self.given(written, &step, &to, sent).await;
        (step, given)
    }

    /// In the place of a leader that is gone though its lock is still there. Nothing is written without the fence of
    /// the counter, so a second one who does the same does no harm, and neither does the leader if it lives after all.
    pub(super) async fn stand_in(&self, steps: Vec<Step>, role: Role, now: Instant) -> Outcome {
        let steps = steps.into_iter().filter_map(|step| match step {
            Step::Assign { lease, to } => {
                let to = self.whose(&lease, &to, role, now)?;
                Some((lease, to))
            }
            Step::HandOff { .. } => None,
        });
        let takes = steps.map(|(lease, to)| async move {
            let sent = Instant::now();
            let written = self.fleet.leases.take(&lease, &to).await;
            let step = Step::Assign { lease, to: to.clone() };
            let given = self.given(written, &step, &to, sent).await;
            (step, given)
        });
        Outcome::of(futures_util::stream::iter(takes).buffer_unordered(WRITES_AT_ONCE)).await
    }

    /// Deletes the load rows of the dead once the last of their leases is another's. So everybody knows of a death that
    /// only few have watched: who watches least may be the only one left when those die, too, and it must not take the
    /// dead for a leader that will see to things. A worker that lives after all writes its row again with its next report.
    pub(super) async fn bury(&self, rows: &FleetRows, given: &BTreeSet<ShardId>) -> bool {
        let mut kept: BTreeMap<&WorkerId, bool> = BTreeMap::new();
        for lease in &rows.leases {
            if let Some(owner) = lease.actual_owner() {
                *kept.entry(owner).or_default() |= !given.contains(&lease.shard);
            }
        }
        let mut well = true;
        for row in &rows.workers {
            let Some(seen) = row.last_update_seconds else { continue };
            if !self.suspects.is_dead(&row.worker) || kept.get(&row.worker).is_some_and(|kept| *kept) {
                continue;
            }
            match self.fleet.state.delete_worker(&row.worker, seen).await {
                Ok(true) => {
                    info!(worker = %row.worker, "deleted the load row of a worker that let its leases grow old")
                }
                Ok(false) => {} // it has reported since
                Err(error) => {
                    debug!(worker = %row.worker, error = %chain(&error), "a load row could not be deleted, trying later");
                    well = false;
                }
            }
        }
        well
    }

    /// Who gets a lease from us when nobody leads: the successor gives everybody their share, the others take their own
    /// in case there is none. What has lain for as long again is anybody's, for a worker that holds nothing looks alive
    /// for a while after its death.
    fn whose(&self, lease: &Lease, to: &WorkerId, role: Role, now: Instant) -> Option<WorkerId> {
        let me = &self.fleet.me;
        let long_abandoned = self.watch.age(lease, now) > self.fleet.config.failover_time * 2;
        match role {
            Role::Leader | Role::Successor => Some(to.clone()),
            Role::Second | Role::Third | Role::Member => (to == me || long_abandoned).then(|| me.clone()),
        }
    }

    async fn given(
        &self,
        written: Result<Written<Lease>, LeaseStoreError>,
        step: &Step,
        to: &WorkerId,
        sent: Instant,
    ) -> Result<bool, LeaseStoreError> {
        let shard = step.shard();
        match written {
            Ok(Written::Yes(lease)) => {
                info!(%shard, %to, handoff = lease.checkpoint_owner.is_some(), "gave lease");
                let ours = lease.is_given_to(&self.fleet.me);
                if ours && let Err(error) = self.holdings.adopt(lease, Proof::Given(sent)).await {
                    debug!(%shard, error = %chain(&error), "lease given to ourselves is found later");
                }
                Ok(true)
            }
            Ok(Written::No(_)) => {
                debug!(%shard, "the lease changed since it was read; looked at again next time");
                Ok(false)
            }
            Err(error) => {
                warn!(%shard, %to, error = %chain(&error), "lease could not be given, trying later");
                Err(error)
            }
        }
    }
}
