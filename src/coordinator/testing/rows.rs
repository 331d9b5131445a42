//! Odd rows of the lease table beside Java's `DynamoDBLeaseSerializer`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::java::{Question, asked_now, recorded};
use crate::lease::Lease;
use crate::lease::row::{self, Entity, Row};
use crate::types::ShardId;

/// A row as DynamoDB tells it in JSON.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct Told(BTreeMap<String, Value>);

impl Told {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|value| value["S"].as_str()).unwrap_or_default()
    }

    fn row(&self) -> Row {
        let value = |value: &Value| match value.as_object().unwrap().iter().next().unwrap() {
            (kind, Value::String(text)) if kind == "S" => AttributeValue::S(text.clone()),
            (kind, Value::String(digits)) if kind == "N" => AttributeValue::N(digits.clone()),
            (kind, Value::String(bytes)) if kind == "B" => {
                AttributeValue::B(Blob::new(base64_simd::STANDARD.decode_to_vec(bytes).unwrap()))
            }
            (_, texts) => AttributeValue::Ss(serde_json::from_value(texts.clone()).unwrap()),
        };
        self.0.iter().map(|(name, told)| (name.clone(), value(told))).collect()
    }
}

fn told(lease: &Lease) -> Value {
    let texts = |shards: &BTreeSet<ShardId>| shards.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut answer = json!({
        "key": lease.shard.as_str(), "owner": lease.owner.as_ref().map(ToString::to_string),
        "checkpointOwner": lease.checkpoint_owner.as_ref().map(ToString::to_string), "counter": lease.counter.0,
        "switches": lease.owner_switches, "checkpoint": lease.checkpoint.sequence_text(), "sub": lease.checkpoint.sub(),
        "parents": texts(&lease.parents), "children": texts(&lease.children),
    });
    if let Some(range) = lease.hash_range {
        answer["range"] = json!([range.start.to_string(), range.end.to_string()]);
    }
    if let Some(throughput) = lease.throughput_kbps {
        answer["throughput"] = json!(throughput);
    }
    answer
}

const CHECKPOINTS: [&str; 9] =
    ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END", "SHARD_END", "49590338", "0007", "", "shard_end"];
const ENDS: [&str; 5] = ["0", "7", "340282366920938463463374607431768211455", "", "x"];

impl Question for Told {
    const CLASS: &'static str = "Rows";
    const FILE: &'static str = "leases/odd.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let mut row = BTreeMap::from([("leaseKey".to_owned(), json!({"S": "shardId-000000000007"}))]);
        let odd = [(); 3].map(|()| random.bool());
        let mut add = |random: &mut Rng, name: &str, present: u8, kind: &str, values: &[&str]| {
            if random.u8(..30) < present {
                let value = values[random.usize(..values.len())];
                row.insert(name.to_owned(), json!({kind: value}));
            }
        };
        add(random, "leaseCounter", 29, "N", &["0", "5", "9223372036854775807", "-1"]);
        add(random, "ownerSwitchesSinceCheckpoint", 29, "N", &["0", "3"]);
        add(random, "checkpoint", 29, "S", if odd[0] && odd[1] { &CHECKPOINTS } else { &CHECKPOINTS[..7] });
        add(random, "checkpointSubSequenceNumber", 28, "N", &["0", "0", "0", "12", "-1"]);
        add(random, "leaseOwner", 20, "S", &["a", "b", "é"]);
        add(random, "checkpointOwner", 6, "S", &["a", "b"]);
        add(random, "entityType", 20, "S", &["LEASE", "LEASE", "LEASE", "LEASE", "OTHER"]);
        add(random, "throughputKBps", 15, "N", &["0", "1.5", "8.78E-4", "1234567.890123", "100"]);
        add(random, "startingHashKey", 22, "S", if odd[1] { &ENDS } else { &ENDS[..1] });
        add(random, "endingHashKey", 22, "S", if odd[2] { &ENDS } else { &ENDS[2..3] });
        add(random, "pendingCheckpoint", 8, "S", &["LATEST", "49590338", ""]);
        add(random, "pendingCheckpointSubSequenceNumber", 8, "N", &["0", "4"]);
        add(random, "pendingCheckpointState", 8, "B", &["", "AAEC/w==", "bXVsdGlsYW5nZDogbGF0ZXN0IHNpbmNlIDE3"]);
        add(random, "unknown", 3, "S", &["x"]);
        for name in ["parentShardId", "childShardIds"] {
            let shards: Vec<_> = ["c", "a", "b"].into_iter().filter(|_| random.u8(..3) == 0).collect();
            if !shards.is_empty() {
                row.insert(name.to_owned(), json!({"SS": shards}));
            }
        }
        Self(row)
    }

    fn ours(&self) -> Value {
        match row::read(&self.row()) {
            Ok(Entity::Lease(lease)) => {
                let again = row::lease_row(&lease);
                assert_eq!(row::lease(&again), Ok(lease.clone()), "what was read is written so");
                told(&lease)
            }
            Ok(_) => json!({"lease": false}),
            Err(_) if !["", "LEASE"].contains(&self.text("entityType")) => json!({"lease": false}),
            Err(_) => json!({"unreadable": true}),
        }
    }

    fn why(&self, ours: &Value, java: &Value) -> Option<&'static str> {
        let sub = self.0.get("checkpointSubSequenceNumber").and_then(|value| value["N"].as_str());
        let (mut mine, mut javas) = (ours.clone(), java.clone());
        if ours["unreadable"] == true && java["unreadable"].is_null() {
            let negative = sub.is_some_and(|sub| sub.starts_with('-'));
            let word = ["", "shard_end"].contains(&self.text("checkpoint"));
            return (negative || word).then_some("a checkpoint that is none");
        }
        if java["unreadable"] == true && ours["range"].is_array() {
            let end = |at: usize| ours["range"][at].as_str().unwrap().parse::<u128>().unwrap();
            return (end(0) >= end(1)).then_some("a range of one key or none");
        }
        (mine["sub"], javas["sub"]) = (Value::Null, Value::Null);
        (mine == javas && ours["checkpoint"] == "SHARD_END" && ours["sub"] == 0).then_some("the end has no sub")
    }
}

#[test]
fn odd_rows_read_as_java_reads_them() {
    let tally = recorded::<Told>();
    assert!(tally["same"] * 3 > tally.values().sum::<usize>() * 2, "{tally:?}");
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_rows_beside_java() {
    asked_now::<Told>("KCL_JAVA");
}
