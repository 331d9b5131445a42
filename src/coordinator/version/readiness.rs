//! Whether a fleet that works as 2.x can go on to 3.x: the leader asks every minute, and believes it after ten. Pure.
//!
//! Source: KCL 3.x `MigrationReadyMonitor`; LEASES.md section 9.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::FleetRows;
use crate::types::{EpochMillis, WorkerId};

/// How long everything must have been in order (Source: `flipTo3XStabilizerTimeInSeconds`).
const STABLE: Duration = Duration::from_secs(600);

/// Lease owners that do not tell of their load; `None` among them is a lease without an owner.
///
/// `fresh` is the age at which a metric row counts for nothing. Whether a lease has expired makes no difference: its
/// owner may come back, and must be known then.
#[must_use]
pub fn silent_owners(rows: &FleetRows, fresh: Duration, now: EpochMillis) -> BTreeSet<Option<WorkerId>> {
    let is_fresh = |lut: i64| lut.saturating_mul(1000) > now.before(fresh).0;
    let told = rows.workers.iter().filter(|row| row.last_update_seconds.is_some_and(is_fresh));
    let told: BTreeSet<&WorkerId> = told.map(|row| &row.worker).collect();
    let owners: BTreeSet<Option<&WorkerId>> = rows.leases.iter().map(|lease| lease.owner.as_ref()).collect();
    let silent = owners.into_iter().filter(|owner| owner.is_none_or(|owner| !told.contains(owner)));
    silent.map(Option::<&WorkerId>::cloned).collect()
}

/// Since when everything is in order.
#[derive(Debug, Default)]
pub struct Readiness {
    since: Option<Instant>,
}

impl Readiness {
    /// Takes in one look; whether the fleet goes on to 3.x now.
    pub fn is_reached(&mut self, ready: bool, now: Instant) -> bool {
        if !ready {
            self.since = None;
            return false;
        }
        now.saturating_duration_since(*self.since.get_or_insert(now)) >= STABLE
    }

    /// Somebody else leads: the time begins anew when we do.
    pub fn forget(&mut self) {
        self.since = None;
    }

    /// How long everything has been in order.
    #[must_use]
    pub fn lasts(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{NOW, lease, load_row, worker};

    #[test]
    fn every_owner_must_have_a_fresh_row() {
        type Owners<'a> = &'a [Option<&'a str>];
        type Reports<'a> = &'a [(&'a str, i64)];
        let table: [(Owners<'_>, Reports<'_>, Owners<'_>); 6] = [
            (&[], &[], &[]),
            (&[Some("a"), Some("b"), Some("a")], &[("a", 0), ("b", 59)], &[]),
            (&[Some("a"), Some("b")], &[("a", 0), ("b", 60)], &[Some("b")]),
            (&[Some("a"), Some("b")], &[("a", 0)], &[Some("b")]),
            (&[Some("a"), None], &[("a", 0)], &[None]),
            (&[Some("a")], &[("a", 0), ("idle", 500)], &[]), // who owns nothing need not report
        ];
        for (owners, workers, silent) in table {
            let row = |(name, age): &(&str, i64)| {
                let mut row = load_row(name);
                row.last_update_seconds = Some(NOW.0 / 1000 - age);
                row
            };
            let rows = FleetRows {
                leases: (0..).zip(owners).map(|(number, owner)| lease(number, *owner)).collect(),
                workers: workers.iter().map(row).collect(),
                ..FleetRows::default()
            };
            let expected: BTreeSet<_> = silent.iter().map(|owner| owner.map(worker)).collect();
            assert_eq!(silent_owners(&rows, Duration::from_secs(60), NOW), expected, "{owners:?}");
        }
    }

    #[test]
    fn ten_minutes_without_a_break_are_needed() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut readiness = Readiness::default();
        for minute in 0..10 {
            assert!(!readiness.is_reached(true, at(minute)), "{minute}");
        }
        assert!(readiness.is_reached(true, at(10)));
        assert!(readiness.is_reached(true, at(11)), "the write may have failed, so it is tried again");
        assert!(!readiness.is_reached(false, at(12)));
        assert!(!readiness.is_reached(true, at(13)));
        assert!(!readiness.is_reached(true, at(22)));
        assert!(readiness.is_reached(true, at(23)));
        readiness.forget(); // the lead was lost
        assert!(!readiness.is_reached(true, at(24)));
        assert_eq!(readiness.lasts(at(25)), Some(Duration::from_secs(60)));
    }
}
