//! How closely a worker looks that helps itself, as workers of 2.x do. Pure.
//!
//! A lease's age counts from when somebody first saw its counter (see `rounds::watch`), and here everybody takes for
//! themselves. Two workers look closely all the same: in a fleet of up to three they take whatever a dead one leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::coordinator::rounds::watch::{closely, now_and_then};
use crate::types::WorkerId;

/// Time between two looks for each lease in the table. A table of 2.x may be provisioned with 10 read units a second
/// (Source: KCL 2.x `initialLeaseTableReadCapacity`), and a scan reads some 0.4 kB a lease, which is a twentieth of a unit:
/// two workers take half of them at most.
const EACH_LEASE: Duration = Duration::from_millis(20);

/// Longest time until the next look because of the leases of others; `None` if they need not be watched. `living` are
/// those who keep leases, as far as we know.
pub(super) fn pause(
    me: &WorkerId,
    living: &BTreeSet<&WorkerId>,
    leases: usize,
    failover_time: Duration,
    scan: Duration,
) -> Option<Duration> {
    if living.iter().all(|worker| *worker == me) {
        return None;
    }
    let watch = match living.range::<WorkerId, _>(..me).take(3).count() {
        0 | 1 => closely(failover_time, scan),
        2 => now_and_then(failover_time, scan),
        _ => return None,
    };
    Some(watch.max(EACH_LEASE.saturating_mul(u32::try_from(leases).unwrap_or(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{F, worker};

    #[test]
    fn two_workers_look_closely_and_a_third_now_and_then_as_far_as_the_table_can_bear_it() {
        let ms = Duration::from_millis;
        let table = [
            // who keeps leases besides us, leases, a scan, longest pause of `m`
            (vec![], 16, ms(10), None),
            (vec!["z"], 16, ms(10), Some(ms(900))),
            (vec!["a"], 16, ms(10), Some(ms(900))),
            (vec!["a", "b"], 16, ms(10), Some(ms(2_500))),
            (vec!["a", "b", "c"], 16, ms(10), None),
            (vec!["n", "o", "p", "q"], 16, ms(10), Some(ms(900))),
            (vec!["z"], 16, ms(300), Some(ms(2_700))), // a tenth of the time
            (vec!["z"], 200, ms(10), Some(ms(4_000))), // ten units a scan
            (vec!["z"], 1_000, ms(10), Some(ms(20_000))),
        ];
        for (others, leases, scan, expected) in table {
            let others: Vec<_> = others.into_iter().map(worker).collect();
            for keeps in [false, true] {
                let me = worker("m");
                let living = others.iter().chain(keeps.then_some(&me)).collect();
                assert_eq!(pause(&me, &living, leases, F, scan), expected, "{living:?} {leases} {scan:?}");
            }
        }
    }
}
