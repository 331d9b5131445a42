use super::*;
use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, pause, resume};

use crate::stream::fetch::{FetchError, IteratorStart};

async fn silent_service() -> (TcpListener, Kinesis) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .endpoint_url(format!("http://{}", listener.local_addr().unwrap()));
    (listener, Kinesis::new(Client::from_conf(config.build()), "words".to_owned(), "us-east-1".to_owned()))
}

/// A connection on which something was asked.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().await.unwrap();
    socket.readable().await.unwrap();
    socket
}

/// How long `call` goes on waiting once its request has arrived; the request is never answered.
async fn patience<T: std::fmt::Debug>(
    listener: &TcpListener,
    call: impl Future<Output = Result<T, FetchError>>,
) -> Duration {
    tokio::pin!(call);
    let _held_open = tokio::select! {
        socket = asked(listener) => socket,
        answer = &mut call => panic!("nobody answered, but {answer:?}"),
    };
    pause();
    let begun = Instant::now();
    let answer = call.await;
    let waited = begun.elapsed();
    resume();
    assert!(matches!(answer, Err(FetchError::Transient { .. })), "{answer:?}");
    waited
}

#[tokio::test]
async fn reads_that_nobody_answers_end_and_leave_their_connection() {
    let (listener, kinesis) = silent_service().await;
    let (shard, start) = (ShardId::new("shardId-000000000000"), IteratorStart::TrimHorizon);
    // each must come on a connection of its own, else the second is never accepted
    for (waited, limit) in [
        (patience(&listener, kinesis.get_records("iterator", 1)).await, HEAD_LIMIT),
        (patience(&listener, kinesis.get_records("iterator", 1)).await, HEAD_LIMIT),
        (patience(&listener, kinesis.get_shard_iterator(&shard, &start)).await, HEAD_LIMIT),
        (patience(&listener, kinesis.subscribe_to_shard("consumer", &shard, &start)).await, SUBSCRIBE_LIMIT),
    ] {
        // it began to count a little before
        assert!(waited < limit * 2 && waited > limit / 2, "{waited:?} of {limit:?}");
    }
}
