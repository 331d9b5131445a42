//! How much a lease's child is given: a moving average for the lease's row, by which leaders balance.
//!
//! Source: KCL 3.x `LeaseStatsRecorder`; LEASES.md section 3.5. Java averages once a renewal, that is every third of
//! the failover time; ours come less often, so each value weighs as much as the values that Java would have taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes counted by the consumer, averaged by the keeper.
#[derive(Debug)]
pub struct Rate {
    bytes: Arc<AtomicU64>,
    since: Instant,
    average: Option<f64>,
    /// After this long a value counts for half.
    half_life: Duration,
}

impl Rate {
    /// Goes on from what the lease's row says, in KiB a second.
    #[must_use]
    pub fn new(stored: Option<f64>, half_life: Duration) -> Self {
        Self { bytes: Arc::default(), since: Instant::now(), average: stored, half_life }
    }

    /// Where the consumer counts.
    #[must_use]
    pub fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }

    /// Time since the last average.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Takes in what was counted since the last time; `None` until there was anything. KiB a second, six decimals.
    pub fn average(&mut self) -> Option<f64> {
        let passed = self.since.elapsed();
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.since = Instant::now();
        if (bytes == 0 && self.average.is_none()) || passed.is_zero() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            return self.average;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let kib = bytes as f64 / 1024.0;
        let average = match self.average {
            None => kib / passed.max(self.half_life).as_secs_f64(),
            Some(before) => {
                let kept = 0.5_f64.powf(passed.as_secs_f64() / self.half_life.as_secs_f64());
                kept * before + (1.0 - kept) * kib / passed.as_secs_f64()
            }
        };
        self.average = Some((average * 1e6).round() / 1e6);
        self.average
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_steady_rate_is_its_own_average_however_often_it_is_taken() {
        let mut rate = Rate::new(Some(0.0), SECOND * 3);
        for seconds in [1, 3, 2, 6, 30, 1] {
            advance(SECOND * seconds).await;
            rate.bytes().fetch_add(2048 * u64::from(seconds), Ordering::Relaxed);
            rate.average();
        }
        assert!((rate.average().unwrap() - 2.0).abs() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn after_javas_interval_a_value_counts_for_half_as_javas_does() {
        let mut rate = Rate::new(Some(4.0), SECOND * 3);
        advance(SECOND * 3).await;
        assert_eq!(rate.average(), Some(2.0));
        advance(SECOND * 6).await;
        assert_eq!(rate.average(), Some(0.5));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_rate_before_anything_was_given() {
        let mut rate = Rate::new(None, SECOND * 3);
        advance(SECOND * 3).await;
        assert_eq!(rate.average(), None);
        rate.bytes().fetch_add(6 * 1024, Ordering::Relaxed);
        advance(SECOND * 3).await;
        assert_eq!(rate.average(), Some(2.0));
    }
}
