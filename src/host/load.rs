//! Samples the CPU in the background, for whoever writes the metric row.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::samples::Samples;
use super::{Cpu, Host, NotMeasured};
use crate::config::CpuSampling;

/// Captures before the first average: the first one has nothing to compare with.
///
/// Source: KCL 3.x `DynamicMigrationComponentsInitializer.startWorkerMetricsReporting`, whose first report waits for two.
const CAPTURES_FIRST: u32 = 2;
/// Longest time that one capture may take.
const CAPTURE_LIMIT: Duration = Duration::from_secs(5);
/// What the averages may reach, in percent. Source: KCL 3.x `WorkerMetricsSelector` (`maxUtilization(100)`).
pub const CPU_RANGE: f64 = 100.0;

/// The load of this machine, as far as it is known.
pub struct Load {
    host: Arc<dyn Host>,
    sampling: Option<CpuSampling>,
    measured: Mutex<Option<Measured>>,
    known: Notify,
}

struct Measured {
    samples: Samples,
    captures: u32,
}

impl Load {
    /// Knows nothing yet; without `sampling` it never will.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, sampling: Option<CpuSampling>) -> Self {
        Self { host, sampling, measured: Mutex::new(None), known: Notify::new() }
    }

    /// Finds out how the CPU is measured here and samples it, for ever. Where nothing is measured it only waits, without
    /// a timer.
    pub async fn measure(&self) {
        if let Some(sampling) = self.sampling
            && let Some(cpu) = self.host.find_cpu().await
        {
            *self.lock() = Some(Measured { samples: Samples::new(sampling.kept), captures: 0 });
            self.sample(cpu, sampling.every).await;
        }
        std::future::pending().await
    }

    async fn sample(&self, mut cpu: Box<dyn Cpu>, every: Duration) {
        // Workers that start together do not ask an endpoint that they share at the same instant. Source: `startManager`
        sleep(every.mul_f64(fastrand::f64())).await;
        let mut failing = false;
        loop {
            let captured = timeout(CAPTURE_LIMIT, cpu.percent()).await.unwrap_or_else(|_| {
                Err(NotMeasured(format!("measuring the CPU takes longer than {CAPTURE_LIMIT:?}; expected less")))
            });
            tell(&captured, &mut failing);
            self.take(captured.ok());
            sleep(every).await;
        }
    }

    fn take(&self, captured: Option<f64>) {
        if let Some(measured) = &mut *self.lock() {
            captured.into_iter().for_each(|percent| measured.samples.add(percent));
            measured.captures = measured.captures.saturating_add(1);
            if measured.captures == CAPTURES_FIRST {
                self.known.notify_one();
            }
        }
    }

    /// Waits until there is something to report, once.
    pub async fn known(&self) {
        self.known.notified().await;
    }

    /// Ends an interval and gives the averages in percent, oldest first; `None` while nothing is known.
    pub fn report(&self) -> Option<Vec<f64>> {
        let mut measured = self.lock();
        measured
            .as_mut()
            .filter(|measured| measured.captures >= CAPTURES_FIRST)
            .map(|measured| measured.samples.report())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line when it begins to fail and one when it works again.
fn tell(captured: &Result<f64, NotMeasured>, failing: &mut bool) {
    match captured {
        Ok(_) if *failing => info!("the CPU can be measured again"),
        Err(error) if !*failing => warn!(
            %error,
            "the CPU cannot be measured; if this lasts our row says -1, and a leader gives no lease to such a worker; \
             disableWorkerMetrics = true reports no CPU at all"
        ),
        Ok(_) | Err(_) => {}
    }
    *failing = captured.is_err();
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
