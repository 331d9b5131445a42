//! The leases in our hands, each with the task that keeps it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::coordinator::renew::{HeldLease, Keeper, Proof, Standing};
use crate::coordinator::{Assignment, Fleet};
use crate::lease::{Lease, LeaseStoreError};
use crate::types::ShardId;

#[derive(Default)]
struct State {
    held: HashMap<ShardId, HeldLease>,
    /// Adoptions under way, so that two parts of the coordination do not adopt the same lease.
    adopting: HashSet<ShardId>,
    finished: HashSet<ShardId>,
    closed: bool,
}

/// Every lease that this worker holds.
pub struct Holdings {
    fleet: Fleet,
    assignments: mpsc::Sender<Assignment>,
    keepers: TaskTracker,
    end: CancellationToken,
    state: Mutex<State>,
}

impl Holdings {
    /// Holds nothing yet; what is adopted is announced to `assignments`, and kept until `end` at the latest.
    #[must_use]
    pub fn new(fleet: Fleet, assignments: mpsc::Sender<Assignment>, end: CancellationToken) -> Self {
        Self { fleet, assignments, keepers: TaskTracker::new(), end, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease is in our hands, or about to be.
    #[must_use]
    pub fn has(&self, shard: &ShardId) -> bool {
        let state = self.state();
        let held = state.held.get(shard).is_some_and(|held| held.standing() != Standing::Lost);
        held || state.adopting.contains(shard)
    }

    /// How many leases are in our hands.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().held.len()
    }

    /// Begins to keep `lease`, which names us as its owner, and announces it. Does nothing if we have it already.
    ///
    /// # Errors
    /// The table could not be asked for the proof.
    pub async fn adopt(&self, lease: Lease, proof: Proof) -> Result<(), LeaseStoreError> {
        let shard = lease.shard.clone();
        {
            let mut state = self.state();
            let still_held = state.held.get(&shard).is_some_and(|held| held.standing() != Standing::Lost);
            if state.closed || still_held || !state.adopting.insert(shard.clone()) {
                return Ok(());
            }
        }
        let result = self.prove_and_keep(lease, proof).await;
        self.state().adopting.remove(&shard);
        result
    }

    async fn prove_and_keep(&self, lease: Lease, proof: Proof) -> Result<(), LeaseStoreError> {
        let me = self.fleet.me.clone();
        let confirmed = match proof {
            Proof::Given(sent) => sent,
            Proof::Needed => Instant::now(), // the proof below begins with a renewal
        };
        let failover_time = self.fleet.config.failover_time;
        let (mut keeper, held) = Keeper::new(self.fleet.leases.clone(), me, failover_time, lease.clone(), confirmed);
        if proof == Proof::Needed && !keeper.prove().await? {
            debug!(shard = %lease.shard, "the lease is somebody else's after all");
            return Ok(());
        }
        {
            let mut state = self.state();
            if state.closed {
                return Ok(()); // the lease names us and will expire; we are leaving
            }
            state.held.insert(lease.shard.clone(), held.clone());
        }
        let end = self.end.clone();
        self.keepers.spawn(async move { end.run_until_cancelled(keeper.run()).await });
        info!(shard = %lease.shard, checkpoint = %lease.checkpoint, "took lease");
        let _worker_may_be_gone = self.assignments.send(Assignment { lease, held }).await;
        Ok(())
    }

    /// Notes that the shard is finished; the lease stays in our hands until it is cleaned up.
    pub fn finish(&self, shard: &ShardId) {
        self.state().finished.insert(shard.clone());
    }

    /// Finished shards whose leases we keep.
    #[must_use]
    pub fn finished(&self) -> Vec<ShardId> {
        let state = self.state();
        state.finished.iter().filter(|shard| state.held.contains_key(shard)).cloned().collect()
    }

    /// Lets go of a lease that is lost, given back or deleted.
    pub fn release(&self, shard: &ShardId) -> Option<HeldLease> {
        let mut state = self.state();
        state.finished.remove(shard);
        state.held.remove(shard)
    }

    /// Adopts nothing from now on.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Takes everything out of our hands, for giving back.
    pub fn drain(&self) -> Vec<HeldLease> {
        self.state().held.drain().map(|(_, held)| held).collect()
    }
}
