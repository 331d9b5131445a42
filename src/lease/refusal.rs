//! What the SDK says when a request fails, turned into what the caller can do about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::LeaseStoreError;

/// Codes by which the service refuses for load.
const THROTTLED: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
];
/// Codes by which the service forbids what was asked.
const FORBIDDEN: [&str; 2] = ["AccessDeniedException", "AccessDenied"];
/// Code for a table that does not exist.
pub(crate) const NOT_FOUND: &str = "ResourceNotFoundException";
/// Code for a request that the service takes for wrong.
pub(crate) const INVALID: &str = "ValidationException";

/// One clear sentence about why a request failed; the cause of [`LeaseStoreError::Service`].
#[derive(Debug)]
pub(crate) struct Trouble(String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Trouble {}

impl Trouble {
    pub(crate) fn new(sentence: impl Into<String>) -> Box<Self> {
        Box::new(Self(sentence.into()))
    }

    pub(crate) fn no_answer(within: Duration) -> Box<Self> {
        Self::new(format!("no answer within {within:?}; check the network path to the DynamoDB endpoint"))
    }
}

/// Turns the failure of `action` on `table` into the caller's choices.
pub(crate) fn refusal<E>(action: &'static str, table: &str, limit: Duration, error: &SdkError<E>) -> LeaseStoreError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let table = table.to_owned();
    let code = code(error).unwrap_or_default();
    if THROTTLED.contains(&code) {
        LeaseStoreError::Throttled { table, action }
    } else if FORBIDDEN.contains(&code) {
        LeaseStoreError::AccessDenied { action, table, source: trouble(error, limit) }
    } else if code == NOT_FOUND {
        LeaseStoreError::TableMissing { table }
    } else {
        LeaseStoreError::Service { action, table, source: trouble(error, limit) }
    }
}

/// The service's own word for the failure, if it was the service that failed.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The service's own sentence about the failure.
pub(crate) fn message<E: ProvideErrorMetadata>(error: &SdkError<E>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default()
}

fn trouble<E>(error: &SdkError<E>, limit: Duration) -> Box<Trouble>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    if matches!(error, SdkError::TimeoutError(_)) {
        return Trouble::no_answer(limit);
    }
    if let Some(code) = code(error) {
        let said = message(error);
        return Trouble::new(if said.is_empty() {
            format!("the service answered `{code}`")
        } else {
            format!("the service answered `{code}`: {said}")
        });
    }
    let causes = causes(error);
    let unreachable = matches!(error, SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout());
    let unsent = matches!(error, SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_));
    Trouble::new(if unreachable {
        format!("the DynamoDB endpoint cannot be reached: {causes}")
    } else if unsent {
        format!("the request was not sent, check credentials, region and endpoint: {causes}")
    } else {
        format!("the answer cannot be understood: {causes}")
    })
}

/// The causes below the SDK's own wrapping, outermost first, each said once.
fn causes(error: &dyn Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}
