//! Writes of leases on the short way: what is sent, what comes of it, and how often it is tried are as through the SDK.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use multilangd::config::TableSettings;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::{CheckpointWrite, HandoffKnown, Lease, LeaseStore, Written};
use multilangd::types::{Checkpoint, HashKeyRange, LeaseCounter};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Recorder, canonical, free, shard, worker};

/// A renewal as far as anybody can see it: its requests, how many went through the SDK, and the result.
type Seen = (Vec<(String, Value)>, usize, String);

async fn renewed(recorder: &Recorder, store: &DynamoDbStore) -> Seen {
    let (_, _) = (recorder.sent(), recorder.through_sdk());
    let result = store.renew(&shard(0), LeaseCounter(7), Some(1.5), HandoffKnown::No).await;
    (recorder.sent(), recorder.through_sdk(), format!("{result:?}"))
}

/// The same answers for a first renewal, which goes through the SDK, and for one on the short way.
async fn both_ways(answers: &[(u16, Value)]) -> (Seen, Seen) {
    let (first, second) = (Recorder::default(), Recorder::default());
    let store = |recorder: &Recorder| recorder.store_trying(RetryConfig::standard(), TableSettings::default());
    let (unknown, known) = (store(&first), store(&second));
    renewed(&second, &known).await;
    for (status, body) in answers {
        first.answer(*status, body.clone());
        second.answer(*status, body.clone());
    }
    (renewed(&first, &unknown).await, renewed(&second, &known).await)
}

fn refusal(code: &str) -> (u16, Value) {
    (400, json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "no"}))
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_the_same_on_both_ways_whatever_is_answered() {
    let row =
        json!({"leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "8"}, "checkpoint": {"S": "LATEST"}});
    let changed = (400, json!({"__type": "ConditionalCheckFailedException", "Item": row}));
    let broken = (500, json!({"__type": "InternalServerError"}));
    let good = (200, json!({}));
    let throttled = refusal("ProvisionedThroughputExceededException");
    let table = [
        // answers                                                          requests
        (vec![good.clone()], 1),
        (vec![changed.clone()], 1),
        (vec![refusal("ConditionalCheckFailedException")], 1),
        (vec![refusal("AccessDeniedException")], 1),
        (vec![refusal("ResourceNotFoundException")], 1),
        (vec![refusal("UnrecognizedClientException")], 1),
        (vec![throttled.clone(), good.clone()], 2),
        (vec![broken.clone(), good.clone()], 2),
        (vec![broken.clone(), changed], 2), // the first one took effect
        (vec![throttled.clone(), throttled.clone(), throttled.clone(), throttled], 3),
        (vec![broken.clone(), broken.clone(), broken.clone(), broken], 3),
    ];
    for (answers, requests) in table {
        let (sdk, short) = both_ways(&answers).await;
        assert_eq!((sdk.0.len(), sdk.1), (requests, requests), "{answers:?}");
        assert_eq!((&short.0, &short.2), (&sdk.0, &sdk.2), "{answers:?}");
        assert_eq!(short.1, requests - 1, "the first on the short way, {answers:?}");
    }
}

#[tokio::test]
async fn a_refusal_leads_back_to_the_sdk_and_the_next_success_to_the_short_way() {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    let mut ways = Vec::new();
    for code in [None, None, Some("ConditionalCheckFailedException"), None, None] {
        if let Some(code) = code {
            recorder.refuse(code, "");
        }
        ways.push(renewed(&recorder, &store).await.1);
    }
    assert_eq!(ways, [1, 0, 0, 1, 0]);
}

#[tokio::test]
async fn the_row_in_an_answer_is_read_on_the_short_way() {
    let recorder = Recorder::default();
    let store = recorder.store(TableSettings::default());
    renewed(&recorder, &store).await;
    let row = json!({"leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "8"}, "leaseOwner": {"S": "w"},
        "ownerSwitchesSinceCheckpoint": {"N": "0"}, "checkpointSubSequenceNumber": {"N": "0"},
        "checkpoint": {"S": "LATEST"}});
    recorder.answer(200, json!({"Attributes": row}));
    let seen = free(0);
    let Written::Yes(lease) = store.take(&seen, &worker("w")).await.unwrap() else { panic!("refused") };
    assert_eq!((lease.counter, recorder.through_sdk()), (LeaseCounter(8), 0));
}

/// One write of each kind, with these names and numbers in it.
async fn all_writes(store: &DynamoDbStore, name: &str, number: i64, kbps: f64) {
    let seen = Lease {
        owner: Some(worker(name)),
        checkpoint_owner: Some(worker("it")),
        counter: LeaseCounter(number),
        ..free(1)
    };
    let unowned = Lease { owner: None, checkpoint_owner: None, ..seen.clone() };
    let owned = Lease { checkpoint_owner: None, ..seen.clone() };
    let mut write = CheckpointWrite {
        shard: multilangd::types::ShardId::new(name),
        seen: seen.counter,
        checkpoint: Checkpoint::parse("49590338271490256608559692538361571095921575989136588898", 3).unwrap(),
        hash_range: Some(HashKeyRange { start: 0, end: u128::MAX }),
        children: BTreeSet::from([shard(7), multilangd::types::ShardId::new(name)]),
        throughput_kbps: Some(kbps),
    };
    store.checkpoint(&write).await.unwrap();
    write = CheckpointWrite { hash_range: None, children: BTreeSet::new(), checkpoint: Checkpoint::ShardEnd, ..write };
    store.checkpoint(&write).await.unwrap();
    for handoff in [HandoffKnown::No, HandoffKnown::Yes] {
        store.renew(&write.shard, seen.counter, Some(kbps), handoff).await.unwrap();
        store.renew(&write.shard, seen.counter, None, handoff).await.unwrap();
    }
    for lease in [&seen, &owned, &unowned] {
        // the answers have no row, which is an error of each
        store.take(lease, &worker(name)).await.unwrap_err();
        store.assign(lease, &worker(name)).await.unwrap_err();
        store.evict(lease).await.unwrap_err();
    }
    store.begin_handoff(&owned, &worker("next")).await.unwrap_err();
}

fn every_write_is_the_same_on_both_ways(name: &str, number: i64, kbps: f64) {
    let work = async {
        let (sdk, short) = (Recorder::default(), Recorder::default());
        // a client that tries in an adaptive way gives no short way
        all_writes(&sdk.store_trying(RetryConfig::adaptive(), TableSettings::default()), name, number, kbps).await;
        let store = short.store(TableSettings::default());
        renewed(&short, &store).await;
        all_writes(&store, name, number, kbps).await;
        assert_eq!((sdk.through_sdk(), short.through_sdk()), (16, 0));
        let sent = |recorder: &Recorder| recorder.sent().iter().map(|(_, body)| canonical(body)).collect::<Vec<_>>();
        assert_eq!(sent(&short), sent(&sdk));
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_write_is_the_same_on_both_ways_whatever_is_in_it(
        name in "(\\PC|[\"\\\\\n\u{0}\u{7f}\u{2028}é😀]){1,20}",
        number in 0..i64::MAX,
        kbps in 0.0..1e9,
    ) {
        every_write_is_the_same_on_both_ways(&name, number, kbps);
    }
}
