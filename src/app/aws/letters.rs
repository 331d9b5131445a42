//! Services that keep dead letters: SQS, S3, Kinesis.
//!
//! SQS and S3 are asked for one operation each, which is too little for their SDK crates: that of S3 alone would add a
//! minute and a half of CPU time to a release build. `signed` sends it through the SDK's own machinery.

use std::time::Duration;

use anyhow::bail;
use async_trait::async_trait;
use aws_config::SdkConfig;
use tokio::time::timeout;

use super::http::HttpClients;
use crate::config::DeadLetters;
use crate::coordinator::renew::chain;
use crate::poison::letter::Letter;
use crate::poison::target::{NotStored, Target};

mod queue;
mod s3;
mod signed;
mod stream;

/// Limit of one request; a letter has 14 MB at most, and goes to S3 in one piece.
const LIMIT: Duration = Duration::from_secs(60);

/// What all of them are made of.
#[derive(Clone, Debug)]
pub(super) struct Means {
    /// Region, credentials, time-outs: those of Kinesis.
    pub(super) base: SdkConfig,
    pub(super) http: HttpClients,
    pub(super) region: String,
    /// The client that reads.
    pub(super) kinesis: aws_sdk_kinesis::Client,
}

/// What a look at a target tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is there.
    There,
    /// The service answers, and does not let us look.
    Untold,
}

/// A service that keeps letters.
#[derive(Debug)]
pub enum Keeper {
    /// SQS.
    Queue(queue::Queue),
    /// S3.
    S3(Box<s3::S3>),
    /// Kinesis.
    Stream(stream::Stream),
}

impl Keeper {
    /// Makes the client of the target; `None` for a file.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub(super) fn new(target: &DeadLetters, means: &Means) -> anyhow::Result<Option<Self>> {
        if matches!(target, DeadLetters::File(_)) {
            return Ok(None);
        }
        if means.base.credentials_provider().is_none() {
            bail!(
                "{target} takes signed requests, and AwsCredentialsProvider gives no credentials; name others, or \
                   write dead letters to a file"
            );
        }
        Ok(match target {
            DeadLetters::File(_) => None,
            DeadLetters::Queue(to) => Some(Self::Queue(queue::Queue::new(to, means))),
            DeadLetters::S3(to) => Some(Self::S3(Box::new(s3::S3::new(to, means)))),
            DeadLetters::Stream(to) => Some(Self::Stream(stream::Stream::new(to, means))),
        })
    }

    /// What a policy has to allow.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Queue(_) => "sqs:SendMessage",
            Self::S3(_) => "s3:PutObject",
            Self::Stream(_) => "kinesis:PutRecord",
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::S3(_) => "bucket",
            Self::Stream(_) => "stream",
        }
    }

    /// Looks whether the target is there, by a call that changes nothing and needs more than letters do.
    ///
    /// # Errors
    /// It cannot be reached or is not there; one sentence.
    pub async fn look(&self) -> Result<Look, String> {
        match self {
            Self::Queue(queue) => queue.look().await,
            Self::S3(s3) => s3.look().await,
            Self::Stream(stream) => stream.look().await,
        }
    }
}

#[async_trait]
impl Target for Keeper {
    async fn store(&self, letter: &Letter<'_>) -> Result<(), NotStored> {
        let stored = match self {
            Self::Queue(queue) => queue.store(letter).await,
            Self::S3(s3) => s3.store(letter).await,
            Self::Stream(stream) => stream.store(letter).await,
        };
        stored.map_err(NotStored::Yet)
    }
}

/// What there is to say of an answer in another form than the service's.
fn unknown(service: &str, status: u16, check: &str) -> String {
    match status {
        500.. => format!("{service}, or what stands before it, answered {status} without a reason"),
        _ => format!("the answer {status} is not {service}'s; check {check} and what stands between"),
    }
}

/// The answer to one request.
///
/// # Errors
/// It fails, or takes too long.
async fn in_time<T, E: std::error::Error + 'static>(request: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {LIMIT:?}; check endpoint, proxy and network")),
    }
}
