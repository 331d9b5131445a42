//! The consumer's ARN for enhanced fan-out: given, found, or registered.
//!
//! A consumer is never deregistered here, because other workers of the application use it.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::config::FanOut;
use crate::stream::kinesis::{ConsumerStatus, Kinesis, StreamConsumer};
use crate::stream::{StreamError, StreamSummary};

/// Longest wait until a new consumer is ready; it takes some ten seconds as a rule.
const ACTIVE_LIMIT: Duration = Duration::from_secs(120);
/// Waits between two looks at it.
const ACTIVE_WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// How much the wait after a refusal may grow.
const GROWTH: u32 = 8;
const REGISTER: &str = "RegisterStreamConsumer";

/// Finds or makes the consumer that `settings` name, and waits until it is ready.
///
/// Source: KCL 3.x `FanOutConsumerRegistration.getOrCreateStreamConsumerArn`; there registering is retried without
/// any wait.
///
/// # Errors
/// The stream is missing, access is denied, the stream takes no more consumers, or the consumer is not ready in time.
pub async fn consumer_arn(kinesis: &Kinesis, settings: &FanOut) -> Result<String, StreamError> {
    arn_from(kinesis, settings).await
}

/// The calls of registration.
#[async_trait]
trait ConsumerApi: Sync {
    fn stream_name(&self) -> &str;
    async fn summary(&self) -> Result<StreamSummary, StreamError>;
    async fn find(&self, stream_arn: &str, name: &str) -> Result<Option<StreamConsumer>, StreamError>;
    async fn register(&self, stream_arn: &str, name: &str) -> Result<Option<StreamConsumer>, StreamError>;
}

#[async_trait]
impl ConsumerApi for Kinesis {
    fn stream_name(&self) -> &str {
        Self::stream_name(self)
    }

    async fn summary(&self) -> Result<StreamSummary, StreamError> {
        self.describe_summary().await
    }

    async fn find(&self, stream_arn: &str, name: &str) -> Result<Option<StreamConsumer>, StreamError> {
        self.describe_stream_consumer(stream_arn, name).await
    }

    async fn register(&self, stream_arn: &str, name: &str) -> Result<Option<StreamConsumer>, StreamError> {
        self.register_stream_consumer(stream_arn, name).await
    }
}

async fn arn_from(api: &impl ConsumerApi, settings: &FanOut) -> Result<String, StreamError> {
    if let Some(arn) = &settings.consumer_arn {
        return Ok(arn.clone());
    }
    let name = settings.consumer_name.as_str();
    let wait = settings.retry_backoff;
    let stream = retried(settings.max_describe_stream_summary_retries, wait, || api.summary()).await?;
    let began = Instant::now();
    let mut looks = 0;
    loop {
        let tries = settings.max_describe_stream_consumer_retries;
        let mut consumer = retried(tries, wait, || api.find(&stream.arn, name)).await?;
        if consumer.is_none() {
            info!(consumer = name, "registering a consumer for enhanced fan-out");
            let tries = settings.register_stream_consumer_retries;
            consumer = retried(tries, wait, || api.register(&stream.arn, name)).await.map_err(with_cures)?;
        }
        match consumer {
            Some(StreamConsumer { arn, status: ConsumerStatus::Active }) => return Ok(arn),
            Some(StreamConsumer { status, .. }) => debug!(?status, "the consumer is not ready yet"),
            None => debug!("somebody else is registering the consumer"),
        }
        if began.elapsed() >= ACTIVE_LIMIT {
            return Err(StreamError::Limited {
                action: "DescribeStreamConsumer",
                stream: api.stream_name().to_owned(),
                reason: format!("consumer `{name}` was not ACTIVE within {ACTIVE_LIMIT:?}"),
            });
        }
        looks += 1;
        sleep(ACTIVE_WAITS.jittered(looks)).await;
    }
}

/// Calls at most `tries` times while the service refuses for load or limits, with growing waits.
async fn retried<T, F>(tries: u32, first_wait: Duration, mut call: impl FnMut() -> F) -> Result<T, StreamError>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let waits = Backoff::new(first_wait, first_wait.saturating_mul(GROWTH));
    let mut failures = 0;
    loop {
        match call().await {
            Err(error @ StreamError::Limited { .. }) if failures + 1 < tries => {
                failures += 1;
                if failures == 1 {
                    warn!(%error, "setting up enhanced fan-out must wait");
                }
                sleep(waits.jittered(failures)).await;
            }
            Ok(value) => return Ok(value),
            Err(error) => return Err(error),
        }
    }
}

/// Says in words what a refused registration most probably means.
///
/// Source: Kinesis Data Streams quotas (20 registered consumers a stream).
fn with_cures(error: StreamError) -> StreamError {
    match error {
        StreamError::Limited { action: REGISTER, stream, reason } => StreamError::Limited {
            action: REGISTER,
            stream,
            reason: format!(
                "{reason}; a stream takes 20 registered consumers: deregister one that is not used, name one that is \
                 there with fanoutConfig.consumerName, or read without one with retrievalMode=POLLING"
            ),
        },
        other @ (StreamError::Limited { .. }
        | StreamError::Missing { .. }
        | StreamError::AccessDenied { .. }
        | StreamError::Service { .. }) => other,
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
