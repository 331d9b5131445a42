//! Decides which worker gets which lease. Same view, same plan, on every worker.
//!
//! Leases are counted, not weighed: each worker gets as many as the next one, give or take one.

use std::collections::BTreeMap;

use crate::lease::Lease;
use crate::types::{ShardId, WorkerId};

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
pub struct FleetView {
    /// Every lease and what it needs.
    pub leases: Vec<(Lease, Need)>,
    /// Workers that may be given leases.
    pub workers: Vec<WorkerId>,
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

/// A finished lease must be kept by somebody until it is cleaned up, but it is no work.
fn weight(lease: &Lease) -> usize {
    usize::from(!lease.is_finished())
}

/// Gives every lease that needs an owner to the least loaded worker, then evens out what healthy workers hold.
///
/// Ties go to the smaller worker name. Nothing is moved for balance while anything else is going on, so that a plan
/// rests on settled numbers, and never for a difference of one, so that a balanced fleet stays as it is.
#[must_use]
pub fn plan(view: &FleetView) -> Vec<Step> {
    let mut load: BTreeMap<&WorkerId, usize> = view.workers.iter().map(|worker| (worker, 0)).collect();
    for (lease, need) in &view.leases {
        let counts = matches!(need, Need::Nothing | Need::Patience);
        if let Some(held) = lease.owner.as_ref().filter(|_| counts).and_then(|owner| load.get_mut(owner)) {
            *held += weight(lease);
        }
    }
    let mut steps = assign_needy(view, &mut load);
    if steps.is_empty() && !view.leases.iter().any(|(_, need)| *need == Need::Patience) {
        steps = even_out(view, load);
    }
    steps
}

fn assign_needy(view: &FleetView, load: &mut BTreeMap<&WorkerId, usize>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut needy: Vec<&Lease> = Vec::new();
    for (lease, need) in &view.leases {
        match need {
            Need::Owner => needy.push(lease),
            Need::ForcedHandoff => match lease.owner.as_ref().and_then(|to| load.get_key_value(to)) {
                Some((&to, _)) => steps.push(Step::Assign { lease: lease.clone(), to: to.clone() }),
                None => needy.push(lease), // the worker it was meant for is gone
            },
            Need::Nothing | Need::Patience => {}
        }
    }
    needy.sort_by_key(|lease| (lease.is_finished(), lease.owner.is_some(), &lease.shard)); // ownerless first
    for lease in needy {
        let Some((worker, held)) = load.iter_mut().min_by_key(|(_, held)| **held) else { break };
        if *held >= view.max_leases_per_worker && weight(lease) > 0 {
            continue; // the least loaded is full, so all are; finished leases still find a keeper
        }
        *held += weight(lease);
        steps.push(Step::Assign { lease: lease.clone(), to: (*worker).clone() });
    }
    steps
}

fn even_out(view: &FleetView, mut load: BTreeMap<&WorkerId, usize>) -> Vec<Step> {
    let mut movable: BTreeMap<&WorkerId, Vec<&Lease>> = BTreeMap::new();
    for (lease, need) in &view.leases {
        if let Some(owner) = lease.owner.as_ref().filter(|_| *need == Need::Nothing && !lease.is_finished()) {
            movable.entry(owner).or_default().push(lease);
        }
    }
    let mut steps = Vec::new();
    while let Some((&receiver, &least)) = load.iter().min_by_key(|(_, held)| **held) {
        let richest = load.iter().max_by_key(|(worker, held)| (**held, std::cmp::Reverse(**worker)));
        let Some((&giver, &most)) = richest else { break };
        if most < least + 2 || least >= view.max_leases_per_worker {
            break;
        }
        let Some(lease) = movable.get_mut(giver).and_then(Vec::pop) else { break };
        for (worker, change) in [(giver, -1_isize), (receiver, 1)] {
            if let Some(held) = load.get_mut(worker) {
                *held = held.saturating_add_signed(change);
            }
        }
        steps.push(Step::HandOff { lease: lease.clone(), to: receiver.clone() });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Checkpoint;
    use proptest::prelude::*;

    fn lease(number: usize, owner: Option<&str>) -> Lease {
        let mut lease = Lease::new(ShardId::new(format!("shardId-{number:012}")), Checkpoint::TrimHorizon);
        lease.owner = owner.map(WorkerId::new);
        lease
    }

    fn view(leases: Vec<(Lease, Need)>, workers: &[&str]) -> FleetView {
        let workers = workers.iter().map(|name| WorkerId::new(*name)).collect();
        FleetView { leases, workers, max_leases_per_worker: usize::MAX }
    }

    fn moves(steps: &[Step]) -> Vec<(String, String)> {
        steps.iter().map(|step| (step.shard().as_str()[19..].to_owned(), step.to().to_string())).collect()
    }

    #[test]
    fn needy_leases_go_to_the_least_loaded_worker_in_turn() {
        let leases = vec![
            (lease(0, Some("a")), Need::Nothing),
            (lease(1, None), Need::Owner),
            (lease(2, Some("dead")), Need::Owner),
            (lease(3, None), Need::Owner),
        ];
        let given = moves(&plan(&view(leases, &["a", "b"])));
        let expected = [("1", "b"), ("3", "a"), ("2", "b")].map(|(s, w)| (s.to_owned(), w.to_owned()));
        assert_eq!(given, expected);
    }

    #[test]
    fn a_second_worker_is_handed_half() {
        let leases = (0..5).map(|n| (lease(n, Some("a")), Need::Nothing)).collect();
        let steps = plan(&view(leases, &["a", "b"]));
        assert!(steps.iter().all(|step| matches!(step, Step::HandOff { .. })));
        assert_eq!(moves(&steps).len(), 2);
    }

    #[test]
    fn nothing_is_balanced_while_a_handoff_is_under_way() {
        let mut leases: Vec<_> = (0..5).map(|n| (lease(n, Some("a")), Need::Nothing)).collect();
        leases.push((lease(9, Some("b")), Need::Patience));
        assert_eq!(plan(&view(leases, &["a", "b"])), []);
    }

    #[test]
    fn a_handoff_out_of_time_is_forced_to_the_worker_it_was_meant_for() {
        let mut asked = lease(0, Some("b"));
        asked.checkpoint_owner = Some(WorkerId::new("a"));
        let steps = plan(&view(vec![(asked.clone(), Need::ForcedHandoff)], &["a", "b"]));
        assert_eq!(steps, [Step::Assign { lease: asked, to: WorkerId::new("b") }]);
    }

    #[test]
    fn a_finished_lease_finds_a_keeper_but_is_no_load() {
        let mut done = lease(0, None);
        done.checkpoint = Checkpoint::ShardEnd;
        let mut fleet = view(vec![(done, Need::Owner), (lease(1, Some("a")), Need::Nothing)], &["a"]);
        fleet.max_leases_per_worker = 1;
        assert_eq!(moves(&plan(&fleet)), [("0".to_owned(), "a".to_owned())]);
    }

    fn fleets() -> impl Strategy<Value = FleetView> {
        let needs = prop_oneof![
            4 => Just(Need::Nothing), 2 => Just(Need::Owner), 1 => Just(Need::Patience), 1 => Just(Need::ForcedHandoff)
        ];
        let leases = prop::collection::vec((prop::option::of(0..6_usize), needs, any::<bool>()), 0..60);
        (leases, 0..6_usize, 1..20_usize).prop_map(|(leases, workers, max_leases_per_worker)| {
            let names: Vec<String> = (0..6).map(|n| format!("w{n}")).collect();
            let leases = leases.into_iter().enumerate().map(|(n, (owner, need, finished))| {
                let mut lease = lease(n, owner.map(|o| names[o].as_str()));
                if finished {
                    lease.checkpoint = Checkpoint::ShardEnd;
                }
                let need = if lease.owner.is_none() { Need::Owner } else { need };
                (lease, need)
            });
            let workers = names.iter().take(workers).map(|name| WorkerId::new(name.as_str())).collect();
            FleetView { leases: leases.collect(), workers, max_leases_per_worker }
        })
    }

    /// Unfinished leases of each worker once the plan is carried out.
    fn loads(view: &FleetView, steps: &[Step]) -> BTreeMap<WorkerId, usize> {
        let mut load = BTreeMap::new();
        for (lease, need) in view.leases.iter().filter(|(lease, _)| !lease.is_finished()) {
            let moved = steps.iter().find(|step| *step.shard() == lease.shard).map(Step::to);
            let kept = lease.owner.as_ref().filter(|_| matches!(need, Need::Nothing | Need::Patience));
            if let Some(owner) = moved.or(kept) {
                *load.entry(owner.clone()).or_default() += 1;
            }
        }
        load
    }

    proptest! {
        #[test]
        fn no_lease_is_given_twice_and_only_to_workers_that_live(fleet in fleets()) {
            let steps = plan(&fleet);
            let mut shards: Vec<_> = steps.iter().map(Step::shard).collect();
            shards.sort();
            shards.dedup();
            prop_assert_eq!(shards.len(), steps.len());
            prop_assert!(steps.iter().all(|step| fleet.workers.contains(step.to())));
        }

        #[test]
        fn nobody_is_raised_above_the_limit(fleet in fleets()) {
            let steps: Vec<_> = plan(&fleet);
            let before = loads(&fleet, &[]);
            let forced = fleet.leases.iter().any(|(_, need)| *need == Need::ForcedHandoff);
            for (worker, held) in loads(&fleet, &steps) {
                let had = before.get(&worker).copied().unwrap_or(0);
                prop_assert!(forced || held <= fleet.max_leases_per_worker.max(had), "{worker} {held}");
            }
        }

        #[test]
        fn same_view_same_plan(fleet in fleets()) {
            prop_assert_eq!(plan(&fleet), plan(&fleet));
        }

        #[test]
        fn a_plan_carried_out_leaves_nothing_to_do(fleet in fleets()) {
            let mut fleet = fleet;
            for (_, need) in &mut fleet.leases {
                if matches!(need, Need::Patience | Need::ForcedHandoff) {
                    *need = Need::Nothing;
                }
            }
            for _ in 0..3 {
                let steps = plan(&fleet);
                for step in steps {
                    for (lease, need) in &mut fleet.leases {
                        if lease.shard == *step.shard() {
                            lease.owner = Some(step.to().clone());
                            *need = Need::Nothing;
                        }
                    }
                }
            }
            prop_assert_eq!(plan(&fleet), []);
        }
    }
}
