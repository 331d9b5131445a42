//! Leaders of both kinds, one after the other, on one fleet: what one has settled the other must not undo for ever.

use fastrand::Rng;
use serde_json::json;

use super::golden::{Case, Kind};
use super::java::{FLOWS, Flow, Java, Reports, between, drawn, rounded};
use super::*;
use crate::coordinator::testing::java::number;

/// A fleet whose load follows from its leases.
struct Living {
    case: Case,
    /// What each host does besides, percent; nothing if the workers report nothing.
    own: Option<Vec<f64>>,
    /// Percent a KiB a second.
    cost: f64,
}

impl Living {
    fn drawn(random: &mut Rng, flow: Flow) -> Self {
        let mut case = drawn(random, Kind::Balance, Reports::Nothing, flow);
        (case.max_kbps, case.limit) = (None, None);
        let workers = case.workers.len();
        let own = random.bool().then(|| (0..workers).map(|_| between(random, 1.0, 30.0)).collect());
        let all: f64 = case.kbps.iter().flatten().sum();
        let cost = between(random, 5.0, 60.0) * f64::from(u32::try_from(workers).unwrap()) / all.max(1000.0);
        Self { case, own, cost }
    }

    fn report(&mut self) {
        let Some(own) = &self.own else { return };
        let loads = self.case.fleet().loads();
        for (number, own) in own.iter().enumerate() {
            let load = rounded(own + self.cost * loads[&WorkerId::new(number.to_string())].1);
            self.case.workers[number].metrics = BTreeMap::from([("C".to_owned(), vec![Some(1000.0), Some(load)])]);
        }
    }

    /// Lets a leader act once; returns how many leases it moved.
    fn turn(&mut self, java: Option<&mut Java>, seed: u64) -> usize {
        self.report();
        let after = match java {
            Some(java) => java.outcome(&self.case, &json!({"runs": 1, "seed": seed})),
            None => self.case.outcome(&self.case.plan()),
        };
        let moved = after.chars().zip(self.case.owners.chars()).filter(|(a, b)| a != b).count();
        self.case.owners = after;
        moved
    }

    /// Lets leaders act, each for some turns, until all have been content; returns moves of ours and of Java's, and whether it came to that.
    fn settle(&mut self, java: &mut Java, ours_leads: impl Fn(usize) -> bool) -> (usize, usize, bool) {
        let (mut ours, mut javas, mut quiet) = (0, 0, 0);
        for turn in 0..120 {
            let moved = if ours_leads(turn) { self.turn(None, 0) } else { self.turn(Some(java), turn as u64) };
            *(if ours_leads(turn) { &mut ours } else { &mut javas }) += moved;
            quiet = if moved == 0 { quiet + 1 } else { 0 };
            if quiet == 8 {
                return (ours, javas, true);
            }
        }
        (ours, javas, false)
    }
}

/// Moves of ours and of Java's until a fleet rested, and how many fleets never did.
#[derive(Debug, Default)]
struct Moves {
    ours: usize,
    java: usize,
    restless: usize,
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn leaders_of_both_kinds_in_turn_come_to_rest() {
    type Leads = fn(usize) -> bool;
    let leaders: [(&str, Leads); 3] = [("Java", |_| false), ("ours", |_| true), ("in turn", |turn| turn / 4 % 2 == 0)];
    let (mut java, mut random) = (Java::start(), Rng::with_seed(number("ASSIGN_SEED", 7)));
    let mut restless = Vec::new();
    for flow in FLOWS {
        let mut sums: [Moves; 3] = Default::default();
        for _ in 0..number("ASSIGN_FLEETS", 60) {
            let mut fleet = Living::drawn(&mut random, flow);
            let before = fleet.case.owners.clone();
            for ((_, leads), sum) in leaders.iter().zip(&mut sums) {
                fleet.case.owners.clone_from(&before);
                let (ours, javas, rests) = fleet.settle(&mut java, leads);
                (sum.ours, sum.java) = (sum.ours + ours, sum.java + javas);
                if !rests {
                    sum.restless += 1;
                    restless.push(serde_json::to_string(&fleet.case).unwrap());
                }
            }
        }
        println!("{flow:?}: {:?}", leaders.iter().map(|(name, _)| name).zip(sums).collect::<Vec<_>>());
    }
    assert!(restless.is_empty(), "{} fleets never rest:\n{}", restless.len(), restless.join("\n"));
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn what_ours_has_counted_is_even_for_the_count_based_decider() {
    let (mut java, mut random) = (Java::start(), Rng::with_seed(number("ASSIGN_SEED", 7)));
    let by_count = json!({"runs": 3, "seed": 1, "count": true});
    let (mut same_counts, mut ours_more) = (0, 0);
    for _ in 0..number("ASSIGN_FLEETS", 200) {
        let mut case = drawn(&mut random, Kind::Balance, Reports::Nothing, Flow::None);
        case.max_kbps = None;
        let counts = |owners: &str| {
            let mut counts: Vec<usize> =
                ('0'..='9').take(case.workers.len()).map(|worker| owners.matches(worker).count()).collect();
            counts.sort_unstable();
            counts
        };
        let (ours, theirs) = (case.outcome(&case.plan()), java.outcome(&case, &by_count));
        same_counts += usize::from(counts(&ours) == counts(&theirs));
        assert!(counts(&ours).iter().max() <= counts(&theirs).iter().max(), "{case:?} {ours} {theirs}");
        let settled = Case { owners: ours, ..case.clone() };
        assert_eq!(java.outcome(&settled, &by_count), settled.owners, "{case:?}");
        let settled = Case { owners: theirs, ..case.clone() };
        ours_more += usize::from(settled.outcome(&settled.plan()) != settled.owners);
    }
    println!("the same counts in {same_counts}; ours goes on evening out {ours_more}");
}
