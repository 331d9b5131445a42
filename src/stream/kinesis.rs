//! The stream as AWS serves it. This file and its folder alone import the Kinesis SDK.
//!
//! Each call is one attempt at one thing; pace and waits between reads belong to `retrieval`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::operation::get_records::GetRecords;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Shard as SdkShard, ShardFilter as SdkFilter, ShardFilterType};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::direct::Direct;
use crate::stream::{Shard, ShardFilter, StreamCatalog, StreamError, StreamSummary};
use crate::types::{EpochMillis, HashKeyRange, InitialPosition, SequenceNumber, ShardId};

mod body;
mod consumers;
mod faults;
mod frames;
mod records;
mod subscription;

pub use consumers::{ConsumerStatus, StreamConsumer};
pub use subscription::Subscription;

use body::Segments;
use faults::Context;

/// Longest wait for one page of ListShards. Source: RETRIEVAL.md section 1.9.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for the head of an answer. Shorter than the readers' own limits, because only a time limit of the SDK's
/// takes a connection that nobody answers on any more out of its pool.
const HEAD_LIMIT: Duration = Duration::from_secs(25);
/// The same for SubscribeToShard, which brings no records with its head. A subscription that fell silent is mostly one
/// of many on a connection that is dead, and its successor is sent on the same one.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(8);
/// Longest wait for a TCP and TLS connection of the reading calls.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One stream of one account and region.
#[derive(Debug)]
pub struct Kinesis {
    /// With the SDK's retries, for calls that are rare.
    client: Client,
    /// Without the SDK's retries and limits of whole operations, for reading: the readers have back-off and limits of
    /// their own, and an operation limit would cut a subscription short.
    reader: Client,
    /// The short way of GetRecords.
    direct: Arc<Direct>,
    subscribe_limits: TimeoutConfig,
    stream: String,
    region: String,
    list_shards_backoff: Duration,
    max_list_shards_tries: u32,
    told_of_slow_path: AtomicBool,
    segments: Arc<Segments>,
}

impl Kinesis {
    /// Takes a client that is set up for region, endpoint and credentials. `region` is for messages only.
    #[must_use]
    pub fn new(client: Client, stream_name: String, region: String) -> Self {
        Self::with_limits(client, stream_name, region, HEAD_LIMIT, SUBSCRIBE_LIMIT)
    }

    fn with_limits(client: Client, stream_name: String, region: String, head: Duration, subscribe: Duration) -> Self {
        let limits = |head| {
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_LIMIT)
                .read_timeout(head)
                .disable_operation_timeout()
                .disable_operation_attempt_timeout()
                .build()
        };
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).timeout_config(limits(head));
        Self {
            client,
            reader: Client::from_conf(config.build()),
            direct: Direct::new(&GetRecords::new()),
            subscribe_limits: limits(subscribe),
            stream: stream_name,
            region,
            list_shards_backoff: Duration::from_millis(1_500),
            max_list_shards_tries: 50,
            told_of_slow_path: AtomicBool::new(false),
            segments: Arc::default(),
        }
    }

    /// Sets the wait and the number of tries when ListShards is refused for load (default 1.5 s and 50).
    ///
    /// Source: KCL 3.x `listShardsBackoffTimeInMillis`, `maxListShardsRetryAttempts`.
    #[must_use]
    pub fn with_list_shards_retries(self, backoff: Duration, tries: u32) -> Self {
        Self { list_shards_backoff: backoff, max_list_shards_tries: tries.max(1), ..self }
    }

    /// Name of the stream.
    #[must_use]
    pub fn stream_name(&self) -> &str {
        &self.stream
    }

    fn context(&self, action: &'static str) -> Context<'_> {
        Context { action, stream: &self.stream, region: &self.region }
    }

    /// Asks for the stream's name in full.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn describe_summary(&self) -> Result<StreamSummary, StreamError> {
        let context = self.context("DescribeStreamSummary");
        let call = self.client.describe_stream_summary().stream_name(&self.stream).send();
        let answer = Box::pin(call).await.map_err(|error| context.stream_error(error))?;
        let Some(summary) = answer.stream_description_summary else { return Err(context.unreadable("no description")) };
        let created_at = summary.stream_creation_timestamp.to_millis().ok().map(EpochMillis);
        Ok(StreamSummary { arn: summary.stream_arn, created_at })
    }

    /// One page, asked for until it comes or the tries are used up.
    async fn page(
        &self,
        filter: ShardFilter,
        token: Option<&str>,
    ) -> Result<(Vec<SdkShard>, Option<String>), StreamError> {
        let context = self.context("ListShards");
        let mut tries = 0;
        loop {
            tries += 1;
            let request = self.client.list_shards();
            // the service refuses a token together with a name
            let request = match token {
                Some(token) => request.next_token(token),
                None => request.stream_name(&self.stream).set_shard_filter(sdk_filter(filter)),
            };
            let error = match timeout(LIST_LIMIT, Box::pin(request.send())).await {
                Ok(Ok(page)) => return Ok((page.shards.unwrap_or_default(), page.next_token)),
                Ok(Err(error)) => context.stream_error(error),
                Err(_) => context.unreadable(format!("no answer within {LIST_LIMIT:?}")),
            };
            if tries >= self.max_list_shards_tries || !matches!(error, StreamError::Limited { .. }) {
                return Err(error);
            }
            debug!(%error, tries, wait = ?self.list_shards_backoff, "the list of shards must wait");
            sleep(self.list_shards_backoff).await;
        }
    }
}

#[async_trait]
impl StreamCatalog for Kinesis {
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, StreamError> {
        let (mut listed, mut next) = self.page(filter, None).await?;
        while let Some(token) = next {
            let (page, token) = self.page(filter, Some(&token)).await?;
            listed.extend(page);
            next = token;
        }
        let unreadable = |id: String| self.context("ListShards").unreadable(format!("shard `{id}` is described badly"));
        listed.into_iter().map(|shard| shard_of(&shard).ok_or_else(|| unreadable(shard.shard_id))).collect()
    }
}

fn sdk_filter(filter: ShardFilter) -> Option<SdkFilter> {
    let ShardFilter::At(position) = filter else { return None };
    let filter = match position {
        InitialPosition::Latest => SdkFilter::builder().r#type(ShardFilterType::AtLatest),
        InitialPosition::TrimHorizon => SdkFilter::builder().r#type(ShardFilterType::AtTrimHorizon),
        InitialPosition::AtTimestamp(EpochMillis(millis)) => {
            SdkFilter::builder().r#type(ShardFilterType::AtTimestamp).timestamp(DateTime::from_millis(millis))
        }
    };
    filter.build().ok() // fails only without a type
}

fn shard_of(shard: &SdkShard) -> Option<Shard> {
    let sequences = shard.sequence_number_range()?;
    let ending_sequence = match sequences.ending_sequence_number() {
        Some(text) => Some(text.parse::<SequenceNumber>().ok()?),
        None => None,
    };
    Some(Shard {
        id: ShardId::new(shard.shard_id()),
        parent: shard.parent_shard_id().map(ShardId::new),
        adjacent_parent: shard.adjacent_parent_shard_id().map(ShardId::new),
        hash_range: range_of(shard.hash_key_range()?)?,
        starting_sequence: sequences.starting_sequence_number().parse().ok()?,
        ending_sequence,
    })
}

fn range_of(range: &aws_sdk_kinesis::types::HashKeyRange) -> Option<HashKeyRange> {
    Some(HashKeyRange { start: range.starting_hash_key().parse().ok()?, end: range.ending_hash_key().parse().ok()? })
}

#[cfg(test)]
#[path = "kinesis/half_open_tests.rs"]
mod half_open_tests;
#[cfg(test)]
#[path = "kinesis_tests.rs"]
mod tests;
