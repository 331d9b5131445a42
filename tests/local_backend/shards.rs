//! ListShards: filters, pages, ARNs.

use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardFilter;
use aws_sdk_kinesis::types::ShardFilterType::{self, *};

use super::{Bench, STREAM, shard};

fn ids(answer: &ListShardsOutput) -> Vec<String> {
    answer.shards().iter().map(|shard| shard.shard_id().to_owned()).collect()
}

async fn filtered(bench: &Bench, kind: ShardFilterType, time: Option<DateTime>, id: Option<String>) -> Vec<String> {
    let filter = ShardFilter::builder().r#type(kind).set_timestamp(time).set_shard_id(id).build().unwrap();
    let answer = bench.kinesis.list_shards().stream_name(STREAM).shard_filter(filter).send().await.unwrap();
    ids(&answer)
}

/// 0 and 1; 0 splits into 2 and 3; 2 and 3 merge into 4.
async fn resharded() -> Bench {
    let bench = Bench::start(2).await;
    bench.split_first().await;
    bench.merge_first_two().await;
    bench
}

#[tokio::test]
async fn each_filter_selects_its_shards() {
    let bench = resharded().await;
    let all: Vec<_> = (0..5).map(shard).collect();
    let open = vec![shard(1), shard(4)];
    let oldest = vec![shard(0), shard(1)];
    let (past, future) = (Some(DateTime::from_secs(1_000_000_000)), Some(DateTime::from_secs(4_000_000_000)));
    assert_eq!(filtered(&bench, FromTrimHorizon, None, None).await, all);
    assert_eq!(filtered(&bench, AtTrimHorizon, None, None).await, oldest);
    assert_eq!(filtered(&bench, AtLatest, None, None).await, open);
    assert_eq!(filtered(&bench, AfterShardId, None, Some(shard(2))).await, [shard(3), shard(4)]);
    assert_eq!(filtered(&bench, AtTimestamp, past, None).await, oldest);
    assert_eq!(filtered(&bench, AtTimestamp, future, None).await, open);
    assert_eq!(filtered(&bench, FromTimestamp, past, None).await, all);
    assert_eq!(filtered(&bench, FromTimestamp, future, None).await, open);
}

#[tokio::test]
async fn pages_keep_the_filter_and_come_to_an_end() {
    let bench = resharded().await;
    let filter = ShardFilter::builder().r#type(AtLatest).build().unwrap();
    let first =
        bench.kinesis.list_shards().stream_name(STREAM).shard_filter(filter).max_results(1).send().await.unwrap();
    assert_eq!(ids(&first), [shard(1)]);
    let second =
        bench.kinesis.list_shards().next_token(first.next_token().unwrap()).max_results(1).send().await.unwrap();
    assert_eq!((ids(&second), second.next_token()), (vec![shard(4)], None));
}

#[tokio::test]
async fn a_stream_can_be_named_by_its_arn() {
    let bench = Bench::start(2).await;
    let summary = bench.kinesis.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
    let arn = summary.stream_description_summary().unwrap().stream_arn().to_owned();
    let answer = bench.kinesis.list_shards().stream_arn(arn).exclusive_start_shard_id(shard(0)).send().await.unwrap();
    assert_eq!(ids(&answer), [shard(1)]);
}

#[tokio::test]
async fn wrong_questions_are_refused_as_the_service_refuses_them() {
    let bench = Bench::start(1).await;
    let nowhere = bench.kinesis.list_shards().stream_name("nowhere").send().await.unwrap_err();
    assert!(nowhere.as_service_error().unwrap().is_resource_not_found_exception());
    let both = bench.kinesis.list_shards().stream_name(STREAM).next_token("x").send().await.unwrap_err();
    assert!(both.as_service_error().unwrap().is_invalid_argument_exception());
    let token = bench.kinesis.list_shards().next_token("x").send().await.unwrap_err();
    assert!(token.as_service_error().unwrap().is_invalid_argument_exception());
}
