//! Single courses with tight bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use multilangd::lease::memory::faults::{Fault, Operation};
use multilangd::types::{ShardId, WorkerId};
use tokio::time::Instant;

use crate::child::Manners;
use crate::in_paused_time;
use crate::laws::Begun;
use crate::world::{F, Home, Voice, World};

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
        breaks_down: 0,
    }
}

/// A fleet of so many workers that has settled on a stream of four shards. The first one leads.
pub(crate) async fn settled(workers: usize) -> World {
    settled_on(4, workers).await
}

pub(crate) async fn settled_on(shards: u32, workers: usize) -> World {
    let mut world = World::new(1, shards, Voice::Quiet);
    for _ in 0..workers {
        world.start(brisk());
        world.put(20);
        world.pass(SECOND * 75).await; // leases are moved for balance each minute
    }
    world.until_served(SECOND).await;
    world
}

/// Waits until no lease is the worker's any more.
pub(crate) async fn until_taken_from(world: &mut World, name: &WorkerId) -> Duration {
    let begin = Instant::now();
    while world.table.snapshot().leases.iter().any(|lease| lease.actual_owner() == Some(name)) {
        assert!(begin.elapsed() < F * 9, "nobody takes the leases of {name}");
        world.pass(Duration::from_millis(10)).await;
    }
    begin.elapsed()
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
fn the_leases_of_a_crashed_worker_are_taken_over_within_a_second_of_the_failover_time() {
    in_paused_time(async {
        for crashed in [0, 1, 3] {
            // The leader, its successor, and another one, beside one that asks the index; at whatever moment between two
            // renewals.
            for later in [0, 1_300, 2_900, 4_700] {
                let mut world = settled_on(8, 4).await;
                world.pass(Duration::from_millis(later)).await;
                let name = world.workers[crashed].name.clone();
                world.crash(crashed);
                world.put(20);
                let took = until_taken_from(&mut world, &name).await;
                assert!(took <= F + SECOND, "worker {crashed}: {took:?}");
                let took = took + world.until_served(F).await;
                // Whoever was given a lease asks the index each 0.9 s.
                assert!(took <= F + SECOND * 2, "worker {crashed}, {later} ms later: {took:?}");
                finish(world).await;
            }
        }
    });
}

#[test]
fn a_planned_stop_of_any_worker_stalls_no_shard_for_two_seconds_and_repeats_nothing() {
    in_paused_time(async {
        for stopped in [0, 1, 2] {
            let mut world = settled_on(12, 3).await;
            world.stop(stopped);
            let took = world.until_served(F * 3).await; // from the signal on, children that end and begin included
            assert!(took < SECOND * 2, "worker {stopped}: {took:?}");
            world.put(60);
            world.until_delivered(SECOND * 5).await;
            assert_eq!(world.laws.repeated(), 0);
            finish(world).await;
        }
    });
}

/// The longest time for which a shard has no child that is given records, in the next `time`.
async fn longest_stall(world: &mut World, time: Duration) -> (Duration, String) {
    const STEP: Duration = Duration::from_millis(50);
    let mut stalls: BTreeMap<ShardId, Duration> = BTreeMap::new();
    let (mut longest, begin) = ((Duration::ZERO, String::new()), Instant::now());
    while begin.elapsed() < time {
        let alive = world.workers.iter().map(|worker| worker.name.clone()).collect();
        let unserved = world.laws.all_unserved(&alive, Begun::Told);
        stalls.retain(|shard, _| unserved.contains(shard));
        for shard in unserved {
            let stall = stalls.entry(shard.clone()).or_default();
            *stall += STEP;
            longest = longest.max((*stall, shard.to_string()));
        }
        world.pass(STEP).await;
    }
    longest
}

#[test]
fn workers_that_leave_nearly_together_stall_no_shard_for_two_seconds() {
    in_paused_time(async {
        for home in [Home::OneTable, Home::ThreeTables] {
            for (first, second) in [(0, 1), (2, 1), (0, 2)] {
                for (gap, busy) in [(0, false), (150, true), (400, true)] {
                    let case = format!("{home:?}: {first}, and {second} {gap} ms later, busy: {busy}");
                    let mut world = World::new(1, 9, Voice::Quiet);
                    world.in_old_tables(home).await;
                    for index in 0..3 {
                        // The children of the second one to leave may be slow, and it stays until they have done.
                        let hangs = u32::from(busy && index == second);
                        world.start(Manners { hangs, hang: SECOND * 6, ..brisk() });
                        world.pass(SECOND * 75).await;
                    }
                    world.until_served(SECOND).await;
                    world.put(60);
                    world.pass(SECOND * 2).await;
                    let late = world.workers[second].name.clone();
                    world.stop(first);
                    world.pass(Duration::from_millis(gap)).await;
                    let second = world.workers.iter().position(|worker| worker.name == late).unwrap();
                    world.stop(second);
                    let (stall, shard) = longest_stall(&mut world, F * 2).await;
                    assert!(stall < SECOND * 2, "{case}: {shard} for {stall:?}");
                    finish(world).await;
                }
            }
        }
    });
}

#[test]
fn five_workers_that_start_at_the_same_instant_all_come_up_and_share() {
    in_paused_time(async {
        for round in 0..8 {
            let mut world = World::new(round, 10, Voice::Quiet);
            for _ in 0..5 {
                let index = world.start(brisk());
                let faults = &world.workers[index].faults;
                let some = [Fault::LostReply, Fault::LostRequest, Fault::Throttled, Fault::SentTwice];
                let fault = some[(index + usize::try_from(round).unwrap()) % some.len()];
                let steps = [Operation::CreateClientVersion, Operation::Create, Operation::TakeLock];
                faults.next(steps[usize::try_from(round).unwrap() % steps.len()], 1, fault);
                faults.next(Operation::PutWorker, 1, Fault::Throttled);
            }
            world.put(50);
            let took = world.until_served(F).await;
            assert!(took <= SECOND * 5, "round {round}: {took:?}");
            world.pass(F * 10).await;
            let leases = world.table.snapshot().leases;
            assert_eq!((world.workers.len(), leases.len()), (5, 10), "round {round}");
            for worker in &world.workers {
                let held = leases.iter().filter(|lease| lease.owner.as_ref() == Some(&worker.name)).count();
                assert_eq!(held, 2, "round {round}: {}", worker.name);
            }
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
        world.start(Manners { breaks_down: 1, ..brisk() });
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
fn a_worker_whose_consumers_break_down_again_and_again_ends_and_leaves_everything_to_the_others() {
    in_paused_time(async {
        let mut world = World::new(1, 2, Voice::Quiet);
        // It may end by itself, though no child dies before its consumer has broken down.
        world.start(Manners { breaks_down: 5, deaths: u32::MAX, ..brisk() });
        world.put(20);
        world.pass(SECOND * 14).await; // with waits of up to 1, 2, 4 and 8 s in between
        while !world.workers.is_empty() {
            assert!(world.laws.lives() <= 2 * 5, "{} consumers", world.laws.lives());
            world.pass(SECOND).await;
        }
        world.start(brisk());
        let took = world.until_served(F).await;
        assert!(took <= SECOND * 5, "nothing is left to expire: {took:?}");
        finish(world).await;
    });
}

#[test]
fn a_worker_whose_children_die_again_and_again_ends_and_leaves_everything_to_the_others() {
    in_paused_time(async {
        let mut world = settled(1).await;
        world.start(Manners { deaths: 1, ..brisk() });
        world.pass(SECOND * 75).await;
        world.put(40);
        world.pass(SECOND * 17).await; // five lives of nothing, with waits of 1, 2, 4 and 8 s in between
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

#[test]
fn a_worker_whose_clock_is_behind_keeps_its_leases_and_is_given_no_more() {
    in_paused_time(async {
        for behind in [0, 1] {
            let mut world = settled(2).await;
            let (lives, name) = (world.laws.lives(), world.workers[behind].name.clone());
            let held = |world: &World| {
                let leases = world.table.snapshot().leases;
                leases.iter().filter(|lease| !lease.is_finished() && lease.owner.as_ref() == Some(&name)).count()
            };
            assert_eq!(held(&world), 2);
            world.workers[behind].set_clock(-120);
            for _ in 0..30 {
                world.put(4);
                world.pass(F).await;
            }
            assert_eq!((held(&world), world.laws.lives()), (2, lives), "{name} keeps what it has");
            if behind == 1 {
                let other = world.table.snapshot().leases.into_iter().find(|lease| lease.owner.as_ref() != Some(&name));
                world.stream.split(&other.unwrap().shard).unwrap(); // to be given by a leader whose clock is right
                world.put(20);
                world.pass(F * 3).await;
                assert_eq!(held(&world), 2, "{name} is given no more");
            }
            finish(world).await;
        }
    });
}

#[test]
fn the_row_of_a_dead_worker_whose_clock_was_ahead_does_not_mislead() {
    in_paused_time(async {
        for crashed in [0, 1, 2] {
            let mut world = settled(3).await;
            world.workers[crashed].set_clock(600);
            world.pass(SECOND * 65).await; // its row says so
            world.crash(crashed);
            world.put(20);
            let took = world.until_served(F * 3).await;
            assert!(took <= F + SECOND * 4, "worker {crashed}: {took:?}");
            finish(world).await;
        }
    });
}

#[test]
fn nobody_who_stood_still_goes_on_with_leases_that_were_taken_meanwhile() {
    in_paused_time(async {
        for round in 0..4 {
            let mut world = settled(3).await;
            for _ in 0..4 {
                world.put(40);
                world.pass(Duration::from_millis(400 + 300 * round)).await;
                world.freeze(F + SECOND * 5).await; // the law that only the owner delivers watches
                world.put(40);
                world.pass(F * 4).await;
                world.until_served(F).await;
            }
            finish(world).await;
        }
    });
}
