//! Finished leases beside Java's `LeaseCleanupManager`.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::coordinator::testing::drawn::{Entry, Told, paused};
use crate::coordinator::testing::java::{Question, asked_now, recorded};
use crate::coordinator::testing::{fleet, shard, worker};
use crate::lease::memory::MemoryStore;

/// The shard whose lease it is about.
const OWN: u32 = 50;

/// Whether a finished lease goes.
#[derive(Debug, Deserialize, Serialize)]
struct Finished {
    kind: String,
    /// Whether its row is there.
    row: bool,
    /// The children noted in it.
    children: Vec<u32>,
    parents: Vec<u32>,
    /// Other rows: number and checkpoint.
    rows: Vec<(u32, String)>,
    /// The children that the service names; nothing if it does not have the shard.
    service: Option<Vec<u32>>,
    garbage: bool,
}

impl Finished {
    fn listing(&self) -> Vec<Entry> {
        let Some(children) = &self.service else { return vec![Entry::new(7, vec![], (0, u128::MAX), 1, true)] };
        let own = Entry::new(OWN, self.parents.clone(), (0, u128::MAX), 1, children.is_empty());
        let child = |number: &u32| Entry::new(*number, vec![OWN], (0, u128::MAX), 2, true);
        std::iter::once(own).chain(children.iter().map(child)).collect()
    }
}

impl Question for Finished {
    const CLASS: &'static str = "Shards";
    const FILE: &'static str = "shards/cleanup.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let born = [vec![51], vec![51, 52]][random.usize(..2)].clone();
        let parents = [vec![], vec![40], vec![40, 41]][random.usize(..3)].clone();
        let at = ["TRIM_HORIZON", "AT_TIMESTAMP", "LATEST", "7", "SHARD_END"];
        let rows = [40, 41, 51, 52].into_iter().filter(|number| random.u8(..10) < if *number < OWN { 3 } else { 9 });
        let rows: Vec<u32> = rows.collect();
        let place = |random: &mut Rng| if random.bool() { "7" } else { at[random.usize(..at.len())] };
        let known = random.u8(..3) > 0;
        let service = match random.u8(..8) {
            0 | 1 => None,
            2 if !known => Some(vec![]),
            _ => Some(born.clone()),
        };
        Self {
            kind: "cleanup".to_owned(),
            row: random.u8(..12) > 0,
            children: if known { born } else { vec![] },
            parents,
            rows: rows.into_iter().map(|number| (number, place(random).to_owned())).collect(),
            service,
            garbage: random.bool(),
        }
    }

    fn ours(&self) -> Value {
        let table = MemoryStore::new();
        for (number, checkpoint) in &self.rows {
            table.put_lease(&Lease::new(shard(*number), Checkpoint::parse(checkpoint, 0).unwrap()));
        }
        if self.row {
            let mut own = Lease::new(shard(OWN), Checkpoint::ShardEnd);
            own.owner = Some(worker("a"));
            own.parents = self.parents.iter().map(|number| shard(*number)).collect();
            own.children = self.children.iter().map(|number| shard(*number)).collect();
            table.put_lease(&own);
        }
        let mut fleet = fleet(&table, "a");
        fleet.catalog = Arc::new(Told::new(&self.listing()));
        paused(async {
            let (assignments, _kept) = mpsc::channel(1);
            let holdings = Holdings::new(fleet.clone(), assignments, CancellationToken::new());
            let cleanup = Cleanup::new(fleet, Arc::new(holdings));
            cleanup.look_at(&shard(OWN), self.garbage, &Listing::default()).await.unwrap();
        });
        let left = table.snapshot().leases.into_iter().find(|lease| lease.shard == shard(OWN));
        let noted: Vec<u32> = match &left {
            Some(left) if self.children.is_empty() => {
                left.children.iter().map(|child| child.as_str()[8..].parse().unwrap()).collect()
            }
            Some(_) => vec![],
            None if self.row && self.children.is_empty() => self.service.clone().unwrap_or_default(),
            None => vec![],
        };
        json!({"deleted": self.row && left.is_none(), "noted": noted, "kept": left.is_some()})
    }

    fn why(&self, _: &Value, _: &Value) -> Option<&'static str> {
        None
    }
}

#[test]
fn finished_leases_go_when_they_do_in_java() {
    let tally = recorded::<Finished>();
    assert_eq!(tally.keys().copied().collect::<Vec<_>>(), ["same"]);
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_finished_leases_beside_java() {
    asked_now::<Finished>("KCL_JAVA");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_finished_leases_beside_java_2_5_4() {
    asked_now::<Finished>("KCL_JAVA_2");
}
