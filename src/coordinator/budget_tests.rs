//! How many requests the table is sent. Java with the same settings: 17 a minute and 18.1 for each idle lease, as counted
//! on a worker with 16 of them (307).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::testing::{F, at, beside, fleet, lease};
use super::*;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::Operation;

const MINUTE: Duration = Duration::from_secs(60);

/// A worker whose consumers only checkpoint, and give their leases to whoever asks.
struct Side {
    store: MemoryStore,
    _coordinator: Coordinator,
    _consumers: JoinSet<()>,
}

impl Side {
    fn start(table: &MemoryStore, name: &str, checkpoints: Option<Duration>) -> Self {
        let store = beside(table);
        let (coordinator, mut assignments) = Coordinator::start(fleet(&store, name), ClientVersion::ThreeX);
        let mut consumers = JoinSet::new();
        consumers.spawn(async move {
            let mut consumers = JoinSet::new();
            while let Some(Assignment { held, .. }) = assignments.recv().await {
                consumers.spawn(consume(held, checkpoints));
            }
        });
        Self { store, _coordinator: coordinator, _consumers: consumers }
    }
}

async fn consume(held: HeldLease, checkpoints: Option<Duration>) {
    for number in 10.. {
        tokio::select! {
            _ = held.until_called_for() => return held.give_back().await,
            () = sleep(checkpoints.unwrap_or(MINUTE * 1_000)) => held.checkpoint(at(number)).await.unwrap(),
        }
    }
}

/// Requests of each worker in a minute, by operation.
async fn requests(sides: &[Side]) -> Vec<BTreeMap<Operation, f64>> {
    const MINUTES: u32 = 6;
    sleep(F * 10).await; // leases are shared by now
    let calls = || sides.iter().map(|side| side.store.faults().all_calls()).collect::<Vec<_>>();
    let before = calls();
    sleep(MINUTE * MINUTES).await;
    let per_minute = |after: BTreeMap<Operation, usize>, before: &BTreeMap<Operation, usize>| {
        let rate = |(operation, count): (Operation, usize)| {
            let count = count - before.get(&operation).copied().unwrap_or(0);
            (operation, f64::from(u32::try_from(count).unwrap()) / f64::from(MINUTES))
        };
        after.into_iter().map(rate).filter(|(_, rate)| *rate > 0.0).collect()
    };
    calls().into_iter().zip(&before).map(|(after, before)| per_minute(after, before)).collect()
}

fn total(requests: &BTreeMap<Operation, f64>) -> f64 {
    requests.values().sum()
}

fn table(leases: u32) -> MemoryStore {
    let table = MemoryStore::new();
    for number in 0..leases {
        table.put_lease(&lease(number, None));
    }
    table
}

fn java(leases: f64, checkpoints_per_minute: f64) -> f64 {
    17.0 + leases * (18.1 + checkpoints_per_minute)
}

#[tokio::test(start_paused = true)]
async fn a_lone_worker_with_idle_leases_sends_two_thirds_of_what_java_does() {
    let table = table(16);
    let sides = [Side::start(&table, "a", None)];
    let requests = &requests(&sides).await[0];
    println!("one worker, 16 idle leases: {:.1} {requests:.1?}", total(requests));
    assert!(total(requests) <= java(16.0, 0.0) * 2.0 / 3.0 && total(requests) <= 204.0, "{requests:?}");
    for none in [Operation::Get, Operation::OwnedBy, Operation::Lock] {
        assert_eq!(requests.get(&none), None, "who leads alone need not ask");
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_take_the_place_of_renewals() {
    for (seconds, share) in [(1.0, 0.8), (2.0, 0.65), (5.0, 0.5)] {
        let table = table(16);
        let sides = [Side::start(&table, "a", Some(Duration::from_secs_f64(seconds)))];
        let requests = &requests(&sides).await[0];
        let java = java(16.0, 60.0 / seconds);
        println!("one worker, 16 busy leases, a checkpoint each {seconds} s: {:.1} of {java:.1}", total(requests));
        assert!(total(requests) <= java * share, "{seconds} {requests:?}");
        assert_eq!(requests.get(&Operation::Renew), None);
        let besides = total(requests) - requests[&Operation::Checkpoint];
        assert!(besides <= 0.05 * (java - 16.0 * 60.0 / seconds), "besides the checkpoints: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_and_one_other_worker_scan_each_second_and_a_third_now_and_then() {
    let two = table(8);
    let sides = ["a", "b"].map(|name| Side::start(&two, name, None));
    for (name, requests) in ["leader", "successor"].iter().zip(requests(&sides).await) {
        println!("two workers, 4 idle leases each, {name}: {:.1} {requests:.1?}", total(&requests));
        assert!(total(&requests) <= 4.0 * 10.95 + 68.0 + 4.0, "{name} {requests:?}");
        assert_eq!(requests.get(&Operation::OwnedBy), None, "scans show what we are given");
    }
    let four = table(64);
    let sides = ["a", "b", "c", "d"].map(|name| Side::start(&four, name, None));
    let roles = [("leader", 68.0, 0.81), ("successor", 68.0, 0.81), ("third", 25.0, 0.88), ("member", 7.0, 0.82)];
    for ((name, scans, share), requests) in roles.iter().zip(requests(&sides).await) {
        println!("four workers, 16 idle leases each, {name}: {:.1} {requests:.1?}", total(&requests));
        assert!(requests[&Operation::List] <= *scans, "{name} {requests:?}");
        assert!(total(&requests) <= java(16.0, 0.0) * share, "{name} {requests:?}");
    }
}
