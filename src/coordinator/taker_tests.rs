use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::coordinator::testing::{F, beside, fleet, lease, row, shard, worker};
use crate::coordinator::{Assignment, Coordinator};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{ClientVersion, LeaseStore, StateStore};
use crate::stream::memory::MemoryStream;

const SECOND: Duration = Duration::from_secs(1);
/// Time between two balancing looks.
const ROUND: Duration = Duration::from_millis(20_050);

type Member = (Coordinator, mpsc::Receiver<Assignment>);

/// A worker that works as 2.x on a stream of eight shards.
fn start(table: &MemoryStore, name: &str) -> Member {
    let mut fleet = fleet(table, name);
    fleet.catalog = Arc::new(MemoryStream::new(8, fleet.clock.clone()));
    Coordinator::start(fleet, ClientVersion::Init)
}

fn shares(table: &MemoryStore) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for lease in table.snapshot().leases {
        *shares.entry(lease.owner.map_or_else(String::new, |owner| owner.to_string())).or_default() += 1;
    }
    shares
}

fn of(shares: &[(&str, usize)]) -> BTreeMap<String, usize> {
    shares.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_worker_alone_makes_the_leases_takes_them_and_writes_nothing_else() {
    let table = MemoryStore::new();
    let (_worker, mut assignments) = start(&table, "a");
    sleep(SECOND).await;
    assert_eq!(shares(&table), of(&[("a", 8)]));
    let mut begun = 0;
    while assignments.try_recv().is_ok() {
        begun += 1;
    }
    assert_eq!(begun, 8);
    sleep(F * 60).await;
    let (rows, state) = (table.snapshot(), beside(&table));
    assert_eq!((rows.leases.len(), rows.workers, rows.unreadable), (8, vec![], vec![]));
    assert_eq!((state.lock().await.unwrap(), state.client_version().await.unwrap()), (None, None));
    assert_eq!(table.faults().calls(Operation::PrepareIndex), 0);
    assert!(assignments.try_recv().is_err(), "no lease was lost and taken again");
}

#[tokio::test(start_paused = true)]
async fn who_joins_takes_one_lease_a_round_until_the_shares_are_even() {
    let table = MemoryStore::new();
    let _a = start(&table, "a");
    sleep(SECOND).await;
    let _b = start(&beside(&table), "b");
    for taken in 1..=4 {
        sleep(SECOND).await;
        assert_eq!(shares(&table), of(&[("a", 8 - taken), ("b", taken)]));
        sleep(ROUND - SECOND).await;
    }
    sleep(ROUND * 5).await;
    assert_eq!(shares(&table), of(&[("a", 4), ("b", 4)]));
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_dead_worker_are_taken_soon_after_they_expire() {
    let table = MemoryStore::new();
    let (a, b) = (start(&table, "a"), start(&beside(&table), "b"));
    sleep(ROUND * 6).await;
    assert_eq!(shares(&table), of(&[("a", 4), ("b", 4)]));
    drop(b); // no task of it lives on
    let died = Instant::now();
    while shares(&table) != of(&[("a", 8)]) {
        sleep(SECOND / 4).await;
        assert!(died.elapsed() <= F + SECOND, "Java's taker may need {:?} more: {:?}", ROUND, shares(&table));
    }
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn two_workers_scan_each_second_a_third_now_and_then_and_who_is_alone_hardly_ever() {
    let table = MemoryStore::new();
    let stores = ["a", "b", "c", "d"].map(|name| (name, beside(&table)));
    let scans = || stores.each_ref().map(|(_, store)| store.faults().calls(Operation::List));
    let minute = async || {
        let before = scans();
        sleep(F * 6).await;
        let after = scans();
        [0, 1, 2, 3].map(|index| after[index] - before[index])
    };
    let mut members = vec![start(&stores[0].1, "a")];
    sleep(F).await;
    assert!(minute().await[0] <= 3, "as Java's taker");
    for (name, store) in &stores[1..] {
        members.push(start(store, name));
        sleep(ROUND * 6).await;
    }
    assert_eq!(shares(&table), of(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]));
    let looks = minute().await;
    assert!(looks[0] <= 70 && looks[1] <= 70 && looks[2] <= 28 && looks[3] <= 8, "{looks:?}");
    assert!(looks[0] >= 60 && looks[1] >= 60 && looks[2] >= 20, "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gives_back_and_the_others_take() {
    let table = MemoryStore::new();
    let (_a, (mut b, _given)) = (start(&table, "a"), start(&beside(&table), "b"));
    sleep(ROUND * 6).await;
    b.withdraw().await;
    b.leave().await;
    assert_eq!(shares(&table), of(&[("", 4), ("a", 4)]));
    sleep(F + SECOND).await;
    assert_eq!(shares(&table), of(&[("a", 8)]));
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_answer_was_lost_is_found() {
    let table = MemoryStore::new();
    table.faults().next(Operation::Take, 3, Fault::LostReply);
    let (_a, mut assignments) = start(&table, "a");
    sleep(SECOND * 3).await;
    let mut begun = 0;
    while assignments.try_recv().is_ok() {
        begun += 1;
    }
    assert_eq!((begun, shares(&table)), (8, of(&[("a", 8)])));
}

#[tokio::test(start_paused = true)]
async fn creation_that_failed_half_way_is_brought_to_its_end() {
    let table = MemoryStore::new();
    table.faults().next(Operation::Create, 3, Fault::Slow { before: SECOND, after: Duration::ZERO });
    table.faults().next(Operation::Create, 1, Fault::LostRequest);
    let _a = start(&table, "a");
    sleep(SECOND * 10).await;
    assert_eq!(shares(&table), of(&[("a", 8)]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_appears_is_taken_within_a_failover_time_and_at_once_when_told() {
    let table = MemoryStore::new();
    let (a, _assignments) = start(&table, "a");
    sleep(SECOND).await;
    table.put_lease(&lease(20, None));
    a.poke();
    sleep(SECOND / 10).await;
    assert_eq!(row(&table, 20).owner, Some(worker("a")));
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_filled_by_the_elected_worker_only_and_at_its_third_sight() {
    let table = MemoryStore::new();
    // `f351` leads whenever `old254` owns leases beside it, see `election`.
    let (_leader, _other) = (start(&table, "f351"), start(&beside(&table), "old254"));
    sleep(ROUND * 6).await;
    let lost = row(&table, 3);
    table.delete(&lost.shard).await.unwrap();
    let deleted = Instant::now();
    while !table.snapshot().leases.iter().any(|lease| lease.shard == shard(3)) {
        sleep(SECOND).await;
        assert!(deleted.elapsed() < SECOND * 60 * 7);
    }
    assert!(deleted.elapsed() > SECOND * 60 * 4, "{:?}", deleted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_victim_is_read_again_after_a_slow_scan() {
    let table = MemoryStore::new();
    for number in 0..4 {
        table.put_lease(&lease(number, Some("rich")));
    }
    let slow = Fault::Slow { before: Duration::ZERO, after: SECOND * 3 };
    let side = beside(&table);
    side.faults().next(Operation::List, 1, slow);
    let _a = start(&side, "a");
    sleep(SECOND).await;
    for number in 0..4 {
        let mut renewed = lease(number, Some("rich"));
        renewed.counter = renewed.counter.next();
        table.put_lease(&renewed); // while the scan's answer is on its way
    }
    sleep(SECOND * 3).await;
    assert_eq!(shares(&table), of(&[("a", 1), ("rich", 3)]));
}
