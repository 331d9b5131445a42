//! The laws of a plan, over drawn fleets, and what single fleets show.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::types::Checkpoint;

/// A fleet that owns its rows.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) leases: Vec<(Lease, Need)>,
    pub(super) workers: BTreeMap<WorkerId, Option<WorkerRow>>,
    pub(super) limit: usize,
}

impl Owned {
    pub(super) fn view(&self) -> FleetView<'_> {
        FleetView {
            leases: self.leases.iter().map(|(lease, need)| (lease, *need)).collect(),
            workers: self.workers.iter().map(|(worker, row)| (worker.clone(), row.as_ref())).collect(),
            max_leases_per_worker: self.limit,
        }
    }

    pub(super) fn plan(&self, balancing: &Balancing) -> Plan {
        plan(&self.view(), balancing, true)
    }

    /// The fleet once the plan is carried out.
    pub(super) fn after(&self, steps: &[Step]) -> Self {
        let to: BTreeMap<&ShardId, &WorkerId> = steps.iter().map(|step| (step.shard(), step.to())).collect();
        let mut after = self.clone();
        for (lease, need) in &mut after.leases {
            if let Some(to) = to.get(&lease.shard) {
                (lease.owner, lease.checkpoint_owner, *need) = (Some((*to).clone()), None, Need::Nothing);
            }
        }
        after
    }

    /// What each worker carries or is about to: unfinished leases, and KiB a second.
    pub(super) fn loads(&self) -> BTreeMap<WorkerId, (usize, f64)> {
        let mut loads: BTreeMap<_, _> = self.workers.keys().map(|worker| (worker.clone(), (0, 0.0))).collect();
        for (lease, _) in self.leases.iter().filter(|(lease, need)| !lease.is_finished() && *need != Need::Owner) {
            if let Some((leases, kbps)) = lease.owner.as_ref().and_then(|owner| loads.get_mut(owner)) {
                *leases += 1;
                *kbps += lease.throughput_kbps.unwrap_or(0.0);
            }
        }
        loads
    }
}

pub(super) fn lease(number: usize, owner: Option<&str>, kbps: Option<f64>) -> Lease {
    let mut lease = Lease::new(ShardId::new(format!("shardId-{number:012}")), Checkpoint::TrimHorizon);
    lease.owner = owner.map(WorkerId::new);
    lease.throughput_kbps = kbps;
    lease
}

pub(super) fn row(worker: &str, metrics: &[(&str, Vec<f64>, f64)]) -> WorkerRow {
    WorkerRow {
        worker: WorkerId::new(worker),
        last_update_seconds: Some(1),
        stats: metrics.iter().map(|(name, values, _)| ((*name).to_owned(), values.clone())).collect(),
        operating_ranges: metrics.iter().map(|(name, _, range)| ((*name).to_owned(), vec![*range])).collect(),
        support_code: Some(1),
        support_update_seconds: Some(1),
    }
}

fn fleet(leases: Vec<(Lease, Need)>, workers: &[&str]) -> Owned {
    Owned { leases, workers: workers.iter().map(|name| (WorkerId::new(*name), None)).collect(), limit: usize::MAX }
}

/// Leases of healthy owners: the KiB a second of each, by owner.
fn carrying(owners: &[(&str, &[f64])]) -> Vec<(Lease, Need)> {
    let leases = owners.iter().flat_map(|(owner, all)| all.iter().map(move |kbps| (*owner, *kbps)));
    leases.enumerate().map(|(number, (owner, kbps))| (lease(number, Some(owner), Some(kbps)), Need::Nothing)).collect()
}

fn moves(plan: &Plan) -> Vec<(String, String)> {
    plan.steps.iter().map(|step| (step.shard().as_str()[19..].to_owned(), step.to().to_string())).collect()
}

fn expected<const N: usize>(moves: [(&str, &str); N]) -> Vec<(String, String)> {
    moves.iter().map(|(shard, worker)| ((*shard).to_owned(), (*worker).to_owned())).collect()
}

#[test]
fn needy_leases_go_to_the_least_loaded_worker_in_turn() {
    let leases = vec![
        (lease(0, Some("a"), None), Need::Nothing),
        (lease(1, None, None), Need::Owner),
        (lease(2, Some("dead"), None), Need::Owner),
        (lease(3, None, None), Need::Owner),
    ];
    let plan = fleet(leases, &["a", "b"]).plan(&Balancing::default());
    assert_eq!(moves(&plan), expected([("1", "b"), ("3", "a"), ("2", "b")]));
    assert!(!plan.balanced);
}

#[test]
fn an_idle_fleet_is_balanced_by_count() {
    let leases = (0..5).map(|n| (lease(n, Some("a"), Some(0.0)), Need::Nothing)).collect();
    let plan = fleet(leases, &["a", "b"]).plan(&Balancing::default());
    assert!(plan.balanced && plan.steps.iter().all(|step| matches!(step, Step::HandOff { .. })));
    assert_eq!(plan.steps.len(), 2);
}

#[test]
fn an_idle_fleet_gives_nothing_to_workers_that_java_would_take_it_from_again() {
    let idle = |owners: &str| {
        let leases = owners.char_indices().map(|(n, owner)| (lease(n, Some(&owner.to_string()), None), Need::Nothing));
        let mut fleet = fleet(leases.collect(), &[]);
        for (name, cpu) in [("a", 40.0), ("b", 4.0), ("c", 4.0)] {
            fleet.workers.insert(WorkerId::new(name), Some(row(name, &[("C", vec![cpu], 100.0)])));
        }
        moves(&fleet.plan(&Balancing::default()))
    };
    assert_eq!(idle("bbbccc"), expected([]), "Java has taken all from a, which is busy with something else");
    assert_eq!(idle("bbbbcc"), expected([("3", "c")]), "the others are counted");
    assert_eq!(idle("aaaabc"), expected([("3", "b"), ("2", "c")]), "the busy one may give");
}

#[test]
fn a_lease_is_not_moved_for_the_count_where_its_worker_would_then_carry_more_than_the_other_did() {
    let trickle = |owners: &[(&str, &[f64])]| moves(&fleet(carrying(owners), &["a", "b"]).plan(&Balancing::default()));
    assert_eq!(trickle(&[("a", &[0.1, 0.1, 0.1, 0.1]), ("b", &[0.4])]), expected([]));
    assert_eq!(trickle(&[("a", &[0.2, 0.2, 0.1, 0.5]), ("b", &[0.5])]), expected([("2", "b")]));
}

#[test]
fn of_workers_with_as_many_idle_leases_the_least_loaded_comes_first() {
    let leases = (0..4).map(|n| (lease(n, None, None), Need::Owner)).collect();
    let mut fleet = fleet(leases, &[]);
    for (name, cpu) in [("a", 90.0), ("b", 40.0), ("c", 60.0)] {
        fleet.workers.insert(WorkerId::new(name), Some(row(name, &[("C", vec![cpu], 100.0)])));
    }
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("0", "b"), ("1", "c"), ("2", "a"), ("3", "b")]));
}

#[test]
fn nothing_is_balanced_unless_it_is_asked_for_or_while_a_handoff_is_under_way() {
    let mut leases: Vec<_> = (0..5).map(|n| (lease(n, Some("a"), None), Need::Nothing)).collect();
    let settled = fleet(leases.clone(), &["a", "b"]);
    assert_eq!(plan(&settled.view(), &Balancing::default(), false), Plan::default());
    leases.push((lease(9, Some("b"), None), Need::Patience));
    assert_eq!(fleet(leases, &["a", "b"]).plan(&Balancing::default()), Plan::default());
}

#[test]
fn a_handoff_out_of_time_is_forced_to_the_worker_it_was_meant_for_while_that_lives() {
    let mut asked = lease(0, Some("b"), None);
    asked.checkpoint_owner = Some(WorkerId::new("a"));
    for (workers, to) in [(&["a", "b"][..], "b"), (&["a"][..], "a")] {
        let plan = fleet(vec![(asked.clone(), Need::ForcedHandoff)], workers).plan(&Balancing::default());
        assert_eq!(plan.steps, [Step::Assign { lease: asked.clone(), to: WorkerId::new(to) }]);
    }
}

#[test]
fn a_finished_lease_finds_a_keeper_but_is_no_load() {
    let mut done = [lease(0, None, None), lease(1, None, None)];
    for lease in &mut done {
        lease.checkpoint = Checkpoint::ShardEnd;
    }
    let mut leases: Vec<_> = done.into_iter().map(|lease| (lease, Need::Owner)).collect();
    leases.push((lease(2, Some("a"), None), Need::Nothing));
    leases.push((lease(3, Some("b"), None), Need::Nothing));
    let mut fleet = fleet(leases, &["a", "b"]);
    fleet.limit = 1;
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("0", "a"), ("1", "b")]));
}

#[test]
fn throughput_not_counts_decides_where_something_flows() {
    type Carried = &'static [(&'static str, &'static [f64])];
    let table: [(Carried, Vec<(String, String)>); 5] = [
        (&[("a", &[10.0, 10.0]), ("b", &[10.0, 10.0])], expected([])),
        (&[("a", &[60.0]), ("b", &[20.0, 20.0, 20.0])], expected([])), // three against one, but even
        (&[("a", &[65.0]), ("b", &[20.0, 20.0, 20.0])], expected([])), // within a tenth
        (&[("a", &[40.0, 20.0, 20.0]), ("b", &[20.0])], expected([("2", "b")])), // 60 % of 30 is 18, so the last of the lightest
        (&[("a", &[100.0]), ("b", &[10.0])], expected([])),                      // would only change places
    ];
    for (owners, result) in table {
        assert_eq!(moves(&fleet(carrying(owners), &["a", "b"]).plan(&Balancing::default())), result, "{owners:?}");
    }
}

#[test]
fn leases_that_carry_nothing_stay_where_they_are() {
    let fleet = fleet(carrying(&[("a", &[0.0, 40.0, 0.0, 20.0, 20.0, 0.0]), ("b", &[20.0])]), &["a", "b"]);
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("4", "b")]));
}

#[test]
fn a_lease_on_its_way_counts_for_the_worker_that_gets_it() {
    let mut leases = carrying(&[("a", &[20.0, 20.0]), ("b", &[20.0, 20.0])]);
    (leases[1].0.checkpoint_owner, leases[1].1) = (Some(WorkerId::new("b")), Need::Patience);
    leases[1].0.throughput_kbps = Some(30.0);
    leases.push((lease(9, None, Some(20.0)), Need::Owner));
    assert_eq!(moves(&fleet(leases, &["a", "b"]).plan(&Balancing::default())), expected([("9", "b")]));
}

#[test]
fn a_worker_that_carries_just_the_average_keeps_its_lease() {
    // the one without a figure weighs the mean of the others, which is a fair share of seven workers, give or take a bit
    let others = [500.6814, 300.1982, 1635.0719, 1148.551, 1143.801, 1746.5007];
    let mut leases = carrying(&[("a", &others[..2]), ("b", &[others[3]]), ("c", &[others[2], others[4], others[5]])]);
    leases.push((lease(6, Some("d"), None), Need::Nothing));
    let fleet = fleet(leases, &["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(moves(&fleet.plan(&Balancing { threshold_percentage: 5, ..Balancing::default() })), expected([]));
}

#[test]
fn overshoot_moves_the_lightest_lease_where_none_is_light_enough() {
    let leases = carrying(&[("a", &[30.0, 40.0, 30.0]), ("b", &[])]); // 60 % of 50 is 30: nothing is below
    let fleet = fleet(leases, &["a", "b"]);
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("2", "b")]));
    let exact = Balancing { allow_overshoot: false, ..Balancing::default() };
    assert_eq!(moves(&fleet.plan(&exact)), expected([]));
}

#[test]
fn a_lease_too_heavy_for_its_receiver_does_not_keep_lighter_ones_back() {
    // a gives up to 60 % of 60: 35 fits that, but b has room for 30; 15 and 10 go.
    let leases = carrying(&[("a", &[35.0, 15.0, 15.0, 10.0, 85.0]), ("b", &[70.0]), ("c", &[70.0])]);
    let plan = fleet(leases, &["a", "b", "c"]).plan(&Balancing::default());
    assert_eq!(moves(&plan), expected([("1", "b"), ("2", "c")]));
}

#[test]
fn a_receiver_that_can_take_nothing_does_not_stand_before_others() {
    // b is farthest below the average, but at the end of its operating range; c comes next
    let mut fleet = fleet(carrying(&[("a", &[20.0, 20.0, 20.0]), ("b", &[20.0]), ("c", &[20.0])]), &[]);
    for (name, cpu, range) in [("a", 80.0, 100.0), ("b", 10.0, 11.0), ("c", 20.0, 100.0)] {
        fleet.workers.insert(WorkerId::new(name), Some(row(name, &[("C", vec![cpu], range)])));
    }
    // 60 % of (80 - 36.7) / 80 of its 60 is 19.5: the lightest goes by overshoot, but would lift c to 42; a lease of 10 does not
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([]));
    fleet.leases[2].0.throughput_kbps = Some(10.0);
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("2", "c")]));
}

#[test]
fn reported_load_weighs_more_than_throughput() {
    let mut fleet = fleet(carrying(&[("a", &[20.0, 20.0, 20.0]), ("b", &[20.0, 20.0, 20.0])]), &[]);
    for (name, cpu) in [("a", 80.0), ("b", 20.0)] {
        fleet.workers.insert(WorkerId::new(name), Some(row(name, &[("C", vec![cpu], 100.0)])));
    }
    // a is 30 above 50: 60 % of 30/80 of its 60 is 13.5; nothing is as light, so the lightest goes: 20 + 16.7 < 50
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("2", "b")]));
}

#[test]
fn a_worker_above_its_operating_range_gives_though_it_is_near_the_average() {
    let mut fleet = fleet(carrying(&[("a", &[20.0, 1.0]), ("b", &[20.0])]), &[]);
    for (name, cpu, range) in [("a", 80.0, 75.0), ("b", 74.0, 90.0)] {
        fleet.workers.insert(WorkerId::new(name), Some(row(name, &[("C", vec![cpu], range)])));
    }
    let leases: Vec<_> = moves(&fleet.plan(&Balancing::default()));
    assert_eq!(leases, expected([])); // 74 + 77 / 20.5 is above the average
    fleet.workers.insert(WorkerId::new("b"), Some(row("b", &[("C", vec![70.0], 90.0)])));
    assert_eq!(moves(&fleet.plan(&Balancing::default())), expected([("1", "b")]));
}

#[test]
fn a_worker_that_carries_more_than_a_host_may_is_given_nothing() {
    let mut leases = carrying(&[("a", &[50.0]), ("b", &[20.0])]);
    leases.push((lease(8, None, Some(20.0)), Need::Owner));
    leases.push((lease(9, None, Some(20.0)), Need::Owner));
    let fleet = fleet(leases, &["a", "b"]);
    let narrow = Balancing { max_throughput_per_host_kbps: 30.0, ..Balancing::default() };
    assert_eq!(moves(&fleet.plan(&narrow)), expected([("8", "b")]));
}

#[test]
fn a_fleet_that_begins_again_gives_everybody_the_same() {
    let leases = (0..8).map(|n| (lease(n, Some("gone"), Some(10.0)), Need::Owner)).collect();
    let fleet = fleet(leases, &["a", "b", "c", "d"]);
    let after = fleet.after(&fleet.plan(&Balancing::default()).steps);
    assert!(after.loads().values().all(|(leases, _)| *leases == 2), "{:?}", after.loads());
}

mod alternate;
mod beside;
mod golden;
mod java;
mod laws;
