//! Writing, and failures on order.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use multilangd::local::put::{Putter, words};
use multilangd::local::{Fault, LocalError};

use super::{Bench, STREAM};

#[tokio::test]
async fn every_record_is_told_its_place_in_rising_order_per_shard() {
    let bench = Bench::start(4).await;
    let placed = bench.putter.put(words(1200).collect()).await.unwrap();
    assert_eq!(placed.len(), 1200);
    let shards: BTreeSet<_> = placed.iter().map(|place| place.shard.clone()).collect();
    assert_eq!(shards.len(), 4, "the words reach every shard of four");
    for shard in shards {
        let numbers: Vec<_> = placed.iter().filter(|place| place.shard == shard).map(|place| &place.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{shard}");
    }
    assert_eq!(bench.backend.faults().calls("PutRecords"), 3);
}

#[tokio::test]
async fn a_throttled_write_is_tried_again() {
    let bench = Bench::start(1).await;
    let faults = bench.backend.faults();
    faults.next("PutRecords", 4, &Fault::THROTTLED); // the SDK itself gives up after three
    assert_eq!(bench.putter.put(words(10).collect()).await.unwrap().len(), 10);
    assert_eq!(faults.calls("PutRecords"), 5);
}

#[tokio::test]
async fn a_missing_stream_and_a_missing_service_are_told_apart() {
    let bench = Bench::start(1).await;
    let nowhere = Putter::new(bench.kinesis.clone(), "nowhere").put(words(1).collect()).await;
    assert!(matches!(nowhere, Err(LocalError::NoSuchStream(name)) if name == "nowhere"));
    bench.backend.stop().await;
    let gone = bench.putter.put(words(1).collect()).await;
    assert!(matches!(gone, Err(LocalError::Unreachable { .. })), "{gone:?}");
}

#[tokio::test]
async fn faults_answer_wait_drop_and_lose_as_ordered() {
    let bench = Bench::start(1).await;
    let faults = bench.backend.faults();
    let once = aws_sdk_kinesis::config::retry::RetryConfig::disabled();
    let config = bench.kinesis.config().to_builder().retry_config(once).build();
    let kinesis = aws_sdk_kinesis::Client::from_conf(config);
    let put = || {
        let request = kinesis.put_record().stream_name(STREAM).partition_key("k");
        request.data(Bytes::from_static(b"x").to_vec().into()).send()
    };
    faults.next("PutRecord", 1, &Fault::Answer { status: 500, error: "InternalFailure" });
    faults.next("PutRecord", 1, &Fault::Drop);
    faults.next("PutRecord", 1, &Fault::LoseAnswer);
    faults.next("PutRecord", 1, &Fault::Wait(Duration::from_millis(200)));

    let answered = put().await.unwrap_err();
    assert_eq!(answered.raw_response().unwrap().status().as_u16(), 500);
    assert!(put().await.is_err());
    assert!(put().await.is_err());
    let begin = tokio::time::Instant::now();
    let fourth = put().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let fifth = put().await.unwrap();
    assert!(fourth.sequence_number() < fifth.sequence_number());
    assert_eq!(faults.calls("PutRecord"), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_passes_no_record_of_several_writers() {
    const WRITERS: usize = 4;
    const EACH: usize = 300;
    let bench = Bench::start(1).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let putter = bench.putter.clone();
        writers.spawn(async move {
            for word in words(EACH) {
                putter.put(vec![word]).await.unwrap();
            }
        });
    }
    let (mut seen, mut next) = (0, super::read::iterator(&bench, 0).await);
    let reading = async {
        while seen < WRITERS * EACH {
            let answer = bench.kinesis.get_records().shard_iterator(&next).send().await.unwrap();
            seen += answer.records().len();
            next = answer.next_shard_iterator().unwrap().to_owned();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}
