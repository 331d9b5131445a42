//! Joins coordination and data path: leases come in, consumers run; and all of it is stopped in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::backoff::Backoff;
use crate::consumer::{Failure, Outcome, Shared, Stops, consume};
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::coordinator::start::{StartError, prepare};
use crate::coordinator::{Assignment, Coordinator, Fleet};
use crate::lease::Lease;
use crate::types::ShardId;

/// Attempts to start before that is a failure (Source: KCL 3.x `maxInitializationAttempts`).
const START_ATTEMPTS: u32 = 20;
/// How long consumers may take to end once the grace is over.
const HALT_LIMIT: Duration = Duration::from_secs(2);
/// Waits before a shard whose end was not checkpointed is read again with a fresh child.
const END_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

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

type Ended = (Lease, HeldLease, Outcome);

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
            restarts: HashMap::new(),
            coordinator,
        };
        let result = crew.work(assignments, stop).await;
        crew.stop(self.grace).await;
        result
    }

    async fn start(&self) -> Result<(), StartError> {
        let mut attempt = 1;
        loop {
            info!("Initializing LeaseCoordinator attempt {attempt}");
            match prepare(&self.fleet, &self.application).await {
                Ok(()) => return Ok(()),
                Err(StartError::Table(error)) if error.is_transient() && attempt < START_ATTEMPTS => {
                    warn!(attempt, of = START_ATTEMPTS, error = %chain(&error), "could not start yet, trying on");
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
            sleep(self.fleet.config.initialization_backoff).await;
        }
    }
}

/// The consumers of one worker.
struct Crew {
    shared: Arc<Shared>,
    stops: Stops,
    consumers: JoinSet<Ended>,
    /// How often in a row a shard's end was not checkpointed.
    restarts: HashMap<ShardId, u32>,
    coordinator: Coordinator,
}

impl Crew {
    async fn work(
        &mut self,
        mut assignments: mpsc::Receiver<Assignment>,
        stop: CancellationToken,
    ) -> Result<(), WorkerError> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.consumers.join_next() => match ended {
                    Ok((lease, held, outcome)) => self.note(lease, held, outcome)?,
                    Err(error) => error!(%error, "a consumer broke down; its lease will expire"),
                },
                assignment = assignments.recv() => match assignment {
                    Some(Assignment { lease, held }) => self.employ(lease, held, Duration::ZERO),
                    None => return Err(WorkerError::CoordinatorGone),
                },
            }
        }
    }

    fn employ(&mut self, lease: Lease, held: HeldLease, delay: Duration) {
        let (shared, stops) = (self.shared.clone(), self.stops.clone());
        let span = info_span!("consumer", shard = %lease.shard);
        let consumer = async move {
            tokio::select! {
                () = sleep(delay) => {}
                () = stops.gracefully.cancelled() => {}
                () = held.until_lost() => {}
            }
            let outcome = Box::pin(consume(shared, lease.clone(), held.clone(), stops)).await;
            (lease, held, outcome)
        };
        self.consumers.spawn(consumer.instrument(span));
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
            Outcome::EndNotCheckpointed if held.standing() != Standing::Lost => {
                let times = self.restarts.entry(shard.clone()).or_default();
                *times += 1;
                let delay = END_RETRY.jittered(*times);
                warn!(%shard, times, ?delay, "reading the end of the shard again with a fresh child");
                lease.checkpoint = held.last_checkpoint();
                self.employ(lease, held, delay);
            }
            Outcome::EndNotCheckpointed => self.coordinator.released(&shard),
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
