//! The encoding of the Java SDK, which the Rust SDK never speaks: asked over a bare socket.

use aws_sdk_kinesis::types::ShardIteratorType;
use aws_smithy_eventstream::frame::read_message_from;
use ciborium::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use multilangd::clock::{Clock as _, SystemClock};

use super::{Bench, STREAM, read, shard};

/// Sends one request in HTTP/1.0, so that the end of the answer is the end of the connection; the body.
async fn ask(bench: &Bench, operation: &str, members: &[(&str, Value)]) -> Vec<u8> {
    let members = members.iter().map(|(name, value)| (Value::from(*name), value.clone())).collect();
    let mut body = Vec::new();
    ciborium::into_writer(&Value::Map(members), &mut body).unwrap();
    let head = format!(
        "POST / HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
         Content-Type: application/x-amz-cbor-1.1\r\nX-Amz-Date: 20200101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=a/20200101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=x\r\n\r\n",
        body.len()
    );
    let url = bench.backend.kinesis_url();
    let mut socket = tokio::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    let blank = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    answer.split_off(blank + 4)
}

fn member(map: &Value, name: &str) -> Option<Value> {
    let (_, value) = map.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name))?;
    Some(value.clone())
}

fn list(map: &Value, name: &str) -> Vec<Value> {
    member(map, name).map(|list| list.into_array().unwrap()).unwrap_or_default()
}

async fn split_with_records() -> Bench {
    let bench = Bench::start(1).await;
    bench.put(3).await;
    bench.split_first().await;
    bench
}

#[tokio::test]
async fn get_records_answers_cbor_with_bytes_lag_and_children() {
    let bench = split_with_records().await;
    let mut iterator = Value::from(read::iterator(&bench, 0).await);
    let body = ask(&bench, "GetRecords", &[("ShardIterator", iterator), ("Limit", Value::from(2))]).await;
    let answer: Value = ciborium::from_reader(body.as_slice()).unwrap();
    let data: Vec<_> = list(&answer, "Records").iter().map(|record| member(record, "Data").unwrap()).collect();
    assert_eq!(data, [Value::Bytes(b"record 0".to_vec()), Value::Bytes(b"record 1".to_vec())]);
    assert_ne!(member(&answer, "MillisBehindLatest"), Some(Value::from(0)));

    iterator = member(&answer, "NextShardIterator").unwrap();
    for _ in 0..100 {
        let body = ask(&bench, "GetRecords", &[("ShardIterator", iterator)]).await;
        let answer: Value = ciborium::from_reader(body.as_slice()).unwrap();
        match member(&answer, "NextShardIterator") {
            Some(next) => iterator = next,
            None => {
                let children: Vec<_> =
                    list(&answer, "ChildShards").iter().map(|child| member(child, "ShardId")).collect();
                assert_eq!(children, [Some(Value::from(shard(1))), Some(Value::from(shard(2)))]);
                return;
            }
        }
    }
    panic!("the shard has no end");
}

/// A moment as the Java SDK reads it: tag 1, whole milliseconds, of the last minute.
fn assert_is_a_recent_moment(moment: Option<Value>) {
    let Some(Value::Tag(1, inner)) = moment else { panic!("{moment:?}") };
    let millis = i64::try_from(inner.as_integer().unwrap()).unwrap();
    let now = SystemClock.now().0;
    assert!((now - 60_000..=now).contains(&millis), "{millis} at {now}");
}

#[tokio::test]
async fn moments_in_cbor_are_tagged_milliseconds_both_ways() {
    let bench = Bench::start(1).await;
    bench.put(2).await;
    let stream = ("StreamName", Value::from(STREAM));
    let about = ask(&bench, "DescribeStreamSummary", std::slice::from_ref(&stream)).await;
    let about: Value = ciborium::from_reader(about.as_slice()).unwrap();
    let summary = member(&about, "StreamDescriptionSummary").unwrap();
    assert_is_a_recent_moment(member(&summary, "StreamCreationTimestamp"));

    // of an hour ago, so that both records are after it; taken for seconds it would lie in the far future
    let moment = Value::Tag(1, Box::new(Value::from(SystemClock.now().0 - 3_600_000)));
    let shard = ("ShardId", Value::from(shard(0)));
    let kind = Value::from(ShardIteratorType::AtTimestamp.as_str());
    let question = [stream, shard.clone(), ("ShardIteratorType", kind.clone()), ("Timestamp", moment.clone())];
    let answer = ask(&bench, "GetShardIterator", &question).await;
    let answer: Value = ciborium::from_reader(answer.as_slice()).unwrap();
    let iterator = member(&answer, "ShardIterator").unwrap();
    let answer = ask(&bench, "GetRecords", &[("ShardIterator", iterator)]).await;
    let answer: Value = ciborium::from_reader(answer.as_slice()).unwrap();
    let records = list(&answer, "Records");
    assert_eq!(records.len(), 2);
    assert_is_a_recent_moment(member(&records[0], "ApproximateArrivalTimestamp"));

    bench.split_first().await; // so that the subscription ends
    let arn = read::consumer(&bench).await;
    let position = Value::Map(vec![("Type".into(), kind), ("Timestamp".into(), moment)]);
    let question = [("ConsumerARN", Value::from(arn)), shard, ("StartingPosition", position)];
    let body = ask(&bench, "SubscribeToShard", &question).await;
    let (mut frames, mut seen) = (body.as_slice(), Vec::new());
    while !frames.is_empty() {
        let message = read_message_from(&mut frames).unwrap();
        if let Ok(event) = ciborium::from_reader::<Value, _>(message.payload().as_ref()) {
            seen.extend(list(&event, "Records"));
        }
    }
    assert_eq!(seen.len(), 2);
    assert_is_a_recent_moment(member(&seen[1], "ApproximateArrivalTimestamp"));
}

#[tokio::test]
async fn subscribe_to_shard_ends_in_cbor_too() {
    let bench = split_with_records().await;
    let arn = read::consumer(&bench).await;
    let position = Value::Map(vec![("Type".into(), ShardIteratorType::TrimHorizon.as_str().into())]);
    let question = [("ConsumerARN", arn.into()), ("ShardId", shard(0).into()), ("StartingPosition", position)];
    let body = ask(&bench, "SubscribeToShard", &question).await;
    let (mut frames, mut events) = (body.as_slice(), Vec::new());
    while !frames.is_empty() {
        let message = read_message_from(&mut frames).unwrap();
        events.extend(ciborium::from_reader::<Value, _>(message.payload().as_ref()).ok());
    }
    let [first, last] = events.as_slice() else { panic!("{events:?}") };
    let data: Vec<_> = list(first, "Records").iter().map(|record| member(record, "Data").unwrap()).collect();
    assert_eq!((data.len(), &data[2]), (3, &Value::Bytes(b"record 2".to_vec())));
    assert!(member(first, "ContinuationSequenceNumber").is_some() && member(first, "ChildShards").is_none());
    assert!(member(last, "ContinuationSequenceNumber").is_none() && list(last, "ChildShards").len() == 2);
}
