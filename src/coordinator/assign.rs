//! Decides which worker gets which lease. Same view, same plan, on every worker.
//!
//! Leases are weighed by what the workers report of their load and by what each lease carries ([`variance`]); where
//! next to nothing flows they are counted ([`count`]). Java shuffles leases before it picks some; here the order is a
//! rule, because without a leader each worker takes its own share of a plan that it made for itself, and shares must
//! not overlap.

use std::collections::BTreeMap;

use crate::config::Balancing;
use crate::coordinator::assign::load::Limits;
use crate::coordinator::assign::scene::Scene;
use crate::coordinator::assign::variance::Decider;
use crate::lease::{Lease, WorkerRow};
use crate::types::{ShardId, WorkerId};

mod count;
pub(super) mod load;
mod scene;
#[cfg(test)]
mod tests;
pub(super) mod turns;
mod variance;

/// A fleet whose workers carry less than this on average, KiB a second, is idle: its leases are counted.
///
/// With nothing flowing Java divides zero by zero and moves nothing; with a record now and then it moves leases after
/// each of them, because a lease's throughput halves every 3 s (Source: LEASES.md sections 3.5 and 4).
const IDLE_KBPS: f64 = 1.0;

/// What one lease needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody owns it, or whoever does has let it grow old.
    Owner,
    /// A handoff was asked for and not answered in time.
    ForcedHandoff,
    /// Its owner keeps it; it may be moved for balance.
    Nothing,
    /// It is being handed over; leave it alone.
    Patience,
}

/// The fleet at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetView<'a> {
    /// Every lease and what it needs.
    pub leases: Vec<(&'a Lease, Need)>,
    /// Workers that may be given leases, and what they report of their load; nothing if the report is on its way.
    pub workers: BTreeMap<WorkerId, Option<&'a WorkerRow>>,
    /// `maxLeasesForWorker`.
    pub max_leases_per_worker: usize,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Give a lease that needs an owner to `to`.
    Assign {
        /// The lease as it was seen.
        lease: Lease,
        /// Its next owner.
        to: WorkerId,
    },
    /// Ask a healthy owner to hand its lease over to `to`.
    HandOff {
        /// The lease as it was seen.
        lease: Lease,
        /// Its next owner.
        to: WorkerId,
    },
}

impl Step {
    /// The worker that gets the lease.
    #[must_use]
    pub fn to(&self) -> &WorkerId {
        match self {
            Self::Assign { to, .. } | Self::HandOff { to, .. } => to,
        }
    }

    /// The shard in question.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        match self {
            Self::Assign { lease, .. } | Self::HandOff { lease, .. } => &lease.shard,
        }
    }
}

/// What to do about a view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Each lease at most once.
    pub steps: Vec<Step>,
    /// Whether the fleet was looked at for balance; it may have been found even.
    pub balanced: bool,
}

/// Gives every lease that needs an owner to the worker with most room; with `balance`, evens out what healthy workers
/// hold.
///
/// Nothing is moved for balance while anything else is going on, so that a plan rests on settled numbers. Finished
/// leases are kept by somebody until they are cleaned up, but weigh nothing and are not moved (Java's are counted and
/// moved like the others: COEXISTENCE.md D12).
#[must_use]
pub fn plan(view: &FleetView<'_>, balancing: &Balancing, balance: bool) -> Plan {
    let mut scene = Scene::new(view);
    let mut given = scene.complete_handoffs();
    let idle = scene.total_per_worker() < IDLE_KBPS;
    let limits = Limits { leases: view.max_leases_per_worker, kbps: balancing.max_throughput_per_host_kbps };
    let decider = Decider::to_assign(&scene, limits, balancing);
    given.extend(if idle {
        let order = decider.order(&scene);
        count::assign(&mut scene, limits, &order)
    } else {
        decider.assign(&mut scene)
    });
    given.extend(scene.keep_finished());
    let balanced = balance && given.is_empty() && !view.leases.iter().any(|(_, need)| *need == Need::Patience);
    let decider = balanced.then(|| Decider::to_balance(&scene, limits, balancing));
    let moved = match decider {
        None => Vec::new(),
        Some(decider) if idle => count::balance(&mut scene, limits, &decider.loaded()),
        Some(decider) => decider.balance(&mut scene),
    };
    let assign = given.into_iter().map(|(lease, to)| Step::Assign { lease: lease.clone(), to: scene.name(to) });
    let hand_off = moved.into_iter().map(|(lease, to)| Step::HandOff { lease: lease.clone(), to: scene.name(to) });
    Plan { steps: assign.chain(hand_off).collect(), balanced }
}
