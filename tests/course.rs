//! The whole worker on the embedded backend, from an empty table to the last takeover, in both ways of reading.
//!
//! The worker runs in this process, through the very code that talks to AWS; dropping its future leaves the tables as
//! kill -9 would. Children are real processes.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "course/three_tables.rs"]
mod three_tables;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use multilangd::app::aws::Clients;
use multilangd::app::serve_with;
use multilangd::config::{Environment, load};
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::{FleetRows, Lease, LeaseStore, StateStore};
use multilangd::local::connect::{LOCAL_REGION, local_config};
use multilangd::local::put::{Placed, Putter};
use multilangd::local::streams::{create_stream, merge_shards, open_shards, split_shard};
use multilangd::local::{Backend, Options};
use multilangd::progress::{Progress, ShardState};
use multilangd::record::Record;
use multilangd::types::{Checkpoint, ExtendedSequenceNumber, SequenceNumber, ShardId};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const FAILOVER: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// What one worker's children were given.
#[derive(Default)]
struct Witness {
    delivered: Mutex<BTreeMap<ShardId, Vec<SequenceNumber>>>,
}

impl Witness {
    fn seen(&self) -> BTreeMap<ShardId, Vec<SequenceNumber>> {
        self.delivered.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen().values().map(Vec::len).sum()
    }
}

impl Progress for Witness {
    fn state(&self, _: &ShardId, _: ShardState) {}

    fn delivered(&self, shard: &ShardId, records: &[Record], _: Option<i64>) {
        let mut delivered = self.delivered.lock().unwrap();
        let list = delivered.entry(shard.clone()).or_default();
        list.extend(records.iter().map(|record| record.place().unwrap().sequence));
    }

    fn checkpointed(&self, _: &ShardId, _: &Checkpoint) {}
}

struct Running {
    witness: Arc<Witness>,
    stop: CancellationToken,
    work: Pin<Box<dyn Future<Output = anyhow::Result<()>>>>,
}

impl Running {
    /// Lets the worker run until `done` says so.
    async fn until(&mut self, what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
        let begin = Instant::now();
        let wait = async {
            while !done().await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            result = &mut self.work => panic!("the worker ended while waiting until {what}: {result:?}"),
            waited = timeout(PATIENCE, wait) => waited.unwrap_or_else(|_| panic!("gave up waiting until {what}")),
        }
        begin.elapsed()
    }

    async fn stop(mut self) -> Arc<Witness> {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.work).await.expect("the worker does not stop").unwrap();
        self.witness
    }

    /// The worker is gone from one moment to the next.
    fn crash(self) -> Arc<Witness> {
        self.witness
    }
}

struct Course {
    backend: Backend,
    kinesis: aws_sdk_kinesis::Client,
    store: DynamoDbStore,
    folder: tempfile::TempDir,
    mode: &'static str,
    put: Vec<Placed>,
}

impl Course {
    async fn begin(mode: &'static str) -> Self {
        let backend = Backend::start(Options::default()).await.unwrap();
        let kinesis = aws_sdk_kinesis::Client::new(&local_config(&backend.kinesis_url()));
        let dynamodb = aws_sdk_dynamodb::Client::new(&local_config(&backend.dynamodb_url()));
        let store = DynamoDbStore::new(dynamodb, "course".into(), "course".into(), Default::default());
        create_stream(&kinesis, "course", 2).await.unwrap();
        Self { backend, kinesis, store, folder: tempfile::tempdir().unwrap(), mode, put: Vec::new() }
    }

    fn worker(&self, name: &str) -> Running {
        self.worker_with(name, "")
    }

    /// A worker with more lines in its file.
    fn worker_with(&self, name: &str, more: &str) -> Running {
        let file = self.folder.path().join(format!("{name}.properties"));
        let text = format!(
            "executableName = {} demo-child\nstreamName = course\napplicationName = course\nregionName = us-east-1\n\
             AwsCredentialsProvider = DefaultCredentialsProvider\ninitialPositionInStream = TRIM_HORIZON\n\
             retrievalMode = {}\nidleTimeBetweenReadsInMillis = 200\nfailoverTimeMillis = {}\n\
             leaseAssignmentIntervalMillis = 2000\nparentShardPollIntervalMillis = 500\nworkerId = {name}\n{more}",
            env!("CARGO_BIN_EXE_multilangd"),
            self.mode,
            FAILOVER.as_millis(),
        );
        std::fs::write(&file, text).unwrap();
        let config = load(&file, &Environment::from_process()).unwrap().config;
        let clients = Clients {
            kinesis: self.kinesis.clone(),
            dynamodb: aws_sdk_dynamodb::Client::new(&local_config(&self.backend.dynamodb_url())),
            region: LOCAL_REGION.to_owned(),
            dead_letters: None,
        };
        let (witness, stop) = (Arc::new(Witness::default()), CancellationToken::new());
        let work = Box::pin(serve_with(config, clients, witness.clone(), stop.clone()));
        Running { witness, stop, work }
    }

    async fn put(&mut self, count: usize) {
        let from = self.put.len();
        let record = |n: usize| (format!("key-{n}"), Bytes::from(format!("record {n:90}")));
        let records = (from..from + count).map(record).collect();
        self.put.extend(Putter::new(self.kinesis.clone(), "course").put(records).await.unwrap());
    }

    async fn rows(&self) -> FleetRows {
        self.store.list().await.unwrap_or_default() // no table yet
    }

    async fn lease(&self, shard: &ShardId) -> Option<Lease> {
        self.rows().await.leases.into_iter().find(|lease| lease.shard == *shard)
    }

    /// Whether every record put so far lies at or before the checkpoint of its shard.
    async fn all_checkpointed(&self) -> bool {
        let rows = self.rows().await;
        let checkpoint = |shard: &ShardId| rows.leases.iter().find(|l| l.shard == *shard).map(|l| l.checkpoint.clone());
        let covers = |at: Checkpoint, placed: &Placed| {
            Checkpoint::At(ExtendedSequenceNumber::new(placed.sequence.clone(), 0)) <= at
        };
        self.put.iter().all(|placed| checkpoint(&placed.shard).is_some_and(|at| covers(at, placed)))
    }

    fn assert_everything_was_delivered(&self, witnesses: &[&Witness]) {
        let mut seen: BTreeMap<ShardId, BTreeSet<SequenceNumber>> = BTreeMap::new();
        for witness in witnesses {
            for (shard, sequences) in witness.seen() {
                seen.entry(shard).or_default().extend(sequences);
            }
        }
        let lost: Vec<_> =
            self.put.iter().filter(|p| !seen.get(&p.shard).is_some_and(|s| s.contains(&p.sequence))).collect();
        assert!(lost.is_empty(), "{} of {} records lost: {:?}", lost.len(), self.put.len(), lost.first());
    }
}

fn assert_order(witness: &Witness) {
    for (shard, sequences) in witness.seen() {
        assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "records of {shard} out of order or twice");
    }
}

/// Nothing at or before the checkpoint that stood in the table when the worker began may come again.
fn assert_no_step_back(witness: &Witness, before: &FleetRows) {
    for (shard, sequences) in witness.seen() {
        let Some(lease) = before.leases.iter().find(|lease| lease.shard == shard) else { continue };
        for sequence in sequences {
            let place = Checkpoint::At(ExtendedSequenceNumber::new(sequence, 0));
            assert!(place > lease.checkpoint, "{shard}: {place} came again after checkpoint {}", lease.checkpoint);
        }
    }
}

async fn whole_course(mode: &'static str) {
    let mut course = Course::begin(mode).await;
    let a = first_start(&mut course).await;
    let mut b = restart_and_reshard(&mut course).await;
    let c = share_with_a_second_worker(&mut course, &mut b).await;
    let (b, d) = crash_and_take_over(&mut course, b).await;
    course.assert_everything_was_delivered(&[&a, &b, &c, &d]);
    course.backend.stop().await;
}

/// From an empty table to a graceful stop that leaves nothing behind.
async fn first_start(course: &mut Course) -> Arc<Witness> {
    course.put(10_000).await;
    let mut a = course.worker("a");
    a.until("10,000 records are checkpointed", async || course.all_checkpointed().await).await;
    let a = a.stop().await;
    assert_eq!(a.count(), 10_000, "a first run delivers every record once");
    assert_order(&a);
    let rows = course.rows().await;
    assert!(rows.leases.iter().all(|lease| lease.owner.is_none()), "a graceful stop gives its leases back");
    assert_eq!(rows.workers, [], "a graceful stop takes its load row away");
    assert_eq!(course.store.lock().await.unwrap(), None, "a graceful stop gives the leader lock back");
    a
}

/// Restart from the checkpoints; a split and a merge under the running worker.
async fn restart_and_reshard(course: &mut Course) -> Running {
    let rows = course.rows().await;
    course.put(1_000).await;
    let mut b = course.worker("b");
    b.until("the restart has caught up", async || course.all_checkpointed().await).await;
    let open = open_shards(&course.kinesis, "course").await.unwrap();
    split_shard(&course.kinesis, "course", &open[0]).await.unwrap();
    course.put(1_000).await;
    b.until("the children of the split are read", async || course.all_checkpointed().await).await;
    let open = open_shards(&course.kinesis, "course").await.unwrap();
    merge_shards(&course.kinesis, "course", &open[0], &open[1]).await.unwrap();
    course.put(1_000).await;
    b.until("the child of the merge is read", async || course.all_checkpointed().await).await;
    for parent in [&open[0].id, &open[1].id] {
        let parent = course.lease(parent).await.unwrap();
        assert!(parent.is_finished() && !parent.children.is_empty(), "{parent:?}");
    }
    assert_no_step_back(&b.witness, &rows);
    b
}

/// A second worker is handed its share by the first, and gives it back when it leaves.
async fn share_with_a_second_worker(course: &mut Course, b: &mut Running) -> Arc<Witness> {
    let before = course.rows().await;
    let mut c = course.worker("c");
    let owned_by_c = async || {
        let rows = course.rows().await;
        rows.leases.iter().any(|l| l.checkpoint_owner.is_none() && l.owner.as_ref().is_some_and(|o| o.as_str() == "c"))
    };
    tokio::select! {
        result = &mut b.work => panic!("worker b ended: {result:?}"),
        _ = c.until("a lease was handed over", owned_by_c) => {}
    }
    course.put(500).await;
    let checkpointed = async || course.all_checkpointed().await;
    tokio::select! {
        result = &mut b.work => panic!("worker b ended: {result:?}"),
        _ = c.until("both workers have read their shares", checkpointed) => {}
    }
    let owned_by_b = async || {
        let rows = course.rows().await;
        rows.leases.iter().all(|l| l.is_finished() || l.owner.as_ref().is_some_and(|o| o.as_str() == "b"))
    };
    let (c, _) = tokio::join!(c.stop(), b.until("the leases came back", owned_by_b));
    course.put(500).await;
    // A child checkpoints before it answers, and the witness hears of a batch after the answer: who is killed next must
    // not die in between.
    let (witness, last) = (b.witness.clone(), course.put[course.put.len() - 500..].to_vec());
    let heard = || {
        let seen = witness.seen();
        last.iter().all(|put| seen.get(&put.shard).is_some_and(|seen| seen.contains(&put.sequence)))
    };
    b.until("the first worker reads everything again", async || course.all_checkpointed().await && heard()).await;
    assert_order(&c);
    assert_no_step_back(&c, &before);
    c
}

/// kill -9, and a lone worker takes over without waiting for the dead leader's lock.
async fn crash_and_take_over(course: &mut Course, b: Running) -> (Arc<Witness>, Arc<Witness>) {
    let b = b.crash();
    let at_crash = course.rows().await;
    course.put(500).await;
    let mut d = course.worker("d");
    let took = d.until("the abandoned leases are read again", async || course.all_checkpointed().await).await;
    assert!(took < FAILOVER + Duration::from_secs(4), "a lone worker took over after {took:?}");
    let d = d.stop().await;
    assert_order(&d);
    assert_no_step_back(&d, &at_crash);
    (b, d)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_order_holds_when_polling() {
    whole_course("POLLING").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_order_holds_with_enhanced_fan_out() {
    whole_course("FANOUT").await;
}
