//! Looks at the whole table again and again: as leader, to give leases to workers; as anybody, to notice that a dead
//! leader gives nothing, and to take one's share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::coordinator::age::LeaseWatch;
use crate::coordinator::assign::turns::Turns;
use crate::coordinator::assign::{FleetView, Step, plan};
use crate::coordinator::held::Holdings;
use crate::coordinator::leader::Leadership;
use crate::coordinator::migration::Survey;
use crate::coordinator::renew::{Proof, chain};
use crate::coordinator::sync::{Audit, SyncError, create_first, create_missing};
use crate::coordinator::view::{Look, is_active};
use crate::coordinator::{Fleet, WRITES_AT_ONCE};
use crate::lease::{FleetRows, Lease, LeaseStoreError, WorkerRow, Written};
use crate::types::WorkerId;

/// A lock that has not moved for this long missed a heartbeat (they come every 30 s).
const LOCK_SILENT: Duration = Duration::from_secs(40);
/// Time between two audits of the ring (Source: KCL 3.x `leasesRecoveryAuditorExecutionFrequencyMillis`).
const AUDIT_INTERVAL: Duration = Duration::from_secs(120);
/// First audit after this worker began to lead (Source: LEASES.md section 3.1).
const FIRST_AUDIT: Duration = Duration::from_secs(60);
/// Added to the moment at which a lease will have expired, so that it has.
const MARGIN: Duration = Duration::from_millis(50);
/// Shortest and, after failures, longest time between two looks.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Shortest time between two looks that succeed.
const SHORTEST: Duration = Duration::from_millis(200);

/// The looks of one worker.
pub struct Rounds {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    leader: watch::Receiver<Leadership>,
    poke: Arc<Notify>,
    watch: LeaseWatch,
    turns: Turns,
    audit: Audit,
    next_audit: Option<Instant>,
    empty_since: Option<Instant>,
    /// We began to create the first leases and do not know of all that they are there.
    creating: bool,
    /// Workers that let a lease grow old, and what their load rows said then.
    suspects: BTreeMap<WorkerId, Option<i64>>,
    failures: u32,
    /// Hears of the whole fleet, while an application moves into one table.
    survey: Option<watch::Sender<Option<Survey>>>,
}

impl Rounds {
    /// Has seen nothing yet. `poke` asks for a look at once.
    #[must_use]
    pub fn new(fleet: Fleet, holdings: Arc<Holdings>, leader: watch::Receiver<Leadership>, poke: Arc<Notify>) -> Self {
        Self {
            fleet,
            holdings,
            leader,
            poke,
            watch: LeaseWatch::default(),
            turns: Turns::default(),
            audit: Audit::default(),
            next_audit: None,
            empty_since: None,
            creating: false,
            suspects: BTreeMap::new(),
            failures: 0,
            survey: None,
        }
    }

    /// Tells `survey` what each look as leader says about the fleet.
    #[must_use]
    pub fn with_survey(self, survey: watch::Sender<Option<Survey>>) -> Self {
        Self { survey: Some(survey), ..self }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                pause = self.round() => pause,
            };
            let poke = self.poke.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = poke.notified() => {}
                changed = self.leader.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// One look; returns the time until the next.
    async fn round(&mut self) -> Duration {
        match self.look().await {
            Ok(pause) => {
                self.failures = 0;
                pause.max(SHORTEST)
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    warn!(error = %chain(&error), "the fleet could not be looked at, trying on");
                }
                RETRY.jittered(self.failures)
            }
        }
    }

    async fn look(&mut self) -> Result<Duration, SyncError> {
        let mut rows = self.fleet.leases.list().await?;
        let leadership = self.leader.borrow_and_update().clone();
        let leading = leadership == Leadership::Mine;
        if self.create_leases(&rows, leading).await? {
            rows = self.fleet.leases.list().await?;
        }
        let now = Instant::now();
        self.watch.observe(rows.leases.iter(), now);
        self.adopt_own(&rows.leases).await?;
        let dead = self.dead_owners(&rows, now);
        let view = self.view(&rows, &dead, now);
        if leading && let Some(survey) = &self.survey {
            let (times, interval) = ((now, self.fleet.clock.now()), self.fleet.config.worker_metrics_interval);
            survey.send_replace(Some(Survey::of(&rows, |lease| self.is_expired(lease, now), times, interval)));
        }
        let balancing = &self.fleet.config.balancing;
        if leading {
            let plan = plan(&view, balancing, self.turns.is_due(&view, now));
            if plan.balanced {
                let every = self.fleet.config.lease_assignment_interval.saturating_mul(balancing.frequency);
                self.turns.taken(&view, now, every);
            }
            self.perform(plan.steps, now).await;
            self.audit(&rows.leases, now).await?;
        } else {
            self.turns = Turns::default();
            if self.nobody_leads(&leadership, &rows.workers, &dead, now) {
                let all = plan(&view, &self.fleet.config.balancing, false).steps;
                self.take(all.into_iter().filter(|step| self.may_take(step, now))).await;
            }
        }
        Ok(self.pause(&rows.leases, now, leading))
    }

    /// The leader creates the first leases; anybody does where a leader has not done so for long.
    fn must_create_first(&mut self, rows: &FleetRows, leading: bool) -> bool {
        if !rows.leases.is_empty() {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        leading || since.elapsed() > self.fleet.config.failover_time
    }

    /// Creates leases for an empty table, or the rest of them where we failed half way; whether there are new ones.
    async fn create_leases(&mut self, rows: &FleetRows, leading: bool) -> Result<bool, SyncError> {
        if self.must_create_first(rows, leading) {
            self.creating = true;
            let created = create_first(&self.fleet).await?;
            self.creating = false;
            return Ok(created);
        }
        if self.creating {
            let created = create_missing(&self.fleet, &rows.leases).await?;
            self.creating = false;
            return Ok(created > 0);
        }
        Ok(false)
    }

    /// Leases that name us, from a former life under the same name or from a leader that was faster than the index.
    async fn adopt_own(&self, leases: &[Lease]) -> Result<(), LeaseStoreError> {
        for lease in leases {
            let ours = lease.owner.as_ref() == Some(&self.fleet.me) && lease.checkpoint_owner.is_none();
            if ours && !self.holdings.has(&lease.shard) {
                self.holdings.adopt(lease.clone(), Proof::Needed).await?;
            }
        }
        Ok(())
    }

    fn is_expired(&self, lease: &Lease, now: Instant) -> bool {
        self.watch.age(lease, now) > self.fleet.config.failover_time
    }

    /// Workers that let a lease grow old: dead, whatever their load rows still say, until they write new ones
    /// (Source: COEXISTENCE.md D4).
    fn dead_owners(&mut self, rows: &FleetRows, now: Instant) -> BTreeSet<WorkerId> {
        let reported: BTreeMap<&WorkerId, Option<i64>> =
            rows.workers.iter().map(|row| (&row.worker, row.last_update_seconds)).collect();
        self.suspects.retain(|worker, then| reported.get(worker) == Some(then));
        let expired = rows.leases.iter().filter(|lease| self.is_expired(lease, now));
        let owners = expired.filter_map(|lease| lease.actual_owner().filter(|owner| **owner != self.fleet.me));
        let owners: Vec<WorkerId> = owners.cloned().collect();
        for owner in &owners {
            let row = reported.get(owner).copied().flatten();
            self.suspects.insert(owner.clone(), row);
        }
        self.suspects.keys().chain(&owners).cloned().collect()
    }

    fn view<'r>(&self, rows: &'r FleetRows, dead: &BTreeSet<WorkerId>, now: Instant) -> FleetView<'r> {
        let (watch, config, me) = (&self.watch, &self.fleet.config, &self.fleet.me);
        Look { rows, watch, dead, config, me, now, wall: self.fleet.clock.now() }.view()
    }

    /// Whether the leader is gone, though its lock is still there: the lock may stay for two minutes after a crash.
    /// Then expired leases are taken without it; each take is fenced by the counter (Source: LEASES.md section 2).
    fn nobody_leads(
        &self,
        leadership: &Leadership,
        workers: &[WorkerRow],
        dead: &BTreeSet<WorkerId>,
        now: Instant,
    ) -> bool {
        let Leadership::Theirs { owner, unchanged_since } = leadership else { return false };
        let unchanged = now.duration_since(*unchanged_since);
        let wall = self.fleet.clock.now();
        let has_row = workers.iter().any(|row| row.worker == *owner && is_active(row, wall));
        dead.contains(owner) || unchanged > LOCK_SILENT || (!has_row && unchanged > self.fleet.config.failover_time)
    }

    /// Without a leader everybody takes their own share of the plan. What its worker has left lying for as long again
    /// is anybody's: a worker that held nothing looks alive for a minute after its death.
    fn may_take(&self, step: &Step, now: Instant) -> bool {
        match step {
            Step::Assign { lease, to } => {
                *to == self.fleet.me || self.watch.age(lease, now) > self.fleet.config.failover_time * 2
            }
            Step::HandOff { .. } => false,
        }
    }

    async fn perform(&self, steps: Vec<Step>, now: Instant) {
        futures_util::stream::iter(steps).for_each_concurrent(WRITES_AT_ONCE, |step| self.give(step, now)).await;
    }

    async fn give(&self, step: Step, now: Instant) {
        let (shard, to, sent) = (step.shard().clone(), step.to().clone(), Instant::now());
        let written = match &step {
            // Expired as we saw it; its owner may have renewed it since, and then it is not to be had.
            Step::Assign { lease, to } if lease.owner.is_some() && self.is_expired(lease, now) => {
                self.fleet.leases.take(lease, to).await
            }
            Step::Assign { lease, to } => self.fleet.leases.assign(lease, to).await,
            Step::HandOff { lease, to } if self.fleet.config.graceful_handoff => {
                self.fleet.leases.begin_handoff(lease, to).await
            }
            Step::HandOff { lease, to } => self.fleet.leases.assign(lease, to).await,
        };
        match written {
            Ok(Written::Yes(lease)) => {
                info!(%shard, %to, handoff = lease.checkpoint_owner.is_some(), "gave lease");
                let ours = lease.owner.as_ref() == Some(&self.fleet.me) && lease.checkpoint_owner.is_none();
                if ours && let Err(error) = self.holdings.adopt(lease, Proof::Given(sent)).await {
                    debug!(%shard, error = %chain(&error), "lease given to ourselves is found later");
                }
            }
            Ok(Written::No(_)) => debug!(%shard, "the lease changed since it was read; looked at again next time"),
            Err(error) => warn!(%shard, %to, error = %chain(&error), "lease could not be given, trying later"),
        }
    }

    async fn take(&self, steps: impl Iterator<Item = Step>) {
        for step in steps {
            let Step::Assign { lease, .. } = step else { continue };
            let sent = Instant::now();
            match self.fleet.leases.take(&lease, &self.fleet.me).await {
                Ok(Written::Yes(lease)) => {
                    info!(shard = %lease.shard, "took an abandoned lease, its leader is gone");
                    if let Err(error) = self.holdings.adopt(lease, Proof::Given(sent)).await {
                        debug!(error = %chain(&error), "a lease we took is found later");
                    }
                }
                Ok(Written::No(_)) => debug!(shard = %lease.shard, "somebody was faster"),
                Err(error) => {
                    warn!(shard = %lease.shard, error = %chain(&error), "lease could not be taken, trying later")
                }
            }
        }
    }

    async fn audit(&mut self, leases: &[Lease], now: Instant) -> Result<(), SyncError> {
        let due = *self.next_audit.get_or_insert(now + FIRST_AUDIT);
        if now < due || leases.is_empty() {
            return Ok(());
        }
        self.next_audit = Some(now + AUDIT_INTERVAL);
        if self.audit.must_repair(leases) && create_missing(&self.fleet, leases).await? > 0 {
            self.poke.notify_one();
        }
        Ok(())
    }

    /// Until a lease of somebody else's would have expired, or the assignment interval is over. One that has expired
    /// and could not be given away is not looked at all the time.
    fn pause(&self, leases: &[Lease], now: Instant, leading: bool) -> Duration {
        let others = leases.iter().filter(|lease| lease.actual_owner().is_some_and(|owner| *owner != self.fleet.me));
        let (expired, others): (Vec<_>, Vec<_>) = others.partition(|lease| self.is_expired(lease, now));
        let expiry = self.watch.next_expiry(others.into_iter(), self.fleet.config.failover_time);
        let until_expiry = expiry.map(|at| (at + MARGIN).saturating_duration_since(now));
        let interval = self.fleet.config.lease_assignment_interval;
        let ownerless = !leading && leases.iter().any(|lease| lease.owner.is_none());
        let waiting = leases.is_empty() || ownerless || !expired.is_empty();
        let interval = if waiting { interval.min(self.fleet.config.failover_time / 4) } else { interval };
        until_expiry.map_or(interval, |until| until.min(interval))
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
