//! Joins coordination and data path: leases come in, consumers run; and all of it is stopped in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::config::Compatibility;
use crate::consumer::{Breakdowns, Failure, Outcome, Shared, Stops, consume};
use crate::coordinator::renew::{HeldLease, chain};
use crate::coordinator::start::{StartError, prepare};
use crate::coordinator::{Assignment, Coordinator, Fleet};
use crate::lease::{ClientVersion, Lease};

/// How often the wait between two attempts to start goes into the time they may take in all, about what Java's 20
/// attempts take (Source: KCL 3.x `maxInitializationAttempts`).
pub const START_ATTEMPTS: u32 = 20;
/// How long consumers may take to end once the grace is over.
const HALT_LIMIT: Duration = Duration::from_secs(2);
/// How long changes of this worker's shards are gathered before they are told in one line.
const SETTLED: Duration = Duration::from_secs(5);
/// Shards that such a line names.
const SHARDS_TOLD: usize = 100;

/// Why a worker ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not join the fleet.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A child failed, or a consumer broke down, for the last time that is allowed.
    #[error(transparent)]
    Consumer(#[from] Failure),
    /// The coordination ended by itself.
    #[error("the coordination of leases ended by itself; this is a bug, please report it")]
    CoordinatorGone,
}

/// One worker of an application.
pub struct Worker {
    /// The fleet's side.
    pub fleet: Fleet,
    /// The data path's side.
    pub consumers: Arc<Shared>,
    /// Where the consumers run.
    pub threads: Handle,
    /// Longest wait of a graceful stop.
    pub grace: Duration,
}

type Ended = (Lease, HeldLease, Outcome);

/// Who is at work on what.
struct Employed {
    /// The row as it was when the work began.
    lease: Lease,
    held: HeldLease,
    /// Tells when the work has ended.
    ended: CancellationToken,
}

impl Worker {
    /// Works until `stop`, then stops in order: consumers, load row, leases, leader lock.
    ///
    /// # Errors
    /// It could not start, or a child failed; everything is given back all the same.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let version = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            started = self.start() => started?,
        };
        info!(worker = %self.fleet.me, "joined the fleet");
        let (coordinator, assignments) = Coordinator::start(self.fleet.clone(), version);
        let mut crew = Crew {
            shared: self.consumers,
            threads: self.threads,
            stops: Stops::default(),
            consumers: JoinSet::new(),
            employed: BTreeMap::new(),
            breakdowns: Breakdowns::default(),
            coordinator,
        };
        let result = crew.work(assignments, stop).await;
        if let Err(WorkerError::Consumer(failure)) = &result
            && failure.is_timeout()
            && crew.shared.compatibility == Compatibility::Strict
        {
            return result; // Java halts: nothing is told to anybody, children see the end of their input
        }
        crew.stop(self.grace).await;
        result
    }

    async fn start(&self) -> Result<ClientVersion, StartError> {
        let pause = self.fleet.config.initialization_backoff;
        let deadline = Instant::now() + pause * START_ATTEMPTS;
        let mut attempt = 1;
        loop {
            info!("Initializing LeaseCoordinator attempt {attempt}");
            match prepare(&self.fleet).await {
                Ok(version) => return Ok(version),
                Err(StartError::Table(error)) if error.is_transient() && Instant::now() < deadline => {
                    warn!(attempt, error = %chain(&error), "could not start yet, trying on");
                }
                Err(error) => {
                    if matches!(&error, StartError::Table(table) if table.is_transient()) {
                        // runbooks look for these words
                        error!("Unable to initialize after {START_ATTEMPTS} attempts. Shutting down.");
                    }
                    return Err(error);
                }
            }
            attempt += 1;
            sleep(pause).await;
        }
    }
}

/// The consumers of one worker.
struct Crew {
    shared: Arc<Shared>,
    threads: Handle,
    stops: Stops,
    consumers: JoinSet<Ended>,
    employed: BTreeMap<Id, Employed>,
    breakdowns: Breakdowns,
    coordinator: Coordinator,
}

impl Crew {
    async fn work(
        &mut self,
        mut assignments: mpsc::Receiver<Assignment>,
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
        let mut tell_at = None;
        loop {
            let settled = sleep_until(tell_at.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = settled, if tell_at.is_some() => {
                    self.tell_assignments();
                    tell_at = None;
                    continue;
                }
                Some(ended) = self.consumers.join_next_with_id() => match ended {
                    Ok((id, (lease, held, outcome))) => {
                        self.employed.remove(&id);
                        self.note(lease, held, outcome)?;
                    }
                    Err(error) => self.replace(&error)?,
                },
                assignment = assignments.recv() => match assignment {
                    Some(Assignment { lease, held }) => self.employ(lease, held, Duration::ZERO),
                    None => return Err(WorkerError::CoordinatorGone),
                },
            }
            tell_at = tell_at.or_else(|| Some(Instant::now() + SETTLED));
        }
    }

    /// A consumer broke down: another one begins at the last checkpoint, under the same hold on the lease.
    fn replace(&mut self, broken: &JoinError) -> Result<(), Failure> {
        let Some(Employed { mut lease, held, .. }) = self.employed.remove(&broken.id()) else { return Ok(()) };
        let stored = held.last_checkpoint();
        let wait = self.breakdowns.note(held.shard(), stored.clone(), self.shared.processing.child_restart_limit)?;
        error!(shard = %held.shard(), error = %broken, next_try_in = ?wait, checkpoint = %stored,
            "a consumer broke down; its shard is begun again from the last checkpoint");
        lease.checkpoint = stored;
        self.employ(lease, held, wait);
        Ok(())
    }

    /// Source: KCL 3.x `Scheduler.SchedulerLog`, in whose words runbooks look for the shards of a worker.
    fn tell_assignments(&self) {
        let mut shards: Vec<&str> = self.employed.values().map(|employed| employed.held.shard().as_str()).collect();
        shards.sort_unstable();
        let more = shards.len().saturating_sub(SHARDS_TOLD);
        shards.truncate(SHARDS_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        info!("Current stream shard assignments: {}{more}", shards.join(", "));
    }

    /// Puts a consumer to work, though not before every earlier one of the same shard has ended: a lease that was lost
    /// may come back while the child is still busy with a batch; and not before `wait`.
    fn employ(&mut self, lease: Lease, held: HeldLease, wait: Duration) {
        let (shared, stops) = (self.shared.clone(), self.stops.clone());
        let earlier = self.employed.values().filter(|earlier| earlier.held.shard() == held.shard());
        let earlier: Vec<CancellationToken> = earlier.map(|earlier| earlier.ended.clone()).collect();
        let employed = Employed { lease: lease.clone(), held: held.clone(), ended: CancellationToken::new() };
        let sign = employed.ended.clone().drop_guard();
        let span = info_span!("consumer", shard = %held.shard());
        let consumer = async move {
            let _sign = sign; // also when the task breaks down
            let turn = async {
                sleep(wait).await;
                for consumer in &earlier {
                    consumer.cancelled().await;
                }
            };
            tokio::select! {
                biased;
                () = stops.gracefully.cancelled() => {}
                _ = held.until_called_for() => {}
                () = turn => {}
            }
            let outcome = Box::pin(consume(shared, lease.clone(), held.clone(), stops)).await;
            (lease, held, outcome)
        };
        let task = self.consumers.spawn_on(consumer.instrument(span), &self.threads);
        self.employed.insert(task.id(), employed);
    }

    fn note(&mut self, lease: Lease, held: HeldLease, outcome: Outcome) -> Result<(), Failure> {
        match outcome {
            Outcome::Finished => {
                self.shared.ended.notify_waiters();
                self.coordinator.finished(&held);
            }
            Outcome::LeaseGone => {
                self.coordinator.released(&held);
                self.coordinator.poke();
            }
            Outcome::EndNotCheckpointed => {
                let failure = Failure::EndNotCheckpointed { shard: lease.shard };
                error!(%failure, "the shards that follow wait for ever, as with Java; restart the daemon");
            }
            Outcome::Failed(failure) => {
                self.coordinator.released(&held);
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn stop(mut self, grace: Duration) {
        let holding = self.consumers.len();
        info!(shards = holding, ?grace, "stopping");
        if grace.is_zero() {
            self.stops.now.cancel();
        }
        self.coordinator.close(); // before any consumer gives its lease back
        self.coordinator.give_back_idle(|held| self.employed.values().any(|employed| employed.held.is(held)));
        self.stops.gracefully.cancel();
        let limit = if grace.is_zero() { HALT_LIMIT } else { grace };
        let drain = async { while self.consumers.join_next().await.is_some() {} };
        let (drained, ()) = tokio::join!(timeout(limit, drain), self.coordinator.withdraw());
        if drained.is_err() {
            warn!(
                left = self.consumers.len(),
                ?grace,
                "children still busy at the end of shutdownGraceMillis, ending them"
            );
            self.stops.now.cancel();
            let drain = async { while self.consumers.join_next().await.is_some() {} };
            let _killed_below = timeout(HALT_LIMIT, drain).await;
            self.consumers.shutdown().await;
        }
        self.coordinator.leave().await;
        info!("Worker loop is complete. Exiting from worker.");
    }
}
