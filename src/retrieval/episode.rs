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

/// How loud a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Debug,
    Warn,
    Error,
}

impl Episode {
    /// Counts one more failure of `action` and says how many there are now.
    pub(crate) fn failed(&mut self, action: &'static str, fault: &FetchError) -> u32 {
        self.began.get_or_insert_with(Instant::now);
        let line = self.count(fault);
        let (failures, reason) = (self.failures, causes(fault));
        match line {
            Line::Debug => debug!(action, failures, %reason, "reading failed, will try again"),
            Line::Warn => warn!(action, failures, %reason, "reading failed, will try again"),
            Line::Error => error!(action, failures, %reason, "reading is not allowed, will try again"),
        }
        failures
    }

    /// Counts a failure and decides how loud it is.
    fn count(&mut self, fault: &FetchError) -> Line {
        self.failures = self.failures.saturating_add(1);
        // one expired iterator is what a slow child leads to, and is cured at once
        let harmless = self.failures == 1 && matches!(fault, FetchError::Expired);
        if harmless || (self.told && !self.failures.is_multiple_of(REMIND_EVERY)) {
            return Line::Debug;
        }
        self.told = true;
        if matches!(fault, FetchError::AccessDenied { .. }) { Line::Error } else { Line::Warn }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::script::{throttled, transient};

    /// Lines of a row of failures, those above debug, with the number of the failure.
    fn lines(faults: impl IntoIterator<Item = FetchError>) -> Vec<(u32, Line)> {
        let mut episode = Episode::default();
        let lines = faults.into_iter().map(|fault| (episode.count(&fault), episode.failures));
        lines.filter(|(line, _)| *line != Line::Debug).map(|(line, nth)| (nth, line)).collect()
    }

    #[test]
    fn a_row_of_failures_has_one_line_and_a_rare_reminder() {
        assert_eq!(lines((0..99).map(|_| throttled())), [(1, Line::Warn)]);
        assert_eq!(lines((0..250).map(|_| transient())), [(1, Line::Warn), (100, Line::Warn), (200, Line::Warn)]);
    }

    #[test]
    fn one_expired_iterator_has_no_line_but_what_follows_it_has() {
        assert_eq!(lines([FetchError::Expired]), []);
        assert_eq!(lines([FetchError::Expired, transient(), transient()]), [(2, Line::Warn)]);
        assert_eq!(lines([FetchError::Expired, FetchError::Expired]), [(2, Line::Warn)]);
    }

    #[test]
    fn denied_access_is_an_error() {
        let denied = || FetchError::AccessDenied { action: "GetRecords", source: "no policy allows it".into() };
        assert_eq!(lines([denied(), denied()]), [(1, Line::Error)]);
        assert!(causes(&denied()).ends_with("no policy allows it"));
    }

    #[test]
    fn success_ends_the_row() {
        let mut episode = Episode::default();
        episode.failed("GetRecords", &throttled());
        episode.recovered("GetRecords");
        assert_eq!(episode.failed("GetRecords", &throttled()), 1);
    }
}
