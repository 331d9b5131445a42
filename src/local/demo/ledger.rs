//! What was put, delivered and checkpointed, record by record; and the verdict on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lease::Lease;
use crate::local::put::Placed;
use crate::progress::{Progress, ShardState};
use crate::record::Record;
use crate::types::{Checkpoint, ExtendedSequenceNumber, SequenceNumber, ShardId};

/// Missing records that are named one by one, a shard.
const NAMED: usize = 3;

/// What is known of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardAccount {
    /// Sequence numbers that the service gave to records put here.
    put: BTreeSet<SequenceNumber>,
    delivered: BTreeSet<SequenceNumber>,
    last: Option<ExtendedSequenceNumber>,
    /// Records that came again, at their place or later.
    repeated: usize,
    /// Records that came before one with a smaller place.
    disordered: usize,
    /// What its consumer does, if it is on this worker.
    pub state: Option<ShardState>,
    /// Lag that came with the last batch, in milliseconds.
    pub behind: Option<i64>,
}

impl ShardAccount {
    /// Records that the child has handled.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.delivered.len()
    }

    fn deliver(&mut self, record: &Record) {
        let Ok(place) = record.place() else { return };
        let again = !self.delivered.insert(place.sequence.clone()) && record.sub == 0;
        self.repeated += usize::from(again);
        match &self.last {
            Some(last) if *last >= place => self.disordered += usize::from(!again),
            Some(_) | None => self.last = Some(place),
        }
    }

    /// Put here and covered by `checkpoint`.
    fn checkpointed(&self, checkpoint: &Checkpoint) -> usize {
        let covered = |sequence: &&SequenceNumber| {
            Checkpoint::At(ExtendedSequenceNumber::new((*sequence).clone(), 0)) <= *checkpoint
        };
        self.put.iter().filter(covered).count()
    }
}

/// The books of one demo.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    shards: BTreeMap<ShardId, ShardAccount>,
    events: Vec<String>,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters records that the service has taken.
    pub fn note_put(&self, placed: Vec<Placed>) {
        let mut books = self.books();
        for Placed { shard, sequence } in placed {
            books.shards.entry(shard).or_default().put.insert(sequence);
        }
    }

    /// Enters something to be said.
    pub fn note_event(&self, event: String) {
        self.books().events.push(event);
    }

    /// What is to be said since this was asked last.
    pub fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.books().events)
    }

    /// Every shard's account as it is now, with the number of records put into it.
    #[must_use]
    pub fn accounts(&self) -> Vec<(ShardId, ShardAccount)> {
        self.books().shards.iter().map(|(shard, account)| (shard.clone(), account.clone())).collect()
    }

    /// Records put and delivered so far.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        let books = self.books();
        let sum = |part: fn(&ShardAccount) -> usize| books.shards.values().map(part).sum();
        (sum(|account| account.put.len()), sum(ShardAccount::delivered))
    }

    /// Compares what was put with what was delivered, and with the checkpoints in `leases`.
    #[must_use]
    pub fn verdict(&self, leases: &[Lease]) -> Verdict {
        let mut verdict = Verdict::default();
        for (shard, account) in &self.books().shards {
            let lease = leases.iter().find(|lease| lease.shard == *shard);
            let checkpoint = lease.map_or(Checkpoint::TrimHorizon, |lease| lease.checkpoint.clone());
            let (put, checkpointed) = (account.put.len(), account.checkpointed(&checkpoint));
            let arrived = account.put.intersection(&account.delivered).count();
            verdict.shards += 1;
            verdict.put += put;
            verdict.delivered += arrived;
            verdict.checkpointed += checkpointed;
            verdict.repeated += account.repeated;
            verdict.disordered += account.disordered;
            let missing: Vec<_> = account.put.difference(&account.delivered).collect();
            if !missing.is_empty() {
                let named: Vec<_> = missing.iter().take(NAMED).map(|sequence| sequence.as_str()).collect();
                let text = format!("{} records of {shard} were never delivered: {} …", missing.len(), named.join(", "));
                verdict.complaints.push(text);
            }
            if checkpointed < put {
                let text = format!("{} records of {shard} lie behind its checkpoint {checkpoint}", put - checkpointed);
                verdict.complaints.push(text);
            }
        }
        verdict
    }
}

impl Progress for Ledger {
    fn state(&self, shard: &ShardId, state: ShardState) {
        self.books().shards.entry(shard.clone()).or_default().state = Some(state);
    }

    fn delivered(&self, shard: &ShardId, records: &[Record], behind: Option<i64>) {
        let mut books = self.books();
        let account = books.shards.entry(shard.clone()).or_default();
        account.behind = behind;
        records.iter().for_each(|record| account.deliver(record));
    }

    fn checkpointed(&self, _: &ShardId, _: &Checkpoint) {} // the lease table is asked instead, as a second witness
}

/// How the demo went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    shards: usize,
    put: usize,
    delivered: usize,
    checkpointed: usize,
    repeated: usize,
    disordered: usize,
    complaints: Vec<String>,
}

impl Verdict {
    /// Whether every record put was delivered and checkpointed, in order, and once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let whole = self.put > 0 && self.delivered == self.put && self.checkpointed == self.put;
        whole && self.repeated == 0 && self.disordered == 0 && self.complaints.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for complaint in &self.complaints {
            writeln!(f, "demo: {complaint}")?;
        }
        let Self { shards, put, delivered, checkpointed, repeated, disordered, .. } = self;
        if self.is_good() {
            write!(
                f,
                "demo: passed: {put} records put = {delivered} delivered = {checkpointed} checkpointed; \
                 none lost, none twice, order kept in {shards} shards"
            )
        } else {
            write!(
                f,
                "demo: FAILED: {put} records put, {delivered} delivered, {checkpointed} checkpointed; \
                 {repeated} twice, {disordered} out of order, in {shards} shards"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;

    const SHARD: &str = "shardId-000000000000";

    fn ledger(put: &[u32], delivered: &[u32]) -> Ledger {
        let ledger = Ledger::default();
        let placed =
            put.iter().map(|n| Placed { shard: ShardId::new(SHARD), sequence: n.to_string().parse().unwrap() });
        ledger.note_put(placed.collect());
        let record = |n: &u32| Record {
            data: "".into(),
            partition_key: Text::from("k"),
            sequence: Text::from(n.to_string()),
            arrival_millis: None,
            sub: 0,
            aggregated: false,
            explicit_hash_key: None,
        };
        ledger.delivered(&ShardId::new(SHARD), &delivered.iter().map(record).collect::<Vec<_>>(), None);
        ledger
    }

    fn leases(checkpoint: &str) -> [Lease; 1] {
        [Lease::new(ShardId::new(SHARD), Checkpoint::parse(checkpoint, 0).unwrap())]
    }

    #[test]
    fn only_whole_ordered_unrepeated_and_checkpointed_runs_pass() {
        let table: [(&[u32], &[u32], &str, bool); 8] = [
            (&[1, 2, 10], &[1, 2, 10], "10", true),
            (&[1, 2, 10], &[1, 2, 10], "SHARD_END", true),
            (&[1, 2, 10], &[1, 2, 10], "2", false),
            (&[1, 2, 10], &[1, 2, 10], "TRIM_HORIZON", false),
            (&[1, 2, 10], &[1, 10], "10", false),
            (&[1, 2, 10], &[1, 10, 2], "10", false),
            (&[1, 2, 10], &[1, 2, 2, 10], "10", false),
            (&[], &[], "TRIM_HORIZON", false),
        ];
        for (put, delivered, checkpoint, good) in table {
            let verdict = ledger(put, delivered).verdict(&leases(checkpoint));
            assert_eq!(verdict.is_good(), good, "{put:?} {delivered:?} {checkpoint} {verdict}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = ledger(&[1, 2, 10], &[1, 2]).verdict(&leases("1")).to_string();
        assert!(text.contains("1 records of shardId-000000000000 were never delivered: 10"), "{text}");
        assert!(text.contains("2 records of shardId-000000000000 lie behind its checkpoint 1"), "{text}");
        assert!(text.ends_with("in 1 shards") && text.contains("FAILED"), "{text}");
    }
}
