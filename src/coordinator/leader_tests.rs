use tokio::task::JoinSet;

use super::*;
use crate::coordinator::testing::{beside, fleet, worker};
use crate::lease::StateStore;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};

const SECOND: Duration = Duration::from_secs(1);

/// A worker's side of the lock, at work.
struct Side {
    leadership: watch::Receiver<Leadership>,
    signals: Signals,
    stop: CancellationToken,
    task: JoinSet<LeaderLock>,
}

impl Side {
    fn of(table: &MemoryStore, name: &str) -> Self {
        let (sender, leadership) = watch::channel(Leadership::Unknown);
        let (stop, signals) = (CancellationToken::new(), Signals::default());
        let mut task = JoinSet::new();
        task.spawn(LeaderLock::new(fleet(table, name), sender, &signals).run(stop.clone()));
        Self { leadership, signals, stop, task }
    }

    fn leads(&self) -> bool {
        *self.leadership.borrow() == Leadership::Mine
    }

    async fn until_leading(&mut self) -> Duration {
        let begin = Instant::now();
        self.leadership.wait_for(|now| *now == Leadership::Mine).await.unwrap();
        begin.elapsed()
    }

    async fn stop(mut self) -> LeaderLock {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap()
    }
}

fn lock_of(owner: &str, version: &str) -> LockRow {
    LockRow { owner: worker(owner), lease_duration: LOCK_DURATION, version: version.to_owned() }
}

async fn owner(table: &MemoryStore) -> Option<String> {
    beside(table).lock().await.unwrap().map(|row| row.owner.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_free_lock_is_taken_at_once() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    assert_eq!(a.until_leading().await, Duration::ZERO);
    assert_eq!(owner(&table).await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_lock_is_taken_after_the_time_that_it_names() {
    let table = MemoryStore::new();
    table.take_lock(&lock_of("dead", "1"), None).await.unwrap();
    let mut a = Side::of(&table, "a");
    sleep(SECOND).await;
    let Leadership::Theirs { owner, .. } = a.leadership.borrow().clone() else { panic!("it is the other's") };
    assert_eq!(owner, worker("dead"));
    let took = SECOND + a.until_leading().await;
    assert!((LOCK_DURATION..LOCK_DURATION + SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_beats_is_left_alone() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let b = Side::of(&beside(&table), "b");
    sleep(LOCK_DURATION * 5).await;
    assert!(a.leads() && !b.leads());
    let Leadership::Theirs { unchanged_since, .. } = b.leadership.borrow().clone() else { panic!("it is a's") };
    assert!(unchanged_since.elapsed() <= HEARTBEAT + LOOK, "b sees every beat");
}

#[tokio::test(start_paused = true)]
async fn our_own_name_on_the_lock_is_that_of_a_former_life() {
    let table = MemoryStore::new();
    table.take_lock(&lock_of("a", "1"), None).await.unwrap();
    assert_eq!(Side::of(&table, "a").until_leading().await, Duration::ZERO);
    let (former, current) = (table.lock().await.unwrap().unwrap(), lock_of("a", "2"));
    assert!(table.take_lock(&current, Some(&former.version)).await.unwrap());
    table.faults().next(Operation::TakeLock, 1, Fault::LostRequest);
    assert_eq!(Side::of(&table, "a").until_leading().await, RETRY, "a take that fails is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_a_namesake_took_is_lost_and_stays_with_it() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let mut namesake = Side::of(&beside(&table), "a");
    assert_eq!(namesake.until_leading().await, Duration::ZERO, "it cannot know that the first one lives");
    sleep(HEARTBEAT + SECOND).await;
    assert!(!a.leads());
    for _ in 0..10 {
        sleep(HEARTBEAT).await;
        assert!(namesake.leads() && !a.leads(), "one leads");
    }
    a.stop().await.release().await;
    assert!(table.lock().await.unwrap().is_some(), "leaving does not touch the lock of a namesake");
    sleep(HEARTBEAT + SECOND).await;
    assert!(namesake.leads());
    namesake.stop().await.release().await;
    assert_eq!(owner(&table).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_does_not_release_the_lock_that_its_successor_with_its_name_has_just_taken() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let mut a = a.stop().await; // it leaves, and its children take their time
    let mut successor = Side::of(&beside(&table), "a");
    successor.until_leading().await;
    a.step_down().await;
    a.release().await;
    sleep(HEARTBEAT * 2).await;
    assert!(successor.leads());
    assert_eq!(owner(&table).await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_took_is_lost_at_the_next_beat() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let row = table.lock().await.unwrap().unwrap();
    assert!(beside(&table).take_lock(&lock_of("b", "2"), Some(&row.version)).await.unwrap());
    sleep(HEARTBEAT + SECOND).await;
    assert!(matches!(a.leadership.borrow().clone(), Leadership::Theirs { owner, .. } if owner == worker("b")));
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_table_leads_no_longer_than_the_lock_lasts() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    table.faults().cut(SECOND);
    sleep(LOCK_DURATION - SECOND).await;
    assert!(a.leads());
    sleep(SECOND * 5).await;
    assert!(!a.leads());
}

#[tokio::test(start_paused = true)]
async fn a_beat_whose_answer_was_lost_changes_nothing() {
    for fault in [Fault::LostReply, Fault::SentTwice, Fault::LostRequest] {
        let table = MemoryStore::new();
        let mut a = Side::of(&table, "a");
        a.until_leading().await;
        a.leadership.mark_unchanged();
        table.faults().next(Operation::BeatLock, 1, fault);
        sleep(LOCK_DURATION).await;
        assert!(a.leads() && !a.leadership.has_changed().unwrap(), "{fault:?}: not for a moment");
    }
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_answer_was_lost_is_made_good_at_the_next_look() {
    let table = MemoryStore::new();
    table.faults().next(Operation::TakeLock, 1, Fault::LostReply);
    let mut a = Side::of(&table, "a");
    assert!(a.until_leading().await <= RETRY);
}

#[tokio::test(start_paused = true)]
async fn leaving_gives_the_lock_back_whatever_became_of_the_answers() {
    let slow = Fault::Slow { before: Duration::ZERO, after: SECOND * 5 };
    let table = [
        (Operation::TakeLock, Fault::LostReply, SECOND), // comes through, and we stop before we look again
        (Operation::TakeLock, slow, SECOND),
        (Operation::BeatLock, slow, HEARTBEAT + SECOND),
        (Operation::ReleaseLock, Fault::LostRequest, SECOND),
        (Operation::ReleaseLock, Fault::LostReply, SECOND),
        (Operation::ReleaseLock, Fault::Throttled, SECOND),
    ];
    for (operation, fault, time) in table {
        let table = MemoryStore::new();
        table.faults().next(operation, 1, fault);
        let a = Side::of(&table, "a");
        sleep(time).await;
        a.stop().await.release().await;
        assert_eq!(owner(&table).await, None, "{operation:?} {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_does_not_touch_the_lock_of_another() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let row = table.lock().await.unwrap().unwrap();
    beside(&table).take_lock(&lock_of("b", "2"), Some(&row.version)).await.unwrap();
    a.stop().await.release().await;
    assert_eq!(owner(&table).await.as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_a_scan_does_not_show_any_more_is_taken_at_once() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    let mut b = Side::of(&beside(&table), "b");
    sleep(LOOK_ELSEWHERE * 2).await;
    a.stop().await.release().await;
    b.signals.lock.send_replace(Some(LockSight(None)));
    assert_eq!(b.until_leading().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn scans_that_show_the_lock_save_looking_at_it() {
    let table = MemoryStore::new();
    let (a, other) = (Side::of(&table, "a"), beside(&table));
    sleep(SECOND).await;
    let b = Side::of(&other, "b");
    for _ in 0..600 {
        sleep(SECOND).await;
        b.signals.lock.send_replace(Some(LockSight(table.snapshot().lock)));
    }
    assert!(a.leads() && !b.leads());
    assert_eq!(other.faults().calls(Operation::Lock), 1);
    let Leadership::Theirs { unchanged_since, .. } = b.leadership.borrow().clone() else { panic!("it is a's") };
    assert!(unchanged_since.elapsed() <= HEARTBEAT + SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_no_scan_shows_is_looked_at_with_moderation() {
    let table = MemoryStore::new();
    let (_a, other) = (Side::of(&table, "a"), beside(&table));
    sleep(SECOND).await;
    let b = Side::of(&other, "b");
    for _ in 0..60 {
        sleep(SECOND).await;
        b.signals.lock.send_replace(Some(LockSight(None))); // it lies in another table
    }
    assert!((29..=32).contains(&other.faults().calls(Operation::Lock)), "{}", other.faults().calls(Operation::Lock));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_resigns_leaves_the_lock_to_others_for_a_while() {
    let table = MemoryStore::new();
    let mut a = Side::of(&table, "a");
    a.until_leading().await;
    a.signals.resign.notify_one();
    sleep(SECOND).await;
    assert_eq!((a.leads(), owner(&table).await), (false, None));
    let took = a.until_leading().await; // nobody came
    assert!((RESIGNED - SECOND..RESIGNED + SECOND).contains(&took), "{took:?}");
}
