//! Drawn fleets beside Java's leader: each plan is one that Java makes, or a named rule says why not.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::golden::{Case, Kind};
use super::java::{FLOWS, Java, REPORTS, drawn, order};
use super::*;
use crate::coordinator::testing::java::number;

/// How a plan of ours stands beside Java's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Verdict {
    /// Java does the same when it draws the leases in the order in which ours moves them.
    Same,
    /// Java does the same in one of 200 runs, but for the names of workers that are alike.
    ByChance,
    /// Next to nothing flows: ours counts.
    Idle,
    /// The same but for leases that carry nothing, which ours leaves where they are.
    Weightless,
    /// Several workers have the same room: which is first is chance in Java, in ours whoever carries less.
    Ties,
    /// The same once the leases of workers that may be given nothing are left out.
    HeldElsewhere,
    /// A worker had to refuse a lease: Java gives up on it, and on the donor; ours goes on.
    Refused,
    /// Several of these at once, or the last bit of a sum.
    Unexplained,
}

/// The leases that count: those that carry something.
fn weighty(case: &Case, outcome: &str) -> String {
    outcome.chars().zip(&case.kbps).map(|(owner, kbps)| if *kbps == Some(0.0) { '.' } else { owner }).collect()
}

/// Notes in the case what both do.
fn judge(java: &mut Java, case: &mut Case) -> Verdict {
    let verdict = verdict(java, case);
    let planned = case.outcome(&case.plan());
    case.why = (verdict > Verdict::ByChance).then_some(verdict);
    if verdict > Verdict::ByChance {
        case.ours.push(planned);
    } else {
        case.java.insert(planned);
    }
    verdict
}

fn verdict(java: &mut Java, case: &Case) -> Verdict {
    let (plan, fleet) = (case.plan(), case.fleet());
    let planned = case.outcome(&plan);
    let (mut outcomes, refusals) = java.outcomes(case, &json!({"order": order(case, &plan)}));
    let (exact, how) = outcomes.remove(0);
    let expected = if case.kind == Kind::Assign { 'a' } else { 'h' };
    assert!(how.chars().all(|how| how == '.' || how == expected), "{how} {case:?}");
    if exact == planned {
        return Verdict::Same;
    }
    let (mut drawn, _) = java.outcomes(case, &json!({"runs": 200, "seed": 1}));
    drawn.extend(java.outcomes(case, &json!({"order": order(case, &plan), "runs": 30})).0);
    let all = || drawn.iter().map(|(outcome, _)| outcome).chain([&exact]);
    let alike = |outcome: &str| case.without_chance(outcome) == case.without_chance(&planned);
    let alike_in_weight =
        |outcome: &str| alike(&weighty(case, outcome)) || weighty(case, outcome) == weighty(case, &planned);
    let weighs = |lease: usize| case.kbps[lease] != Some(0.0);
    let owner = |lease: usize| case.owners[lease..=lease].to_owned();
    let held_by_peers =
        |lease: usize| ["-", "x"].contains(&&*owner(lease)) || fleet.workers.contains_key(&WorkerId::new(owner(lease)));
    if all().any(|outcome| alike(outcome)) {
        return Verdict::ByChance;
    }
    if Scene::new(&fleet.view()).total_per_worker() < IDLE_KBPS {
        return Verdict::Idle;
    }
    let (weightless, refused) = without_others(java, case, &plan, weighs);
    if weightless || all().any(|outcome| alike_in_weight(outcome)) {
        Verdict::Weightless
    } else if case.kind == Kind::Assign && drawn.len() > 1 {
        Verdict::Ties
    } else {
        let (held_elsewhere, refused_there) = without_others(java, case, &plan, held_by_peers);
        match (held_elsewhere, refused || refused_there || refusals > 0) {
            (true, _) => Verdict::HeldElsewhere,
            (false, true) => Verdict::Refused,
            (false, false) => Verdict::Unexplained,
        }
    }
}

/// Whether Java does what ours does once only leases that `count` are there, and whether a worker had to refuse one then.
fn without_others(java: &mut Java, case: &Case, plan: &Plan, count: impl Fn(usize) -> bool) -> (bool, bool) {
    let known: Vec<f64> = case.kbps.iter().flatten().copied().collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of leases")]
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let kept: Vec<usize> = (0..case.kbps.len()).filter(|lease| count(*lease)).collect();
    let (places, planned) = (order(case, plan), case.outcome(plan));
    let pick = |outcome: &str| kept.iter().map(|lease| char::from(outcome.as_bytes()[*lease])).collect::<String>();
    let mut rest = case.clone();
    rest.owners = pick(&case.owners);
    rest.kbps = kept.iter().map(|lease| Some(case.kbps[*lease].unwrap_or(mean))).collect();
    let places: Vec<usize> = kept.iter().map(|lease| places[*lease]).collect();
    let (outcomes, refusals) = java.outcomes(&rest, &json!({"order": places, "runs": 30}));
    let (planned, alike) = (pick(&planned), |outcome: &str| rest.without_chance(&weighty(&rest, outcome)));
    let same = outcomes.iter().any(|(outcome, _)| alike(outcome) == alike(&planned));
    (same && kept.len() < case.kbps.len(), refusals > 0)
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_fleets_beside_java() {
    let (mut java, mut random) = (Java::start(), Rng::with_seed(number("ASSIGN_SEED", 7)));
    let (mut unexplained, mut recorded) = (Vec::new(), String::new());
    for kind in [Kind::Assign, Kind::Balance] {
        for (reports, flow) in REPORTS.iter().flat_map(|reports| FLOWS.map(|flow| (*reports, flow))) {
            let mut tally: BTreeMap<Verdict, usize> = BTreeMap::new();
            for _ in 0..number("ASSIGN_FLEETS", 60) {
                let mut case = drawn(&mut random, kind, reports, flow);
                let verdict = judge(&mut java, &mut case);
                *tally.entry(verdict).or_default() += 1;
                let line = serde_json::to_string(&case).unwrap() + "\n";
                recorded += &line;
                unexplained.extend((verdict == Verdict::Unexplained).then_some(line));
            }
            println!("{kind:?} {reports:?} {flow:?}: {tally:?}");
        }
    }
    if let Ok(file) = std::env::var("ASSIGN_RECORD") {
        std::fs::write(file, &recorded).unwrap();
    }
    let most = recorded.lines().count() / 500;
    assert!(unexplained.len() <= most, "{} unexplained:\n{}", unexplained.len(), unexplained.concat());
}
