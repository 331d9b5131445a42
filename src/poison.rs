//! Poison records (`multilangd.onPoison`): which record of a batch is it that no child survives? Pure.
//!
//! A child that fails again and again in the same batch is given smaller and smaller parts of it, a fresh child each
//! time, until one record fails alone, and that as often as a daemon would give a child. Nothing is set aside on less
//! than that, and nothing without a trace ([`letter`], which a [`target`] keeps). Checkpoints stay the child's: a
//! record that was set aside is passed when the child checkpoints one that lies behind it, or, where there is none,
//! when it is asked to leave and checkpoints without a number; until then it would be met, and traced, again.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::record::Record;
use crate::types::{Checkpoint, ExtendedSequenceNumber};

pub mod file;
pub mod letter;
pub mod target;

/// Searches that may begin before a checkpoint moves. It bounds what is set aside in an outage, in which every record
/// looks like poison, and lets a few bad records stand side by side.
const MOST_SEARCHES: u32 = 10;
/// Failures that one search may take: 14 halve a batch of 10,000, the rest is for children that fail at random.
const MOST_STEPS: u32 = 100;

/// What was given to a child in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delivery {
    first: ExtendedSequenceNumber,
    last: ExtendedSequenceNumber,
    records: usize,
    /// The record, if it was one alone.
    alone: Option<Record>,
}

#[derive(Clone, Debug)]
struct Search {
    /// Records to deliver at once, among the suspects.
    size: usize,
    /// How often the same record has failed alone.
    alone: u32,
    steps: u32,
}

/// What a failure tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing about any record.
    Nothing,
    /// One of so many records is it.
    Among(usize),
    /// This one failed alone, for the so-manieth time.
    Alone(NonZeroU32),
    /// It is this one; it failed alone so often.
    Poison(Box<Record>, NonZeroU32),
    /// The search leads nowhere.
    Lost,
}

/// The search for poison in one shard, over the lives of its children.
#[derive(Clone, Debug, Default)]
pub struct Hunt {
    /// The message that is not answered yet.
    given: Option<Delivery>,
    /// What the last failures have in common.
    suspects: Option<Delivery>,
    /// Of how many failures in a row that is.
    in_common: u32,
    search: Option<Search>,
    searches: u32,
    set_aside: BTreeSet<ExtendedSequenceNumber>,
}

impl Hunt {
    /// How many of `records`, which are not empty and in order, go into the next message; at least one.
    #[must_use]
    pub fn portion(&self, records: &[Record]) -> usize {
        let (Some(search), Some(suspects)) = (&self.search, &self.suspects) else { return records.len() };
        // a place that cannot be read is no suspect, and goes with those before it
        let lies = |record: &Record, bound: &ExtendedSequenceNumber| record.place().is_ok_and(|place| place >= *bound);
        let before = records.partition_point(|record| !lies(record, &suspects.first));
        if before > 0 {
            return before;
        }
        let among =
            records.iter().take_while(|record| record.place().is_ok_and(|place| place <= suspects.last)).count();
        if among == 0 { records.len() } else { among.min(search.size) }
    }

    /// These are about to be given to the child.
    pub fn give(&mut self, records: &[Record]) {
        self.given = match (records, records.first().map(Record::place), records.last().map(Record::place)) {
            (_, Some(Ok(first)), Some(Ok(last))) => {
                let alone = if let [record] = records { Some(record.clone()) } else { None };
                Some(Delivery { first, last, records: records.len(), alone })
            }
            _ => None,
        };
    }

    /// The child has answered them. A search ends without result when all suspects were answered.
    pub fn answered(&mut self) {
        let Some(given) = self.given.take() else { return };
        let cleared = self.suspects.as_ref().is_some_and(|suspects| given.last >= suspects.last);
        if cleared && self.search.is_some() {
            self.forget();
        }
    }

    /// The child failed; `limit` is how often a record must fail alone.
    pub fn failed(&mut self, limit: NonZeroU32) -> Finding {
        let given = self.given.take();
        match (&mut self.search, given) {
            (None, None) => {
                self.forget();
                Finding::Nothing
            }
            (None, Some(given)) => {
                self.compare(given);
                Finding::Nothing
            }
            (Some(_), None) => Finding::Nothing,
            (Some(search), Some(given)) => {
                search.steps += 1;
                if search.steps > MOST_STEPS {
                    self.forget();
                    return Finding::Lost;
                }
                let again = self.suspects.as_ref().is_some_and(|suspects| suspects.first == given.first);
                search.alone = match (&given.alone, again) {
                    (None, _) => 0,
                    (Some(_), false) => 1,
                    (Some(_), true) => search.alone + 1,
                };
                search.size = given.records.div_ceil(2);
                let finding = match (&given.alone, NonZeroU32::new(search.alone)) {
                    (Some(record), Some(times)) if times >= limit => Finding::Poison(Box::new(record.clone()), times),
                    (Some(_), Some(times)) => Finding::Alone(times),
                    (Some(_) | None, _) => Finding::Among(given.records),
                };
                self.suspects = Some(given);
                finding
            }
        }
    }

    /// Notes what this failure has in common with those before it.
    fn compare(&mut self, given: Delivery) {
        let common = self.suspects.take().and_then(|before| {
            let records = before.records.min(given.records);
            let (first, last) = (before.first.max(given.first.clone()), before.last.min(given.last.clone()));
            (first <= last).then_some(Delivery { first, last, records, alone: None })
        });
        self.in_common = if common.is_some() { self.in_common + 1 } else { 1 };
        self.suspects = Some(common.unwrap_or(given));
    }

    /// Begins a search, if the failures so far have records in common. Whether it has.
    pub fn begin(&mut self, limit: NonZeroU32) -> bool {
        let enough = self.in_common >= limit.get().min(2);
        let Some(suspects) = self.suspects.as_ref().filter(|_| enough && self.search.is_none()) else { return false };
        if self.searches >= MOST_SEARCHES {
            return false;
        }
        self.searches += 1;
        self.search = Some(Search { size: suspects.records.div_ceil(2), alone: 0, steps: 0 });
        true
    }

    /// The trace of this record is written: it is not given to a child any more.
    pub fn set_aside(&mut self, place: ExtendedSequenceNumber) {
        self.set_aside.insert(place);
        self.forget();
    }

    /// Whether the record is not to be given to a child.
    #[must_use]
    pub fn is_set_aside(&self, record: &Record) -> bool {
        !self.set_aside.is_empty() && record.place().is_ok_and(|place| self.set_aside.contains(&place))
    }

    /// A checkpoint moved.
    pub fn passed(&mut self, stored: &Checkpoint) {
        self.searches = 0;
        self.set_aside.retain(|place| Checkpoint::At(place.clone()) > *stored);
    }

    fn forget(&mut self) {
        (self.suspects, self.in_common, self.search) = (None, 0, None);
    }
}

#[cfg(test)]
mod tests;
