//! Reading to the end of a shard, by GetRecords and by SubscribeToShard.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ChildShard, ConsumerStatus, Record, ShardIteratorType, StartingPosition, SubscribeToShardEvent,
    SubscribeToShardEventStream,
};
use bytes::Bytes;
use multilangd::local::Options;

use super::{Bench, STREAM, shard};

type Events = EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>;

fn text(record: &Record) -> String {
    String::from_utf8(record.data().as_ref().to_vec()).unwrap()
}

pub(crate) async fn iterator(bench: &Bench, index: usize) -> String {
    let request = bench.kinesis.get_shard_iterator().stream_name(STREAM).shard_id(shard(index));
    let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    answer.shard_iterator().unwrap().to_owned()
}

async fn get(bench: &Bench, iterator: &str, limit: i32) -> GetRecordsOutput {
    bench.kinesis.get_records().shard_iterator(iterator).limit(limit).send().await.unwrap()
}

/// Reads a closed shard with GetRecords until there is no next iterator.
async fn poll_to_end(bench: &Bench, index: usize) -> (Vec<String>, Vec<ChildShard>) {
    let (mut texts, mut next) = (Vec::new(), iterator(bench, index).await);
    for _ in 0..100 {
        let answer = get(bench, &next, 7).await;
        texts.extend(answer.records().iter().map(text));
        match answer.next_shard_iterator() {
            Some(iterator) => {
                assert!(answer.child_shards().is_empty(), "children before the end");
                next = iterator.to_owned();
            }
            None => return (texts, answer.child_shards().to_vec()),
        }
        if answer.records().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    panic!("shard {index} has no end");
}

/// ARN of the one consumer of the stream, registered when it is not yet.
pub(crate) async fn consumer(bench: &Bench) -> String {
    let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}");
    loop {
        // Refused from the second time on, which is as good.
        _ = bench.kinesis.register_stream_consumer().stream_arn(&arn).consumer_name("reader").send().await;
        let describe = bench.kinesis.describe_stream_consumer().stream_arn(&arn).consumer_name("reader");
        let described = describe.send().await.unwrap().consumer_description.unwrap();
        if described.consumer_status == ConsumerStatus::Active {
            return described.consumer_arn;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn subscribe(bench: &Bench, index: usize) -> Events {
    let horizon = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build().unwrap();
    let request = bench.kinesis.subscribe_to_shard().consumer_arn(consumer(bench).await).shard_id(shard(index));
    request.starting_position(horizon).send().await.unwrap().event_stream
}

async fn next_event(events: &mut Events) -> Option<SubscribeToShardEvent> {
    let event = tokio::time::timeout(Duration::from_secs(5), events.recv()).await.unwrap().unwrap()?;
    Some(event.as_subscribe_to_shard_event().unwrap().clone())
}

/// Reads a closed shard by fan-out until the event without continuation.
async fn fan_out_to_end(bench: &Bench, index: usize) -> (Vec<String>, Vec<ChildShard>) {
    let (mut texts, mut events) = (Vec::new(), subscribe(bench, index).await);
    while let Some(event) = next_event(&mut events).await {
        texts.extend(event.records().iter().map(text));
        if event.continuation_sequence_number().is_empty() {
            assert!(event.records().is_empty());
            assert!(next_event(&mut events).await.is_none(), "events after the end");
            return (texts, event.child_shards().to_vec());
        }
        assert!(event.child_shards().is_empty(), "children before the end");
    }
    panic!("shard {index} has no end");
}

fn names(children: &[ChildShard]) -> Vec<(String, Vec<String>)> {
    children.iter().map(|child| (child.shard_id().to_owned(), child.parent_shards().to_vec())).collect()
}

#[tokio::test]
async fn a_split_shard_ends_with_its_records_and_both_children_in_either_mode() {
    let bench = Bench::start(1).await;
    let put = bench.put(100).await;
    bench.split_first().await;
    let children = vec![(shard(1), vec![shard(0)]), (shard(2), vec![shard(0)])];
    let polled = poll_to_end(&bench, 0).await;
    assert_eq!((&polled.0, names(&polled.1)), (&put, children.clone()));
    let pushed = fan_out_to_end(&bench, 0).await;
    assert_eq!((&pushed.0, names(&pushed.1)), (&put, children));
    let ranges: Vec<_> = polled.1.iter().map(|child| child.hash_key_range().unwrap().clone()).collect();
    assert_eq!(ranges[0].starting_hash_key(), "0");
    assert_eq!(ranges[1].ending_hash_key(), u128::MAX.to_string());
    assert_eq!(Some(&ranges), Some(&pushed.1.iter().map(|child| child.hash_key_range().unwrap().clone()).collect()));
}

#[tokio::test]
async fn both_merged_shards_end_with_the_child_and_its_two_parents() {
    let bench = Bench::start(2).await;
    let put: BTreeSet<_> = bench.put(60).await.into_iter().collect();
    bench.merge_first_two().await;
    let mut read = BTreeSet::new();
    for index in [0, 1] {
        let (polled, pushed) = (poll_to_end(&bench, index).await, fan_out_to_end(&bench, index).await);
        assert_eq!(polled.0, pushed.0);
        let child = vec![(shard(2), vec![shard(0), shard(1)])];
        assert_eq!((names(&polled.1), names(&pushed.1)), (child.clone(), child));
        read.extend(polled.0);
    }
    assert_eq!(read, put);
}

#[tokio::test]
async fn a_subscriber_sees_the_shard_end_under_it() {
    let bench = Bench::start(1).await;
    let mut events = subscribe(&bench, 0).await;
    assert!(!next_event(&mut events).await.unwrap().continuation_sequence_number().is_empty());
    let put = bench.put(5).await;
    bench.split_first().await;
    let (mut read, mut last) = (Vec::new(), None);
    while let Some(event) = next_event(&mut events).await {
        read.extend(event.records().iter().map(text));
        last = Some(event);
    }
    assert_eq!(read, put);
    let last = last.unwrap();
    assert_eq!((last.continuation_sequence_number(), last.child_shards().len()), ("", 2));
}

#[tokio::test]
async fn a_reader_is_behind_while_records_wait_and_not_afterwards() {
    let bench = Bench::start(1).await;
    bench.put(10).await;
    let first = get(&bench, &iterator(&bench, 0).await, 9).await;
    assert!(first.millis_behind_latest().unwrap() > 0);
    let second = get(&bench, first.next_shard_iterator().unwrap(), 9).await;
    assert_eq!((second.records().len(), second.millis_behind_latest()), (1, Some(0)));
    let third = get(&bench, second.next_shard_iterator().unwrap(), 9).await;
    assert_eq!((third.records().len(), third.millis_behind_latest()), (0, Some(0)));
}

#[tokio::test]
async fn answers_and_events_have_a_limited_size() {
    const RECORD: usize = 500_000;
    let bench = Bench::start(1).await;
    let record = |index: u8| (index.to_string(), Bytes::from(vec![index; RECORD]));
    bench.putter.put((0..22).map(record).collect()).await.unwrap();

    let answer = get(&bench, &iterator(&bench, 0).await, 10_000).await;
    let (count, behind) = (answer.records().len(), answer.millis_behind_latest().unwrap());
    assert_eq!((count, behind > 0), ((10 << 20) / RECORD, true));
    let rest = get(&bench, answer.next_shard_iterator().unwrap(), 10_000).await;
    assert_eq!((rest.records().len(), rest.millis_behind_latest()), (22 - count, Some(0)));

    let (mut seen, mut events) = (0, subscribe(&bench, 0).await);
    while seen < 22 {
        let event = next_event(&mut events).await.unwrap();
        let size: usize = event.records().iter().map(|record| record.data().as_ref().len()).sum();
        assert!(size <= 2 << 20, "{size}");
        seen += event.records().len();
        assert_eq!(event.millis_behind_latest() > 0, seen < 22, "after {seen}");
    }
}

#[tokio::test]
async fn an_old_iterator_expires() {
    let options = Options { iterator_life: Duration::ZERO, ..Options::default() };
    let bench = Bench::with(options, 1).await;
    let iterator = iterator(&bench, 0).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let refusal = bench.kinesis.get_records().shard_iterator(iterator).send().await.unwrap_err();
    assert!(refusal.as_service_error().unwrap().is_expired_iterator_exception(), "{refusal:?}");
}
