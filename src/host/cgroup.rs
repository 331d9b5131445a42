//! The files of a container's control group, versions 1 and 2. Pure.
//!
//! Only the first line of a file counts. Source: KCL 3.x `Cgroupv2CpuWorkerMetric`, `Cgroupv1CpuWorkerMetric`, `utils.Cgroup`.

use std::time::Duration;

use super::NotMeasured;

/// Version 2: CPU time used.
pub const CPU_STAT: &str = "sys/fs/cgroup/cpu.stat";
/// Version 2: limit and period.
pub const CPU_MAX: &str = "sys/fs/cgroup/cpu.max";
/// Version 2: cores that may be used.
pub const CPU_SET: &str = "sys/fs/cgroup/cpuset.cpus.effective";
/// Version 1: CPU time used.
pub const CPU_USAGE_V1: &str = "sys/fs/cgroup/cpu/cpuacct.usage";
/// Version 1: limit.
pub const QUOTA_V1: &str = "sys/fs/cgroup/cpu/cpu.cfs_quota_us";
/// Version 1: the period that the limit is for.
pub const PERIOD_V1: &str = "sys/fs/cgroup/cpu/cpu.cfs_period_us";
/// Version 1: cores that may be used.
pub const CPU_SET_V1: &str = "sys/fs/cgroup/cpuset/cpuset.effective_cpus";

/// Longest piece of a file that a message repeats, in characters.
const SHOWN: usize = 60;

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn wrong(file: &str, text: &str, expected: &str) -> NotMeasured {
    let line: String = first_line(text).chars().take(SHOWN).collect();
    NotMeasured(format!("`/{file}` begins with `{}`; expected {expected}", line.escape_debug()))
}

/// CPU time used, from `cpu.stat`.
///
/// # Errors
/// The first line is no `usage_usec` with a number.
pub fn cpu_stat(text: &str) -> Result<Duration, NotMeasured> {
    let micros = first_line(text).strip_prefix("usage_usec ").and_then(|number| number.trim().parse().ok());
    micros.map(Duration::from_micros).ok_or_else(|| wrong(CPU_STAT, text, "usage_usec and a whole number"))
}

/// The cores that `cpu.max` allows; `None` is no limit.
///
/// # Errors
/// The first line is not two numbers, or `max` and a number.
pub fn cpu_max(text: &str) -> Result<Option<f64>, NotMeasured> {
    let wrong = || wrong(CPU_MAX, text, "a number of microseconds or max, and a period above 0");
    let mut words = first_line(text).split_whitespace();
    let (Some(limit), Some(period)) = (words.next(), words.next()) else { return Err(wrong()) };
    let period: u32 = period.parse().ok().filter(|period| *period > 0).ok_or_else(wrong)?;
    if limit == "max" {
        return Ok(None);
    }
    let limit: u64 = limit.parse().map_err(|_| wrong())?;
    Ok(Some(Duration::from_micros(limit).as_secs_f64() / Duration::from_micros(period.into()).as_secs_f64()))
}

/// How many cores a list such as `0-4,6,8-10` names (here 9); `file` is for messages.
///
/// # Errors
/// The first line is no such list.
pub fn cpu_set(file: &str, text: &str) -> Result<f64, NotMeasured> {
    let wrong = || wrong(file, text, "a list of cores such as 0-4,6");
    let mut cores = 0_u32;
    for part in first_line(text).split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = first.trim().parse().ok().zip(last.trim().parse().ok()).ok_or_else(wrong)?;
        let here = last.checked_sub(first).and_then(|more| more.checked_add(1)).ok_or_else(wrong)?;
        cores = cores.checked_add(here).ok_or_else(wrong)?;
    }
    Ok(cores.into())
}

/// CPU time used, from `cpuacct.usage`.
///
/// # Errors
/// The first line is no number.
pub fn cpu_usage_v1(text: &str) -> Result<Duration, NotMeasured> {
    let nanos = first_line(text).trim().parse().map(Duration::from_nanos);
    nanos.map_err(|_| wrong(CPU_USAGE_V1, text, "a whole number of nanoseconds"))
}

/// The cores that quota and period allow; `None` is no limit.
///
/// # Errors
/// One of them is no number, or cannot be one.
pub fn quota_v1(quota: &str, period: &str) -> Result<Option<f64>, NotMeasured> {
    let limit: i64 = first_line(quota).trim().parse().map_err(|_| wrong(QUOTA_V1, quota, "-1 or a whole number"))?;
    if limit == -1 {
        return Ok(None);
    }
    let limit = u64::try_from(limit).map_err(|_| wrong(QUOTA_V1, quota, "-1 or a whole number"))?;
    let micros: u32 = first_line(period).trim().parse().unwrap_or_default();
    if micros == 0 {
        return Err(wrong(PERIOD_V1, period, "a whole number above 0"));
    }
    Ok(Some(Duration::from_micros(limit).as_secs_f64() / Duration::from_micros(micros.into()).as_secs_f64()))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
