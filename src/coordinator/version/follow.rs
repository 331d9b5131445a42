//! Follows item `Migration3.0` while the worker runs, and moves the fleet on where that is this worker's part.
//!
//! The item is read every minute until it says 3X for good (Source: KCL 3.x `ClientVersionChangeMonitor`). Whatever it
//! says then is followed, also where Java knows no such step and stays what it is: two ways of working side by side
//! fight over leases.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::coordinator::duties::{Duties, Remains};
use crate::coordinator::renew::chain;
use crate::coordinator::version::guard::Guard;
use crate::coordinator::version::join::{has_other_rows, named, tell_suspects, wants_upgrade};
use crate::coordinator::version::readiness::{Readiness, silent_owners};
use crate::coordinator::version::{next_row, reports_load};
use crate::coordinator::{Fleet, LEAVING_LIMIT};
use crate::lease::row::CLIENT_VERSION_KEY;
use crate::lease::{ClientVersion, ClientVersionRow, LeaseStoreError};
use crate::types::WorkerId;

/// Time between two looks (Source: KCL 3.x `MONITOR_INTERVAL_MILLIS`).
const INTERVAL: Duration = Duration::from_secs(60);
/// Added to the first wait by chance, at most (Source: KCL 3.x `JITTER_FACTOR`).
const SPREAD: Duration = Duration::from_secs(30);
/// Limit of one look.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// Age at which a metric row is that of a dead worker, in report intervals (Source: LEASES.md section 4).
const FRESH_INTERVALS: u32 = 2;
/// Looks between two warnings about the same.
const WARN_EVERY: u32 = 5;

/// What the silent lease owners are, as far as it was told.
type Silent = BTreeSet<Option<WorkerId>>;

/// Follows the item for one worker.
pub struct Follower {
    fleet: Fleet,
    version: ClientVersion,
    duties: Duties,
    guard: Guard,
    readiness: Readiness,
    silent: Silent,
    /// The index could not be asked for when the version changed.
    index_is_due: bool,
    looks: u32,
}

impl Follower {
    /// Works as `version` from now on.
    pub(in crate::coordinator) fn new(fleet: Fleet, version: ClientVersion, mut duties: Duties) -> Self {
        duties.start(version);
        Self {
            fleet,
            version,
            duties,
            guard: Guard::default(),
            readiness: Readiness::default(),
            silent: Silent::new(),
            index_is_due: false,
            looks: 0,
        }
    }

    /// Follows until `stop`; then everything that depends on the version ends.
    pub async fn run(mut self, stop: CancellationToken) -> Remains {
        let mut next = Instant::now() + first_wait();
        while !stop.is_cancelled() {
            if self.version == ClientVersion::ThreeX && !self.index_is_due {
                stop.cancelled().await;
                break;
            }
            let look = async {
                sleep_until(next).await;
                timeout(LOOK_LIMIT, self.look()).await
            };
            let found = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                found = look => found,
            };
            next = Instant::now() + INTERVAL;
            match found {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(version))) => {
                    self.change(version).await;
                    next = Instant::now() + first_wait();
                }
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "item `{CLIENT_VERSION_KEY}` could not be followed, trying on")
                }
                Err(_) => warn!("item `{CLIENT_VERSION_KEY}` could not be followed in time, trying on"),
            }
        }
        self.duties.end().await
    }

    /// One look; what to work as from now on, if that changes.
    async fn look(&mut self) -> Result<Option<ClientVersion>, LeaseStoreError> {
        self.looks += 1;
        if std::mem::take(&mut self.index_is_due) {
            self.prepare_index().await;
        }
        let found = self.fleet.state.client_version().await?;
        match (found, self.version) {
            (Some(row), now) if row.version != now && row.version != ClientVersion::Init => Ok(Some(row.version)),
            (Some(row), ClientVersion::UpgradeFrom2x) => {
                self.move_on_when_ready(row).await?;
                Ok(None)
            }
            (None, ClientVersion::Init) if wants_upgrade(self.fleet.config.client_version) => {
                self.begin_when_harmless().await
            }
            (Some(_) | None, _) => Ok(None),
        }
    }

    /// Creates the item once no lease owner can be of 2.x any more.
    async fn begin_when_harmless(&mut self) -> Result<Option<ClientVersion>, LeaseStoreError> {
        let rows = self.fleet.leases.list().await?;
        let failover_time = self.fleet.config.failover_time;
        let suspects = self.guard.suspects(&rows, &self.fleet.me, failover_time, Instant::now());
        if !suspects.is_empty() && !has_other_rows(&self.fleet, &rows).await? {
            if self.looks.is_multiple_of(WARN_EVERY) {
                tell_suspects(&named(&suspects));
            }
            return Ok(None);
        }
        let to = ClientVersion::UpgradeFrom2x;
        let row = next_row(None, to, &self.fleet.me, self.fleet.clock.now());
        // Somebody who was faster is followed with the next look.
        Ok(self.fleet.state.create_client_version(&row).await?.then_some(to))
    }

    /// The leader's part of UPGRADE_FROM_2X. Everybody, the leader too, changes over when they read it.
    async fn move_on_when_ready(&mut self, row: ClientVersionRow) -> Result<(), LeaseStoreError> {
        if !self.duties.leads_as_2x() {
            self.readiness.forget();
            return Ok(());
        }
        let ready = self.is_index_active().await? && self.does_everybody_report().await?;
        let now = Instant::now();
        if !self.readiness.is_reached(ready, now) {
            debug!(lasts = ?self.readiness.lasts(now), "going on to 3.x when everybody has reported for ten minutes");
            return Ok(());
        }
        let (from, to) = (row.version, ClientVersion::ThreeXWithRollback);
        let next = next_row(Some(row), to, &self.fleet.me, self.fleet.clock.now());
        if self.fleet.state.change_client_version(from, &next).await? {
            info!("every lease owner has reported its load for ten minutes: the fleet goes on to 3.x");
        }
        Ok(())
    }

    async fn is_index_active(&self) -> Result<bool, LeaseStoreError> {
        match self.fleet.leases.owned_by(&self.fleet.me).await {
            Ok(_) => Ok(true),
            Err(LeaseStoreError::IndexMissing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn does_everybody_report(&mut self) -> Result<bool, LeaseStoreError> {
        let rows = self.fleet.leases.list().await?;
        let fresh = self.fleet.config.worker_metrics_interval * FRESH_INTERVALS;
        let silent = silent_owners(&rows, fresh, self.fleet.clock.now());
        if silent != self.silent && !silent.is_empty() {
            let workers: BTreeSet<WorkerId> = silent.iter().flatten().cloned().collect();
            let workers = named(&workers);
            info!(%workers, free_leases = silent.contains(&None), "these lease owners keep the fleet from going on to 3.x: they report no load");
        }
        self.silent = silent;
        Ok(self.silent.is_empty())
    }

    async fn change(&mut self, to: ClientVersion) {
        let from = std::mem::replace(&mut self.version, to);
        info!(?from, ?to, "item `{CLIENT_VERSION_KEY}` has changed: this worker changes over");
        self.readiness = Readiness::default();
        if reports_load(to) && !reports_load(from) {
            self.prepare_index().await;
        }
        let remains = self.duties.change(from, to).await;
        retire(remains).await;
    }

    async fn prepare_index(&mut self) {
        let failed = match timeout(LOOK_LIMIT, self.fleet.leases.prepare_index()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if let Some(error) = &failed {
            warn!(%error, "the index over `leaseOwner` could not be asked for, trying on");
        }
        self.index_is_due = failed.is_some();
    }
}

fn first_wait() -> Duration {
    INTERVAL + SPREAD.mul_f64(fastrand::f64())
}

/// Takes our metric row and the lock out of the table: workers of 2.x can read neither.
async fn retire(remains: Remains) {
    if let Some(reporter) = remains.reporter
        && !matches!(timeout(LEAVING_LIMIT, reporter.withdraw()).await, Ok(Ok(())))
    {
        warn!("our metric row could not be deleted; delete it before workers of 2.x come back");
    }
    if let Some(mut lock) = remains.lock
        && timeout(LEAVING_LIMIT, lock.release()).await.is_err()
    {
        warn!("giving the leader lock back took too long; delete it before workers of 2.x come back");
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
