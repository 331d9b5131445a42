//! What is sent equals what the Java daemon sent: operation, key, conditions, changes, values.
//!
//! One difference is allowed: we may ask for the row in the answer (`ALL_NEW`, `ALL_OLD`) where Java does not, or asks
//! for another look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::{
    CheckpointWrite, ClientVersion, ClientVersionRow, HandoffKnown, Lease, LeaseStore, LockRow, StateStore, WorkerRow,
};
use multilangd::types::{Checkpoint, EpochMillis, HashKeyRange, LeaseCounter};
use serde_json::{Value, json};

use crate::support::{Recorder, canonical, free, shard, worker};

/// The recorded request, as it is to the lease table.
fn golden(name: &str) -> (String, Value) {
    let lines = include_str!("../golden/leases/requests.jsonl").lines();
    let found = lines.map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|entry| entry["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no request is called {name}"));
    let mut request = found["request"].clone();
    if request["TableName"] == "app-CoordinatorState" && found["op"] != "DescribeTable" {
        let text = request.to_string().replace("app-CoordinatorState", "app").replace(r#""key""#, r#""leaseKey""#);
        request = serde_json::from_str(&text).unwrap();
    }
    (found["op"].as_str().unwrap().to_owned(), request)
}

/// Takes out what we ask for in the answer and Java does not.
fn without_questions(mut ours: Value, java: &Value) -> Value {
    for (question, answer) in [("ReturnValues", "ALL_NEW"), ("ReturnValuesOnConditionCheckFailure", "ALL_OLD")] {
        if java.get(question).is_none()
            && let Some(asked) = ours.as_object_mut().unwrap().remove(question)
        {
            assert_eq!(asked, answer);
        }
    }
    if ours["ReturnValues"] == "ALL_OLD" && java["ReturnValues"] == "ALL_NEW" {
        ours["ReturnValues"] = json!("ALL_NEW"); // of a metric row
    }
    ours
}

/// The store that was driven by a test, and what it sent.
struct Sent {
    recorder: Recorder,
    store: DynamoDbStore,
}

impl Sent {
    fn new() -> Self {
        let recorder = Recorder::default();
        Self { store: recorder.store(TableSettings::default()), recorder }
    }

    fn equals(&self, name: &str) {
        let (operation, java) = golden(name);
        let sent = self.recorder.sent();
        assert_eq!(sent.len(), 1, "{name}");
        let (our_operation, ours) = sent.into_iter().next().unwrap();
        assert_eq!(our_operation, operation, "{name}");
        assert_eq!(canonical(&without_questions(ours, &java)), canonical(&java), "{name}");
    }
}

fn range(start: &str, end: &str) -> HashKeyRange {
    HashKeyRange { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

fn owned(number: u32, owner: &str, checkpoint_owner: Option<&str>, counter: i64) -> Lease {
    let (owner, checkpoint_owner) = (Some(worker(owner)), checkpoint_owner.map(worker));
    Lease { owner, checkpoint_owner, counter: LeaseCounter(counter), ..free(number) }
}

#[tokio::test]
async fn leases_are_created_and_read_as_java_does() {
    let sent = Sent::new();
    let lease = Lease { hash_range: Some(range("0", "113427455640312821154458202477256070484")), ..free(0) };
    assert!(sent.store.create(&lease).await.unwrap());
    sent.equals("create lease");
    let child = Lease {
        hash_range: Some(range("0", "85070591730234615865843651857942052863")),
        parents: BTreeSet::from([shard(0)]),
        ..free(2)
    };
    assert!(sent.store.create(&child).await.unwrap());
    sent.equals("create child");
    assert_eq!(sent.store.get(&shard(2)).await.unwrap(), None);
    sent.equals("get lease");
    assert_eq!(sent.store.get_now(&shard(2)).await.unwrap(), None);
    let [(operation, ours)] = &sent.recorder.sent()[..] else { panic!("one request") };
    assert_eq!((operation.as_str(), &ours["ConsistentRead"]), ("GetItem", &json!(true)));
    sent.store.list().await.unwrap();
    sent.equals("list");
    sent.store.owned_by(&worker("w2")).await.unwrap();
    sent.equals("my leases");
    sent.store.delete(&shard(0)).await.unwrap();
    sent.equals("delete lease");
}

#[tokio::test]
async fn leases_are_renewed_as_java_does() {
    let sent = Sent::new();
    sent.store.renew(&shard(0), LeaseCounter(13), None, HandoffKnown::No).await.unwrap();
    sent.equals("renew");
    sent.store.renew(&shard(2), LeaseCounter(234), Some(0.053_207_4), HandoffKnown::No).await.unwrap();
    sent.equals("renew with throughput");
    sent.store.renew(&shard(0), LeaseCounter(71), Some(0.068_187), HandoffKnown::Yes).await.unwrap();
    sent.equals("renew in a handoff");
    sent.store.renew(&shard(0), LeaseCounter(13), Some(f64::NAN), HandoffKnown::No).await.unwrap();
    sent.equals("renew");
}

#[tokio::test]
async fn checkpoints_are_written_as_java_does() {
    let sent = Sent::new();
    let place = "49680426532526477793572469147419025172906793841652138002";
    let ends = range("113427455640312821154458202477256070485", "226854911280625642308916404954512140969");
    let mut write = CheckpointWrite {
        shard: shard(1),
        seen: LeaseCounter(277),
        checkpoint: Checkpoint::parse(place, 0).unwrap(),
        hash_range: Some(ends),
        children: BTreeSet::new(),
        throughput_kbps: None,
    };
    sent.store.checkpoint(&write).await.unwrap();
    sent.equals("checkpoint");
    write = CheckpointWrite {
        shard: shard(0),
        seen: LeaseCounter(17),
        checkpoint: Checkpoint::ShardEnd,
        hash_range: Some(range("0", "170141183460469231731687303715884105726")),
        ..write
    };
    sent.store.checkpoint(&write).await.unwrap();
    sent.equals("checkpoint the end");
    sent.store.note_children(&shard(0), &BTreeSet::from([shard(2), shard(3)])).await.unwrap();
    sent.equals("note children");
}

#[tokio::test]
async fn owners_change_as_java_changes_them() {
    let sent = Sent::new(); // the recorder answers without the new row, so the results say nothing here
    let _ = sent.store.take(&free(2), &worker("f351")).await;
    sent.equals("take an ownerless lease");
    let _ = sent.store.take(&owned(0, "old254", None, 12), &worker("new351B")).await;
    sent.equals("take from another");
    let _ = sent.store.assign(&free(2), &worker("w1")).await;
    sent.equals("assign an ownerless lease");
    let _ = sent.store.assign(&owned(0, "r1", Some("w3"), 72), &worker("r1")).await;
    sent.equals("assign at the end of a handoff");
    let _ = sent.store.begin_handoff(&owned(0, "w3", None, 71), &worker("r1")).await;
    sent.equals("begin handoff");
    let _ = sent.store.evict(&owned(0, "r1", None, 97)).await;
    sent.equals("evict");
}

#[tokio::test]
async fn the_client_version_is_kept_as_java_keeps_it() {
    use ClientVersion::{Init, ThreeX, ThreeXWithRollback, UpgradeFrom2x};
    let sent = Sent::new();
    let first = ClientVersionRow {
        version: ThreeX,
        modified_by: worker("w1"),
        modified_at: EpochMillis(1_795_257_347_018),
        history: vec![(Init, worker("w1"), EpochMillis(1_795_257_347_016))],
    };
    assert!(sent.store.create_client_version(&first).await.unwrap());
    sent.equals("create client version");
    assert_eq!(sent.store.client_version().await.unwrap(), None);
    sent.equals("read client version");

    // Java changes both coordinator items by the same code; recorded was the other one.
    let (_, java) = golden("change table migration");
    let renamed = java.to_string().replace("TABLE_MIGRATION_STATUS_INIT", "CLIENT_VERSION_UPGRADE_FROM_2X");
    let renamed = renamed.replace("TABLE_MIGRATION_STATUS_DEPLOYED", "CLIENT_VERSION_3X_WITH_ROLLBACK");
    let renamed = renamed.replace("TableMigration3.5", "Migration3.0").replace(r#""tm""#, r#""cv""#);
    let author = || worker("new351C");
    let next = ClientVersionRow {
        version: ThreeXWithRollback,
        modified_by: author(),
        modified_at: EpochMillis(1_795_258_413_158),
        history: [1_795_251_062_519, 1_795_258_262_518].map(|at| (UpgradeFrom2x, author(), EpochMillis(at))).to_vec(),
    };
    assert!(sent.store.change_client_version(UpgradeFrom2x, &next).await.unwrap());
    let ours = sent.recorder.sent().pop().unwrap().1;
    assert_eq!(canonical(&ours), canonical(&serde_json::from_str(&renamed).unwrap()));
}

#[tokio::test]
async fn the_leader_lock_is_handled_as_java_handles_it() {
    let sent = Sent::new();
    let lock = |owner: &str, version: &str| LockRow {
        owner: worker(owner),
        lease_duration: Duration::from_secs(120),
        version: version.to_owned(),
    };
    assert_eq!(sent.store.lock().await.unwrap(), None);
    sent.equals("look at the lock");
    let mine = lock("w1", "f802ec36-9121-49bf-ac43-0cadf0df71c1");
    assert!(sent.store.take_lock(&mine, None).await.unwrap());
    sent.equals("take the free lock");
    let taken = lock("new351C", "18bd924d-6680-42a2-9977-c8146b6c4995");
    assert!(sent.store.take_lock(&taken, Some("daa62780-4a54-41c4-aef9-1569d98549a2")).await.unwrap());
    sent.equals("take over the lock");
    let held = lock("w1", "7cae6d46-f104-4718-975a-4d22e44c84ba");
    assert!(sent.store.beat_lock(&held, "903197a6-77d5-4a20-9c63-2821b23addd3").await.unwrap());
    sent.equals("beat the lock");
    let held = lock("new351P2", "7e1cc0ce-1e01-44b5-a6fa-ab6f21063efd");
    assert!(sent.store.release_lock(&held).await.unwrap());
    sent.equals("release the lock");
}

#[tokio::test]
async fn metric_rows_are_written_as_java_writes_them() {
    let sent = Sent::new();
    let row = |name: &str, at, stats: &[f64], ranges: &[f64]| {
        let metric = |values: &[f64]| match values {
            [] => BTreeMap::new(),
            values => BTreeMap::from([("C".to_owned(), values.to_vec())]),
        };
        WorkerRow {
            worker: worker(name),
            last_update_seconds: Some(at),
            stats: metric(stats),
            operating_ranges: metric(ranges),
            support_code: Some(1),
            support_update_seconds: Some(at),
        }
    };
    sent.store.put_worker(&row("w1", 1_795_257_509, &[], &[])).await.unwrap();
    sent.equals("metric row");
    sent.store.put_worker(&row("g1", 1_795_259_150, &[50.0, 50.0], &[100.0])).await.unwrap();
    sent.equals("metric row with cpu");
    assert!(sent.store.delete_worker(&worker("r1"), 1_795_259_355).await.unwrap());
    sent.equals("drop metric row");
}

#[tokio::test]
async fn the_old_tables_are_looked_for_and_never_made() {
    let sent = Sent::new();
    assert!(sent.store.has_legacy_tables().await.unwrap());
    sent.equals("legacy tables");
    sent.recorder.refuse("ResourceNotFoundException", "Cannot do operations on a non-existent table");
    assert!(!sent.store.has_legacy_tables().await.unwrap());
    sent.equals("legacy tables");
}

fn table(status: &str, indexes: &[&str]) -> Value {
    let indexes: Vec<Value> = indexes.iter().map(|name| json!({"IndexName": name})).collect();
    json!({"Table": {"TableName": "app", "TableStatus": status, "GlobalSecondaryIndexes": indexes,
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}]}})
}

fn operations(sent: &[(String, Value)]) -> Vec<&str> {
    sent.iter().map(|(operation, _)| operation.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_new_table_is_made_protected_and_indexed_as_java_does() {
    let recorder = Recorder::default();
    let settings =
        TableSettings { deletion_protection: true, point_in_time_recovery: true, ..TableSettings::default() };
    let store = recorder.store(settings);
    recorder.refuse("ResourceNotFoundException", "no such table");
    recorder.answer(200, json!({}));
    recorder.answer(200, table("CREATING", &[]));
    recorder.answer(200, table("ACTIVE", &[]));
    store.prepare().await.unwrap();
    recorder.answer(200, table("ACTIVE", &[]));
    store.prepare_index().await.unwrap();
    let sent = recorder.sent();
    let expected = ["DescribeTable", "CreateTable", "DescribeTable", "DescribeTable", "UpdateContinuousBackups"];
    assert_eq!(operations(&sent), [expected.as_slice(), &["DescribeTable", "UpdateTable"]].concat());
    for (index, name) in [(1, "create protected table"), (4, "recovery"), (6, "create index")] {
        assert_eq!(canonical(&sent[index].1), canonical(&golden(name).1), "{name}");
    }
}

#[tokio::test]
async fn a_table_without_protection_is_made_as_java_does() {
    let recorder = Recorder::default();
    recorder.refuse("ResourceNotFoundException", "no such table");
    recorder.refuse("ResourceInUseException", "somebody else is making it");
    recorder.answer(200, table("ACTIVE", &[]));
    let store = recorder.store(TableSettings::default());
    store.prepare().await.unwrap();
    recorder.answer(200, table("ACTIVE", &[]));
    recorder.refuse("LimitExceededException", "somebody else is adding an index");
    store.prepare_index().await.unwrap();
    assert_eq!(canonical(&recorder.sent()[1].1), canonical(&golden("create table").1));
}

#[tokio::test]
async fn nothing_is_asked_for_that_exists() {
    for status in ["ACTIVE", "UPDATING"] {
        let recorder = Recorder::default();
        recorder.answer(200, table(status, &["Other", "LeaseOwnerToLeaseKeyIndex"]));
        let store = recorder.store(TableSettings::default());
        store.prepare().await.unwrap();
        assert_eq!(operations(&recorder.sent()), ["DescribeTable"]);
        recorder.answer(200, table(status, &["Other", "LeaseOwnerToLeaseKeyIndex"]));
        store.prepare_index().await.unwrap();
        assert_eq!(operations(&recorder.sent()), ["DescribeTable"]);
    }
}

#[tokio::test]
async fn a_scan_reads_all_pages_of_all_segments() {
    let recorder = Recorder::default();
    let settings = TableSettings { scan_segments: Some(2), ..TableSettings::default() };
    recorder.answer(200, json!({"Items": [], "LastEvaluatedKey": {"leaseKey": {"S": "shardId-1"}}}));
    recorder.store(settings).list().await.unwrap();
    let sent: BTreeSet<String> = recorder.sent().into_iter().map(|(_, body)| body.to_string()).collect();
    let page = |segment: u32| json!({"TableName": "app", "Segment": segment, "TotalSegments": 2});
    let mut next = page(0);
    next["ExclusiveStartKey"] = json!({"leaseKey": {"S": "shardId-1"}});
    assert_eq!(sent, [page(0), page(1), next].map(|body| body.to_string()).into());
}

#[tokio::test]
async fn a_scan_is_cut_into_segments_by_the_size_that_the_start_has_heard() {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    let mut described = table("ACTIVE", &[]);
    described["Table"]["TableSizeBytes"] = json!(500_000_000);
    recorder.answer(200, described);
    store.prepare().await.unwrap();
    recorder.sent();
    store.list().await.unwrap();
    let sent: Vec<_> = recorder.sent().into_iter().map(|(_, body)| body["TotalSegments"].clone()).collect();
    assert_eq!(sent, [json!(3), json!(3), json!(3)], "and nothing is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_size_that_cannot_be_asked_for_is_no_error_and_is_not_asked_for_all_the_time() {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    recorder.answer(200, table("ACTIVE", &[]));
    store.prepare().await.unwrap();
    tokio::time::advance(Duration::from_secs(2 * 3600)).await;
    recorder.sent();
    recorder.refuse("AccessDeniedException", "no");
    for expected in [&["DescribeTable", "Scan"][..], &["Scan"]] {
        store.list().await.unwrap();
        assert_eq!(operations(&recorder.sent()), expected);
    }
}
