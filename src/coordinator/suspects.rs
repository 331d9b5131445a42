//! Workers that must not be given leases though their load rows look alive. Pure: time comes in as values.
//!
//! A load row outlives its worker by up to a minute, and an idle worker looks like the best choice
//! (Source: COEXISTENCE.md D4).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::WorkerRow;
use crate::types::WorkerId;

/// What a report may come late by.
const GRACE: Duration = Duration::from_secs(5);

/// For how long it is remembered whose row went away: longer than a leader's lock stands that does not beat.
const GONE: Duration = Duration::from_secs(150);

/// What is held against whom.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Each worker's last report, and when we first saw it. No clock of another machine is looked at.
    reports: HashMap<WorkerId, (Option<i64>, Instant)>,
    /// Workers that let a lease grow old, and what they had reported then.
    dead: BTreeMap<WorkerId, Option<i64>>,
    /// Workers whose rows went away, and when: they left, or others have seen them die.
    gone: BTreeMap<WorkerId, Instant>,
}

impl Suspects {
    /// Takes in one look made at `now`: who has reported what, and who has let leases grow old.
    pub fn observe<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a WorkerRow>,
        expired: impl Iterator<Item = &'a WorkerId>,
        now: Instant,
    ) {
        let mut reports = HashMap::new();
        for row in rows {
            let report = row.last_update_seconds;
            let since = match self.reports.get(&row.worker) {
                Some((known, since)) if *known == report => *since,
                Some(_) | None => now,
            };
            reports.insert(row.worker.clone(), (report, since));
        }
        let went = self.reports.keys().filter(|worker| !reports.contains_key(*worker));
        self.gone.extend(went.map(|worker| (worker.clone(), now)));
        self.gone.retain(|worker, at| now.saturating_duration_since(*at) <= GONE && !reports.contains_key(worker));
        self.reports = reports;
        let Self { reports, dead, .. } = self;
        dead.retain(|worker, then| reports.get(worker).is_some_and(|(report, _)| report == then));
        for worker in expired {
            let report = reports.get(worker).and_then(|(report, _)| *report);
            dead.insert(worker.clone(), report);
        }
    }

    /// Whether the worker has let a lease grow old and has not reported since.
    #[must_use]
    pub fn is_dead(&self, worker: &WorkerId) -> bool {
        self.dead.contains_key(worker)
    }

    /// Whether the worker's row has gone away in the last minutes, and has not come back.
    #[must_use]
    pub fn has_gone(&self, worker: &WorkerId) -> bool {
        self.gone.contains_key(worker)
    }

    /// Everybody who must not be given leases: the dead, and those whose report is overdue, for the death of a worker
    /// that holds nothing shows nowhere else.
    #[must_use]
    pub fn all(&self, report_interval: Duration, now: Instant) -> BTreeSet<WorkerId> {
        let overdue = |since: &Instant| now.saturating_duration_since(*since) > report_interval + GRACE;
        let late = self.reports.iter().filter(|(_, (_, since))| overdue(since)).map(|(worker, _)| worker);
        self.dead.keys().chain(late).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{load_row, worker};

    const REPORTS: Duration = Duration::from_secs(30);

    fn reported(name: &str, at: i64) -> WorkerRow {
        WorkerRow { last_update_seconds: Some(at), ..load_row(name) }
    }

    #[test]
    fn who_lets_a_lease_grow_old_is_dead_until_it_reports_again() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let look = |suspects: &mut Suspects, at, expired: &[WorkerId]| {
            suspects.observe([reported("b", at)].iter(), expired.iter(), now);
            (suspects.is_dead(&worker("b")), suspects.all(REPORTS, now).contains(&worker("b")))
        };
        assert_eq!(look(&mut suspects, 100, &[]), (false, false));
        assert_eq!(look(&mut suspects, 100, &[worker("b")]), (true, true));
        assert_eq!(look(&mut suspects, 100, &[]), (true, true), "its lease has been taken since");
        assert_eq!(look(&mut suspects, 130, &[]), (false, false));
    }

    #[test]
    fn who_misses_a_report_is_given_nothing_until_it_comes() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        let late = |suspects: &mut Suspects, seconds, report| {
            let now = start + Duration::from_secs(seconds);
            suspects.observe([reported("b", report)].iter(), [].into_iter(), now);
            (suspects.is_dead(&worker("b")), !suspects.all(REPORTS, now).is_empty())
        };
        assert_eq!(late(&mut suspects, 0, 7), (false, false));
        assert_eq!(late(&mut suspects, 35, 7), (false, false));
        assert_eq!(late(&mut suspects, 36, 7), (false, true), "missed, and yet nobody's lease is taken for it");
        assert_eq!(late(&mut suspects, 37, 8), (false, false));
    }

    #[test]
    fn whose_row_went_away_is_gone_until_it_reports_again_or_is_forgotten() {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        let gone = |suspects: &mut Suspects, seconds, rows: &[WorkerRow]| {
            suspects.observe(rows.iter(), [].into_iter(), start + Duration::from_secs(seconds));
            suspects.has_gone(&worker("b"))
        };
        assert!(!gone(&mut suspects, 0, &[]), "never seen, so it may be that its first report is on its way");
        assert!(!gone(&mut suspects, 1, &[reported("b", 7)]));
        assert!(gone(&mut suspects, 2, &[reported("c", 7)]));
        assert!(gone(&mut suspects, 150, &[reported("c", 8)]));
        assert!(!gone(&mut suspects, 151, &[reported("b", 9)]), "it lives after all");
        assert!(gone(&mut suspects, 152, &[]));
        assert!(!gone(&mut suspects, 303, &[]), "nobody's lock stands for so long");
    }

    #[test]
    fn the_dead_without_a_row_are_forgotten() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.observe([].into_iter(), [worker("b")].iter(), now);
        assert!(suspects.is_dead(&worker("b")));
        suspects.observe([].into_iter(), [].into_iter(), now);
        assert!(!suspects.is_dead(&worker("b")));
    }
}
