//! Tells the fleet that this worker lives, and how busy it is: the metric row.
//!
//! A worker without a fresh row gets no leases (Source: LEASES.md section 4). The CPU is reported only on platforms where
//! the Java worker does so; elsewhere both maps are empty, and the row says no more than "alive".

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::coordinator::renew::chain;
use crate::coordinator::{Fleet, LEAVING_RETRY};
use crate::host::load::{CPU_RANGE, Load};
use crate::lease::{LeaseStoreError, WorkerRow};

/// What `sup` says: we understand the single-table layout and can move into it (Source: LEASES.md section 1.4); true
/// since `migration` and `place` know all of LEASES.md section 10.
const SINGLE_TABLE_SUPPORT: i64 = 1;
/// Name of the CPU's share in `sts` and `opr`. Source: KCL 3.x `WorkerMetricType.CPU`.
const CPU: &str = "C";
/// Wait before a report that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Limit of one report.
const REPORT_LIMIT: Duration = Duration::from_secs(10);
/// The pause between reports is shorter by up to this part of it, so that two processes with one name do not write in the
/// same second for ever and each take the other's row for its own.
const SPREAD: u32 = 30;
/// Reports of ours that may still be on their way, or that we would not know the outcome of.
const OURS: usize = 8;
/// Reports without a sign of a namesake after which it is gone: now and then two of ours come between two of its own.
const GONE_AFTER: u32 = 4;

/// Writes the metric row of this worker.
pub struct Reporter {
    fleet: Fleet,
    load: Load,
    written: Written,
}

/// What we know of the row in the table.
#[derive(Default)]
struct Written {
    /// `lut` of the last report that came through.
    last: Option<i64>,
    /// `lut` of the last reports that we sent, oldest first.
    sent: VecDeque<i64>,
    /// Reports of ours alone until a namesake that was seen counts as gone; 0 if none was.
    namesake: u32,
}

impl Reporter {
    /// Has written nothing yet.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        let load = Load::new(fleet.host.clone(), fleet.config.cpu_sampling);
        Self { fleet, load, written: Written::default() }
    }

    /// Reports at once, as soon as the CPU is measured, and then at the configured interval, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = report(&self.fleet, &self.load, &mut self.written) => {}
            () = self.load.measure() => {}
        }
        self
    }

    /// The time (`lut`, seconds since the Unix epoch) of our last report: a row with a later one was written by another
    /// process of our name. `None` if we sent none.
    #[must_use]
    pub fn last_report(&self) -> Option<i64> {
        self.written.sent.iter().copied().max()
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
        if let Some(seen) = self.written.last
            && self.fleet.state.delete_worker(me, seen).await?
        {
            return Ok(());
        }
        // Not as we know it: a report that seemed to fail, or was cut short, has come through. Or a process that was started
        // in our place has our name and reports already; its row stays.
        let rows = self.fleet.leases.list().await?;
        let ours = rows.workers.iter().find(|row| row.worker == *me);
        if let Some(seen) = ours.and_then(|row| row.last_update_seconds).filter(|seen| self.written.sent.contains(seen))
        {
            self.fleet.state.delete_worker(me, seen).await?;
        }
        Ok(())
    }
}

async fn report(fleet: &Fleet, load: &Load, written: &mut Written) {
    let interval = fleet.config.worker_metrics_interval;
    loop {
        let (stats, operating_ranges) = metrics(load.report());
        let now = || fleet.clock.now().0 / 1000;
        let mut row = WorkerRow {
            worker: fleet.me.clone(),
            last_update_seconds: None,
            stats,
            operating_ranges,
            support_code: Some(SINGLE_TABLE_SUPPORT),
            support_update_seconds: None,
        };
        loop {
            let now = now();
            (row.last_update_seconds, row.support_update_seconds) = (Some(now), Some(now));
            written.sending(now);
            match timeout(REPORT_LIMIT, fleet.state.put_worker(&row)).await {
                Ok(Ok(before)) => {
                    if written.came_through(now, before) {
                        tell_of_namesake(fleet);
                    }
                    break;
                }
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "our load row could not be written, trying on; without it no lease comes");
                }
                Err(_) => {}
            }
            sleep(RETRY).await;
        }
        let pause = interval - (interval / SPREAD).mul_f64(fastrand::f64());
        tokio::select! {
            () = sleep(pause) => {}
            () = load.known() => {}
        }
    }
}

/// `sts` and `opr` for these averages of the CPU.
fn metrics(cpu: Option<Vec<f64>>) -> (BTreeMap<String, Vec<f64>>, BTreeMap<String, Vec<f64>>) {
    let Some(averages) = cpu else { return Default::default() };
    let one = |values| BTreeMap::from([(CPU.to_owned(), values)]);
    (one(averages), one(vec![CPU_RANGE]))
}

fn tell_of_namesake(fleet: &Fleet) {
    error!(
        worker = %fleet.me,
        "another running process has our workerId: our load row was written by somebody else since our last report; both \
         take each other's leases for their own, so records are read twice and checkpoints fail; give each process a \
         workerId of its own, or remove the line for a random one"
    );
}

impl Written {
    fn sending(&mut self, at: i64) {
        if self.sent.len() == OURS {
            self.sent.pop_front();
        }
        self.sent.push_back(at);
    }

    /// Notes a report; `true` if the row that it replaced was written by somebody else, and that was not known yet.
    ///
    /// The first report proves nothing: it may replace what an earlier process of this name left behind.
    fn came_through(&mut self, at: i64, before: Option<i64>) -> bool {
        let first = self.last.replace(at).is_none();
        let foreign = !first && before.is_some_and(|before| !self.sent.contains(&before));
        let known = self.namesake > 0;
        self.namesake = if foreign { GONE_AFTER } else { self.namesake.saturating_sub(1) };
        foreign && !known
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
