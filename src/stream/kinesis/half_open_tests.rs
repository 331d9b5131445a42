//! Connections whose other side is gone without a word: no FIN, no data.

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Region};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::stream::fetch::{Dated, FetchError, IteratorStart};

/// A limit short enough for a test in wall time; the other one must not count.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// As the answers say.
const NEW_YEAR: EpochMillis = EpochMillis(1_704_067_200_000);

/// Reads one request of HTTP/1.1.
async fn request(connection: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    connection.read_exact(&mut vec![0; length.parse().unwrap()]).await.map(drop)
}

/// Answers the first request of each connection and is deaf then, but keeps it open.
async fn serve(listener: TcpListener, body: &'static str) {
    let mut connections = JoinSet::new();
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            request(&mut connection).await.unwrap();
            let date = "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nx-amzn-RequestId: 1";
            let head = format!("HTTP/1.1 200 OK\r\n{date}\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
    }
}

async fn service(tasks: &mut JoinSet<()>, body: &'static str) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(serve(listener, body));
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"));
    Client::from_conf(config.build())
}

#[tokio::test]
async fn a_read_on_a_half_open_connection_fails_in_time_and_the_next_one_takes_another() {
    let mut tasks = JoinSet::new();
    let client = service(&mut tasks, r#"{"ShardIterator":"first"}"#).await;
    let kinesis = Kinesis::with_limits(client, "words".to_owned(), "us-east-1".to_owned(), SHORT, LONG);
    let shard = ShardId::new("shardId-000000000000");
    let ask = || kinesis.get_shard_iterator(&shard, &IteratorStart::TrimHorizon);
    for _ in 0..2 {
        assert_eq!(ask().await.unwrap(), Dated { given: "first".to_owned(), date: Some(NEW_YEAR) });
        let begin = Instant::now();
        assert!(matches!(ask().await, Err(FetchError::Transient { .. })), "nobody answers on that connection");
        assert!(begin.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn a_subscription_on_a_half_open_connection_fails_in_its_own_time_and_the_next_one_takes_another() {
    let mut tasks = JoinSet::new();
    let client = service(&mut tasks, "").await;
    let kinesis = Kinesis::with_limits(client, "words".to_owned(), "us-east-1".to_owned(), LONG, SHORT);
    let shard = ShardId::new("shardId-000000000000");
    let subscribe = || kinesis.subscribe_to_shard("arn:consumer", &shard, &IteratorStart::TrimHorizon);
    for _ in 0..2 {
        let mut subscribed = subscribe().await.unwrap();
        assert_eq!(subscribed.date, Some(NEW_YEAR));
        assert!(subscribed.given.next().await.unwrap().is_none(), "an empty stream");
        assert!(matches!(subscribe().await, Err(FetchError::Transient { .. })), "nobody answers on that connection");
    }
}
