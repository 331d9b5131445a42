//! How busy this machine is, as the Java worker would say it: percent of the CPU that this process may use.
//!
//! The readers are pure: text in, value out. Files and HTTP stay in [`machine`], [`http`] and [`ec2`].
//! Source: KCL 3.x `worker.WorkerMetricsSelector`, `worker.platform`, `worker.metric`.

use async_trait::async_trait;

pub mod cgroup;
pub mod core_time;
pub mod ec2;
pub mod ecs;
pub mod http;
pub mod load;
pub mod machine;
pub mod memory;
pub mod platform;
pub mod proc_stat;
pub mod samples;

/// Why there is no figure: one sentence with the thing, its value and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotMeasured(pub String);

/// The machine, as far as its load goes.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Finds out how the CPU is measured here; `None` where the Java worker measures nothing. May take 20 s.
    async fn find_cpu(&self) -> Option<Box<dyn Cpu>>;
}

/// The CPU, measured by what happened since the last look.
#[async_trait]
pub trait Cpu: Send {
    /// Percent, 0 to 100, of what this process may use.
    ///
    /// # Errors
    /// Something could not be read, or makes no sense.
    async fn percent(&mut self) -> Result<f64, NotMeasured>;
}

/// A machine of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

#[async_trait]
impl Host for Unknown {
    async fn find_cpu(&self) -> Option<Box<dyn Cpu>> {
        None
    }
}

/// Takes a percentage only if it is one.
///
/// Source: KCL 3.x `WorkerMetric.WorkerMetricValue`, which throws below 0 and above 100. Java lets "no number" pass here and
/// then fails to write the row; we count it as a sample that failed.
fn percentage(value: f64) -> Result<f64, NotMeasured> {
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    Err(NotMeasured(format!("the CPU share comes out as {value} percent; expected 0 to 100")))
}

/// Takes what bursts past its share for all of it. Source: KCL 3.x, all three container metrics.
fn at_most_100(percent: f64) -> f64 {
    if percent > 100.0 { 100.0 } else { percent } // `min` would take "no number" for 100
}
