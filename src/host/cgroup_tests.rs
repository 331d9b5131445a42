use proptest::prelude::*;

use super::*;

/// Saved from a container on a machine with version 2.
const SAVED_CPU_STAT: &str = "usage_usec 4071820\nuser_usec 2714546\nsystem_usec 1357273\ncore_sched.force_idle_usec 0\n\
    nr_periods 211\nnr_throttled 17\nthrottled_usec 913374\nnr_bursts 0\nburst_usec 0\n";

#[test]
fn version_2_is_read_as_it_is_written() {
    assert_eq!(cpu_stat(SAVED_CPU_STAT), Ok(Duration::from_micros(4_071_820)));
    assert_eq!(cpu_max("25000 100000\n"), Ok(Some(0.25)));
    assert_eq!(cpu_max("20000 10000"), Ok(Some(2.0)));
    assert_eq!(cpu_max("max 100000\n"), Ok(None));
}

#[test]
fn version_1_is_read_as_it_is_written() {
    assert_eq!(cpu_usage_v1("1500000000\n"), Ok(Duration::from_millis(1500)));
    assert_eq!(quota_v1("20000\n", "10000\n"), Ok(Some(2.0)));
    assert_eq!(quota_v1("-1\n", "100000\n"), Ok(None));
}

#[test]
fn cores_are_counted_with_both_ends_of_a_range() {
    let table = [("0-7\n", 8.0), ("0-4,6,8-10\n", 9.0), ("1-2,8,10,11", 5.0), ("0", 1.0)];
    for (text, cores) in table {
        assert_eq!(cpu_set(CPU_SET, text), Ok(cores), "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_file() {
    let table = [
        (
            cpu_stat("user_usec 1\nusage_usec 2").map(drop),
            "`/sys/fs/cgroup/cpu.stat` begins with `user_usec 1`; expected usage_usec and a whole number",
        ),
        (
            cpu_max("100000").map(drop),
            "`/sys/fs/cgroup/cpu.max` begins with `100000`; expected a number of microseconds or max, and a period above 0",
        ),
        (
            cpu_set(CPU_SET_V1, "7-0").map(drop),
            "`/sys/fs/cgroup/cpuset/cpuset.effective_cpus` begins with `7-0`; expected a list of cores such as 0-4,6",
        ),
        (
            quota_v1("1000", "0").map(drop),
            "`/sys/fs/cgroup/cpu/cpu.cfs_period_us` begins with `0`; expected a whole number above 0",
        ),
    ];
    for (said, sentence) in table {
        assert_eq!(said, Err(NotMeasured(sentence.to_owned())));
    }
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_a_sentence(
        text in prop_oneof![".*", "[-0-9a-z ,]*", "usage_usec [0-9]*", "[0-9]* [0-9]*", "[0-9]{1,11}-[0-9]{1,11}"],
        other in "[-0-9]*",
    ) {
        let cores = [cpu_max(&text), quota_v1(&text, &other), quota_v1(&other, &text), cpu_set(CPU_SET, &text).map(Some)];
        for read in cores {
            match read {
                Ok(cores) => prop_assert!(cores.is_none_or(|cores| cores.is_finite() && cores >= 0.0)),
                Err(NotMeasured(sentence)) => prop_assert!(sentence.contains("; expected ") && sentence.lines().count() == 1),
            }
        }
        for read in [cpu_stat(&text), cpu_usage_v1(&text)] {
            prop_assert!(read.is_ok() || read.is_err_and(|error| error.0.contains("; expected ")));
        }
    }
}
