//! Looks at the whole table again and again: as leader, to give leases to workers; as anybody, to notice that a dead
//! leader gives nothing, and to take one's share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch as channel};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::watch::{Role, SHORTEST, Scene, must_ask_index, pause, role};
use crate::backoff::Backoff;
use crate::coordinator::Fleet;
use crate::coordinator::age::LeaseWatch;
use crate::coordinator::assign::turns::Turns;
use crate::coordinator::assign::{FleetView, Step, plan};
use crate::coordinator::discover;
use crate::coordinator::held::Holdings;
use crate::coordinator::leader::{Leadership, LockSight};
use crate::coordinator::migration::Survey;
use crate::coordinator::odd::OddRows;
use crate::coordinator::renew::chain;
use crate::coordinator::suspects::Suspects;
use crate::coordinator::sync::{Audit, FirstLeases, SyncError};
use crate::coordinator::view::{Look, is_active};
use crate::lease::{FleetRows, Lease, WorkerRow};
use crate::types::WorkerId;

mod duties;
mod give;
pub(super) mod watch;

/// A lock that has not moved for this long missed a heartbeat (they come every 30 s).
const LOCK_SILENT: Duration = Duration::from_secs(40);
/// Waits after looks that fail.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Looks that fail in a row before a leader lets somebody else try, if they also took that many assignment intervals
/// (Source: LEASES.md section 4, step 7).
const FAILURES: u32 = 3;

/// What the looks tell others.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The leader lock as the last scan showed it.
    pub lock: channel::Sender<Option<LockSight>>,
    /// Whether leases given to us must be looked up in the index.
    pub ask_index: channel::Sender<bool>,
    /// This worker leads, and cannot.
    pub resign: Arc<Notify>,
}

/// The looks of one worker.
pub struct Rounds {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    leader: channel::Receiver<Leadership>,
    signals: Signals,
    poke: Arc<Notify>,
    watch: LeaseWatch,
    suspects: Suspects,
    audit: Audit,
    next_audit: Option<Instant>,
    turns: Turns,
    empty_since: Option<Instant>,
    first_leases: FirstLeases,
    odd: OddRows,
    /// Whether the lock was ours at the last look.
    led: bool,
    /// A look has shown our load row.
    reported: bool,
    began: Instant,
    failures: u32,
    failing_since: Instant,
    /// Hears of the whole fleet, while an application moves into one table.
    survey: Option<channel::Sender<Option<Survey>>>,
}

impl Rounds {
    /// Has seen nothing yet. `poke` asks for a look at once.
    #[must_use]
    pub fn new(
        fleet: Fleet,
        holdings: Arc<Holdings>,
        leader: channel::Receiver<Leadership>,
        signals: Signals,
        poke: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            fleet,
            holdings,
            leader,
            signals,
            poke,
            watch: LeaseWatch::default(),
            suspects: Suspects::default(),
            audit: Audit::default(),
            next_audit: None,
            turns: Turns::default(),
            empty_since: None,
            first_leases: FirstLeases::default(),
            odd: OddRows::default(),
            led: false,
            reported: false,
            began: now,
            failures: 0,
            failing_since: now,
            survey: None,
        }
    }

    /// Tells `survey` what each look as leader says about the fleet.
    #[must_use]
    pub fn with_survey(self, survey: channel::Sender<Option<Survey>>) -> Self {
        Self { survey: Some(survey), ..self }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let looking = async {
                let pause = self.round().await;
                self.wait(pause).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = looking => {}
            }
        }
    }

    /// Waits for the next look: less than `pause` if something happens that calls for one.
    async fn wait(&mut self, pause: Duration) {
        let (poke, led) = (self.poke.clone(), self.led);
        let turns = async { self.leader.wait_for(|now| (*now == Leadership::Mine) != led).await.is_ok() };
        tokio::select! {
            biased;
            () = poke.notified() => sleep_until(self.began + SHORTEST).await, // pokes come in swarms
            true = turns => {}
            () = sleep(pause) => {}
        }
    }

    /// One look; returns the time until the next.
    async fn round(&mut self) -> Duration {
        self.began = Instant::now();
        match self.look().await {
            Ok(pause) => {
                self.failures = 0;
                pause
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    self.failing_since = self.began;
                    warn!(error = %chain(&error), "the fleet could not be looked at, trying on");
                }
                let limit = self.fleet.config.lease_assignment_interval * FAILURES;
                if self.led && self.failures >= FAILURES && self.failing_since.elapsed() >= limit {
                    self.failing_since = Instant::now();
                    self.signals.resign.notify_one();
                }
                RETRY.jittered(self.failures)
            }
        }
    }

    async fn look(&mut self) -> Result<Duration, SyncError> {
        let mut rows = self.fleet.leases.list().await?;
        let scan = self.began.elapsed();
        self.signals.lock.send_replace(Some(LockSight(rows.lock.clone())));
        let leadership = self.leader.borrow_and_update().clone();
        self.led = leadership == Leadership::Mine;
        // Somebody took the lock while we stood still, and our heartbeat has not found out yet.
        let leading = self.led && rows.lock.as_ref().is_none_or(|lock| lock.owner == self.fleet.me);
        if self.create_leases(&rows, leading).await? {
            rows = self.fleet.leases.list().await?;
        }
        let now = Instant::now();
        self.watch.observe(rows.leases.iter(), now);
        self.odd.tell(&rows);
        self.holdings.adopt_ours(&rows.leases).await?;
        self.suspect(&rows, now);
        let unfit = self.suspects.all(self.fleet.config.worker_metrics_interval, now);
        let mut view = self.view(&rows, &unfit, now);
        if self.was_buried(&rows.workers) && view.workers.len() > 1 {
            view.workers.remove(&self.fleet.me);
        }
        let living: BTreeSet<WorkerId> = view.workers.keys().cloned().collect();
        self.holdings.heirs().saw(&living);
        let role = role(&leadership, &self.fleet.me, &living, self.is_gone(&leadership, &living, now));
        if leading && let Some(survey) = &self.survey {
            let (times, interval) = ((now, self.fleet.clock.now()), self.fleet.config.worker_metrics_interval);
            survey.send_replace(Some(Survey::of(&rows, |lease| self.is_expired(lease, now), times, interval)));
        }
        let failed = if leading {
            let steps = self.plan(&view, now);
            let done = self.perform(steps, now).await;
            let buried = self.bury(&rows, &done.given).await;
            self.audit(&rows, now).await?;
            done.failed || !buried
        } else {
            self.turns = Turns::default();
            self.next_audit = None;
            if self.nobody_leads(&leadership, role, &rows.workers, now) {
                let done = self.stand_in(plan(&view, &self.fleet.config.balancing, false).steps, role, now).await;
                done.failed || !self.bury(&rows, &done.given).await
            } else {
                false
            }
        };
        let scene = Scene { failed, scan, ..self.scene(&rows.leases, role, now) };
        let pause = pause(&scene);
        self.signals.ask_index.send_replace(must_ask_index(&scene, pause, discover::INTERVAL));
        Ok(pause)
    }

    /// What a leader does about a view. Looks come often, but leases are moved for balance in turn only.
    fn plan(&mut self, view: &FleetView<'_>, now: Instant) -> Vec<Step> {
        let balancing = &self.fleet.config.balancing;
        let plan = plan(view, balancing, self.turns.is_due(view, now));
        if plan.balanced {
            let every = self.fleet.config.lease_assignment_interval.saturating_mul(balancing.frequency);
            self.turns.taken(view, now, every);
        }
        plan.steps
    }

    fn is_expired(&self, lease: &Lease, now: Instant) -> bool {
        self.watch.age(lease, now) > self.fleet.config.failover_time
    }

    /// Whether our load row was there and is gone: others have taken us for dead. Until we report again nobody counts on
    /// us, so we give ourselves nothing.
    fn was_buried(&mut self, workers: &[WorkerRow]) -> bool {
        let is_there = workers.iter().any(|row| row.worker == self.fleet.me);
        self.reported |= is_there;
        self.reported && !is_there
    }

    fn suspect(&mut self, rows: &FleetRows, now: Instant) {
        let (watch, limit) = (&self.watch, self.fleet.config.failover_time);
        let expired = rows.leases.iter().filter(|lease| watch.age(lease, now) > limit);
        let owners = expired.filter_map(|lease| lease.actual_owner().filter(|owner| **owner != self.fleet.me));
        self.suspects.observe(rows.workers.iter(), owners, now);
    }

    fn view<'r>(&self, rows: &'r FleetRows, dead: &BTreeSet<WorkerId>, now: Instant) -> FleetView<'r> {
        let (watch, config, me) = (&self.watch, &self.fleet.config, &self.fleet.me);
        Look { rows, watch, dead, config, me, now, wall: self.fleet.clock.now() }.view()
    }

    /// Whether the leader is gone, though its lock is still there: the lock may stay for two minutes after a crash.
    /// Then expired leases are taken without it; each take is fenced by the counter (Source: LEASES.md section 2).
    fn nobody_leads(&self, leadership: &Leadership, role: Role, workers: &[WorkerRow], now: Instant) -> bool {
        let Leadership::Theirs { owner, unchanged_since } = leadership else { return false };
        let unchanged = now.saturating_duration_since(*unchanged_since);
        let wall = self.fleet.clock.now();
        let has_row = workers.iter().any(|row| row.worker == *owner && is_active(row, wall));
        let limit = self.fleet.config.failover_time;
        let silent = match role {
            Role::Leader | Role::Successor | Role::Second => LOCK_SILENT,
            Role::Third | Role::Member => LOCK_SILENT + limit, // sees a beat a look later
        };
        self.suspects.is_dead(owner) || unchanged > silent || (!has_row && unchanged > limit)
    }

    /// Whether whoever's name is on the lock has left, or is dead, so that its successor stands in for it. A leader that
    /// just has no row that counts, though it beats, is there.
    fn is_gone(&self, leadership: &Leadership, living: &BTreeSet<WorkerId>, now: Instant) -> bool {
        let Leadership::Theirs { owner, unchanged_since } = leadership else { return false };
        let silent = LOCK_SILENT + self.fleet.config.failover_time; // who looks rarely sees a beat that much later
        let is_silent = now.saturating_duration_since(*unchanged_since) > silent;
        self.suspects.is_dead(owner) || self.suspects.has_gone(owner) || (is_silent && !living.contains(owner))
    }

    fn scene(&self, leases: &[Lease], role: Role, now: Instant) -> Scene {
        let me = &self.fleet.me;
        let foreign = |lease: &&Lease| lease.owner.iter().chain(&lease.checkpoint_owner).any(|owner| owner != me);
        let (expired, kept): (Vec<_>, Vec<_>) =
            leases.iter().filter(foreign).partition(|lease| self.is_expired(lease, now));
        let limit = self.fleet.config.failover_time;
        let expiry = self.watch.next_expiry(kept.iter().copied(), limit);
        let ownerless = role != Role::Leader && leases.iter().any(|lease| lease.owner.is_none());
        Scene {
            role,
            others_hold: !kept.is_empty(),
            waiting: leases.is_empty() || ownerless || !expired.is_empty(),
            failed: false,
            until_expiry: expiry.map(|at| at.saturating_duration_since(now)),
            scan: Duration::ZERO,
            failover_time: limit,
            interval: self.fleet.config.lease_assignment_interval,
        }
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
