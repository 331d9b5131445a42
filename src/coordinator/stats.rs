//! Tells the fleet that this worker lives, and what it can: the load row.
//!
//! A worker without a fresh row gets no leases (Source: LEASES.md section 4). CPU is reported only on platforms where
//! the Java worker does so; elsewhere both maps are empty, and the row says no more than "alive".

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::coordinator::renew::chain;
use crate::coordinator::{Fleet, LEAVING_RETRY};
use crate::lease::{LeaseStoreError, WorkerRow};

/// What `sup` says: we understand the single-table layout (Source: LEASES.md section 1.4).
const SINGLE_TABLE_SUPPORT: i64 = 1;
/// Wait before a report that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Limit of one report.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// Writes the load row of this worker.
pub struct Reporter {
    fleet: Fleet,
    written: Option<i64>,
}

impl Reporter {
    /// Has written nothing yet.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, written: None }
    }

    /// Reports at once and then at the configured interval, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        loop {
            let now = self.fleet.clock.now().0 / 1000;
            let row = WorkerRow {
                worker: self.fleet.me.clone(),
                last_update_seconds: Some(now),
                stats: BTreeMap::new(),
                operating_ranges: BTreeMap::new(),
                support_code: Some(SINGLE_TABLE_SUPPORT),
                support_update_seconds: Some(now),
            };
            let report = tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                report = timeout(REPORT_LIMIT, self.fleet.state.put_worker(&row)) => report,
            };
            let pause = match report {
                Ok(Ok(())) => {
                    self.written = Some(now);
                    self.fleet.config.worker_metrics_interval
                }
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "our load row could not be written, trying on; without it no lease comes");
                    RETRY
                }
                Err(_) => RETRY,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                () = sleep(pause) => {}
            }
        }
    }

    /// Deletes the row, so that no leader gives us a lease any more; tries on while that can help, so the caller sets
    /// the limit.
    ///
    /// # Errors
    /// The table refused.
    pub async fn withdraw(self) -> Result<(), LeaseStoreError> {
        let mut failures = 0;
        loop {
            match self.try_withdraw().await {
                Err(error) if error.is_transient() => {
                    failures += 1;
                    sleep(LEAVING_RETRY.jittered(failures)).await;
                }
                result => return result,
            }
        }
    }

    async fn try_withdraw(&self) -> Result<(), LeaseStoreError> {
        let me = &self.fleet.me;
        if let Some(seen) = self.written
            && self.fleet.state.delete_worker(me, seen).await?
        {
            return Ok(());
        }
        // Not as we know it: a report that seemed to fail, or was cut short, has come through.
        let rows = self.fleet.leases.list().await?;
        let ours = rows.workers.iter().find(|row| row.worker == *me);
        if let Some(seen) = ours.and_then(|row| row.last_update_seconds) {
            self.fleet.state.delete_worker(me, seen).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
