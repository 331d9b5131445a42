//! Drawn streams, and what a listing says of them. The ring is 1,000 keys and the rest; a key is a number, `M` the last one.

use std::sync::Mutex;

use async_trait::async_trait;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shard;
use crate::stream::{Shard, ShardFilter, StreamCatalog, StreamError};
use crate::types::HashKeyRange;

/// Behind the last hash key, the rest of them counted as one.
const RING: u128 = 1_000;

/// A hash key as questions write it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(from = "Value", into = "Value")]
pub(crate) struct Key(pub(crate) u128);

impl From<Value> for Key {
    fn from(value: Value) -> Self {
        Self(value.as_u64().map_or(u128::MAX, u128::from))
    }
}

impl From<Key> for Value {
    fn from(Key(key): Key) -> Self {
        u64::try_from(key).map_or(json!("M"), Self::from)
    }
}

/// Number, parents, first and last hash key, starting sequence number, whether it is open.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Entry(pub(crate) u32, pub(crate) Vec<u32>, pub(crate) Key, pub(crate) Key, String, pub(crate) bool);

impl Entry {
    pub(crate) fn new(number: u32, parents: Vec<u32>, range: (u128, u128), since: u32, open: bool) -> Self {
        Self(number, parents, Key(range.0), Key(range.1), since.to_string(), open)
    }

    pub(crate) fn range(&self) -> HashKeyRange {
        HashKeyRange { start: self.2.0, end: self.3.0 }
    }

    pub(crate) fn shard(&self) -> Shard {
        let parents: Vec<_> = self.1.iter().map(|number| shard(*number)).collect();
        Shard {
            id: shard(self.0),
            parent: parents.first().cloned(),
            adjacent_parent: parents.get(1).cloned(),
            hash_range: self.range(),
            starting_sequence: self.4.parse().unwrap(),
            ending_sequence: (!self.5).then(|| "99999".parse().unwrap()),
        }
    }
}

/// A shard with its times, counted in splits and merges.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) number: u32,
    parents: Vec<u32>,
    /// The last one is not among them; the ring ends at [`RING`].
    keys: (u128, u128),
    opened: u32,
    closed: Option<u32>,
}

impl Life {
    pub(crate) fn was_open(&self, at: u32) -> bool {
        self.opened <= at && self.closed.is_none_or(|closed| closed > at)
    }

    /// The entry of a listing at the moment `now`.
    pub(crate) fn entry(&self, now: u32) -> Entry {
        let last = if self.keys.1 == RING { u128::MAX } else { self.keys.1 - 1 };
        let open = self.closed.is_none_or(|closed| closed > now);
        Entry::new(self.number, self.parents.clone(), (self.keys.0, last), self.opened * 10, open)
    }
}

/// A stream that has been split and merged some times; and how often.
pub(crate) fn stream(random: &mut Rng) -> (Vec<Life>, u32) {
    let mut lives = Vec::new();
    let (first, changes) = (random.u32(1..6), random.u32(..10));
    let open = |lives: &mut Vec<Life>, parents: &[u32], keys, opened| {
        let number = u32::try_from(lives.len()).unwrap();
        lives.push(Life { number, parents: parents.to_vec(), keys, opened, closed: None });
    };
    for number in 0..u128::from(first) {
        let bound = |number: u128| number * RING / u128::from(first);
        open(&mut lives, &[], (bound(number), bound(number + 1)), 0);
    }
    for change in 1..=changes {
        let mut tips: Vec<Life> = lives.iter().filter(|life| life.closed.is_none()).cloned().collect();
        tips.sort_by_key(|life| life.keys);
        let at = random.usize(..tips.len());
        let (one, next) = (tips[at].clone(), tips.get(at + 1).cloned());
        lives[one.number as usize].closed = Some(change);
        match next.filter(|_| random.bool()) {
            Some(next) => {
                lives[next.number as usize].closed = Some(change);
                open(&mut lives, &[one.number, next.number], (one.keys.0, next.keys.1), change);
            }
            None if one.keys.1 - one.keys.0 > 1 => {
                let middle = one.keys.0 + 1 + random.u128(..one.keys.1 - one.keys.0 - 1);
                open(&mut lives, &[one.number], (one.keys.0, middle), change);
                open(&mut lives, &[one.number], (middle, one.keys.1), change);
            }
            None => lives[one.number as usize].closed = None,
        }
    }
    (lives, changes)
}

/// A stream that says what it is told to, and remembers what it was asked.
pub(crate) struct Told {
    shards: Vec<Shard>,
    asked: Mutex<Vec<ShardFilter>>,
}

impl Told {
    pub(crate) fn new(entries: &[Entry]) -> Self {
        Self { shards: entries.iter().map(Entry::shard).collect(), asked: Mutex::default() }
    }

    pub(crate) fn asked(&self) -> Vec<ShardFilter> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl StreamCatalog for Told {
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        self.asked.lock().unwrap().push(filter);
        Ok(self.shards.clone())
    }
}

/// Runs it in paused time.
pub(crate) fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}
