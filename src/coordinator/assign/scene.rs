//! A view in the order and with the sums that both deciders work on: workers and leases by name, so that the order in
//! which a scan brought them does not matter, not even to the last bit of a sum.

use std::collections::BTreeSet;

use super::{FleetView, Need};
use crate::lease::{Lease, WorkerRow};
use crate::types::WorkerId;

/// Largest figure taken from a row. Rows may say anything up to 1e125; sums and products of what is left stay finite.
pub(super) const LARGEST: f64 = 1e30;

/// A worker, by its place in the order of names.
pub(super) type Place = usize;

/// A lease and the worker that gets it.
pub(super) type Given<'a> = (&'a Lease, Place);

/// A lease that is to be read, and what it weighs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed<'a> {
    pub(super) lease: &'a Lease,
    /// What is read of it, KiB a second; the average of those that say so where it does not.
    pub(super) kbps: f64,
}

/// What one worker carries.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) worker: &'a WorkerId,
    pub(super) row: Option<&'a WorkerRow>,
    /// Unfinished leases, those on their way to it included.
    pub(super) leases: usize,
    /// What they carry, KiB a second.
    pub(super) kbps: f64,
    /// Those that may be moved for balance, by shard.
    pub(super) movable: Vec<Weighed<'a>>,
    /// Finished leases.
    kept: usize,
}

/// The view, put in order.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// By name.
    pub(super) carriers: Vec<Carrier<'a>>,
    /// Unfinished leases without an owner, then those with an expired one, each by shard.
    pub(super) needy: Vec<Weighed<'a>>,
    /// Unfinished leases of the whole table.
    pub(super) leases: usize,
    /// What they carry, KiB a second.
    kbps: f64,
    finished: Vec<&'a Lease>,
    handoffs: Vec<Given<'a>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(view: &'a FleetView<'_>) -> Self {
        let carrier = |(worker, row): (&'a WorkerId, &'a Option<&'a WorkerRow>)| Carrier {
            worker,
            row: *row,
            leases: 0,
            kbps: 0.0,
            movable: Vec::new(),
            kept: 0,
        };
        let mut leases: Vec<(&Lease, Need)> = view.leases.iter().map(|(lease, need)| (*lease, *need)).collect();
        leases.sort_unstable_by(|(a, _), (b, _)| a.shard.cmp(&b.shard));
        let mean = mean_kbps(&leases);
        let mut scene = Self {
            carriers: view.workers.iter().map(carrier).collect(),
            needy: Vec::new(),
            leases: 0,
            kbps: 0.0,
            finished: Vec::new(),
            handoffs: Vec::new(),
        };
        for (lease, need) in leases {
            scene.place(Weighed { lease, kbps: kbps(lease).unwrap_or(mean) }, need);
        }
        scene.needy.sort_by_key(|weighed| weighed.lease.owner.is_some()); // stable: ownerless first
        scene
    }

    fn place(&mut self, weighed: Weighed<'a>, need: Need) {
        let lease = weighed.lease;
        let owner = lease.owner.as_ref().and_then(|owner| self.find(owner));
        let forced = owner.filter(|_| need == Need::ForcedHandoff);
        self.handoffs.extend(forced.map(|to| (lease, to)));
        // a handoff whose receiver is gone is as good as no owner
        let needs_owner = need == Need::Owner || (need == Need::ForcedHandoff && owner.is_none());
        if !lease.is_finished() {
            self.leases += 1;
            self.kbps += weighed.kbps;
        }
        match owner.filter(|_| !needs_owner) {
            Some(owner) if lease.is_finished() => self.carriers[owner].kept += 1,
            Some(owner) => {
                self.carriers[owner].leases += 1;
                self.carriers[owner].kbps += weighed.kbps;
                if need == Need::Nothing {
                    self.carriers[owner].movable.push(weighed);
                }
            }
            None if !needs_owner => {} // held by a worker that may be given nothing
            None if lease.is_finished() => self.finished.push(lease),
            None => self.needy.push(weighed),
        }
    }

    fn find(&self, worker: &WorkerId) -> Option<Place> {
        self.carriers.binary_search_by(|carrier| carrier.worker.cmp(worker)).ok()
    }

    pub(super) fn name(&self, place: Place) -> WorkerId {
        self.carriers[place].worker.clone()
    }

    /// What flows through the whole table, as a share of each worker of the view, KiB a second.
    pub(super) fn total_per_worker(&self) -> f64 {
        self.kbps / self.workers()
    }

    /// What the workers of the view carry on average, KiB a second. Less than the total where leases need an owner, or
    /// have one that may be given nothing.
    pub(super) fn carried_per_worker(&self) -> f64 {
        self.carriers.iter().map(|carrier| carrier.kbps).sum::<f64>() / self.workers()
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of workers")]
    fn workers(&self) -> f64 {
        self.carriers.len().max(1) as f64
    }

    /// Notes that `weighed` goes to `to`.
    pub(super) fn give(&mut self, weighed: Weighed<'a>, to: Place) -> Given<'a> {
        self.carriers[to].leases += 1;
        self.carriers[to].kbps += weighed.kbps;
        (weighed.lease, to)
    }

    /// Notes that `weighed` leaves `from`.
    pub(super) fn take(&mut self, weighed: Weighed<'a>, from: Place) {
        self.carriers[from].leases -= 1;
        self.carriers[from].kbps -= weighed.kbps;
    }

    /// Handoffs out of time go to the worker they were meant for, while it lives.
    pub(super) fn complete_handoffs(&mut self) -> Vec<Given<'a>> {
        std::mem::take(&mut self.handoffs)
    }

    /// Finished leases that nobody renews go to whoever keeps the fewest; a worker that is full keeps them all the same.
    pub(super) fn keep_finished(&mut self) -> Vec<Given<'a>> {
        let mut queue: BTreeSet<(usize, Place)> =
            self.carriers.iter().enumerate().map(|(place, carrier)| (carrier.kept, place)).collect();
        let mut given = Vec::new();
        for lease in std::mem::take(&mut self.finished) {
            let Some((kept, to)) = queue.pop_first() else { break };
            queue.insert((kept + 1, to));
            given.push((lease, to));
        }
        given
    }
}

/// What the row says is read of the lease, KiB a second. What cannot be is as if nothing were said.
fn kbps(lease: &Lease) -> Option<f64> {
    lease.throughput_kbps.filter(|kbps| *kbps >= 0.0).map(|kbps| kbps.min(LARGEST))
}

/// Source: KCL 3.x `LeaseAssignmentManager.InMemoryStorageView`: a lease that does not say weighs the average.
fn mean_kbps(leases: &[(&Lease, Need)]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for kbps in leases.iter().filter(|(lease, _)| !lease.is_finished()).filter_map(|(lease, _)| kbps(lease)) {
        sum += kbps;
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}
