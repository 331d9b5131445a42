//! What both stores do alike with the three tables of KCL 3.0-3.4; each claim is given two connections to fresh tables.

use std::collections::BTreeMap;

use multilangd::lease::memory::MemoryStore;
use multilangd::lease::memory::faults::Faults;
use multilangd::lease::migration::{Moved, TableMigration, TableMigrationRow, leave_old_tables};
use multilangd::lease::place::Layout;
use multilangd::lease::{ClientVersion, ClientVersionRow, FleetRows, LeaseStore, LockRow, StateStore, WorkerRow};
use multilangd::types::EpochMillis;

use crate::support::{free, worker};

use TableMigration::{Complete, Deployed, Init, Pending};

pub(crate) fn lock(owner: &str, version: &str) -> LockRow {
    LockRow { owner: worker(owner), lease_duration: std::time::Duration::from_secs(120), version: version.to_owned() }
}

pub(crate) fn load(name: &str, at: i64) -> WorkerRow {
    WorkerRow {
        worker: worker(name),
        last_update_seconds: Some(at),
        stats: BTreeMap::new(),
        operating_ranges: BTreeMap::new(),
        support_code: Some(1),
        support_update_seconds: Some(at),
    }
}

/// Makes one test of each claim for a way to open three fresh tables twice.
macro_rules! claims {
    ($pair:expr => $($claim:ident),* $(,)?) => {
        $(#[tokio::test] async fn $claim() {
            let (a, b) = $pair;
            super::$claim(&a, &b).await;
        })*
    };
    ($pair:expr) => {
        claims!($pair => load_rows_of_both_tables_are_read_together, each_layout_has_its_lock,
            the_client_version_is_found_and_changed_where_it_is, a_move_takes_everything_and_ends_in_one_table,
            a_move_needs_the_lock_and_room, the_item_moves_only_from_what_it_says);
    };
}

mod memory {
    use super::*;
    fn pair() -> (MemoryStore, MemoryStore) {
        let table = MemoryStore::new();
        table.set_legacy_tables(true);
        (table.connect(Faults::default()), table.connect(Faults::default()))
    }
    claims!(pair());
}

#[cfg(feature = "local")]
mod dynamodb {
    use multilangd::config::TableSettings;
    use multilangd::lease::dynamodb::DynamoDbStore;

    claims!({
        let store = crate::dynamodb::with_old_tables().await;
        let client = store.client().clone();
        (store, DynamoDbStore::new(client, "app".into(), "app".into(), TableSettings::default()))
    });
}

trait Store: LeaseStore + StateStore {}
impl<S: LeaseStore + StateStore> Store for S {}

fn version(version: ClientVersion) -> ClientVersionRow {
    ClientVersionRow { version, modified_by: worker("a"), modified_at: EpochMillis(1), history: Vec::new() }
}

async fn load_rows_of_both_tables_are_read_together(a: &impl Store, b: &impl Store) {
    a.settle(Layout::ThreeTables);
    b.settle(Layout::Moving);
    a.put_worker(&load("a", 100)).await.unwrap();
    a.put_worker(&load("both", 100)).await.unwrap();
    b.put_worker(&load("b", 100)).await.unwrap();
    b.put_worker(&load("both", 130)).await.unwrap();
    for store in [&a.list().await.unwrap(), &b.list().await.unwrap()] {
        let FleetRows { workers, workers_in_old_table, unreadable, .. } = store.clone();
        let by_name = |rows: Vec<WorkerRow>| {
            rows.into_iter().map(|row| (row.worker.to_string(), row.last_update_seconds.unwrap())).collect::<Vec<_>>()
        };
        let (mut workers, mut old) = (by_name(workers), by_name(workers_in_old_table));
        workers.sort();
        old.sort();
        assert_eq!(workers, [("a".into(), 100), ("b".into(), 100), ("both".into(), 130)]);
        assert_eq!(old, [("a".into(), 100), ("both".into(), 100)]);
        assert_eq!(unreadable, []);
    }
    assert!(!a.delete_worker(&worker("both"), 99).await.unwrap());
    assert!(a.delete_worker(&worker("both"), 130).await.unwrap(), "whichever table it is in");
    assert!(a.delete_worker(&worker("both"), 100).await.unwrap());
    a.settle(Layout::OneTable);
    let names: Vec<String> = a.list().await.unwrap().workers.iter().map(|row| row.worker.to_string()).collect();
    assert_eq!(names, ["b"]);
}

async fn each_layout_has_its_lock(a: &impl Store, b: &impl Store) {
    a.settle(Layout::ThreeTables);
    assert!(a.take_lock(&lock("a", "1"), None).await.unwrap());
    assert_eq!(b.lock().await.unwrap(), None);
    assert!(b.take_lock(&lock("b", "1"), None).await.unwrap());
    assert_eq!(a.lock().await.unwrap(), Some(lock("a", "1")));
    assert_eq!(a.lock_in_lease_table().await.unwrap(), Some(lock("b", "1")));
    assert!(a.beat_lock(&lock("a", "1"), "2").await.unwrap());
    leave_old_tables(a, &worker("a")).await.unwrap();
    assert_eq!(a.lock().await.unwrap(), Some(lock("b", "1")));
    b.settle(Layout::Moving);
    assert_eq!(b.lock().await.unwrap(), None);
}

async fn the_client_version_is_found_and_changed_where_it_is(a: &impl Store, b: &impl Store) {
    use ClientVersion::{ThreeX, ThreeXWithRollback, UpgradeFrom2x};
    a.settle(Layout::ThreeTables);
    b.settle(Layout::Moving);
    assert!(a.create_client_version(&version(UpgradeFrom2x)).await.unwrap());
    assert!(!b.change_client_version(ThreeX, &version(ThreeX)).await.unwrap());
    assert!(b.change_client_version(UpgradeFrom2x, &version(ThreeXWithRollback)).await.unwrap());
    assert_eq!(a.client_version().await.unwrap(), Some(version(ThreeXWithRollback)));
    assert_eq!(b.client_version().await.unwrap(), Some(version(ThreeXWithRollback)));
    b.settle(Layout::OneTable);
    assert_eq!(b.client_version().await.unwrap(), None, "nothing was written to the lease table");
    assert!(b.create_client_version(&version(ThreeX)).await.unwrap());
    assert_eq!(a.client_version().await.unwrap(), Some(version(ThreeXWithRollback)), "the old one comes first");
}

async fn a_move_takes_everything_and_ends_in_one_table(a: &impl Store, b: &impl Store) {
    a.settle(Layout::ThreeTables);
    assert!(a.create(&free(1)).await.unwrap());
    assert!(a.create_client_version(&version(ClientVersion::ThreeX)).await.unwrap());
    let deployed = TableMigrationRow::first(Deployed, &worker("a"), EpochMillis(1));
    assert!(a.create_table_migration(&deployed).await.unwrap());
    b.settle(Layout::Moving);
    assert!(b.take_lock(&lock("b", "1"), None).await.unwrap());
    assert!(b.has_items_to_move().await.unwrap());
    assert_eq!(b.move_items(&worker("b")).await.unwrap(), Moved::All(1));
    assert!(!b.has_items_to_move().await.unwrap());
    assert_eq!(b.move_items(&worker("b")).await.unwrap(), Moved::All(0), "once more does no harm");
    assert_eq!(b.client_version().await.unwrap(), Some(version(ClientVersion::ThreeX)));
    let complete = deployed.advanced(Complete, &worker("b"), EpochMillis(3));
    assert!(!b.complete_table_migration(&complete, &worker("b")).await.unwrap(), "it is not PENDING");
    let pending = deployed.advanced(Pending, &worker("b"), EpochMillis(2));
    assert!(b.change_table_migration(Deployed, &pending).await.unwrap());
    assert!(!b.complete_table_migration(&complete, &worker("a")).await.unwrap(), "it is not the leader");
    assert!(b.complete_table_migration(&complete, &worker("b")).await.unwrap());
    assert!(!b.complete_table_migration(&complete, &worker("b")).await.unwrap(), "it is done");
    assert_eq!(a.table_migration().await.unwrap(), Some(complete));
    leave_old_tables(b, &worker("b")).await.unwrap();
    assert_eq!((b.lock().await.unwrap(), a.lock().await.unwrap()), (None, None));
    assert_eq!(b.client_version().await.unwrap(), Some(version(ClientVersion::ThreeX)));
    assert!(!a.take_lock(&lock("a", "1"), None).await.unwrap(), "the old lock is of no use");
    assert_eq!(*a.layout().borrow(), Layout::OneTable);
    let found = b.list().await.unwrap();
    assert_eq!((found.leases.len(), found.unreadable), (1, vec![]));
}

async fn a_move_needs_the_lock_and_room(a: &impl Store, b: &impl Store) {
    a.settle(Layout::ThreeTables);
    assert!(a.create_client_version(&version(ClientVersion::ThreeX)).await.unwrap());
    let refused = |moved: Moved| matches!(moved, Moved::Not(_));
    assert!(refused(a.move_items(&worker("a")).await.unwrap()), "nobody leads");
    assert!(a.take_lock(&lock("other", "1"), None).await.unwrap());
    assert!(refused(a.move_items(&worker("a")).await.unwrap()), "another leads");
    assert!(b.create_client_version(&version(ClientVersion::ThreeX)).await.unwrap(), "in the lease table");
    assert!(refused(a.move_items(&worker("other")).await.unwrap()), "there is one already");
    assert!(a.has_items_to_move().await.unwrap());
}

async fn the_item_moves_only_from_what_it_says(a: &impl Store, b: &impl Store) {
    let first = TableMigrationRow::first(Init, &worker("a"), EpochMillis(1));
    assert!(!a.change_table_migration(Init, &first).await.unwrap(), "there is none");
    assert!(a.create_table_migration(&first).await.unwrap());
    assert!(!b.create_table_migration(&first).await.unwrap());
    assert!(!b.delete_table_migration(Deployed).await.unwrap());
    let next = first.advanced(Deployed, &worker("b"), EpochMillis(2));
    assert!(!b.change_table_migration(Pending, &next).await.unwrap());
    assert!(b.change_table_migration(Init, &next).await.unwrap());
    assert!(!a.delete_table_migration(Init).await.unwrap());
    assert_eq!(a.table_migration().await.unwrap(), Some(next));
    assert!(a.delete_table_migration(Deployed).await.unwrap());
    assert_eq!(b.table_migration().await.unwrap(), None);
}
