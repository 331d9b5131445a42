//! Registered consumers of the stream.

use aws_sdk_kinesis::types::ConsumerStatus as SdkStatus;

use super::Kinesis;
use crate::stream::StreamError;

/// A consumer that the stream knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its name in full.
    pub arn: String,
    /// Whether it can subscribe.
    pub status: ConsumerStatus,
}

/// Where a consumer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerStatus {
    /// Not ready yet.
    Creating,
    /// Ready.
    Active,
    /// About to be gone.
    Deleting,
}

fn status_of(status: &SdkStatus) -> ConsumerStatus {
    match status.as_str() {
        "ACTIVE" => ConsumerStatus::Active,
        "DELETING" => ConsumerStatus::Deleting,
        _ => ConsumerStatus::Creating,
    }
}

impl Kinesis {
    /// Looks for the consumer `name` of the stream `stream_arn`; `None` if there is none.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn describe_stream_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<Option<StreamConsumer>, StreamError> {
        let context = self.context("DescribeStreamConsumer");
        let call = self.client.describe_stream_consumer().stream_arn(stream_arn).consumer_name(name).send();
        let answer = match Box::pin(call).await.map_err(|error| context.stream_error(error)) {
            Ok(answer) => answer,
            Err(StreamError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(found) = answer.consumer_description else { return Err(context.unreadable("no description")) };
        let status = status_of(&found.consumer_status);
        Ok(Some(StreamConsumer { arn: found.consumer_arn, status }))
    }

    /// Registers the consumer `name`; `None` if somebody else has done it meanwhile.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn register_stream_consumer(
        &self,
        stream_arn: &str,
        name: &str,
    ) -> Result<Option<StreamConsumer>, StreamError> {
        let context = self.context("RegisterStreamConsumer");
        let call = self.client.register_stream_consumer().stream_arn(stream_arn).consumer_name(name).send();
        let answer = match Box::pin(call).await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {
                return Ok(None);
            }
            Err(error) => return Err(context.stream_error(error)),
        };
        let Some(found) = answer.consumer else { return Err(context.unreadable("no consumer in the answer")) };
        Ok(Some(StreamConsumer { status: status_of(&found.consumer_status), arn: found.consumer_arn }))
    }
}
