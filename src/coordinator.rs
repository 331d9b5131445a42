//! The worker's part in the fleet: which leases are ours, and the leader's duties while we lead.
//!
//! Speaks to the worker in one type, [`Assignment`]. Reads and writes rows; never touches records or children.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Coordination;
use crate::coordinator::cleanup::Cleanup;
use crate::coordinator::duties::{Duties, Remains};
use crate::coordinator::held::Holdings;
use crate::coordinator::leader::LeaderLock;
use crate::coordinator::leave::Leave;
use crate::coordinator::renew::{HeldLease, chain};
use crate::coordinator::stats::Reporter;
use crate::coordinator::version::follow::Follower;
use crate::host::Host;
use crate::lease::{ClientVersion, Lease, LeaseStore, StateStore};
use crate::stream::StreamCatalog;
use crate::types::{InitialPosition, WorkerId};

pub mod age;
pub mod assign;
#[cfg(test)]
mod budget_tests;
pub mod cleanup;
pub mod discover;
mod duties;
pub mod heirs;
pub mod held;
pub mod layout;
pub mod leader;
mod leave;
#[cfg(test)]
mod leave_tests;
pub mod locate;
pub mod migration;
pub mod migrator;
pub mod odd;
pub mod renew;
pub mod ring;
pub mod rounds;
pub mod start;
pub mod stats;
pub mod suspects;
pub mod sync;
pub mod taker;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod version;
mod view;

/// Assignments that may wait for the worker to take them.
const ASSIGNMENTS: usize = 64;
/// Conditional writes under way at the same time.
const WRITES_AT_ONCE: usize = 20;
/// Longest wait for each of the last writes when leaving.
const LEAVING_LIMIT: Duration = Duration::from_secs(2);
/// Time between two looks for the workers that get our leases, while consumers end: those may leave, too, and what
/// they give to us stands still until we look.
const RENAMING: Duration = Duration::from_millis(500);
/// Longest wait for giving back everything that is still held.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(5);
/// Waits between tries of the last writes.
const LEAVING_RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));

/// What every part of the coordination shares.
#[derive(Clone)]
pub struct Fleet {
    /// The leases.
    pub leases: Arc<dyn LeaseStore>,
    /// Lock, client version, worker load.
    pub state: Arc<dyn StateStore>,
    /// The stream's shards.
    pub catalog: Arc<dyn StreamCatalog>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The machine, for its load.
    pub host: Arc<dyn Host>,
    /// Settings.
    pub config: Coordination,
    /// Where shards without a checkpoint begin.
    pub initial: InitialPosition,
    /// This worker.
    pub me: WorkerId,
}

/// A lease that is ours from now on, and that somebody must work on.
#[derive(Debug)]
pub struct Assignment {
    /// The row as it was when it became ours.
    pub lease: Lease,
    /// Our hold on it.
    pub held: HeldLease,
}

/// The running coordination of one worker.
pub struct Coordinator {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    poke: Arc<Notify>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Runs everything that depends on how the fleet works; `None` once it has ended.
    follower: Option<JoinHandle<Remains>>,
    lock: Option<LeaderLock>,
    /// When we last reported our load, in seconds since the Unix epoch; known when the reports have ended.
    last_report: Option<i64>,
    /// No consumer runs any more.
    left: CancellationToken,
    /// A coordinator that is dropped takes all its tasks with it, as a process that is killed does.
    _end_of_tasks: DropGuard,
}

impl Coordinator {
    /// Begins to coordinate as [`start::prepare`] said. Leases come out of the receiver.
    #[must_use]
    pub fn start(fleet: Fleet, version: ClientVersion) -> (Self, mpsc::Receiver<Assignment>) {
        let (assignments, receiver) = mpsc::channel(ASSIGNMENTS);
        let end = CancellationToken::new();
        let holdings = Arc::new(Holdings::new(fleet.clone(), assignments, end.clone()));
        let poke = Arc::new(Notify::new());
        let (stop, left) = (end.child_token(), end.child_token());
        let tasks = TaskTracker::new();
        let duties = Duties::new(fleet.clone(), holdings.clone(), poke.clone(), &stop);
        let follower = Some(tasks.spawn(Follower::new(fleet.clone(), version, duties).run(stop.clone())));
        tasks.spawn(Cleanup::new(fleet.clone(), holdings.clone()).run(stop.clone()));
        let _end_of_tasks = end.drop_guard();
        (
            Self { fleet, holdings, poke, tasks, stop, follower, lock: None, last_report: None, left, _end_of_tasks },
            receiver,
        )
    }

    /// Something changed that may call for an assignment: looks at the leases at once.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// The shard was read to its end and checkpointed so; its lease is kept until it can be cleaned up.
    pub fn finished(&self, held: &HeldLease) {
        self.holdings.finish(held.shard());
        self.poke();
    }

    /// The lease is not worked on any more, and not ours any more.
    pub fn released(&self, held: &HeldLease) {
        self.holdings.release(held);
    }

    /// Beginning of the end: no lease is taken any more, and what is given back waits until it is known to whom, which
    /// [`Coordinator::withdraw`] finds out.
    pub fn close(&self) {
        self.holdings.close();
        self.stop.cancel();
    }

    /// Gives back what nobody works on, found too late for that: until then its shards stand still. After
    /// [`Coordinator::close`].
    pub fn give_back_idle(&self, is_at_work: impl Fn(&HeldLease) -> bool) {
        let (idle, left) = (self.holdings.idle(is_at_work), self.left.clone());
        let give_back = |held: HeldLease| async move { held.give_back().await };
        let all = futures_util::stream::iter(idle).for_each_concurrent(WRITES_AT_ONCE, give_back);
        self.tasks.spawn(async move { left.run_until_cancelled(all).await });
    }

    /// First part of leaving: the fleet is told not to give us leases, and each of ours is promised to a worker.
    ///
    /// The load row goes first, because a leader gives leases to whoever has a fresh one (Source: COEXISTENCE.md D4).
    pub async fn withdraw(&mut self) {
        self.close();
        self.await_duties().await;
        self.name_heirs().await;
    }

    /// Where the fleet works as 2.x, nobody would find what is given to them.
    async fn name_heirs(&mut self) {
        let leave = self.leave_looks();
        let Some(lock) = &mut self.lock else { return self.holdings.heirs().name(Default::default()) };
        leave.look().await;
        // Somebody must lead while our children take their time.
        if timeout(LEAVING_LIMIT, lock.step_down()).await.is_err() {
            debug!("giving the leader lock back took too long, trying again in the end");
        }
        let left = self.left.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased; // what is drained seems to be held by nobody
                    () = left.cancelled() => return,
                    () = sleep(RENAMING) => {}
                }
                tokio::select! {
                    biased;
                    () = left.cancelled() => return,
                    () = leave.look() => {}
                }
            }
        });
    }

    fn leave_looks(&self) -> Leave {
        Leave { fleet: self.fleet.clone(), holdings: self.holdings.clone(), last_report: self.last_report }
    }

    /// Waits for the end of what was told to stop, and deletes our load row.
    async fn await_duties(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let Ok(ended) = timeout(LEAVING_LIMIT, follower).await else { return };
        self.follower = None;
        let Ok(Remains { lock, reporter }) = ended else { return };
        self.lock = lock;
        if let Some(reporter) = reporter {
            self.last_report = reporter.last_report();
            delete_load_row(reporter).await;
        }
    }

    /// Last part of leaving, when no consumer runs any more: gives back what is left, then the leader lock.
    pub async fn leave(mut self) {
        self.left.cancel();
        let held = self.holdings.drain();
        let give_back = futures_util::stream::iter(&held).for_each_concurrent(WRITES_AT_ONCE, HeldLease::give_back);
        if timeout(GIVE_BACK_LIMIT, give_back).await.is_err() {
            warn!("giving the leases back took too long; they will expire");
        }
        self.tasks.close();
        let _remaining_are_cut_off = timeout(LEAVING_LIMIT, self.tasks.wait()).await;
        if timeout(LEAVING_LIMIT, self.leave_looks().last_look()).await.is_err() {
            warn!("leases in our name could not be looked for; they will expire");
        }
        self.await_duties().await; // if they had not ended by then
        if let Some(mut lock) = self.lock
            && timeout(LEAVING_LIMIT, lock.release()).await.is_err()
        {
            warn!("giving the leader lock back took too long; it expires by itself");
        }
        debug!(worker = %self.fleet.me, "left the fleet");
    }
}

async fn delete_load_row(reporter: Reporter) {
    match timeout(LEAVING_LIMIT, reporter.withdraw()).await {
        Ok(Ok(())) => debug!("our load row is deleted"),
        Ok(Err(error)) => warn!(error = %chain(&error), "our load row could not be deleted"),
        Err(_) => warn!("deleting our load row took too long"),
    }
}
