//! Waiting for parents beside Java's `BlockOnParentShardTask`.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::consumer::testing::{Ground, Nursery, obedient};
use crate::coordinator::testing::drawn::paused;
use crate::coordinator::testing::java::{Question, asked_now, recorded};
use crate::coordinator::testing::{shard, worker};
use crate::types::Checkpoint;

/// Whether shard 60 may begin, look after look at the table.
#[derive(Debug, Deserialize, Serialize)]
struct Child {
    parents: Vec<u32>,
    /// Number, checkpoint, owner of each row.
    looks: Vec<Vec<(u32, String, Option<String>)>>,
}

impl Question for Child {
    const CLASS: &'static str = "Parents";
    const FILE: &'static str = "shards/parents.jsonl";

    fn drawn(random: &mut Rng) -> Self {
        let parents = [vec![], vec![49], vec![49, 50], vec![50, 49], vec![48, 49, 50]][random.usize(..5)].clone();
        let at = ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "5", "SHARD_END", "SHARD_END", "SHARD_END"];
        let mut row = |number: u32| {
            let owner = [None, Some("a"), Some("b")][random.usize(..3)].map(str::to_owned);
            (random.u8(..4) > 0).then(|| (number, at[random.usize(..at.len())].to_owned(), owner))
        };
        let looks = (0..4).map(|_| [48, 49, 50, 60].into_iter().filter_map(&mut row).collect()).collect();
        Self { parents, looks }
    }

    fn ours(&self) -> Value {
        let mut child = Lease::new(shard(60), Checkpoint::TrimHorizon);
        child.parents = self.parents.iter().map(|number| shard(*number)).collect();
        let free: Vec<bool> = self
            .looks
            .iter()
            .map(|look| {
                paused(async {
                    let ground = Ground::new();
                    for (number, at, owner) in look {
                        let mut row = Lease::new(shard(*number), Checkpoint::parse(at, 0).unwrap());
                        row.owner = owner.as_deref().map(worker);
                        ground.table.put_lease(&row);
                    }
                    let shared = ground.shared(Nursery::new(obedient));
                    timeout(FIRST_WAIT / 2, wait_for_parents(&shared, &child)).await.is_ok()
                })
            })
            .collect();
        json!({"free": free})
    }

    fn why(&self, _: &Value, _: &Value) -> Option<&'static str> {
        None
    }
}

#[test]
fn children_begin_when_they_do_in_java() {
    let tally = recorded::<Child>();
    assert_eq!(tally.keys().copied().collect::<Vec<_>>(), ["same"]);
}

#[test]
#[ignore = "needs Java: see compat-tests/README.md"]
fn drawn_parents_beside_java() {
    asked_now::<Child>("KCL_JAVA");
}
