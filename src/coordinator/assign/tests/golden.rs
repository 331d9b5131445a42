//! Fleets whose decisions were recorded from `VarianceBasedLeaseAssignmentDecider` of KCL 3.5.1, unchanged.
//!
//! Java shuffles the leases of a worker before it picks some, so a fleet has several outcomes there; each case lists
//! those seen in some hundred runs. Ours must be one of them. An outcome names the worker of each lease: a digit, `-`
//! for none, `x` for a dead one.
//!
//! Two things are not held against it. Workers alike in everything are one and the same to both, and which of them
//! comes first is chance in Java. And a worker that must refuse a lease is left out by Java for the leases of all other
//! donors, too; in ours it is not, and the few cases where that shows name our outcome apart (`ours`).

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    kind: Kind,
    threshold: u32,
    dampening: u32,
    overshoot: bool,
    alpha: f64,
    max_kbps: Option<f64>,
    limit: Option<usize>,
    /// Of each metric its operating range, then its samples.
    workers: Vec<BTreeMap<String, Vec<f64>>>,
    owners: String,
    kbps: Vec<Option<f64>>,
    java: BTreeSet<String>,
    ours: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Assign,
    Balance,
}

impl Case {
    fn fleet(&self) -> Owned {
        let lease = |(number, (owner, kbps)): (usize, (char, &Option<f64>))| {
            let (owner, need) = match owner {
                '-' => (None, Need::Owner),
                'x' => (Some("x".to_owned()), Need::Owner),
                worker => (Some(worker.to_string()), Need::Nothing),
            };
            (lease(number, owner.as_deref(), *kbps), need)
        };
        let worker = |(number, metrics): (usize, &BTreeMap<String, Vec<f64>>)| {
            let metrics = metrics.iter().map(|(name, values)| (name.as_str(), values[1..].to_vec(), values[0]));
            let name = number.to_string();
            (WorkerId::new(name.as_str()), Some(row(&name, &metrics.collect::<Vec<_>>())))
        };
        Owned {
            leases: self.owners.chars().zip(&self.kbps).enumerate().map(lease).collect(),
            workers: self.workers.iter().enumerate().map(worker).collect(),
            limit: self.limit.unwrap_or(usize::MAX),
        }
    }

    /// The outcome with workers that were alike named in the order in which they appear.
    fn without_chance(&self, outcome: &str) -> String {
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

    fn planned(&self) -> String {
        let balancing = Balancing {
            threshold_percentage: self.threshold,
            dampening_percentage: self.dampening,
            allow_overshoot: self.overshoot,
            max_throughput_per_host_kbps: self.max_kbps.unwrap_or(f64::MAX),
            ema_alpha: self.alpha,
            frequency: 3,
        };
        let fleet = self.fleet();
        let plan = plan(&fleet.view(), &balancing, self.kind == Kind::Balance);
        let owner = |(lease, _): &(Lease, Need)| lease.owner.as_ref().map_or("-".to_owned(), ToString::to_string);
        fleet.after(&plan.steps).leases.iter().map(owner).collect()
    }
}

#[test]
fn plans_are_among_those_that_java_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/assignment/variance.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let cases: Vec<Case> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= 400, "the cases were not found");
    let apart = cases.iter().filter(|case| case.ours.is_some()).count();
    assert!(apart * 20 < cases.len(), "{apart} of {} are not Java's", cases.len());
    let mut others = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (planned, line) = (case.without_chance(&case.planned()), number + 1);
        let among = || case.java.iter().any(|outcome| case.without_chance(outcome) == planned);
        if !case.ours.as_ref().map_or_else(among, |ours| *ours == planned) {
            others.push(format!(
                "line {line} {:?}: {} became {planned}, in Java {:?}",
                case.kind, case.owners, case.java
            ));
        }
    }
    assert!(others.is_empty(), "{} of {}:\n{}", others.len(), cases.len(), others.join("\n"));
}
