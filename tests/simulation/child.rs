//! Children that do what a script says: how long they work, when they checkpoint, when they die.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use multilangd::child::{Child, ChildLauncher, Death, LaunchError};
use multilangd::types::{ShardId, WorkerId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::laws::Laws;

/// Tries of the last checkpoint that a child makes.
const LAST_TRIES: u32 = 8;

/// When a child checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// After each batch.
    EachBatch,
    /// After each n-th batch.
    EachNth(u32),
    /// At the number of some record of each batch.
    SomeRecord,
    /// At the last record and then at the first one, which must not move anything back.
    Restless,
}

/// What the children of a worker are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Longest work on a batch.
    pub(crate) slowest: Duration,
    /// One batch in so many takes `hang`; 0 is none.
    pub(crate) hangs: u32,
    /// How long that is.
    pub(crate) hang: Duration,
    /// Whether the first child of a shard forgets to checkpoint the shard's end.
    pub(crate) forgets_ends: bool,
    /// One batch in so many is the child's last; 0 is none. Its worker ends then, as a daemon does.
    pub(crate) deaths: u32,
    /// So many consumers of a shard, the first ones, break down at their first batch.
    pub(crate) breaks_down: usize,
}

/// Starts the children of one worker.
pub(crate) struct Launcher {
    pub(crate) worker: WorkerId,
    pub(crate) laws: Arc<Laws>,
    pub(crate) manners: Manners,
    pub(crate) rng: Mutex<Rng>,
}

#[async_trait]
impl ChildLauncher for Launcher {
    async fn launch(&self, shard: &ShardId) -> Result<Box<dyn Child>, LaunchError> {
        let mut rng = self.rng.lock().unwrap().fork();
        let habit = match rng.u32(..6) {
            0..2 => Habit::EachBatch,
            2 => Habit::EachNth(rng.u32(2..5)),
            3..5 => Habit::SomeRecord,
            _ => Habit::Restless,
        };
        let (life, earlier) = self.laws.born(&self.worker, shard);
        let (forgets_end, breaks_down) =
            (self.manners.forgets_ends && earlier == 0, earlier < self.manners.breaks_down);
        Ok(Box::new(ScriptedChild {
            life,
            laws: self.laws.clone(),
            manners: self.manners,
            habit,
            forgets_end,
            breaks_down,
            acts: VecDeque::new(),
            batches: 0,
            tries: 0,
            rng,
        }))
    }
}

#[derive(Debug)]
enum Act {
    Work(Duration),
    Until(Instant),
    Checkpoint(Option<u64>),
    Answer(String),
    Die,
}

struct ScriptedChild {
    life: usize,
    laws: Arc<Laws>,
    manners: Manners,
    habit: Habit,
    forgets_end: bool,
    breaks_down: bool,
    acts: VecDeque<Act>,
    batches: u32,
    tries: u32,
    rng: Rng,
}

impl ScriptedChild {
    fn work(&mut self) -> Act {
        let hangs = self.manners.hangs > 0 && self.rng.u32(..self.manners.hangs) == 0;
        let most = u64::try_from(self.manners.slowest.as_millis()).unwrap();
        Act::Work(if hangs { self.manners.hang } else { Duration::from_millis(self.rng.u64(..=most)) })
    }

    fn take_batch(&mut self, numbers: &[u64]) {
        self.batches += 1;
        let work = self.work();
        self.acts.push_back(work);
        if self.manners.deaths > 0 && self.rng.u32(..self.manners.deaths) == 0 {
            self.acts.push_back(Act::Die);
        }
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return };
        match self.habit {
            Habit::EachBatch => self.acts.push_back(Act::Checkpoint(None)),
            Habit::EachNth(n) if self.batches.is_multiple_of(n) => self.acts.push_back(Act::Checkpoint(None)),
            Habit::EachNth(_) => {}
            Habit::SomeRecord => {
                let some = numbers[self.rng.usize(..numbers.len())];
                self.acts.push_back(Act::Checkpoint(Some(some)));
            }
            Habit::Restless => {
                self.acts.extend([Act::Checkpoint(Some(*last)), Act::Checkpoint(Some(*first))]);
            }
        }
    }

    /// The answer to a checkpoint; the last one of a life is tried again, as KCL's samples do.
    fn take_reply(&mut self, reply: &Value) {
        let error = reply["error"].as_str();
        self.laws.replied(self.life, reply["sequenceNumber"].as_str(), error);
        if let Some("ThrottlingException" | "KinesisClientLibDependencyException") = error
            && self.tries > 0
        {
            self.tries -= 1;
            self.acts.push_front(Act::Checkpoint(None));
            self.acts.push_front(Act::Work(Duration::from_millis(500)));
        }
    }
}

#[async_trait]
impl Child for ScriptedChild {
    async fn send(&mut self, line: &[u8]) -> std::io::Result<()> {
        let message: Value = serde_json::from_slice(line).unwrap();
        let action = message["action"].as_str().unwrap();
        if action == "checkpoint" {
            self.take_reply(&message);
            return Ok(());
        }
        self.tries = 0;
        let numbers: Vec<u64> = message["records"].as_array().map_or_else(Vec::new, |records| {
            records.iter().map(|record| record["sequenceNumber"].as_str().unwrap().parse().unwrap()).collect()
        });
        self.laws.told(self.life, action, &numbers);
        assert!(!self.breaks_down || numbers.is_empty(), "by script: a consumer breaks down");
        match action {
            "processRecords" => self.take_batch(&numbers),
            "shardEnded" if self.forgets_end => {}
            "shardEnded" | "shutdownRequested" => {
                self.tries = LAST_TRIES;
                self.acts.push_back(Act::Checkpoint(None));
            }
            _ => {
                let work = self.work();
                self.acts.push_back(work);
            }
        }
        self.acts.push_back(Act::Answer(action.to_owned()));
        Ok(())
    }

    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            match self.acts.front_mut() {
                None => std::future::pending().await, // has nothing to say until it is told something
                Some(act @ Act::Work(_)) => {
                    let Act::Work(time) = act else { continue };
                    *act = Act::Until(Instant::now() + *time);
                }
                Some(Act::Until(moment)) => {
                    sleep_until(*moment).await;
                    self.acts.pop_front();
                }
                Some(Act::Die) => return Ok(None),
                Some(Act::Checkpoint(_) | Act::Answer(_)) => break,
            }
        }
        let line = match self.acts.pop_front() {
            Some(Act::Checkpoint(number)) => {
                let number = number.map(|number| number.to_string());
                json!({"action": "checkpoint", "sequenceNumber": number, "subSequenceNumber": null})
            }
            Some(Act::Answer(action)) => {
                self.laws.answered(self.life, &action);
                json!({"action": "status", "responseFor": action})
            }
            Some(Act::Work(_) | Act::Until(_) | Act::Die) | None => unreachable!("they were passed above"),
        };
        Ok(Some(line.to_string().into_bytes()))
    }

    async fn gone(&mut self) {
        std::future::pending().await
    }

    async fn close(&mut self) -> std::io::Result<ExitStatus> {
        self.laws.closed(self.life);
        Ok(ExitStatus::default())
    }

    async fn end(&mut self, _: Duration) -> Death {
        self.laws.closed(self.life);
        Death::default()
    }
}

impl Drop for ScriptedChild {
    fn drop(&mut self) {
        self.laws.died(self.life);
    }
}
