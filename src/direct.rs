//! Requests that are asked a thousand times a second, sent the short way.
//!
//! The SDK makes up its mind anew for every request: plugins, endpoint rules, user agent, interceptors. It costs three
//! times what the request itself does. So one request of a kind goes through it and is watched ([`Learn`]); what the SDK
//! resolved for it is a route, and the next ones go along that route. Credentials stay the business of its cache,
//! connections and their time limits that of its pool, errors that of its reader, trying again that of its rules. A
//! route is forgotten with the first answer that is none of success, and after [`GOOD_FOR`]; whatever is not as this
//! module knows it gives no route, and the SDK does the work as ever.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::interceptors::context::Error as AnyError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_types::config_bag::{FrozenLayer, Layer};
use aws_smithy_types::retry::RetryConfig;
use tokio::time::Instant;

mod learn;
mod reading;
mod route;
mod sign;

pub use learn::Learn;
use reading::Arrived;
use route::{Route, Sealed};

/// How long a route is used before the SDK is asked again.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// The short way of one operation of one client.
pub struct Direct {
    operation: FrozenLayer,
    known: Mutex<Option<(Arc<Route>, Instant)>>,
}

/// The short way, ready to be taken once.
pub struct Way<'a> {
    direct: &'a Direct,
    route: Arc<Route>,
    sealed: Arc<Sealed>,
}

/// Why a request on the short way failed, in the SDK's own types.
#[derive(Debug)]
pub struct Failed<E> {
    /// What the SDK would have said of this attempt.
    pub error: SdkError<E, HttpResponse>,
    /// After what wait the SDK would try again, if it would.
    pub again: Option<Duration>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Direct").field(&self.known().is_some()).finish()
    }
}

impl Direct {
    /// `operation` is the SDK's own type of that name.
    #[must_use]
    pub fn new(operation: &impl RuntimePlugin) -> Arc<Self> {
        let operation = operation.config().unwrap_or_else(|| Layer::new("no operation").freeze());
        Arc::new(Self { operation, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Option<(Arc<Route>, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self) -> Option<Arc<Route>> {
        let mut known = self.known();
        known.take_if(|(_, since)| since.elapsed() >= GOOD_FOR);
        known.as_ref().map(|(route, _)| Arc::clone(route))
    }

    /// The way, if one is known; else the request goes through the SDK, with [`Direct::learn`] as an interceptor.
    pub async fn way(&self) -> Option<Way<'_>> {
        let route = self.route()?;
        match route.sealed().await {
            Some(sealed) => Some(Way { direct: self, route, sealed }),
            None => {
                self.forget(&route);
                None
            }
        }
    }

    /// Watches a request of the SDK for its route.
    #[must_use]
    pub fn learn(self: &Arc<Self>) -> Learn {
        Learn::of(Arc::clone(self))
    }

    fn know(&self, route: Arc<Route>) {
        *self.known() = Some((route, Instant::now()));
    }

    fn forget(&self, route: &Arc<Route>) {
        self.known().take_if(|(known, _)| Arc::ptr_eq(known, route));
    }
}

impl Way<'_> {
    /// How the SDK tries again.
    #[must_use]
    pub fn retries(&self) -> &RetryConfig {
        self.route.reading().retries()
    }

    /// Sends `body` once and gives the answer with its body as it comes, not parsed.
    ///
    /// # Errors
    /// There was no answer of success.
    pub async fn open<E>(&self, body: Vec<u8>) -> Result<HttpResponse, SdkError<E, HttpResponse>>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let reading = self.route.reading();
        let taken = reading.capture();
        match self.route.send(&self.sealed, body, taken.clone()).await {
            Ok(answer) if answer.status().as_u16() == 200 => {
                reading.watched(answer).map_err(SdkError::construction_failure)
            }
            answer => {
                self.direct.forget(&self.route);
                match reading.result(Arrived::of(answer).await, taken) {
                    Err(failed) => Err(typed(failed.error)),
                    Ok(output) => Err(SdkError::construction_failure(format!("no answer has this form: {output:?}"))),
                }
            }
        }
    }

    /// Sends `body` once and reads the answer: with `quick` if it is one of success that `quick` understands, else with
    /// the operation's own reader.
    ///
    /// # Errors
    /// There was no answer of success; says whether the SDK would try again.
    pub async fn ask<O, E>(&self, body: Vec<u8>, quick: impl FnOnce(&[u8]) -> Option<O> + Send) -> Result<O, Failed<E>>
    where
        O: fmt::Debug + Send + Sync + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let reading = self.route.reading();
        let taken = reading.capture();
        let answer = Arrived::of(self.route.send(&self.sealed, body, taken.clone()).await).await;
        if let Some(output) = answer.as_ref().ok().and_then(Arrived::success).and_then(quick) {
            reading.succeeded();
            return Ok(output);
        }
        match reading.result(answer, taken) {
            Ok(output) => Ok(output.downcast().expect("an operation's reader gives its output")),
            Err(Failed { error, again }) => {
                self.direct.forget(&self.route);
                Err(Failed { error: typed(error), again })
            }
        }
    }
}

fn typed<E: std::error::Error + Send + Sync + 'static>(
    error: SdkError<AnyError, HttpResponse>,
) -> SdkError<E, HttpResponse> {
    error.map_service_error(|error| error.downcast().expect("an operation's reader gives its error"))
}

#[cfg(test)]
#[path = "direct/tests.rs"]
mod tests;
