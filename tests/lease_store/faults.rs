//! The memory store fails by script, so that simulations can lose replies.

use std::time::Duration;

use multilangd::lease::memory::MemoryStore;
use multilangd::lease::memory::faults::{Fault, Faults, Operation};
use multilangd::lease::{HandoffKnown, LeaseStore, LeaseStoreError, Written};
use multilangd::types::LeaseCounter;
use tokio::time::{Instant, timeout};

use crate::support::{free, shard, worker};

async fn renew(store: &MemoryStore, seen: i64) -> Result<Written, LeaseStoreError> {
    store.renew(&shard(1), LeaseCounter(seen), None, HandoffKnown::No).await
}

fn ready() -> MemoryStore {
    let store = MemoryStore::new();
    store.put_lease(&free(1));
    store
}

fn counter(store: &MemoryStore) -> i64 {
    store.snapshot().leases[0].counter.0
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_reply_has() {
    let store = ready();
    store.faults().next(Operation::Renew, 1, Fault::LostRequest);
    store.faults().next(Operation::Renew, 1, Fault::LostReply);
    assert!(renew(&store, 0).await.unwrap_err().is_transient());
    assert_eq!(counter(&store), 0);
    assert!(renew(&store, 0).await.unwrap_err().is_transient());
    assert_eq!(counter(&store), 1);
    assert_eq!(renew(&store, 1).await.unwrap(), Written::Yes(()), "the script is over");
    assert_eq!(store.faults().calls(Operation::Renew), 3);
}

#[tokio::test]
async fn a_request_sent_twice_fails_by_its_own_success() {
    let store = ready();
    store.faults().next(Operation::Renew, 1, Fault::SentTwice);
    let Written::No(Some(old)) = renew(&store, 0).await.unwrap() else { panic!("the second try must fail") };
    assert_eq!(old.counter, LeaseCounter(1), "and shows what the first has done");
}

#[tokio::test]
async fn faults_meet_one_operation_of_one_connection() {
    let store = ready();
    let other = store.connect(Faults::default());
    store.faults().next(Operation::Take, 2, Fault::Throttled);
    assert!(matches!(store.take(&free(1), &worker("a")).await, Err(LeaseStoreError::Throttled { .. })));
    assert!(matches!(other.take(&free(1), &worker("b")).await, Ok(Written::Yes(_))));
    assert_eq!(store.get(&shard(1)).await.unwrap().unwrap().owner, Some(worker("b")));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reply_comes_after_the_effect() {
    let store = ready();
    let slow = Fault::Slow { before: Duration::from_secs(2), after: Duration::from_secs(5) };
    store.faults().next(Operation::Renew, 2, slow);
    assert!(timeout(Duration::from_secs(1), renew(&store, 0)).await.is_err());
    assert_eq!(counter(&store), 0);
    assert!(timeout(Duration::from_secs(3), renew(&store, 0)).await.is_err());
    assert_eq!(counter(&store), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_fails_until_it_is_mended() {
    let store = ready();
    store.faults().cut(Duration::from_secs(3));
    let began = Instant::now();
    assert!(renew(&store, 0).await.is_err());
    assert!(store.list().await.is_err());
    assert_eq!(began.elapsed(), Duration::from_secs(6));
    store.faults().heal();
    assert_eq!(renew(&store, 0).await.unwrap(), Written::Yes(()));
}

#[tokio::test]
async fn a_foreign_row_is_unreadable_and_harms_nothing() {
    let store = ready();
    store.put_foreign_row("odd", &[("entityType", "SNAPSHOT")]);
    let found = store.list().await.unwrap();
    assert_eq!((found.leases.len(), found.unreadable.len()), (1, 1));
    assert!(store.get(&shard(1)).await.unwrap().is_some());
}
