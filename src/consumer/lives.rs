//! One child after the other for one shard: a child that fails is followed by a fresh one, from the last checkpoint,
//! while the lease is kept and other shards run on (`multilangd.childFailure = restart`).
//!
//! Which failure is the last one is decided in [`attempts`](super::attempts), and which record is to blame, where that
//! is asked for, in [`poison`](crate::poison).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::config::{Compatibility, OnPoison, WhenChildFails};
use crate::consumer::attempts::{Attempts, Life, Next, RESTART};
use crate::consumer::poison::Trace;
use crate::consumer::task::ShardTask;
use crate::consumer::{Failure, Outcome, Shared, Stops, poison};
use crate::coordinator::Assignment;
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::lease::Lease;
use crate::poison::{Finding, Hunt};
use crate::progress::ShardState;
use crate::retrieval::Since;

/// Runs the consumer of one shard to its end, with as many children as that takes.
pub async fn consume(shared: Arc<Shared>, lease: Lease, held: HeldLease, stops: Stops) -> Outcome {
    let (attempts, hunt) = (Attempts::default(), Hunt::default());
    let since = Since::default();
    if let Some(noted) = lease.latest_since.filter(|_| shared.processing.resume_latest) {
        info!(shard = %lease.shard, since_epoch_millis = noted.0,
            "nothing is checkpointed since the shard began at LATEST: going on from that moment");
        since.get_or_init(|| noted);
    }
    Lives { shared, lease, held, stops, attempts, hunt, since }.run().await
}

struct Lives {
    shared: Arc<Shared>,
    /// The row as it was when it became ours, but for the checkpoint.
    lease: Lease,
    held: HeldLease,
    stops: Stops,
    attempts: Attempts,
    hunt: Hunt,
    /// When the shard's newest record was first asked for.
    since: Since,
}

impl Lives {
    async fn run(mut self) -> Outcome {
        loop {
            let begun = Instant::now();
            let failure = match self.live().await {
                Outcome::Failed(failure) if self.shared.processing.when_child_fails == WhenChildFails::Restart => {
                    failure
                }
                Outcome::EndNotCheckpointed if self.shared.compatibility == Compatibility::Safe => {
                    Failure::EndNotCheckpointed { shard: self.lease.shard.clone() }
                }
                outcome @ (Outcome::Finished
                | Outcome::EndNotCheckpointed
                | Outcome::LeaseGone
                | Outcome::Failed(_)) => return outcome,
            };
            if self.held.standing() == Standing::Lost {
                warn!(shard = %self.lease.shard, error = %chain(&failure),
                    "the lease was lost when its child failed, so there is no other try");
                self.enter(ShardState::Released);
                return Outcome::LeaseGone;
            }
            match self.next(failure, begun.elapsed()).await {
                Ok(wait) => self.pause(wait).await,
                Err(failure) => return self.give_up(failure).await,
            }
        }
    }

    /// The life of one child, from the parents' ends to its own.
    async fn live(&mut self) -> Outcome {
        let assignment = Assignment { lease: self.lease.clone(), held: self.held.clone() };
        let (since, begun) = (self.since.clone(), self.shared.clock.now());
        let mut task = ShardTask::new(self.shared.clone(), assignment, &mut self.hunt, since);
        let outcome = tokio::select! {
            biased;
            () = self.stops.now.cancelled() => None,
            outcome = task.run(&self.stops.gracefully) => Some(outcome),
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => task.abandon().await,
        };
        self.since.get_or_init(|| begun); // a child that died before the service answered loses nothing either
        outcome
    }

    /// How long to wait before the next child.
    ///
    /// # Errors
    /// There must be none.
    async fn next(&mut self, failure: Failure, lived: Duration) -> Result<Duration, Failure> {
        let limit = self.shared.processing.child_restart_limit;
        let stored = self.held.last_checkpoint();
        let life = Life::judge(&self.lease.checkpoint, &stored, lived, failure.was_idle());
        if stored > self.lease.checkpoint {
            self.hunt.passed(&stored);
        }
        self.lease.checkpoint = stored;
        let cause = chain(&failure);
        let shard = &self.lease.shard;
        if self.lease.is_finished() {
            warn!(%shard, error = cause, "the child failed after it had checkpointed the end of the shard");
            return Ok(Duration::ZERO);
        }
        match self.hunt.failed(limit) {
            Finding::Nothing | Finding::Lost => {}
            Finding::Among(records) => {
                warn!(%shard, records, error = cause, "looking for the poison record: it is among these");
                return Ok(self.anew(NonZeroU32::MIN));
            }
            Finding::Alone(times) => {
                warn!(%shard, %times, %limit, error = cause, "looking for the poison record: this one failed alone");
                return Ok(self.anew(times));
            }
            Finding::Poison(record, times) => {
                self.enter(ShardState::Restarting);
                let called = self.until_called();
                let trace = poison::trace(&self.shared, shard, &record, (times, &cause), called).await?;
                if let (Trace::Lasts, Ok(place)) = (trace, record.place()) {
                    self.hunt.set_aside(place);
                }
                self.anew(NonZeroU32::MIN);
                return Ok(Duration::ZERO);
            }
        }
        match self.attempts.failed(life, limit, fastrand::f64()) {
            Next::Again { failures, wait } => {
                warn!(%shard, %failures, %limit, next_try_in = ?wait, checkpoint = %self.lease.checkpoint, error = cause,
                    "child failed; a fresh one begins at the last checkpoint, other shards run on");
                Ok(wait)
            }
            Next::GiveUp { .. } if self.shared.processing.on_poison != OnPoison::Stop && self.hunt.begin(limit) => {
                warn!(%shard, error = cause, "children fail again and again in the same batch: looking for the record");
                Ok(self.anew(NonZeroU32::MIN))
            }
            Next::GiveUp { failures } => Err(Failure::GaveUp { shard: shard.clone(), failures, last: cause }),
        }
    }

    /// A failure that the search for poison accounts for is none in a row.
    fn anew(&mut self, times: NonZeroU32) -> Duration {
        self.attempts = Attempts::default();
        RESTART.jittered(times.get())
    }

    /// Waits before the next child; whoever wants the lease meanwhile, or the end of the daemon, cuts it short, and the
    /// next life leaves the shard before it has a child.
    async fn pause(&self, wait: Duration) {
        self.enter(ShardState::Restarting);
        tokio::select! {
            biased;
            () = self.until_called() => {}
            () = sleep(wait) => {}
        }
    }

    async fn until_called(&self) {
        tokio::select! {
            biased;
            () = self.stops.now.cancelled() => {}
            () = self.stops.gracefully.cancelled() => {}
            _ = self.held.until_called_for() => {}
        }
    }

    async fn give_up(self, failure: Failure) -> Outcome {
        error!(shard = %self.lease.shard, %failure, "shard cannot be processed");
        self.held.give_back().await;
        self.enter(ShardState::Released);
        Outcome::Failed(failure)
    }

    fn enter(&self, state: ShardState) {
        self.shared.progress.state(&self.lease.shard, state);
    }
}

#[cfg(test)]
#[path = "lives_tests.rs"]
mod tests;
