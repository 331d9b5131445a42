//! A fleet that can be started, stopped, crashed and cut off, over one table and one stream.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use multilangd::clock::{Clock, PausedClock};
use multilangd::config::{
    Balancing, ClientVersionConfig, Compatibility, Coordination, OnPoison, Polling, Processing, ProtocolLevel,
    WhenChildFails,
};
use multilangd::consumer::Shared;
use multilangd::coordinator::Fleet;
use multilangd::coordinator::version::next_row;
use multilangd::lease::memory::MemoryStore;
use multilangd::lease::memory::faults::Faults;
use multilangd::lease::migration::{MigrationStore, TableMigration, TableMigrationRow};
use multilangd::lease::{ClientVersion, LeaseStore, StateStore, Written};
use multilangd::progress::Unwatched;
use multilangd::retrieval::polling::PollingSource;
use multilangd::retrieval::prefetch::PrefetchLimits;
use multilangd::stream::memory::MemoryStream;
use multilangd::stream::{ShardFilter, StreamCatalog};
use multilangd::types::{EpochMillis, InitialPosition, ShardId, WorkerId};
use multilangd::worker::{Worker, WorkerError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

use crate::child::{Launcher, Manners};
use crate::clock::OwnClock;
use crate::laws::Laws;

/// `failoverTimeMillis` of every fleet here.
pub(crate) const F: Duration = Duration::from_secs(10);
/// `shutdownGraceMillis`.
pub(crate) const GRACE: Duration = Duration::from_secs(20);
/// How long a stop may take beyond the grace.
const STOP_SLACK: Duration = Duration::from_secs(15);
/// How much later than the failover time a stranger takes the leases of those who stand still.
const FREEZE_SLACK: Duration = Duration::from_secs(1);
const INITIAL: InitialPosition = InitialPosition::TrimHorizon;
const POLLING: Polling = Polling {
    max_records: 10,
    idle: Duration::from_millis(500),
    follows_arrivals: false,
    reduced_tps_threshold: Duration::ZERO,
};

/// Whether events are printed as they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Quiet,
    Loud,
}

/// A worker that was started and has not ended yet.
pub(crate) struct Running {
    pub(crate) name: WorkerId,
    pub(crate) faults: Faults,
    pub(crate) stopping: bool,
    clock: Arc<OwnClock>,
    /// Its children may die, and it with them.
    mortal: bool,
    stop: CancellationToken,
    task: AbortHandle,
}

impl Running {
    /// Nothing but the schedule ends it.
    pub(crate) fn lasts(&self) -> bool {
        !self.stopping && !self.mortal
    }

    /// Sets its wall clock; negative is behind.
    pub(crate) fn set_clock(&self, ahead_seconds: i64) {
        self.clock.set(ahead_seconds);
    }
}

/// Where an application keeps the rows that are not leases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Home {
    OneTable,
    /// The tables of KCL 3.0-3.4, which stay.
    ThreeTables,
    /// The same, ready for the second phase of the move, which all workers ask for.
    Moving,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) laws: Arc<Laws>,
    pub(crate) table: MemoryStore,
    pub(crate) stream: Arc<MemoryStream>,
    pub(crate) workers: Vec<Running>,
    pub(crate) interval: Duration,
    /// `clientVersionConfig` of the workers that are started.
    version: ClientVersionConfig,
    /// Where the rows that are not leases are.
    pub(crate) home: Home,
    clock: Arc<dyn Clock>,
    tasks: JoinSet<(WorkerId, Result<(), WorkerError>)>,
    watchman: JoinSet<()>,
    started: usize,
}

/// Time of a move in its last state but one; an hour at least in a configuration.
const BAKE: Duration = Duration::from_secs(60);

pub(crate) fn coordination(interval: Duration) -> Coordination {
    Coordination {
        failover_time: F,
        lease_assignment_interval: interval,
        max_leases_for_worker: usize::MAX,
        balancing: Balancing::default(),
        client_version: ClientVersionConfig::ThreeX,
        spare_2x_workers: true,
        max_leases_to_steal: 1,
        priority_assignment: true,
        shard_sync_interval: Duration::from_secs(60),
        parent_poll_interval: Duration::from_secs(10),
        ignore_unexpected_child_shards: false,
        graceful_handoff: true,
        graceful_handoff_timeout: Duration::from_secs(30),
        list_shards_backoff: Duration::from_millis(1_500),
        max_list_shards_retries: 50,
        worker_metrics_interval: Duration::from_secs(30),
        cpu_sampling: None,
        initialization_backoff: Duration::from_secs(1),
        table_migration: Default::default(),
    }
}

/// What the children of every fleet here are promised.
fn processing() -> Processing {
    Processing {
        call_for_empty_lists: false,
        skip_shard_sync_if_leases_exist: false,
        child_timeout: None,
        task_backoff: Duration::from_millis(500),
        shutdown_grace: GRACE,
        protocol_level: ProtocolLevel::Three,
        checkpoint_at_shard_end: false,
        when_child_fails: WhenChildFails::Restart,
        child_restart_limit: NonZeroU32::new(5).unwrap(),
        resume_latest: true,
        on_poison: OnPoison::Stop,
    }
}

impl World {
    pub(crate) fn new(seed: u64, shards: u32, voice: Voice) -> Self {
        fastrand::seed(seed); // the waits and spreads of the workers
        let clock: Arc<dyn Clock> = Arc::new(PausedClock::new(EpochMillis(1_700_000_000_000)));
        let table = MemoryStore::new();
        let laws = Arc::new(Laws::new(table.connect(Faults::default()), voice));
        let mut watchman = JoinSet::new();
        let watched = laws.clone();
        watchman.spawn(async move { watched.watch().await });
        Self {
            rng: Rng::with_seed(seed),
            laws,
            table,
            stream: Arc::new(MemoryStream::new(shards, clock.clone())),
            workers: Vec::new(),
            interval: Duration::from_secs(20),
            version: ClientVersionConfig::ThreeX,
            home: Home::OneTable,
            clock,
            tasks: JoinSet::new(),
            watchman,
            started: 0,
        }
    }

    /// Makes the old tables; before the first worker starts.
    pub(crate) async fn in_old_tables(&mut self, home: Home) {
        self.home = home;
        self.table.set_legacy_tables(home != Home::OneTable);
        if home == Home::Moving {
            let earlier = WorkerId::new("earlier");
            let item = TableMigrationRow::first(TableMigration::Deployed, &earlier, self.clock.now());
            assert!(self.table.create_table_migration(&item).await.unwrap());
        }
    }

    /// Lets time pass until every open shard is read to its end by the child of its owner.
    pub(crate) async fn until_caught_up(&mut self, limit: Duration) {
        let begin = Instant::now();
        while let Some(shard) = self.laws.behind() {
            if begin.elapsed() > limit {
                return self.laws.break_law(format!("everybody catches up within {limit:?}: {shard} is behind"));
            }
            self.pass(Duration::from_millis(200)).await;
        }
    }

    fn settings(&self) -> Coordination {
        let mut config = Coordination { client_version: self.version, ..coordination(self.interval) };
        config.table_migration.to_lease_table = self.home == Home::Moving;
        config.table_migration.complete_after = BAKE;
        config
    }

    /// Starts one more worker and says where it stands among them.
    pub(crate) fn start(&mut self, manners: Manners) -> usize {
        let name = WorkerId::new(format!("w{}", self.started));
        self.started += 1;
        self.laws.note(format!("{name} starts"));
        let faults = Faults::default();
        let store = Arc::new(self.table.connect(faults.clone()));
        let clock = Arc::new(OwnClock::new(self.clock.clone()));
        let source = PollingSource::in_memory(self.stream.clone(), POLLING, INITIAL, clock.clone());
        let config = self.settings();
        let launcher = Launcher {
            worker: name.clone(),
            laws: self.laws.clone(),
            manners,
            rng: Mutex::new(Rng::with_seed(self.rng.u64(..))),
        };
        let consumers = Shared {
            leases: store.clone(),
            source: Arc::new(source),
            launcher: Arc::new(launcher),
            progress: Arc::new(Unwatched),
            application: "app".to_owned(),
            stream: "simulated".to_owned(),
            clock: clock.clone(),
            processing: processing(),
            dead_letters: None,
            compatibility: Compatibility::Safe,
            parent_poll: config.parent_poll_interval,
            read_ahead: PrefetchLimits::POLLING,
            ended: Notify::new(),
        };
        let fleet = Fleet {
            leases: store.clone(),
            state: store,
            catalog: self.stream.clone(),
            clock: clock.clone(),
            host: Arc::new(multilangd::host::Unknown),
            config,
            initial: INITIAL,
            me: name.clone(),
        };
        let worker = Worker { fleet, consumers: Arc::new(consumers), threads: Handle::current(), grace: GRACE };
        let stop = CancellationToken::new();
        let (laws, table, told) = (self.laws.clone(), self.table.connect(Faults::default()), stop.clone());
        let me = name.clone();
        let task = self.tasks.spawn(async move {
            let result = worker.run(stop.clone()).await;
            let locks = Self::locks(&table).await;
            if stop.is_cancelled() && result.is_ok() {
                laws.has_left(&me, &locks);
            }
            (me, result)
        });
        let (death, dying) = (faults.death().clone(), task.clone());
        self.watchman.spawn(async move {
            death.cancelled().await;
            dying.abort();
        });
        let mortal = manners.deaths > 0;
        self.workers.push(Running { name, faults, stopping: false, clock, mortal, stop: told, task });
        self.workers.len() - 1
    }

    /// Ends the worker from one moment to the next.
    pub(crate) fn crash(&mut self, index: usize) {
        let worker = self.workers.remove(index);
        self.laws.note(format!("{} crashes", worker.name));
        worker.task.abort();
    }

    /// Lets all workers stand still, as those of a machine that is suspended. Where that takes longer than the failover
    /// time a worker on another machine takes some of their leases meanwhile, and dies with them.
    pub(crate) async fn freeze(&mut self, time: Duration) {
        self.laws.note(format!("everybody stands still for {time:?}"));
        let stranger = WorkerId::new("stranger");
        if time > F + FREEZE_SLACK {
            let kept = self.table.snapshot().leases.into_iter().filter(|lease| lease.actual_owner().is_some());
            for lease in kept.filter(|_| self.rng.bool()).collect::<Vec<_>>() {
                let taken = self.table.take(&lease, &stranger).await;
                assert!(matches!(taken, Ok(Written::Yes(_))), "nobody else is awake");
                self.laws.note(format!("a stranger takes {}", lease.shard));
            }
        }
        self.laws.look();
        advance(time).await;
        self.laws.note("everybody goes on".to_owned());
    }

    /// Asks the worker to stop; from now on the table answers it.
    pub(crate) fn stop(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        self.laws.note(format!("{} is asked to stop", worker.name));
        worker.faults.heal();
        worker.stopping = true;
        worker.stop.cancel();
        let (laws, name, task) = (self.laws.clone(), worker.name.clone(), worker.task.clone());
        self.watchman.spawn(async move {
            sleep(GRACE + STOP_SLACK).await;
            if !task.is_finished() {
                laws.break_law(format!("a stop has its time: {name} is still there"));
            }
        });
    }

    /// Lets time pass and takes note of workers that have ended.
    pub(crate) async fn pass(&mut self, time: Duration) {
        sleep(time).await;
        let dead = self.workers.extract_if(.., |worker| worker.faults.death().is_cancelled());
        for worker in dead {
            self.laws.note(format!("{} died in a request", worker.name));
        }
        while let Some(ended) = self.tasks.try_join_next() {
            let Ok((name, result)) = ended else { continue }; // crashed
            let Some(index) = self.workers.iter().position(|worker| worker.name == name) else { continue };
            let worker = self.workers.remove(index);
            self.laws.note(format!("{name} has ended"));
            if !worker.mortal && (!worker.stopping || result.is_err()) {
                self.laws.break_law(format!("workers end only when told to: {name} {result:?}"));
            }
        }
    }

    /// Those that were not told to leave.
    pub(crate) fn staying(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|index| !self.workers[*index].stopping).collect()
    }

    pub(crate) fn put(&mut self, count: usize) {
        for _ in 0..count {
            let key = self.rng.u128(..);
            self.put_at(key);
        }
    }

    pub(crate) fn put_at(&self, hash_key: u128) {
        let (shard, sequence) = self.stream.put(hash_key, "key", b"record");
        self.laws.put(&shard, sequence.as_str().parse().unwrap());
    }

    /// Workers that are started from now on have this `clientVersionConfig`, which is not 3X.
    pub(crate) fn configure(&mut self, version: ClientVersionConfig) {
        self.version = version;
        self.laws.expect_steals();
    }

    /// The migration tool lets the item say what the fleet works as.
    pub(crate) async fn tool_writes(&self, to: ClientVersion) {
        let tool = WorkerId::new("tool");
        let before = self.table.client_version().await.unwrap();
        let from = before.as_ref().map(|row| row.version);
        let row = next_row(before, to, &tool, self.clock.now());
        let written = match from {
            None => self.table.create_client_version(&row).await,
            Some(from) => self.table.change_client_version(from, &row).await,
        };
        assert!(written.unwrap(), "nothing happens between the look and the write");
        self.laws.note(format!("the tool lets the item say {to:?} after {from:?}"));
    }

    /// Open shards in the order of the ring.
    pub(crate) async fn open(&self) -> Vec<(ShardId, u128)> {
        let listed = self.stream.list_shards(ShardFilter::At(InitialPosition::Latest)).await.unwrap();
        let mut open: Vec<_> = listed.into_iter().map(|shard| (shard.id, shard.hash_range.start)).collect();
        open.sort_by_key(|(_, start)| *start);
        open
    }

    /// Waits until every shard that can be read is read by a worker that stays; says how long that took.
    pub(crate) async fn until_served(&mut self, limit: Duration) -> Duration {
        let begin = Instant::now();
        loop {
            let staying = self.staying();
            let staying: BTreeSet<_> = staying.into_iter().map(|index| self.workers[index].name.clone()).collect();
            let Some(shard) = self.laws.unserved(&staying) else { return begin.elapsed() };
            if begin.elapsed() > limit {
                self.laws.break_law(format!("every shard is served again within {limit:?}: {shard} is not"));
                return begin.elapsed();
            }
            self.pass(Duration::from_millis(100)).await;
        }
    }

    /// Waits until some child was given every record.
    pub(crate) async fn until_delivered(&mut self, limit: Duration) {
        let begin = Instant::now();
        while let Some(left) = self.laws.undelivered() {
            if begin.elapsed() > limit {
                self.laws.break_law(format!("every record is delivered within {limit:?}: {left:?} is not"));
                return;
            }
            self.pass(Duration::from_millis(200)).await;
        }
    }

    /// Stops everybody and waits for it.
    pub(crate) async fn stop_all(&mut self) {
        for index in self.staying() {
            self.stop(index);
        }
        while !self.workers.is_empty() && self.laws.broken().is_none() {
            self.pass(Duration::from_millis(100)).await;
        }
    }
}
