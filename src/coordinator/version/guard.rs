//! Who may still be a worker of 2.x: such a worker fails on every scan once the table holds anything but leases. Pure.
//!
//! Source: COEXISTENCE.md D1, seen with 2.5.4.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::coordinator::age::LeaseWatch;
use crate::lease::FleetRows;
use crate::types::{ShardId, WorkerId};

/// How often a lease's throughput must be seen to change under one owner: once may have been the owner before.
const CHANGES: u32 = 3;

/// Lease owners other than `me` whose metric row does not say that they know KCL 3.5's table.
#[must_use]
pub fn unproven_owners(rows: &FleetRows, me: &WorkerId) -> BTreeSet<WorkerId> {
    let knows = rows.workers.iter().filter(|row| row.support_code.is_some_and(|code| code >= 1));
    let knows: BTreeSet<&WorkerId> = knows.map(|row| &row.worker).chain([me]).collect();
    let owners = rows.leases.iter().filter_map(|lease| lease.owner.as_ref());
    owners.filter(|owner| !knows.contains(owner)).cloned().collect()
}

/// Whether a worker of 2.x could not read the table even now; the lock is not among `rows`.
#[must_use]
pub fn holds_other_rows(rows: &FleetRows) -> bool {
    !rows.workers.is_empty() || !rows.unreadable.is_empty()
}

#[derive(Clone, Debug)]
struct Throughput {
    owner: WorkerId,
    value: Option<f64>,
    changes: u32,
}

/// What the leases tell about their owners, look by look.
///
/// A worker of 2.x never writes `throughputKBps`; one of 3.x does so with every renewal while records come.
#[derive(Debug, Default)]
pub struct Guard {
    ages: LeaseWatch,
    throughputs: BTreeMap<ShardId, Throughput>,
    proven: BTreeSet<WorkerId>,
}

impl Guard {
    /// Takes in one look; the owners that renew and may still be of 2.x.
    pub fn suspects(
        &mut self,
        rows: &FleetRows,
        me: &WorkerId,
        failover: Duration,
        now: Instant,
    ) -> BTreeSet<WorkerId> {
        self.ages.observe(rows.leases.iter(), now);
        let mut next = BTreeMap::new();
        for lease in &rows.leases {
            let Some(owner) = lease.owner.clone() else { continue };
            let value = lease.throughput_kbps;
            let before = self.throughputs.remove(&lease.shard).filter(|before| before.owner == owner);
            let changes = match before {
                Some(before) if before.value != value => before.changes + 1,
                Some(before) => before.changes,
                None => 0,
            };
            if changes >= CHANGES {
                self.proven.insert(owner.clone());
            }
            next.insert(lease.shard.clone(), Throughput { owner, value, changes });
        }
        self.throughputs = next;
        let alive = rows.leases.iter().filter(|lease| self.ages.age(lease, now) <= failover);
        let alive: BTreeSet<&WorkerId> = alive.filter_map(|lease| lease.owner.as_ref()).collect();
        let mut suspects = unproven_owners(rows, me);
        suspects.retain(|owner| alive.contains(owner) && !self.proven.contains(owner));
        suspects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{F, lease, load_row, worker};
    use crate::types::LeaseCounter;

    fn rows(leases: &[(Option<&str>, Option<f64>)], counter: i64) -> FleetRows {
        let row = |(number, (owner, throughput)): (u32, &(Option<&str>, Option<f64>))| {
            let mut lease = lease(number, *owner);
            lease.counter = LeaseCounter(counter);
            lease.throughput_kbps = *throughput;
            lease
        };
        FleetRows { leases: (0..).zip(leases).map(row).collect(), ..FleetRows::default() }
    }

    fn names(workers: &BTreeSet<WorkerId>) -> Vec<&str> {
        workers.iter().map(WorkerId::as_str).collect()
    }

    #[test]
    fn a_load_row_with_a_support_code_proves_its_worker() {
        let mut rows = rows(&[(Some("me"), None), (Some("new"), None), (Some("old"), None), (None, None)], 1);
        assert!(!holds_other_rows(&rows));
        assert_eq!(names(&unproven_owners(&rows, &worker("me"))), ["new", "old"]);
        let mut of_30 = load_row("old");
        of_30.support_code = None;
        rows.workers = vec![load_row("new"), of_30];
        assert!(holds_other_rows(&rows));
        assert_eq!(names(&unproven_owners(&rows, &worker("me"))), ["old"]);
    }

    #[test]
    fn a_throughput_that_moves_under_one_owner_proves_it() {
        let (mut guard, start, me) = (Guard::default(), Instant::now(), worker("me"));
        let mut look = |minute: i64, new: f64, old: f64| {
            let now = start + Duration::from_secs(60 * minute.unsigned_abs());
            let rows = rows(&[(Some("new"), Some(new)), (Some("old"), Some(old))], minute);
            names(&guard.suspects(&rows, &me, F, now)).join(" ")
        };
        let seen = [look(0, 1.0, 5.0), look(1, 2.0, 5.0), look(2, 1.5, 5.0), look(3, 0.75, 5.0), look(4, 0.75, 5.0)];
        assert_eq!(seen, ["new old", "new old", "new old", "old", "old"]);
    }

    #[test]
    fn a_throughput_that_the_owner_before_has_left_proves_nothing() {
        let (mut guard, start) = (Guard::default(), Instant::now());
        for look in 0..8_u32 {
            let owner = if look % 2 == 0 { "new" } else { "old" };
            let rows = rows(&[(Some(owner), Some(f64::from(look)))], i64::from(look));
            let now = start + Duration::from_secs(u64::from(60 * look));
            assert_eq!(names(&guard.suspects(&rows, &worker("me"), F, now)), [owner]);
        }
    }

    #[test]
    fn who_does_not_renew_any_more_is_not_harmed() {
        let (mut guard, start) = (Guard::default(), Instant::now());
        let rows = rows(&[(Some("dead"), None)], 7);
        let mut look = |at| names(&guard.suspects(&rows, &worker("me"), F, at)).len();
        assert_eq!([look(start), look(start + F), look(start + F * 2)], [1, 1, 0]);
    }
}
