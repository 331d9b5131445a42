//! Whether our clock agrees with that of a service, by the `Date` of its answers. Pure.
//!
//! The fleet judges a worker by the time of day that the worker writes into its metric row (LEASES.md section 4).

use std::time::Duration;

use crate::types::EpochMillis;

/// From more than this on the clocks differ, in milliseconds.
const DIFFERS: u64 = 10_000;
/// From this down they agree again, in milliseconds; apart from [`DIFFERS`], so that a clock at the edge is not told of twice.
const AGREES: u64 = 5_000;

/// By how many milliseconds our clock is ahead of the service's at least; negative is behind, 0 means that they may agree.
///
/// `date` is in whole seconds, and was said some time between `sent` and `received`: a slow answer, or one that is read late by
/// a process that was stopped, proves nothing.
#[must_use]
pub fn ahead(sent: EpochMillis, received: EpochMillis, date: i64) -> i64 {
    let earliest = date.saturating_mul(1000);
    let latest = earliest.saturating_add(999);
    if received.0 < sent.0 {
        return 0; // somebody is setting our clock right now
    }
    if sent.0 > latest { sent.0.saturating_sub(latest) } else { received.0.saturating_sub(earliest).min(0) }
}

/// What is worth a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Our clock is ahead by this.
    Ahead(Duration),
    /// Our clock is behind by this.
    Behind(Duration),
    /// They agree again.
    Agrees,
}

/// Remembers whether the clocks differed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    differed: bool,
}

impl Watch {
    /// Takes one comparison from [`ahead`]; news when an episode begins or ends.
    pub fn look(&mut self, ahead: i64) -> Option<News> {
        let difference = Duration::from_millis(ahead.unsigned_abs());
        let differs = ahead.unsigned_abs() > if self.differed { AGREES } else { DIFFERS };
        match (std::mem::replace(&mut self.differed, differs), differs) {
            (false, true) if ahead > 0 => Some(News::Ahead(difference)),
            (false, true) => Some(News::Behind(difference)),
            (true, false) => Some(News::Agrees),
            (true, true) | (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_proves_only_what_lies_outside_its_exchange() {
        let table = [
            // sent, received (ms), date (s), ahead (ms)
            (100_000, 100_050, 100, 0),
            (100_990, 101_010, 100, 0), // 100 is any time up to 100.999
            (100_990, 101_010, 101, 0),
            (100_000, 130_000, 115, 0), // a slow answer
            (100_000, 130_000, 100, 0), // one that was read late
            (112_000, 112_010, 100, 11_001),
            (100_000, 100_010, 112, -11_990),
            (100_000, 90_000, 100, 0), // our clock was set back meanwhile
            (i64::MIN, i64::MAX, 0, 0),
            (i64::MAX, i64::MAX, i64::MIN, i64::MAX),
        ];
        for (sent, received, date, wanted) in table {
            assert_eq!(ahead(EpochMillis(sent), EpochMillis(received), date), wanted, "{sent} {received} {date}");
        }
    }

    #[test]
    fn each_episode_has_one_line_at_its_begin_and_one_at_its_end() {
        let mut watch = Watch::default();
        let table = [
            (10_000, None),
            (10_001, Some(News::Ahead(Duration::from_millis(10_001)))),
            (60_000, None),
            (9_000, None), // not over yet
            (5_000, Some(News::Agrees)),
            (9_000, None),
            (-11_000, Some(News::Behind(Duration::from_secs(11)))),
            (0, Some(News::Agrees)),
        ];
        for (ahead, news) in table {
            assert_eq!(watch.look(ahead), news, "{ahead}");
        }
    }

    proptest! {
        #[test]
        fn a_difference_is_never_made_larger_than_it_is(
            service in 0..2_000_000_000_000_i64, skew in -100_000..100_000_i64, way in 0..40_000_i64, back in 0..40_000_i64,
        ) {
            let (sent, received) = (EpochMillis(service - way + skew), EpochMillis(service + back + skew));
            let found = ahead(sent, received, service.div_euclid(1000));
            prop_assert!(found == 0 || (found.signum() == skew.signum() && found.abs() <= skew.abs()));
            prop_assert!(found.abs() >= skew.abs() - way.max(back) - 999);
        }
    }
}
