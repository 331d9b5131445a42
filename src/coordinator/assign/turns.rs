//! When the fleet is to be looked at for balance. Pure: time comes in as values.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::FleetView;
use super::load::reports_nothing;
use crate::types::WorkerId;

/// Counts time, not looks: looks come as often as something happens, but a load that was moved shows in the workers'
/// reports only half a minute later, and moving more on the old figures would overshoot.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: Option<Instant>,
    known: BTreeSet<WorkerId>,
}

impl Turns {
    /// At once after leadership began, then `every` after the last time (Java: every
    /// `varianceBalancingFrequency`-th run). A worker that came since need not wait where no reports are weighed: what
    /// its peers carry is told by the leases, and is true at once.
    pub(crate) fn is_due(&mut self, view: &FleetView<'_>, now: Instant) -> bool {
        self.known.retain(|worker| view.workers.contains_key(worker));
        let came = || view.workers.keys().any(|worker| !self.known.contains(worker));
        let told_by_leases = || view.workers.values().flatten().all(|row| reports_nothing(row));
        self.next.is_none_or(|next| now >= next) || (came() && told_by_leases())
    }

    /// Notes that the fleet was balanced at `now`.
    pub(crate) fn taken(&mut self, view: &FleetView<'_>, now: Instant, every: Duration) {
        self.next = Some(now + every);
        self.known = view.workers.keys().cloned().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Owned, row};
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    fn workers(names: &[&str], metrics: &[(&str, Vec<f64>, f64)]) -> Owned {
        let rows = names.iter().map(|name| (WorkerId::new(*name), Some(row(name, metrics))));
        Owned { leases: Vec::new(), workers: rows.collect(), limit: usize::MAX }
    }

    #[test]
    fn the_fleet_is_balanced_at_once_and_then_by_time_however_many_looks_there_are() {
        let (fleet, start) = (workers(&["a", "b"], &[]), Instant::now());
        let (view, mut turns) = (fleet.view(), Turns::default());
        assert!(turns.is_due(&view, start));
        turns.taken(&view, start, EVERY);
        let due: Vec<u64> =
            (1..=60).filter(|second| turns.is_due(&view, start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [60]);
    }

    #[test]
    fn a_worker_that_came_need_not_wait_unless_reports_are_weighed() {
        let processor = [("C", vec![50.0], 100.0)];
        for (metrics, at_once) in [(&[][..], true), (&processor[..], false)] {
            let (before, after) = (workers(&["a"], metrics), workers(&["a", "b"], metrics));
            let (now, mut turns) = (Instant::now(), Turns::default());
            turns.taken(&before.view(), now, EVERY);
            assert_eq!(turns.is_due(&after.view(), now), at_once);
            turns.taken(&after.view(), now, EVERY);
            assert!(!turns.is_due(&before.view(), now), "nothing is balanced because somebody left");
            assert_eq!(turns.is_due(&after.view(), now), at_once, "it left and came again");
        }
    }
}
