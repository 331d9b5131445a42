//! One child after the other for one shard: a child that fails is followed by a fresh one, from the last checkpoint,
//! while the lease is kept and other shards run on (`multilangd.childFailure = restart`).
//!
//! Which failure is the last one is decided in [`attempts`](super::attempts).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::config::{Compatibility, WhenChildFails};
use crate::consumer::attempts::{Attempts, Life, Next};
use crate::consumer::task::ShardTask;
use crate::consumer::{Failure, Outcome, Shared, Stops};
use crate::coordinator::Assignment;
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::lease::Lease;
use crate::progress::ShardState;

/// Runs the consumer of one shard to its end, with as many children as that takes.
pub async fn consume(shared: Arc<Shared>, mut lease: Lease, held: HeldLease, stops: Stops) -> Outcome {
    let shard = lease.shard.clone();
    let limit = shared.processing.child_restart_limit;
    let mut attempts = Attempts::default();
    loop {
        let begun = Instant::now();
        let failure = match live(&shared, &lease, &held, &stops).await {
            Outcome::Failed(failure) if shared.processing.when_child_fails == WhenChildFails::Restart => failure,
            Outcome::EndNotCheckpointed if shared.compatibility == Compatibility::Safe => {
                Failure::EndNotCheckpointed { shard: shard.clone() }
            }
            outcome @ (Outcome::Finished | Outcome::EndNotCheckpointed | Outcome::LeaseGone | Outcome::Failed(_)) => {
                return outcome;
            }
        };
        if held.standing() == Standing::Lost {
            warn!(%shard, error = %chain(&failure), "the lease was lost when its child failed, so there is no other try");
            shared.progress.state(&shard, ShardState::Released);
            return Outcome::LeaseGone;
        }
        let stored = held.last_checkpoint();
        let life = Life::judge(&lease.checkpoint, &stored, begun.elapsed(), failure.was_idle());
        lease.checkpoint = stored;
        if lease.is_finished() {
            warn!(%shard, error = %chain(&failure), "the child failed after it had checkpointed the end of the shard");
            continue;
        }
        match attempts.failed(life, limit, fastrand::f64()) {
            Next::Again { failures, wait } => {
                warn!(%shard, %failures, %limit, next_try_in = ?wait, checkpoint = %lease.checkpoint,
                    error = %chain(&failure), "child failed; a fresh one begins at the last checkpoint, other shards run on");
                shared.progress.state(&shard, ShardState::Restarting);
                pause(wait, &held, &stops).await;
            }
            Next::GiveUp { failures } => {
                let failure = Failure::GaveUp { shard: shard.clone(), failures, last: chain(&failure) };
                error!(%shard, %failure, "shard cannot be processed");
                held.give_back().await;
                shared.progress.state(&shard, ShardState::Released);
                return Outcome::Failed(failure);
            }
        }
    }
}

/// The life of one child, from the parents' ends to its own.
async fn live(shared: &Arc<Shared>, lease: &Lease, held: &HeldLease, stops: &Stops) -> Outcome {
    let mut task = ShardTask::new(shared.clone(), Assignment { lease: lease.clone(), held: held.clone() });
    let outcome = tokio::select! {
        biased;
        () = stops.now.cancelled() => None,
        outcome = task.run(&stops.gracefully) => Some(outcome),
    };
    match outcome {
        Some(outcome) => outcome,
        None => task.abandon().await,
    }
}

/// Waits before the next child; whoever wants the lease meanwhile, or the end of the daemon, cuts it short, and the
/// next life leaves the shard before it has a child.
async fn pause(wait: Duration, held: &HeldLease, stops: &Stops) {
    tokio::select! {
        biased;
        () = stops.now.cancelled() => {}
        () = stops.gracefully.cancelled() => {}
        _ = held.until_called_for() => {}
        () = sleep(wait) => {}
    }
}

#[cfg(test)]
#[path = "lives_tests.rs"]
mod tests;
