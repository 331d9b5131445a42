use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Counters of `/stats`: CPU time of the container and of the machine, earlier and now, on `cores`.
fn stats(earlier: (i64, i64), now: (i64, i64), cores: u32) -> Value {
    let counters = |(own, system): (i64, i64)| {
        json!({
            "cpu_usage": {"total_usage": own, "usage_in_kernelmode": 4, "usage_in_usermode": 29},
            "system_cpu_usage": system, "online_cpus": cores,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        })
    };
    json!({"read": "2020-10-02T00:51:13.410254284Z", "cpu_stats": counters(now), "precpu_stats": counters(earlier),
        "memory_stats": {"usage": 1_806_336, "limit": 134_217_728}, "networks": {"eth0": {"rx_bytes": 84}}})
}

/// A task; containers are `c0`, `c1`, ..., we are `c0`.
fn task(limits: &Value, shares: &[i64]) -> Value {
    let container =
        |(at, cpu): (usize, &i64)| json!({"DockerId": format!("c{at}"), "Limits": {"CPU": cpu, "Memory": 128}});
    let mut task = json!({"Cluster": "default", "LaunchType": "EC2",
        "Containers": shares.iter().enumerate().map(container).collect::<Vec<_>>()});
    if !limits.is_null() {
        task["Limits"] = limits.clone();
    }
    task
}

fn measured(stats: &Value, task: &Value) -> Result<f64, NotMeasured> {
    let (stats, task) = (stats.to_string(), task.to_string());
    let stats: Stats = read("/stats", stats.as_bytes())?;
    let cores = stats.cores()?;
    let me = read("", br#"{"DockerId": "c0", "Name": "app", "Limits": {"CPU": 50}}"#)?;
    stats.percent(cores, limit(&read("/task", task.as_bytes())?, &me, cores))
}

#[test]
fn the_share_is_that_of_the_containers_part_of_its_task() {
    // Source: KCL 3.x `EcsCpuWorkerMetricsTest` and its data: half of one second of the machine's time was ours
    let half = |cores| stats((100_000_000, 100_000_000), (150_000_000, 200_000_000), cores);
    let none = &Value::Null;
    let table = [
        ("noTaskCpuLimitOneContainer", half(2), task(none, &[50]), 50.0),
        ("noTaskCpuLimitTwoContainers", half(2), task(none, &[50, 30]), 80.0),
        ("noTaskCpuLimitButHasMemoryLimit", half(2), task(&json!({"Memory": 128}), &[50]), 50.0),
        ("taskCpuLimitOneContainer", half(2), task(&json!({"CPU": 4, "Memory": 128}), &[50]), 25.0),
        ("taskCpuLimitTwoContainers", half(8), task(&json!({"CPU": 8}), &[30, 10]), 400.0 / 6.0),
        ("above its part", half(8), task(&json!({"CPU": 0.25}), &[512]), 100.0),
        ("noPrecpuStats", stats((0, 0), (150_000_000, 200_000_000), 2), task(none, &[50]), 0.0),
        ("noSystemCpuUsage", stats((1, 200), (2, 200), 2), task(none, &[50]), 100.0),
        ("no container has shares", half(2), task(none, &[0, 0]), 100.0),
        ("one of two without shares", half(2), task(none, &[0, 0]), 100.0),
    ];
    for (name, stats, task, percent) in table {
        let said = measured(&stats, &task).unwrap();
        assert!((said - percent).abs() < 1e-9, "{name}: {said}, not {percent}");
    }
}

#[test]
fn a_container_that_its_task_does_not_know_has_two_shares() {
    let task: Task = serde_json::from_value(task(&json!({"CPU": 4}), &[6, 2])).unwrap();
    assert_eq!(limit(&task, &Container::default(), 2.0), 1.0);
}

#[test]
fn an_older_docker_tells_its_cores_by_listing_them() {
    let mut without = stats((1, 1), (1, 2), 0);
    without["cpu_stats"]["cpu_usage"]["percpu_usage"] = json!([182_359_190, 178_608_875]);
    assert_eq!(serde_json::from_value::<Stats>(without).unwrap().cores(), Ok(2.0));
}

#[test]
fn what_cannot_be_used_is_said_in_one_sentence() {
    let table = [
        (read::<Stats>("/stats", b"null").map(drop), "`/stats` of the ECS metadata cannot be read: invalid type: null"),
        (read::<Task>("/task", b"<html>").map(drop), "`/task` of the ECS metadata cannot be read: expected value"),
        (Stats::default().cores().map(drop), "`/stats` of the ECS metadata has no cpu_stats.online_cpus"),
        (
            measured(&stats((200, 100), (100, 200), 2), &task(&Value::Null, &[1])).map(drop),
            "the CPU share comes out as -100 percent; expected 0 to 100",
        ),
    ];
    for (said, begin) in table {
        let NotMeasured(sentence) = said.unwrap_err();
        assert!(sentence.starts_with(begin) && sentence.contains("; expected "), "{sentence}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_a_percentage_or_a_sentence(
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        (own, system) in ((any::<i64>(), any::<i64>()), (any::<i64>(), any::<i64>())),
        cores in any::<u32>(),
        cpu in prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)],
        shares in prop::collection::vec(any::<i64>(), 0..4),
    ) {
        for garbage in [read::<Stats>("/stats", &bytes).map(drop), read::<Task>("/task", &bytes).map(drop)] {
            prop_assert!(garbage.is_ok() || garbage.is_err_and(|error| error.0.contains("; expected ")));
        }
        match measured(&stats(own, system, cores), &task(&json!({"CPU": cpu}), &shares)) {
            Ok(percent) => prop_assert!((0.0..=100.0).contains(&percent)),
            Err(NotMeasured(sentence)) => prop_assert!(sentence.contains("; expected ")),
        }
    }
}
