//! What the tests of consumers share: children that talk by a script, and a worker's surroundings in memory.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use md5::{Digest as _, Md5};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::child::{Child, ChildLauncher, Death, LaunchError};
use crate::clock::PausedClock;
use crate::config::{Compatibility, OnPoison, Polling, Processing, ProtocolLevel, WhenChildFails};
use crate::consumer::Shared;
use crate::coordinator::renew::HeldLease;
use crate::coordinator::renew::keeper::Keeper;
use crate::coordinator::testing::{F, NOW, worker};
use crate::lease::Lease;
use crate::lease::memory::MemoryStore;
use crate::poison::target::Target;
use crate::progress::Unwatched;
use crate::retrieval::polling::PollingSource;
use crate::retrieval::prefetch::PrefetchLimits;
use crate::stream::memory::MemoryStream;
use crate::types::{InitialPosition, ShardId};

/// One thing that a child does when it was told something.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Answers the message.
    Answer,
    /// Prints this line.
    Line(&'static str),
    /// Asks for a checkpoint; without a number, at the last place.
    Checkpoint(Option<u64>),
    /// Works.
    Work(Duration),
    /// Ends; as the last of its acts, without having waited for the replies to what it said before.
    End,
    /// Ends while nothing is asked of it.
    Vanish,
}

/// Says and does nothing for ever: no [`Say`] at all.
pub(crate) const SILENCE: Vec<Say> = Vec::new();

/// What a child does: its number among its kind, and the message.
type Script = Arc<dyn Fn(usize, &str) -> Vec<Say> + Send + Sync>;

/// Starts children that follow one script, and writes down what they hear.
pub(crate) struct Nursery {
    script: Script,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    /// So many times yet the system refuses a process.
    pub(crate) refusals: AtomicU32,
    /// Its children do not care about the end of their input.
    pub(crate) stays: AtomicBool,
    hears: Hears,
}

/// What of a message the script is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    Action,
    /// Behind it, the sequence numbers of its records.
    Records,
}

impl Nursery {
    pub(crate) fn new(script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Arc<Self> {
        let (refusals, stays) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { script: Arc::new(script), heard: Arc::default(), refusals, stays, hears: Hears::Action })
    }

    /// One whose script hears of the records too.
    pub(crate) fn new_hearing(script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Arc<Self> {
        let (refusals, stays) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { script: Arc::new(script), heard: Arc::default(), refusals, stays, hears: Hears::Records })
    }

    pub(crate) fn child(&self) -> Box<dyn Child> {
        let mut heard = self.heard.lock().unwrap();
        heard.push(Vec::new());
        let number = heard.len() - 1;
        let (script, stays, hears) = (self.script.clone(), self.stays.load(Ordering::Relaxed), self.hears);
        Box::new(Scripted {
            number,
            script,
            hears,
            heard: self.heard.clone(),
            acts: VecDeque::new(),
            until: None,
            stays,
        })
    }

    /// What the n-th child heard, messages in short.
    pub(crate) fn heard(&self, number: usize) -> Vec<String> {
        self.heard.lock().unwrap().get(number).cloned().unwrap_or_default()
    }

    pub(crate) fn births(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

#[async_trait]
impl ChildLauncher for Nursery {
    async fn launch(&self, _: &ShardId) -> Result<Box<dyn Child>, LaunchError> {
        let refuses = |left: u32| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuses).is_ok() {
            let source = std::io::ErrorKind::WouldBlock.into();
            return Err(LaunchError::System { command: "app.py".to_owned(), source });
        }
        Ok(self.child())
    }
}

/// Checkpoints whatever it can.
pub(crate) fn obedient(_: usize, action: &str) -> Vec<Say> {
    match action {
        "initialize" | "leaseLost" => vec![Say::Answer],
        _ => vec![Say::Checkpoint(None), Say::Answer],
    }
}

struct Scripted {
    number: usize,
    script: Script,
    hears: Hears,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    acts: VecDeque<(Say, String)>,
    /// When the work it is at is done.
    until: Option<Instant>,
    stays: bool,
}

impl Scripted {
    /// Cancel-safe.
    async fn work(&mut self) {
        if let Some((Say::Work(time), _)) = self.acts.front() {
            sleep_until(*self.until.get_or_insert_with(|| Instant::now() + *time)).await;
            self.until = None;
            self.acts.pop_front();
        }
    }

    fn note(&self, what: String) {
        self.heard.lock().unwrap()[self.number].push(what);
    }
}

#[async_trait]
impl Child for Scripted {
    async fn send(&mut self, line: &[u8]) -> std::io::Result<()> {
        let message: serde_json::Value = serde_json::from_slice(line).unwrap();
        let action = message["action"].as_str().unwrap().to_owned();
        if action == "checkpoint" {
            if let Some((Say::End, _)) = self.acts.back() {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            self.note(format!("checkpoint {}", message["error"].as_str().unwrap_or("stored")));
            return Ok(());
        }
        let records = message["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let numbers = records.iter().map(|record| format!(" {}", record["sequenceNumber"].as_str().unwrap()));
        let told = format!("{action}{}", numbers.collect::<String>());
        self.note(told.clone());
        self.until = None;
        let told = if self.hears == Hears::Records { &told } else { &action };
        self.acts = (self.script)(self.number, told).into_iter().map(|act| (act, action.clone())).collect();
        if let Some((Say::End, _)) = self.acts.front() {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        self.work().await;
        let line = match self.acts.pop_front() {
            None => std::future::pending().await,
            Some((Say::Answer, action)) => format!(r#"{{"action":"status","responseFor":"{action}"}}"#),
            Some((Say::Line(line), _)) => line.to_owned(),
            Some((Say::Checkpoint(None), _)) => r#"{"action":"checkpoint"}"#.to_owned(),
            Some((Say::Checkpoint(Some(number)), _)) => {
                format!(r#"{{"action":"checkpoint","sequenceNumber":"{number}"}}"#)
            }
            Some((Say::Work(_) | Say::End | Say::Vanish, _)) => return Ok(None),
        };
        Ok(Some(line.into_bytes()))
    }

    async fn gone(&mut self) {
        self.work().await;
        if !matches!(self.acts.front(), Some((Say::Vanish, _))) {
            std::future::pending().await
        }
    }

    async fn close(&mut self) -> std::io::Result<ExitStatus> {
        self.note("end of input".to_owned());
        if self.stays {
            std::future::pending().await
        }
        Ok(ExitStatus::default())
    }

    async fn end(&mut self, _: Duration) -> Death {
        self.note("ended by force".to_owned());
        Death { status: Some(ExitStatus::default()), last_words: vec!["oh no".to_owned()] }
    }
}

/// A table, a stream of one shard, and the tasks of worker `a`.
pub(crate) struct Ground {
    pub(crate) table: MemoryStore,
    pub(crate) stream: Arc<MemoryStream>,
    pub(crate) keepers: JoinSet<()>,
    pub(crate) processing: Processing,
    pub(crate) dead_letters: Option<Arc<dyn Target>>,
    pub(crate) compatibility: Compatibility,
    pub(crate) clock: Arc<PausedClock>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(PausedClock::new(NOW));
        let processing = Processing {
            call_for_empty_lists: false,
            skip_shard_sync_if_leases_exist: false,
            child_timeout: Some(Duration::from_secs(60)),
            task_backoff: Duration::from_millis(500),
            shutdown_grace: Duration::from_secs(20),
            protocol_level: ProtocolLevel::Three,
            checkpoint_at_shard_end: false,
            when_child_fails: WhenChildFails::Restart,
            child_restart_limit: NonZeroU32::new(5).unwrap(),
            resume_latest: true,
            on_poison: OnPoison::Stop,
        };
        let stream = Arc::new(MemoryStream::new(1, clock.clone()));
        Self {
            table: MemoryStore::new(),
            stream,
            keepers: JoinSet::new(),
            processing,
            dead_letters: None,
            compatibility: Compatibility::Safe,
            clock,
        }
    }

    /// Puts the lease into the table and keeps it.
    pub(crate) fn hold(&mut self, lease: &Lease) -> HeldLease {
        self.table.put_lease(lease);
        let (keeper, held) = Keeper::new(Arc::new(self.table.clone()), worker("a"), F, lease.clone(), Instant::now());
        self.keepers.spawn(keeper.run());
        held
    }

    /// Puts one record; its sequence number.
    pub(crate) fn put(&self) -> String {
        self.stream.put(0, "key", b"data").1.as_str().to_owned()
    }

    pub(crate) fn shared(&self, launcher: Arc<Nursery>) -> Arc<Shared> {
        let polling = Polling {
            max_records: 10,
            idle: Duration::from_millis(500),
            follows_arrivals: false,
            reduced_tps_threshold: Duration::ZERO,
        };
        let (initial, clock) = (InitialPosition::TrimHorizon, self.clock.clone());
        Arc::new(Shared {
            leases: Arc::new(self.table.clone()),
            source: Arc::new(PollingSource::in_memory(self.stream.clone(), polling, initial, clock)),
            launcher,
            progress: Arc::new(Unwatched),
            application: "app".to_owned(),
            stream: "words".to_owned(),
            clock: self.clock.clone(),
            processing: self.processing.clone(),
            dead_letters: self.dead_letters.clone(),
            compatibility: self.compatibility,
            parent_poll: Duration::from_secs(10),
            read_ahead: PrefetchLimits::POLLING,
            ended: Notify::new(),
        })
    }
}

/// An aggregate of so many user records without data.
pub(crate) fn crowd(records: usize) -> Vec<u8> {
    let record: &[u8] = b"\x1a\x04\x08\x00\x1a\x00"; // field 3: partition key 0, no bytes
    let message = [b"\x0a\x01k", record.repeat(records).as_slice()].concat();
    [b"\xf3\x89\x9a\xc2", message.as_slice(), Md5::digest(&message).as_slice()].concat()
}
