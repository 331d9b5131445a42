//! The three tables of KCL 3.0-3.4: what is sent equals what KCL 3.5.1 sent, and rows come back as they were.

use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::migration::{MigrationStore, Moved, TableMigration, TableMigrationRow};
use multilangd::lease::place::Layout;
use multilangd::lease::row::migration::{Mover, mover, table_migration, table_migration_row};
use multilangd::lease::{LeaseStore, StateStore};
use multilangd::types::EpochMillis;
use serde_json::{Value, json};

use crate::old_claims::{load, lock};
use crate::support::{Recorder, canonical, json_of, row as row_of, worker};

use TableMigration::{Complete, Deployed, Init};

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
    let (operation, mut java) = golden("metric row in the old table");
    java["ReturnValues"] = json!("ALL_OLD"); // the row as it was, where Java asks for the row as it is
    assert_eq!(first(&recorder), (operation, canonical(&java)));
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
