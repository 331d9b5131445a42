//! One log line when trouble begins and one when it is over, however often it strikes in between.

use std::error::Error;
use std::fmt::Write;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::stream::fetch::FetchError;

/// Failures between two lines of an episode that does not end: about a quarter of an hour at the longest waits.
const REMIND_EVERY: u32 = 100;

/// A row of failures with no success in between.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    failures: u32,
    began: Option<Instant>,
    told: bool,
}

impl Episode {
    /// Counts one more failure of `action` and says how many there are now.
    pub(crate) fn failed(&mut self, action: &'static str, fault: &FetchError) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.began.get_or_insert_with(Instant::now);
        let (failures, reason) = (self.failures, causes(fault));
        // one expired iterator is what a slow child leads to, and is cured at once
        let harmless = failures == 1 && matches!(fault, FetchError::Expired);
        if harmless || (self.told && !failures.is_multiple_of(REMIND_EVERY)) {
            debug!(action, failures, %reason, "reading failed, will try again");
            return failures;
        }
        self.told = true;
        if matches!(fault, FetchError::AccessDenied { .. }) {
            error!(action, failures, %reason, "reading is not allowed, will try again");
        } else {
            warn!(action, failures, %reason, "reading failed, will try again");
        }
        failures
    }

    /// Ends the episode, if there is one.
    pub(crate) fn recovered(&mut self, action: &'static str) {
        if let Self { failures, began: Some(began), told: true } = std::mem::take(self) {
            info!(action, failures, after = ?began.elapsed(), "reading works again");
        }
    }
}

/// A fault and all that led to it.
fn causes(fault: &FetchError) -> String {
    let mut text = fault.to_string();
    let mut next = fault.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}"); // writing to a text cannot fail
        next = cause.source();
    }
    text
}
