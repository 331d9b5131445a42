//! The end of a shard beside Java's `ShutdownTask`.

mod said;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::said::{Said, told};
use super::*;
use crate::consumer::testing::{Ground, Nursery, Say};
use crate::coordinator::testing::drawn::paused;
use crate::coordinator::testing::java::{Question, asked_now, recorded};
use crate::coordinator::testing::{beside, shard, worker};
use crate::lease::LeaseStore;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::types::{EpochMillis, HashKeyRange, LeaseCounter, ShardId};

/// The shard that ends.
const OWN: u32 = 50;
/// When what comes later is there: behind the first attempt, before the second.
const LATER: Duration = Duration::from_millis(100);
/// Longer than a lease that is lost can go unnoticed.
const LIMIT: Duration = Duration::from_secs(60);

/// Number, checkpoint, owner, parents, children.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Row(u32, String, Option<String>, Vec<u32>, Vec<u32>);

/// A child shard of the last answer: number, parents, whether its range is a single hash key.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Born(u32, Vec<u32>, bool);

/// A shard of worker `a` that has been read to its end.
#[derive(Debug, Deserialize, Serialize)]
struct Ending {
    answer: Vec<Born>,
    /// What became of the lease since it was read.
    own: String,
    /// The checkpoint in it, and the children noted in it.
    at: String,
    noted: Vec<u32>,
    pending: bool,
    /// Other rows, and those that are there when it is tried again.
    rows: Vec<Row>,
    later: Vec<Row>,
    /// Where the child checkpoints: `all` without a number, `none` not at all.
    child: String,
    /// The last record that the child was given, if any.
    last: Option<String>,
    /// Whether Java's die says to give the lease up when it must wait.
    die: bool,
}

fn numbered(numbers: &[u32]) -> BTreeSet<ShardId> {
    numbers.iter().map(|number| shard(*number)).collect()
}

fn checkpoint(text: &str) -> Checkpoint {
    Checkpoint::parse(text, 0).unwrap()
}

impl Row {
    fn lease(&self) -> Lease {
        let mut lease = Lease::new(shard(self.0), checkpoint(&self.1));
        lease.owner = self.2.as_deref().map(worker);
        lease.counter = LeaseCounter(5);
        (lease.parents, lease.children) = (numbered(&self.3), numbered(&self.4));
        lease
    }
}

impl Born {
    fn shard(&self) -> ChildShard {
        let start = u128::from(self.0) * 10;
        let hash_range = HashKeyRange { start, end: start + if self.2 { 0 } else { 10 } };
        ChildShard { id: shard(self.0), parents: self.1.iter().map(|parent| shard(*parent)).collect(), hash_range }
    }
}

fn rows(table: &MemoryStore) -> Vec<String> {
    table.snapshot().leases.iter().map(told).collect()
}

/// What happens, in its order.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<String>>>);

impl Steps {
    fn add(&self, step: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    /// Writes down what changes in the table, for ever.
    async fn watch(&self, table: &MemoryStore) {
        let (mut writes, mut before) = (table.writes(), rows(table));
        loop {
            writes.changed().await.unwrap();
            let now = rows(table);
            for row in now.iter().filter(|row| !before.contains(row)) {
                let is_new = !before.iter().any(|old| old.split(' ').next() == row.split(' ').next());
                self.add(format!("{} {row}", if is_new { "creates" } else { "makes" }));
            }
            before = now;
        }
    }
}

impl Ending {
    /// The lease as it was when it was read.
    fn lease(&self) -> Lease {
        let mut lease = Row(OWN, self.at.clone(), Some("a".to_owned()), vec![], self.noted.clone()).lease();
        lease.latest_since = self.pending.then_some(EpochMillis(17));
        lease
    }

    /// Whether it is a merge, and of one of the two parents only there is a lease.
    fn lacks_a_parent(&self) -> bool {
        let leased = |number: &u32| match *number {
            OWN => self.own != "gone",
            other => self.rows.iter().any(|row| row.0 == other),
        };
        match self.answer.as_slice() {
            [Born(_, parents, _)] => parents.len() == 2 && leased(&parents[0]) != leased(&parents[1]),
            _ => false,
        }
    }

    /// Lets happen to the row what has happened since.
    async fn disturb(&self, ground: &mut Ground) {
        let mut lease = self.lease();
        match self.own.as_str() {
            "late" => lease.counter = LeaseCounter(6),
            "taken" => (lease.counter, lease.owner) = (LeaseCounter(6), Some(worker("b"))),
            "wanted" => (lease.owner, lease.checkpoint_owner) = (Some(worker("b")), Some(worker("a"))),
            "finished" => (lease.checkpoint, lease.latest_since) = (Checkpoint::ShardEnd, None),
            "gone" => {
                return ground.table.delete(&lease.shard).await.unwrap();
            }
            "dropped" => ground.keepers.shutdown().await,
            _ => {}
        }
        ground.table.put_lease(&lease);
    }

    fn nursery(&self, steps: &Steps) -> Arc<Nursery> {
        let (steps, does) = (steps.clone(), self.child.clone());
        Nursery::new(move |_, action| {
            steps.add(action.to_owned());
            match (action, does.as_str()) {
                ("shardEnded", "all") => vec![Say::Checkpoint(None), Say::Answer],
                ("shardEnded", number) if number != "none" => {
                    vec![Say::Checkpoint(Some(number.parse().unwrap())), Say::Answer]
                }
                _ => vec![Say::Answer],
            }
        })
    }

    async fn end(&self) -> Value {
        let (mut ground, steps) = (Ground::new(), Steps::default());
        let held = ground.hold(&self.lease());
        let nursery = self.nursery(&steps);
        let shared = ground.shared(nursery.clone());
        self.rows.iter().for_each(|row| ground.table.put_lease(&row.lease()));
        self.disturb(&mut ground).await;
        for operation in [Operation::Create, Operation::NoteChildren, Operation::Checkpoint, Operation::Evict] {
            let seen = Fault::Slow { before: Duration::ZERO, after: Duration::from_millis(1) };
            ground.table.faults().next(operation, 100, seen); // so that each write is seen by itself
        }
        let mut hunt = Hunt::default();
        let assignment = Assignment { lease: self.lease(), held: held.clone() };
        let mut task = ShardTask::new(shared, assignment, &mut hunt, Since::default());
        let mut talk = Conversation::new(nursery.child(), held, checkpoint(&self.at), None);
        if let Some(Checkpoint::At(place)) = self.last.as_deref().map(checkpoint) {
            talk.checkpointer().delivered(place);
        }
        task.talk = Some(talk);
        let born: Vec<ChildShard> = self.answer.iter().map(Born::shard).collect();
        let (stop, table) = (CancellationToken::new(), ground.table.clone());
        let later = async {
            sleep(LATER).await;
            for row in &self.later {
                beside(&table).create(&row.lease()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let then = tokio::select! {
            biased;
            () = steps.watch(&table) => "",
            () = later => "",
            outcome = timeout(LIMIT, task.end(&born, &stop)) => match outcome {
                Ok(Outcome::Finished) => "ended",
                Ok(Outcome::EndNotCheckpointed) => "forgot",
                Ok(Outcome::LeaseGone) => "left",
                Ok(Outcome::Failed(failure)) => panic!("{failure}"),
                Err(_) => "waits",
            },
        };
        let mut steps = steps.0.lock().unwrap().clone();
        let later: Vec<String> = self.later.iter().map(|row| told(&row.lease())).collect();
        steps.retain(|step| !later.iter().any(|row| step.ends_with(row))); // not ours
        for answer in nursery.heard(0) {
            if let Some(name) = answer.strip_prefix("checkpoint ").filter(|name| *name != "stored") {
                let told = steps.iter().position(|step| step == "shardEnded").unwrap();
                steps.insert(told + 1, format!("refused {name}"));
            }
        }
        let watched = |row: &String| {
            let number: u32 = row.split(' ').next().unwrap().parse().unwrap();
            number == OWN || self.answer.iter().any(|born| born.0 == number)
        };
        let rows: Vec<String> = rows(&table).into_iter().filter(watched).collect();
        json!({"steps": steps, "then": then, "rows": rows})
    }
}

/// What an answer of the service names: nothing, a split, a merge, or what no stream gives.
fn answer(random: &mut Rng) -> Vec<Born> {
    let mut born = match random.u8(..20) {
        0 | 1 => vec![],
        2..=9 => vec![(60, vec![OWN]), (61, vec![OWN])],
        10..=15 => vec![(60, if random.bool() { vec![49, OWN] } else { vec![OWN, 51] })],
        16 => vec![(60, vec![[49, OWN][random.usize(..2)]])],
        _ => {
            let any = |random: &mut Rng| {
                let mut parents = vec![48, 49, OWN, 51];
                random.shuffle(&mut parents);
                parents.truncate(random.usize(..4));
                (60 + random.u32(..3), parents)
            };
            (0..random.usize(1..4)).map(|_| any(random)).collect()
        }
    };
    if random.u8(..8) == 0 {
        born.reverse();
    }
    born.into_iter().map(|(number, parents)| Born(number, parents, random.u8(..25) == 0)).collect()
}

impl Question for Ending {
    const CLASS: &'static str = "End";
    const FILE: &'static str = "shards/end.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let answer = answer(random);
        let (mut rows, mut later) = (Vec::new(), Vec::new());
        let ats = ["TRIM_HORIZON", "LATEST", "5", "SHARD_END"];
        let row = |random: &mut Rng, number: u32| {
            let owner = [None, Some("a"), Some("b")][random.usize(..3)].map(str::to_owned);
            let (parents, children) = if number < 60 { (vec![], vec![60]) } else { (vec![49, OWN], vec![]) };
            let keep = |random: &mut Rng, shards: Vec<u32>| if random.bool() { shards } else { vec![] };
            let (parents, children) = (keep(random, parents), keep(random, children));
            Row(number, ats[random.usize(..ats.len())].to_owned(), owner, parents, children)
        };
        for number in [48, 49, 51, 60, 61, 62] {
            match random.u8(..9) {
                0..=4 if number < 60 => rows.push(row(random, number)),
                0 | 1 => rows.push(row(random, number)),
                5 => later.push(row(random, number)),
                _ => {}
            }
        }
        let mut noted = [vec![60], vec![60, 61], vec![70]].get(random.usize(..20)).cloned().unwrap_or_default();
        if random.u8(..6) == 0 {
            // what a worker of either kind leaves when it dies between two writes
            let made = random.usize(..=answer.len());
            rows.retain(|row: &Row| row.0 < 60);
            for Born(number, parents, _) in &answer[..made] {
                rows.retain(|row| row.0 != *number);
                rows.push(Row(*number, "TRIM_HORIZON".to_owned(), None, parents.clone(), vec![]));
            }
            let all = made == answer.len() && random.bool();
            noted = answer.iter().filter(|_| all).map(|born| born.0).collect();
        }
        let own = ["late", "taken", "wanted", "finished", "gone", "dropped"];
        let own = if random.u8(..10) < 7 { "same" } else { own[random.usize(..own.len())] };
        let at = ["TRIM_HORIZON", "LATEST", "5", "9"][random.usize(..4)].to_owned();
        Self {
            answer,
            own: own.to_owned(),
            pending: at == "LATEST" && random.bool(),
            noted,
            rows,
            later,
            child: ["all", "all", "all", "9", "9", "7", "1", "none"][random.usize(..8)].to_owned(),
            last: (random.u8(..4) > 0).then(|| "9".to_owned()),
            at,
            die: random.u8(..10) == 0,
        }
    }

    fn ours(&self) -> Value {
        paused(self.end())
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        let (mine, javas) = (Said::of(ours), Said::of(java));
        if self.answer.iter().any(|born| born.1.is_empty()) {
            return mine.creates().is_empty().then_some("a child without parents");
        }
        if self.lacks_a_parent() && javas.creates().is_empty() {
            let leased = self.rows.iter().chain(&self.later).any(|row| row.0 == self.answer[0].0);
            let by_lot = self.die && javas.steps == ["leaseLost"];
            match javas.then.as_str() {
                _ if by_lot => return Some("given up by lot"),
                "waits" | "left" if leased && mine.steps != javas.steps => {
                    return mine.creates().is_empty().then_some("the child has a lease");
                }
                "waits" if self.own == "wanted" && mine.then == "left" => return Some("wanted while it waits"),
                _ => {}
            }
        }
        if mine.without_giving_back(&self.later) == javas.without_giving_back(&self.later) {
            return Some("given back");
        }
        if !self.noted.is_empty() && mine.without_children(&self.at) == javas.without_children(&self.at) {
            return Some("children noted before");
        }
        let refused = javas.steps.iter().any(|step| step == "refused ShutdownException");
        let untold = !javas.steps.iter().any(|step| step == "shardEnded");
        let narrow = |born: &Born| born.2 && !self.rows.iter().any(|row| row.0 == born.0);
        match self.own.as_str() {
            _ if self.answer.iter().any(narrow) && javas.creates().len() < mine.creates().len() => {
                javas.creates().iter().all(|made| mine.steps.contains(made)).then_some("a shard of one key")
            }
            "late" => refused.then_some("a late write of ours"),
            "finished" => (untold && javas.then == "ended").then_some("the row is not read again"),
            "gone" => (untold && self.answer.is_empty()).then_some("the row is not read again"),
            _ => None,
        }
    }
}

#[test]
fn a_shard_ends_as_it_does_in_java_or_by_a_named_rule() {
    let tally = recorded::<Ending>();
    assert!(tally["same"] * 2 > tally.values().sum::<usize>() && tally.len() == 10, "{tally:?}");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_ends_beside_java() {
    asked_now::<Ending>("KCL_JAVA");
}
