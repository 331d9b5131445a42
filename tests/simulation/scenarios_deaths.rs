//! Single courses with tight bounds in which several workers die.

use std::time::Duration;

use crate::in_paused_time;
use crate::scenarios::{finish, settled_on, until_taken_from};
use crate::world::F;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_dies_in_a_dead_leaders_place_is_replaced_as_soon_as_the_leader_was() {
    in_paused_time(async {
        // The lock is the dead leader's all the while; two stand in for it, one after the other.
        for later in (12_000..30_000).step_by(1_300) {
            let mut world = settled_on(8, 4).await;
            for _ in 0..3 {
                let name = world.workers[0].name.clone();
                world.crash(0);
                world.put(20);
                let took = until_taken_from(&mut world, &name).await;
                assert!(took <= F + SECOND, "{later} ms, {} left: {took:?}", world.workers.len());
                let took = took + world.until_served(F).await;
                assert!(took <= F + SECOND * 2, "{later} ms, {} left: {took:?}", world.workers.len());
                world.pass(Duration::from_millis(later)).await;
            }
            finish(world).await;
        }
    });
}

#[test]
fn the_third_worker_takes_over_soon_when_the_leader_and_its_successor_die_within_a_failover_time() {
    in_paused_time(async {
        for (first, later) in [(0, 0), (1_700, 300), (3_100, 2_500), (4_900, 6_000), (5_600, 9_300)] {
            let mut world = settled_on(8, 4).await;
            world.pass(Duration::from_millis(first)).await;
            let dead = [0, 1].map(|index| world.workers[index].name.clone());
            world.crash(0);
            world.pass(Duration::from_millis(later)).await;
            world.crash(0);
            world.put(20);
            let mut took = Duration::ZERO;
            for name in dead {
                took += until_taken_from(&mut world, &name).await;
            }
            let took = took + world.until_served(F).await;
            // The third looks four times in a failover time, the fourth asks the index.
            assert!(took <= F + F / 4 + SECOND * 3 / 2, "{first} and {later} ms: {took:?}");
            finish(world).await;
        }
    });
}

#[test]
fn workers_that_die_one_after_the_other_leave_nothing_to_wait_for() {
    in_paused_time(async {
        // Each dies so soon after it took the leases of the one before that the others have seen little of either death.
        // The leader beats each 30 s; the sooner it dies after that, the longer its lock looks alive.
        for (first, later) in [(0, 0), (5_000, 300), (10_000, 900), (15_000, 2_100), (20_000, 0), (25_000, 5_500)] {
            let mut world = settled_on(8, 4).await;
            world.pass(Duration::from_millis(first)).await;
            while world.workers.len() > 1 {
                let name = world.workers[0].name.clone();
                world.crash(0);
                world.put(20);
                let took = until_taken_from(&mut world, &name).await;
                // Who watches nobody sees a counter a failover time late.
                assert!(took <= F * 2 + SECOND, "{first} and {later} ms, {} left: {took:?}", world.workers.len());
                world.pass(Duration::from_millis(later)).await;
            }
            let took = world.until_served(F * 3).await;
            assert!(took <= F + SECOND * 3, "{first} and {later} ms: {took:?}");
            finish(world).await;
        }
    });
}
