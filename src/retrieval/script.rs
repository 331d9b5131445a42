//! A service that answers by script and writes down what it was asked when.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::api::{EventFeed, ShardApi};
use super::{RecordReader, RecordSource};
use crate::record::{Record, Text};
use crate::stream::ChildShard;
use crate::stream::fetch::{Answer, Dated, Event, FetchError, IteratorStart};
use crate::types::{Checkpoint, EpochMillis, ExtendedSequenceNumber, HashKeyRange, SequenceNumber, ShardId};

/// What happens to one call of GetRecords.
pub(crate) enum Play {
    Answer(Answer),
    Fault(FetchError),
    Silence,
}

/// What happens to one wait for an event.
pub(crate) enum Beat {
    Event(Event),
    Fault(FetchError),
    End,
    Silence,
}

/// What happens to one subscription.
pub(crate) type Feed = Result<Vec<Beat>, FetchError>;

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Duration,
    pub(crate) what: String,
}

pub(crate) struct Script {
    began: Instant,
    call_time: Duration,
    date: Option<EpochMillis>,
    iterators: Mutex<VecDeque<FetchError>>,
    plays: Mutex<VecDeque<Play>>,
    feeds: Mutex<VecDeque<Feed>>,
    calls: Mutex<Vec<Call>>,
}

impl Script {
    pub(crate) fn polling(plays: impl IntoIterator<Item = Play>) -> Self {
        Self::new(plays.into_iter().collect(), VecDeque::new())
    }

    pub(crate) fn fan_out(feeds: impl IntoIterator<Item = Feed>) -> Self {
        Self::new(VecDeque::new(), feeds.into_iter().collect())
    }

    fn new(plays: VecDeque<Play>, feeds: VecDeque<Feed>) -> Self {
        Self {
            began: Instant::now(),
            call_time: Duration::ZERO,
            date: None,
            iterators: Mutex::default(),
            plays: Mutex::new(plays),
            feeds: Mutex::new(feeds),
            calls: Mutex::default(),
        }
    }

    /// Lets each call of GetRecords take this long.
    pub(crate) fn with_call_time(self, call_time: Duration) -> Self {
        Self { call_time, ..self }
    }

    /// Says in all answers that it is this time.
    pub(crate) fn with_date(self, date: EpochMillis) -> Self {
        Self { date: Some(date), ..self }
    }

    /// Refuses the first calls of GetShardIterator.
    pub(crate) fn refusing_iterators(self, faults: impl IntoIterator<Item = FetchError>) -> Self {
        Self { iterators: Mutex::new(faults.into_iter().collect()), ..self }
    }

    fn note(&self, what: String) -> usize {
        let mut calls = self.calls.lock().unwrap();
        calls.push(Call { at: self.began.elapsed(), what });
        calls.len()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// What was asked, without the times.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.what).collect()
    }

    /// The times of calls of this kind in milliseconds.
    pub(crate) fn millis_of(&self, kind: &str) -> Vec<u128> {
        self.calls().iter().filter(|call| call.what.starts_with(kind)).map(|call| call.at.as_millis()).collect()
    }
}

fn place(start: &IteratorStart) -> String {
    match start {
        IteratorStart::TrimHorizon => "horizon".to_owned(),
        IteratorStart::Latest => "latest".to_owned(),
        IteratorStart::AtTimestamp(time) => format!("time {}", time.0),
        IteratorStart::At(number) => format!("at {number}"),
        IteratorStart::After(number) => format!("after {number}"),
    }
}

#[async_trait]
impl ShardApi for Script {
    async fn iterator(&self, _: &ShardId, start: &IteratorStart) -> Result<Dated<String>, FetchError> {
        let nth = self.note(format!("iterator {}", place(start)));
        let refused = self.iterators.lock().unwrap().pop_front();
        let given = || Dated { given: format!("first{nth}"), date: self.date };
        refused.map_or_else(|| Ok(given()), Err)
    }

    async fn records(&self, iterator: &str, _: i32) -> Result<Answer, FetchError> {
        self.note(format!("records {iterator}"));
        sleep(self.call_time).await;
        let play = self.plays.lock().unwrap().pop_front();
        match play.expect("the script is at its end") {
            Play::Answer(answer) => Ok(answer),
            Play::Fault(fault) => Err(fault),
            Play::Silence => std::future::pending().await,
        }
    }

    async fn subscribe(
        &self,
        consumer: &str,
        _: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError> {
        assert_eq!(consumer, "arn:consumer");
        self.note(format!("subscribe {}", place(start)));
        let feed = self.feeds.lock().unwrap().pop_front();
        let feed = ScriptedFeed(feed.expect("the script is at its end")?.into());
        Ok(Dated { given: Box::new(feed), date: self.date })
    }
}

struct ScriptedFeed(VecDeque<Beat>);

#[async_trait]
impl EventFeed for ScriptedFeed {
    async fn next(&mut self) -> Result<Option<Event>, FetchError> {
        match self.0.pop_front().expect("the feed is at its end") {
            Beat::Event(event) => Ok(Some(event)),
            Beat::Fault(fault) => Err(fault),
            Beat::End => Ok(None),
            Beat::Silence => std::future::pending().await,
        }
    }
}

pub(crate) fn record(sequence: &str) -> Record {
    Record {
        data: "ZGF0YQ==".into(),
        partition_key: Text::from("key"),
        sequence: sequence.to_owned().into(),
        arrival_millis: None,
        sub: 0,
        aggregated: false,
        explicit_hash_key: None,
    }
}

pub(crate) fn records(sequences: &[&str]) -> Vec<Record> {
    sequences.iter().map(|sequence| record(sequence)).collect()
}

/// A good answer.
pub(crate) fn answer(sequences: &[&str], next: &str, behind: i64) -> Answer {
    Answer {
        records: records(sequences),
        next_iterator: Some(next.to_owned()),
        millis_behind_latest: Some(behind),
        ..Answer::default()
    }
}

/// A good event.
pub(crate) fn event(sequences: &[&str], continuation: &str) -> Event {
    Event {
        records: records(sequences),
        continuation: Some(continuation.parse().unwrap()),
        millis_behind_latest: Some(0),
        ..Event::default()
    }
}

/// The two halves of `shard-1`.
pub(crate) fn children() -> Vec<ChildShard> {
    let child = |id, start, end| ChildShard {
        id: ShardId::new(id),
        parents: vec![shard()],
        hash_range: HashKeyRange { start, end },
    };
    vec![child("shard-2", 0, 9), child("shard-3", 10, 19)]
}

pub(crate) fn shard() -> ShardId {
    ShardId::new("shard-1")
}

pub(crate) fn at(sequence: &str, sub: u64) -> Checkpoint {
    Checkpoint::At(ExtendedSequenceNumber::new(sequence.parse::<SequenceNumber>().unwrap(), sub))
}

pub(crate) fn transient() -> FetchError {
    FetchError::transient("GetRecords", "connection reset")
}

pub(crate) fn throttled() -> FetchError {
    FetchError::Throttled("ProvisionedThroughputExceededException".to_owned())
}

pub(crate) fn open(source: &impl RecordSource, from: &Checkpoint) -> Box<dyn RecordReader> {
    source.open(&shard(), from)
}

/// Sequence numbers of the next `batches` batches, a text each.
pub(crate) async fn read(reader: &mut Box<dyn RecordReader>, batches: usize) -> Vec<String> {
    let mut out = Vec::new();
    for _ in 0..batches {
        let batch = reader.next().await;
        let numbers: Vec<_> = batch.records.iter().map(|record| record.sequence.as_str()).collect();
        out.push(numbers.join(" "));
    }
    out
}

pub(crate) fn shared(script: Script) -> Arc<Script> {
    Arc::new(script)
}
