//! From samples to the averages that stand in the metric row. Pure.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// Samples that one average is made of at most; the oldest go first.
///
/// Source: KCL 3.x `WorkerMetricStatsManager.HIGH_FREQUENCY_STATS_COUNT`.
const MOST_SAMPLES: usize = 300;
/// Stands for an interval without a sample. Source: `WorkerMetricStatsManager.computeMetrics`.
const FAILED: f64 = -1.0;
/// Digits behind the point are six.
const MILLIONTHS: u64 = 1_000_000;

/// Samples since the last report, and the averages of the last reports.
#[derive(Clone, Debug)]
pub struct Samples {
    fresh: VecDeque<f64>,
    averages: VecDeque<f64>,
    kept: NonZeroUsize,
}

impl Samples {
    /// Keeps the last `kept` averages.
    #[must_use]
    pub fn new(kept: NonZeroUsize) -> Self {
        Self { fresh: VecDeque::new(), averages: VecDeque::new(), kept }
    }

    /// Takes one sample.
    pub fn add(&mut self, percent: f64) {
        if self.fresh.len() == MOST_SAMPLES {
            self.fresh.pop_front();
        }
        self.fresh.push_back(percent);
    }

    /// Ends an interval: its average, or -1 without a sample, comes behind the earlier ones.
    pub fn report(&mut self) -> Vec<f64> {
        let count = self.fresh.len();
        let sum: f64 = self.fresh.drain(..).sum();
        #[expect(clippy::cast_precision_loss, reason = "at most 300 samples")]
        let average = if count == 0 { FAILED } else { six_digits(sum / count as f64) };
        if self.averages.len() == self.kept.get() {
            self.averages.pop_front();
        }
        self.averages.push_back(average);
        self.averages.iter().copied().collect()
    }
}

/// Rounds to six digits behind the point, a half upwards, by the decimal digits and not by the bits.
///
/// Source: KCL 3.x `WorkerMetricStatsManager.computeAverage` (`BigDecimal.valueOf(average).setScale(6, HALF_UP)`).
fn six_digits(percent: f64) -> f64 {
    let digits = format!("{percent}");
    let Some((whole, fraction)) = digits.split_once('.') else { return percent };
    let (Some(kept), Some(next)) = (fraction.get(..6), fraction.as_bytes().get(6)) else { return percent };
    let (Ok(whole), Ok(kept)) = (whole.parse::<u64>(), kept.parse::<u64>()) else { return percent };
    let millionths = whole * MILLIONTHS + kept + u64::from(*next >= b'5');
    format!("{}.{:06}", millionths / MILLIONTHS, millionths % MILLIONTHS).parse().unwrap_or(percent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(kept: usize) -> Samples {
        Samples::new(NonZeroUsize::new(kept).unwrap())
    }

    #[test]
    fn a_report_is_the_averages_of_the_last_intervals_and_minus_one_without_a_sample() {
        let mut samples = samples(3);
        for percent in [0.0, 50.0, 100.0, 50.0] {
            samples.add(percent);
        }
        assert_eq!(samples.report(), [50.0]);
        assert_eq!(samples.report(), [50.0, -1.0]);
        samples.add(10.0);
        assert_eq!(samples.report(), [50.0, -1.0, 10.0]);
        samples.add(20.0);
        assert_eq!(samples.report(), [-1.0, 10.0, 20.0], "the oldest is gone");
    }

    #[test]
    fn an_average_is_made_of_the_last_300_samples() {
        let mut samples = samples(1);
        for percent in [100.0; 50].into_iter().chain([1.0; 300]) {
            samples.add(percent);
        }
        assert_eq!(samples.report(), [1.0]);
    }

    #[test]
    fn averages_have_six_digits_and_a_half_goes_up() {
        let table = [
            (100.0 / 3.0, 33.333_333),
            (200.0 / 3.0, 66.666_667),
            (0.000_000_5, 0.000_001),
            (0.000_000_4, 0.0),
            (2.000_000_5, 2.000_001), // by bits it is a little less than half
            (99.999_999_6, 100.0),
            (6.25, 6.25),
            (0.0, 0.0),
            (100.0, 100.0),
            (1e-12, 0.0),
        ];
        for (value, rounded) in table {
            assert_eq!(six_digits(value), rounded, "{value}");
        }
    }

    proptest! {
        #[test]
        fn rounding_stays_near_and_within_the_percentages(value in 0.0..=100.0_f64) {
            let rounded = six_digits(value);
            prop_assert!((0.0..=100.0).contains(&rounded) && (rounded - value).abs() <= 0.000_000_51);
            prop_assert_eq!(six_digits(rounded), rounded);
        }
    }
}
