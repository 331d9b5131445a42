//! How often the child of a shard may fail in a row, and how long the next one waits. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::types::Checkpoint;

/// Waits before a fresh child. The first is short, because most children fail once; the cap keeps a limit that was
/// set high from turning into hours.
pub(super) const RESTART: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// A child that has lived so long and owed no answer when it ended has not failed "again": what ends an idle child
/// once in a while is no reason to stop the daemon some day.
pub(super) const STEADY: Duration = Duration::from_secs(600);

/// What a life of a child came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// What it did is never done again.
    Fruitful,
    /// The next one begins where it began.
    Barren,
}

impl Life {
    /// Judges a life that began at checkpoint `from` and left `now` behind. An answered batch does not count: without
    /// a checkpoint it comes again, and a child that dies between two checkpoints would come and go for ever.
    pub(super) fn judge(from: &Checkpoint, now: &Checkpoint, lived: Duration, was_idle: bool) -> Self {
        let is_steady = was_idle && lived >= STEADY;
        if now > from || is_steady { Self::Fruitful } else { Self::Barren }
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait, and start a fresh child.
    Again {
        /// Failures since the last progress, this one too.
        failures: NonZeroU32,
        /// How long to wait.
        wait: Duration,
    },
    /// It was the last time.
    GiveUp {
        /// Failures since the last progress, this one too.
        failures: NonZeroU32,
    },
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
}

impl Attempts {
    /// Counts the end of a life. `jitter` in 0..1, as for [`Backoff::wait`].
    pub(super) fn failed(&mut self, life: Life, limit: NonZeroU32, jitter: f64) -> Next {
        if life == Life::Fruitful {
            self.failures = 0;
        }
        let failures = NonZeroU32::MIN.saturating_add(self.failures);
        self.failures = failures.get();
        if failures >= limit {
            return Next::GiveUp { failures };
        }
        Next::Again { failures, wait: RESTART.wait(failures.get(), jitter) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coordinator::testing::at;

    const SECOND: Duration = Duration::from_secs(1);

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn only_a_checkpoint_or_a_long_life_without_a_debt_is_fruitful() {
        use Checkpoint::{Latest, ShardEnd, TrimHorizon};
        let table = [
            // from        now          lived           idle   verdict
            (at(5), at(6), SECOND, false, Life::Fruitful),
            (at(5), at(5), SECOND, false, Life::Barren),
            (at(9), at(10), SECOND, false, Life::Fruitful), // numbers, not text
            (at(5), ShardEnd, SECOND, false, Life::Fruitful),
            (TrimHorizon, TrimHorizon, SECOND, false, Life::Barren),
            (Latest, at(1), SECOND, false, Life::Fruitful),
            (at(5), at(5), STEADY, true, Life::Fruitful),
            (at(5), at(5), STEADY - SECOND, true, Life::Barren),
            (at(5), at(5), STEADY * 100, false, Life::Barren), // hung: it owed an answer
        ];
        for (from, now, lived, was_idle, verdict) in table {
            assert_eq!(Life::judge(&from, &now, lived, was_idle), verdict, "{from} {now} {lived:?} {was_idle}");
        }
    }

    #[test]
    fn waits_grow_until_the_limit() {
        let mut attempts = Attempts::default();
        let mut waits = Vec::new();
        while let Next::Again { wait, .. } = attempts.failed(Life::Barren, number(9), 1.0) {
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_limit_of_one_is_no_second_try_even_after_progress() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.failed(Life::Fruitful, number(1), 0.0), Next::GiveUp { failures: number(1) });
    }

    proptest! {
        #[test]
        fn it_gives_up_exactly_when_so_many_have_failed_since_the_last_progress(
            lives in prop::collection::vec(any::<bool>(), 1..60), limit in 1..8_u32,
        ) {
            let mut attempts = Attempts::default();
            let mut in_a_row = 0;
            for fruitful in lives {
                in_a_row = if fruitful { 1 } else { in_a_row + 1 };
                let life = if fruitful { Life::Fruitful } else { Life::Barren };
                match attempts.failed(life, number(limit), 0.5) {
                    Next::Again { failures, wait } => {
                        prop_assert_eq!(failures.get(), in_a_row);
                        prop_assert!(in_a_row < limit && wait > Duration::ZERO && wait <= RESTART.most);
                    }
                    Next::GiveUp { failures } => {
                        prop_assert_eq!(failures.get(), in_a_row);
                        prop_assert_eq!(in_a_row, limit);
                        break;
                    }
                }
            }
        }
    }
}
