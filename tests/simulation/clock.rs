//! Clocks of workers, which may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use multilangd::clock::Clock;
use multilangd::types::EpochMillis;

/// The clock of one worker.
pub(crate) struct OwnClock {
    right: Arc<dyn Clock>,
    ahead_millis: AtomicI64,
}

impl OwnClock {
    /// As right as `right`.
    pub(crate) fn new(right: Arc<dyn Clock>) -> Self {
        Self { right, ahead_millis: AtomicI64::new(0) }
    }

    /// From now on it is ahead by so many seconds; negative is behind.
    pub(crate) fn set(&self, ahead_seconds: i64) {
        self.ahead_millis.store(ahead_seconds * 1000, Ordering::Relaxed);
    }
}

impl Clock for OwnClock {
    fn now(&self) -> EpochMillis {
        EpochMillis(self.right.now().0 + self.ahead_millis.load(Ordering::Relaxed))
    }
}
