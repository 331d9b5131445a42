//! What the workers report of their load, against the average of the fleet.
//!
//! Source: KCL 3.x `WorkerMetricStats`; LEASES.md section 4.

use std::collections::BTreeMap;

use super::scene::{Carrier, LARGEST, Scene};
use crate::lease::WorkerRow;

/// Name of the metric of workers that report none: their share of the throughput, 100 being an even one.
const SHARE: &str = "T";
/// Operating range of that metric.
const SHARE_RANGE: f64 = 100.0;
/// A row with a metric of this name is taken as one without any (Source: KCL 3.x `isUsingDefaultWorkerMetric`).
const THROUGHPUT: &str = "THROUGHPUT";

/// What no worker may go above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Leases.
    pub(super) leases: usize,
    /// KiB a second.
    pub(super) kbps: f64,
}

impl Limits {
    /// Whether the worker may be given one more lease. One that carries exactly the most may, as in Java.
    pub(super) fn leave_room(self, carrier: &Carrier<'_>) -> bool {
        carrier.leases < self.leases && carrier.kbps <= self.kbps
    }
}

/// One metric of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    /// Which metric: its place in [`Averages`].
    pub(super) metric: usize,
    /// Its smoothed value, raised by what the worker is given.
    pub(super) value: f64,
    /// Upper end of its operating range.
    pub(super) range: f64,
}

/// The mean of each metric over the workers that report it, by the order of their names.
pub(super) type Averages = Vec<f64>;

/// Whether the worker reports nothing that its load could be told from.
pub(in crate::coordinator) fn reports_nothing(row: &WorkerRow) -> bool {
    row.stats.is_empty() || row.stats.contains_key(THROUGHPUT)
}

/// The gauges of each worker of `scene`, and the averages of the fleet. `fair` is an even share of the throughput, KiB a
/// second, not 0.
pub(super) fn gauges(scene: &Scene<'_>, alpha: f64, fair: f64) -> (Vec<Vec<Gauge>>, Averages) {
    let mut metrics: BTreeMap<&str, Vec<(usize, f64, f64)>> = BTreeMap::new();
    for (place, carrier) in scene.carriers.iter().enumerate() {
        match carrier.row.filter(|row| !reports_nothing(row)) {
            Some(row) => {
                for (name, values) in &row.stats {
                    let range = row.operating_ranges.get(name).and_then(|range| range.first());
                    let range = range.map_or(LARGEST, |range| bounded(*range));
                    metrics.entry(name).or_default().push((place, smoothed(values, alpha), range));
                }
            }
            None => metrics.entry(SHARE).or_default().push((place, carrier.kbps / fair * 100.0, SHARE_RANGE)),
        }
    }
    let mut gauges = vec![Vec::new(); scene.carriers.len()];
    let mut averages = Averages::new();
    for (metric, values) in metrics.into_values().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a count of workers")]
        averages.push(values.iter().map(|(_, value, _)| value).sum::<f64>() / values.len() as f64);
        for (place, value, range) in values {
            gauges[place].push(Gauge { metric, value, range });
        }
    }
    (gauges, averages)
}

/// The moving average over values, oldest first; -1 stands for a sample that failed. 0 without any.
///
/// Source: KCL 3.x `WorkerMetricStats.computeAverage`, `ExponentialMovingAverage`.
fn smoothed(values: &[f64], alpha: f64) -> f64 {
    let measured = values.iter().filter(|value| **value != -1.0).map(|value| bounded(*value));
    measured.reduce(|before, value| alpha * value + (1.0 - alpha) * before).unwrap_or(0.0)
}

fn bounded(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-LARGEST, LARGEST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_samples_are_left_out_of_the_moving_average() {
        let table: [(&[f64], f64); 6] = [
            (&[], 0.0),
            (&[-1.0], 0.0),
            (&[40.0], 40.0),
            (&[40.0, 80.0], 60.0),
            (&[40.0, -1.0, 80.0], 60.0),
            (&[0.0, 80.0, 80.0], 60.0),
        ];
        for (values, average) in table {
            assert_eq!(smoothed(values, 0.5).to_bits(), average.to_bits(), "{values:?}");
        }
    }
}
