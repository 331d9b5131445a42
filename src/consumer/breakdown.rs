//! Counts consumers that break down. That is a bug of ours, and most likely the same records bring it about again, so the
//! limit for children that fail holds for it, too. Pure but for the jitter of the wait.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::consumer::Failure;
use crate::consumer::attempts::{Attempts, Life, Next};
use crate::types::{Checkpoint, ShardId};

/// What has broken down in one worker.
#[derive(Debug, Default)]
pub struct Breakdowns {
    of: BTreeMap<ShardId, (Attempts, Checkpoint)>,
}

impl Breakdowns {
    /// Notes that the consumer of `shard` has broken down, whose last checkpoint is `stored`; says how long the next one
    /// waits.
    ///
    /// # Errors
    /// It was the last time that `limit` allows without a checkpoint in between.
    pub fn note(&mut self, shard: &ShardId, stored: Checkpoint, limit: NonZeroU32) -> Result<Duration, Failure> {
        let (attempts, from) = self.of.entry(shard.clone()).or_insert_with(|| (Attempts::default(), stored.clone()));
        let life = Life::judge(from, &stored, Duration::ZERO, false);
        *from = stored;
        match attempts.failed(life, limit, fastrand::f64()) {
            Next::Again { wait, .. } => Ok(wait),
            Next::GiveUp { failures } => Err(Failure::BrokeDown { shard: shard.clone(), failures }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{at, shard};

    #[test]
    fn a_shard_may_break_down_so_often_between_two_checkpoints_and_each_shard_counts_for_itself() {
        let (mut breakdowns, limit) = (Breakdowns::default(), NonZeroU32::new(3).unwrap());
        let table = [
            // shard, stored, may go on
            (0, 5, true),
            (0, 5, true),
            (1, 5, true),
            (0, 6, true), // a checkpoint in between
            (0, 6, true),
            (1, 5, true),
            (0, 6, false),
            (1, 5, false),
        ];
        for (number, stored, goes_on) in table {
            let next = breakdowns.note(&shard(number), at(stored), limit);
            assert_eq!(next.is_ok(), goes_on, "{number} at {stored}: {next:?}");
        }
    }

    #[test]
    fn the_last_time_ends_in_a_sentence_that_names_shard_count_and_cure() {
        let mut breakdowns = Breakdowns::default();
        let last = breakdowns.note(&shard(0), at(5), NonZeroU32::MIN).unwrap_err().to_string();
        assert_eq!(
            last,
            "the consumer of shard `shardId-000000000000` broke down 1 times without a checkpoint in between \
             (multilangd.childRestartLimit); this is a bug, please report it with the lines about a panic in the log"
        );
    }
}
