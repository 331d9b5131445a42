//! What the metadata endpoint of an ECS task says about the CPU of a container. Pure.
//!
//! Source: KCL 3.x `EcsCpuWorkerMetric`; the endpoint's answers: Amazon ECS Developer Guide, "task metadata endpoint version 4".

use serde::Deserialize;

use super::{NotMeasured, at_most_100, percentage};

/// Shares of a container that is not among those of its task. Source: `calculateContainerCpuLimit`.
const DEFAULT_SHARES: f64 = 2.0;

/// Answer of `/stats`: Docker's counters of this container, now and a second earlier.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Stats {
    cpu_stats: Counters,
    precpu_stats: Option<Counters>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Counters {
    cpu_usage: Usage,
    system_cpu_usage: Option<i64>,
    online_cpus: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Usage {
    total_usage: Option<i64>,
    percpu_usage: Option<Vec<i64>>,
}

/// Answer of `/task`: the limits of the task and of its containers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Task {
    limits: Option<Limits>,
    containers: Option<Vec<Container>>,
}

/// Answer of the bare address: this container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Container {
    docker_id: Option<String>,
    limits: Option<Limits>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Limits {
    #[serde(rename = "CPU")]
    cpu: Option<f64>,
}

/// Reads an answer; `what` names it in messages.
///
/// # Errors
/// It is no JSON object of the kind.
pub fn read<'a, T: Deserialize<'a>>(what: &str, answer: &'a [u8]) -> Result<T, NotMeasured> {
    // an endpoint that does not know the container yet answers `null`
    serde_json::from_slice(answer).map_err(|error| {
        let error = error.to_string();
        NotMeasured(format!("`{what}` of the ECS metadata cannot be read: {error}; expected a JSON object"))
    })
}

impl Stats {
    /// Cores of the machine. Docker's own rule where it does not say.
    ///
    /// # Errors
    /// It says nothing about cores.
    pub fn cores(&self) -> Result<f64, NotMeasured> {
        let counters = &self.cpu_stats;
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        let listed = || counters.cpu_usage.percpu_usage.as_ref().map(|cores| cores.len() as f64);
        let cores = counters.online_cpus.filter(|cores| *cores > 0.0).or_else(listed);
        cores.filter(|cores| *cores > 0.0).ok_or_else(|| {
            NotMeasured(
                "`/stats` of the ECS metadata has no cpu_stats.online_cpus; expected a number above 0".to_owned(),
            )
        })
    }

    /// Percent of `limit` cores that the container used in the last second, on a machine of `cores`.
    ///
    /// Source: `EcsCpuWorkerMetric.calculateCpuUsage`.
    ///
    /// # Errors
    /// No share comes out of it.
    pub fn percent(&self, cores: f64, limit: f64) -> Result<f64, NotMeasured> {
        let system = |counters: &Counters| i128::from(counters.system_cpu_usage.unwrap_or_default());
        let own = |counters: &Counters| i128::from(counters.cpu_usage.total_usage.unwrap_or_default());
        let before = self.precpu_stats.as_ref();
        let (own_before, system_before) = (before.map_or(0, own), before.map_or(0, system));
        if own_before == 0 && system_before == 0 {
            return Ok(0.0); // the endpoint's first look at the container
        }
        let (own, system) = (own(&self.cpu_stats) - own_before, system(&self.cpu_stats) - system_before);
        if system == 0 {
            return Ok(100.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "as in Java")]
        let busy_cores = own as f64 / system as f64 * cores;
        percentage(at_most_100(busy_cores / limit * 100.0))
    }
}

/// Cores that `me` may use: its part, by shares, of what its task may use.
///
/// Java divides by zero where no container of the task has shares, and then writes no row; each has Docker's 2 then.
///
/// Source: `EcsCpuWorkerMetric.calculateContainerCpuLimit`, `calculateTaskCpuLimit`.
#[must_use]
pub fn limit(task: &Task, me: &Container, cores: f64) -> f64 {
    let of_task = task.limits.as_ref().and_then(|limits| limits.cpu).unwrap_or(cores);
    let containers = task.containers.as_deref().unwrap_or_default();
    let shares =
        |container: &Container| container.limits.as_ref().and_then(|limits| limits.cpu).unwrap_or_default().trunc();
    let sum: f64 = containers.iter().map(shares).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of containers")]
    if sum == 0.0 {
        return of_task / containers.len().max(1) as f64;
    }
    let mine = containers.iter().rfind(|container| container.docker_id == me.docker_id).map_or(DEFAULT_SHARES, shares);
    mine / sum * of_task
}

#[cfg(test)]
#[path = "ecs_tests.rs"]
mod tests;
