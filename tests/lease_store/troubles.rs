//! What goes wrong becomes what the caller can do about it, in one sentence.

use std::error::Error;
use std::time::Duration;

use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::{HandoffKnown, LeaseStore, LeaseStoreError, StateStore, Written};
use multilangd::types::LeaseCounter;
use serde_json::{Value, json};

use crate::support::{Recorder, config, free, shard, worker};

fn said(error: &LeaseStoreError) -> String {
    let cause = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", cause.unwrap_or_default())
}

async fn get_refused(code: &str, message: &str) -> LeaseStoreError {
    let recorder = Recorder::default();
    recorder.refuse(code, message);
    recorder.store(TableSettings::default()).get(&shard(0)).await.unwrap_err()
}

#[tokio::test]
async fn refusals_for_load_are_throttling() {
    for code in ["ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"] {
        let error = get_refused(code, "slow down").await;
        assert!(matches!(&error, LeaseStoreError::Throttled { table, action: "GetItem" } if table == "app"), "{code}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn other_refusals_are_told_apart() {
    let denied = get_refused("AccessDeniedException", "User: x is not authorized").await;
    let sentence = "access denied to `dynamodb:GetItem` on table `app`; allow it in the worker's policy: the service \
                    answered `AccessDeniedException`: User: x is not authorized";
    assert_eq!(said(&denied), sentence);
    assert!(!denied.is_transient());
    let missing = get_refused("ResourceNotFoundException", "Requested resource not found").await;
    assert_eq!(said(&missing), "table `app` does not exist");
    let failed = get_refused("InternalServerError", "").await;
    assert_eq!(said(&failed), "`GetItem` on table `app` failed: the service answered `InternalServerError`");
    let stale = get_refused("UnrecognizedClientException", "The security token is invalid.").await;
    let sentence = "`GetItem` on table `app` failed: the service answered `UnrecognizedClientException`: The security \
                    token is invalid.";
    assert_eq!(said(&stale), sentence);
}

#[tokio::test]
async fn an_index_that_is_missing_or_being_built_is_told_from_a_missing_table() {
    let table = [
        ("ValidationException", "The table does not have the specified index: LeaseOwnerToLeaseKeyIndex", true),
        ("ValidationException", "Cannot read from backfilling global secondary index: LeaseOwnerToLeaseKeyIndex", true),
        ("ResourceNotFoundException", "Requested resource not found: Index not found", true),
        ("ResourceNotFoundException", "Requested resource not found", false),
    ];
    for (code, message, index) in table {
        let recorder = Recorder::default();
        recorder.refuse(code, message);
        let error = recorder.store(TableSettings::default()).owned_by(&worker("w")).await.unwrap_err();
        assert_eq!(matches!(error, LeaseStoreError::IndexMissing { .. }), index, "{message}");
        assert_eq!(matches!(error, LeaseStoreError::TableMissing { .. }), !index, "{message}");
    }
}

#[tokio::test]
async fn an_index_that_somebody_else_added_first_is_fine_and_a_forbidden_one_is_not() {
    let described = json!({"Table": {"TableStatus": "ACTIVE", "KeySchema": [{"AttributeName": "leaseKey",
        "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]}});
    let table = [
        ("ResourceInUseException", "Attempt to change a resource which is still in use", true),
        ("ValidationException", "Attempting to create an index which already exists", true),
        ("ValidationException", "something else", false),
        ("AccessDeniedException", "not authorized", false),
    ];
    for (code, message, fine) in table {
        let recorder = Recorder::default();
        recorder.answer(200, described.clone());
        recorder.refuse(code, message);
        let prepared = recorder.store(TableSettings::default()).prepare_index().await;
        assert_eq!(prepared.is_ok(), fine, "{code}: {message}");
    }
}

#[tokio::test]
async fn a_table_with_another_key_is_refused_in_one_sentence() {
    let table = [
        (&[("id", "S", "HASH"), ("at", "N", "RANGE")][..], "`id` S HASH, `at` N RANGE"),
        (&[("id", "S", "HASH")], "`id` S HASH"),
        (&[("leaseKey", "N", "HASH")], "`leaseKey` N HASH"),
        (&[("leaseKey", "S", "HASH"), ("at", "N", "RANGE")], "`leaseKey` S HASH, `at` N RANGE"),
        (&[("key", "S", "HASH")], "`key` S HASH"), // the coordinator's table of KCL 3.0 to 3.4
    ];
    for (parts, found) in table {
        let schema = |(name, _, kind): &(&str, &str, &str)| json!({"AttributeName": name, "KeyType": kind});
        let definition = |(name, kind, _): &(&str, &str, &str)| json!({"AttributeName": name, "AttributeType": kind});
        let schema: Vec<Value> = parts.iter().map(schema).collect();
        let definitions: Vec<Value> = parts.iter().map(definition).collect();
        let recorder = Recorder::default();
        let described = json!({"TableStatus": "ACTIVE", "KeySchema": schema, "AttributeDefinitions": definitions});
        recorder.answer(200, json!({"Table": described}));
        let error = recorder.store(TableSettings::default()).prepare().await.unwrap_err();
        let sentence =
            format!("table `app` has the key {found} instead of `leaseKey` S HASH, so it cannot hold leases");
        assert_eq!(said(&error), sentence);
        assert!(!error.is_transient());
        assert_eq!(recorder.sent().len(), 1, "nothing was changed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_never_gets_ready_is_given_up_after_ten_minutes() {
    let recorder = Recorder::default();
    let creating = json!({"Table": {"TableStatus": "CREATING", "KeySchema": [{"AttributeName": "leaseKey",
        "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]}});
    for _ in 0..700 {
        recorder.answer(200, creating.clone());
    }
    let began = tokio::time::Instant::now();
    let error = recorder.store(TableSettings::default()).prepare().await.unwrap_err();
    let sentence = "`DescribeTable` on table `app` failed: the table was not ready after 600s, it is CREATING";
    assert_eq!(said(&error), sentence);
    assert!((598..=600).contains(&began.elapsed().as_secs()));
}

#[tokio::test]
async fn recovery_that_is_refused_fails_the_start() {
    let recorder = Recorder::default();
    let settings = TableSettings { point_in_time_recovery: true, ..TableSettings::default() };
    recorder.answer(
        200,
        json!({"Table": {"TableStatus": "ACTIVE", "KeySchema": [{"AttributeName": "leaseKey",
        "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]}}),
    );
    recorder.refuse("UnknownOperationException", "");
    let error = recorder.store(settings).prepare().await.unwrap_err();
    let sentence = "`UpdateContinuousBackups` on table `app` failed: the service answered `UnknownOperationException`";
    assert_eq!(said(&error), sentence);
}

#[tokio::test]
async fn an_unreadable_lease_is_an_error_of_get_and_no_old_row_of_a_failed_write() {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    let broken = json!({"leaseKey": {"S": "s"}, "leaseCounter": {"S": "7"}});
    recorder.answer(200, json!({"Item": broken}));
    let error = store.get(&shard(0)).await.unwrap_err();
    assert_eq!(said(&error), "row `s`: attribute `leaseCounter` is the text `7`, expected a whole number");
    recorder.answer(400, json!({"__type": "ConditionalCheckFailedException", "Item": broken}));
    let written = store.renew(&shard(0), LeaseCounter(1), None, HandoffKnown::No).await.unwrap();
    assert_eq!(written, Written::No(None));
}

#[tokio::test]
async fn an_endpoint_that_nobody_listens_on_is_named_as_the_problem() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config().endpoint_url(format!("http://127.0.0.1:{port}")).build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let store = DynamoDbStore::new(client, "app".into(), "app".into(), TableSettings::default());
    let error = store.lock().await.unwrap_err();
    let text = said(&error);
    assert!(text.starts_with("`GetItem` on table `app` failed: the DynamoDB endpoint cannot be reached: "), "{text}");
    assert!(text.contains("onnection refused"), "{text}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_the_call_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts in the kernel, says nothing
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let client = aws_sdk_dynamodb::Client::from_conf(config().endpoint_url(endpoint).build());
    let store = DynamoDbStore::new(client, "app".into(), "app".into(), TableSettings::default());
    let store = store.with_call_timeout(Duration::from_millis(50));
    let error = store.take(&free(0), &worker("w")).await.unwrap_err();
    let sentence = "`UpdateItem` on table `app` failed: no answer within 50ms; check the network path to the DynamoDB \
                    endpoint";
    assert_eq!(said(&error), sentence);
}

#[tokio::test]
async fn absent_credentials_are_named_as_the_problem() {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
        .http_client(Recorder::default())
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let store = DynamoDbStore::new(client, "app".into(), "app".into(), TableSettings::default());
    let text = said(&store.list().await.unwrap_err());
    let start = "`Scan` on table `app` failed: the request was not sent, check credentials, region and endpoint: ";
    assert!(text.starts_with(start), "{text}");
}
