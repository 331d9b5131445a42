//! The local backend answers as the service does wherever a consumer depends on it.
//!
//! No daemon here: the AWS SDK for Rust asks, so that a new version of the emulators cannot change an answer unseen.
#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test for production code")]

#[path = "local_backend/cbor.rs"]
mod cbor;
#[path = "local_backend/dynamodb.rs"]
mod dynamodb;
#[path = "local_backend/put.rs"]
mod put;
#[path = "local_backend/read.rs"]
mod read;
#[path = "local_backend/shards.rs"]
mod shards;

use std::time::Duration;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use multilangd::local::connect::local_config;
use multilangd::local::put::Putter;
use multilangd::local::streams::{create_stream, merge_shards, open_shards, split_shard};
use multilangd::local::{Backend, Options};

const STREAM: &str = "words";

/// A backend with one stream, and the means to write to it.
struct Bench {
    backend: Backend,
    kinesis: Client,
    putter: Putter,
}

impl Bench {
    async fn start(shards: u16) -> Self {
        Self::with(Options::default(), shards).await
    }

    async fn with(options: Options, shards: u16) -> Self {
        let backend = Backend::start(options).await.unwrap();
        let kinesis = Client::new(&local_config(&backend.kinesis_url()));
        create_stream(&kinesis, STREAM, shards).await.unwrap();
        let putter = Putter::new(kinesis.clone(), STREAM);
        Self { backend, kinesis, putter }
    }

    /// Puts `count` numbered records, spread over the shards by their text.
    async fn put(&self, count: usize) -> Vec<String> {
        let texts: Vec<String> = (0..count).map(|index| format!("record {index}")).collect();
        let records = texts.iter().map(|text| (text.clone(), Bytes::from(text.clone()))).collect();
        assert_eq!(self.putter.put(records).await.unwrap().len(), count);
        texts
    }

    async fn split_first(&self) {
        let open = open_shards(&self.kinesis, STREAM).await.unwrap();
        split_shard(&self.kinesis, STREAM, &open[0]).await.unwrap();
    }

    async fn merge_first_two(&self) {
        let open = open_shards(&self.kinesis, STREAM).await.unwrap();
        merge_shards(&self.kinesis, STREAM, &open[0], &open[1]).await.unwrap();
    }
}

fn shard(index: usize) -> String {
    format!("shardId-{index:012}")
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_service() {
    let first = Backend::start(Options::default()).await.unwrap();
    let port = first.dynamodb_url().rsplit(':').next().unwrap().parse().unwrap();
    let second = Backend::start(Options { dynamodb_port: port, ..Options::default() }).await;
    let message = second.unwrap_err().to_string();
    assert!(message.starts_with(&format!("DynamoDB port {port} on `127.0.0.1` is already in use")), "{message}");
}

#[tokio::test]
async fn a_stopped_backend_is_gone_within_a_second_even_with_a_subscriber() {
    const SECOND: Duration = Duration::from_secs(1);
    let bench = Bench::start(1).await;
    let mut events = read::subscribe(&bench, 0).await;
    assert!(events.recv().await.unwrap().is_some());
    let url = bench.backend.kinesis_url();
    tokio::time::timeout(SECOND, bench.backend.stop()).await.unwrap();
    let address = url.strip_prefix("http://").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let rest = async { while let Ok(Some(_)) = events.recv().await {} };
    tokio::time::timeout(SECOND, rest).await.unwrap();
}
