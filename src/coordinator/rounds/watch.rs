//! How closely to look at the table. Pure.
//!
//! A lease's age counts from when somebody first saw its counter, so whoever shall notice a death in time must look
//! often; but two are enough: the leader watches the others, and one other worker watches the leader. A third one looks
//! now and then, in case both die. A dead leader's lock stands for two minutes; as long as it does each of them stands in
//! for the one before.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::coordinator::leader::Leadership;
use crate::types::WorkerId;

/// Longest time between two close looks. With [`SPACING`] a takeover comes less than a second after the failover time.
const CLOSEST: Duration = Duration::from_millis(900);
/// The same in percent of the failover time.
const CLOSEST_PERCENT: u32 = 9;
/// Shortest time between two looks that nothing calls for.
pub(super) const SHORTEST: Duration = Duration::from_millis(200);
/// Shortest time between two looks when leases expire one after the other.
pub(super) const SPACING: Duration = Duration::from_millis(100);
/// A scan may take this part of the time: one of so many.
const SCAN_SHARE: u32 = 10;
/// Added to the moment at which a lease will have expired, so that it has.
const MARGIN: Duration = Duration::from_millis(50);

/// A worker's part in watching the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Leads, and watches everybody else.
    Leader,
    /// Watches the leader, to take its place; or stands in for one that is gone, and watches everybody else.
    Successor,
    /// Watches a successor that stands in for the leader.
    Second,
    /// Takes the successor's place should both die: it looks often enough to know ages then.
    Third,
    /// Is watched.
    Member,
}

/// Which part is ours: of the living workers besides the leader the one with the smallest name is the successor, and the
/// next one the third; behind a leader that `is_gone` they are the successor, the second and the third. Where nobody is
/// known to lead, everybody watches.
pub(super) fn role(leadership: &Leadership, me: &WorkerId, living: &BTreeSet<WorkerId>, is_gone: bool) -> Role {
    let owner = match leadership {
        Leadership::Mine => return Role::Leader,
        Leadership::Unknown => return Role::Successor,
        Leadership::Theirs { owner, .. } => owner,
    };
    let before_us = living.range::<WorkerId, _>(..me).filter(|worker| *worker != owner).take(3).count();
    match (before_us, is_gone) {
        (0, _) => Role::Successor,
        (1, true) => Role::Second,
        (1, false) | (2, true) => Role::Third,
        _ => Role::Member,
    }
}

/// What a look has shown, as far as the time until the next one depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    /// Our part.
    pub(super) role: Role,
    /// Another worker holds a lease, and renews it as far as we know.
    pub(super) others_hold: bool,
    /// There is something to do that could not be done: no leases, leases without owner, expired ones.
    pub(super) waiting: bool,
    /// A write failed that another look may bring.
    pub(super) failed: bool,
    /// Time until the first of the others' leases expires, if none moves.
    pub(super) until_expiry: Option<Duration>,
    /// How long the scan took.
    pub(super) scan: Duration,
    /// `failoverTimeMillis`.
    pub(super) failover_time: Duration,
    /// `leaseAssignmentIntervalMillis`.
    pub(super) interval: Duration,
}

/// Shortest time between two scans that take so long.
fn affordable(scan: Duration) -> Duration {
    scan * (SCAN_SHARE - 1)
}

/// Time between two looks of those who shall see a death within a second of the failover time.
pub(in crate::coordinator) fn closely(failover_time: Duration, scan: Duration) -> Duration {
    (failover_time * CLOSEST_PERCENT / 100).clamp(SHORTEST, CLOSEST).max(affordable(scan)).min(failover_time)
}

/// Time between two looks of the one that takes their place should both die.
pub(in crate::coordinator) fn now_and_then(failover_time: Duration, scan: Duration) -> Duration {
    (failover_time / 4).max(affordable(scan)).min(failover_time)
}

/// The time until the next look.
pub(super) fn pause(scene: &Scene) -> Duration {
    let watches = matches!(scene.role, Role::Leader | Role::Successor | Role::Second);
    let closely = closely(scene.failover_time, scene.scan);
    let rest = scene.failover_time.min(scene.interval);
    let now_and_then = now_and_then(scene.failover_time, scene.scan).min(rest);
    let mut pause = match scene.role {
        Role::Leader | Role::Successor | Role::Second if scene.others_hold => closely,
        Role::Third if scene.others_hold => now_and_then,
        Role::Leader | Role::Successor | Role::Second | Role::Third | Role::Member => rest,
    };
    if watches && scene.waiting {
        pause = pause.min(now_and_then);
    }
    if scene.failed {
        pause = pause.min(closely);
    }
    pause = pause.max(SHORTEST);
    // Where all is well every lease has moved since the last look, and this is no sooner than the next.
    if let Some(expiry) = scene.until_expiry {
        pause = pause.min((expiry + MARGIN).max(SPACING).max(affordable(scene.scan)));
    }
    pause
}

/// Whether leases given to us may go unnoticed by the looks for longer than `patience`, so that the index must be asked.
/// A leader gives to itself; somebody who leaves may give to it, but only what that worker holds.
pub(super) fn must_ask_index(scene: &Scene, pause: Duration, patience: Duration) -> bool {
    pause > patience && (scene.role != Role::Leader || scene.others_hold)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const F: Duration = Duration::from_secs(10);
    const QUIET: Scene = Scene {
        role: Role::Leader,
        others_hold: false,
        waiting: false,
        failed: false,
        until_expiry: None,
        scan: Duration::from_millis(10),
        failover_time: F,
        interval: Duration::from_secs(20),
    };

    #[test]
    fn the_leader_and_its_successor_look_each_second_and_only_while_there_is_somebody_to_watch() {
        use Role::{Member, Second, Successor, Third};
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let table = [
            (QUIET, F),
            (Scene { role: Successor, ..QUIET }, F),
            (Scene { others_hold: true, ..QUIET }, CLOSEST),
            (Scene { role: Successor, others_hold: true, ..QUIET }, CLOSEST),
            (Scene { role: Second, ..QUIET }, F),
            (Scene { role: Second, others_hold: true, ..QUIET }, CLOSEST),
            (Scene { role: Third, ..QUIET }, F),
            (Scene { role: Third, others_hold: true, ..QUIET }, F / 4),
            (Scene { role: Third, others_hold: true, scan: ms(400), ..QUIET }, ms(3_600)),
            (Scene { role: Third, others_hold: true, interval: s(2), ..QUIET }, s(2)),
            (Scene { role: Third, others_hold: true, until_expiry: Some(ms(300)), ..QUIET }, ms(350)),
            (Scene { role: Member, others_hold: true, ..QUIET }, F),
            (Scene { role: Member, others_hold: true, until_expiry: Some(F), ..QUIET }, F), // all have moved since the last look
            (Scene { role: Member, others_hold: true, until_expiry: Some(s(3)), ..QUIET }, ms(3_050)),
            (Scene { others_hold: true, failover_time: s(4), ..QUIET }, ms(360)),
            (Scene { others_hold: true, failover_time: s(1), ..QUIET }, SHORTEST),
            (Scene { others_hold: true, failover_time: s(60), ..QUIET }, CLOSEST),
            (Scene { others_hold: true, scan: ms(300), ..QUIET }, ms(2_700)), // a tenth of the time
            (Scene { others_hold: true, scan: s(8), ..QUIET }, F),            // but not blind
            (Scene { others_hold: true, until_expiry: Some(ms(300)), ..QUIET }, ms(350)),
            (Scene { others_hold: true, until_expiry: Some(ms(3)), ..QUIET }, SPACING),
            (Scene { interval: s(2), ..QUIET }, s(2)),
            (Scene { waiting: true, ..QUIET }, ms(2_500)),
            (Scene { waiting: true, role: Member, ..QUIET }, F),
            (Scene { failed: true, ..QUIET }, CLOSEST),
        ];
        for (scene, expected) in table {
            assert_eq!(pause(&scene), expected, "{scene:?}");
        }
    }

    #[test]
    fn a_lease_of_the_dead_is_found_by_whoever_gets_it_within_two_seconds_of_the_failover_time() {
        // Seen that late, waited for that much longer, found that much later; the rest is for the round trips.
        let worst = CLOSEST + SPACING.max(MARGIN) + crate::coordinator::discover::INTERVAL;
        assert!(worst <= Duration::from_millis(1_900), "{worst:?}");
    }

    #[test]
    fn the_index_is_asked_only_where_looks_are_too_rare() {
        use Role::{Leader, Member, Successor, Third};
        let (patience, s, ms) = (Duration::from_secs(2), Duration::from_secs, Duration::from_millis);
        let table = [
            // role, others hold, pause, asked
            (Leader, false, s(10), false),
            (Leader, true, s(1), false),
            (Leader, true, s(9), true),
            (Successor, true, s(1), false),
            (Successor, false, s(10), true),
            (Third, true, ms(2_500), true),
            (Member, true, s(10), true),
        ];
        for (role, others_hold, pause, asked) in table {
            let scene = Scene { role, others_hold, ..QUIET };
            assert_eq!(must_ask_index(&scene, pause, patience), asked, "{scene:?} {pause:?}");
        }
    }

    fn names(names: &[&str]) -> BTreeSet<WorkerId> {
        names.iter().map(|name| WorkerId::new(*name)).collect()
    }

    fn led_by(owner: &str) -> Leadership {
        Leadership::Theirs { owner: WorkerId::new(owner), unchanged_since: Instant::now() }
    }

    #[test]
    fn exactly_one_worker_watches_the_leader_and_one_more_looks_now_and_then() {
        let living = names(&["a", "b", "c", "d"]);
        for leader in ["a", "b", "c", "d", "somebody without a row"] {
            let followers = living.iter().filter(|worker| worker.as_str() != leader);
            let roles: Vec<Role> = followers.map(|worker| role(&led_by(leader), worker, &living, false)).collect();
            assert_eq!(roles[..3], [Role::Successor, Role::Third, Role::Member], "{leader}");
            assert!(roles[3..].iter().all(|role| *role == Role::Member), "{leader}");
        }
        let role = |leadership, me, living: &[&str]| role(&leadership, &WorkerId::new(me), &names(living), false);
        assert_eq!(role(led_by("a"), "b", &["a"]), Role::Successor, "its row is on its way");
        assert_eq!(role(led_by("a"), "c", &["a", "b"]), Role::Third, "so is this one's");
        assert_eq!(role(led_by("a"), "c", &["a", "d"]), Role::Successor, "b is dead");
        assert_eq!(role(Leadership::Unknown, "d", &["a", "b", "c", "d"]), Role::Successor);
        assert_eq!(role(Leadership::Mine, "d", &["a", "b", "c", "d"]), Role::Leader);
    }

    #[test]
    fn behind_a_leader_that_is_gone_its_successor_is_watched_as_closely() {
        let living = names(&["b", "c", "d", "e", "f"]);
        for leader in ["a", "z"] {
            let roles: Vec<Role> = living.iter().map(|me| role(&led_by(leader), me, &living, true)).collect();
            assert_eq!(roles, [Role::Successor, Role::Second, Role::Third, Role::Member, Role::Member], "{leader}");
        }
        assert_eq!(role(&Leadership::Mine, &WorkerId::new("c"), &living, true), Role::Leader);
    }
}
