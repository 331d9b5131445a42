//! The leader of KCL 3.5.1 itself, and fleets to ask it about. `compat-tests/README.md` says how to run the tests that do.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};

use fastrand::Rng;
use serde_json::{Value, json};

use super::golden::{Case, Kind, Reported};
use super::*;
use crate::coordinator::testing::java::started;

/// `compat-tests/java/Assign.java`, running.
pub(super) struct Java {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Java {
    pub(super) fn start() -> Self {
        let mut process = started("ASSIGN_JAVA", None);
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, to, from }
    }

    /// Each outcome and how it comes, and how often a worker had to refuse a lease.
    pub(super) fn outcomes(&mut self, case: &Case, more: &Value) -> (Vec<(String, String)>, u64) {
        let mut asked = serde_json::to_value(case).unwrap();
        asked["balance"] = json!(case.kind == Kind::Balance);
        for (key, value) in more.as_object().unwrap() {
            asked[key] = value.clone();
        }
        writeln!(self.to, "{asked}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let split = |outcome: &Value| {
            let (owners, how) = outcome.as_str().unwrap().split_once(' ').unwrap();
            (owners.to_owned(), how.to_owned())
        };
        (answer["java"].as_array().unwrap().iter().map(split).collect(), answer["refusals"].as_u64().unwrap())
    }

    /// The owners after one run; `more` says how the leases are shuffled.
    pub(super) fn outcome(&mut self, case: &Case, more: &Value) -> String {
        self.outcomes(case, more).0.remove(0).0
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the workers report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reports {
    Nothing,
    Processor,
    Several,
    Some,
    Odd,
}

/// What the leases carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flow {
    Skewed,
    Even,
    Holes,
    Zeros,
    Trickle,
    None,
}

pub(super) const REPORTS: [Reports; 5] =
    [Reports::Nothing, Reports::Processor, Reports::Several, Reports::Some, Reports::Odd];
pub(super) const FLOWS: [Flow; 6] = [Flow::Skewed, Flow::Even, Flow::Holes, Flow::Zeros, Flow::Trickle, Flow::None];

pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

pub(super) fn between(random: &mut Rng, low: f64, high: f64) -> f64 {
    rounded(low + (high - low) * random.f64())
}

fn reported(random: &mut Rng, reports: Reports) -> Reported {
    let mut row = Reported::default();
    let names: &[(&str, f64)] = match reports {
        Reports::Nothing => &[],
        Reports::Processor => &[("C", 1.0)],
        Reports::Several => &[("C", 0.9), ("M", 0.7), ("NI", 0.3)],
        Reports::Some => &[("C", 0.6)],
        Reports::Odd => &[("C", 0.9), ("M", 0.3), ("THROUGHPUT", 0.1)],
    };
    for (name, share) in names {
        if random.f64() < *share {
            let range = if random.u8(..4) == 0 { f64::from(random.u32(30..100)) } else { 100.0 };
            let about = between(random, 5.0, 95.0);
            let mut values = vec![Some(range)];
            for _ in 0..random.usize(1..5) {
                values.push(Some(if random.u8(..12) == 0 { -1.0 } else { between(random, about * 0.8, about * 1.2) }));
            }
            let last = values.len() - 1;
            if values[last] == Some(-1.0) && reports != Reports::Odd {
                values[last] = Some(about);
            }
            if reports == Reports::Odd {
                match random.u8(..12) {
                    0 => values[0] = None,
                    1 => values[0] = Some(0.0),
                    2 => values.truncate(1),
                    _ => {}
                }
            }
            row.metrics.insert((*name).to_owned(), values);
        }
    }
    if reports == Reports::Odd && random.u8(..8) == 0 {
        row.age = [20, 50, 70, 200][random.usize(..4)];
    }
    row
}

fn carried(random: &mut Rng, flow: Flow, scale: f64) -> Option<f64> {
    match flow {
        Flow::Skewed => Some(rounded(scale * (random.f64() * 3.0).exp())),
        Flow::Even => Some(rounded(scale * (1.0 + random.f64() * 0.01))),
        Flow::Holes => (random.u8(..5) > 0).then(|| rounded(scale * (random.f64() * 3.0).exp())),
        Flow::Zeros => Some(if random.u8(..3) == 0 { 0.0 } else { rounded(scale * (random.f64() * 2.0).exp()) }),
        Flow::Trickle => Some(rounded(0.002 * (random.f64() * 5.0).exp())),
        Flow::None => random.bool().then_some(0.0),
    }
}

pub(super) fn drawn(random: &mut Rng, kind: Kind, reports: Reports, flow: Flow) -> Case {
    let workers = random.usize(1..10);
    let most = if random.bool() { 16 } else { 60 };
    let leases = random.usize(1..most);
    let favourite = random.usize(..workers);
    let owner = |random: &mut Rng| match (kind, random.u8(..10)) {
        (Kind::Assign, 0..=1) => '-',
        (Kind::Assign, 2) => 'x',
        (_, 3..=5) => char::from_digit(u32::try_from(favourite).unwrap(), 10).unwrap(),
        _ => char::from_digit(u32::try_from(random.usize(..workers)).unwrap(), 10).unwrap(),
    };
    let scale = [2.0, 20.0, 200.0][random.usize(..3)];
    Case {
        kind,
        threshold: [10, 10, 5, 20, 40][random.usize(..5)],
        dampening: [60, 60, 30, 90, 100][random.usize(..5)],
        overshoot: random.u8(..3) > 0,
        alpha: if random.bool() { 0.5 } else { between(random, 0.05, 1.0) },
        max_kbps: (random.u8(..5) == 0).then(|| between(random, scale, scale * 60.0)),
        limit: (random.u8(..4) == 0).then(|| random.usize(1..=leases)),
        workers: (0..workers).map(|_| reported(random, reports)).collect(),
        owners: (0..leases).map(|_| owner(random)).collect(),
        kbps: (0..leases).map(|_| carried(random, flow, scale)).collect(),
        java: BTreeSet::new(),
        ours: Vec::new(),
        why: None,
    }
}

/// Places of the leases in the shuffled lists of their owners: those that the plan moves come first, as it moves them.
pub(super) fn order(case: &Case, plan: &Plan) -> Vec<usize> {
    let number = |shard: &ShardId| shard.as_str()[8..].parse::<usize>().unwrap();
    let moved: Vec<usize> = plan.steps.iter().map(|step| number(step.shard())).collect();
    let rest = (0..case.kbps.len()).filter(|lease| !moved.contains(lease));
    let mut places = vec![0; case.kbps.len()];
    let mut next: BTreeMap<char, usize> = BTreeMap::new();
    for lease in moved.iter().copied().chain(rest) {
        let place = next.entry(case.owners.as_bytes()[lease].into()).or_default();
        places[lease] = *place;
        *place += 1;
    }
    places
}
