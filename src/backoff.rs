//! How long to wait before the next try: growing, capped, jittered. Pure; the caller sleeps.

use std::time::Duration;

/// A growing wait: `first`, doubled at each attempt, never above `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the wait before the second attempt.
    pub first: Duration,
    /// Upper bound of every wait.
    pub most: Duration,
}

impl Backoff {
    /// A wait that begins at `first` and grows to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The wait after `failures` failed attempts (1 = the first one failed). `jitter` in 0..1 picks the point
    /// between half of the bound and the bound, so that workers that failed together do not return together.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << failures.saturating_sub(1).min(20));
        let bound = doubled.min(self.most);
        bound.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// [`Self::wait`] with a jitter of its own.
    #[must_use]
    pub fn jittered(&self, failures: u32) -> Duration {
        self.wait(failures, fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..7).map(|n| backoff.wait(n, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.wait(u32::MAX, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(backoff.wait(2, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.wait(2, 0.5), Duration::from_millis(150));
    }
}
