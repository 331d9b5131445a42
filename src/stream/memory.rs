//! A stream in memory: shards that can be split and merged, records that can be put and read. For simulations of
//! whole fleets; `retrieval` reads it through the same readers as the service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base64_simd::STANDARD;

use crate::clock::Clock;
use crate::record::Record;
use crate::stream::answer::{footprint, plain_record};
use crate::stream::fetch::{Answer, FetchError, IteratorStart};
use crate::stream::{ChildShard, Shard, ShardFilter, StreamCatalog, StreamError};
use crate::types::{EpochMillis, HashKeyRange, InitialPosition, SequenceNumber, ShardId};

/// A stream in memory. Nothing is ever trimmed.
pub struct MemoryStream {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shards: Vec<MemoryShard>,
    last_sequence: u64,
}

struct MemoryShard {
    shard: Shard,
    opened: EpochMillis,
    closed: Option<EpochMillis>,
    records: Vec<(SequenceNumber, Record)>,
}

impl State {
    fn sequence(&mut self) -> SequenceNumber {
        self.last_sequence += 1;
        self.last_sequence.to_string().parse().expect("an integer is all digits")
    }

    fn find(&self, id: &ShardId) -> Result<&MemoryShard, FetchError> {
        self.shards.iter().find(|shard| shard.shard.id == *id).ok_or(FetchError::ShardGone)
    }

    fn open(&mut self, parents: [Option<&ShardId>; 2], hash_range: HashKeyRange, now: EpochMillis) -> ShardId {
        let id = ShardId::new(format!("shardId-{:012}", self.shards.len()));
        let [parent, adjacent_parent] = parents.map(|parent| parent.cloned());
        let starting_sequence = self.sequence();
        let shard =
            Shard { id: id.clone(), parent, adjacent_parent, hash_range, starting_sequence, ending_sequence: None };
        self.shards.push(MemoryShard { shard, opened: now, closed: None, records: Vec::new() });
        id
    }

    /// Closes an open shard and gives its range.
    fn close(&mut self, id: &ShardId, now: EpochMillis) -> Option<HashKeyRange> {
        let ending = self.sequence();
        let shard = self.shards.iter_mut().find(|shard| shard.shard.id == *id && shard.shard.is_open())?;
        shard.shard.ending_sequence = Some(ending);
        shard.closed = Some(now);
        Some(shard.shard.hash_range)
    }

    fn children(&self, parent: &ShardId) -> Vec<ChildShard> {
        let children = self.shards.iter().map(|shard| &shard.shard).filter(|s| s.parents().any(|p| p == parent));
        children
            .map(|child| ChildShard {
                id: child.id.clone(),
                parents: child.parents().cloned().collect(),
                hash_range: child.hash_range,
            })
            .collect()
    }
}

impl MemoryStream {
    /// A stream of `shards` (at least one) open shards that share the ring evenly.
    #[must_use]
    pub fn new(shards: u32, clock: Arc<dyn Clock>) -> Self {
        let mut state = State::default();
        let count = u128::from(shards.max(1));
        let width = u128::MAX / count;
        for n in 0..count {
            let end = if n + 1 == count { u128::MAX } else { width * (n + 1) - 1 };
            state.open([None, None], HashKeyRange { start: width * n, end }, clock.now());
        }
        Self { clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record into the open shard of `hash_key`.
    pub fn put(&self, hash_key: u128, partition_key: &str, data: &[u8]) -> (ShardId, SequenceNumber) {
        let (mut state, arrival) = (self.state(), self.clock.now());
        let sequence = state.sequence();
        let data = STANDARD.encode_to_string(data);
        let text = sequence.as_str().to_owned();
        let record = plain_record(data.into(), partition_key.to_owned().into(), text.into(), Some(arrival.0));
        let takes = |shard: &&mut MemoryShard| shard.shard.is_open() && shard.shard.hash_range.contains(hash_key);
        let shard = state.shards.iter_mut().find(takes).expect("open shards cover the whole ring");
        shard.records.push((sequence.clone(), record));
        (shard.shard.id.clone(), sequence)
    }

    /// Splits an open shard in two halves; `None` if it is not there, closed, or too narrow.
    pub fn split(&self, parent: &ShardId) -> Option<[ShardId; 2]> {
        let (mut state, now) = (self.state(), self.clock.now());
        let range = state.find(parent).ok()?.shard.hash_range;
        if range.start == range.end {
            return None;
        }
        state.close(parent, now)?;
        let middle = range.start + (range.end - range.start) / 2;
        let halves =
            [HashKeyRange { start: range.start, end: middle }, HashKeyRange { start: middle + 1, end: range.end }];
        Some(halves.map(|half| state.open([Some(parent), None], half, now)))
    }

    /// Merges two open shards that lie side by side; `None` if they are not.
    pub fn merge(&self, left: &ShardId, right: &ShardId) -> Option<ShardId> {
        let (mut state, now) = (self.state(), self.clock.now());
        let (a, b) = (&state.find(left).ok()?.shard, &state.find(right).ok()?.shard);
        let (start, end) = (a.hash_range.start, b.hash_range.end);
        if !a.is_open() || !b.is_open() || a.hash_range.end.checked_add(1) != Some(b.hash_range.start) {
            return None;
        }
        state.close(left, now)?;
        state.close(right, now)?;
        Some(state.open([Some(left), Some(right)], HashKeyRange { start, end }, now))
    }

    /// Index of the first record of `shard` at or behind `start`.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn begin(&self, shard: &ShardId, start: &IteratorStart) -> Result<usize, FetchError> {
        let state = self.state();
        let records = &state.find(shard)?.records;
        Ok(match start {
            IteratorStart::TrimHorizon => 0,
            IteratorStart::Latest => records.len(),
            IteratorStart::AtTimestamp(time) => {
                records.partition_point(|(_, record)| record.arrival_millis < Some(time.0))
            }
            IteratorStart::At(number) => records.partition_point(|(sequence, _)| sequence < number),
            IteratorStart::After(number) => records.partition_point(|(sequence, _)| sequence <= number),
        })
    }

    /// At most `limit` records from index `from` on. `next_iterator` is the index behind them, in digits.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn read(&self, shard: &ShardId, from: usize, limit: usize) -> Result<Answer, FetchError> {
        let (state, now) = (self.state(), self.clock.now());
        let found = state.find(shard)?;
        let waiting = found.records.get(from..).unwrap_or_default();
        let records: Vec<_> = waiting.iter().take(limit).map(|(_, record)| record.clone()).collect();
        let next = waiting.get(records.len()).and_then(|(_, record)| record.arrival_millis);
        let ended = next.is_none() && !found.shard.is_open();
        let texts = records.iter().map(|record| record.data.as_bytes().len()).sum();
        Ok(Answer {
            bytes: footprint(texts, &records),
            next_iterator: (!ended).then(|| (from + records.len()).to_string()),
            millis_behind_latest: Some(next.map_or(0, |arrival| now.0.saturating_sub(arrival).max(1))),
            child_shards: if ended { state.children(shard) } else { Vec::new() },
            records,
        })
    }
}

#[async_trait]
impl StreamCatalog for MemoryStream {
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        let state = self.state();
        let first = state.shards.iter().map(|shard| shard.opened).min();
        let listed = |shard: &&MemoryShard| match filter {
            ShardFilter::All => true,
            ShardFilter::At(InitialPosition::Latest) => shard.shard.is_open(),
            ShardFilter::At(InitialPosition::TrimHorizon) => shard.shard.parents().next().is_none(),
            ShardFilter::At(InitialPosition::AtTimestamp(time)) => {
                let time = first.map_or(time, |first| time.max(first));
                shard.opened <= time && shard.closed.is_none_or(|closed| closed > time)
            }
        };
        Ok(state.shards.iter().filter(listed).map(|shard| shard.shard.clone()).collect())
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
