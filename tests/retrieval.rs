//! Reading through the real SDK from an embedded Kinesis, with a layer in front that can misbehave.
//!
//! Ends of shards are not tested here: the bare stand-in answers them wrongly.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_sdk_kinesis::{Client, Config};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use ferrokinesis::store::StoreOptions;
use multilangd::clock::SystemClock;
use multilangd::config::{FanOut, Polling};
use multilangd::record::Record;
use multilangd::retrieval::fanout::FanOutSource;
use multilangd::retrieval::polling::PollingSource;
use multilangd::retrieval::prefetch::{Prefetch, PrefetchLimits};
use multilangd::retrieval::registration::consumer_arn;
use multilangd::retrieval::{RecordReader, RecordSource};
use multilangd::stream::kinesis::Kinesis;
use multilangd::stream::{ShardFilter, StreamCatalog, StreamError};
use multilangd::types::{Checkpoint, ExtendedSequenceNumber, InitialPosition, ShardId};
use tokio::task::JoinSet;
use tokio::time::timeout;

const STREAM: &str = "words";
const REGION: &str = "us-east-1";
/// Longer than any of these tests may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One misbehaviour, for the next call of this operation.
#[derive(Clone, Copy)]
enum Fault {
    Refuse(&'static str),
    CutBody,
    Garbage,
}

#[derive(Clone, Default)]
struct Layer {
    faults: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

impl Layer {
    fn plan(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults.into_iter().map(|fault| (operation, fault)));
    }

    fn take(&self, operation: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let nth = faults.iter().position(|(name, _)| *name == operation)?;
        faults.remove(nth).map(|(_, fault)| fault)
    }

    /// Bodies of the requests of this operation.
    fn bodies(&self, operation: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }
}

async fn misbehave(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    layer.calls.lock().unwrap().push((operation.clone(), String::from_utf8_lossy(&body).into_owned()));
    let fault = layer.take(&operation);
    if let Some(Fault::Refuse(kind)) = fault {
        let body = format!(r#"{{"__type":"{kind}","message":"by plan"}}"#);
        return Response::builder().status(StatusCode::BAD_REQUEST).body(Body::from(body)).unwrap();
    }
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    match fault {
        Some(Fault::CutBody) => {
            let (parts, body) = answer.into_parts();
            let whole = to_bytes(body, usize::MAX).await.unwrap();
            let half = whole.slice(..whole.len() / 2);
            let pieces = [Ok(half), Err(std::io::Error::other("cut"))];
            Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(pieces)))
        }
        Some(Fault::Garbage) => Response::new(Body::from(r#"{"Records":[{"Data":"#)),
        Some(Fault::Refuse(_)) | None => answer,
    }
}

/// A service with one stream.
struct Service {
    client: Client,
    layer: Layer,
    _tasks: JoinSet<()>,
}

impl Service {
    async fn start(shards: i32, options: StoreOptions) -> Self {
        let options = StoreOptions { create_stream_ms: 0, shard_limit: 100, ..options };
        let (app, _store) = ferrokinesis::create_app(options);
        let layer = Layer::default();
        let app = app.layer(from_fn_with_state(layer.clone(), misbehave));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(url)
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .build();
        let client = Client::from_conf(config);
        client.create_stream().stream_name(STREAM).shard_count(shards).send().await.unwrap();
        let service = Self { client, layer, _tasks: tasks };
        while service.kinesis().list_shards(ShardFilter::All).await.is_err() {
            tokio::task::yield_now().await;
        }
        service
    }

    fn kinesis(&self) -> Arc<Kinesis> {
        self.stream(STREAM)
    }

    fn stream(&self, name: &str) -> Arc<Kinesis> {
        Arc::new(Kinesis::new(self.client.clone(), name.to_owned(), REGION.to_owned()))
    }

    /// Puts records whose data are the numbers of the range, in order, and whose keys need escapes.
    async fn put(&self, numbers: std::ops::Range<u32>) {
        for chunk in numbers.collect::<Vec<_>>().chunks(500) {
            let entries = chunk.iter().map(|n| {
                let key = format!("\"key\"\n{n}");
                let data = Blob::new(n.to_string());
                PutRecordsRequestEntry::builder().partition_key(key).data(data).build().unwrap()
            });
            let put = self.client.put_records().stream_name(STREAM).set_records(Some(entries.collect()));
            assert_eq!(put.send().await.unwrap().failed_record_count, Some(0));
        }
    }

    fn polling(&self, idle: Duration, max_records: i32) -> PollingSource {
        let settings = Polling { max_records, idle, follows_arrivals: false, reduced_tps_threshold: Duration::ZERO };
        PollingSource::new(self.kinesis(), settings, InitialPosition::TrimHorizon, Arc::new(SystemClock))
    }

    async fn fan_out(&self) -> FanOutSource {
        let settings = FanOut {
            consumer_arn: None,
            consumer_name: "app".to_owned(),
            max_describe_stream_summary_retries: 10,
            max_describe_stream_consumer_retries: 10,
            register_stream_consumer_retries: 10,
            retry_backoff: Duration::from_millis(100),
        };
        let arn = consumer_arn(&self.kinesis(), &settings).await.unwrap();
        FanOutSource::new(self.kinesis(), arn, InitialPosition::TrimHorizon, Arc::new(SystemClock))
    }
}

fn shard() -> ShardId {
    ShardId::new("shardId-000000000000")
}

/// Reads until there are so many records.
async fn read(reader: &mut Box<dyn RecordReader>, count: usize) -> Vec<Record> {
    let mut seen = Vec::new();
    let reading = async {
        while seen.len() < count {
            let batch = reader.next().await;
            assert_eq!(batch.end, None);
            seen.extend(batch.records);
        }
    };
    timeout(PATIENCE, reading).await.expect("the records come");
    seen
}

fn numbers(records: &[Record]) -> Vec<u32> {
    let number = |record: &Record| {
        let data = base64_simd::STANDARD.decode_to_vec(record.data.as_bytes()).unwrap();
        let number = String::from_utf8(data).unwrap();
        assert_eq!(record.partition_key.as_str(), format!("\"key\"\n{number}"));
        assert_eq!(record.data_len(), number.len());
        assert!(record.arrival_millis.unwrap() > 1_700_000_000_000);
        number.parse().unwrap()
    };
    records.iter().map(number).collect()
}

fn checkpoint(record: &Record) -> Checkpoint {
    Checkpoint::At(ExtendedSequenceNumber::new(record.sequence.as_str().parse().unwrap(), 0))
}

/// A thousand records in order, then again from the checkpoint in their middle.
async fn reads_in_order_and_restarts_at_the_checkpoint(source: &impl RecordSource) {
    let all = read(&mut source.open(&shard(), &Checkpoint::TrimHorizon), 1_000).await;
    assert_eq!(numbers(&all), (0..1_000).collect::<Vec<_>>());
    let again = read(&mut source.open(&shard(), &checkpoint(&all[600])), 400).await;
    assert_eq!(numbers(&again), (600..1_000).collect::<Vec<_>>(), "the checkpointed record comes first");
}

#[tokio::test]
async fn polling_reads_in_order_and_restarts_at_the_checkpoint() {
    let service = Service::start(1, StoreOptions::default()).await;
    service.put(0..1_000).await;
    reads_in_order_and_restarts_at_the_checkpoint(&service.polling(Duration::from_millis(200), 300)).await;
}

#[tokio::test]
async fn fan_out_reads_in_order_and_restarts_at_the_checkpoint() {
    let service = Service::start(1, StoreOptions::default()).await;
    service.put(0..1_000).await;
    reads_in_order_and_restarts_at_the_checkpoint(&service.fan_out().await).await;
    // ferrokinesis 0.7.0 drops the number and begins at the oldest record, so the request itself is looked at too
    let subscriptions = service.layer.bodies("SubscribeToShard");
    assert!(subscriptions[1].contains("AT_SEQUENCE_NUMBER"), "{subscriptions:?}");
}

#[tokio::test]
async fn fan_out_goes_on_over_many_short_subscriptions() {
    let options = StoreOptions { subscribe_to_shard_session_ms: 300, ..StoreOptions::default() };
    let service = Service::start(1, options).await;
    service.put(0..1_000).await;
    let mut reader = service.fan_out().await.open(&shard(), &Checkpoint::TrimHorizon);
    let mut seen = read(&mut reader, 1_000).await;
    while service.layer.bodies("SubscribeToShard").len() < 4 {
        assert_eq!(timeout(PATIENCE, reader.next()).await.unwrap().records, [], "nothing comes twice");
    }
    service.put(1_000..1_100).await;
    seen.extend(read(&mut reader, 100).await);
    let subscriptions = service.layer.bodies("SubscribeToShard");
    assert!(subscriptions[1..].iter().all(|body| body.contains("AFTER_SEQUENCE_NUMBER")), "{subscriptions:?}");
    assert_eq!(numbers(&seen), (0..1_100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_second_consumer_of_the_same_name_is_not_registered() {
    let service = Service::start(1, StoreOptions::default()).await;
    service.fan_out().await;
    service.fan_out().await;
    assert_eq!(service.layer.bodies("RegisterStreamConsumer").len(), 1);
}

#[tokio::test]
async fn iterators_that_expire_cost_no_record() {
    let options = StoreOptions { iterator_ttl_seconds: 1, ..StoreOptions::default() };
    let service = Service::start(1, options).await;
    service.put(0..100).await;
    let mut reader = service.polling(Duration::from_millis(2_100), 1_000).open(&shard(), &Checkpoint::TrimHorizon);
    let mut seen = read(&mut reader, 100).await;
    service.put(100..150).await;
    seen.extend(read(&mut reader, 50).await);
    assert_eq!(numbers(&seen), (0..150).collect::<Vec<_>>());
    let iterators = service.layer.bodies("GetShardIterator");
    assert!(iterators[1].contains("AFTER_SEQUENCE_NUMBER"), "{iterators:?}");
}

#[tokio::test]
async fn refusals_and_answers_that_break_off_cost_no_record() {
    let service = Service::start(1, StoreOptions::default()).await;
    service.put(0..1_000).await;
    service.layer.plan("GetShardIterator", [Fault::Refuse("InternalFailure")]);
    service
        .layer
        .plan("GetRecords", [Fault::CutBody, Fault::Garbage, Fault::Refuse("ProvisionedThroughputExceededException")]);
    let source = service.polling(Duration::from_millis(200), 1_000);
    let seen = read(&mut source.open(&shard(), &Checkpoint::TrimHorizon), 1_000).await;
    assert_eq!(numbers(&seen), (0..1_000).collect::<Vec<_>>());
    assert_eq!(service.layer.bodies("GetRecords").len(), 4, "the SDK tries nothing again by itself");
}

#[tokio::test]
async fn a_prefetching_reader_gives_the_same_records() {
    let service = Service::start(1, StoreOptions::default()).await;
    service.put(0..1_000).await;
    let mut tasks = JoinSet::new();
    let reader = service.polling(Duration::from_millis(200), 250).open(&shard(), &Checkpoint::TrimHorizon);
    let mut prefetch = Prefetch::start(reader, PrefetchLimits::POLLING, &mut tasks);
    let mut seen = Vec::new();
    while seen.len() < 1_000 {
        seen.extend(timeout(PATIENCE, prefetch.recv()).await.unwrap().unwrap().records);
    }
    assert_eq!(numbers(&seen), (0..1_000).collect::<Vec<_>>());
    drop(prefetch);
    timeout(PATIENCE, tasks.join_next()).await.expect("the reader stops").unwrap().unwrap();
}

#[tokio::test]
async fn shards_are_listed_after_refusals_for_load() {
    let service = Service::start(3, StoreOptions::default()).await;
    service
        .layer
        .plan("ListShards", [Fault::Refuse("LimitExceededException"), Fault::Refuse("ResourceInUseException")]);
    let kinesis = Kinesis::new(service.client.clone(), STREAM.to_owned(), REGION.to_owned())
        .with_list_shards_retries(Duration::from_millis(10), 50);
    let shards = kinesis.list_shards(ShardFilter::At(InitialPosition::TrimHorizon)).await.unwrap();
    assert_eq!(shards.len(), 3);
    assert!(shards.iter().all(multilangd::stream::Shard::is_open));
    assert!(service.layer.bodies("ListShards").last().unwrap().contains("AT_TRIM_HORIZON"));
    assert!(kinesis.describe_summary().await.unwrap().arn.ends_with(":stream/words"));
}

#[tokio::test]
async fn a_missing_stream_and_denied_access_are_told_in_words() {
    let service = Service::start(1, StoreOptions::default()).await;
    let missing = service.stream("nowhere").list_shards(ShardFilter::All).await.unwrap_err();
    assert!(matches!(&missing, StreamError::Missing { .. }), "{missing:?}");
    assert!(missing.to_string().contains("`nowhere`") && missing.to_string().contains(REGION));
    service.layer.plan("ListShards", [Fault::Refuse("AccessDeniedException")]);
    let denied = service.kinesis().list_shards(ShardFilter::All).await.unwrap_err();
    assert!(denied.to_string().contains("kinesis:ListShards"), "{denied}");
}
