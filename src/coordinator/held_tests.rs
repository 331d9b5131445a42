use std::sync::Arc;

use tokio::time::sleep;

use super::*;
use crate::coordinator::testing::{F, at, beside, fleet, lease, row, shard, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{CheckpointWrite, LeaseStore};

struct Hands {
    table: MemoryStore,
    holdings: Arc<Holdings>,
    assignments: mpsc::Receiver<Assignment>,
}

fn hands() -> Hands {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("a")));
    let (sender, assignments) = mpsc::channel(8);
    let holdings = Arc::new(Holdings::new(fleet(&table, "a"), sender, CancellationToken::new()));
    Hands { table, holdings, assignments }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_adopted_once_until_it_is_lost() {
    let Hands { table, holdings, mut assignments } = hands();
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    let Assignment { held, .. } = assignments.recv().await.unwrap();
    assert!(assignments.try_recv().is_err());
    assert!(holdings.has(&shard(0)));
    let seen = row(&table, 0);
    beside(&table).assign(&seen, &worker("b")).await.unwrap();
    held.until_lost().await;
    assert!(!holdings.has(&shard(0)));
    holdings.adopt(seen, Proof::Needed).await.unwrap(); // found in an index that is seconds old
    assert!(assignments.try_recv().is_err(), "it is b's now");
}

#[tokio::test(start_paused = true)]
async fn letting_go_of_a_lost_lease_does_not_let_go_of_it_when_it_has_come_back() {
    let Hands { table, holdings, mut assignments } = hands();
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    let before = assignments.recv().await.unwrap().held;
    before.give_back().await;
    let back = beside(&table).assign(&row(&table, 0), &worker("a")).await.unwrap();
    assert!(matches!(back, crate::lease::Written::Yes(_)));
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    let after = assignments.recv().await.unwrap().held;
    holdings.release(&before); // its child took long to end
    assert!(holdings.has(&shard(0)) && !after.is(&before));
    drop((before, after));
    let counter = row(&table, 0).counter;
    sleep(F).await;
    assert!(row(&table, 0).counter > counter, "it is still kept");
    holdings.release(&holdings.get(&shard(0)).unwrap());
    assert!(!holdings.has(&shard(0)));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_says_what_the_table_said_when_the_lease_was_proven() {
    let Hands { table, holdings, mut assignments } = hands();
    let seen = row(&table, 0);
    // A checkpoint of our former hold comes through after the row was read.
    let late = CheckpointWrite {
        shard: shard(0),
        seen: seen.counter,
        checkpoint: at(9),
        hash_range: None,
        children: Default::default(),
        throughput_kbps: None,
    };
    beside(&table).checkpoint(&late).await.unwrap();
    holdings.adopt(seen, Proof::Needed).await.unwrap();
    let Assignment { lease, held } = assignments.recv().await.unwrap();
    assert_eq!((lease.checkpoint, held.last_checkpoint()), (at(9), at(9)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_by_a_slow_answer_is_as_old_as_the_request() {
    let Hands { table, holdings, mut assignments } = hands();
    let sent = Instant::now();
    sleep(LATE).await;
    table.faults().next(Operation::Renew, 1_000, Fault::LostRequest);
    holdings.adopt(row(&table, 0), Proof::Given(sent)).await.unwrap();
    assignments.recv().await.unwrap().held.until_lost().await;
    assert_eq!(sent.elapsed(), F);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_took_long_must_be_proven() {
    let Hands { table, holdings, mut assignments } = hands();
    let (given, sent) = (row(&table, 0), Instant::now());
    beside(&table).assign(&given, &worker("b")).await.unwrap();
    sleep(LATE * 2).await;
    holdings.adopt(given, Proof::Given(sent)).await.unwrap();
    assert!(assignments.try_recv().is_err(), "it is b's by now");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_hold_that_is_over_must_be_proven() {
    let Hands { table, holdings, mut assignments } = hands();
    let (given, sent) = (row(&table, 0), Instant::now());
    // Another look finds the lease first, and it is handed over at once.
    holdings.adopt(given.clone(), Proof::Needed).await.unwrap();
    let held = assignments.recv().await.unwrap().held;
    beside(&table).begin_handoff(&row(&table, 0), &worker("b")).await.unwrap();
    held.doubt().await;
    held.until_called_for().await;
    held.give_back().await;
    holdings.release(&held);
    assert!(sent.elapsed() < LATE && row(&table, 0).owner != Some(worker("a")));
    holdings.adopt(given, Proof::Given(sent)).await.unwrap();
    assert!(assignments.try_recv().is_err(), "it was given away");
}

#[tokio::test(start_paused = true)]
async fn a_finished_lease_that_went_to_another_worker_is_forgotten() {
    let Hands { table, holdings, mut assignments } = hands();
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    let held = assignments.recv().await.unwrap().held;
    holdings.finish(&shard(0));
    assert_eq!(holdings.finished(), [shard(0)]);
    beside(&table).assign(&row(&table, 0), &worker("b")).await.unwrap();
    held.until_lost().await;
    assert_eq!((holdings.finished(), holdings.count()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn an_adoption_that_is_cut_short_can_be_made_again() {
    let Hands { table, holdings, mut assignments } = hands();
    table.faults().next(Operation::Renew, 1, Fault::Slow { before: F, after: F });
    let cut = tokio::time::timeout(F / 10, holdings.adopt(row(&table, 0), Proof::Needed)).await;
    assert!(cut.is_err() && !holdings.has(&shard(0)));
    holdings.adopt(row(&table, 0), Proof::Needed).await.unwrap();
    assert!(assignments.try_recv().is_ok() && holdings.has(&shard(0)));
}
