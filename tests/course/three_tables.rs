//! An application made by KCL 3.1.3: worked in its three tables, then moved into one.
//!
//! The rows are those of the capture: what 3.1.3 wrote, without `entityType`, and its lock, since it died. Only the
//! times are older, so that they are past on every machine.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use multilangd::lease::LeaseStore;
use multilangd::lease::row::Row;

use super::{Course, FAILOVER};

const OLD: &str = "old313";
const COORDINATOR: &str = "course-CoordinatorState";
const METRICS: &str = "course-WorkerMetricStats";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: &str) -> AttributeValue {
    AttributeValue::N(value.to_owned())
}

fn row(attributes: &[(&str, AttributeValue)]) -> Row {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn lease(shard: &str, start: &str, end: &str) -> Row {
    row(&[
        ("leaseKey", text(shard)),
        ("leaseCounter", number("32")),
        ("checkpoint", text("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", number("0")),
        ("ownerSwitchesSinceCheckpoint", number("0")),
        ("leaseOwner", text(OLD)),
        ("throughputKBps", number("0.025979")),
        ("startingHashKey", text(start)),
        ("endingHashKey", text(end)),
    ])
}

async fn make(client: &Client, table: &str, key: &str, rows: Vec<Row>) {
    let part = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash).build().unwrap();
    let kind = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
    let call = client.create_table().table_name(table).key_schema(part).billing_mode(BillingMode::PayPerRequest);
    call.attribute_definitions(kind.build().unwrap()).send().await.unwrap();
    for row in rows {
        client.put_item().table_name(table).set_item(Some(row)).send().await.unwrap();
    }
}

/// The tables as a 3.1.3 that was killed leaves them.
async fn left_by_313(client: &Client) {
    let half = "170141183460469231731687303715884105727";
    let leases = vec![
        lease("shardId-000000000000", "0", "170141183460469231731687303715884105726"),
        lease("shardId-000000000001", half, "340282366920938463463374607431768211455"),
    ];
    make(client, "course", "leaseKey", leases).await;
    let earlier = AttributeValue::M(row(&[
        ("cv", text("CLIENT_VERSION_INIT")),
        ("mb", text(OLD)),
        ("mts", number("1795257585807")),
    ]));
    let version = row(&[
        ("key", text("Migration3.0")),
        ("cv", text("CLIENT_VERSION_3X")),
        ("mb", text(OLD)),
        ("mts", number("1795257585808")),
        ("h", AttributeValue::L(vec![earlier])),
    ]);
    let lock = row(&[
        ("key", text("Leader")),
        ("ownerName", text(OLD)),
        ("recordVersionNumber", text("f39d2b46-33a1-44b8-8181-bc630df1e2a9")),
        ("leaseDuration", text("120000")),
    ]);
    make(client, COORDINATOR, "key", vec![version, lock]).await;
    let empty = || AttributeValue::M(Row::new());
    let load = row(&[("wid", text(OLD)), ("lut", number("1700000000")), ("sts", empty()), ("opr", empty())]);
    make(client, METRICS, "wid", vec![load]).await;
}

/// The rows of a table by key.
async fn rows(client: &Client, table: &str, key: &str) -> BTreeMap<String, Row> {
    let found = client.scan().table_name(table).consistent_read(true).send().await.unwrap();
    found.items.unwrap().into_iter().map(|row| (row[key].as_s().unwrap().clone(), row)).collect()
}

async fn get(client: &Client, key: &str, attribute: &str) -> Option<String> {
    rows(client, COORDINATOR, "key").await.get(key)?.get(attribute)?.as_s().ok().cloned()
}

/// Sets an attribute of the item that tells of the move: what takes hours and days is done by hand.
async fn set(client: &Client, attribute: &str, value: AttributeValue) {
    let call = client.update_item().table_name(COORDINATOR).key("key", text("TableMigration3.5"));
    let call = call.update_expression("SET #a = :v").expression_attribute_names("#a", attribute);
    call.expression_attribute_values(":v", value).send().await.unwrap();
}

async fn others(client: &Client) -> Vec<String> {
    rows(client, "course", "leaseKey").await.into_keys().filter(|key| !key.starts_with("shardId-")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_of_kcl_3_1_is_worked_in_three_tables_and_then_moves_into_one() {
    let mut course = Course::begin("POLLING").await;
    let client = course.store.client().clone();
    left_by_313(&client).await;
    course.put(200).await;

    let mut a = course.worker("a");
    let took = a.until("the leases of the dead 3.1.3 are read", async || course.all_checkpointed().await).await;
    assert!(took < FAILOVER * 2 + std::time::Duration::from_secs(4), "they were taken over after {took:?}");
    assert_eq!(others(&client).await, [""; 0], "the lease table gets nothing but leases");
    let loads = rows(&client, METRICS, "wid").await;
    assert_eq!(loads.keys().collect::<Vec<_>>(), ["a"], "the row of the dead goes with its last lease");
    assert_eq!(loads["a"]["sup"], number("1"));
    assert!(loads["a"].contains_key("slu") && loads["a"]["entityType"] == text("WORKER_METRIC_STATS"));
    assert_eq!(get(&client, "Leader", "ownerName").await.as_deref(), Some(OLD), "its lock is waited for");

    client.delete_item().table_name(COORDINATOR).key("key", text("Leader")).send().await.unwrap();
    let state = async || get(&client, "TableMigration3.5", "tm").await;
    a.until("phase 1 has begun", async || state().await.as_deref() == Some("TABLE_MIGRATION_STATUS_INIT")).await;
    assert_eq!(get(&client, "Leader", "entityType").await.as_deref(), Some("LEADER"));
    assert_eq!(get(&client, "Leader", "ownerName").await.as_deref(), Some("a"));
    let a = a.stop().await;
    assert_eq!(rows(&client, METRICS, "wid").await.into_keys().collect::<Vec<_>>(), [""; 0]);

    set(&client, "tm", text("TABLE_MIGRATION_STATUS_DEPLOYED")).await; // an hour later
    let mut b = course.worker_with("b", "migrateAllEntitiesToLeaseTable = true\n");
    course.put(200).await;
    b.until("phase 2 has begun", async || state().await.as_deref() == Some("TABLE_MIGRATION_STATUS_PENDING")).await;
    assert_eq!(others(&client).await, ["Migration3.0", "b"]);
    let moved = rows(&client, COORDINATOR, "key").await;
    assert_eq!(moved.keys().collect::<Vec<_>>(), ["Leader", "TableMigration3.5"]);
    set(&client, "mts", number("1700000000000")).await; // days later
    b.until("all is in one table", async || others(&client).await.contains(&"Leader".to_owned())).await;
    assert_eq!(others(&client).await, ["Leader", "Migration3.0", "TableMigration3.5", "b"]);
    assert_eq!(state().await.as_deref(), Some("TABLE_MIGRATION_STATUS_COMPLETE"));
    assert_eq!(get(&client, "Leader", "ownerName").await, None, "the old lock is given back");
    b.until("all is read", async || course.all_checkpointed().await).await;
    let b = b.stop().await;
    assert_eq!(course.store.list().await.unwrap().unreadable, []);

    let mut c = course.worker("c");
    course.put(200).await;
    c.until("a worker that comes later reads on", async || course.all_checkpointed().await).await;
    let c = c.stop().await;
    assert_eq!(others(&client).await, ["Migration3.0", "TableMigration3.5"]);
    assert_eq!(rows(&client, METRICS, "wid").await.into_keys().collect::<Vec<_>>(), [""; 0]);
    course.assert_everything_was_delivered(&[&a, &b, &c]);
    course.backend.stop().await;
}
