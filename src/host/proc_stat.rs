//! The first line of `/proc/stat`: what all cores of a machine did since it began. Pure.

use super::{NotMeasured, percentage};

/// The file.
pub const FILE: &str = "proc/stat";

/// Longest piece of the file that a message repeats, in characters.
const SHOWN: usize = 60;

/// The five numbers that count, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    user: i128,
    total: i128,
    idle: i128,
    waiting: i128,
}

/// Remembers the last look.
#[derive(Clone, Debug, Default)]
pub struct ProcStat {
    last: Option<(Box<str>, Ticks)>,
}

impl ProcStat {
    /// Percent of all cores that was not idle since the last look; waiting for a disk counts as work. 0 where there is
    /// nothing to compare with.
    ///
    /// Source: KCL 3.x `LinuxCpuWorkerMetric.calculateCpuUsage`.
    ///
    /// # Errors
    /// The text is not what the kernel writes, or no share comes out of it.
    pub fn percent(&mut self, text: &str) -> Result<f64, NotMeasured> {
        let line = text.lines().next().unwrap_or_default();
        let now = ticks(line)?;
        let Some((last_line, last)) = self.last.replace((line.into(), now)) else { return Ok(0.0) };
        // Java takes a machine without any user time for the first look
        if last.user == 0 || *last_line == *line {
            return Ok(0.0);
        }
        let idle = (now.idle - last.idle).abs();
        let total = (now.total - last.total).abs();
        // The kernel lets the time of waiting go back a little. Source: `capture_rareIoWaitFieldDecreased_assert0Response`
        if total < idle && now.waiting < last.waiting {
            return Ok(0.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "ticks of one second, far below 2^53")]
        percentage((total - idle) as f64 / total as f64 * 100.0)
    }
}

fn ticks(line: &str) -> Result<Ticks, NotMeasured> {
    let wrong = || {
        let shown: String = line.chars().take(SHOWN).collect();
        NotMeasured(format!("`/{FILE}` begins with `{}`; expected cpu and at least five numbers", shown.escape_debug()))
    };
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("cpu") {
        return Err(wrong());
    }
    let mut next = || words.next().and_then(|word| word.parse::<u64>().ok()).map(i128::from).ok_or_else(wrong);
    let (user, nice, system, idle, waiting) = (next()?, next()?, next()?, next()?, next()?);
    let user = user + nice;
    Ok(Ticks { user, total: user + system + idle + waiting, idle, waiting })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks at these one after the other; what the last one said.
    fn looks<const N: usize>(lines: [&str; N]) -> Result<f64, NotMeasured> {
        let mut stat = ProcStat::default();
        lines.map(|line| stat.percent(line)).into_iter().next_back().unwrap()
    }

    #[test]
    fn the_share_is_what_was_not_idle() {
        // Source: KCL 3.x `LinuxCpuWorkerMetricsTest.sanity_capture`
        let first = "cpu  20000 200 2000 1500000 1000 0 0 0 0 0\ncpu0 1 2 3 4 5\n";
        let second = "cpu  30000 3000 30000 2000000 2000 0 0 0 0 0\n";
        let busy = 10_000.0 + 2_800.0 + 28_000.0 + 1_000.0;
        assert_eq!(looks([first]), Ok(0.0));
        assert_eq!(looks([first, second]), Ok(busy / (busy + 500_000.0) * 100.0));
        assert_eq!(looks([first, first]), Ok(0.0), "nothing happened");
    }

    #[test]
    fn a_time_of_waiting_that_goes_back_is_an_idle_machine() {
        // Source: `capture_rareIoWaitFieldDecreased_assert0Response`
        let first = "cpu  5469899 773829 2079951 2814572566 52048 0 0 0 0 0";
        let second = "cpu  5469899 773829 2079951 2814575765 52047 0 0 0 0 0";
        assert_eq!(looks([first, second]), Ok(0.0));
    }

    #[test]
    fn what_is_no_share_is_a_sentence() {
        let table = [
            ["cpu 1 1 1 1 1", "cpu 1 1 0 9 1"], // less was done than before, and the machine did not wait
            ["cpu 1 1 1 1 1", "cpu 1 1 1 1 1 7"],
        ];
        for [first, second] in table {
            assert!(looks([first, second]).is_err_and(|error| error.0.ends_with("expected 0 to 100")), "{second}");
        }
        let sentence = "`/proc/stat` begins with `intr 5`; expected cpu and at least five numbers";
        assert_eq!(looks(["intr 5\ncpu 1 2 3 4 5"]), Err(NotMeasured(sentence.to_owned())));
    }

    proptest! {
        #[test]
        fn any_text_is_a_percentage_or_a_sentence(
            lines in prop::collection::vec(prop_oneof![".*", "cpu( [0-9]{1,20}){4,7}", "cpu( [0-9]{1,2}){5}"], 1..5),
        ) {
            let mut stat = ProcStat::default();
            for line in lines {
                match stat.percent(&line) {
                    Ok(percent) => prop_assert!((0.0..=100.0).contains(&percent)),
                    Err(NotMeasured(sentence)) => prop_assert!(sentence.contains("; expected ")),
                }
            }
        }
    }
}
