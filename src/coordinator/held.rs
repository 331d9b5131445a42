//! The leases in our hands, each with the task that keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::coordinator::heirs::Heirs;
use crate::coordinator::renew::keeper::Keeper;
use crate::coordinator::renew::slots::Slots;
use crate::coordinator::renew::{HeldLease, Proof, Standing};
use crate::coordinator::{Assignment, Fleet};
use crate::lease::{Lease, LeaseStoreError};
use crate::types::ShardId;

/// An answer that took longer proves nothing about the present.
const LATE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    held: BTreeMap<ShardId, HeldLease>,
    /// Adoptions under way, so that two parts of the coordination do not adopt the same lease.
    adopting: BTreeSet<ShardId>,
    finished: BTreeSet<ShardId>,
    /// When holds began, those of the last [`LATE`].
    begun: BTreeMap<ShardId, Instant>,
    closed: bool,
}

impl State {
    /// What an answer is worth now that it is here. If it took long the lease may have been taken from us since; and if
    /// another part of the coordination has held it since it was sent, it may have been given away already.
    fn worth(&self, shard: &ShardId, proof: Proof) -> Proof {
        match proof {
            Proof::Given(sent) if sent.elapsed() > LATE => Proof::Needed,
            Proof::Given(sent) if self.begun.get(shard).is_some_and(|begun| *begun >= sent) => Proof::Needed,
            proof @ (Proof::Given(_) | Proof::Needed) => proof,
        }
    }
}

/// Every lease that this worker holds.
pub struct Holdings {
    fleet: Fleet,
    assignments: mpsc::Sender<Assignment>,
    keepers: TaskTracker,
    end: CancellationToken,
    slots: Arc<Slots>,
    heirs: Arc<Heirs>,
    state: Mutex<State>,
}

/// Marks an adoption under way until it ends, or is cut short.
struct Adopting<'a> {
    holdings: &'a Holdings,
    shard: ShardId,
}

impl Drop for Adopting<'_> {
    fn drop(&mut self) {
        self.holdings.state().adopting.remove(&self.shard);
    }
}

impl Holdings {
    /// Holds nothing yet; what is adopted is announced to `assignments`, and kept until `end` at the latest.
    #[must_use]
    pub fn new(fleet: Fleet, assignments: mpsc::Sender<Assignment>, end: CancellationToken) -> Self {
        let (slots, heirs) = (Arc::default(), Arc::default());
        Self { fleet, assignments, keepers: TaskTracker::new(), end, slots, heirs, state: Mutex::default() }
    }

    /// What those who give leases away know of the other workers.
    #[must_use]
    pub fn heirs(&self) -> &Heirs {
        &self.heirs
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

    /// Adopts those of `leases` that name us: from a former life under the same name, from a write whose answer was
    /// lost, or from a leader that was faster than the index.
    ///
    /// # Errors
    /// The table could not be asked for the proof.
    pub async fn adopt_ours(&self, leases: &[Lease]) -> Result<(), LeaseStoreError> {
        for lease in leases.iter().filter(|lease| lease.is_given_to(&self.fleet.me)) {
            if !self.has(&lease.shard) {
                self.adopt(lease.clone(), Proof::Needed).await?;
            }
        }
        Ok(())
    }

    /// Begins to keep `lease`, which names us as its owner, and announces it. Does nothing if we have it already.
    ///
    /// # Errors
    /// The table could not be asked for the proof.
    pub async fn adopt(&self, lease: Lease, proof: Proof) -> Result<(), LeaseStoreError> {
        let shard = lease.shard.clone();
        let proof = {
            let mut state = self.state();
            let still_held = state.held.get(&shard).is_some_and(|held| held.standing() != Standing::Lost);
            if state.closed || still_held || !state.adopting.insert(shard.clone()) {
                return Ok(());
            }
            state.worth(&shard, proof)
        };
        let _mark = Adopting { holdings: self, shard };
        self.prove_and_keep(lease, proof).await
    }

    async fn prove_and_keep(&self, lease: Lease, proof: Proof) -> Result<(), LeaseStoreError> {
        let (store, me) = (self.fleet.leases.clone(), self.fleet.me.clone());
        let confirmed = match proof {
            Proof::Given(sent) => sent,
            Proof::Needed => Instant::now(),
        };
        let (mut keeper, held) = Keeper::new(store, me, self.fleet.config.failover_time, lease.clone(), confirmed);
        keeper = keeper.among(&self.slots, self.heirs.clone());
        let proven = match proof {
            Proof::Given(_) => Some(lease.clone()),
            Proof::Needed => keeper.prove().await?, // the row may have moved since it was read
        };
        let Some(lease) = proven else {
            debug!(shard = %lease.shard, "the lease is somebody else's after all");
            return Ok(());
        };
        let Ok(announcement) = self.assignments.reserve().await else { return Ok(()) }; // nobody would work on it
        {
            let mut state = self.state();
            if state.closed {
                return Ok(()); // the lease names us; whoever closed us gives it back
            }
            state.held.insert(lease.shard.clone(), held.clone());
            state.begun.retain(|_, begun| begun.elapsed() <= LATE);
            state.begun.insert(lease.shard.clone(), Instant::now());
        }
        let end = self.end.clone();
        self.keepers.spawn(async move { end.run_until_cancelled(keeper.run()).await });
        info!(shard = %lease.shard, checkpoint = %lease.checkpoint, "took lease");
        announcement.send(Assignment { lease, held });
        Ok(())
    }

    /// Notes that the shard is finished; the lease stays in our hands until it is cleaned up.
    pub fn finish(&self, shard: &ShardId) {
        self.state().finished.insert(shard.clone());
    }

    /// Our hold on the lease, if there is one.
    #[must_use]
    pub fn get(&self, shard: &ShardId) -> Option<HeldLease> {
        self.state().held.get(shard).cloned()
    }

    /// Finished shards whose leases we keep. Those that went to other workers are forgotten: nobody works on them, so
    /// nobody else lets go of them.
    #[must_use]
    pub fn finished(&self) -> Vec<ShardId> {
        let state = &mut *self.state();
        state.finished.retain(|shard| match state.held.get(shard) {
            Some(held) if held.standing() != Standing::Lost => true,
            Some(_) => state.held.remove(shard).is_none(),
            None => false,
        });
        state.finished.iter().cloned().collect()
    }

    /// Lets go of a lease that is lost, given back or deleted. A later hold on the same lease is not touched.
    pub fn release(&self, held: &HeldLease) {
        let mut state = self.state();
        if state.held.get(held.shard()).is_some_and(|now| now.is(held)) {
            state.finished.remove(held.shard());
            state.held.remove(held.shard());
        }
    }

    /// Adopts nothing from now on. Whoever gives a lease away waits until its heir is named.
    pub fn close(&self) {
        self.state().closed = true;
        self.heirs.seek();
    }

    /// What is in our hands and neither finished nor worked on.
    #[must_use]
    pub fn idle(&self, is_at_work: impl Fn(&HeldLease) -> bool) -> Vec<HeldLease> {
        let state = self.state();
        let held = state.held.values().filter(|held| !state.finished.contains(held.shard()) && !is_at_work(held));
        held.cloned().collect()
    }

    /// Takes everything out of our hands, for giving back.
    pub fn drain(&self) -> Vec<HeldLease> {
        std::mem::take(&mut self.state().held).into_values().collect()
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
