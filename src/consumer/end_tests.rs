use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::consumer::testing::{Ground, Nursery, obedient};
use crate::coordinator::testing::{F, beside, lease, row, shard};
use crate::lease::LeaseStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::types::{Checkpoint, HashKeyRange};

fn child(number: u32, parents: &[u32]) -> ChildShard {
    let parents = parents.iter().map(|parent| shard(*parent)).collect();
    ChildShard { id: shard(number), parents, hash_range: HashKeyRange::WHOLE }
}

struct Scene {
    ground: Ground,
    shared: Arc<Shared>,
    held: HeldLease,
}

fn scene() -> Scene {
    let mut ground = Ground::new();
    let held = ground.hold(&lease(0, Some("a")));
    let shared = ground.shared(Nursery::new(obedient));
    Scene { ground, shared, held }
}

#[tokio::test(start_paused = true)]
async fn the_shards_that_follow_get_leases_at_their_beginning_and_are_noted() {
    let Scene { ground, shared, held } = scene();
    hand_on(&shared, &held, &[child(2, &[0]), child(3, &[0])]).await.unwrap();
    for number in [2, 3] {
        let row = row(&ground.table, number);
        assert_eq!((row.checkpoint, row.owner), (Checkpoint::TrimHorizon, None));
        assert_eq!(row.parents.into_iter().collect::<Vec<_>>(), [shard(0)]);
    }
    assert_eq!(row(&ground.table, 0).children.into_iter().collect::<Vec<_>>(), [shard(2), shard(3)]);
    assert_eq!(row(&ground.table, 0).counter, lease(0, None).counter, "noting moves no counter");
}

#[tokio::test(start_paused = true)]
async fn a_merge_waits_until_the_other_parent_has_a_lease() {
    let Scene { ground, shared, held } = scene();
    let merged = [child(2, &[0, 1])];
    let mut work = std::pin::pin!(hand_on(&shared, &held, &merged));
    assert!(timeout(Duration::from_secs(60), &mut work).await.is_err());
    assert_eq!(ground.table.snapshot().leases.len(), 1, "no lease for the child yet");
    beside(&ground.table).create(&lease(1, None)).await.unwrap();
    assert!(timeout(Duration::from_secs(11), work).await.is_ok());
    assert_eq!(row(&ground.table, 2).parents.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_merge_goes_on_where_the_other_parent_is_done_and_cleaned_up() {
    let Scene { ground, shared, held } = scene();
    let there = lease(2, Some("b"));
    ground.table.put_lease(&there);
    hand_on(&shared, &held, &[child(2, &[0, 1])]).await.unwrap();
    assert_eq!(row(&ground.table, 2), there, "the child's lease is as the other parent's worker made it");
    assert_eq!(row(&ground.table, 0).children.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handing_on_survives_every_fault_and_may_be_begun_again() {
    for fault in [Fault::LostRequest, Fault::LostReply, Fault::SentTwice, Fault::Throttled] {
        let Scene { ground, shared, held } = scene();
        for operation in [Operation::Get, Operation::Create, Operation::NoteChildren] {
            ground.table.faults().next(operation, 2, fault);
        }
        let children = [child(2, &[0]), child(3, &[0])];
        let cut_short = timeout(Duration::from_millis(700), hand_on(&shared, &held, &children)).await;
        hand_on(&shared, &held, &children).await.unwrap();
        assert_eq!(ground.table.snapshot().leases.len(), 3, "{fault:?} {cut_short:?}");
        assert_eq!(row(&ground.table, 0).children.len(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_parents_of_a_merge_may_hand_on_at_the_same_time() {
    let Scene { mut ground, shared, held } = scene();
    let other = ground.hold(&lease(1, Some("a")));
    let merged = [child(2, &[0, 1])];
    let pause = Duration::from_millis(50);
    ground.table.faults().next(Operation::Get, 4, Fault::Slow { before: pause, after: pause });
    ground.table.faults().next(Operation::Create, 2, Fault::Slow { before: pause, after: pause });
    let handed = tokio::join!(hand_on(&shared, &held, &merged), hand_on(&shared, &other, &merged));
    assert_eq!(handed, (Ok(()), Ok(())));
    assert_eq!(ground.table.snapshot().leases.len(), 3);
    for parent in [0, 1] {
        assert_eq!(row(&ground.table, parent).children.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_not_believed_before_all_of_it_can_be_known() {
    let table = [
        (vec![child(2, &[0])], Some(Incomplete::Merge(shard(2)))),
        (vec![child(2, &[1])], Some(Incomplete::Merge(shard(2)))),
        (vec![child(2, &[0, 1, 4])], Some(Incomplete::Merge(shard(2)))),
        (vec![child(2, &[])], Some(Incomplete::Orphan(shard(2)))),
        (vec![child(2, &[0]), child(3, &[])], Some(Incomplete::Orphan(shard(3)))),
        (vec![child(2, &[0]), child(3, &[0])], None),
        (vec![child(2, &[1, 0])], None),
    ];
    for (children, incomplete) in table {
        let Scene { ground, shared, held } = scene();
        ground.table.put_lease(&lease(1, None));
        let handed = hand_on(&shared, &held, &children).await;
        assert_eq!(handed.err(), incomplete, "{children:?}");
        let untouched = row(&ground.table, 0).children.is_empty() && ground.table.snapshot().leases.len() == 2;
        assert_eq!(untouched, incomplete.is_some(), "{children:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_whose_own_row_is_gone_makes_no_lease_until_that_is_noticed() {
    let Scene { ground, shared, held } = scene();
    beside(&ground.table).create(&lease(1, Some("b"))).await.unwrap();
    beside(&ground.table).delete(&shard(0)).await.unwrap();
    hand_on(&shared, &held, &[child(2, &[0, 1])]).await.unwrap();
    assert_eq!(held.standing(), Standing::Lost);
    assert_eq!(ground.table.snapshot().leases, [lease(1, Some("b"))]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stood_still_brings_no_childs_lease_back() {
    let Scene { ground, shared, held } = scene();
    ground.table.faults().next(Operation::Get, 1, Fault::Slow { before: Duration::ZERO, after: F });
    ground.table.faults().next(Operation::Renew, 20, Fault::LostRequest);
    hand_on(&shared, &held, &[child(2, &[0]), child(3, &[0])]).await.unwrap();
    assert_eq!(held.standing(), Standing::Lost);
    assert_eq!(ground.table.snapshot().leases.len(), 1, "the answer came when the lease was another's");
}
