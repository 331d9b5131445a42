//! Wall time as a seam. Monotonic time is tokio's own, which tests can pause.
//!
//! Nothing else in the crate may ask the system for the time of day.

use crate::types::EpochMillis;

pub mod service;
pub mod skew;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now, in milliseconds since the Unix epoch.
    fn now(&self) -> EpochMillis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time of day")]
    fn now(&self) -> EpochMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        EpochMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that follows tokio's monotonic time from a fixed start, so that it stands still when tests pause time.
#[derive(Clone, Copy, Debug)]
pub struct PausedClock {
    start: EpochMillis,
    began: tokio::time::Instant,
}

impl PausedClock {
    /// Begins at `start`, now.
    #[must_use]
    pub fn new(start: EpochMillis) -> Self {
        Self { start, began: tokio::time::Instant::now() }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> EpochMillis {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        EpochMillis(self.start.0.saturating_add(passed))
    }
}
