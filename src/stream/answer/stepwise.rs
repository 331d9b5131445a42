//! The walk of an answer that arrives in segments.

use bytes::Bytes;

use super::scan::Walk;
use super::{NotUnderstood, WireChild, child_shards, footprint};
use crate::record::Text;
use crate::stream::fetch::Answer;

/// Most records of one answer. Source: Kinesis API reference, `GetRecords`, `Limit`.
const MOST_RECORDS: usize = 10_000;

/// Walks an answer as far as it has arrived.
///
/// It stands between two members of the answer, or between two records. What [`take`](Self::take) did not go past is
/// given to it again with more behind it.
#[derive(Debug, Default)]
pub struct Stepwise {
    place: Place,
    answer: Answer,
    continuation: Option<Text>,
    /// Length of the whole answer, as far as it is known.
    expected: usize,
    /// Bytes that it went past.
    passed: usize,
    /// Where it could not go on, when it was last asked to.
    lost_at: usize,
    /// It has gone past the end of the answer, and nothing is left behind it.
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Begin,
    /// Before a member.
    Member,
    /// Before a record.
    Record,
    /// Behind the list of records.
    AfterRecords,
    Done,
}

impl Stepwise {
    /// Begins with an answer of about so many bytes.
    #[must_use]
    pub fn expecting(bytes: usize) -> Self {
        Self { expected: bytes, ..Self::default() }
    }

    /// Goes as far as it can; how many bytes of `segment` it went past. Records are slices of `segment`.
    pub fn take(&mut self, segment: &Bytes) -> usize {
        let mut walk = Walk::new(segment);
        loop {
            let begin = walk.at();
            // a fault may be no more than the end of the segment, so nothing is said about it before the end of all
            if let Err(NotUnderstood(at)) = self.step(&mut walk) {
                (self.lost_at, self.is_whole) = (self.passed + at, false);
                self.passed += begin;
                return begin;
            }
            if self.place == Place::Done && walk.is_at_end() {
                self.is_whole = true;
                self.passed += walk.at();
                return walk.at();
            }
        }
    }

    /// The answer, of which segments of `bytes` bytes in all are kept; and where a subscription goes on.
    ///
    /// # Errors
    /// It was not whole, or there was something in it that the walk does not know.
    pub(super) fn finish(mut self, bytes: usize) -> Result<(Answer, Option<Text>), NotUnderstood> {
        if !self.is_whole {
            return Err(NotUnderstood(self.lost_at));
        }
        self.answer.bytes = footprint(bytes, &self.answer.records);
        Ok((self.answer, self.continuation))
    }

    /// The answer of GetRecords, of which segments of `bytes` bytes in all are kept.
    ///
    /// # Errors
    /// It was not whole, or there was something in it that the walk does not know.
    pub fn answer(self, bytes: usize) -> Result<Answer, NotUnderstood> {
        self.finish(bytes).map(|(answer, _)| answer)
    }

    /// Goes past one thing and what separates it from the next, or changes nothing that it will not change again.
    fn step(&mut self, walk: &mut Walk<'_>) -> Result<(), NotUnderstood> {
        match self.place {
            Place::Begin => {
                walk.must_pass(b'{')?;
                self.place = if walk.next_is(b'}')? { Place::Done } else { Place::Member };
            }
            Place::Member => self.member(walk)?,
            Place::Record => self.record(walk)?,
            Place::AfterRecords => self.place = after_member(walk)?,
            Place::Done => walk.must_end()?,
        }
        Ok(())
    }

    fn member(&mut self, walk: &mut Walk<'_>) -> Result<(), NotUnderstood> {
        let name = walk.name()?;
        walk.must_pass(b':')?;
        match name.as_ref() {
            b"Records" => {
                self.answer.records.clear();
                if walk.unless_null(|walk| walk.must_pass(b'['))?.is_some() {
                    self.place = if walk.next_is(b']')? { Place::AfterRecords } else { Place::Record };
                    return Ok(());
                }
            }
            b"NextShardIterator" => {
                self.answer.next_iterator = walk.unless_null(Walk::string)?.map(|text| text.as_str().to_owned());
            }
            b"MillisBehindLatest" => self.answer.millis_behind_latest = walk.unless_null(Walk::integer)?,
            b"ChildShards" => {
                let children = walk.unless_null(Walk::value::<Vec<WireChild>>)?.unwrap_or_default();
                self.answer.child_shards = child_shards(children).ok_or(NotUnderstood(walk.at()))?;
            }
            b"ContinuationSequenceNumber" => self.continuation = walk.unless_null(Walk::string)?,
            _ => walk.skip()?,
        }
        self.place = after_member(walk)?;
        Ok(())
    }

    fn record(&mut self, walk: &mut Walk<'_>) -> Result<(), NotUnderstood> {
        let begin = walk.at();
        let record = walk.record()?;
        let is_last = walk.either(b',', b']')? == b']';
        let records = &mut self.answer.records;
        if records.is_empty() {
            // most records of an answer are like the first, and a list that grows is copied again and again
            records.reserve((self.expected / (walk.at() - begin).max(1) + 1).min(MOST_RECORDS));
        }
        records.push(record);
        self.place = if is_last { Place::AfterRecords } else { Place::Record };
        Ok(())
    }
}

fn after_member(walk: &mut Walk<'_>) -> Result<Place, NotUnderstood> {
    Ok(if walk.either(b',', b'}')? == b',' { Place::Member } else { Place::Done })
}
