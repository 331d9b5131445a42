//! The leader lock: looks who leads, takes the lock when it is free or abandoned, and beats while it is ours.
//!
//! Source: DynamoDB lock client as KCL 3.x uses it; LEASES.md section 5. The duration in the row is never shortened,
//! because peers time the row's value and a Java heartbeat comes only every 30 s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::coordinator::Fleet;
use crate::coordinator::renew::chain;
use crate::coordinator::rounds::Signals;
use crate::lease::place::Layout;
use crate::lease::{LeaseStoreError, LockRow};
use crate::types::WorkerId;

mod release;
mod signature;

use signature::Signature;

/// Written into the row (Source: KCL 3.x `dynamoDbLockBasedLeaderLeaseDurationInMillis`).
pub const LOCK_DURATION: Duration = Duration::from_secs(120);
/// Time between two heartbeats (Source: KCL 3.x `dynamoDbLockBasedLeaderHeartbeatPeriodInMillis`).
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Longest time between two looks at somebody else's lock. Scans of the table show it much more often.
const LOOK: Duration = Duration::from_secs(30);
/// Least time between two looks where scans do not show it, because it lies in another table.
const LOOK_ELSEWHERE: Duration = Duration::from_secs(2);
/// How long a worker that gave the lock up because it could not lead leaves it to the others, which look every 30 s.
const RESIGNED: Duration = Duration::from_secs(35);
/// Time before a look or a beat that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Limit of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Who leads, as far as this worker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Not looked yet.
    Unknown,
    /// We do.
    Mine,
    /// Somebody else's name is on the lock, whose row has not changed since then.
    Theirs {
        /// The name.
        owner: WorkerId,
        /// When we first saw the row as it is.
        unchanged_since: Instant,
    },
}

/// The lock as a scan of the whole table showed it, so maybe seconds old. `None` says little: it may lie in another
/// table.
#[derive(Clone, Debug)]
pub struct LockSight(pub Option<LockRow>);

enum Next {
    Look,
    Sight,
    Resign,
    /// The lock's place has changed.
    Elsewhere,
}

/// Our side of the lock.
pub struct LeaderLock {
    fleet: Fleet,
    signature: Signature,
    leadership: watch::Sender<Leadership>,
    sights: watch::Receiver<Option<LockSight>>,
    resign: Arc<Notify>,
    /// There is a sight that was not looked at yet.
    news: bool,
    mine: Option<(LockRow, Instant)>,
    seen: Option<(LockRow, Instant)>,
    /// The version that the first look has shown, if it was not free then.
    first: Option<Option<String>>,
    /// Tells when the lock's place changes.
    layout: watch::Receiver<Layout>,
    /// When we read the lock ourselves and found somebody's.
    found: Option<Instant>,
    resigned: Option<Instant>,
    /// We have given it back and do not take it again.
    released: bool,
}

impl LeaderLock {
    /// Tells `leadership` of every change; learns of the lock from `signals`, too.
    #[must_use]
    pub fn new(fleet: Fleet, leadership: watch::Sender<Leadership>, signals: &Signals) -> Self {
        let (sights, resign) = (signals.lock.subscribe(), signals.resign.clone());
        let layout = fleet.state.layout();
        Self {
            fleet,
            signature: Signature::new(),
            leadership,
            sights,
            resign,
            news: false,
            mine: None,
            seen: None,
            first: None,
            layout,
            found: None,
            resigned: None,
            released: false,
        }
    }

    /// Looks, takes and beats until `stop`; gives itself back so that the lock can be released at the very end.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        loop {
            let step = timeout(REQUEST_LIMIT, self.step());
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                result = step => match result {
                    Ok(Ok(pause)) => pause,
                    Ok(Err(error)) => {
                        warn!(error = %chain(&error), "the leader lock could not be looked at, trying on");
                        RETRY
                    }
                    Err(_) => RETRY,
                },
            };
            self.check_own_age();
            let next = async {
                tokio::select! {
                    biased;
                    () = self.resign.notified(), if self.mine.is_some() => Next::Resign,
                    Ok(()) = self.layout.changed() => Next::Elsewhere,
                    Ok(()) = self.sights.changed(), if self.mine.is_none() => Next::Sight,
                    () = sleep(pause) => Next::Look,
                }
            };
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                next = next => next,
            };
            match next {
                Next::Resign => self.resign().await,
                Next::Sight => self.news = true,
                Next::Look => self.news = false,
                Next::Elsewhere => self.forget(),
            }
        }
    }

    /// The lock is in another table from now on, and nobody there knows us.
    fn forget(&mut self) {
        (self.mine, self.seen, self.found, self.news, self.first) = (None, None, None, false, None);
        self.check_own_age();
    }

    async fn step(&mut self) -> Result<Duration, LeaseStoreError> {
        match self.mine.clone() {
            Some((_, beaten)) if beaten.elapsed() < HEARTBEAT => Ok(HEARTBEAT - beaten.elapsed()),
            Some((row, _)) => self.beat(row).await,
            None => match self.resigned.map(|at| RESIGNED.saturating_sub(at.elapsed())) {
                Some(left) if !left.is_zero() => Ok(left),
                Some(_) | None => self.look().await,
            },
        }
    }

    async fn beat(&mut self, mut row: LockRow) -> Result<Duration, LeaseStoreError> {
        let (next, sent) = (self.signature.version(), Instant::now());
        if self.fleet.state.beat_lock(&row, &next).await? {
            row.version = next;
            self.mine = Some((row, sent));
            return Ok(HEARTBEAT);
        }
        // Refused: somebody took it, or an earlier beat of ours took effect and its answer was lost.
        match self.fleet.state.lock().await? {
            Some(found) if self.is_ours(&found) => {
                if let Some((row, _)) = &mut self.mine {
                    *row = found;
                }
                Ok(Duration::ZERO) // beats again, from the version that is there
            }
            found => {
                let owner = found.map_or_else(|| "nobody".to_owned(), |row| row.owner.to_string());
                info!(%owner, "lost the leader lock");
                self.mine = None;
                Ok(Duration::ZERO)
            }
        }
    }

    /// Looks at the lock, or at what a scan has shown of it since we looked last.
    async fn look(&mut self) -> Result<Duration, LeaseStoreError> {
        let sight = std::mem::take(&mut self.news).then(|| self.sights.borrow_and_update().clone()).flatten();
        let found = match sight.map(|LockSight(row)| row) {
            Some(Some(row)) => Some(row),
            Some(None) if self.found.is_some_and(|at| at.elapsed() < LOOK_ELSEWHERE) => return Ok(LOOK_ELSEWHERE),
            Some(None) | None => {
                let found = self.fleet.state.lock().await?; // consistent: nobody takes a lock that only seems free
                self.found = found.is_some().then(Instant::now);
                found
            }
        };
        let first = self.first.get_or_insert_with(|| found.as_ref().map(|row| row.version.clone())).clone();
        let Some(found) = found else {
            return self.take(None).await;
        };
        let now = Instant::now();
        let since = match &self.seen {
            Some((row, since)) if row.version == found.version => *since,
            Some(_) | None => now,
        };
        self.seen = Some((found.clone(), since));
        // Our own name was on it from the start: this is a restart, and whoever wrote it can not beat any more without
        // being refused. If it appeared there later, another process was started with our name.
        let of_former_life = found.owner == self.fleet.me && first.as_ref() == Some(&found.version);
        if of_former_life || self.is_ours(&found) || now.duration_since(since) > found.lease_duration {
            return self.take(Some(&found.version)).await;
        }
        self.tell(Leadership::Theirs { owner: found.owner.clone(), unchanged_since: since });
        let expires = since + found.lease_duration + Duration::from_millis(100);
        Ok(LOOK.min(expires.duration_since(now)))
    }

    async fn take(&mut self, seen: Option<&str>) -> Result<Duration, LeaseStoreError> {
        let row =
            LockRow { owner: self.fleet.me.clone(), lease_duration: LOCK_DURATION, version: self.signature.version() };
        let sent = Instant::now();
        if !self.fleet.state.take_lock(&row, seen).await? {
            return Ok(Duration::ZERO); // somebody was faster: look again
        }
        info!(worker = %self.fleet.me, "this worker is the current Leader");
        self.mine = Some((row, sent));
        self.tell(Leadership::Mine);
        Ok(HEARTBEAT)
    }

    /// A leader that cannot reach the table must not believe in itself for longer than others do.
    fn check_own_age(&mut self) {
        if self.mine.as_ref().is_some_and(|(row, beaten)| beaten.elapsed() >= row.lease_duration) {
            warn!("the leader lock could not be kept, this worker leads no more");
            self.mine = None;
        }
        if self.mine.is_none() && *self.leadership.borrow() == Leadership::Mine {
            self.tell(Leadership::Unknown);
        }
    }

    /// Whether this process wrote the row; its name may be another's, too.
    fn is_ours(&self, row: &LockRow) -> bool {
        row.owner == self.fleet.me && self.signature.is_on(&row.version)
    }

    fn tell(&self, now: Leadership) {
        self.leadership.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
