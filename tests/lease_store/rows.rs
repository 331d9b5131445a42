//! Rows to values and back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use multilangd::lease::row::attribute::number_text;
use multilangd::lease::row::{self, Entity, KEY, Row, fleet};
use multilangd::lease::{ClientVersion, ClientVersionRow, Lease, LockRow, WorkerRow};
use multilangd::types::{Checkpoint, EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{canonical, json_of, row as row_of};

/// What is needed to place a row of the old tables: their key is `key` or `wid`, and 3.0-3.4 wrote no `entityType`.
fn as_in_the_lease_table(table: &str, mut row: Value) -> Value {
    let map = row.as_object_mut().unwrap();
    for old in ["key", "wid"] {
        if let Some(key) = map.remove(old) {
            map.insert(KEY.to_owned(), key);
        }
    }
    let kind = match (table, map[KEY]["S"].as_str().unwrap()) {
        (_, "Leader") => "LEADER",
        (_, "Migration3.0") => "CLIENT_VERSION_MIGRATION",
        (_, "TableMigration3.5") => "TABLE_MIGRATION",
        ("-WorkerMetricStats", _) => "WORKER_METRIC_STATS",
        _ => "LEASE",
    };
    map.entry("entityType").or_insert(json!({"S": kind}));
    row
}

fn worker_row(worker: &WorkerRow) -> Row {
    let mut row: Row = fleet::worker_attributes(worker).into_iter().map(|(name, value)| (name.into(), value)).collect();
    row.insert(KEY.to_owned(), AttributeValue::S(worker.worker.as_str().to_owned()));
    row
}

#[test]
fn every_row_java_wrote_is_read_and_written_again_unchanged() {
    let mut kinds = BTreeMap::new();
    for line in include_str!("../golden/leases/rows.jsonl").lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let java = as_in_the_lease_table(golden["table"].as_str().unwrap(), golden["row"].clone());
        let (kind, ours) = match row::read(&row_of(&java)).unwrap() {
            Entity::Lease(lease) => ("lease", row::lease_row(&lease)),
            Entity::Worker(worker) => ("worker", worker_row(&worker)),
            Entity::Lock(lock) => ("lock", fleet::lock_row(&lock)),
            Entity::ClientVersion(version) => ("client version", fleet::client_version_row(&version)),
            Entity::Known => ("known", row_of(&java)),
        };
        assert_eq!(canonical(&json_of(&ours)), canonical(&java));
        *kinds.entry(kind).or_insert(0) += 1;
    }
    let expected = [("client version", 7), ("known", 7), ("lease", 184), ("lock", 29), ("worker", 48)];
    assert_eq!(kinds, BTreeMap::from(expected), "275 rows in all");
}

#[test]
fn rows_without_entity_type_are_told_apart_by_their_key() {
    for line in include_str!("../golden/leases/rows.jsonl").lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        if golden["table"] == "-WorkerMetricStats" || golden["row"]["entityType"]["S"] == "WORKER_METRIC_STATS" {
            continue; // the one kind whose key says nothing
        }
        let marked = as_in_the_lease_table("", golden["row"].clone());
        let mut bare = marked.clone();
        bare.as_object_mut().unwrap().remove("entityType");
        assert_eq!(row::read(&row_of(&bare)), row::read(&row_of(&marked)), "{bare}");
    }
}

fn good() -> Value {
    json!({
        "leaseKey": {"S": "shardId-1"}, "leaseCounter": {"N": "7"}, "checkpoint": {"S": "TRIM_HORIZON"},
        "checkpointSubSequenceNumber": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
    })
}

fn with(mut row: Value, name: &str, value: Value) -> Value {
    row[name] = value;
    row
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_cannot_be_read_is_one_sentence_and_the_scan_goes_on() {
    let lost = |name: &str| {
        let mut row = good();
        row.as_object_mut().unwrap().remove(name);
        row
    };
    let lock = json!({"leaseKey": {"S": "Leader"}, "ownerName": {"S": "w"}, "recordVersionNumber": {"S": "v"},
        "leaseDuration": {"N": "120000"}});
    let version = json!({"leaseKey": {"S": "Migration3.0"}, "cv": {"S": "CLIENT_VERSION_9X"}, "mb": {"S": "w"},
        "mts": {"N": "1"}});
    let worker = json!({"leaseKey": {"S": "w"}, "entityType": {"S": "WORKER_METRIC_STATS"},
        "sts": {"M": {"C": {"L": [{"S": "1"}]}}}});
    let table = [
        (
            with(good(), "leaseCounter", json!({"N": "1.5"})),
            "row `shardId-1`: attribute `leaseCounter` is the number `1.5`, expected a whole number",
        ),
        (
            with(good(), "leaseCounter", json!({"S": "7"})),
            "row `shardId-1`: attribute `leaseCounter` is the text `7`, expected a whole number",
        ),
        (
            lost("ownerSwitchesSinceCheckpoint"),
            "row `shardId-1`: attribute `ownerSwitchesSinceCheckpoint` is absent, expected a whole number",
        ),
        (
            with(good(), "checkpoint", json!({"S": "soon"})),
            "row `shardId-1`: attribute `checkpoint` is the text `soon`, expected decimal digits, AT_TIMESTAMP, \
             TRIM_HORIZON, LATEST or SHARD_END",
        ),
        (
            with(good(), "checkpointSubSequenceNumber", json!({"N": "-1"})),
            "row `shardId-1`: attribute `checkpointSubSequenceNumber` is the number `-1`, expected a whole number from 0",
        ),
        (
            with(good(), "leaseOwner", json!({"NULL": true})),
            "row `shardId-1`: attribute `leaseOwner` is null, expected a text",
        ),
        (
            with(good(), "parentShardId", json!({"L": []})),
            "row `shardId-1`: attribute `parentShardId` is a list, expected a set of texts",
        ),
        (
            with(with(good(), "startingHashKey", json!({"S": "-4"})), "endingHashKey", json!({"S": "9"})),
            "row `shardId-1`: attribute `startingHashKey` is the text `-4`, expected a decimal number below 2^128",
        ),
        (
            with(good(), "throughputKBps", json!({"S": "fast"})),
            "row `shardId-1`: attribute `throughputKBps` is the text `fast`, expected a number",
        ),
        (
            with(good(), "entityType", json!({"S": "SNAPSHOT"})),
            "row `shardId-1`: attribute `entityType` is the text `SNAPSHOT`, expected LEASE, LEADER, \
             CLIENT_VERSION_MIGRATION, TABLE_MIGRATION, STREAM or WORKER_METRIC_STATS",
        ),
        (lock, "row `Leader`: attribute `leaseDuration` is the number `120000`, expected a text"),
        (
            version,
            "row `Migration3.0`: attribute `cv` is the text `CLIENT_VERSION_9X`, expected one of the five client \
             versions, as `CLIENT_VERSION_3X`",
        ),
        (worker, "row `w`: attribute `sts` is a map, expected a map from metric name to a list of numbers"),
        (json!({"id": {"S": "x"}}), "row ``: attribute `leaseKey` is absent, expected a text"),
    ];
    let rows: Vec<Row> = table.iter().map(|(row, _)| row_of(row)).chain([row_of(&good())]).collect();
    let found = row::collect(&rows);
    let said: Vec<&str> = found.unreadable.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(said, table.map(|(_, sentence)| sentence));
    assert_eq!(found.leases.len(), 1, "the good one after all the bad ones");
}

#[test]
fn unknown_attributes_and_known_kinds_without_use_are_passed_over() {
    let odd = with(good(), "pendingCheckpointState", json!({"BOOL": true}));
    let stream = json!({"leaseKey": {"S": "s"}, "entityType": {"S": "STREAM"}, "streamId": {"S": "1"}});
    let found = row::collect(&[row_of(&odd), row_of(&stream)]);
    assert_eq!((found.leases.len(), found.workers.len(), found.unreadable), (1, 0, vec![]));
}

#[test]
fn a_hash_range_with_one_end_is_no_hash_range() {
    for end in ["0", "-4"] {
        let half = with(good(), "startingHashKey", json!({"S": end}));
        assert_eq!(row::lease(&row_of(&half)).unwrap().hash_range, None);
    }
}

#[test]
fn numbers_have_at_most_six_decimals_and_are_always_finite() {
    let table = [
        (0.0, Some("0")),
        (-0.0, Some("0")),
        (-0.000_000_4, Some("0")),
        (8.78e-4, Some("0.000878")),
        (100.0, Some("100")),
        (50.123_456_789, Some("50.123457")),
        (-1.0, Some("-1")),
        (1e20, Some("1e20")),
        (1e126, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
        (f64::NEG_INFINITY, None),
    ];
    for (value, text) in table {
        assert_eq!(number_text(value).as_deref(), text, "{value}");
    }
}

#[test]
fn a_metric_that_is_not_finite_is_left_out_but_the_maps_are_always_there() {
    let row = WorkerRow {
        worker: WorkerId::new("w"),
        last_update_seconds: Some(7),
        stats: BTreeMap::from([("C".to_owned(), vec![1.5, f64::NAN, -1.0])]),
        operating_ranges: BTreeMap::new(),
        support_code: None,
        support_update_seconds: None,
    };
    let written = canonical(&json_of(&worker_row(&row)));
    let expected = json!({"leaseKey": {"S": "w"}, "entityType": {"S": "WORKER_METRIC_STATS"}, "lut": {"N": 7.0},
        "sts": {"M": {"C": {"L": [{"N": 1.5}, {"N": -1.0}]}}}, "opr": {"M": {}}});
    assert_eq!(written, expected);
}

#[test]
fn no_more_than_ten_earlier_versions_are_written() {
    let earlier = |number| (ClientVersion::TwoX, WorkerId::new("w"), EpochMillis(number));
    let mut row = ClientVersionRow {
        version: ClientVersion::ThreeX,
        modified_by: WorkerId::new("w"),
        modified_at: EpochMillis(99),
        history: (0..12).map(earlier).collect(),
    };
    let back = fleet::client_version(&fleet::client_version_row(&row)).unwrap();
    row.history.truncate(10);
    assert_eq!(back, row);
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let word = prop_oneof![Just("AT_TIMESTAMP"), Just("TRIM_HORIZON"), Just("LATEST"), Just("SHARD_END")];
    let sub = 0..u64::try_from(i64::MAX).unwrap();
    prop_oneof![
        word.prop_map(|word| Checkpoint::parse(word, 0).unwrap()),
        ("[0-9]{1,56}", sub).prop_map(|(digits, sub)| Checkpoint::parse(&digits, sub).unwrap()),
    ]
}

prop_compose! {
    fn any_lease()(
        shard in "[ -~]{1,40}", owner in proptest::option::of("[ -~]{1,40}"),
        checkpoint_owner in proptest::option::of("[ -~]{1,40}"), counter: i64, checkpoint in any_checkpoint(),
        owner_switches: i64, parents in btree_set("[a-z0-9-]{1,20}", 0..3), children in btree_set("[a-z0-9-]{1,20}", 0..3),
        range in proptest::option::of(any::<(u128, u128)>()), micros in proptest::option::of(0..1_000_000_000_000_u64),
        since in proptest::option::of(any::<i64>()),
    ) -> Lease {
        let shards = |names: BTreeSet<String>| names.into_iter().map(ShardId::new).collect();
        let is_latest = checkpoint == Checkpoint::Latest; // else the moment means nothing
        Lease {
            shard: ShardId::new(shard), owner: owner.map(WorkerId::new),
            checkpoint_owner: checkpoint_owner.map(WorkerId::new), counter: LeaseCounter(counter), checkpoint,
            owner_switches, parents: shards(parents), children: shards(children),
            hash_range: range.map(|(start, end)| HashKeyRange { start, end }),
            throughput_kbps: micros.map(|micros| micros as f64 / 1e6),
            latest_since: since.filter(|_| is_latest).map(EpochMillis),
        }
    }
}

proptest! {
    #[test]
    fn any_lease_comes_back_from_its_row(lease in any_lease()) {
        let back = row::lease(&row::lease_row(&lease)).unwrap();
        prop_assert!(back.checkpoint.same_text(&lease.checkpoint));
        prop_assert_eq!(back, lease);
    }

    #[test]
    fn any_number_comes_back_with_six_decimals(value in -1e14_f64..1e14) {
        let back: f64 = number_text(value).unwrap().parse().unwrap();
        prop_assert!((back - value).abs() <= 0.000_000_5 + value.abs() * f64::EPSILON);
    }

    #[test]
    fn any_worker_and_lock_come_back(
        stats in btree_map("[A-Z]{1,2}", vec((0..100_000_000_u32).prop_map(|n| f64::from(n) / 1e6), 0..10), 0..5),
        lut in proptest::option::of(any::<i64>()), millis: u32, name in "[ -~]{1,40}",
    ) {
        let worker = WorkerRow {
            worker: WorkerId::new(name.as_str()), last_update_seconds: lut, operating_ranges: stats.clone(), stats,
            support_code: lut, support_update_seconds: lut,
        };
        prop_assert_eq!(fleet::worker(&worker_row(&worker)).unwrap(), worker);
        let lease_duration = Duration::from_millis(millis.into());
        let lock = LockRow { owner: WorkerId::new(name.as_str()), lease_duration, version: name };
        prop_assert_eq!(fleet::lock(&fleet::lock_row(&lock)).unwrap(), lock);
    }

    #[test]
    fn no_row_of_texts_and_numbers_makes_reading_panic(
        row in btree_map(
            prop_oneof![Just("leaseKey"), Just("entityType"), Just("leaseCounter"), Just("checkpoint"), Just("sts")],
            prop_oneof![".{0,80}".prop_map(AttributeValue::S), "[-+.eE0-9]{0,30}".prop_map(AttributeValue::N)], 0..6)
    ) {
        let _ = row::read(&row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    }
}
