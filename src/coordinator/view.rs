//! What one look at the table says about the fleet: which leases need what, and who may be given leases. Pure: rows,
//! ages and time come in as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Coordination;
use crate::coordinator::age::LeaseWatch;
use crate::coordinator::assign::load::reports_nothing;
use crate::coordinator::assign::{FleetView, Need};
use crate::lease::{FleetRows, Lease, WorkerRow};
use crate::types::{EpochMillis, WorkerId};

/// A load row older than this is that of a dead worker (Source: LEASES.md section 4: twice the report interval).
const ROW_FRESH: Duration = Duration::from_secs(60);

/// One look at the table, and what is known besides.
pub(super) struct Look<'r, 'a> {
    /// What the scan brought.
    pub(super) rows: &'r FleetRows,
    /// When each lease last moved.
    pub(super) watch: &'a LeaseWatch,
    /// Workers that are dead whatever their rows say.
    pub(super) dead: &'a BTreeSet<WorkerId>,
    /// Settings.
    pub(super) config: &'a Coordination,
    /// This worker.
    pub(super) me: &'a WorkerId,
    /// When the scan ended, by the clock that ages leases.
    pub(super) now: Instant,
    /// The same moment by the clock that load rows are dated with.
    pub(super) wall: EpochMillis,
}

impl<'r> Look<'r, '_> {
    /// The fleet as the assignment sees it.
    pub(super) fn view(&self) -> FleetView<'r> {
        let mut workers: BTreeMap<WorkerId, Option<&'r WorkerRow>> = BTreeMap::new();
        for row in self.rows.workers.iter().filter(|row| is_active(row, self.wall) && !self.dead.contains(&row.worker))
        {
            let newest = workers.entry(row.worker.clone()).or_default();
            if newest.is_none_or(|other| other.last_update_seconds < row.last_update_seconds) {
                *newest = Some(row); // while tables are merged a worker may have a row in each
            }
        }
        workers.entry(self.me.clone()).or_default(); // our own row may be on its way
        FleetView {
            leases: self.rows.leases.iter().map(|lease| (lease, self.need(lease))).collect(),
            workers,
            max_leases_per_worker: self.config.max_leases_for_worker,
        }
    }

    fn need(&self, lease: &Lease) -> Need {
        if lease.owner.is_none() || self.watch.age(lease, self.now) > self.config.failover_time {
            return Need::Owner;
        }
        let handoff_limit = self.config.graceful_handoff_timeout + self.config.failover_time;
        match self.watch.handoff_age(lease, self.now) {
            Some(age) if age > handoff_limit => Need::ForcedHandoff,
            Some(_) => Need::Patience,
            None => Need::Nothing,
        }
    }
}

/// Whether the row's worker lives and can be given leases: the row is fresh, each metric has an operating range, and
/// the last sample of none has failed.
///
/// Source: KCL 3.x `WorkerMetricStats.isValidWorkerMetric`, `isAnyWorkerMetricFailing`; LEASES.md section 4.
pub(super) fn is_active(row: &WorkerRow, now: EpochMillis) -> bool {
    let Some(updated) = row.last_update_seconds else { return false };
    let fresh = updated.saturating_mul(1000) >= now.before(ROW_FRESH).0;
    fresh && (reports_nothing(row) || can_be_weighed(row))
}

fn can_be_weighed(row: &WorkerRow) -> bool {
    let ranged = row.stats.keys().all(|name| row.operating_ranges.contains_key(name));
    let possible = row.operating_ranges.values().all(|range| range.first().is_some_and(|range| *range != 0.0));
    let failing = row.stats.values().any(|values| values.last() == Some(&-1.0));
    ranged && possible && !failing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn load(updated: Option<i64>, stats: &[(&str, &[f64])], ranges: &[(&str, &[f64])]) -> WorkerRow {
        let map = |pairs: &[(&str, &[f64])]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect::<BTreeMap<_, _>>()
        };
        WorkerRow {
            worker: WorkerId::new("w"),
            last_update_seconds: updated,
            stats: map(stats),
            operating_ranges: map(ranges),
            support_code: Some(1),
            support_update_seconds: updated,
        }
    }

    #[test]
    fn only_fresh_and_whole_load_rows_count_as_alive() {
        let now = EpochMillis(1_000_000_000);
        let table = [
            (load(Some(1_000_000), &[], &[]), true),
            (load(Some(1_000_000 - 60), &[], &[]), true),
            (load(Some(1_000_000 - 61), &[], &[]), false),
            (load(None, &[], &[]), false),
            (load(Some(1_000_000), &[("C", &[40.0])], &[("C", &[100.0])]), true),
            (load(Some(1_000_000), &[("C", &[40.0])], &[]), false),
            (load(Some(1_000_000), &[("C", &[40.0])], &[("C", &[0.0])]), false),
            (load(Some(1_000_000), &[("C", &[40.0, -1.0])], &[("C", &[100.0])]), false),
            (load(Some(1_000_000), &[("C", &[-1.0, 40.0])], &[("C", &[100.0])]), true),
            (load(Some(1_000_000), &[("C", &[40.0])], &[("C", &[100.0]), ("M", &[])]), false),
            (load(Some(1_000_000), &[("C", &[])], &[("C", &[100.0])]), true),
            (load(Some(1_000_000), &[("THROUGHPUT", &[-1.0])], &[]), true), // taken as none, as Java does
        ];
        for (row, alive) in table {
            assert_eq!(is_active(&row, now), alive, "{row:?}");
        }
    }
}
