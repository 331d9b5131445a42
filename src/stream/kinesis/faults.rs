//! What the SDK's errors mean for the caller's next move.

use std::error::Error;
use std::fmt;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::stream::StreamError;
use crate::stream::fetch::FetchError;

/// What was asked of whom; goes into messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) action: &'static str,
    pub(super) stream: &'a str,
    pub(super) region: &'a str,
}

/// An error code of the service, by what the caller does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Expired,
    Invalid,
    Throttled,
    InUse,
    Missing,
    Denied,
    Other,
}

/// Source: RETRIEVAL.md sections 1.5 and 2.4; codes of the Kinesis API reference.
fn meaning(code: Option<&str>) -> Meaning {
    match code.unwrap_or_default() {
        "ExpiredIteratorException" => Meaning::Expired,
        "InvalidArgumentException" => Meaning::Invalid,
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "SlowDown" => Meaning::Throttled,
        "ResourceInUseException" => Meaning::InUse,
        "ResourceNotFoundException" => Meaning::Missing,
        "AccessDeniedException" | "AccessDenied" => Meaning::Denied,
        _ => Meaning::Other,
    }
}

/// A fault in the words of the service, or of the connection.
fn reason<E, R>(error: &SdkError<E, R>) -> String
where
    SdkError<E, R>: ProvideErrorMetadata + Error,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

pub(super) fn fetch_error<E, R>(action: &'static str, error: SdkError<E, R>) -> FetchError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let (meaning, reason) = (meaning(error.code()), reason(&error));
    as_fetch_error(action, meaning, reason, error.into())
}

/// An exception in the middle of a subscription.
pub(super) fn exception(action: &'static str, code: &str, message: &str) -> FetchError {
    let reason = format!("{code}: {message}");
    as_fetch_error(action, meaning(Some(code)), reason.clone(), reason.into())
}

fn as_fetch_error(
    action: &'static str,
    meaning: Meaning,
    reason: String,
    source: Box<dyn Error + Send + Sync>,
) -> FetchError {
    match meaning {
        Meaning::Expired => FetchError::Expired,
        Meaning::Invalid => FetchError::InvalidIterator(reason),
        Meaning::Throttled => FetchError::Throttled(reason),
        Meaning::InUse => FetchError::Busy(reason),
        Meaning::Missing => FetchError::ShardGone,
        Meaning::Denied => FetchError::AccessDenied { action, source },
        Meaning::Other => FetchError::Transient { action, source },
    }
}

impl Context<'_> {
    pub(super) fn stream_error<E, R>(&self, error: SdkError<E, R>) -> StreamError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let (action, stream) = (self.action, self.stream.to_owned());
        match meaning(error.code()) {
            Meaning::Missing => StreamError::Missing { stream, region: self.region.to_owned() },
            Meaning::Denied => StreamError::AccessDenied { action, stream, source: error.into() },
            // a stream in change is asked again, as one under load is
            Meaning::Throttled | Meaning::InUse => StreamError::Limited { action, stream, reason: reason(&error) },
            Meaning::Expired | Meaning::Invalid | Meaning::Other => {
                StreamError::Service { action, stream, source: error.into() }
            }
        }
    }

    /// The service said something that cannot be, or nothing.
    pub(super) fn unreadable(&self, what: impl Into<Box<dyn Error + Send + Sync>>) -> StreamError {
        StreamError::Service { action: self.action, stream: self.stream.to_owned(), source: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_service_tell_the_next_move() {
        let table = [
            (Some("ExpiredIteratorException"), Meaning::Expired),
            (Some("InvalidArgumentException"), Meaning::Invalid),
            (Some("ProvisionedThroughputExceededException"), Meaning::Throttled),
            (Some("LimitExceededException"), Meaning::Throttled),
            (Some("KMSThrottlingException"), Meaning::Throttled),
            (Some("ResourceInUseException"), Meaning::InUse),
            (Some("ResourceNotFoundException"), Meaning::Missing),
            (Some("AccessDeniedException"), Meaning::Denied),
            (Some("KMSAccessDeniedException"), Meaning::Other), // the key, not the stream; it may be granted again
            (Some("InternalFailure"), Meaning::Other),
            (None, Meaning::Other),
        ];
        for (code, expected) in table {
            assert_eq!(meaning(code), expected, "{code:?}");
        }
    }
}
