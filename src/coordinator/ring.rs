//! Whether shards or leases cover the ring of hash keys, 0 to 2^128 - 1. Pure.

use crate::types::HashKeyRange;

/// Ranges that do not cover each key of the ring exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOnce {
    /// Keys that belong to nobody.
    #[error("no shard covers hash keys {} to {}; expected shards to cover each key once", .0.start, .0.end)]
    Never(HashKeyRange),
    /// Keys that belong to two.
    #[error("two shards cover hash keys {} to {}; expected shards to cover each key once", .0.start, .0.end)]
    Twice(HashKeyRange),
}

/// Looks whether `ranges` cover each key exactly once, as shards do that were open at the same time.
///
/// Source: KCL 3.x `HierarchicalShardSyncer.isHashRangeOfShardsComplete`.
///
/// # Errors
/// The first keys of which that is not so.
pub fn covers_once(ranges: impl IntoIterator<Item = HashKeyRange>) -> Result<(), NotOnce> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let mut next = Some(0_u128);
    for range in ranges {
        match next {
            Some(next) if range.start > next => {
                return Err(NotOnce::Never(HashKeyRange { start: next, end: range.start - 1 }));
            }
            Some(next) if range.start == next => {}
            Some(next) => {
                return Err(NotOnce::Twice(HashKeyRange { start: range.start, end: range.end.min(next - 1) }));
            }
            None => return Err(NotOnce::Twice(range)),
        }
        next = range.end.checked_add(1);
    }
    next.map_or(Ok(()), |start| Err(NotOnce::Never(HashKeyRange { start, end: u128::MAX })))
}

/// The range as a row may hold it: Java cannot read the row of a lease whose range is a single key, nor, before 3.5, a
/// table that has one.
///
/// Source: KCL 3.x `HashKeyRangeForLease`, which wants the first key to be less than the last.
#[must_use]
pub fn storable(range: HashKeyRange) -> Option<HashKeyRange> {
    (range.start < range.end).then_some(range)
}

/// A part of the ring without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The keys that nobody covers.
    pub gap: HashKeyRange,
    /// By what one sighting is known for another of the same hole: the ranges on both sides of it, or the first and
    /// the last range where an end of the ring is open; nothing if there are no ranges.
    ///
    /// Source: KCL 3.x `PeriodicShardSyncManager.checkForHoleInHashKeyRanges`.
    pub between: Option<[HashKeyRange; 2]>,
}

/// The first hole that `ranges` leave. Overlaps are fine.
#[must_use]
pub fn first_hole(ranges: impl IntoIterator<Item = HashKeyRange>) -> Option<Hole> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let (Some(first), Some(last)) = (ranges.first().copied(), ranges.last().copied()) else {
        return Some(Hole { gap: HashKeyRange::WHOLE, between: None });
    };
    let end = ranges.iter().map(|range| range.end).max()?;
    if first.start > 0 || end < u128::MAX {
        let gap = if first.start > 0 { (0, first.start - 1) } else { (end + 1, u128::MAX) };
        return Some(Hole { gap: HashKeyRange { start: gap.0, end: gap.1 }, between: Some([first, last]) });
    }
    let (mut left, mut covered) = (first, first.end);
    for range in ranges {
        if range.start <= covered {
            covered = covered.max(range.end);
        } else if range.start - covered > 1 {
            let gap = HashKeyRange { start: covered + 1, end: range.start - 1 };
            return Some(Hole { gap, between: Some([left, range]) });
        } else {
            (left, covered) = (range, range.end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(start: u128, end: u128) -> HashKeyRange {
        HashKeyRange { start, end }
    }

    const MAX: u128 = u128::MAX;

    #[test]
    fn holes_are_found_wherever_they_are() {
        let table = [
            (vec![], Some((range(0, MAX), None))),
            (vec![range(0, MAX)], None),
            (vec![range(5, MAX)], Some((range(0, 4), Some([range(5, MAX); 2])))),
            (vec![range(0, 4)], Some((range(5, MAX), Some([range(0, 4); 2])))),
            (vec![range(8, MAX), range(0, 4)], Some((range(5, 7), Some([range(0, 4), range(8, MAX)])))),
            (vec![range(0, 9), range(2, 3), range(5, MAX)], None),
            (
                vec![range(0, 9), range(2, 3), range(12, MAX)],
                Some((range(10, 11), Some([range(0, 9), range(12, MAX)]))),
            ),
        ];
        for (ranges, hole) in table {
            let found = first_hole(ranges.clone()).map(|hole| (hole.gap, hole.between));
            assert_eq!(found, hole, "{ranges:?}");
        }
    }

    /// Java looks at the end of the range that begins last.
    #[test]
    fn a_range_within_the_last_one_is_no_hole() {
        assert_eq!(first_hole([range(0, 9), range(10, MAX), range(20, 30)]), None);
    }

    #[test]
    fn the_row_of_a_shard_of_one_key_has_no_range() {
        assert_eq!([range(5, 5), range(5, 6)].map(storable), [None, Some(range(5, 6))]);
    }

    #[test]
    fn shards_that_were_open_together_cover_each_key_once() {
        let table = [
            (vec![], Err(NotOnce::Never(range(0, MAX)))),
            (vec![range(0, MAX)], Ok(())),
            (vec![range(10, MAX), range(0, 9)], Ok(())),
            (vec![range(1, MAX)], Err(NotOnce::Never(range(0, 0)))),
            (vec![range(0, 9)], Err(NotOnce::Never(range(10, MAX)))),
            (vec![range(0, 9), range(11, MAX)], Err(NotOnce::Never(range(10, 10)))),
            (vec![range(0, 9), range(7, MAX)], Err(NotOnce::Twice(range(7, 9)))),
            (vec![range(0, MAX), range(7, MAX)], Err(NotOnce::Twice(range(7, MAX)))),
            (vec![range(0, MAX), range(0, MAX)], Err(NotOnce::Twice(range(0, MAX)))),
        ];
        for (ranges, verdict) in table {
            assert_eq!(covers_once(ranges.clone()), verdict, "{ranges:?}");
        }
    }
}
