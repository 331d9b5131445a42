//! What must hold at every moment of every schedule, and the course of events for those who must find out why not.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use multilangd::lease::Lease;
use multilangd::lease::memory::MemoryStore;
use multilangd::types::{Checkpoint, LeaseCounter, ShardId, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::world::{F, Voice};

/// One child from its start to its end.
#[derive(Debug)]
struct Life {
    worker: WorkerId,
    shard: ShardId,
    /// The shard's checkpoint when it began, or when its worker owned the lease last.
    from: Checkpoint,
    last: Option<u64>,
    messages: Vec<String>,
    busy: bool,
    over: bool,
}

#[derive(Default)]
struct State {
    /// Every record put, and whether some child was given it.
    put: BTreeMap<ShardId, BTreeMap<u64, bool>>,
    lives: Vec<Life>,
    furthest: BTreeMap<ShardId, Checkpoint>,
    /// Each lease's counter, and when it was first seen so.
    counters: BTreeMap<ShardId, (LeaseCounter, Instant)>,
    /// Leases may be taken from workers that keep them, as is the way of 2.x.
    are_leases_stolen: bool,
    gone: BTreeSet<ShardId>,
    /// The leases as they were after so many writes to the table.
    rows: (u64, Arc<[Lease]>),
    /// Who wrote what to the table, and when.
    writes: DefaultHasher,
    told: Vec<String>,
    broken: Option<String>,
    /// Records that some child was given though another one had been given them.
    repeated: usize,
}

/// When a shard counts as served by a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It was told to initialize; how long it takes for that is its own affair.
    Told,
    /// It has done so.
    Answered,
}

/// Sees everything, past all faults.
pub(crate) struct Laws {
    table: MemoryStore,
    writes: watch::Receiver<u64>,
    began: Instant,
    voice: Voice,
    state: Mutex<State>,
}

pub(crate) fn number_of(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::At(place) => place.sequence.as_str().parse().unwrap(),
        Checkpoint::ShardEnd => u64::MAX,
        Checkpoint::AtTimestamp | Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::StartWithSub(..) => 0,
    }
}

impl State {
    fn must(&mut self, holds: bool, law: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(law());
        }
    }
}

impl Laws {
    pub(crate) fn new(table: MemoryStore, voice: Voice) -> Self {
        Self { writes: table.writes(), table, began: Instant::now(), voice, state: Mutex::default() }
    }

    /// Looks at the table after each write.
    pub(crate) async fn watch(&self) {
        let mut writes = self.writes.clone();
        while writes.changed().await.is_ok() {
            self.look();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn say(&self, state: &mut State, what: String) {
        let line = format!("{:9.3} {what}", self.began.elapsed().as_secs_f64());
        if self.voice == Voice::Loud {
            println!("{line}");
        }
        state.told.push(line);
    }

    /// Notes what the schedule does.
    pub(crate) fn note(&self, what: String) {
        let mut state = self.state();
        self.say(&mut state, format!("== {what}"));
    }

    /// From now on the fleet works as 2.x, or may do so.
    pub(crate) fn expect_steals(&self) {
        self.state().are_leases_stolen = true;
    }

    pub(crate) fn break_law(&self, law: String) {
        self.state().must(false, || law);
    }

    pub(crate) fn broken(&self) -> Option<String> {
        self.state().broken.clone()
    }

    pub(crate) fn told(&self, life: usize, action: &str, numbers: &[u64]) {
        let rows = self.leases();
        let mut state = self.state();
        let what = match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) => format!("{action} {first}..={last} ({})", numbers.len()),
            _ => action.to_owned(),
        };
        let line = self.name(&state, life, &what);
        self.say(&mut state, line.clone());
        let order_holds = match state.lives[life].messages.last().map(String::as_str) {
            None => action == "initialize",
            Some("initialize" | "processRecords") => action != "initialize",
            Some("shutdownRequested") => action == "leaseLost",
            Some(_) => false,
        };
        let before = state.lives[life].messages.clone();
        state.must(order_holds, || format!("messages have an order: {line} after {:?}", before.last()));
        state.lives[life].messages.push(action.to_owned());
        state.lives[life].busy = true;
        let (shard, worker) = (state.lives[life].shard.clone(), state.lives[life].worker.clone());
        let row = rows.iter().find(|lease| lease.shard == shard);
        if action == "initialize" {
            let open = row.iter().flat_map(|lease| &lease.parents);
            let open = open.filter_map(|parent| rows.iter().find(|lease| lease.shard == *parent));
            let open: Vec<_> = open.filter(|parent| !parent.is_finished()).map(|parent| parent.shard.clone()).collect();
            state.must(open.is_empty(), || format!("children come after parents: {line}, but {open:?} is unfinished"));
        }
        if action != "processRecords" {
            return;
        }
        let owner = row.and_then(Lease::actual_owner);
        // Whoever was robbed learns of it with the next renewal, and holds nothing that is older than F.
        let owned = self.table.last_owned(&shard, &worker).is_some_and(|(last, _)| last.elapsed() < F);
        let is_owner = owner == Some(&worker) || (owned && state.are_leases_stolen);
        state.must(is_owner, || format!("only the owner delivers: {line}, but the lease is {owner:?}'s"));
        // Whoever watches the table closely may take a lease that has stood still for so long.
        let age = state.counters.get(&shard).map_or(Duration::ZERO, |(_, since)| since.elapsed());
        state.must(age < F, || format!("a lease has an age at which nothing is delivered: {line}, it is {age:?}"));
        let twin = state.lives.iter().enumerate().find(|(other, twin)| {
            *other != life && twin.shard == shard && twin.worker == worker && twin.busy && !twin.over
        });
        let twin = twin.map(|(twin, _)| twin);
        state.must(twin.is_none(), || format!("one child of a shard in a worker: {line}, but {twin:?} is at work"));
        for number in numbers {
            let last = state.lives[life].last.unwrap_or(number_of(&state.lives[life].from));
            state.must(*number > last, || format!("order, and nothing that is done: {line}, {number} after {last}"));
            let between = |put: &BTreeMap<u64, bool>| put.keys().find(|n| **n > last && **n < *number).copied();
            let left_out = state.put.get(&shard).and_then(between);
            state.must(left_out.is_none(), || format!("nothing is left out: {line}, but not {left_out:?}"));
            state.lives[life].last = Some(*number);
            let known =
                state.put.get_mut(&shard).and_then(|put| put.get_mut(number)).map(|seen| std::mem::replace(seen, true));
            state.repeated += usize::from(known == Some(true));
            state.must(known.is_some(), || format!("only what was put is delivered: {line}"));
        }
        drop(state);
        self.look();
    }

    pub(crate) fn put(&self, shard: &ShardId, number: u64) {
        self.state().put.entry(shard.clone()).or_default().insert(number, false);
    }

    fn name(&self, state: &State, life: usize, what: &str) -> String {
        let Life { worker, shard, .. } = &state.lives[life];
        format!("{worker} {} #{life} {what}", &shard.as_str()[18..])
    }

    fn leases(&self) -> Arc<[Lease]> {
        self.look();
        self.state().rows.1.clone()
    }

    /// How many children there have been.
    pub(crate) fn lives(&self) -> usize {
        self.state().lives.len()
    }

    /// A child begins; also tells how many children its shard has had.
    pub(crate) fn born(&self, worker: &WorkerId, shard: &ShardId) -> (usize, usize) {
        // A worker that has lost the lease and cannot know yet begins where it knows; nobody has stored anything in
        // its name since. One that never had it is given nothing.
        let owned = self.table.last_owned(shard, worker);
        let from = owned.map_or(Checkpoint::TrimHorizon, |(_, lease)| lease.checkpoint);
        let mut state = self.state();
        let earlier = state.lives.iter().filter(|life| life.shard == *shard).count();
        let life = Life {
            worker: worker.clone(),
            shard: shard.clone(),
            from,
            last: None,
            messages: Vec::new(),
            busy: false,
            over: false,
        };
        state.lives.push(life);
        let life = state.lives.len() - 1;
        let line = self.name(&state, life, "is born");
        self.say(&mut state, line);
        (life, earlier)
    }

    pub(crate) fn answered(&self, life: usize, action: &str) {
        let mut state = self.state();
        state.lives[life].busy = false;
        let line = self.name(&state, life, &format!("has done {action}"));
        self.say(&mut state, line);
    }

    pub(crate) fn replied(&self, life: usize, number: Option<&str>, error: Option<&str>) {
        let mut state = self.state();
        let (number, error) = (number.unwrap_or("the last"), error.unwrap_or("stored"));
        let line = self.name(&state, life, &format!("checkpoint at {number}: {error}"));
        self.say(&mut state, line);
        drop(state);
        self.look();
    }

    pub(crate) fn closed(&self, life: usize) {
        let mut state = self.state();
        state.lives[life].over = true;
        let line = self.name(&state, life, "is closed");
        self.say(&mut state, line);
    }

    pub(crate) fn died(&self, life: usize) {
        self.state().lives[life].over = true;
    }

    /// Compares the table with what it was, if it was written to since.
    pub(crate) fn look(&self) {
        let (mut state, writes) = (self.state(), *self.writes.borrow());
        if state.rows.0 == writes {
            return;
        }
        let rows: Arc<[Lease]> = self.table.snapshot().leases.into();
        state.rows = (writes, rows.clone());
        (writes, self.began.elapsed()).hash(&mut state.writes);
        for lease in rows.iter() {
            (&lease.shard, lease.counter, &lease.owner, &lease.checkpoint_owner).hash(&mut state.writes);
            let known = state.counters.get(&lease.shard).is_some_and(|(counter, _)| *counter == lease.counter);
            if !known {
                state.counters.insert(lease.shard.clone(), (lease.counter, Instant::now()));
            }
            let before = state.furthest.get(&lease.shard).cloned().unwrap_or(Checkpoint::AtTimestamp);
            let (shard, now) = (&lease.shard, &lease.checkpoint);
            state.must(*now >= before, || format!("checkpoints never go back: {shard} from {before} to {now}"));
            if *now != before {
                let (shard, now) = (shard.clone(), now.clone());
                self.say(&mut state, format!("   {} stands at {now}", &shard.as_str()[18..]));
                state.furthest.insert(shard, now);
            }
        }
        for lease in rows.iter().filter(|lease| lease.is_finished()) {
            let mut children = lease.children.iter();
            let all = !lease.children.is_empty() && children.all(|child| state.furthest.contains_key(child));
            state.must(all, || format!("what follows has leases before a shard is finished: {}", lease.shard));
        }
        let kept: BTreeSet<&ShardId> = rows.iter().map(|lease| &lease.shard).collect();
        let gone: Vec<_> = state.furthest.keys().filter(|shard| !kept.contains(shard)).cloned().collect();
        for shard in gone {
            let done = state.furthest[&shard] == Checkpoint::ShardEnd;
            state.must(done, || format!("only finished leases are deleted: {shard}"));
            state.gone.insert(shard);
        }
    }

    /// Nothing of a worker that has left in good order is left.
    pub(crate) fn has_left(&self, worker: &WorkerId, locked: &[Option<WorkerId>]) {
        let rows = self.table.snapshot();
        let mut state = self.state();
        self.say(&mut state, format!("== {worker} has left"));
        let owned: Vec<_> = rows.leases.iter().filter(|lease| lease.actual_owner() == Some(worker)).collect();
        state.must(owned.is_empty(), || format!("a graceful stop leaves no lease: {worker} {owned:?}"));
        let row = rows.workers.iter().any(|row| row.worker == *worker);
        state.must(!row, || format!("a graceful stop leaves no load row: {worker}"));
        let locked = locked.iter().flatten().any(|owner| owner == worker);
        state.must(!locked, || format!("a graceful stop leaves no lock: {worker}"));
        let alive = state.lives.iter().any(|life| life.worker == *worker && !life.over);
        state.must(!alive, || format!("a graceful stop leaves no child: {worker}"));
    }

    /// A shard that could be read and that no child of `alive` reads; `None` if there is none.
    pub(crate) fn unserved(&self, alive: &BTreeSet<WorkerId>) -> Option<ShardId> {
        if self.leases().is_empty() {
            return Some(ShardId::new("the table"));
        }
        self.all_unserved(alive, Begun::Answered).into_iter().next()
    }

    /// All such shards.
    pub(crate) fn all_unserved(&self, alive: &BTreeSet<WorkerId>, begun: Begun) -> Vec<ShardId> {
        let rows = self.leases();
        let unfinished: BTreeSet<&ShardId> = rows.iter().filter(|row| !row.is_finished()).map(|r| &r.shard).collect();
        let ready = rows.iter().filter(|lease| {
            unfinished.contains(&lease.shard) && !lease.parents.iter().any(|parent| unfinished.contains(parent))
        });
        let state = self.state();
        let serves = |lease: &Lease, life: &Life| {
            let answered = life.messages.len() > 1 || (life.messages.len() == 1 && !life.busy);
            let begun = answered || (begun == Begun::Told && life.messages.len() == 1);
            let leaving = matches!(life.messages.last().map(String::as_str), Some("leaseLost" | "shutdownRequested"));
            life.shard == lease.shard && !life.over && begun && !leaving && alive.contains(&life.worker)
        };
        let unserved = ready.filter(|lease| !state.lives.iter().any(|life| serves(lease, life)));
        unserved.map(|lease| lease.shard.clone()).collect()
    }

    /// A record that nobody was given yet.
    pub(crate) fn undelivered(&self) -> Option<(ShardId, u64)> {
        let state = self.state();
        let mut all = state.put.iter().flat_map(|(shard, put)| put.iter().map(move |(n, seen)| (shard, *n, *seen)));
        all.find(|(_, _, seen)| !seen).map(|(shard, number, _)| (shard.clone(), number))
    }

    /// A shard whose owner has not given its child the last record yet, perhaps because the lease has just moved.
    pub(crate) fn behind(&self) -> Option<ShardId> {
        let rows = self.leases();
        let state = self.state();
        let is_behind = |lease: &&Lease| {
            let Some(last) = state.put.get(&lease.shard).and_then(|put| put.keys().next_back()) else { return false };
            let alive = state.lives.iter().filter(|life| life.shard == lease.shard && !life.over);
            let mut owners = alive.filter(|life| lease.actual_owner() == Some(&life.worker));
            let has_it = |life: &Life| life.last.unwrap_or(number_of(&life.from)) >= *last;
            !lease.is_finished() && !owners.any(has_it)
        };
        rows.iter().find(is_behind).map(|lease| lease.shard.clone())
    }

    /// How many records were delivered again.
    pub(crate) fn repeated(&self) -> usize {
        self.state().repeated
    }

    /// A record that lies behind the checkpoint of its shard.
    pub(crate) fn unfinished(&self) -> Option<(ShardId, u64)> {
        let rows = self.leases();
        let state = self.state();
        let place = |shard: &ShardId| {
            let row = rows.iter().find(|lease| lease.shard == *shard).map(|lease| &lease.checkpoint);
            row.or_else(|| state.furthest.get(shard)).map_or(0, number_of)
        };
        let mut last = state.put.iter().filter_map(|(shard, put)| Some((shard, *put.keys().next_back()?)));
        last.find(|(shard, number)| *number > place(shard)).map(|(shard, number)| (shard.clone(), number))
    }

    pub(crate) fn course(&self, longest_unserved: Duration) -> Course {
        let state = self.state();
        let records = state.put.values().map(BTreeMap::len).sum();
        Course {
            longest_unserved,
            records,
            lives: state.lives.len(),
            told: state.told.clone(),
            writes: state.writes.finish(),
        }
    }
}

/// What became of a schedule.
pub(crate) struct Course {
    pub(crate) longest_unserved: Duration,
    pub(crate) records: usize,
    pub(crate) lives: usize,
    pub(crate) told: Vec<String>,
    /// Equal where the writes to the table were the same at the same moments.
    pub(crate) writes: u64,
}
