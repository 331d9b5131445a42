//! Who looks after the shard list in a fleet that works as 2.x: one of the lease owners, and everybody computes which.
//!
//! Source: KCL 2.x and 3.x `DeterministicShuffleShardSyncLeaderDecider`; the random numbers are those of
//! `java.util.Random`, so that a Java worker and we name the same one. Pure.

use std::collections::BTreeSet;

use crate::types::WorkerId;

/// Seed of the shuffle (Source: `DETERMINISTIC_SHUFFLE_SEED`).
const SEED: u64 = 1947;

/// The leader among `owners`, which may name a worker more than once; `None` if nobody owns a lease, and then
/// everybody leads.
#[must_use]
pub fn elected<'a>(owners: impl Iterator<Item = &'a WorkerId>) -> Option<&'a WorkerId> {
    let mut sorted: Vec<&WorkerId> = owners.collect::<BTreeSet<_>>().into_iter().collect();
    sorted.sort_by(|a, b| a.as_str().encode_utf16().cmp(b.as_str().encode_utf16())); // the order of Java's strings
    shuffle(&mut sorted, &mut JavaRandom::new(SEED));
    sorted.first().copied()
}

/// Source: `java.util.Collections.shuffle`.
fn shuffle<T>(items: &mut [T], random: &mut JavaRandom) {
    for size in (2..=items.len()).rev() {
        let bound = i32::try_from(size).expect("a fleet has fewer than two thousand million workers");
        let other = usize::try_from(random.below(bound)).expect("a number below a bound is not negative");
        items.swap(size - 1, other);
    }
}

/// The generator of `java.util.Random`, whose documentation fixes its numbers for all times.
struct JavaRandom(u64);

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    fn new(seed: u64) -> Self {
        Self((seed ^ Self::MULTIPLIER) & Self::MASK)
    }

    /// 31 random bits: a number that is not negative.
    fn next(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(0xB) & Self::MASK;
        i32::try_from(self.0 >> 17).expect("48 bits less 17 are 31")
    }

    /// A number from 0 to `bound` less one; `bound` is at least 1.
    fn below(&mut self, bound: i32) -> i32 {
        let bits = self.next();
        if bound & (bound - 1) == 0 {
            return i32::try_from((i64::from(bound) * i64::from(bits)) >> 31).expect("less than the bound");
        }
        let mut bits = bits;
        loop {
            let number = bits % bound;
            if (bits - number).checked_add(bound - 1).is_some() {
                return number;
            }
            bits = self.next(); // from the incomplete last stretch of the range
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Java 17: `new Random(1947).nextInt(bound)`, eight times.
    #[test]
    fn numbers_are_those_of_java() {
        let table: [(i32, [i32; 8]); 3] = [
            (1_000_003, [853_316, 975_368, 954_806, 871_513, 616_364, 568_019, 763_076, 802_715]),
            (1 << 20, [659_110, 351_551, 31_228, 269_957, 511_044, 504_673, 730_355, 486_233]),
            (
                (1 << 30) + 1, // every second number is drawn again
                [
                    719_977_525,
                    63_954_995,
                    552_873_169,
                    1_046_619_502,
                    1_033_571_118,
                    995_805_700,
                    980_392_342,
                    667_615_324,
                ],
            ),
        ];
        for (bound, numbers) in table {
            let mut random = JavaRandom::new(SEED);
            assert_eq!(numbers.map(|_| random.below(bound)), numbers, "{bound}");
        }
    }

    /// Printed by Java 17: `Collections.shuffle` of 0, 1, 2, … with `new Random(1947)`.
    #[test]
    fn a_shuffle_is_that_of_java() {
        let table: [&[usize]; 9] = [
            &[0],
            &[0, 1],
            &[2, 0, 1],
            &[3, 0, 1, 2],
            &[4, 0, 2, 1, 3],
            &[2, 3, 5, 4, 0, 1],
            &[2, 3, 0, 6, 4, 7, 1, 5],
            &[12, 2, 6, 8, 0, 4, 11, 3, 7, 9, 5, 1, 10],
            &[
                18, 9, 27, 21, 33, 32, 1, 15, 26, 36, 16, 37, 20, 12, 17, 11, 24, 5, 2, 30, 14, 0, 28, 31, 4, 6, 35, 8,
                25, 22, 29, 23, 10, 19, 13, 34, 39, 38, 7, 3,
            ],
        ];
        for shuffled in table {
            let mut items: Vec<usize> = (0..shuffled.len()).collect();
            shuffle(&mut items, &mut JavaRandom::new(SEED));
            assert_eq!(items, shuffled);
        }
    }

    /// Leaders printed by Java 17 for the same names.
    #[test]
    fn the_leader_is_the_one_whom_java_elects() {
        let table: [(&[&str], Option<&str>); 5] = [
            (&[], None),
            (&["f351", "old254", "f351"], Some("f351")),
            (&["old254", "f351"], Some("f351")),
            (&["w-10", "w-9", "w-1"], Some("w-9")),
            (&["A", "a", "Z", "é", "\u{ffff}", "\u{1f600}"], Some("a")),
        ];
        for (owners, leader) in table {
            let owners: Vec<WorkerId> = owners.iter().map(|name| WorkerId::new(*name)).collect();
            assert_eq!(elected(owners.iter()).map(WorkerId::as_str), leader, "{owners:?}");
        }
    }
}
