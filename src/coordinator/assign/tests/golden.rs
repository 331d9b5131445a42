//! Fleets whose decisions were recorded from `VarianceBasedLeaseAssignmentDecider` of KCL 3.5.1, unchanged.
//!
//! Java shuffles the leases of a worker before it picks some, so a fleet has several outcomes there; each case lists
//! those seen in some hundred runs. Ours must be one of them. An outcome names the worker of each lease: a digit, `-`
//! for none, `x` for a dead one.
//!
//! Two things are not held against it. Workers alike in everything are one and the same to both, and which of them
//! comes first is chance in Java. And a worker that must refuse a lease is left out by Java for the leases of all other
//! donors, too; in ours it is not, and the few cases where that shows name our outcome apart (`ours`).

use serde::{Deserialize, Serialize};

use super::beside::Verdict;
use super::*;
use crate::coordinator::view::is_active;
use crate::types::EpochMillis;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) threshold: u32,
    pub(super) dampening: u32,
    pub(super) overshoot: bool,
    pub(super) alpha: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_kbps: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<usize>,
    pub(super) workers: Vec<Reported>,
    pub(super) owners: String,
    pub(super) kbps: Vec<Option<f64>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) java: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ours: Vec<String>,
    /// Which rule says why ours is not Java's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Verdict>,
}

/// A load row.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Reported {
    /// Seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) age: i64,
    /// Of each metric its operating range, if it has one, then its samples.
    #[serde(flatten)]
    pub(super) metrics: BTreeMap<String, Vec<Option<f64>>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(age: &i64) -> bool {
    *age == 0
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, PartialOrd, Eq, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Assign,
    Balance,
}

impl Reported {
    /// The row of the worker, if it may be given leases.
    fn row(&self, name: &str) -> Option<WorkerRow> {
        const NOW: i64 = 1_000_000;
        let mut row = row(name, &[]);
        row.last_update_seconds = Some(NOW - self.age);
        for (name, values) in &self.metrics {
            row.stats.insert(name.clone(), values[1..].iter().flatten().copied().collect());
            if let Some(range) = values[0] {
                row.operating_ranges.insert(name.clone(), vec![range]);
            }
        }
        is_active(&row, EpochMillis(NOW * 1000)).then_some(row)
    }
}

impl Case {
    pub(super) fn fleet(&self) -> Owned {
        let lease = |(number, (owner, kbps)): (usize, (char, &Option<f64>))| {
            let (owner, need) = match owner {
                '-' => (None, Need::Owner),
                'x' => (Some("x".to_owned()), Need::Owner),
                worker => (Some(worker.to_string()), Need::Nothing),
            };
            (lease(number, owner.as_deref(), *kbps), need)
        };
        let worker = |(number, reported): (usize, &Reported)| {
            let name = number.to_string();
            reported.row(&name).map(|row| (WorkerId::new(name), Some(row)))
        };
        Owned {
            leases: self.owners.chars().zip(&self.kbps).enumerate().map(lease).collect(),
            workers: self.workers.iter().enumerate().filter_map(worker).collect(),
            limit: self.limit.unwrap_or(usize::MAX),
        }
    }

    /// The outcome with workers that were alike named in the order in which they appear.
    pub(super) fn without_chance(&self, outcome: &str) -> String {
        let names: Vec<char> = ('0'..='9').take(self.workers.len()).collect();
        let alike = |a: char, b: char| {
            let workers = (a.to_digit(10).unwrap() as usize, b.to_digit(10).unwrap() as usize);
            a == b || (!self.owners.contains([a, b]) && self.workers[workers.0] == self.workers[workers.1])
        };
        let mut renamed: BTreeMap<char, char> = BTreeMap::new();
        let rename = |owner: char| {
            if !owner.is_ascii_digit() {
                return owner;
            }
            let known = renamed.get(&owner).copied();
            let free =
                || *names.iter().find(|name| alike(owner, **name) && !renamed.values().any(|to| to == *name)).unwrap();
            let name = known.unwrap_or_else(free);
            renamed.insert(owner, name);
            name
        };
        outcome.chars().map(rename).collect()
    }

    pub(super) fn balancing(&self) -> Balancing {
        Balancing {
            threshold_percentage: self.threshold,
            dampening_percentage: self.dampening,
            allow_overshoot: self.overshoot,
            max_throughput_per_host_kbps: self.max_kbps.unwrap_or(f64::MAX),
            ema_alpha: self.alpha,
            frequency: 3,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.fleet().view(), &self.balancing(), self.kind == Kind::Balance)
    }

    pub(super) fn outcome(&self, plan: &Plan) -> String {
        let owner = |(lease, _): &(Lease, Need)| lease.owner.as_ref().map_or("-".to_owned(), ToString::to_string);
        self.fleet().after(&plan.steps).leases.iter().map(owner).collect()
    }
}

fn recorded(file: &str) -> Vec<Case> {
    let path = format!("{}/tests/golden/assignment/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn assert_planned(cases: &[Case]) {
    let mut others = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (planned, line) = (case.outcome(&case.plan()), number + 1);
        let expected = || case.java.iter().chain(&case.ours);
        let alike = |outcome: &String| case.without_chance(outcome) == case.without_chance(&planned);
        if !expected().any(alike) {
            let (kind, before, expected) = (case.kind, &case.owners, expected().collect::<Vec<_>>());
            others.push(format!("line {line} {kind:?}: {before} became {planned}, expected {expected:?}"));
        }
    }
    assert!(others.is_empty(), "{} of {}:\n{}", others.len(), cases.len(), others.join("\n"));
}

#[test]
fn plans_are_among_those_that_java_makes() {
    let mut cases = recorded("variance.jsonl");
    assert!(cases.len() >= 400, "the cases were not found");
    let apart = cases.iter().filter(|case| !case.ours.is_empty()).count();
    assert!(apart * 20 < cases.len(), "{apart} of {} are not Java's", cases.len());
    for case in cases.iter_mut().filter(|case| !case.ours.is_empty()) {
        case.java.clear();
    }
    assert_planned(&cases);
}

#[test]
fn plans_for_fleets_drawn_without_selection_are_javas_or_differ_by_a_named_rule() {
    let cases = recorded("drawn.jsonl");
    let apart = |why: Option<Verdict>| cases.iter().filter(|case| case.why == why).count();
    assert!(cases.len() >= 100 && apart(Some(Verdict::Unexplained)) == 0);
    assert!(
        cases.iter().all(|case| case.why.is_some() == case.java.is_empty() && case.ours.len() + case.java.len() == 1)
    );
    assert!(apart(None) * 2 > cases.len() && apart(Some(Verdict::Refused)) * 20 < cases.len());
    assert_planned(&cases);
}
