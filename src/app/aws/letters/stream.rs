//! Letters into a Kinesis stream; those of a shard go into one shard, in their order.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Builder, Region};
use aws_sdk_kinesis::primitives::Blob;

use super::{Look, Means, in_time, unknown};
use crate::config::dead_letters::LetterStream;
use crate::poison::letter::Letter;

/// Data and partition key of a record are 1 MiB in every stream, more where somebody asked for it (Source: Kinesis API,
/// `UpdateMaxRecordSize`); a partition key has at most 1 KiB.
const MOST: usize = (1 << 20) - 1024;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    to: LetterStream,
    client: Client,
}

impl Stream {
    /// With the client that reads, unless the ARN names another region.
    pub(super) fn new(to: &LetterStream, means: &Means) -> Self {
        let client = match &to.arn {
            Some((_, region)) if *region != means.region => {
                let elsewhere = Builder::from(&means.base).region(Region::new(region.clone()));
                Client::from_conf(elsewhere.http_client(means.http.for_url(None)).build())
            }
            Some(_) | None => means.kinesis.clone(),
        };
        Self { to: to.clone(), client }
    }

    /// # Errors
    /// One sentence.
    pub(super) async fn store(&self, letter: &Letter<'_>) -> Result<(), String> {
        for part in letter.parts(MOST) {
            let put = self.client.put_record().partition_key(letter.shard.as_str()).data(Blob::new(part));
            let put = match &self.to.arn {
                Some((arn, _)) => put.stream_arn(arn),
                None => put.stream_name(&self.to.name),
            };
            let put = in_time(put.send()).await?;
            if put.sequence_number().is_empty() {
                return Err(unknown("Kinesis", 200, "AWS_ENDPOINT_URL_KINESIS, kinesisEndpoint")); // the client takes any JSON
            }
        }
        Ok(())
    }

    /// Whether the stream is there. A policy that lets letters in need not let this through.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn look(&self) -> Result<Look, String> {
        let look = self.client.describe_stream_summary();
        let look = match &self.to.arn {
            Some((arn, _)) => look.stream_arn(arn),
            None => look.stream_name(&self.to.name),
        };
        let answer = in_time(async {
            match look.send().await {
                Err(error) if error.as_service_error().is_some_and(|error| error.is_access_denied_exception()) => {
                    Ok(Look::Untold)
                }
                answer => answer.map(|_| Look::There),
            }
        });
        answer.await
    }
}
