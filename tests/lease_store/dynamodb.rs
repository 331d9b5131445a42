//! The claims against a DynamoDB in this process, and what only a real table shows.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::{Lease, LeaseStore, LeaseStoreError};
use tokio::net::TcpListener;

use crate::support::{config, free, shard, worker};

crate::claims::claims!(fresh().await);

/// A store on an empty server; the server lives as long as the test's runtime.
async fn unprepared(settings: TableSettings) -> DynamoDbStore {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the server ends with the test")]
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let client = aws_sdk_dynamodb::Client::from_conf(config().endpoint_url(endpoint).build());
    DynamoDbStore::new(client, "app".into(), "app".into(), settings)
}

async fn fresh() -> DynamoDbStore {
    let store = unprepared(TableSettings::default()).await;
    store.prepare().await.unwrap();
    store.prepare_index().await.unwrap();
    while let Err(LeaseStoreError::IndexMissing { .. }) = store.owned_by(&worker("nobody")).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store
}

/// A store on fresh tables as KCL 3.0-3.4 makes them.
pub(crate) async fn with_old_tables() -> DynamoDbStore {
    let store = fresh().await;
    for (table, key) in [("app-CoordinatorState", "key"), ("app-WorkerMetricStats", "wid")] {
        let part = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash).build().unwrap();
        let kind = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
        let call = store.client().create_table().table_name(table).key_schema(part);
        let call = call.attribute_definitions(kind.build().unwrap()).billing_mode(BillingMode::PayPerRequest);
        call.send().await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_table_may_be_prepared_again_and_by_many() {
    let store = unprepared(TableSettings { deletion_protection: true, ..TableSettings::default() }).await;
    for _ in 0..2 {
        let (first, second) = tokio::join!(store.prepare(), store.prepare());
        first.unwrap();
        second.unwrap();
        let (first, second) = tokio::join!(store.prepare_index(), store.prepare_index());
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(store.list().await.unwrap().leases, []);
}

#[tokio::test]
async fn an_absent_table_is_missing() {
    let store = unprepared(TableSettings::default()).await;
    for error in [
        store.list().await.map(|_| ()).unwrap_err(),
        store.get(&shard(1)).await.map(|_| ()).unwrap_err(),
        store.create(&free(1)).await.map(|_| ()).unwrap_err(),
        store.take(&free(1), &worker("a")).await.map(|_| ()).unwrap_err(),
        store.owned_by(&worker("a")).await.map(|_| ()).unwrap_err(),
        store.delete(&shard(1)).await.unwrap_err(),
    ] {
        assert!(matches!(error, LeaseStoreError::TableMissing { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_scan_of_more_than_one_page_brings_every_lease_once() {
    let store = fresh().await;
    let long = worker(&"x".repeat(2_000)); // 700 rows of 2 KB do not fit one page of 1 MB
    for number in 0..700 {
        store.create(&Lease { owner: Some(long.clone()), ..free(number) }).await.unwrap();
    }
    let settings = TableSettings { scan_segments: Some(4), ..TableSettings::default() };
    let in_segments = DynamoDbStore::new(store.client().clone(), "app".into(), "app".into(), settings);
    for store in [store, in_segments] {
        let leases = store.list().await.unwrap().leases;
        let shards: BTreeSet<_> = leases.iter().map(|lease| lease.shard.clone()).collect();
        assert_eq!((leases.len(), shards.len()), (700, 700));
        assert_eq!(store.owned_by(&long).await.unwrap().len(), 700);
    }
}
