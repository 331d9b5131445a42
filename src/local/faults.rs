//! Failures on order for the Kinesis side: the next N calls of an operation fail, wait or lose their connection.
//!
//! Only tests give orders; without any, requests pass untouched.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::repair::wire::Wire;

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The call is not performed and answered with this status and `__type`.
    Answer {
        /// HTTP status, such as 400 or 500.
        status: u16,
        /// Error type, such as `ProvisionedThroughputExceededException`.
        error: &'static str,
    },
    /// The call is performed after this time.
    Wait(Duration),
    /// The call is not performed; its connection breaks.
    Drop,
    /// The call is performed, then its connection breaks before the answer.
    LoseAnswer,
}

impl Fault {
    /// The refusal of both the read and the write limits.
    pub const THROTTLED: Self = Self::Answer { status: 400, error: "ProvisionedThroughputExceededException" };
}

#[derive(Debug, Default)]
struct Orders {
    faults: HashMap<String, VecDeque<Fault>>,
    calls: HashMap<String, usize>,
}

/// Orders faults and counts calls; clones give orders to the same backend.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Orders>>);

impl Faults {
    /// The next `calls` calls of `operation` (such as `GetRecords`) meet `fault`, after those ordered before.
    pub fn next(&self, operation: &str, calls: usize, fault: &Fault) {
        let mut orders = self.orders();
        orders.faults.entry(operation.to_owned()).or_default().extend(std::iter::repeat_n(fault.clone(), calls));
    }

    /// Takes back every order that has not been carried out.
    pub fn clear(&self) {
        self.orders().faults.clear();
    }

    /// How many calls of `operation` arrived so far, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: &str) -> usize {
        self.orders().calls.get(operation).copied().unwrap_or_default()
    }

    fn take(&self, operation: &str) -> Option<Fault> {
        let mut orders = self.orders();
        *orders.calls.entry(operation.to_owned()).or_default() += 1;
        orders.faults.get_mut(operation)?.pop_front()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer in front of the repair layer.
pub(super) async fn inject(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    let operation = super::repair::operation(&request).to_owned();
    match faults.take(&operation) {
        None => next.run(request).await,
        Some(Fault::Wait(time)) => {
            tokio::time::sleep(time).await;
            next.run(request).await
        }
        Some(Fault::Answer { status, error }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Wire::of(&request).refuse(status, error, "fault on order")
        }
        Some(Fault::Drop) => broken(),
        Some(Fault::LoseAnswer) => {
            next.run(request).await;
            broken()
        }
    }
}

/// A body that fails before its first byte makes the server break the connection.
fn broken() -> Response {
    let lost = futures_util::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("fault on order")) });
    Response::new(Body::from_stream(lost))
}
