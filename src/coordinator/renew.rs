//! Keeps one lease: a task that owns the lease's counter, renews it, writes its checkpoints, and gives it away.
//!
//! Everything that moves the counter goes through this task, one write at a time; two in flight would cost the lease
//! (Source: COEXISTENCE.md section 2, point 4). It must never count on a lease that is older than the failover time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::lease::{CheckpointWrite, HandoffKnown, Lease, LeaseStore, LeaseStoreError, Written};
use crate::stream::ChildShard;
use crate::types::{Checkpoint, LeaseCounter, ShardId, WorkerId};

/// Taken off the renewal interval, so that three renewals fit into one failover time (Source: KCL 3.x epsilon).
const EPSILON: Duration = Duration::from_millis(25);
/// Shortest time between two renewals, whatever the failover time says.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Weight of the newest value in the throughput average (Source: KCL 3.x `LeaseStatsRecorder`).
const THROUGHPUT_ALPHA: f64 = 0.5;
/// Waits between tries of a write that failed for reasons that time can cure.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// Tries of a throttled checkpoint before the child hears of it.
const CHECKPOINT_TRIES: u32 = 4;
/// Commands that may wait; a consumer has at most one under way.
const COMMANDS: usize = 4;

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
    GiveBack { reply: oneshot::Sender<()> },
    Forget,
}

/// A lease in our hands. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct HeldLease {
    shard: ShardId,
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Standing>,
    known: watch::Receiver<Known>,
    read_bytes: Arc<AtomicU64>,
}

/// What the keeper lets everybody know.
#[derive(Clone, Debug)]
struct Known {
    /// The last checkpoint that is known to be stored.
    stored: Checkpoint,
    /// When the lease counts as lost unless its counter moves before.
    expires: Instant,
}

impl HeldLease {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// How the lease stands now. One that has grown too old is lost even before its keeper has noticed, as after a
    /// pause of the whole process (Source: COEXISTENCE.md D17).
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.commands.is_closed() || Instant::now() >= self.known.borrow().expires {
            return Standing::Lost;
        }
        self.standing.borrow().clone()
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
        self.known.borrow().stored.clone()
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
        let gone = || LeaseStoreError::Unusable(format!("lease of `{}` is not held any more", self.shard));
        self.ask(|reply| Command::NoteChildren { children, reply }).await.unwrap_or_else(|| Err(gone()))
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
    /// The table said so in answer to a write of our own, which was sent at this moment.
    Given(Instant),
    /// It was read, maybe from an old copy: renew first.
    Needed,
}

/// The task behind a [`HeldLease`].
#[derive(Debug)]
pub struct Keeper<S: ?Sized> {
    store: Arc<S>,
    me: WorkerId,
    failover_time: Duration,
    lease: Lease,
    /// When the newest write that moved the counter was sent, as far as it is known to have taken effect.
    confirmed: Instant,
    standing: watch::Sender<Standing>,
    known: watch::Sender<Known>,
    commands: mpsc::Receiver<Command>,
    read_bytes: Arc<AtomicU64>,
    counted_since: Instant,
}

impl<S: LeaseStore + ?Sized> Keeper<S> {
    /// Makes the task for `lease`, whose counter was last moved at `confirmed`, and the handle to it.
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
        let read_bytes = Arc::new(AtomicU64::new(0));
        let shard = lease.shard.clone();
        let (known, watch_known) =
            watch::channel(Known { stored: lease.checkpoint.clone(), expires: confirmed + failover_time });
        let held = HeldLease { shard, commands, standing: watch, known: watch_known, read_bytes: read_bytes.clone() };
        let keeper = Self {
            store,
            me,
            failover_time,
            lease,
            confirmed,
            standing,
            known,
            commands: receiver,
            read_bytes,
            counted_since: Instant::now(),
        };
        (keeper, held)
    }

    /// Renews once; `false` if the lease turned out to be somebody else's.
    ///
    /// # Errors
    /// The table could not be asked.
    pub async fn prove(&mut self) -> Result<bool, LeaseStoreError> {
        self.renew().await?;
        Ok(*self.standing.borrow() != Standing::Lost)
    }

    fn interval(&self) -> Duration {
        (self.failover_time / 3).saturating_sub(EPSILON).max(SHORTEST_INTERVAL)
    }

    /// The moment at which the lease must be given up if nothing is confirmed until then.
    fn expires(&self) -> Instant {
        self.confirmed + self.failover_time
    }

    /// Keeps the lease until it is lost, given away or forgotten.
    pub async fn run(mut self) {
        let mut failures = 0;
        let mut next = self.first_renewal();
        while *self.standing.borrow() != Standing::Lost {
            let wake = next.min(self.expires());
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Forget) | None => break,
                    Some(command) => self.perform(command).await,
                },
                () = sleep_until(wake) => {
                    if Instant::now() >= self.expires() {
                        warn!(shard = %self.lease.shard, failover_time = ?self.failover_time,
                            "lost lease: it could not be renewed in time");
                        break;
                    }
                    next = match self.renew_by_deadline().await {
                        Ok(()) => { failures = 0; Instant::now() + self.interval() }
                        Err(error) => {
                            failures += 1;
                            if failures == 1 {
                                warn!(shard = %self.lease.shard, error = %chain(&error), "lease renewal failed, trying on");
                            }
                            Instant::now() + RETRY.jittered(failures)
                        }
                    };
                }
            }
        }
        self.standing.send_replace(Standing::Lost);
        debug!(shard = %self.lease.shard, "lease is not kept any more");
    }

    /// Spreads the renewals of many leases over the interval.
    fn first_renewal(&self) -> Instant {
        self.confirmed + self.interval().mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    async fn renew_by_deadline(&mut self) -> Result<(), LeaseStoreError> {
        let limit = self.expires().min(Instant::now() + self.interval().max(Duration::from_secs(1)));
        match timeout_at(limit, self.renew()).await {
            Ok(result) => result,
            Err(_) => Err(LeaseStoreError::Unusable("no answer to the renewal in time".to_owned())),
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseStoreError> {
        let throughput = self.throughput();
        let known = match *self.standing.borrow() {
            Standing::Wanted(_) => HandoffKnown::Yes,
            Standing::Held | Standing::Lost => HandoffKnown::No,
        };
        let sent = Instant::now();
        match self.store.renew(&self.lease.shard, self.lease.counter, throughput, known).await? {
            Written::Yes(()) => {
                self.lease.throughput_kbps = throughput;
                self.moved(self.lease.counter.next(), sent);
                Ok(())
            }
            Written::No(seen) => self.reconsider(seen, sent).await,
        }
    }

    /// The row is not as we knew it: our own write may have come late, a handoff may have begun, or it is not ours.
    async fn reconsider(&mut self, seen: Option<Box<Lease>>, sent: Instant) -> Result<(), LeaseStoreError> {
        let row = match seen {
            Some(row) => Some(*row),
            None => self.store.get(&self.lease.shard).await?,
        };
        match row {
            Some(row) if self.is_still_mine(&row) => {
                let was_known = matches!(*self.standing.borrow(), Standing::Wanted(_));
                let own_write_came_late = row.counter == self.lease.counter.next();
                self.adopt(row);
                if own_write_came_late {
                    self.moved(self.lease.counter, sent);
                } else if !was_known && self.lease.checkpoint_owner.is_some() {
                    return Box::pin(self.renew()).await; // now that the handoff is known
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

    fn moved(&mut self, counter: LeaseCounter, sent: Instant) {
        self.lease.counter = counter;
        self.confirmed = sent;
        let expires = self.expires();
        self.known.send_modify(|known| known.expires = expires);
    }

    /// Source: KCL 3.x `LeaseStatsRecorder`; LEASES.md section 3.5.
    fn throughput(&mut self) -> Option<f64> {
        let passed = self.counted_since.elapsed().as_secs_f64();
        let bytes = self.read_bytes.swap(0, Ordering::Relaxed);
        self.counted_since = Instant::now();
        if bytes == 0 && self.lease.throughput_kbps.is_none() || passed <= 0.0 {
            return self.lease.throughput_kbps;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let now = bytes as f64 / 1024.0 / passed.max(self.interval().as_secs_f64());
        let before = self.lease.throughput_kbps.unwrap_or(now);
        let average = THROUGHPUT_ALPHA * now + (1.0 - THROUGHPUT_ALPHA) * before;
        Some((average * 1e6).round() / 1e6)
    }

    async fn perform(&mut self, command: Command) {
        match command {
            Command::Checkpoint { at, reply } => {
                let limit = self.expires();
                let result = match timeout_at(limit, self.checkpoint(&at)).await {
                    Ok(Ok(())) => {
                        self.known.send_modify(|known| known.stored = at);
                        Ok(())
                    }
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
                let result = match self.store.note_children(&self.lease.shard, &ids).await {
                    Ok(true) => {
                        self.lease.children = ids;
                        Ok(())
                    }
                    Ok(false) => Err(LeaseStoreError::Unusable(format!("lease of `{}` is gone", self.lease.shard))),
                    Err(error) => Err(error),
                };
                let _consumer_may_be_gone = reply.send(result);
            }
            Command::GiveBack { reply } => {
                let limit = self.interval().max(Duration::from_secs(2));
                if timeout(limit, self.give_back()).await.is_err() {
                    warn!(shard = %self.lease.shard, "giving the lease back took too long; it will expire");
                }
                self.standing.send_replace(Standing::Lost);
                let _consumer_may_be_gone = reply.send(());
            }
            Command::Forget => {}
        }
    }

    async fn checkpoint(&mut self, at: &Checkpoint) -> Result<(), NotStored> {
        let mut throttled = 0;
        let mut adopted = false;
        loop {
            let write = CheckpointWrite {
                shard: self.lease.shard.clone(),
                seen: self.lease.counter,
                checkpoint: at.clone(),
                hash_range: self.lease.hash_range,
                children: self.lease.children.clone(),
            };
            let sent = Instant::now();
            match self.store.checkpoint(&write).await {
                Ok(Written::Yes(())) => {
                    self.lease.checkpoint = at.clone();
                    self.lease.owner_switches = 0;
                    self.moved(self.lease.counter.next(), sent);
                    return Ok(());
                }
                Ok(Written::No(_)) => {
                    let row = self.store.get(&self.lease.shard).await.map_err(NotStored::Failed)?;
                    let Some(row) = row.filter(|row| self.is_still_mine(row)) else { return Err(NotStored::NotOwner) };
                    if row.counter == self.lease.counter || adopted {
                        return Err(NotStored::NotOwner); // refused, and yet as we know it: somebody is faster than we see
                    }
                    let stored = row.checkpoint.same_text(at);
                    self.adopt(row);
                    self.moved(self.lease.counter, sent);
                    if stored {
                        return Ok(());
                    }
                    adopted = true;
                }
                Err(LeaseStoreError::Throttled { .. }) => {
                    throttled += 1;
                    if throttled == CHECKPOINT_TRIES {
                        return Err(NotStored::Throttled);
                    }
                    tokio::time::sleep(RETRY.jittered(throttled)).await;
                }
                Err(LeaseStoreError::TableMissing { .. }) => return Err(NotStored::TableMissing),
                Err(error) => return Err(NotStored::Failed(error)),
            }
        }
    }

    /// A handoff ends with the assignment to the worker that waits; else the lease is left without an owner, which
    /// every version of the leader takes up first (Source: COEXISTENCE.md D4).
    async fn give_back(&mut self) {
        for attempt in 1..=3 {
            let written = match (&self.lease.checkpoint_owner, &self.lease.owner) {
                (Some(_), Some(next)) if *next != self.me => {
                    let next = next.clone();
                    self.store.assign(&self.lease, &next).await
                }
                (Some(_) | None, _) => self.store.evict(&self.lease).await,
            };
            match written {
                Ok(Written::Yes(_)) => return,
                Ok(Written::No(seen)) => match seen.filter(|row| row.actual_owner() == Some(&self.me)) {
                    Some(row) => self.lease = *row, // a handoff began or ended meanwhile
                    None => return,
                },
                Err(error) if error.is_transient() => tokio::time::sleep(RETRY.jittered(attempt)).await,
                Err(error) => {
                    warn!(shard = %self.lease.shard, error = %chain(&error), "the lease could not be given back; it will expire");
                    return;
                }
            }
        }
    }
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
