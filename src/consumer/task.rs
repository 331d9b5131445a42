//! The life of one shard's consumer, step by step.
//!
//! Order of messages to the child: `initialize`, `processRecords`*, then exactly one of `shardEnded`, `leaseLost`, or
//! `shutdownRequested` and `leaseLost`, then the end of its input (Source: LIFECYCLE.md section 9).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::child::message::Action;
use crate::child::{Death, dialect, encode};
use crate::config::{Compatibility, WhenChildFails};
use crate::consumer::end::hand_on;
use crate::consumer::parent::wait_for_parents;
use crate::consumer::talk::Conversation;
use crate::consumer::{ChildFailure, Failure, Outcome, Shared};
use crate::coordinator::Assignment;
use crate::coordinator::renew::{HeldLease, Standing, chain};
use crate::lease::Lease;
use crate::poison::Hunt;
use crate::progress::ShardState;
use crate::retrieval::Since;
use crate::retrieval::prefetch::Prefetch;
use crate::stream::ChildShard;
use crate::types::{Checkpoint, ExtendedSequenceNumber};

mod deliver;

use deliver::Delivery;

/// How long a child that forgot the end of its shard may take to end, as a fresh one waits for it.
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// How long any other child may take to end once its input is closed: the shard may come back to us, and waits.
const CLOSED_LIMIT: Duration = Duration::from_secs(60);
/// How long everything may take when the time for a graceful stop is over.
const ABANDON_LIMIT: Duration = Duration::from_millis(500);
/// How often a Java worker compares its consumers with its leases; in between a consumer goes on without one
/// (Source: KCL 3.x `Scheduler.runProcessLoop`, `CoordinatorConfig.shardConsumerDispatchPollIntervalMillis`).
const JAVA_LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Why the consumer must leave its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Stop,
    Wanted,
    Lost,
    /// What follows the shard is not known for certain; its end is to be read again.
    Unclear,
}

pub(super) struct ShardTask<'a> {
    shared: Arc<Shared>,
    lease: Lease,
    held: HeldLease,
    talk: Option<Conversation>,
    readers: JoinSet<()>,
    /// Decides how much of a batch goes into one message; all of it, unless poison is looked for.
    hunt: &'a mut Hunt,
    /// The last record that was left out, if that was the last of its part of a batch.
    left_out: Option<ExtendedSequenceNumber>,
    /// When the shard's newest record was first asked for under this lease, if it was.
    since: Since,
}

impl<'a> ShardTask<'a> {
    pub(super) fn new(shared: Arc<Shared>, assignment: Assignment, hunt: &'a mut Hunt, since: Since) -> Self {
        let Assignment { lease, held } = assignment;
        Self { shared, lease, held, talk: None, readers: JoinSet::new(), hunt, left_out: None, since }
    }

    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Outcome {
        if self.lease.is_finished() {
            return Outcome::Finished; // a former owner's work; its cleanup is ours now
        }
        self.enter(ShardState::WaitingForParents);
        let called = tokio::select! {
            biased;
            call = called(&self.held, stop, Duration::ZERO) => Some(call),
            () = wait_for_parents(&self.shared, &self.lease) => None,
        };
        let outcome = match called {
            Some(call) => self.leave(call).await,
            // After a standstill of the whole process this may be known before the keeper says so; no child need begin.
            None if self.held.standing() == Standing::Lost => self.leave(Call::Lost).await,
            None => self.work(stop).await,
        };
        self.readers.shutdown().await;
        outcome
    }

    /// The time for a graceful stop is over: the child sees the end of its input, and is killed if that does not help.
    pub(super) async fn abandon(mut self) -> Outcome {
        self.readers.abort_all();
        if let Some(talk) = self.talk.take() {
            let _or_it_is_killed = timeout(ABANDON_LIMIT, talk.close(None)).await;
        }
        let _it_will_expire = timeout(ABANDON_LIMIT, self.held.give_back()).await;
        self.enter(ShardState::Released);
        Outcome::LeaseGone
    }

    fn enter(&self, state: ShardState) {
        self.shared.progress.state(self.held.shard(), state);
    }

    async fn work(&mut self, stop: &CancellationToken) -> Outcome {
        self.enter(ShardState::Initializing);
        let shard = self.held.shard().clone();
        let child = match self.shared.launcher.launch(&shard).await {
            Ok(child) => child,
            Err(error) => return self.fail(error.into()).await,
        };
        let from = self.lease.checkpoint.clone();
        let reader = self.shared.source.open_again(&shard, &from, self.since.clone());
        if let Some(rivals) = reader.rivals() {
            self.readers.spawn(doubt_at_each(rivals, self.held.clone()));
        }
        let mut batches = Prefetch::start(reader, self.shared.read_ahead.clone(), &mut self.readers);
        let hello = encode::initialize(&shard, &from);
        let processing = &self.shared.processing;
        let talk = Conversation::new(child, self.held.clone(), from, processing.child_timeout);
        self.talk = Some(talk.at_level(processing.protocol_level));
        if let Err(failure) = self.tell(Action::Initialize, &hello).await {
            return self.fail_child(failure).await;
        }
        info!(%shard, checkpoint = %self.lease.checkpoint, "reading shard");
        self.enter(ShardState::Processing);
        let held = self.held.clone();
        let unnoticed = match self.shared.compatibility {
            Compatibility::Safe => Duration::ZERO,
            Compatibility::Strict => JAVA_LOOKS_EVERY,
        };
        // one wait for all batches: what has begun to count must not begin anew with each of them
        let mut call = std::pin::pin!(called(&held, stop, unnoticed));
        let mut is_noted = !self.shared.processing.resume_latest || self.lease.checkpoint != Checkpoint::Latest;
        loop {
            let batch = tokio::select! {
                biased;
                call = &mut call => return self.leave(call).await,
                batch = batches.recv() => batch,
                // Java notices at the next message only
                () = gone(&mut self.talk), if self.shared.compatibility == Compatibility::Safe => {
                    return self.fail_child(ChildFailure::Gone).await;
                }
            };
            let Some(mut batch) = batch else {
                return self.fail(Failure::ReaderGone { shard }).await;
            };
            is_noted = is_noted || self.note_latest().await;
            if is_noted && !self.shared.processing.call_for_empty_lists {
                batches.only_news();
            }
            match self.deliver(&mut batch).await {
                Ok(Delivery::Done) => {}
                Ok(Delivery::LeaseTooOld) => return self.leave(Call::Lost).await,
                Ok(Delivery::Damaged(fault)) => return self.fail(Failure::Damaged { shard, fault }).await,
                Err(failure) => return self.fail_child(failure).await,
            }
            if let Some(children) = batch.end {
                drop(batches);
                return self.end(&children, stop).await;
            }
        }
    }

    /// Writes down at which moment the shard began, so that whoever reads it next begins there, too, unless something is
    /// checkpointed; whether nothing of that is left to do.
    async fn note_latest(&mut self) -> bool {
        let Some(since) = self.since.get().copied() else { return false };
        if self.held.last_checkpoint() != Checkpoint::Latest || self.lease.latest_since == Some(since) {
            return true;
        }
        let noted = self.held.note_latest(since).await;
        if let Err(error) = &noted {
            warn!(shard = %self.held.shard(), error = %chain(error),
                "the moment that LATEST stands for is not in the lease yet, trying again with the next batch");
        }
        noted.is_ok()
    }

    async fn tell(&mut self, action: Action, line: &[u8]) -> Result<(), ChildFailure> {
        match &mut self.talk {
            Some(talk) => talk.tell(action, line, &*self.shared.progress).await,
            None => Ok(()),
        }
    }

    async fn tell_end(&mut self, action: Action) -> Result<(), ChildFailure> {
        match &mut self.talk {
            Some(talk) => talk.end(action, &*self.shared.progress).await,
            None => Ok(()),
        }
    }

    async fn end(&mut self, children: &[ChildShard], stop: &CancellationToken) -> Outcome {
        let shard = self.held.shard().clone();
        info!(%shard, children = children.len(), "Reached end of shard {shard}");
        self.enter(ShardState::Ending);
        if !children.is_empty() {
            tokio::select! {
                biased;
                call = called(&self.held, stop, Duration::ZERO) => return self.leave(call).await,
                handed = hand_on(&self.shared, &self.held, children) => if handed.is_err() {
                    return self.leave(Call::Unclear).await;
                }
            }
        }
        if self.held.standing() == Standing::Lost {
            return self.leave(Call::Lost).await;
        }
        if let Some(talk) = &mut self.talk {
            talk.checkpointer().shard_ended();
        }
        if let Err(failure) = self.tell_end(Action::ShardEnded).await {
            return self.fail_child(failure).await;
        }
        let Some(mut talk) = self.talk.take() else { return Outcome::EndNotCheckpointed };
        if self.shared.processing.checkpoint_at_shard_end {
            talk.store_end(&*self.shared.progress).await;
        }
        let is_checkpointed = *talk.checkpointer().last() == Checkpoint::ShardEnd;
        talk.close(self.limit(if is_checkpointed { CLOSED_LIMIT } else { RETRY_LIMIT })).await;
        if is_checkpointed {
            self.enter(ShardState::Ended);
            return Outcome::Finished;
        }
        if self.held.standing() == Standing::Lost {
            return Outcome::LeaseGone;
        }
        Outcome::EndNotCheckpointed
    }

    /// Leaves the shard in good order.
    async fn leave(&mut self, call: Call) -> Outcome {
        let shard = self.held.shard().clone();
        debug!(%shard, ?call, "leaving shard");
        if call != Call::Lost {
            self.enter(ShardState::ShutdownRequested);
            if let (Some(place), Some(talk)) = (self.left_out.take(), &mut self.talk) {
                talk.checkpointer().delivered(place); // its trace lasts: nobody need meet it again
            }
            match self.tell_end(Action::ShutdownRequested).await {
                Err(failure) if self.may_be_gone(&failure) => {
                    debug!(%shard, %failure, "child ended when asked to stop")
                }
                Err(failure) => warn!(%shard, %failure, "child failed while it was asked to stop"),
                Ok(()) => {}
            }
            self.held.give_back().await;
        }
        let lost = self.tell_end(Action::LeaseLost).await;
        let stops_all = self.shared.processing.when_child_fails == WhenChildFails::Exit;
        let has_failed = lost.is_err();
        match (lost, call) {
            (Err(failure), Call::Stop | Call::Wanted | Call::Unclear) if self.may_be_gone(&failure) => {
                debug!(%shard, %failure, "child had ended when it was told to leave");
            }
            (Err(failure), Call::Lost | Call::Wanted | Call::Unclear) if stops_all => {
                return self.fail_child(failure).await;
            }
            (Err(failure), _) => warn!(%shard, %failure, "child failed while it was told to leave"),
            (Ok(()), _) => {}
        }
        match self.talk.take() {
            Some(talk) if has_failed && self.shared.compatibility == Compatibility::Safe => {
                let death = talk.end_by_force().await;
                debug!(%shard, "child that failed while it was told to leave{death}");
            }
            Some(talk) => talk.close(self.limit(CLOSED_LIMIT)).await,
            None => {}
        }
        self.enter(ShardState::Released);
        info!(%shard, "left shard");
        Outcome::LeaseGone
    }

    /// Whether a child that was asked to stop failed in no other way than those of its generation do.
    fn may_be_gone(&self, failure: &ChildFailure) -> bool {
        let level = self.shared.processing.protocol_level;
        failure.is_end() && dialect::may_end(level, Action::ShutdownRequested)
    }

    /// Java waits for the end of a child without limit.
    fn limit(&self, ours: Duration) -> Option<Duration> {
        (self.shared.compatibility == Compatibility::Safe).then_some(ours)
    }

    async fn fail_child(&mut self, failure: ChildFailure) -> Outcome {
        let shard = self.held.shard().clone();
        self.fail(Failure::Child { shard, failure, death: Death::default() }).await
    }

    /// Ends the child. The lease is kept if there may be another one, and given back if not.
    async fn fail(&mut self, failure: Failure) -> Outcome {
        self.readers.abort_all();
        let is_final = self.shared.processing.when_child_fails == WhenChildFails::Exit;
        if is_final {
            error!(shard = %self.held.shard(), %failure, "shard cannot be processed");
        }
        let failure = match (self.talk.take(), self.shared.compatibility) {
            (Some(talk), Compatibility::Safe) => failure.with(talk.end_by_force().await),
            (Some(_), Compatibility::Strict) if failure.is_timeout() => failure, // Java halts
            (Some(talk), Compatibility::Strict) => {
                talk.close(None).await;
                failure
            }
            (None, _) => failure,
        };
        if is_final {
            self.held.give_back().await;
            self.enter(ShardState::Released);
        }
        Outcome::Failed(failure)
    }
}

/// Looks after the lease whenever another worker may be reading its shard; ends with its task.
async fn doubt_at_each(rivals: Arc<Notify>, held: HeldLease) {
    loop {
        rivals.notified().await;
        held.doubt().await;
    }
}

/// Waits until the child has ended by itself; for ever without a child. Cancel-safe.
async fn gone(talk: &mut Option<Conversation>) {
    match talk {
        Some(talk) => talk.gone().await,
        None => std::future::pending().await,
    }
}

/// Waits until the consumer must leave; the loss of the lease goes `unnoticed` for a while. Cancel-safe if that is zero.
async fn called(held: &HeldLease, stop: &CancellationToken, unnoticed: Duration) -> Call {
    tokio::select! {
        biased;
        standing = held.until_called_for() => match standing {
            Standing::Wanted(_) => Call::Wanted,
            Standing::Held | Standing::Lost => {
                if !unnoticed.is_zero() {
                    sleep(unnoticed).await;
                }
                Call::Lost
            }
        },
        () = stop.cancelled() => Call::Stop,
    }
}

#[cfg(test)]
mod beside;
#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
