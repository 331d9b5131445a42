use super::*;
use crate::clock::PausedClock;

fn stream(shards: u32) -> MemoryStream {
    MemoryStream::new(shards, Arc::new(PausedClock::new(EpochMillis(1_000))))
}

fn shard(n: u32) -> ShardId {
    ShardId::new(format!("shardId-{n:012}"))
}

#[tokio::test]
async fn open_shards_cover_the_ring_once_before_and_after_splits_and_merges() {
    let stream = stream(3);
    let [_, upper] = stream.split(&shard(0)).unwrap();
    stream.merge(&upper, &shard(1)).unwrap();
    let mut open = stream.list_shards(ShardFilter::At(InitialPosition::Latest)).await.unwrap();
    open.sort_by_key(|shard| shard.hash_range);
    assert_eq!(open[0].hash_range.start, 0);
    assert_eq!(open.last().unwrap().hash_range.end, u128::MAX);
    for pair in open.windows(2) {
        assert_eq!(pair[0].hash_range.end + 1, pair[1].hash_range.start);
    }
}

#[tokio::test]
async fn filters_list_the_shards_that_were_open_then() {
    let stream = stream(2);
    stream.split(&shard(1)).unwrap();
    let names = async |filter| {
        stream.list_shards(filter).await.unwrap().into_iter().map(|s| s.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    let [all, horizon, latest] = [
        names(ShardFilter::All).await,
        names(ShardFilter::At(InitialPosition::TrimHorizon)).await,
        names(ShardFilter::At(InitialPosition::Latest)).await,
    ];
    assert_eq!(all, "shardId-000000000000 shardId-000000000001 shardId-000000000002 shardId-000000000003");
    assert_eq!(horizon, "shardId-000000000000 shardId-000000000001");
    assert_eq!(latest, "shardId-000000000000 shardId-000000000002 shardId-000000000003");
}

#[tokio::test]
async fn a_closed_shard_gives_its_records_and_then_its_children() {
    let stream = stream(1);
    let puts: Vec<_> = (0..3).map(|n| stream.put(n, "key", b"data").1).collect();
    stream.split(&shard(0)).unwrap();
    let first = stream.read(&shard(0), stream.begin(&shard(0), &IteratorStart::After(puts[0].clone())).unwrap(), 1);
    let first = first.unwrap();
    assert_eq!(first.records[0].sequence.as_str(), puts[1].as_str());
    assert_eq!((first.next_iterator.as_deref(), first.child_shards.len()), (Some("2"), 0));
    let last = stream.read(&shard(0), 2, 10).unwrap();
    assert_eq!((last.records.len(), last.next_iterator, last.child_shards.len()), (1, None, 2));
    assert!(stream.split(&shard(0)).is_none(), "it is closed already");
}

#[tokio::test]
async fn shards_that_do_not_touch_cannot_be_merged() {
    let stream = stream(3);
    assert!(stream.merge(&shard(0), &shard(2)).is_none());
    assert!(stream.merge(&shard(1), &shard(0)).is_none());
    assert_eq!(stream.list_shards(ShardFilter::At(InitialPosition::Latest)).await.unwrap().len(), 3);
}
