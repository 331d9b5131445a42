use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::testing::{F, NOW, beside, fleet, lease, load_row, row, shard, worker};
use super::*;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{FleetRows, WorkerRow};

const SECOND: Duration = Duration::from_secs(1);

/// A worker `a` that leads and has had time to hold everything, and the other end of its channel.
async fn settled(table: &MemoryStore) -> (Coordinator, mpsc::Receiver<Assignment>) {
    let started = Coordinator::start(fleet(table, "a"), ClientVersion::ThreeX);
    sleep(SECOND).await;
    started
}

async fn leave(mut coordinator: Coordinator) {
    coordinator.withdraw().await;
    coordinator.leave().await;
}

#[tokio::test(start_paused = true)]
async fn leaving_leaves_no_lease_no_load_row_and_no_lock() {
    let table = MemoryStore::new();
    let (coordinator, _assignments) = settled(&table).await;
    let rows = table.snapshot();
    assert!(rows.leases.len() == 2 && rows.leases.iter().all(|lease| lease.owner.is_some()));
    leave(coordinator).await;
    let rows = table.snapshot();
    assert!(rows.leases.iter().all(|lease| lease.owner.is_none()));
    assert_eq!((rows.workers, beside(&table).lock().await.unwrap()), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_while_we_leave_is_given_back_too() {
    let table = MemoryStore::new();
    let (mut coordinator, _assignments) = settled(&table).await;
    coordinator.withdraw().await;
    table.put_lease(&lease(7, Some("a"))); // by a leader that has not heard yet
    coordinator.leave().await;
    assert_eq!(row(&table, 7).owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_handoff_that_was_not_brought_to_its_end_is_when_we_leave() {
    let table = MemoryStore::new();
    let (coordinator, _assignments) = settled(&table).await;
    let mut asked = lease(7, Some("b"));
    asked.checkpoint_owner = Some(worker("a"));
    table.put_lease(&asked);
    leave(coordinator).await;
    assert_eq!((row(&table, 7).owner, row(&table, 7).checkpoint_owner), (Some(worker("b")), None));
}

#[tokio::test(start_paused = true)]
async fn an_adoption_cut_short_by_the_stop_leaves_no_lease() {
    let table = MemoryStore::new();
    let slow = Fault::Slow { before: Duration::ZERO, after: SECOND * 3 };
    table.faults().next(Operation::Assign, 2, slow); // comes through; the answer is not waited for
    let (coordinator, _assignments) = settled(&table).await;
    assert_eq!(row(&table, 0).owner, Some(worker("a")));
    leave(coordinator).await;
    assert!(table.snapshot().leases.iter().all(|lease| lease.owner.is_none()));
}

#[tokio::test(start_paused = true)]
async fn leaving_a_dead_table_has_an_end() {
    let table = MemoryStore::new();
    let (coordinator, _assignments) = settled(&table).await;
    table.faults().cut(F * 6);
    let begin = Instant::now();
    leave(coordinator).await;
    assert!(begin.elapsed() <= SECOND * 17, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_we_leave_goes_to_the_others_by_our_own_hand() {
    let table = MemoryStore::new();
    for number in 0..6 {
        table.put_lease(&lease(number, None));
    }
    let (coordinator, _assignments) = settled(&table).await;
    for name in ["b", "c"] {
        beside(&table).put_worker(&load_row(name)).await.unwrap();
    }
    coordinator.poke(); // so that it has seen them
    sleep(SECOND).await;
    leave(coordinator).await;
    let leases = table.snapshot().leases;
    let of = |name: &str| leases.iter().filter(|lease| lease.owner == Some(worker(name))).count();
    assert_eq!((of("b"), of("c")), (3, 3));
    assert_eq!(table.faults().calls(Operation::Evict), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_heirs_that_cannot_be_found() {
    let table = MemoryStore::new();
    let (coordinator, _assignments) = settled(&table).await;
    beside(&table).put_worker(&load_row("b")).await.unwrap();
    table.faults().next(Operation::List, 1, Fault::Slow { before: F, after: F });
    leave(coordinator).await;
    assert!(table.snapshot().leases.iter().all(|lease| lease.owner.is_none()));
}

/// A worker `a` beside a worker `b` that could be given leases, after `a` was asked to stop: its children are busy, and it
/// was given one more lease a moment ago.
async fn leaving_beside_an_heir(table: &MemoryStore) -> Coordinator {
    let (mut coordinator, _assignments) = settled(table).await;
    beside(table).put_worker(&load_row("b")).await.unwrap();
    coordinator.poke();
    sleep(SECOND).await;
    coordinator.withdraw().await;
    table.put_lease(&lease(7, Some("a")));
    coordinator
}

#[tokio::test(start_paused = true)]
async fn a_gift_that_is_refused_for_load_is_tried_again_soon() {
    for (fault, times) in [(Fault::Throttled, 4), (Fault::LostRequest, 4), (Fault::LostReply, 1), (Fault::SentTwice, 1)]
    {
        let table = MemoryStore::new();
        let _coordinator = leaving_beside_an_heir(&table).await;
        table.put_lease(&lease(8, Some("a")));
        table.faults().next(Operation::Assign, times, fault);
        let begin = Instant::now();
        while [7, 8].iter().any(|number| row(&table, *number).owner != Some(worker("b"))) {
            sleep(SECOND / 20).await;
            assert!(begin.elapsed() < SECOND * 2, "{fault:?}");
        }
        assert_eq!((table.faults().calls(Operation::Evict), row(&table, 0).owner), (0, Some(worker("a"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_changes_while_it_is_given_is_given_as_it_is_then() {
    // By the last look, which has no other after it.
    let moved = |owner: &str, checkpoint_owner| {
        let mut moved = lease(7, Some(owner));
        moved.checkpoint_owner = checkpoint_owner;
        moved
    };
    let table = [
        // what becomes of the lease, who has it in the end
        (moved("c", Some(worker("a"))), Some("c")), // a leader asks for it
        (moved("c", None), Some("c")),              // it was taken
        (moved("a", None), None),                   // nothing
    ];
    for (changed, expected) in table {
        let table = MemoryStore::new();
        let (mut coordinator, _assignments) = settled(&table).await;
        coordinator.withdraw().await;
        coordinator.left.cancel();
        sleep(SECOND).await;
        table.put_lease(&lease(7, Some("a")));
        table.faults().next(Operation::Evict, 3, Fault::Slow { before: SECOND / 2, after: Duration::ZERO });
        let looks = coordinator.leave_looks();
        let change = async {
            sleep(SECOND / 4).await;
            table.put_lease(&changed);
        };
        tokio::join!(looks.last_look(), change);
        assert_eq!((row(&table, 7).owner, row(&table, 7).checkpoint_owner), (expected.map(worker), None));
    }
}

#[tokio::test(start_paused = true)]
async fn heirs_that_were_named_stay_so_when_a_later_look_fails() {
    let table = MemoryStore::new();
    let coordinator = leaving_beside_an_heir(&table).await;
    table.faults().next(Operation::List, 8, Fault::Throttled);
    sleep(SECOND).await; // a look or two
    assert_eq!(coordinator.holdings.heirs().of(&shard(0)).await, Some(worker("b")));
}

#[tokio::test(start_paused = true)]
async fn an_heir_that_leaves_before_it_is_given_the_lease_gets_nothing() {
    let table = MemoryStore::new();
    let (mut coordinator, _assignments) = settled(&table).await;
    let heir = load_row("b");
    beside(&table).put_worker(&heir).await.unwrap();
    coordinator.poke();
    sleep(SECOND).await;
    coordinator.withdraw().await; // a child is busy for long
    beside(&table).delete_worker(&worker("b"), heir.last_update_seconds.unwrap()).await.unwrap();
    sleep(SECOND * 2).await;
    coordinator.leave().await;
    assert!(table.snapshot().leases.iter().all(|lease| lease.owner.is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_a_process_that_was_started_under_our_name_stay_its_own() {
    let table = MemoryStore::new();
    let (mut coordinator, _assignments) = settled(&table).await;
    coordinator.withdraw().await;
    let successor = WorkerRow { last_update_seconds: Some(NOW.0 / 1000 + 7), ..load_row("a") };
    beside(&table).put_worker(&successor).await.unwrap();
    table.put_lease(&lease(7, Some("a")));
    sleep(SECOND * 2).await;
    coordinator.leave().await;
    assert_eq!(row(&table, 7).owner, Some(worker("a")));
    assert!([0, 1].iter().all(|number| row(&table, *number).owner.is_none()), "what was ours is given back");
}

#[tokio::test(start_paused = true)]
async fn a_load_row_of_our_name_is_a_namesakes_only_if_it_is_later_than_our_last_report() {
    let table = MemoryStore::new();
    let (coordinator, _assignments) = settled(&table).await;
    let row = |name, at| WorkerRow { last_update_seconds: at, ..load_row(name) };
    let table = [
        // our last report, rows of load, is there a namesake
        (Some(50), vec![row("a", Some(51))], true),
        (Some(50), vec![row("b", Some(51)), row("a", Some(50))], false),
        (Some(50), vec![row("a", Some(20))], false), // of a process before us
        (Some(50), vec![row("a", None)], false),
        (None, vec![row("a", Some(51))], false), // nobody knows; it may be our own
    ];
    for (last_report, workers, expected) in table {
        let leave = Leave { last_report, ..coordinator.leave_looks() };
        let rows = FleetRows { workers, ..FleetRows::default() };
        assert_eq!(leave.has_namesake(&rows), expected, "{last_report:?} {rows:?}");
    }
}
