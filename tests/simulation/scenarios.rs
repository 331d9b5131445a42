//! Single courses with tight bounds.

use std::time::Duration;

use multilangd::lease::memory::faults::{Fault, Operation};
use tokio::time::Instant;

use crate::child::Manners;
use crate::in_paused_time;
use crate::world::{F, Voice, World};

const SECOND: Duration = Duration::from_secs(1);
/// Looks, the start of a child, the watch of a test.
const SLACK: Duration = Duration::from_secs(1);

pub(crate) fn brisk() -> Manners {
    Manners {
        slowest: Duration::from_millis(20),
        hangs: 0,
        hang: Duration::ZERO,
        forgets_ends: false,
        deaths: 0,
        breaks_down: false,
    }
}

/// A fleet of so many workers that has settled on a stream of four shards.
async fn settled(workers: usize) -> World {
    let mut world = World::new(1, 4, Voice::Quiet);
    for _ in 0..workers {
        world.start(brisk());
        world.put(20);
        world.pass(SECOND * 30).await;
    }
    world.until_served(SECOND).await;
    world
}

pub(crate) async fn finish(mut world: World) {
    world.until_delivered(SECOND * 30).await;
    world.stop_all().await;
    assert_eq!((world.laws.broken(), world.laws.unfinished()), (None, None));
}

#[test]
fn a_first_worker_reads_an_empty_table_at_once() {
    in_paused_time(async {
        let mut world = World::new(1, 4, Voice::Quiet);
        world.start(brisk());
        let took = world.until_served(F).await;
        assert!(took <= SLACK, "{took:?}");
        finish(world).await;
    });
}

#[test]
fn the_leases_of_a_crashed_worker_are_read_again_after_the_failover_time() {
    in_paused_time(async {
        for crashed in [0, 1] {
            let mut world = settled(3).await; // the first one leads
            world.crash(crashed);
            world.put(20);
            let took = world.until_served(F * 3).await;
            // The last renewal is seen by a scan up to F later, counted from there, and the new owner looks every 2 s.
            assert!(took <= F * 2 + SECOND * 2 + SLACK, "worker {crashed}: {took:?}");
            finish(world).await;
        }
    });
}

#[test]
fn a_lone_successor_of_a_crashed_worker_waits_for_nothing_but_the_failover_time() {
    in_paused_time(async {
        let mut world = settled(1).await;
        world.crash(0);
        world.put(20);
        world.start(brisk());
        let took = world.until_served(F * 3).await;
        assert!(took <= F + SLACK, "{took:?}");
        finish(world).await;
    });
}

#[test]
fn the_leases_of_a_worker_that_stops_are_read_again_at_once() {
    in_paused_time(async {
        for stopped in [0, 1] {
            let mut world = settled(2).await;
            world.stop(stopped);
            let took = world.until_served(F * 3).await;
            // Its leader's lock is free, and is looked at every five seconds.
            let limit = if stopped == 0 { SECOND * 6 } else { F / 4 + SECOND * 3 };
            assert!(took <= limit, "worker {stopped}: {took:?}");
            finish(world).await;
        }
    });
}

#[test]
fn a_worker_cut_off_stops_in_time_and_comes_back() {
    in_paused_time(async {
        let mut world = settled(2).await;
        for cut in [0, 1] {
            world.workers[cut].faults.cut(SECOND * 3);
            for _ in 0..30 {
                world.put(4); // the law that only the owner delivers watches
                world.pass(SECOND).await;
            }
            world.workers[cut].faults.heal();
            world.pass(F * 6).await;
            world.until_served(F).await;
        }
        finish(world).await;
    });
}

#[test]
fn a_lineage_goes_on_though_its_children_forget_the_end_at_first() {
    in_paused_time(async {
        let mut world = World::new(1, 1, Voice::Quiet);
        world.start(Manners { forgets_ends: true, ..brisk() });
        world.put(20);
        world.pass(SECOND * 5).await;
        let parent = world.open().await[0].0.clone();
        world.stream.split(&parent).unwrap();
        world.put(20);
        let begin = Instant::now();
        world.until_delivered(F).await;
        assert!(begin.elapsed() <= SECOND * 4, "{:?}", begin.elapsed());
        finish(world).await;
    });
}

#[test]
fn a_lease_that_comes_back_while_its_child_is_busy_waits_for_it() {
    in_paused_time(async {
        let mut world = World::new(1, 2, Voice::Quiet);
        world.start(Manners { hangs: 1, hang: SECOND * 40, ..brisk() });
        world.pass(SECOND).await;
        world.put(4);
        world.pass(SECOND * 5).await;
        world.workers[0].faults.cut(SECOND);
        world.pass(F * 2).await; // the leases are lost, the children busy
        world.workers[0].faults.heal();
        world.put(4); // the law of one child at a time watches
        world.until_delivered(SECOND * 120).await;
        assert_eq!(world.laws.broken(), None);
    });
}

#[test]
fn a_shard_whose_consumer_breaks_down_is_begun_again_at_once() {
    in_paused_time(async {
        let mut world = World::new(1, 2, Voice::Quiet);
        world.start(Manners { breaks_down: true, ..brisk() });
        world.put(20);
        let begin = Instant::now();
        world.pass(SECOND).await;
        world.until_served(F).await;
        assert!(begin.elapsed() <= SECOND * 3, "{:?}", begin.elapsed());
        world.put(20);
        finish(world).await;
    });
}

#[test]
fn a_worker_whose_child_dies_ends_and_leaves_everything_to_the_others() {
    in_paused_time(async {
        let mut world = settled(1).await;
        world.start(Manners { deaths: 1, ..brisk() });
        world.pass(SECOND * 30).await;
        world.put(40);
        world.pass(SECOND * 2).await;
        let took = world.until_served(F).await;
        assert!(world.workers.len() == 1 && took <= F / 4 + SECOND * 3, "{took:?}");
        finish(world).await;
    });
}

#[test]
fn a_fleet_survives_a_table_that_throttles_for_a_while() {
    in_paused_time(async {
        let mut world = settled(2).await;
        for worker in &world.workers {
            for operation in [Operation::Renew, Operation::List, Operation::OwnedBy, Operation::Get] {
                worker.faults.next(operation, 6, Fault::Throttled);
            }
        }
        let shard = world.open().await[0].0.clone();
        world.stream.split(&shard).unwrap();
        world.put(40);
        let begin = Instant::now();
        world.until_delivered(F * 3).await;
        assert!(begin.elapsed() <= F * 2, "{:?}", begin.elapsed());
        finish(world).await;
    });
}

#[test]
fn everybody_dies_at_once_and_nothing_is_lost() {
    in_paused_time(async {
        let mut world = settled(3).await;
        let open = world.open().await;
        world.stream.merge(&open[0].0, &open[1].0).unwrap();
        world.put(40);
        while !world.workers.is_empty() {
            world.crash(0);
        }
        world.start(brisk());
        let took = world.until_served(F * 9).await;
        // The rows of the idle dead do not mislead; the lock is theirs for two minutes all the same.
        assert!(took <= F * 3, "{took:?}");
        finish(world).await;
    });
}
