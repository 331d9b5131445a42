//! The conversation with one child: a message, its checkpoints, its answer. One message at a time, always.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::checkpoint::{CheckpointError, CheckpointRejected, Checkpointer, Decision};
use crate::child::exchange::{Skipped, Step, step_at};
use crate::child::message::Action;
use crate::child::{Child, Death, dialect, encode};
use crate::config::ProtocolLevel;
use crate::consumer::ChildFailure;
use crate::coordinator::renew::{HeldLease, NotStored, chain};
use crate::progress::Progress;
use crate::record::Record;
use crate::types::{Checkpoint, ShardId};

/// Unexpected lines of a child, and checkpoints that it may not have, that are logged before the rest goes to debug.
const LINES_LOGGED: u32 = 20;
/// How long a child that failed may take to end once it was told to terminate.
const FAILED_CHILD_LIMIT: Duration = Duration::from_secs(5);
/// Longest piece of what a child says that is logged, in bytes.
const LINE_SHOWN: usize = 512;

/// Whether the child may checkpoint while it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checkpoints {
    Allowed,
    Refused,
}

/// What is sent: a line, or records that become one on their way.
enum Message<'a> {
    Line(&'a [u8]),
    Batch(&'a [Record], Option<i64>),
}

/// One child and what it may checkpoint.
pub struct Conversation {
    shard: ShardId,
    child: Box<dyn Child>,
    held: HeldLease,
    checkpointer: Checkpointer,
    timeout: Option<Duration>,
    level: ProtocolLevel,
    skipped: u32,
    refused: u32,
    /// Checkpoints in a row that could not be stored.
    unstored: u32,
}

impl Conversation {
    /// Begins with a fresh child of the shard that `held` is about, whose lease says `stored`.
    #[must_use]
    pub fn new(child: Box<dyn Child>, held: HeldLease, stored: Checkpoint, timeout: Option<Duration>) -> Self {
        let checkpointer = Checkpointer::new(stored);
        Self {
            shard: held.shard().clone(),
            child,
            held,
            checkpointer,
            timeout,
            level: ProtocolLevel::default(),
            skipped: 0,
            refused: 0,
            unstored: 0,
        }
    }

    /// The same with a child of another generation.
    #[must_use]
    pub fn at_level(self, level: ProtocolLevel) -> Self {
        Self { level, ..self }
    }

    /// The bounds of the child's checkpoints.
    pub fn checkpointer(&mut self) -> &mut Checkpointer {
        &mut self.checkpointer
    }

    /// Tells the child to do `action`, one of those that end its work, in the words of its generation.
    ///
    /// # Errors
    /// The conversation is over.
    pub async fn end(&mut self, action: Action, progress: &dyn Progress) -> Result<(), ChildFailure> {
        let line = dialect::ending(self.level, action, self.checkpointer.last());
        self.tell(action, &line, progress).await
    }

    /// Stores the end of the shard for a child that answered `shardEnded` and did not, if nothing it was given is left
    /// without a checkpoint (`multilangd.checkpointAtShardEnd`).
    pub async fn store_end(&mut self, progress: &dyn Progress) {
        if self.checkpointer.is_complete() && self.store(Checkpoint::ShardEnd, progress).await.is_ok() {
            info!(shard = %self.shard, "stored the end of the shard, as its child did not");
        }
    }

    /// Sends `line`, which tells the child to do `action`, and waits until it says that it has.
    ///
    /// # Errors
    /// The conversation is over.
    pub async fn tell(&mut self, action: Action, line: &[u8], progress: &dyn Progress) -> Result<(), ChildFailure> {
        self.exchange(action, Message::Line(line), progress).await
    }

    /// Gives the child a batch, and waits until it is done with it.
    ///
    /// # Errors
    /// The conversation is over.
    pub async fn deliver(
        &mut self,
        records: &[Record],
        millis_behind: Option<i64>,
        progress: &dyn Progress,
    ) -> Result<(), ChildFailure> {
        self.exchange(Action::ProcessRecords, Message::Batch(records, millis_behind), progress).await
    }

    async fn exchange(
        &mut self,
        action: Action,
        message: Message<'_>,
        progress: &dyn Progress,
    ) -> Result<(), ChildFailure> {
        let checkpoints = match action {
            Action::ProcessRecords | Action::ShardEnded | Action::ShutdownRequested => Checkpoints::Allowed,
            Action::Initialize | Action::LeaseLost => Checkpoints::Refused,
        };
        let begin = |source| ChildFailure::Write { message: action.as_str(), source };
        let mut deadline = self.deadline();
        let send = async {
            match message {
                Message::Line(line) => self.child.send(line).await,
                Message::Batch(records, millis_behind) => self.child.send_batch(records, millis_behind).await,
            }
        };
        within(deadline, send).await.ok_or_else(|| self.late(action))?.map_err(begin)?;
        loop {
            let received = within(deadline, self.child.receive()).await.ok_or_else(|| self.late(action))?;
            let line = received.map_err(|source| ChildFailure::Read { awaited: action, source })?;
            let Some(line) = line else { return Err(ChildFailure::Ended { awaited: action }) };
            match step_at(self.level, action, &line) {
                Step::Finished => return Ok(()),
                Step::WrongAnswer { awaited, answered } => {
                    let answered = answered.map(|answered| shown(answered.as_bytes()));
                    return Err(ChildFailure::WrongAnswer { awaited, answered });
                }
                Step::NullMessage => return Err(ChildFailure::Null { awaited: action }),
                Step::Checkpoint { sequence, sub } => {
                    let error = self.checkpoint(checkpoints, sequence.as_deref(), sub, progress).await;
                    let reply = encode::checkpoint_reply(sequence.as_deref(), sub, error);
                    let late = |source| ChildFailure::Write { message: "checkpoint", source };
                    deadline = self.deadline(); // each message starts the clock anew (PROTOCOL.md section 5)
                    match within(deadline, self.child.send(&reply)).await.ok_or_else(|| self.late(action))? {
                        // what it answered before it ended is still in the pipe
                        Err(_) if dialect::may_end(self.level, action) => {}
                        sent => sent.map_err(late)?,
                    }
                }
                Step::Skip { reason } => {
                    if matches!(reason, Skipped::Senseless(_)) {
                        deadline = self.deadline();
                    }
                    self.note_skipped(&line, &reason);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|limit| Instant::now() + limit)
    }

    fn late(&self, awaited: Action) -> ChildFailure {
        ChildFailure::TimedOut { awaited, limit: self.timeout.unwrap_or_default() }
    }

    /// Performs one checkpoint request; returns the error's name for the child.
    async fn checkpoint(
        &mut self,
        checkpoints: Checkpoints,
        sequence: Option<&str>,
        sub: Option<i64>,
        progress: &dyn Progress,
    ) -> Option<&'static str> {
        if checkpoints == Checkpoints::Refused {
            return Some(CheckpointError::InvalidState.java_name());
        }
        self.catch_up();
        match self.checkpointer.decide(sequence, sub) {
            Decision::AlreadyThere => None,
            Decision::Refused(rejected) => {
                self.note_refused(&rejected);
                Some(rejected.java_name())
            }
            Decision::Write(at) => {
                let stored = self.store(at, progress).await;
                stored.err().map(|error| name_for_child(error).java_name())
            }
        }
    }

    async fn store(&mut self, at: Checkpoint, progress: &dyn Progress) -> Result<(), NotStored> {
        let stored = self.held.checkpoint(at.clone()).await;
        match &stored {
            Ok(()) => {
                debug!(shard = %self.shard, checkpoint = %at, "checkpointed");
                if std::mem::take(&mut self.unstored) > 1 {
                    info!(shard = %self.shard, checkpoint = %at, "checkpoints are stored again");
                }
                progress.checkpointed(&self.shard, &at);
                self.checkpointer.written(at);
            }
            Err(error) => {
                self.unstored = self.unstored.saturating_add(1);
                let (shard, error) = (&self.shard, chain(error));
                match self.unstored {
                    1 => warn!(%shard, checkpoint = %at, %error, "checkpoint was not stored"),
                    _ => debug!(%shard, checkpoint = %at, %error, "checkpoint was not stored either"),
                }
                self.catch_up();
            }
        }
        stored
    }

    /// A checkpoint whose answer was lost may be known to be stored by now.
    fn catch_up(&mut self) {
        let stored = self.held.last_checkpoint();
        if stored > *self.checkpointer.last() {
            self.checkpointer.written(stored);
        }
    }

    /// Some children ask for a checkpoint with each record.
    fn note_refused(&mut self, rejected: &CheckpointRejected) {
        self.refused = self.refused.saturating_add(1);
        let (shard, rejected) = (&self.shard, shown(rejected.to_string().as_bytes()));
        match self.refused {
            0..LINES_LOGGED => warn!(%shard, %rejected, "refused a checkpoint of the child"),
            LINES_LOGGED => {
                warn!(%shard, %rejected, "child goes on asking for checkpoints it may not have; the rest is logged at debug")
            }
            _ => debug!(%shard, %rejected, "refused a checkpoint of the child"),
        }
    }

    fn note_skipped(&mut self, line: &[u8], reason: &Skipped) {
        if matches!(reason, Skipped::Empty) {
            return;
        }
        self.skipped = self.skipped.saturating_add(1);
        let (shown, shard) = (shown(line), &self.shard);
        match self.skipped {
            0..LINES_LOGGED => info!(%shard, line = %shown, "Skipping unexpected line on STDOUT for shard {shard}"),
            LINES_LOGGED => {
                info!(%shard, "child goes on printing lines that are no messages; the rest is logged at debug")
            }
            _ => debug!(%shard, line = %shown, "Skipping unexpected line on STDOUT for shard {shard}"),
        }
    }

    /// Waits until the child has ended though nothing is asked of it. Cancel-safe, and takes nothing of what it says.
    pub async fn gone(&mut self) {
        self.child.gone().await;
    }

    /// Ends a child that has failed, by force if need be.
    pub async fn end_by_force(mut self) -> Death {
        self.child.end(FAILED_CHILD_LIMIT).await
    }

    /// Closes the child's input and waits for its end; after `limit` it is told to terminate, and killed if need be.
    pub async fn close(mut self, limit: Option<Duration>) {
        let deadline = limit.map(|limit| Instant::now() + limit);
        match within(deadline, self.child.close()).await {
            Some(Ok(status)) => debug!(shard = %self.shard, %status, "child ended"),
            Some(Err(error)) => warn!(shard = %self.shard, %error, "child could not be waited for"),
            None => {
                let death = self.child.end(FAILED_CHILD_LIMIT).await;
                warn!(shard = %self.shard, ?limit, "child did not end after its input was closed, so it was told to{death}");
            }
        }
    }
}

/// As much of it as is worth a place in the log: a child may say a megabyte where a word is due.
fn shown(said: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(&said[..said.len().min(LINE_SHOWN)]).into_owned();
    if said.len() > LINE_SHOWN {
        shown.push('…');
    }
    shown
}

async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// Source: PROTOCOL.md section 4, table of `error` values.
fn name_for_child(error: NotStored) -> CheckpointError {
    match error {
        NotStored::MovesBack { wanted, stored: last } => CheckpointRejected::MovesBack { wanted, last }.into(),
        NotStored::NotOwner => CheckpointError::LeaseLost,
        NotStored::Throttled => CheckpointError::Throttled,
        NotStored::TableMissing => CheckpointError::InvalidState,
        NotStored::Failed(_) => CheckpointError::Dependency,
    }
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
