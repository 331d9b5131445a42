//! CPU time used between two looks, as a share of the cores that may be used. Pure.

use std::time::Duration;

use super::{NotMeasured, at_most_100, percentage};

/// Remembers the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreTime {
    last: Option<(Duration, Duration)>,
}

impl CoreTime {
    /// Percent of `cores` used since the last look: `used` is CPU time since some beginning, `now` time since another.
    /// The first look has nothing to compare with and says 0. Above 100 is rounding and says 100.
    ///
    /// Source: KCL 3.x `Cgroupv2CpuWorkerMetric.calculateCpuUsage`, `Cgroupv1CpuWorkerMetric.calculateCpuUsage`.
    ///
    /// # Errors
    /// A clock went back, no time passed, or there are no cores.
    pub fn percent(&mut self, used: Duration, now: Duration, cores: f64) -> Result<f64, NotMeasured> {
        let Some((used_before, before)) = self.last.replace((used, now)) else { return Ok(0.0) };
        let (Some(used), Some(passed)) = (used.checked_sub(used_before), now.checked_sub(before)) else {
            return Err(NotMeasured(format!("CPU time went back, from {used_before:?} to {used:?}; expected more")));
        };
        if passed.is_zero() {
            return Err(NotMeasured("no time passed since the last look at the CPU; expected some".to_owned()));
        }
        percentage(at_most_100(used.as_secs_f64() / passed.as_secs_f64() / cores * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_share_is_busy_time_over_passed_time_over_cores() {
        let table = [
            // used between two looks a second apart, cores, percent
            (MILLI(500), 2.0, 25.0), // Source: KCL 3.x `Cgroupv2CpuWorkerMetricsTest.sanity_capture`
            (MILLI(500), 8.0, 6.25), // Source: `capture_noCpuLimit`
            (MILLI(0), 2.0, 0.0),
            (MILLI(100), 0.25, 40.0),
            (MILLI(900), 0.25, 100.0),
        ];
        for (used, cores, percent) in table {
            let mut time = CoreTime::default();
            assert_eq!(time.percent(MILLI(1000), MILLI(1000), cores), Ok(0.0), "the first look");
            assert_eq!(time.percent(MILLI(1000) + used, MILLI(2000), cores), Ok(percent), "{used:?} {cores}");
        }
    }

    #[test]
    fn what_is_no_share_is_an_error_and_the_next_look_is_right_again() {
        for (used, now, cores) in [(0, 2000, 1.0), (1500, 1000, 1.0), (1500, 2000, 0.0), (1500, 2000, f64::NAN)] {
            let mut time = CoreTime::default();
            time.percent(MILLI(1000), MILLI(1000), 1.0).unwrap();
            let said = time.percent(MILLI(used), MILLI(now), cores);
            // something divided by no cores is the ceiling, as in Java
            assert_eq!(said.is_err(), cores != 0.0, "{used} {now} {cores}: {said:?}");
            assert_eq!(time.percent(MILLI(used + 300), MILLI(now + 1000), 1.0), Ok(30.0));
        }
    }
}
