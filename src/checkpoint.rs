//! Where a child may checkpoint: one [`Checkpointer`] per shard and per time its lease is held.
//!
//! Pure: it decides, the driver writes the lease row and then tells [`Checkpointer::written`].
//! It never looks at the lease table and never retries.

use crate::types::{Checkpoint, ExtendedSequenceNumber, NotACheckpoint};

/// Why a checkpoint did not happen, in the terms of the child's next move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The child asked for a place it may not have.
    #[error(transparent)]
    Rejected(#[from] CheckpointRejected),
    /// No checkpoint is possible now: during `initialize` and `leaseLost`, or the lease table is gone.
    #[error("no checkpoint is possible in this state")]
    InvalidState,
    /// This worker does not hold the lease any more.
    #[error("the lease is not held any more")]
    LeaseLost,
    /// The lease table refused for its provisioned throughput.
    #[error("the lease table throttled the request")]
    Throttled,
    /// Any other fault of the lease table.
    #[error("the lease table could not be written")]
    Dependency,
}

impl CheckpointError {
    /// The simple class name that a Java daemon puts into the `error` field of its reply.
    ///
    /// Source: PROTOCOL.md section 4, table of `error` values.
    #[must_use]
    pub fn java_name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "IllegalArgumentException",
            Self::InvalidState => "InvalidStateException",
            Self::LeaseLost => "ShutdownException",
            Self::Throttled => "ThrottlingException",
            Self::Dependency => "KinesisClientLibDependencyException",
        }
    }
}

/// Which bound a wanted checkpoint crosses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointRejected {
    /// Neither digits nor one of the four words.
    #[error(transparent)]
    NotAPlace(#[from] NotACheckpoint),
    /// A sub-sequence number below 0.
    #[error("sub-sequence number `{0}` is negative")]
    NegativeSub(i64),
    /// It lies before the last checkpoint.
    #[error("checkpoint `{wanted}` lies before the last checkpoint `{last}`")]
    MovesBack {
        /// What the child asked for.
        wanted: Checkpoint,
        /// The last checkpoint.
        last: Checkpoint,
    },
    /// It lies after everything that was delivered.
    #[error("checkpoint `{wanted}` lies after `{permitted}`, the last place delivered")]
    PassesDelivered {
        /// What the child asked for.
        wanted: Checkpoint,
        /// The largest place it may have.
        permitted: Checkpoint,
    },
}

impl CheckpointRejected {
    /// The simple class name that a Java daemon answers, the same for every bound.
    #[must_use]
    pub fn java_name(&self) -> &'static str {
        CheckpointError::Rejected(self.clone()).java_name()
    }
}

/// What to do with one request of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write this to the lease row; answer success once it is there.
    Write(Checkpoint),
    /// Answer success; the lease row already says so.
    AlreadyThere,
    /// Answer with the error's name.
    Refused(CheckpointRejected),
}

/// The bounds of a shard's checkpoints.
///
/// Source: KCL 3.x `ShardRecordProcessorCheckpointer`.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    last: Checkpoint,
    largest_permitted: Checkpoint,
    at_shard_end: Option<Checkpoint>,
}

impl Checkpointer {
    /// Begins at the checkpoint that the lease row holds.
    #[must_use]
    pub fn new(stored: Checkpoint) -> Self {
        Self { last: stored.clone(), largest_permitted: stored, at_shard_end: None }
    }

    /// Notes the greatest place of a batch, before the batch goes to the child. A smaller place changes nothing.
    ///
    /// Source: KCL 3.x `ProcessTask.filterAndGetMaxExtendedSequenceNumber`.
    pub fn delivered(&mut self, place: ExtendedSequenceNumber) {
        let place = Checkpoint::At(place);
        if place > self.largest_permitted {
            self.largest_permitted = place;
        }
    }

    /// Notes that everything was delivered and the shard is closed; before the child is told.
    ///
    /// From now on a checkpoint at the last place delivered counts as the end of the shard.
    ///
    /// Source: KCL 3.x `ShutdownTask.takeShardEndAction`.
    pub fn shard_ended(&mut self) {
        if self.at_shard_end.is_none() {
            self.at_shard_end = Some(std::mem::replace(&mut self.largest_permitted, Checkpoint::ShardEnd));
        }
    }

    /// Whether the shard has ended and its last place delivered is checkpointed, so that to store the end says nothing
    /// about any record that the child has not said itself. True too if nothing was delivered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.at_shard_end.as_ref().is_some_and(|end| end.same_text(&self.last))
    }

    /// Decides one request. Without a sequence number it is about the largest permitted place, and `sub` is ignored;
    /// without `sub` it is about the first user record of the sequence number.
    ///
    /// Source: KCL 3.x `MultiLangProtocol.checkpoint`, `ShardRecordProcessorCheckpointer.advancePosition`.
    #[must_use]
    pub fn decide(&self, sequence: Option<&str>, sub: Option<i64>) -> Decision {
        let wanted = match sequence {
            None => self.largest_permitted.clone(),
            Some(sequence) => match self.within_bounds(sequence, sub.unwrap_or(0)) {
                Ok(wanted) => wanted,
                Err(rejected) => return Decision::Refused(rejected),
            },
        };
        if wanted.same_text(&self.last) {
            return Decision::AlreadyThere; // asked before the promotion: a stored last record stays a number
        }
        match &self.at_shard_end {
            Some(end) if end.same_text(&wanted) => Decision::Write(Checkpoint::ShardEnd),
            Some(_) | None => Decision::Write(wanted),
        }
    }

    fn within_bounds(&self, sequence: &str, sub: i64) -> Result<Checkpoint, CheckpointRejected> {
        let sub = u64::try_from(sub).map_err(|_| CheckpointRejected::NegativeSub(sub))?;
        let wanted = Checkpoint::parse(sequence, sub)?;
        if wanted < self.last {
            return Err(CheckpointRejected::MovesBack { wanted, last: self.last.clone() });
        }
        if wanted > self.largest_permitted {
            return Err(CheckpointRejected::PassesDelivered { wanted, permitted: self.largest_permitted.clone() });
        }
        Ok(wanted)
    }

    /// Notes that the lease row now holds `checkpoint`.
    pub fn written(&mut self, checkpoint: Checkpoint) {
        self.last = checkpoint;
    }

    /// The last checkpoint, which records must lie beyond to be delivered.
    #[must_use]
    pub fn last(&self) -> &Checkpoint {
        &self.last
    }

    /// The greatest place that a child may checkpoint.
    #[must_use]
    pub fn largest_permitted(&self) -> &Checkpoint {
        &self.largest_permitted
    }
}

#[cfg(test)]
mod tests;
