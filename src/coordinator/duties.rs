//! The tasks of each way of working: a taker while the fleet works as 2.x; lock, rounds and discovery as 3.x.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::coordinator::Fleet;
use crate::coordinator::discover::discover;
use crate::coordinator::held::Holdings;
use crate::coordinator::leader::{LeaderLock, Leadership};
use crate::coordinator::migrator::Migrator;
use crate::coordinator::rounds::{Rounds, Signals};
use crate::coordinator::stats::Reporter;
use crate::coordinator::taker::Taker;
use crate::coordinator::version::{reports_load, works_as_2x};
use crate::lease::ClientVersion;
use crate::lease::place::Layout;

/// Tasks that are told to stop together and give something back.
struct Tasks<T> {
    stop: CancellationToken,
    set: JoinSet<T>,
}

impl<T: Send + 'static> Tasks<T> {
    fn new(stop: &CancellationToken) -> Self {
        Self { stop: stop.child_token(), set: JoinSet::new() }
    }

    async fn end(mut self) -> Vec<T> {
        self.stop.cancel();
        let mut ended = Vec::new();
        while let Some(task) = self.set.join_next().await {
            match task {
                Ok(given_back) => ended.push(given_back),
                Err(error) => error!(%error, "a part of the coordination broke down"),
            }
        }
        ended
    }
}

/// What remains when the tasks have ended, for taking our rows out of the table.
#[derive(Default)]
pub struct Remains {
    /// Our side of the leader lock.
    pub lock: Option<LeaderLock>,
    /// Who wrote our metric row.
    pub reporter: Option<Reporter>,
}

/// The tasks of one worker that depend on how the fleet works.
pub(super) struct Duties {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    poke: Arc<Notify>,
    stop: CancellationToken,
    leads_as_2x: watch::Sender<bool>,
    leases: Tasks<Option<LeaderLock>>,
    load: Tasks<Reporter>,
}

impl Duties {
    /// Nothing runs yet; everything ends with `stop` at the latest.
    pub(super) fn new(fleet: Fleet, holdings: Arc<Holdings>, poke: Arc<Notify>, stop: &CancellationToken) -> Self {
        let (leases, load) = (Tasks::new(stop), Tasks::new(stop));
        Self { fleet, holdings, poke, stop: stop.clone(), leads_as_2x: watch::Sender::new(false), leases, load }
    }

    /// Whether this worker leads in the manner of 2.x.
    pub(super) fn leads_as_2x(&self) -> bool {
        *self.leads_as_2x.borrow()
    }

    /// Starts what `version` asks for.
    pub(super) fn start(&mut self, version: ClientVersion) {
        self.start_load(version);
        self.start_leases(version);
    }

    fn start_load(&mut self, version: ClientVersion) {
        if reports_load(version) && self.load.set.is_empty() {
            self.load.set.spawn(Reporter::new(self.fleet.clone()).run(self.load.stop.clone()));
        }
    }

    fn start_leases(&mut self, version: ClientVersion) {
        let (fleet, holdings, poke) = (self.fleet.clone(), self.holdings.clone(), self.poke.clone());
        let (tasks, stop) = (&mut self.leases.set, &self.leases.stop);
        if works_as_2x(version) {
            let taker = Taker::new(fleet, holdings, poke, self.leads_as_2x.clone()).run(stop.clone());
            tasks.spawn(async { (taker.await, None).1 });
            return;
        }
        let (leadership, leader) = watch::channel(Leadership::Unknown);
        let signals = Signals::default();
        let asked = signals.ask_index.subscribe();
        let lock = LeaderLock::new(fleet.clone(), leadership, &signals).run(stop.clone());
        tasks.spawn(async { Some(lock.await) });
        let mut rounds = Rounds::new(fleet.clone(), holdings.clone(), leader.clone(), signals, poke.clone());
        if *fleet.state.layout().borrow() != Layout::OneTable {
            let (survey, surveyed) = watch::channel(None);
            rounds = rounds.with_survey(survey);
            let migrator = Migrator::new(fleet.clone(), leader, surveyed).run(stop.clone());
            tasks.spawn(async { (migrator.await, None).1 });
        }
        let rounds = rounds.run(stop.clone());
        tasks.spawn(async { (rounds.await, None).1 });
        let discovery = discover(fleet, holdings, asked, poke, stop.clone());
        tasks.spawn(async { (discovery.await, None).1 });
    }

    /// Goes over from one way of working to the other. What is held stays held, and what both do goes on; the rest
    /// ends before anything new begins. What remains must be taken out of the table.
    pub(super) async fn change(&mut self, from: ClientVersion, to: ClientVersion) -> Remains {
        let mut remains = Remains::default();
        if works_as_2x(from) != works_as_2x(to) {
            remains.lock = self.end_leases().await;
            self.leads_as_2x.send_replace(false);
            self.start_leases(to);
        }
        if reports_load(from) && !reports_load(to) {
            remains.reporter = self.end_load().await;
        }
        self.start_load(to);
        remains
    }

    async fn end_leases(&mut self) -> Option<LeaderLock> {
        let ended = std::mem::replace(&mut self.leases, Tasks::new(&self.stop)).end().await;
        ended.into_iter().flatten().next()
    }

    async fn end_load(&mut self) -> Option<Reporter> {
        std::mem::replace(&mut self.load, Tasks::new(&self.stop)).end().await.pop()
    }

    /// Ends everything.
    pub(super) async fn end(mut self) -> Remains {
        let reporter = self.end_load().await;
        Remains { lock: self.end_leases().await, reporter }
    }
}
