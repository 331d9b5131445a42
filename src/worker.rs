//! Joins coordination and data path: leases come in, consumers run; and all of it is stopped in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::backoff::Backoff;
use crate::consumer::{Failure, Outcome, Shared, Stops, consume};
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::coordinator::start::{StartError, prepare};
use crate::coordinator::{Assignment, Coordinator, Fleet};
use crate::lease::Lease;
use crate::types::ShardId;

/// How often the wait between two attempts to start goes into the time they may take in all, about what Java's 20
/// attempts take (Source: KCL 3.x `maxInitializationAttempts`).
pub const START_ATTEMPTS: u32 = 20;
/// How long consumers may take to end once the grace is over.
const HALT_LIMIT: Duration = Duration::from_secs(2);
/// How long changes of this worker's shards are gathered before they are told in one line.
const SETTLED: Duration = Duration::from_secs(5);
/// Shards that such a line names.
const SHARDS_TOLD: usize = 100;
/// Waits before a shard is read again with a fresh child.
const RESTART: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Why a worker ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not join the fleet.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A child failed.
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
    /// `applicationName`.
    pub application: String,
    /// Longest wait of a graceful stop.
    pub grace: Duration,
}

impl Worker {
    /// Works until `stop`, then stops in order: consumers, load row, leases, leader lock.
    ///
    /// # Errors
    /// It could not start, or a child failed; everything is given back all the same.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            started = self.start() => started?,
        }
        info!(worker = %self.fleet.me, "joined the fleet");
        let (coordinator, assignments) = Coordinator::start(self.fleet.clone());
        let mut crew = Crew {
            shared: self.consumers,
            stops: Stops::default(),
            consumers: JoinSet::new(),
            employed: HashMap::new(),
            restarts: HashMap::new(),
            coordinator,
        };
        let result = crew.work(assignments, stop).await;
        crew.stop(self.grace).await;
        result
    }

    async fn start(&self) -> Result<(), StartError> {
        let pause = self.fleet.config.initialization_backoff;
        let deadline = Instant::now() + pause * START_ATTEMPTS;
        let mut attempt = 1;
        loop {
            info!("Initializing LeaseCoordinator attempt {attempt}");
            match prepare(&self.fleet, &self.application).await {
                Ok(()) => return Ok(()),
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
    stops: Stops,
    consumers: JoinSet<Outcome>,
    /// What each of them works on.
    employed: HashMap<Id, (Lease, HeldLease)>,
    /// How often in a row a shard was begun again.
    restarts: HashMap<ShardId, u32>,
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
                Some(ended) = self.consumers.join_next_with_id() => {
                    let (id, outcome) = match ended {
                        Ok((id, outcome)) => (id, outcome),
                        Err(error) => {
                            error!(%error, "a consumer broke down; this is a bug, please report it");
                            (error.id(), Outcome::BrokeDown)
                        }
                    };
                    if let Some((lease, held)) = self.employed.remove(&id) {
                        self.note(lease, held, outcome)?;
                    }
                }
                assignment = assignments.recv() => match assignment {
                    Some(Assignment { lease, held }) => self.employ(lease, held, Duration::ZERO),
                    None => return Err(WorkerError::CoordinatorGone),
                },
            }
            tell_at = tell_at.or_else(|| Some(Instant::now() + SETTLED));
        }
    }

    /// Source: KCL 3.x `Scheduler.SchedulerLog`, in whose words runbooks look for the shards of a worker.
    fn tell_assignments(&self) {
        let mut shards: Vec<&str> = self.employed.values().map(|(lease, _)| lease.shard.as_str()).collect();
        shards.sort_unstable();
        let more = shards.len().saturating_sub(SHARDS_TOLD);
        shards.truncate(SHARDS_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        info!("Current stream shard assignments: {}{more}", shards.join(", "));
    }

    fn employ(&mut self, lease: Lease, held: HeldLease, delay: Duration) {
        let (shared, stops) = (self.shared.clone(), self.stops.clone());
        let span = info_span!("consumer", shard = %lease.shard);
        let working = (lease.clone(), held.clone());
        let consumer = async move {
            tokio::select! {
                () = sleep(delay) => {}
                () = stops.gracefully.cancelled() => {}
                _ = held.until_called_for() => {}
            }
            Box::pin(consume(shared, lease, held, stops)).await
        };
        let task = self.consumers.spawn(consumer.instrument(span));
        self.employed.insert(task.id(), working);
    }

    fn note(&mut self, mut lease: Lease, held: HeldLease, outcome: Outcome) -> Result<(), Failure> {
        let shard = lease.shard.clone();
        match outcome {
            Outcome::Finished => {
                self.restarts.remove(&shard);
                self.shared.ended.send_modify(|count| *count += 1);
                self.coordinator.finished(&shard);
            }
            Outcome::LeaseGone => {
                self.restarts.remove(&shard);
                self.coordinator.released(&shard);
                self.coordinator.poke();
            }
            Outcome::EndNotCheckpointed | Outcome::BrokeDown if held.standing() != Standing::Lost => {
                let times = self.restarts.entry(shard.clone()).or_default();
                *times += 1;
                let delay = RESTART.jittered(*times);
                warn!(%shard, times, ?delay, "reading the shard again from its checkpoint with a fresh child");
                lease.checkpoint = held.last_checkpoint();
                self.employ(lease, held, delay);
            }
            Outcome::EndNotCheckpointed | Outcome::BrokeDown => self.coordinator.released(&shard),
            Outcome::Failed(failure) => {
                self.coordinator.released(&shard);
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn stop(mut self, grace: Duration) {
        let holding = self.consumers.len();
        info!(shards = holding, ?grace, "stopping");
        self.stops.gracefully.cancel();
        let drain = async { while self.consumers.join_next().await.is_some() {} };
        let (drained, ()) = tokio::join!(timeout(grace, drain), self.coordinator.withdraw());
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
