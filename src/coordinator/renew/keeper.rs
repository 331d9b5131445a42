//! Keeps one lease: a task that owns the lease's counter, renews it, writes its checkpoints, and gives it away.
//!
//! Everything that moves the counter goes through this task, one write at a time; two in flight would cost the lease
//! (Source: COEXISTENCE.md section 2, point 4). It must never count on a lease that is older than the failover time,
//! and the age begins when a write was sent, never when its answer came: others count from the write itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::rate::Rate;
use super::slots::{Shift, Slot, Slots, next_renewal};
use super::{Command, HeldLease, NotStored, Standing, chain};
use crate::backoff::Backoff;
use crate::coordinator::heirs::Heirs;
use crate::lease::{CheckpointWrite, HandoffKnown, Lease, LeaseStore, LeaseStoreError, Written};
use crate::types::{Checkpoint, LeaseCounter, WorkerId};

mod give;

/// Percent of the failover time between two renewals. Java renews three times in it, for fear of its own pauses; we
/// have none, and what is left is enough for [`TRIES`].
const RENEWAL_PERCENT: u32 = 55;
/// Tries of a renewal that have time before the lease is too old.
const TRIES: u32 = 3;
/// Shortest time between two renewals, whatever the failover time says.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Least time for an answer.
const SHORTEST_TRY: Duration = Duration::from_millis(300);
/// Taken off a third of the failover time by Java's renewer (Source: KCL 3.x epsilon).
const EPSILON: Duration = Duration::from_millis(25);
/// Waits between tries of a write that failed for reasons that time can cure.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// Tries of a checkpoint before the child hears that it failed.
const CHECKPOINT_TRIES: u32 = 4;
/// Least time for giving a lease back, all tries together.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(2);
/// Commands that may wait; a consumer has at most one under way.
const COMMANDS: usize = 4;

/// The task behind a [`HeldLease`].
#[derive(Debug)]
pub struct Keeper<S: ?Sized> {
    store: Arc<S>,
    me: WorkerId,
    failover_time: Duration,
    lease: Lease,
    standing: watch::Sender<Standing>,
    stored: watch::Sender<Checkpoint>,
    expires: watch::Sender<Instant>,
    commands: mpsc::Receiver<Command>,
    rate: Rate,
    slot: Slot,
    heirs: Arc<Heirs>,
    /// When to renew unless something else moves the counter before.
    due: Instant,
}

impl<S: LeaseStore + ?Sized> Keeper<S> {
    /// Makes the task for `lease`, whose counter moved by a write sent at `confirmed`, and the handle to it.
    #[must_use]
    pub fn new(
        store: Arc<S>,
        me: WorkerId,
        failover_time: Duration,
        lease: Lease,
        confirmed: Instant,
    ) -> (Self, HeldLease) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (standing, watch) = watch::channel(Standing::Held);
        let rate = Rate::new(lease.throughput_kbps, (failover_time / 3).saturating_sub(EPSILON).max(SHORTEST_INTERVAL));
        let shard = lease.shard.clone();
        let (stored, last) = watch::channel(lease.checkpoint.clone());
        let (expires, until) = watch::channel(confirmed + failover_time);
        let held =
            HeldLease { shard, commands, standing: watch, stored: last, expires: until, read_bytes: rate.bytes() };
        let slot = Arc::new(Slots::default()).take(&lease.shard);
        let keeper = Self {
            store,
            me,
            failover_time,
            lease,
            standing,
            stored,
            expires,
            commands: receiver,
            rate,
            slot,
            heirs: Arc::default(),
            due: confirmed,
        };
        (keeper, held)
    }

    /// One of many: with its place among the renewals of the others, and with what is known of other workers.
    #[must_use]
    pub fn among(self, slots: &Arc<Slots>, heirs: Arc<Heirs>) -> Self {
        Self { slot: slots.take(&self.lease.shard), heirs, ..self }
    }

    /// Renews once: the row as it is now, or nothing if the lease turned out to be somebody else's.
    ///
    /// # Errors
    /// The table could not be asked.
    pub async fn prove(&mut self) -> Result<Option<Lease>, LeaseStoreError> {
        let seen = self.lease.counter;
        self.renew().await?;
        let is_ours = !self.is_lost() && self.lease.counter != seen;
        Ok(is_ours.then(|| self.lease.clone()))
    }

    fn interval(&self) -> Duration {
        (self.failover_time * RENEWAL_PERCENT / 100).max(SHORTEST_INTERVAL)
    }

    /// Plans the renewal after a write sent at `sent`.
    fn plan(&mut self, sent: Instant, shift: Shift) {
        self.due = next_renewal(sent, self.interval(), self.slot.place(), shift);
    }

    /// The moment at which the lease must be given up if nothing is confirmed until then.
    fn expires(&self) -> Instant {
        *self.expires.borrow()
    }

    /// Whether the lease is too old. It stays so: others of this worker may have begun to take it anew, so not even a
    /// write that would succeed may follow.
    fn has_expired(&self) -> bool {
        Instant::now() >= self.expires()
    }

    fn is_lost(&self) -> bool {
        *self.standing.borrow() == Standing::Lost
    }

    /// Keeps the lease until it is lost, given away or forgotten.
    pub async fn run(mut self) {
        let mut failures = 0;
        self.plan(self.confirmed(), Shift::Whole);
        while !self.is_lost() {
            let expires = self.expires();
            if self.has_expired() {
                warn!(shard = %self.lease.shard, failover_time = ?self.failover_time,
                    "lost lease: it could not be renewed in time");
                break;
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Forget) | None => break,
                    Some(_) if self.has_expired() => {} // came first after a standstill; nobody answers it
                    Some(command) => self.perform(command).await,
                },
                () = sleep_until(self.due.min(expires)) => if !self.has_expired() {
                    match self.renew_by_deadline().await {
                        Ok(()) => failures = 0,
                        Err(error) => {
                            failures += 1;
                            if failures == 1 {
                                warn!(shard = %self.lease.shard, error = %chain(&error), "lease renewal failed, trying on");
                            }
                            self.due = Instant::now() + RETRY.jittered(failures);
                        }
                    }
                },
            }
        }
        self.standing.send_replace(Standing::Lost);
        debug!(shard = %self.lease.shard, "lease is not kept any more");
    }

    /// When the write was sent that moved the counter last.
    fn confirmed(&self) -> Instant {
        self.expires() - self.failover_time
    }

    async fn renew_by_deadline(&mut self) -> Result<(), LeaseStoreError> {
        let a_try = self.failover_time.saturating_sub(self.interval()) / TRIES;
        let limit = self.expires().min(Instant::now() + a_try.max(SHORTEST_TRY));
        match timeout_at(limit, self.renew()).await {
            Ok(result) => result,
            Err(_) => Err(LeaseStoreError::Unusable("no answer to the renewal in time".to_owned())),
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseStoreError> {
        if self.has_expired() {
            self.standing.send_replace(Standing::Lost);
            return Ok(());
        }
        let throughput = self.rate.average();
        let known = match *self.standing.borrow() {
            Standing::Wanted(_) => HandoffKnown::Yes,
            Standing::Held | Standing::Lost => HandoffKnown::No,
        };
        let sent = Instant::now();
        match self.store.renew(&self.lease.shard, self.lease.counter, throughput, known).await? {
            Written::Yes(()) => {
                self.lease.throughput_kbps = throughput;
                self.moved(self.lease.counter.next(), sent, Shift::Little);
                Ok(())
            }
            Written::No(seen) => self.reconsider(seen).await,
        }
    }

    /// The row is not as we knew it: our own write may have come late, a handoff may have begun, or it is not ours.
    async fn reconsider(&mut self, seen: Option<Box<Lease>>) -> Result<(), LeaseStoreError> {
        let row = match seen {
            Some(row) => Some(*row),
            None => self.store.get(&self.lease.shard).await?,
        };
        match row {
            Some(row) if self.is_still_mine(&row) => {
                let handoff_was_known = matches!(*self.standing.borrow(), Standing::Wanted(_));
                let own_write_came_late = row.counter != self.lease.counter;
                self.adopt(row);
                let handoff_is_new = !handoff_was_known && self.lease.checkpoint_owner.is_some();
                if own_write_came_late || handoff_is_new {
                    // Nobody knows when the late one came, so it confirms nothing; this one will.
                    return Box::pin(self.renew()).await;
                }
                Ok(())
            }
            row => {
                let owner = row.as_ref().and_then(Lease::actual_owner).map_or("nobody", WorkerId::as_str);
                info!(shard = %self.lease.shard, %owner, "lost lease");
                self.standing.send_replace(Standing::Lost);
                Ok(())
            }
        }
    }

    /// Source: KCL 3.x `LeaseRenewer`: the counter as we left it, or one further by a write whose answer was lost.
    fn is_still_mine(&self, row: &Lease) -> bool {
        let counter = row.counter == self.lease.counter || row.counter == self.lease.counter.next();
        counter && row.actual_owner() == Some(&self.me)
    }

    fn adopt(&mut self, row: Lease) {
        let wanted_by = match (&row.checkpoint_owner, &row.owner) {
            (Some(_), Some(next)) if *next != self.me => Some(next.clone()),
            (Some(_) | None, _) => None,
        };
        self.lease = row;
        self.note_stored();
        let standing = wanted_by.map_or(Standing::Held, Standing::Wanted);
        if let Standing::Wanted(next) = &standing {
            info!(shard = %self.lease.shard, %next, "asked to hand the lease over");
        }
        self.standing.send_if_modified(|now| {
            let changed = *now != standing && *now != Standing::Lost;
            if changed {
                *now = standing;
            }
            changed
        });
    }

    /// The row's checkpoint may be one of ours whose answer was lost.
    fn note_stored(&self) {
        let checkpoint = &self.lease.checkpoint;
        self.stored.send_if_modified(|stored| {
            let changed = !stored.same_text(checkpoint);
            stored.clone_from(checkpoint);
            changed
        });
    }

    /// A write of ours moved the counter. Whoever hears of that too late has no lease any more, however young the write.
    fn moved(&mut self, counter: LeaseCounter, sent: Instant, shift: Shift) {
        self.lease.counter = counter;
        if self.has_expired() {
            self.standing.send_replace(Standing::Lost);
            return;
        }
        self.expires.send_replace(sent + self.failover_time);
        self.plan(sent, shift);
    }

    async fn perform(&mut self, command: Command) {
        match command {
            Command::Checkpoint { at, reply } => {
                let limit = self.expires();
                let result = match timeout_at(limit, self.checkpoint(&at)).await {
                    Ok(result) => result,
                    Err(_) => Err(NotStored::NotOwner), // older than the failover time: not ours to write
                };
                if matches!(result, Err(NotStored::NotOwner)) {
                    self.standing.send_replace(Standing::Lost);
                }
                let _consumer_may_be_gone = reply.send(result);
            }
            Command::NoteChildren { children, reply } => {
                let ids = children.into_iter().map(|child| child.id).collect();
                let result = self.note(self.store.note_children(&self.lease.shard, &ids)).await;
                if result.is_ok() {
                    self.lease.children = ids;
                }
                let _consumer_may_be_gone = reply.send(result);
            }
            Command::NoteLatest { since, reply } => {
                let seen = self.lease.counter;
                let result = self.note(self.store.note_latest(&self.lease.shard, seen, since)).await;
                let _consumer_may_be_gone = reply.send(result);
            }
            Command::GiveBack { reply } => {
                let limit = (self.failover_time / 3).max(GIVE_BACK_LIMIT);
                if timeout(limit, self.give_back()).await.is_err() {
                    warn!(shard = %self.lease.shard, "giving the lease back took too long; it will expire");
                }
                self.standing.send_replace(Standing::Lost);
                let _consumer_may_be_gone = reply.send(());
            }
            Command::Renew => self.due = Instant::now(),
            Command::Forget => {}
        }
    }

    /// When a request is given up that nobody answers, on a dead connection most likely: in half of the time that the
    /// lease has left, so that the rest is enough for the same on another connection, or for a renewal.
    fn patience(&self) -> Instant {
        let now = Instant::now();
        now + (self.expires().saturating_duration_since(now) / 2).max(SHORTEST_TRY)
    }

    /// Waits for a write that leaves the counter as it is, as long as the lease can spare the time.
    async fn note(&self, write: impl Future<Output = Result<bool, LeaseStoreError>>) -> Result<(), LeaseStoreError> {
        let shard = &self.lease.shard;
        match timeout_at(self.patience(), write).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(LeaseStoreError::Unusable(format!("lease of `{shard}` is gone"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LeaseStoreError::Unusable(format!("no answer to a write to the lease of `{shard}` in time"))),
        }
    }

    /// Writes until that is known to have worked or to be impossible. A write that fails may have taken effect all the
    /// same; then the next one is refused, and the row tells.
    async fn checkpoint(&mut self, at: &Checkpoint) -> Result<(), NotStored> {
        let mut failures = 0;
        let mut adopted = false;
        loop {
            let error = match timeout_at(self.patience(), self.try_checkpoint(at, &mut adopted)).await {
                Ok(Ok(Some(result))) => return result,
                Ok(Ok(None)) => continue,
                Ok(Err(error)) => error,
                Err(_) => {
                    debug!(shard = %self.lease.shard, checkpoint = %at, "no answer to the checkpoint in time, trying on");
                    continue; // until the lease has no time left
                }
            };
            failures += 1;
            if failures == CHECKPOINT_TRIES || !error.is_transient() {
                return Err(match error {
                    LeaseStoreError::Throttled { .. } => NotStored::Throttled,
                    LeaseStoreError::TableMissing { .. } => NotStored::TableMissing,
                    error @ (LeaseStoreError::IndexMissing { .. }
                    | LeaseStoreError::AccessDenied { .. }
                    | LeaseStoreError::Unusable(_)
                    | LeaseStoreError::Service { .. }) => NotStored::Failed(error),
                });
            }
            sleep(RETRY.jittered(failures)).await;
        }
    }

    /// What a checkpoint carries when it stands for a renewal: the first one after the time of a renewal has passed.
    fn throughput_due(&mut self) -> Option<f64> {
        if self.rate.age() >= self.interval() * 7 / 8 { self.rate.average() } else { None }
    }

    /// One write; `None` if the row had moved by a write of ours and the checkpoint must be written again.
    async fn try_checkpoint(
        &mut self,
        at: &Checkpoint,
        adopted: &mut bool,
    ) -> Result<Option<Result<(), NotStored>>, LeaseStoreError> {
        if self.has_expired() {
            return Ok(Some(Err(NotStored::NotOwner)));
        }
        let write = CheckpointWrite {
            shard: self.lease.shard.clone(),
            seen: self.lease.counter,
            checkpoint: at.clone(),
            hash_range: self.lease.hash_range,
            children: self.lease.children.clone(),
            throughput_kbps: self.throughput_due(),
        };
        let sent = Instant::now();
        if let Written::Yes(row) = self.store.checkpoint(&write).await? {
            self.lease.checkpoint = at.clone();
            self.lease.owner_switches = 0;
            self.note_stored();
            self.moved(self.lease.counter.next(), sent, Shift::None);
            if let Some(row) = row.filter(|row| self.is_still_mine(row)) {
                self.adopt(row); // it may tell of a handoff, for which a renewal would have been refused
            }
            return Ok(Some(Ok(())));
        }
        let row = self.store.get(&self.lease.shard).await?;
        let Some(row) = row.filter(|row| self.is_still_mine(row)) else { return Ok(Some(Err(NotStored::NotOwner))) };
        if row.counter == self.lease.counter || *adopted {
            return Ok(Some(Err(NotStored::NotOwner))); // refused, and yet as we know it: somebody is faster than we see
        }
        self.adopt(row);
        *adopted = true;
        let stored = &self.lease.checkpoint;
        Ok(if stored.same_text(at) {
            Some(Ok(()))
        } else if stored > at {
            Some(Err(NotStored::MovesBack { wanted: at.clone(), stored: stored.clone() }))
        } else {
            None
        })
    }
}
