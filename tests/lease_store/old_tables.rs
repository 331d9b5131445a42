//! The three tables of KCL 3.0-3.4: what is sent equals what KCL 3.5.1 sent, and both stores do alike.

use std::collections::BTreeMap;
use std::time::Duration;

use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::memory::MemoryStore;
use multilangd::lease::memory::faults::Faults;
use multilangd::lease::migration::{MigrationStore, Moved, TableMigration, TableMigrationRow, leave_old_tables};
use multilangd::lease::place::Layout;
use multilangd::lease::row::migration::{Mover, mover, table_migration, table_migration_row};
use multilangd::lease::{ClientVersion, ClientVersionRow, FleetRows, LeaseStore, LockRow, StateStore, WorkerRow};
use multilangd::types::EpochMillis;
use serde_json::{Value, json};

use crate::support::{Recorder, canonical, free, json_of, row as row_of, worker};

use TableMigration::{Complete, Deployed, Init, Pending};

const BY: &str = "new351C";

fn golden(name: &str) -> (String, Value) {
    let lines = include_str!("../golden/leases/requests.jsonl").lines();
    let found = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|entry| entry["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no request is called {name}"));
    (found["op"].as_str().unwrap().to_owned(), found["request"].clone())
}

fn tape(layout: Layout) -> (Recorder, DynamoDbStore) {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    store.settle(layout);
    (recorder, store)
}

/// The first thing that was sent, without what the SDK draws at random.
fn first(recorder: &Recorder) -> (String, Value) {
    let (operation, mut body) = recorder.sent().into_iter().next().unwrap();
    body.as_object_mut().unwrap().remove("ClientRequestToken");
    (operation, canonical(&body))
}

#[track_caller]
fn equals(recorder: &Recorder, name: &str) {
    let (operation, java) = golden(name);
    assert_eq!(first(recorder), (operation, canonical(&java)), "{name}");
}

fn lock(owner: &str, version: &str) -> LockRow {
    LockRow { owner: worker(owner), lease_duration: Duration::from_secs(120), version: version.to_owned() }
}

fn load(name: &str, at: i64) -> WorkerRow {
    WorkerRow {
        worker: worker(name),
        last_update_seconds: Some(at),
        stats: BTreeMap::new(),
        operating_ranges: BTreeMap::new(),
        support_code: Some(1),
        support_update_seconds: Some(at),
    }
}

fn item(state: TableMigration, at: i64, history: &[(TableMigration, &str, i64)]) -> TableMigrationRow {
    let history = history.iter().map(|(state, by, at)| (*state, worker(by), EpochMillis(*at))).collect();
    TableMigrationRow { state, modified_by: worker(BY), modified_at: EpochMillis(at), history }
}

#[tokio::test]
async fn the_item_is_written_as_java_writes_it() {
    let (recorder, store) = tape(Layout::ThreeTables);
    assert_eq!(store.table_migration().await.unwrap(), None);
    equals(&recorder, "read table migration");
    let begun = item(Init, 1_795_258_262_519, &[(Init, BY, 1_795_258_262_518)]);
    assert!(store.create_table_migration(&begun).await.unwrap());
    equals(&recorder, "create table migration");
    // its time had been moved back by hand
    let begun = TableMigrationRow { modified_at: EpochMillis(1_795_251_062_519), ..begun };
    let deployed = begun.advanced(Deployed, &worker(BY), EpochMillis(1_795_258_413_158));
    assert!(store.change_table_migration(Init, &deployed).await.unwrap());
    equals(&recorder, "change table migration");
    assert!(store.delete_table_migration(Init).await.unwrap());
    let expected = json!({"TableName": "app-CoordinatorState", "Key": {"key": {"S": "TableMigration3.5"}},
        "ConditionExpression": "tm = :seen",
        "ExpressionAttributeValues": {":seen": {"S": "TABLE_MIGRATION_STATUS_INIT"}}});
    assert_eq!(first(&recorder), ("DeleteItem".to_owned(), expected));
}

#[tokio::test]
async fn lock_and_load_rows_go_to_the_old_tables_as_java_writes_them() {
    let (recorder, store) = tape(Layout::ThreeTables);
    let taken = lock(BY, "18bd924d-6680-42a2-9977-c8146b6c4995");
    assert!(store.take_lock(&taken, Some("daa62780-4a54-41c4-aef9-1569d98549a2")).await.unwrap());
    equals(&recorder, "take over the lock");
    let (_, java) = golden("beat the old lock");
    let text = |name: &str| java["ExpressionAttributeValues"][name]["S"].as_str().unwrap().to_owned();
    assert!(store.beat_lock(&lock(&text(":on"), &text(":rvn")), &text(":newRvn")).await.unwrap());
    equals(&recorder, "beat the old lock");
    assert!(store.release_lock(&lock("new351P2", "7e1cc0ce-1e01-44b5-a6fa-ab6f21063efd")).await.unwrap());
    equals(&recorder, "release the lock");
    store.put_worker(&load(BY, 1_795_257_723)).await.unwrap();
    equals(&recorder, "metric row in the old table");
    store.list().await.unwrap();
    let mut sent = recorder.sent();
    sent.retain(|(_, body)| body["TableName"] == "app-WorkerMetricStats");
    assert_eq!(sent, [golden("list old load rows")]);
}

#[tokio::test]
async fn the_old_tables_may_have_other_names() {
    let recorder = Recorder::default();
    let named = |name: &str| Some(name.to_owned());
    let settings =
        TableSettings { coordinator_table: named("state"), metrics_table: named("load"), ..Default::default() };
    let store = recorder.store(settings);
    store.settle(Layout::ThreeTables);
    store.has_legacy_tables().await.unwrap();
    store.lock().await.unwrap();
    store.put_worker(&load("a", 7)).await.unwrap();
    let tables: Vec<Value> = recorder.sent().into_iter().map(|(_, body)| body["TableName"].clone()).collect();
    assert_eq!(tables, ["state", "state", "load"]);
}

/// Rows of the old coordinator table as they were when KCL 3.5.1 moved them.
fn coordinator_rows(version: &Value) -> Value {
    json!({"Items": [
        {"key": {"S": "Leader"}, "ownerName": {"S": "new351P2"}, "leaseDuration": {"S": "120000"},
            "recordVersionNumber": {"S": "1"}, "entityType": {"S": "LEADER"}},
        {"key": {"S": "TableMigration3.5"}, "tm": {"S": "TABLE_MIGRATION_STATUS_DEPLOYED"}},
        version,
    ]})
}

#[tokio::test]
async fn items_are_moved_as_java_moves_them() {
    let (recorder, store) = tape(Layout::Moving);
    let (operation, java) = golden("move items");
    let mut version = java["TransactItems"][1]["Put"]["Item"].clone();
    let key = version.as_object_mut().unwrap().remove("leaseKey").unwrap();
    version["key"] = key;
    version.as_object_mut().unwrap().remove("entityType"); // 3.1.3 wrote none
    recorder.answer(200, coordinator_rows(&version));
    assert_eq!(store.move_items(&worker("new351P2")).await.unwrap(), Moved::All(1));
    let sent = recorder.sent();
    let operations: Vec<&str> = sent.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["Scan", "TransactWriteItems", "Scan"]);
    let (_, scan) = golden("list coordinator items");
    assert_eq!((&sent[0].1, &sent[2].1), (&scan, &scan));
    let mut transaction = sent[1].1.clone();
    assert!(transaction.as_object_mut().unwrap().remove("ClientRequestToken").is_some());
    assert_eq!((sent[1].0.clone(), canonical(&transaction)), (operation, canonical(&java)));
}

#[tokio::test]
async fn many_items_are_moved_in_batches() {
    let (recorder, store) = tape(Layout::Moving);
    let stream = |n: u32| json!({"key": {"S": format!("stream-{n}")}, "entityType": {"S": "STREAM"}});
    recorder.answer(200, json!({"Items": (0..60).map(stream).collect::<Vec<_>>()}));
    assert_eq!(store.move_items(&worker("a")).await.unwrap(), Moved::All(60));
    let sent = recorder.sent();
    let sizes = sent.iter().filter_map(|(_, body)| body["TransactItems"].as_array().map(Vec::len));
    assert_eq!(sizes.collect::<Vec<_>>(), [51, 51, 21]);
}

#[tokio::test]
async fn complete_is_written_as_java_writes_it() {
    let (recorder, store) = tape(Layout::Moving);
    let (operation, mut java) = golden("complete table migration");
    // Java stamps the two copies one after the other.
    java["TransactItems"][2]["Put"]["Item"]["mts"] = java["TransactItems"][1]["Put"]["Item"]["mts"].clone();
    let mut row = row_of(&java["TransactItems"][1]["Put"]["Item"]);
    row.remove("entityType");
    let row = table_migration(&row).unwrap();
    assert!(store.complete_table_migration(&row, &worker("new351P2")).await.unwrap());
    assert_eq!(first(&recorder), (operation, canonical(&java)));
}

#[tokio::test]
async fn a_transaction_whose_condition_failed_is_no_fault_and_one_in_conflict_is() {
    let (recorder, store) = tape(Layout::Moving);
    let row = item(Complete, 1, &[]);
    for (code, expected) in [("ConditionalCheckFailed", Some(false)), ("TransactionConflict", None)] {
        let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        let reasons = json!([{"Code": "None"}, {"Code": code}, {"Code": "None"}]);
        recorder.answer(400, json!({"__type": kind, "Message": "cancelled", "CancellationReasons": reasons}));
        let answer = store.complete_table_migration(&row, &worker("a")).await;
        assert!(answer.as_ref().err().is_none_or(|error| error.is_transient()), "{answer:?}");
        assert_eq!(answer.ok(), expected, "{code}");
    }
}

#[test]
fn every_item_java_wrote_is_read_and_written_again_unchanged() {
    let lines = include_str!("../golden/leases/rows.jsonl").lines();
    let rows = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].clone());
    let mut read = 0;
    for mut java in rows.filter(|row| row["entityType"]["S"] == "TABLE_MIGRATION") {
        if let Some(key) = java.as_object_mut().unwrap().remove("key") {
            java["leaseKey"] = key;
        }
        let row = table_migration(&row_of(&java)).unwrap();
        assert_eq!(canonical(&json_of(&table_migration_row(&row))), canonical(&java));
        read += 1;
    }
    assert_eq!(read, 7);
}

#[test]
fn an_unreadable_item_is_one_sentence() {
    let row = row_of(&json!({"leaseKey": {"S": "TableMigration3.5"}, "tm": {"S": "DONE"}, "mb": {"S": "a"},
        "mts": {"N": "1"}}));
    assert_eq!(
        table_migration(&row).unwrap_err().reason,
        "row `TableMigration3.5`: attribute `tm` is the text `DONE`, expected one of the four states, as \
         `TABLE_MIGRATION_STATUS_INIT`"
    );
}

#[test]
fn what_is_no_coordinator_item_stays_where_it_is() {
    let kind = |row: Value| match mover(row_of(&row)) {
        Mover::Stays => "stays",
        Mover::Goes(row) => {
            assert!(row.contains_key("entityType"));
            "goes"
        }
        Mover::Unknown(_) => "unknown",
    };
    let table = [
        (json!({"leaseKey": {"S": "Leader"}}), "stays"),
        (json!({"leaseKey": {"S": "TableMigration3.5"}}), "stays"),
        (json!({"leaseKey": {"S": "Migration3.0"}}), "goes"),
        (json!({"leaseKey": {"S": "stream"}, "entityType": {"S": "STREAM"}}), "goes"),
        (json!({"leaseKey": {"S": "stream"}, "entityType": {"S": "FUTURE"}}), "goes"),
        (json!({"leaseKey": {"S": "mine"}}), "unknown"),
        (json!({"id": {"S": "mine"}}), "unknown"),
    ];
    for (row, expected) in table {
        assert_eq!(kind(row.clone()), expected, "{row}");
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
    use super::*;
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
