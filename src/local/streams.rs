//! Makes, splits and merges streams through the API, and waits until each is done.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType, StreamStatus};
use tokio::time::Instant;

use super::error::LocalError;
use crate::types::{HashKeyRange, ShardId};

/// The service takes some 30 s for a reshard, sometimes more.
const ACTIVE_LIMIT: Duration = Duration::from_secs(120);
/// First look at a stream that is not ACTIVE; the wait doubles up to a second.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// A shard that takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenShard {
    /// Its name.
    pub id: ShardId,
    /// Its part of the ring.
    pub range: HashKeyRange,
}

/// Makes a stream and waits until it is ACTIVE.
///
/// # Errors
/// The stream is there already, the shard limit is reached, or nobody answers.
pub async fn create_stream(client: &Client, name: &str, shards: u16) -> Result<(), LocalError> {
    let call = client.create_stream().stream_name(name).shard_count(i32::from(shards));
    call.send().await.map_err(|error| failed("CreateStream", name, error))?;
    wait_until_active(client, name).await
}

/// The open shards of a stream in the order of the ring.
///
/// # Errors
/// The stream is not there, or nobody answers.
pub async fn open_shards(client: &Client, stream: &str) -> Result<Vec<OpenShard>, LocalError> {
    let latest = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().expect("its type is set");
    let mut request = client.list_shards().stream_name(stream).shard_filter(latest);
    let mut open = Vec::new();
    loop {
        let page = request.send().await.map_err(|error| failed("ListShards", stream, error))?;
        for shard in page.shards() {
            let range = shard.hash_key_range();
            let bound = |text: Option<&str>| text.and_then(|text| text.parse::<u128>().ok());
            let start = bound(range.map(|range| range.starting_hash_key())).unwrap_or(0);
            let end = bound(range.map(|range| range.ending_hash_key())).unwrap_or(u128::MAX);
            open.push(OpenShard { id: ShardId::new(shard.shard_id()), range: HashKeyRange { start, end } });
        }
        let Some(token) = page.next_token() else { break };
        request = client.list_shards().next_token(token);
    }
    open.sort_by_key(|shard| shard.range);
    Ok(open)
}

/// Splits a shard in the middle of its range and waits until the stream is ACTIVE.
///
/// # Errors
/// The shard is not open, too small to be split, or nobody answers.
pub async fn split_shard(client: &Client, stream: &str, shard: &OpenShard) -> Result<(), LocalError> {
    let HashKeyRange { start, end } = shard.range;
    let middle = start + (end - start) / 2 + 1;
    let call = client.split_shard().stream_name(stream).shard_to_split(shard.id.as_str());
    let call = call.new_starting_hash_key(middle.to_string());
    call.send().await.map_err(|error| failed("SplitShard", stream, error))?;
    wait_until_active(client, stream).await
}

/// Merges two neighbours of [`open_shards`], lower range first, and waits until the stream is ACTIVE.
///
/// # Errors
/// The shards are not open neighbours in this order, or nobody answers.
pub async fn merge_shards(
    client: &Client,
    stream: &str,
    lower: &OpenShard,
    upper: &OpenShard,
) -> Result<(), LocalError> {
    let call = client.merge_shards().stream_name(stream).shard_to_merge(lower.id.as_str());
    let call = call.adjacent_shard_to_merge(upper.id.as_str());
    call.send().await.map_err(|error| failed("MergeShards", stream, error))?;
    wait_until_active(client, stream).await
}

/// Waits until a stream is ACTIVE.
///
/// # Errors
/// It is not there, not ACTIVE within two minutes, or nobody answers.
pub async fn wait_until_active(client: &Client, stream: &str) -> Result<(), LocalError> {
    let begin = Instant::now();
    let mut pause = FIRST_LOOK;
    loop {
        let answer = client.describe_stream_summary().stream_name(stream).send().await;
        let answer = answer.map_err(|error| failed("DescribeStreamSummary", stream, error))?;
        if answer.stream_description_summary().map(|summary| summary.stream_status()) == Some(&StreamStatus::Active) {
            return Ok(());
        }
        if begin.elapsed() > ACTIVE_LIMIT {
            return Err(LocalError::NotActive { stream: stream.to_owned(), seconds: ACTIVE_LIMIT.as_secs() });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Tells a missing stream, a service that is not there and a refusal apart.
pub(super) fn failed<E>(operation: &'static str, stream: &str, error: SdkError<E>) -> LocalError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let stream = stream.to_owned();
    if matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) {
        // The endpoint is the client's; `connect` knows its text and puts it in.
        return LocalError::Unreachable { endpoint: String::new(), source: Box::new(error) };
    }
    let reason = match (error.code(), error.message()) {
        (Some("ResourceNotFoundException"), _) if operation != "SplitShard" && operation != "MergeShards" => {
            return LocalError::NoSuchStream(stream);
        }
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => DisplayErrorContext(&error).to_string(),
    };
    LocalError::Service { operation, stream, reason }
}
