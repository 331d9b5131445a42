//! What both stores do alike; each claim is a function of a fresh, prepared store.

use std::collections::BTreeSet;
use std::time::Duration;

use multilangd::lease::memory::MemoryStore;
use multilangd::lease::{
    CheckpointWrite, ClientVersion, ClientVersionRow, HandoffKnown, Lease, LeaseStore, LockRow, StateStore, WorkerRow,
    Written,
};
use multilangd::types::{Checkpoint, EpochMillis, HashKeyRange, LeaseCounter};

use crate::support::{free, shard, worker};

/// Makes one test of each claim for a store.
macro_rules! claims {
    ($store:expr) => {
        $crate::claims::claims!($store => a_lease_is_created_once, a_renewal_is_fenced_by_the_counter,
            a_renewal_learns_of_a_handoff_unless_it_knows, a_checkpoint_is_fenced_by_the_counter_only,
            taking_is_fenced_by_the_counter_and_ends_a_handoff, assigning_is_fenced_by_the_owners_not_the_counter,
            a_handoff_leaves_the_counter_alone, evicting_leaves_the_next_owner_of_a_handoff,
            children_and_hash_range_move_no_counter, the_moment_of_latest_is_kept_until_a_checkpoint,
            a_deleted_lease_takes_no_write,
            my_leases_are_those_that_name_me_as_owner, a_scan_tells_the_rows_apart,
            the_lock_is_taken_kept_and_released_by_its_version, the_client_version_moves_only_from_what_it_is,
            a_workers_row_is_merged_and_deleted_while_unchanged);
    };
    ($store:expr => $($claim:ident),* $(,)?) => {
        $(#[tokio::test] async fn $claim() { crate::claims::$claim($store).await; })*
    };
}
pub(crate) use claims;

mod memory {
    crate::claims::claims!(super::MemoryStore::new());
}

async fn with(store: &impl LeaseStore, lease: Lease) -> Lease {
    assert!(store.create(&lease).await.unwrap());
    lease
}

async fn now(store: &impl LeaseStore, number: u32) -> Lease {
    store.get(&shard(number)).await.unwrap().unwrap()
}

fn held(number: u32, by: &str, counter: i64) -> Lease {
    Lease { owner: Some(worker(by)), counter: LeaseCounter(counter), ..free(number) }
}

fn yes(written: Written<Lease>) -> Lease {
    match written {
        Written::Yes(lease) => lease,
        Written::No(old) => panic!("the condition failed: {old:?}"),
    }
}

fn no<T: std::fmt::Debug>(written: Written<T>) -> Lease {
    match written {
        Written::No(Some(old)) => *old,
        Written::No(None) | Written::Yes(_) => panic!("expected the old row: {written:?}"),
    }
}

pub(crate) async fn a_lease_is_created_once(store: impl LeaseStore) {
    let lease = Lease {
        parents: [shard(7), shard(8)].into(),
        hash_range: Some(HashKeyRange::WHOLE),
        throughput_kbps: Some(0.000_878),
        ..held(1, "a", 3)
    };
    with(&store, lease.clone()).await;
    assert!(!store.create(&free(1)).await.unwrap());
    assert_eq!(now(&store, 1).await, lease);
    assert_eq!(store.get_now(&shard(1)).await.unwrap(), Some(lease));
    assert_eq!(store.get(&shard(2)).await.unwrap(), None);
    assert_eq!(store.get_now(&shard(2)).await.unwrap(), None);
}

pub(crate) async fn a_renewal_is_fenced_by_the_counter(store: impl LeaseStore) {
    let lease = with(&store, held(1, "a", 3)).await;
    let renew = |seen| store.renew(&lease.shard, LeaseCounter(seen), Some(1.25), HandoffKnown::No);
    assert_eq!(renew(3).await.unwrap(), Written::Yes(()));
    let renewed = Lease { counter: LeaseCounter(4), throughput_kbps: Some(1.25), ..lease.clone() };
    assert_eq!(no(renew(3).await.unwrap()), renewed);
    assert_eq!(now(&store, 1).await, renewed);
}

pub(crate) async fn a_renewal_learns_of_a_handoff_unless_it_knows(store: impl LeaseStore) {
    let asked = Lease { checkpoint_owner: Some(worker("a")), ..held(1, "b", 3) };
    with(&store, asked.clone()).await;
    let renew = |handoff| store.renew(&asked.shard, LeaseCounter(3), None, handoff);
    assert_eq!(no(renew(HandoffKnown::No).await.unwrap()), asked);
    assert_eq!(renew(HandoffKnown::Yes).await.unwrap(), Written::Yes(()));
}

pub(crate) async fn a_checkpoint_is_fenced_by_the_counter_only(store: impl LeaseStore) {
    let asked = Lease { checkpoint_owner: Some(worker("a")), owner_switches: 2, ..held(1, "b", 3) };
    with(&store, asked.clone()).await;
    let write = CheckpointWrite {
        shard: shard(1),
        seen: LeaseCounter(3),
        checkpoint: Checkpoint::parse("0042", 7).unwrap(),
        hash_range: Some(HashKeyRange::WHOLE),
        children: [shard(2)].into(),
        throughput_kbps: Some(1.5),
    };
    let answer = store.checkpoint(&write).await.unwrap();
    let expected = Lease {
        counter: LeaseCounter(4),
        checkpoint: write.checkpoint.clone(),
        hash_range: Some(HashKeyRange::WHOLE),
        children: [shard(2)].into(),
        owner_switches: 0,
        throughput_kbps: Some(1.5),
        ..asked
    };
    assert_eq!(answer, Written::Yes(Some(expected.clone())), "the answer tells of the handoff");
    assert_eq!(now(&store, 1).await, expected);
    assert!(now(&store, 1).await.checkpoint.same_text(&write.checkpoint));
    assert_eq!(no(store.checkpoint(&write).await.unwrap()), expected);
}

pub(crate) async fn taking_is_fenced_by_the_counter_and_ends_a_handoff(store: impl LeaseStore) {
    let asked = with(&store, Lease { checkpoint_owner: Some(worker("a")), ..held(1, "b", 3) }).await;
    let taken = yes(store.take(&asked, &worker("c")).await.unwrap());
    assert_eq!(taken, Lease { owner_switches: 1, ..held(1, "c", 4) });
    assert_eq!(no(store.take(&asked, &worker("d")).await.unwrap()), taken);
    let again = yes(store.take(&taken, &worker("c")).await.unwrap());
    assert_eq!(again.owner_switches, 1, "from oneself is no switch");
    let first = with(&store, free(2)).await;
    assert_eq!(yes(store.take(&first, &worker("c")).await.unwrap()), held(2, "c", 1), "from nobody is no switch");
}

pub(crate) async fn assigning_is_fenced_by_the_owners_not_the_counter(store: impl LeaseStore) {
    let seen = with(&store, held(1, "a", 3)).await;
    store.renew(&seen.shard, LeaseCounter(3), None, HandoffKnown::No).await.unwrap();
    let given = yes(store.assign(&seen, &worker("b")).await.unwrap());
    assert_eq!(given, Lease { owner_switches: 1, ..held(1, "b", 5) });
    assert_eq!(no(store.assign(&seen, &worker("c")).await.unwrap()), given);
    let free = with(&store, free(2)).await;
    assert_eq!(yes(store.assign(&free, &worker("b")).await.unwrap()), held(2, "b", 1));
    let gone = Lease::new(shard(3), Checkpoint::Latest);
    assert_eq!(store.assign(&gone, &worker("b")).await.unwrap(), Written::No(None), "an absent row is not made");
}

pub(crate) async fn a_handoff_leaves_the_counter_alone(store: impl LeaseStore) {
    let seen = with(&store, held(1, "a", 3)).await;
    let asked = yes(store.begin_handoff(&seen, &worker("b")).await.unwrap());
    assert_eq!(asked, Lease { checkpoint_owner: Some(worker("a")), ..held(1, "b", 3) });
    assert_eq!(no(store.begin_handoff(&seen, &worker("c")).await.unwrap()), asked);
    let done = yes(store.assign(&asked, &worker("b")).await.unwrap());
    assert_eq!(done, held(1, "b", 4), "a graceful handoff is no switch");
    let asked = yes(store.begin_handoff(&done, &worker("a")).await.unwrap());
    let back = yes(store.assign(&asked, &worker("b")).await.unwrap());
    assert_eq!(back, Lease { owner_switches: 1, ..held(1, "b", 5) }, "back to the present owner is one");
    let nobodys = with(&store, free(2)).await;
    assert_eq!(no(store.begin_handoff(&nobodys, &worker("b")).await.unwrap()), nobodys, "nobody to ask");
}

pub(crate) async fn evicting_leaves_the_next_owner_of_a_handoff(store: impl LeaseStore) {
    let seen = with(&store, held(1, "a", 3)).await;
    let asked = yes(store.begin_handoff(&seen, &worker("b")).await.unwrap());
    assert_eq!(no(store.evict(&seen).await.unwrap()), asked);
    let left = yes(store.evict(&asked).await.unwrap());
    assert_eq!(left, held(1, "b", 4));
    assert_eq!(yes(store.evict(&left).await.unwrap()), Lease { counter: LeaseCounter(5), ..free(1) });
}

pub(crate) async fn the_moment_of_latest_is_kept_until_a_checkpoint(store: impl LeaseStore) {
    let seen = with(&store, Lease { checkpoint: Checkpoint::Latest, ..held(1, "a", 3) }).await;
    let since = EpochMillis(1_763_700_000_123);
    assert!(!store.note_latest(&seen.shard, LeaseCounter(2), since).await.unwrap(), "it has moved");
    assert!(!store.note_latest(&shard(9), LeaseCounter(0), since).await.unwrap());
    assert_eq!(now(&store, 1).await, seen);
    assert!(store.note_latest(&seen.shard, seen.counter, since).await.unwrap());
    let noted = Lease { latest_since: Some(since), ..seen.clone() };
    assert_eq!(now(&store, 1).await, noted, "the counter stays");
    let taken = yes(store.take(&noted, &worker("b")).await.unwrap());
    assert_eq!(taken.latest_since, Some(since), "whoever has it next finds it");
    let write = CheckpointWrite {
        shard: seen.shard,
        seen: taken.counter,
        checkpoint: Checkpoint::parse("77", 0).unwrap(),
        hash_range: None,
        children: BTreeSet::new(),
        throughput_kbps: None,
    };
    assert!(matches!(store.checkpoint(&write).await.unwrap(), Written::Yes(_)));
    assert_eq!(now(&store, 1).await.latest_since, None);
}

pub(crate) async fn children_and_hash_range_move_no_counter(store: impl LeaseStore) {
    let seen = with(&store, held(1, "a", 3)).await;
    let children = BTreeSet::from([shard(2), shard(3)]);
    assert!(store.note_children(&seen.shard, &children).await.unwrap());
    assert!(store.fill_hash_range(&seen.shard, HashKeyRange { start: 5, end: u128::MAX }).await.unwrap());
    let hash_range = Some(HashKeyRange { start: 5, end: u128::MAX });
    assert_eq!(now(&store, 1).await, Lease { children, hash_range, ..seen.clone() });
    assert!(store.note_children(&seen.shard, &BTreeSet::new()).await.unwrap(), "no children: the lease is there");
    assert!(!store.note_children(&shard(9), &BTreeSet::new()).await.unwrap());
    assert!(!store.note_children(&shard(9), &[shard(1)].into()).await.unwrap());
    assert!(!store.fill_hash_range(&shard(9), HashKeyRange::WHOLE).await.unwrap());
    assert_eq!(store.get(&shard(9)).await.unwrap(), None);
}

pub(crate) async fn a_deleted_lease_takes_no_write(store: impl LeaseStore) {
    let seen = with(&store, held(1, "a", 3)).await;
    store.delete(&seen.shard).await.unwrap();
    store.delete(&seen.shard).await.unwrap(); // what is gone may be deleted again
    assert_eq!(store.take(&seen, &worker("b")).await.unwrap(), Written::No(None));
    let renewed = store.renew(&seen.shard, seen.counter, None, HandoffKnown::Yes).await.unwrap();
    assert_eq!(renewed, Written::No(None));
    assert_eq!(store.get(&seen.shard).await.unwrap(), None);
}

pub(crate) async fn my_leases_are_those_that_name_me_as_owner(store: impl LeaseStore) {
    with(&store, held(1, "a", 3)).await;
    with(&store, held(2, "b", 3)).await;
    with(&store, Lease { checkpoint_owner: Some(worker("b")), ..held(3, "a", 3) }).await;
    with(&store, free(4)).await;
    let mine: BTreeSet<_> = store.owned_by(&worker("a")).await.unwrap().into_iter().collect();
    assert_eq!(mine, [shard(1), shard(3)].into());
    assert_eq!(store.owned_by(&worker("c")).await.unwrap(), []);
}

fn load(name: &str, at: i64) -> WorkerRow {
    WorkerRow {
        worker: worker(name),
        last_update_seconds: Some(at),
        stats: [("C".to_owned(), vec![12.5, -1.0])].into(),
        operating_ranges: [("C".to_owned(), vec![100.0])].into(),
        support_code: Some(1),
        support_update_seconds: Some(at),
    }
}

fn lock(owner: &str, version: &str) -> LockRow {
    LockRow { owner: worker(owner), lease_duration: Duration::from_secs(120), version: version.to_owned() }
}

fn version(version: ClientVersion, at: i64) -> ClientVersionRow {
    let history = vec![(ClientVersion::Init, worker("a"), EpochMillis(1))];
    ClientVersionRow { version, modified_by: worker("a"), modified_at: EpochMillis(at), history }
}

pub(crate) async fn a_scan_tells_the_rows_apart(store: impl LeaseStore + StateStore) {
    let lease = with(&store, held(1, "a", 3)).await;
    store.put_worker(&load("a", 100)).await.unwrap();
    assert!(store.take_lock(&lock("a", "1"), None).await.unwrap());
    assert!(store.create_client_version(&version(ClientVersion::ThreeX, 2)).await.unwrap());
    let found = store.list().await.unwrap();
    assert_eq!((found.leases, found.workers, found.unreadable), (vec![lease], vec![load("a", 100)], vec![]));
}

pub(crate) async fn the_lock_is_taken_kept_and_released_by_its_version(store: impl StateStore) {
    assert_eq!(store.lock().await.unwrap(), None);
    assert!(!store.take_lock(&lock("a", "1"), Some("0")).await.unwrap(), "no row to take over");
    assert!(store.take_lock(&lock("a", "1"), None).await.unwrap());
    assert!(!store.take_lock(&lock("b", "2"), None).await.unwrap(), "it is held");
    assert!(store.beat_lock(&lock("a", "1"), "2").await.unwrap());
    assert_eq!(store.lock().await.unwrap(), Some(lock("a", "2")));
    assert!(!store.beat_lock(&lock("a", "1"), "3").await.unwrap(), "another version");
    assert!(!store.beat_lock(&lock("b", "2"), "3").await.unwrap(), "another owner");
    assert!(!store.take_lock(&lock("b", "9"), Some("1")).await.unwrap(), "it has moved since");
    assert!(store.take_lock(&lock("b", "9"), Some("2")).await.unwrap());
    assert!(!store.release_lock(&lock("a", "2")).await.unwrap(), "it was taken over");
    assert!(store.release_lock(&lock("b", "9")).await.unwrap());
    assert_eq!(store.lock().await.unwrap(), None);
    assert!(!store.beat_lock(&lock("b", "9"), "10").await.unwrap(), "a heartbeat makes no row");
}

pub(crate) async fn the_client_version_moves_only_from_what_it_is(store: impl StateStore) {
    use ClientVersion::{ThreeX, ThreeXWithRollback, UpgradeFrom2x};
    assert_eq!(store.client_version().await.unwrap(), None);
    assert!(!store.change_client_version(UpgradeFrom2x, &version(ThreeX, 1)).await.unwrap(), "there is no row");
    assert!(store.create_client_version(&version(UpgradeFrom2x, 2)).await.unwrap());
    assert!(!store.create_client_version(&version(ThreeX, 3)).await.unwrap());
    assert!(!store.change_client_version(ThreeX, &version(ThreeXWithRollback, 4)).await.unwrap());
    assert!(store.change_client_version(UpgradeFrom2x, &version(ThreeXWithRollback, 5)).await.unwrap());
    assert_eq!(store.client_version().await.unwrap(), Some(version(ThreeXWithRollback, 5)));
    assert!(!store.has_legacy_tables().await.unwrap());
}

pub(crate) async fn a_workers_row_is_merged_and_deleted_while_unchanged(store: impl LeaseStore + StateStore) {
    assert_eq!(store.put_worker(&load("a", 100)).await.unwrap(), None, "there was no row");
    let old = WorkerRow { support_code: None, support_update_seconds: None, ..load("a", 130) };
    assert_eq!(store.put_worker(&old).await.unwrap(), Some(100), "when the row before was written");
    let merged = WorkerRow { support_update_seconds: Some(100), ..load("a", 130) };
    assert_eq!(store.list().await.unwrap().workers, [merged]);
    assert!(!store.delete_worker(&worker("a"), 100).await.unwrap(), "it was written since");
    assert!(store.delete_worker(&worker("a"), 130).await.unwrap());
    assert!(!store.delete_worker(&worker("a"), 130).await.unwrap());
    assert_eq!(store.list().await.unwrap().workers, []);
}
