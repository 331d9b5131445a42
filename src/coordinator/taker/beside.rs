//! Looks at drawn tables beside Java's `DynamoDBLeaseTaker`, of 2.5.4 and of 3.5.1.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::choose::*;
use crate::coordinator::testing::java::{Question, Tally, asked_now, recorded};
use crate::coordinator::testing::{F, at, shard, worker};
use crate::lease::Lease;
use crate::types::LeaseCounter;

/// The owner of a lease and its counter; nothing while the lease is not there.
type Row = Option<(Option<String>, i64)>;

/// What a taker takes at the last of some looks, each told by its moment in milliseconds.
#[derive(Debug, Deserialize, Serialize)]
struct History {
    max: usize,
    steals: usize,
    priority: bool,
    looks: Vec<(u64, Vec<Row>)>,
}

fn leases(rows: &[Row]) -> Vec<Lease> {
    let lease = |(number, row): (u32, &Row)| {
        let (owner, counter) = row.as_ref()?;
        let mut lease = Lease::new(shard(number), at(5));
        lease.owner = owner.as_deref().map(worker);
        lease.counter = LeaseCounter(*counter);
        Some(lease)
    };
    (0..).zip(rows).filter_map(lease).collect()
}

impl History {
    /// The rows of the last look with their ages.
    fn seen(&self) -> Vec<(Lease, Option<Duration>)> {
        let (mut seen, start) = (Sightings::default(), Instant::now());
        let mut now = start;
        let mut last = Vec::new();
        for (millis, rows) in &self.looks {
            now = start + Duration::from_millis(*millis);
            last = leases(rows);
            seen.observe(&last, now);
        }
        last.into_iter().map(|lease| (lease.clone(), seen.age(&lease, now))).collect()
    }

    /// Living leases of each worker.
    fn held(&self) -> BTreeMap<String, usize> {
        let mut held = BTreeMap::new();
        for (lease, age) in self.seen() {
            if let Some(owner) = lease.owner.filter(|_| age.is_some_and(|age| age <= F)) {
                *held.entry(owner.to_string()).or_default() += 1;
            }
        }
        held
    }

    fn owners(&self, answer: &Value) -> BTreeSet<Option<String>> {
        let rows = &self.looks.last().unwrap().1;
        let numbers = answer["of"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap());
        numbers.map(|number| rows[usize::try_from(number).unwrap()].clone().unwrap().0).collect()
    }
}

/// Four of five rows move, as they do when their owners live.
fn next(random: &mut Rng, rows: &mut Vec<Row>, asleep: &BTreeSet<String>) {
    for row in rows.iter_mut() {
        let Some((owner, counter)) = row else { continue };
        match random.u8(..30) {
            0 => {
                *owner = None; // given back
                *counter += 1;
            }
            1 => (*owner, *counter) = (Some("b".to_owned()), *counter + 1),
            2 => *row = None,
            _ => *counter += i64::from(owner.as_ref().is_some_and(|owner| !asleep.contains(owner))),
        }
    }
    if random.u8(..6) == 0 {
        rows.push(Some((None, 0)));
    }
}

impl Question for History {
    const CLASS: &'static str = "Taker";
    const FILE: &'static str = "taker/history.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let names = ["me", "a", "b", "c", "d", "e"];
        let workers = random.usize(1..=names.len());
        let favourite = random.usize(..workers);
        let count = random.usize(..17);
        let row = |random: &mut Rng| {
            let owner = match random.u8(..12) {
                0 => None,
                1..=4 => Some(names[favourite]),
                _ => Some(names[random.usize(..workers)]),
            };
            Some((owner.map(str::to_owned), 1))
        };
        let mut rows: Vec<Row> = (0..count).map(|_| row(random)).collect();
        let asleep = if random.bool() { 0 } else { random.usize(..workers) };
        let asleep: BTreeSet<String> = (0..asleep).map(|_| names[random.usize(..workers)].to_owned()).collect();
        let mut looks = vec![(0, rows.clone())];
        for _ in 0..random.usize(..4) {
            let pause = [3_300, 8_500, 10_500, 20_500, 31_000][random.usize(..5)];
            next(random, &mut rows, &asleep);
            looks.push((looks.last().unwrap().0 + pause, rows.clone()));
        }
        let max = if random.bool() { 1_000_000 } else { random.usize(1..8) };
        Self { max, steals: random.usize(1..4), priority: random.u8(..4) > 0, looks }
    }

    fn ours(&self) -> Value {
        let (me, seen) = (worker("me"), self.seen());
        let candidates: Vec<Candidate<'_>> = seen
            .iter()
            .map(|(lease, age)| {
                let in_our_hands = lease.owner.as_ref() == Some(&me) && age.is_some_and(|age| age <= F);
                Candidate { lease, age: *age, in_our_hands }
            })
            .collect();
        let rules = Rules { failover_time: F, max_leases: self.max, max_steals: self.steals, priority: self.priority };
        let (mut pool, mut counts, mut steals) = (BTreeSet::new(), BTreeSet::new(), false);
        for seed in 0..250 {
            let taken = choose(&candidates, &me, &rules, Occasion::Due, &mut Rng::with_seed(seed));
            counts.insert(taken.len());
            for (lease, why) in taken {
                pool.insert(lease.shard.as_str()[8..].parse::<u32>().unwrap());
                steals |= why == Why::Steal;
            }
        }
        assert_eq!(counts.len(), 1, "{self:?}");
        json!({"takes": counts.first(), "steals": steals, "of": pool})
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        let (held, victims) = (self.held(), [self.owners(ours), self.owners(java)]);
        let victim = |of: usize| victims[of].first()?.as_ref().and_then(|name| held.get(name));
        let alike = ours["takes"] == java["takes"] && ours["steals"] == true && java["steals"] == true;
        let one_each = victims.iter().all(|victims| victims.len() == 1);
        (alike && one_each && victim(0) == victim(1)).then_some("of workers with as many leases another one")
    }
}

/// The same table, asked of a version that knows less.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct OldHistory(History);

impl Question for OldHistory {
    const CLASS: &'static str = "Taker";
    const FILE: &'static str = "taker/history-2.5.4.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        Self(History { priority: true, ..History::drawn(random) })
    }

    fn ours(&self) -> Value {
        self.0.ours()
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        let given_back =
            |(lease, age): &(Lease, Option<Duration>)| lease.owner.is_none() && age.is_some_and(|age| age <= F);
        let known = self.0.why(ours, java);
        known.or_else(|| self.0.seen().iter().any(given_back).then_some("a lease that was given back"))
    }
}

fn mostly_the_same(tally: &Tally) {
    assert!(tally["same"] * 10 > tally.values().sum::<usize>() * 7, "{tally:?}");
}

#[test]
fn drawn_tables_are_helped_from_as_java_does() {
    mostly_the_same(&recorded::<History>());
}

#[test]
fn drawn_tables_are_helped_from_as_2_5_4_does() {
    mostly_the_same(&recorded::<OldHistory>());
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_tables_beside_java() {
    asked_now::<History>("KCL_JAVA");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_tables_beside_java_2_5_4() {
    asked_now::<OldHistory>("KCL_JAVA_2");
}
