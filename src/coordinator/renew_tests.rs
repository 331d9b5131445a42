use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::keeper::Keeper;
use super::*;
use crate::coordinator::testing::{F, at, beside, lease, load_row, row, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{LeaseStore, StateStore, Written};

const SECOND: Duration = Duration::from_secs(1);

/// Worker `a` holds shard 0 through `table`, by a write that was sent just now.
fn hold(table: &MemoryStore, tasks: &mut JoinSet<()>) -> HeldLease {
    let lease = lease(0, Some("a"));
    table.put_lease(&lease);
    let (keeper, held) = Keeper::new(Arc::new(table.clone()), worker("a"), F, lease, Instant::now());
    tasks.spawn(keeper.run());
    held
}

fn held() -> (MemoryStore, HeldLease, JoinSet<()>) {
    let (table, mut tasks) = (MemoryStore::new(), JoinSet::new());
    let held = hold(&table, &mut tasks);
    (table, held, tasks)
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_is_renewed_when_little_more_than_half_of_the_failover_time_is_over() {
    let (table, held, _tasks) = held();
    sleep(F * 55).await;
    assert_eq!(held.standing(), Standing::Held);
    let renewals = table.faults().calls(Operation::Renew);
    assert!((98..=100).contains(&renewals), "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_expired_while_the_process_stood_still_is_written_no_more() {
    let (table, held, _tasks) = held();
    sleep(SECOND).await;
    let mut asked = std::pin::pin!(held.checkpoint(at(7)));
    tokio::select! {
        biased;
        _ = &mut asked => unreachable!("the keeper has not run since"),
        () = std::future::ready(()) => {}
    }
    advance(F).await; // the checkpoint and the end of the lease's time are found at the same moment
    assert!(matches!(asked.await, Err(NotStored::NotOwner)));
    assert_eq!(table.faults().calls(Operation::Checkpoint), 0);
    sleep(SECOND).await;
    assert_eq!(held.standing(), Standing::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_has_expired_does_not_come_back_to_life_by_an_answer_from_before_a_standstill() {
    // The first renewal is due after 5.5 s. Its own answer is late; or it is lost, and the next one's is late, and tells
    // that the lost one had come through, for which the keeper renews once more.
    let late = Fault::Slow { before: Duration::ZERO, after: SECOND };
    for faults in [vec![late], vec![Fault::LostReply, late]] {
        let (table, held, _tasks) = held();
        for fault in faults.clone() {
            table.faults().next(Operation::Renew, 1, fault);
        }
        sleep(Duration::from_millis(5_800)).await;
        assert_eq!(table.faults().calls(Operation::Renew), faults.len());
        advance(F * 2).await; // the answer and the end of the lease's time are found at the same moment
        sleep(Duration::from_millis(1)).await;
        assert_eq!(held.standing(), Standing::Lost, "{faults:?}");
        assert_eq!(table.faults().calls(Operation::Renew), faults.len());
    }
}

#[tokio::test(start_paused = true)]
async fn two_tries_of_a_renewal_may_hang() {
    let (table, held, _tasks) = held();
    table.faults().next(Operation::Renew, 2, Fault::Slow { before: F, after: F });
    sleep(F * 2).await;
    assert_eq!(held.standing(), Standing::Held);
    assert_eq!(table.faults().calls(Operation::Renew), 5, "three in the first ten seconds, two in the second");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_a_renewal_and_carries_what_a_renewal_would() {
    let (table, held, _tasks) = held();
    for number in 10..70 {
        sleep(SECOND).await;
        held.count_bytes(4096);
        held.checkpoint(at(number)).await.unwrap();
    }
    assert_eq!(table.faults().calls(Operation::Renew), 0);
    let rate = row(&table, 0).throughput_kbps.unwrap();
    assert!((rate - 4.0).abs() < 0.1, "{rate}");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_tells_of_a_handoff() {
    let (table, held, _tasks) = held();
    beside(&table).begin_handoff(&row(&table, 0), &worker("b")).await.unwrap();
    held.checkpoint(at(7)).await.unwrap();
    assert_eq!(held.standing(), Standing::Wanted(worker("b")));
    assert_eq!(table.faults().calls(Operation::Renew), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_asked_for_by_a_worker_that_has_left_goes_to_nobody() {
    let (table, held, _tasks) = held();
    beside(&table).begin_handoff(&row(&table, 0), &worker("gone")).await.unwrap();
    held.give_back().await;
    assert_eq!((row(&table, 0).owner, row(&table, 0).checkpoint_owner), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_still_ours() {
    let (table, held, _tasks) = held();
    table.faults().next(Operation::Renew, 1, Fault::LostReply);
    sleep(F * 3).await;
    assert_eq!(held.standing(), Standing::Held);
    table.faults().next(Operation::Renew, 1, Fault::SentTwice);
    sleep(F * 3).await;
    assert_eq!(held.standing(), Standing::Held);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_came_through_unseen_does_not_make_the_lease_younger() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    // It comes through at once and is answered too late; the next one is refused by it; nothing comes through after.
    table.faults().next(Operation::Renew, 1, Fault::Slow { before: Duration::ZERO, after: F });
    table.faults().next(Operation::Renew, 1, Fault::Slow { before: Duration::ZERO, after: Duration::ZERO });
    table.faults().next(Operation::Renew, 1_000, Fault::LostRequest);
    held.until_lost().await;
    assert_eq!(begin.elapsed(), F, "others count from the write that came through, whenever that was");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_when_it_is_exactly_as_old_as_the_failover_time() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    table.faults().cut(Duration::from_secs(60));
    sleep(F - Duration::from_millis(1)).await;
    assert_eq!(held.standing(), Standing::Held);
    held.until_lost().await;
    assert_eq!(begin.elapsed(), F);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_in_time_though_nobody_has_run_for_long() {
    let table = MemoryStore::new();
    let (_keeper, held) = Keeper::new(Arc::new(table), worker("a"), F, lease(0, Some("a")), Instant::now());
    advance(F).await; // as after a standstill: the consumer wakes before the keeper
    assert_eq!(held.standing(), Standing::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_on_an_expired_lease_is_refused_and_not_written() {
    let (table, held, _tasks) = held();
    table.faults().cut(Duration::from_secs(60));
    advance(F).await;
    table.faults().heal();
    assert!(matches!(held.checkpoint(at(7)).await, Err(NotStored::NotOwner)));
    assert_eq!(row(&table, 0).checkpoint, at(5));
    assert_eq!(held.standing(), Standing::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_hangs_is_refused_at_the_failover_time() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    table.faults().cut(Duration::from_secs(60));
    assert!(matches!(held.checkpoint(at(7)).await, Err(NotStored::NotOwner)));
    assert_eq!((begin.elapsed(), held.standing()), (F, Standing::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_answers_costs_neither_the_checkpoint_nor_the_lease() {
    let hung = [(SECOND * 60, Duration::ZERO), (Duration::ZERO, SECOND * 60)];
    for (before, after) in hung {
        let (table, held, _tasks) = held();
        sleep(F / 3).await;
        table.faults().next(Operation::Checkpoint, 1, Fault::Slow { before, after });
        assert!(held.checkpoint(at(7)).await.is_ok(), "{before:?}");
        assert_eq!(row(&table, 0).checkpoint, at(7));
        for operation in [Operation::NoteChildren, Operation::NoteLatest] {
            table.faults().next(operation, 1, Fault::Slow { before, after });
        }
        assert!(held.note_children(Vec::new()).await.is_err());
        assert!(held.note_latest(EpochMillis(1)).await.is_err());
        sleep(F * 2).await;
        assert_eq!(held.standing(), Standing::Held);
        assert!(held.note_children(Vec::new()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_answer_was_lost_is_stored_all_the_same() {
    for fault in [Fault::LostReply, Fault::SentTwice] {
        let (table, held, _tasks) = held();
        table.faults().next(Operation::Checkpoint, 1, fault);
        assert!(held.checkpoint(at(7)).await.is_ok(), "{fault:?}");
        assert_eq!((row(&table, 0).checkpoint, held.last_checkpoint()), (at(7), at(7)));
        assert!(held.checkpoint(at(8)).await.is_ok(), "{fault:?}: the counter is known again");
        sleep(F * 2).await;
        assert_eq!(held.standing(), Standing::Held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_never_falls_behind_one_that_came_through_unseen() {
    let (table, held, _tasks) = held();
    table.faults().next(Operation::Checkpoint, 1, Fault::LostReply);
    table.faults().next(Operation::Checkpoint, 3, Fault::LostRequest);
    assert!(matches!(held.checkpoint(at(9)).await, Err(NotStored::Failed(_))));
    let refused = held.checkpoint(at(7)).await;
    assert!(matches!(refused, Err(NotStored::MovesBack { .. })), "{refused:?}");
    assert_eq!((row(&table, 0).checkpoint, held.last_checkpoint()), (at(9), at(9)));
    assert!(held.checkpoint(at(10)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_checkpoint_is_tried_four_times() {
    let (table, held, _tasks) = held();
    table.faults().next(Operation::Checkpoint, 3, Fault::Throttled);
    assert!(held.checkpoint(at(7)).await.is_ok());
    table.faults().next(Operation::Checkpoint, 4, Fault::Throttled);
    let begin = Instant::now();
    assert!(matches!(held.checkpoint(at(8)).await, Err(NotStored::Throttled)));
    let waited = begin.elapsed().as_millis(); // at most 100, 200 and 400 ms
    assert!((350..=700).contains(&waited), "{waited}");
    assert_eq!((row(&table, 0).checkpoint, held.standing()), (at(7), Standing::Held));
}

#[tokio::test(start_paused = true)]
async fn while_a_write_is_under_way_no_other_one_begins() {
    let (table, held, mut tasks) = held();
    sleep(F * 3 / 10).await;
    table.faults().cut(F * 6 / 10);
    for place in [7, 8] {
        let held = held.clone();
        tasks.spawn(async move { drop(held.checkpoint(at(place)).await) });
    }
    let calls = || [Operation::Checkpoint, Operation::Renew].map(|operation| table.faults().calls(operation));
    sleep(F * 3 / 10).await; // the time of a renewal has passed, too
    assert_eq!(calls(), [1, 0], "neither the second checkpoint nor the renewal");
}

#[tokio::test(start_paused = true)]
async fn a_handoff_is_noticed_by_the_renewal_that_it_refuses() {
    let (table, held, _tasks) = held();
    let Written::Yes(asked) = beside(&table).begin_handoff(&row(&table, 0), &worker("b")).await.unwrap() else {
        panic!("the handoff must begin")
    };
    let begin = Instant::now();
    assert_eq!(held.until_called_for().await, Standing::Wanted(worker("b")));
    assert!(begin.elapsed() <= F * 55 / 100);
    assert!(held.checkpoint(at(7)).await.is_ok(), "the old owner finishes its work");
    sleep(F * 3).await;
    assert_eq!(held.standing(), Standing::Wanted(worker("b")), "and keeps the lease while it does");
    assert!(row(&table, 0).counter > asked.counter);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_to_the_worker_that_waits_or_to_nobody() {
    let (table, held, mut tasks) = held();
    held.give_back().await;
    assert_eq!((row(&table, 0).owner, held.standing()), (None, Standing::Lost));

    let held = hold(&table, &mut tasks);
    beside(&table).put_worker(&load_row("b")).await.unwrap();
    beside(&table).begin_handoff(&row(&table, 0), &worker("b")).await.unwrap();
    held.give_back().await; // before any renewal has told of the handoff
    assert_eq!((row(&table, 0).owner, row(&table, 0).checkpoint_owner), (Some(worker("b")), None));
}

#[tokio::test(start_paused = true)]
async fn giving_back_survives_lost_requests_and_replies() {
    for fault in [Fault::LostRequest, Fault::LostReply, Fault::SentTwice, Fault::Throttled] {
        let (table, held, _tasks) = held();
        table.faults().next(Operation::Evict, 4, fault);
        held.give_back().await;
        assert_eq!(row(&table, 0).owner, None, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_back_to_a_dead_table_has_an_end() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    table.faults().cut(Duration::from_secs(60));
    held.give_back().await;
    assert!(begin.elapsed() <= F / 3 + Duration::from_millis(1), "{:?}", begin.elapsed());
    assert_eq!(held.standing(), Standing::Lost);
}

#[tokio::test(start_paused = true)]
async fn of_two_stores_that_race_the_one_that_wrote_first_has_the_lease() {
    let (table, held, _tasks) = held();
    let other = beside(&table);
    assert!(matches!(other.take(&row(&table, 0), &worker("b")).await, Ok(Written::Yes(_))));
    assert!(matches!(held.checkpoint(at(7)).await, Err(NotStored::NotOwner)));
    assert_eq!((row(&table, 0).checkpoint, held.standing()), (at(5), Standing::Lost));

    let mut tasks = JoinSet::new();
    let held = hold(&table, &mut tasks);
    let seen = row(&table, 0);
    assert!(held.checkpoint(at(7)).await.is_ok());
    assert_eq!(other.take(&seen, &worker("b")).await.unwrap(), Written::No(Some(Box::new(row(&table, 0)))));
    assert_eq!(held.standing(), Standing::Held);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lease_is_noticed_by_the_next_renewal() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    beside(&table).assign(&row(&table, 0), &worker("b")).await.unwrap();
    held.until_lost().await;
    assert!(begin.elapsed() <= F * 55 / 100);
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_doubt_is_renewed_at_once() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    held.doubt().await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!((table.faults().calls(Operation::Renew), held.standing()), (1, Standing::Held));
    beside(&table).assign(&row(&table, 0), &worker("b")).await.unwrap();
    held.doubt().await;
    held.until_lost().await;
    assert!(begin.elapsed() <= Duration::from_millis(20), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_note_of_children_ends_with_the_lease() {
    let (table, held, _tasks) = held();
    let begin = Instant::now();
    table.faults().cut(Duration::from_secs(60));
    assert!(held.note_children(Vec::new()).await.is_err());
    held.until_lost().await;
    assert_eq!(begin.elapsed(), F);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_whose_handles_are_gone_renews_no_more() {
    let (table, held, _tasks) = held();
    drop(held);
    sleep(SECOND).await;
    let counter = row(&table, 0).counter;
    sleep(F).await;
    assert_eq!(row(&table, 0).counter, counter);
}
