//! Tells the fleet that this worker lives, and what it can: the load row.
//!
//! A worker without a fresh row gets no leases (Source: LEASES.md section 4). CPU is reported only on platforms where
//! the Java worker does so; elsewhere both maps are empty, and the row says no more than "alive".

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::coordinator::Fleet;
use crate::coordinator::renew::chain;
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
            let pause = match timeout(REPORT_LIMIT, self.fleet.state.put_worker(&row)).await {
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
                () = stop.cancelled() => return self,
                () = sleep(pause) => {}
            }
        }
    }

    /// Deletes the row, so that no leader gives us a lease any more.
    ///
    /// # Errors
    /// The table could not be asked.
    pub async fn withdraw(self) -> Result<(), LeaseStoreError> {
        if let Some(seen) = self.written {
            self.fleet.state.delete_worker(&self.fleet.me, seen).await?;
        }
        Ok(())
    }
}
