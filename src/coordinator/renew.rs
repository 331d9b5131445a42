//! A lease in our hands: what its consumer may ask of it, and whether it is still ours.
//!
//! A handle only; the [`keeper`] behind it does the writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::lease::LeaseStoreError;
use crate::stream::ChildShard;
use crate::types::{Checkpoint, EpochMillis, ShardId, WorkerId};

pub mod keeper;
pub mod rate;
pub mod slots;

/// How a held lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Ours.
    Held,
    /// Ours, and this worker is waiting for it.
    Wanted(WorkerId),
    /// Not ours any more, for whatever reason. Never changes again.
    Lost,
}

/// Why a checkpoint was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The lease is not ours any more.
    #[error("the lease is not held any more")]
    NotOwner,
    /// The table refused for load until the tries were used up.
    #[error("the lease table throttled the checkpoint")]
    Throttled,
    /// The table knows of a later one: an earlier write of ours that was given up has come through.
    #[error("checkpoint `{wanted}` lies before `{stored}`, which is stored already")]
    MovesBack {
        /// What was to be stored.
        wanted: Checkpoint,
        /// What is.
        stored: Checkpoint,
    },
    /// The table is gone.
    #[error("the lease table does not exist any more")]
    TableMissing,
    /// Anything else.
    #[error("the lease table could not store the checkpoint")]
    Failed(#[source] LeaseStoreError),
}

#[derive(Debug)]
enum Command {
    Checkpoint { at: Checkpoint, reply: oneshot::Sender<Result<(), NotStored>> },
    NoteChildren { children: Vec<ChildShard>, reply: oneshot::Sender<Result<(), LeaseStoreError>> },
    NoteLatest { since: EpochMillis, reply: oneshot::Sender<Result<(), LeaseStoreError>> },
    GiveBack { reply: oneshot::Sender<()> },
    Renew,
    Forget,
}

/// A lease in our hands. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct HeldLease {
    shard: ShardId,
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Standing>,
    stored: watch::Receiver<Checkpoint>,
    /// When the lease is as old as the failover time, unless it is renewed before that.
    expires: watch::Receiver<Instant>,
    read_bytes: Arc<AtomicU64>,
}

impl HeldLease {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Whether both are the same hold on the same lease, and not one before and one after it was lost.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.commands.same_channel(&other.commands)
    }

    /// How the lease stands now. Looks at the lease's age itself, because whoever asks may have been faster to wake
    /// from a standstill of the whole process than the keeper.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let expired = Instant::now() >= *self.expires.borrow();
        if expired || self.commands.is_closed() { Standing::Lost } else { self.standing.borrow().clone() }
    }

    /// Waits until the lease is wanted by another worker or lost. Cancel-safe.
    pub async fn until_called_for(&self) -> Standing {
        let mut standing = self.standing.clone();
        match standing.wait_for(|now| *now != Standing::Held).await {
            Ok(now) => now.clone(),
            Err(_) => Standing::Lost,
        }
    }

    /// Waits until the lease is lost. Cancel-safe.
    pub async fn until_lost(&self) {
        let mut standing = self.standing.clone();
        let _closed_is_lost_too = standing.wait_for(|now| *now == Standing::Lost).await;
    }

    /// The last checkpoint that is known to be stored.
    #[must_use]
    pub fn last_checkpoint(&self) -> Checkpoint {
        self.stored.borrow().clone()
    }

    /// Stores a checkpoint.
    ///
    /// # Errors
    /// It is not stored; the variants are what the child may be told.
    pub async fn checkpoint(&self, at: Checkpoint) -> Result<(), NotStored> {
        self.ask(|reply| Command::Checkpoint { at, reply }).await.unwrap_or(Err(NotStored::NotOwner))
    }

    /// Notes the shards that follow in the lease's row.
    ///
    /// # Errors
    /// The table could not be asked, or the row is gone.
    pub async fn note_children(&self, children: Vec<ChildShard>) -> Result<(), LeaseStoreError> {
        self.ask(|reply| Command::NoteChildren { children, reply }).await.unwrap_or_else(|| Err(self.gone()))
    }

    /// Notes in the lease's row when the newest record was first asked for, which is where whoever has the lease next
    /// begins unless something is checkpointed.
    ///
    /// # Errors
    /// The table could not be asked, or the row is not as we know it.
    pub async fn note_latest(&self, since: EpochMillis) -> Result<(), LeaseStoreError> {
        self.ask(|reply| Command::NoteLatest { since, reply }).await.unwrap_or_else(|| Err(self.gone()))
    }

    fn gone(&self) -> LeaseStoreError {
        LeaseStoreError::Unusable(format!("lease of `{}` is not held any more", self.shard))
    }

    /// Has the lease renewed now instead of when it is due, as there is reason to doubt that it is still ours; what
    /// comes of that is seen in its standing.
    pub async fn doubt(&self) {
        let _already_gone = self.commands.send(Command::Renew).await;
    }

    /// Gives the lease to the worker that wants it, else to nobody, and ends. Returns when that is written, or when
    /// it is clear that it cannot be.
    pub async fn give_back(&self) {
        let _already_gone = self.ask(|reply| Command::GiveBack { reply }).await;
    }

    /// Ends the keeping without a write; the lease is left to grow old.
    pub async fn forget(&self) {
        let _already_gone = self.commands.send(Command::Forget).await;
    }

    /// Counts bytes given to the child, for the throughput in the lease's row.
    pub fn count_bytes(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Whether a lease that was just found must prove to be ours before anybody works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The table has just said so in answer to our own write, sent at this moment.
    Given(Instant),
    /// It was read, maybe from an old copy: renew first.
    Needed,
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
#[path = "renew_tests.rs"]
mod tests;
