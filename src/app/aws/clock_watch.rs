//! Compares our clock with DynamoDB's at each answer, which costs one parsed header and no request.
//!
//! The SDK puts right by itself what a wrong clock does to signatures. What it does to our metric row it cannot know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tracing::{info, warn};

use crate::clock::skew::{News, Watch, ahead};
use crate::clock::{Clock, service};
use crate::types::EpochMillis;

/// Watches the answers of one client.
#[derive(Clone)]
pub(super) struct ClockWatch {
    clock: Arc<dyn Clock>,
    watch: Arc<Mutex<Watch>>,
    /// Age from which a leader takes the writer of a metric row for dead.
    dead_after: Duration,
}

impl std::fmt::Debug for ClockWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockWatch")
    }
}

/// When a request was sent, by our clock.
#[derive(Clone, Copy, Debug)]
struct Sent(EpochMillis);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl ClockWatch {
    /// `report_interval` is that of the metric row.
    pub(super) fn new(clock: Arc<dyn Clock>, report_interval: Duration) -> Self {
        // Source: LEASES.md section 4, step 2
        Self { clock, watch: Arc::default(), dead_after: report_interval.saturating_mul(2) }
    }

    fn compare(&self, sent: EpochMillis, date: EpochMillis) -> Option<News> {
        let ahead = ahead(sent, self.clock.now(), date.0.div_euclid(1000));
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).look(ahead)
    }

    fn tell(&self, news: News) {
        match news {
            News::Ahead(difference) => warn!(
                ?difference,
                "our clock is ahead of DynamoDB's: our load row looks fresh for that much longer, so when this worker dies \
                 leaders go on giving it leases; set the clock of this machine (NTP)"
            ),
            News::Behind(difference) => warn!(
                ?difference,
                dead_after = ?self.dead_after,
                "our clock is behind DynamoDB's: our load row looks that much older than it is, and from `dead_after` on \
                 leaders take this worker for dead and give it no lease; set the clock of this machine (NTP)"
            ),
            News::Agrees => info!("our clock agrees with DynamoDB's again"),
        }
    }
}

impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "ClockWatch"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Sent(self.clock.now()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = service::told(|name| context.response().headers().get(name));
        if let (Some(Sent(sent)), Some(date)) = (bag.load::<Sent>(), date)
            && let Some(news) = self.compare(*sent, date)
        {
            self.tell(news);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "clock_watch_tests.rs"]
mod tests;
