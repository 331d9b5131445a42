//! Listings and scans beside Java's `HierarchicalShardSyncer` and `PeriodicShardSyncManager`.

use std::sync::Arc;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::coordinator::ring::NotOnce;
use crate::coordinator::testing::drawn::{Entry, Key, Told, paused, stream};
use crate::coordinator::testing::java::{Question, asked_now, recorded};
use crate::coordinator::testing::{at, fleet, row, shard};
use crate::lease::memory::MemoryStore;
use crate::types::{Checkpoint, EpochMillis, InitialPosition, ShardId};

fn number(shard: &ShardId) -> u32 {
    shard.as_str()[8..].parse().unwrap()
}

fn told(table: &MemoryStore, stream: &Arc<Told>) -> Fleet {
    let mut fleet = fleet(table, "a");
    fleet.catalog = stream.clone();
    fleet
}

/// Java's sync, and its audit, fail whenever they meet a shard of a single hash key.
const ONE_KEY: &str = "a shard of one key";

/// Which leases a listing calls for.
#[derive(Debug, Deserialize, Serialize)]
struct Sync {
    kind: String,
    initial: String,
    ignore: bool,
    shards: Vec<Entry>,
    leases: Vec<u32>,
}

impl Sync {
    fn position(&self) -> InitialPosition {
        match self.initial.as_str() {
            "LATEST" => InitialPosition::Latest,
            "TRIM_HORIZON" => InitialPosition::TrimHorizon,
            _ => InitialPosition::AtTimestamp(EpochMillis(1_700_000_000_000)),
        }
    }

    /// The leases that are made, in their order.
    async fn make(&self, fleet: &Fleet, table: &MemoryStore) -> Result<Vec<Lease>, SyncError> {
        let have: Vec<Lease> = self.leases.iter().map(|id| Lease::new(shard(*id), Checkpoint::TrimHorizon)).collect();
        have.iter().for_each(|lease| table.put_lease(lease));
        let shards: Vec<_> = self.shards.iter().map(Entry::shard).collect();
        let (made, count) = if have.is_empty() {
            let created = FirstLeases::default().create(fleet, &have, true).await?;
            assert!(created);
            let made = first_leases(&shards, fleet.initial, self.ignore)?;
            let count = made.len();
            (made, count)
        } else {
            let count = create_missing(fleet, &have).await?;
            (missing_leases(&shards, &have, fleet.initial, self.ignore)?, count)
        };
        assert_eq!(made.len(), count);
        for lease in &made {
            assert_eq!(row(table, number(&lease.shard)), *lease, "what was decided was made");
        }
        Ok(made)
    }
}

fn filter_word(filter: ShardFilter) -> &'static str {
    match filter {
        ShardFilter::All => "ALL",
        ShardFilter::At(InitialPosition::Latest) => "AT_LATEST",
        ShardFilter::At(InitialPosition::TrimHorizon) => "AT_TRIM_HORIZON",
        ShardFilter::At(InitialPosition::AtTimestamp(_)) => "AT_TIMESTAMP",
    }
}

/// Listings that no stream gives, but a race of pages may, and any family tree.
fn disturb(random: &mut Rng, shards: &mut Vec<Entry>) {
    let one = random.usize(..shards.len());
    match random.u8(..8) {
        0 if shards.len() > 1 => drop(shards.remove(one)),
        1 => shards[one].5 = true,
        2 => shards[one].5 = false,
        3 => shards[one].2.0 = shards[one].2.0.saturating_sub(1),
        4 => shards[one].3.0 = if shards[one].3.0 == u128::MAX { 5_000 } else { shards[one].3.0.saturating_sub(1) },
        5 => shards.push(shards[one].clone()),
        6 => random.shuffle(shards),
        _ => {
            let older = random.u32(..9);
            shards[one].1 = (older..older + random.u32(1..3)).filter(|parent| *parent < shards[one].0).collect();
        }
    }
}

fn any_family(random: &mut Rng) -> Vec<Entry> {
    let entry = |random: &mut Rng, number: u32| {
        let mut parents: Vec<u32> = (0..random.u32(..3)).map(|_| random.u32(..number.max(1))).collect();
        parents.retain(|parent| *parent < number);
        parents.dedup();
        Entry::new(number, parents, (0, u128::MAX), random.u32(..12), random.u8(..3) == 0)
    };
    (0..random.u32(1..14)).map(|number| entry(random, number)).collect()
}

impl Question for Sync {
    const CLASS: &'static str = "Shards";
    const FILE: &'static str = "shards/sync.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let (lives, now) = stream(random);
        let then = random.u32(..=now);
        let empty = random.u8(..4) == 0;
        let mut shards: Vec<Entry> = if empty {
            lives.iter().filter(|life| life.was_open(then)).map(|life| life.entry(now)).collect()
        } else if random.u8(..4) == 0 {
            any_family(random)
        } else {
            let kept = random.u32(..=then); // what has been closed before is gone
            let kept = |life: &&_| (kept..=now).any(|at| crate::coordinator::testing::drawn::Life::was_open(life, at));
            lives.iter().filter(kept).map(|life| life.entry(now)).collect()
        };
        let mut leases: Vec<u32> = match random.u8(..4) {
            0 => shards.iter().map(|shard| shard.0).filter(|_| random.bool()).collect(),
            1 => lives.iter().filter(|life| life.was_open(then)).map(|life| life.number).collect(),
            2 => lives.iter().map(|life| life.number).filter(|_| random.u8(..8) > 0).collect(),
            _ => {
                let mut known: Vec<u32> = lives.iter().filter(|l| l.was_open(then)).map(|life| life.number).collect();
                known.retain(|_| random.u8(..3) > 0);
                known
            }
        };
        if empty {
            leases.clear();
        } else if leases.is_empty() {
            leases.push(random.u32(..30));
        }
        if random.u8(..3) == 0 {
            disturb(random, &mut shards);
        }
        if !empty && random.u8(..100) == 0 {
            shards.clear();
        }
        let initial = ["LATEST", "TRIM_HORIZON", "AT_TIMESTAMP"][random.usize(..3)].to_owned();
        Self { kind: "sync".to_owned(), initial, ignore: random.u8(..3) == 0, shards, leases }
    }

    fn ours(&self) -> Value {
        let (table, stream) = (MemoryStore::new(), Arc::new(Told::new(&self.shards)));
        let mut fleet = told(&table, &stream);
        fleet.initial = self.position();
        fleet.config.ignore_unexpected_child_shards = self.ignore;
        let made = paused(self.make(&fleet, &table));
        let listed = filter_word(stream.asked()[0]);
        let word = |lease: &Lease| {
            let parents: String = lease.parents.iter().map(|parent| format!(" {}", number(parent))).collect();
            format!("{} {}{parents}", number(&lease.shard), lease.checkpoint.sequence_text())
        };
        let refused = match made {
            Ok(made) => return json!({"listed": listed, "made": made.iter().map(word).collect::<Vec<_>>()}),
            Err(SyncError::Shards(Inconsistent::Ring(NotOnce::Never(_) | NotOnce::Twice(_)))) => "hole",
            Err(SyncError::Shards(Inconsistent::ChildOfOpenParent { .. })) => "open child",
            Err(SyncError::Shards(Inconsistent::Twice { .. })) => "twice",
            Err(error @ (SyncError::Table(_) | SyncError::Stream(_))) => panic!("{error}"),
        };
        json!({"listed": listed, "refused": refused})
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        (java["refused"] == "one key" && ours["listed"] == java["listed"]).then_some(ONE_KEY)
    }
}

/// A row as a scan shows it: number, first and last hash key if known, whether it is finished.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Scanned(u32, Option<Key>, Option<Key>, bool);

/// When a hole counts.
#[derive(Debug, Deserialize, Serialize)]
struct Scans {
    kind: String,
    looks: Vec<Vec<Scanned>>,
    shards: Vec<Entry>,
}

impl Question for Scans {
    const CLASS: &'static str = "Shards";
    const FILE: &'static str = "shards/audit.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let (lives, now) = stream(random);
        let mut then = random.u32(..=now);
        let mut shards: Vec<Entry> = lives.iter().map(|life| life.entry(now)).collect();
        let scan = |then: u32| -> Vec<Scanned> {
            let known = lives.iter().filter(|life| (0..=then).any(|at| life.was_open(at)));
            let row = |entry: Entry, open: bool| {
                let range = storable(entry.range()); // Java reads no other
                Scanned(entry.0, range.map(|range| Key(range.start)), range.map(|range| Key(range.end)), !open)
            };
            known.map(|life| row(life.entry(now), life.was_open(then))).collect()
        };
        let mut rows = scan(then);
        let mut looks = Vec::new();
        for _ in 0..random.usize(2..9) {
            match random.u8(..8) {
                0 | 1 => rows.retain(|row| row.3 || random.u8(..4) > 0),
                2 => {
                    then = (then + 1).min(now);
                    rows = scan(then);
                }
                3 => rows.iter_mut().filter(|_| random.u8(..4) == 0).for_each(|row| (row.1, row.2) = (None, None)),
                4 => rows.iter_mut().filter(|_| random.u8(..6) == 0).for_each(|row| row.3 = !row.3),
                5 => random.shuffle(&mut rows),
                _ => {}
            }
            if !rows.is_empty() {
                looks.push(rows.clone());
            }
        }
        shards.retain(|_| random.u8(..6) > 0);
        Self { kind: "audit".to_owned(), looks, shards }
    }

    fn ours(&self) -> Value {
        let (table, stream) = (MemoryStore::new(), Arc::new(Told::new(&self.shards)));
        let fleet = told(&table, &stream);
        let (mut audit, mut filled, mut syncs) = (Audit::default(), Vec::new(), Vec::new());
        for look in &self.looks {
            let lease = |Scanned(id, first, last, finished): &Scanned| {
                let mut lease = Lease::new(shard(*id), if *finished { Checkpoint::ShardEnd } else { at(5) });
                lease.hash_range = first.zip(*last).map(|(first, last)| HashKeyRange { start: first.0, end: last.0 });
                lease
            };
            let leases: Vec<Lease> = look.iter().map(lease).collect();
            leases.iter().for_each(|lease| table.put_lease(lease));
            syncs.push(audit.must_repair(paused(unfinished_ranges(&fleet, &leases)).unwrap()));
            let is_filled = |lease: &&Lease| row(&table, number(&lease.shard)).hash_range != lease.hash_range;
            filled.extend(leases.iter().filter(is_filled).map(|lease| number(&lease.shard)));
        }
        json!({"filled": filled, "syncs": syncs})
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        let listed = |id: u32| self.shards.iter().find(|shard| shard.0 == id).map(|shard| (shard.2, shard.3));
        let ends_within = |look: &Vec<Scanned>| {
            let range = |row: &Scanned| row.1.zip(row.2).or_else(|| listed(row.0));
            let ranges = || look.iter().filter(|row| !row.3).filter_map(range);
            ranges().max().is_some_and(|last| last.1.0 < u128::MAX) && ranges().any(|range| range.1.0 == u128::MAX)
        };
        if java["syncs"].as_array().unwrap().iter().any(Value::is_string) {
            return self.shards.iter().any(|shard| shard.2 == shard.3).then_some(ONE_KEY);
        }
        let overlaps = self.looks.iter().any(ends_within) && ours["filled"] == java["filled"];
        overlaps.then_some("a range within the last one")
    }
}

#[test]
fn leases_for_drawn_listings_are_those_that_java_makes() {
    let tally = recorded::<Sync>();
    assert!(tally["same"] * 20 > tally.values().sum::<usize>() * 19, "{tally:?}");
}

#[test]
fn holes_in_drawn_scans_count_when_they_do_in_java() {
    let tally = recorded::<Scans>();
    assert!(tally["same"] * 20 > tally.values().sum::<usize>() * 19, "{tally:?}");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_listings_beside_java() {
    asked_now::<Sync>("KCL_JAVA");
    asked_now::<Scans>("KCL_JAVA");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_listings_beside_java_2_5_4() {
    asked_now::<Sync>("KCL_JAVA_2");
    asked_now::<Scans>("KCL_JAVA_2");
}
