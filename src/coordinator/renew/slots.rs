//! When to renew: each held lease has its place in the renewal interval, so that never more than a few write at once.
//!
//! The places are the ranks of the leases in the order of their names, so they stay even as leases come and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::types::ShardId;

/// Share of the interval by which a renewal may come early to move towards its place.
const NUDGE: u32 = 8;
/// Places are at least so far apart; where there are more leases, neighbours share one. To wake up for a write costs as
/// much as the write, so a thousand leases wake up four times a second, for some forty writes each (Java sends a thousand
/// at once, twenty at a time). Few leases keep places of their own.
const APART: Duration = Duration::from_millis(250);

/// One round of renewals as one lease sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Some moment at which a round began.
    pub epoch: Instant,
    /// How many leases come before this one.
    pub rank: usize,
    /// How many there are.
    pub of: usize,
}

/// How far a renewal may be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// To its place at once.
    Whole,
    /// Towards its place, in small steps.
    Little,
    /// Not at all: the write was no renewal, and the next one may not have to be any either.
    None,
}

/// The moment of the renewal after a write sent at `sent`: never later than `interval` after it, and earlier only to
/// meet its place. Pure.
#[must_use]
pub fn next_renewal(sent: Instant, interval: Duration, place: Place, shift: Shift) -> Instant {
    let latest = sent + interval;
    let nanos = interval.as_nanos().max(1);
    // one where there is room for all, so that few leases are never renewed at one moment
    let neighbours = (place.of as u128 * APART.as_nanos() / nanos).max(1);
    let rank = place.rank as u128 / neighbours * neighbours;
    // In whole nanoseconds, so that a renewal that meets its place meets it exactly at the next one, too.
    let offset = nanos * rank / place.of.max(1) as u128;
    let since = latest.saturating_duration_since(place.epoch).as_nanos();
    let behind = (since + nanos - offset % nanos) % nanos;
    let behind = Duration::from_nanos(u64::try_from(behind).unwrap_or(u64::MAX));
    let most = match shift {
        Shift::Whole => interval,
        Shift::Little => interval / NUDGE,
        Shift::None => Duration::ZERO,
    };
    latest - behind.min(most)
}

/// The places of all leases in one worker's hands.
#[derive(Debug)]
pub struct Slots {
    epoch: Instant,
    /// In order. The same shard may be there twice while an old hold on it ends.
    taken: Mutex<Vec<ShardId>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { epoch: Instant::now(), taken: Mutex::default() }
    }
}

impl Slots {
    fn taken(&self) -> MutexGuard<'_, Vec<ShardId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for the lease of `shard`, free again when it is dropped.
    #[must_use]
    pub fn take(self: &Arc<Self>, shard: &ShardId) -> Slot {
        let mut taken = self.taken();
        let at = taken.partition_point(|other| other < shard);
        taken.insert(at, shard.clone());
        Slot { slots: self.clone(), shard: shard.clone() }
    }
}

/// One lease's place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    shard: ShardId,
}

impl Slot {
    /// Where it is now.
    #[must_use]
    pub fn place(&self) -> Place {
        let taken = self.slots.taken();
        let rank = taken.partition_point(|other| *other < self.shard);
        Place { epoch: self.slots.epoch, rank, of: taken.len() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Ok(at) = taken.binary_search(&self.shard) {
            taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(8);

    #[test]
    fn a_renewal_comes_early_to_meet_its_place_and_never_late() {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let table = [
            // sent,    rank, of, shift,         next
            (at(0), 0, 4, Shift::Whole, at(8_000)),
            (at(0), 1, 4, Shift::Whole, at(2_000)),
            (at(2_000), 1, 4, Shift::Little, at(10_000)),
            (at(2_003), 1, 4, Shift::Little, at(10_000)),
            (at(3_000), 1, 4, Shift::Little, at(10_000)),
            (at(7_000), 1, 4, Shift::Little, at(14_000)), // would have to wait for 18 s, but must not
            (at(7_000), 1, 4, Shift::Whole, at(10_000)),
            (at(7_000), 1, 4, Shift::None, at(15_000)),
        ];
        for (sent, rank, of, shift, next) in table {
            let place = Place { epoch, rank, of };
            let found = next_renewal(sent, INTERVAL, place, shift);
            assert!(found.max(next) - found.min(next) < Duration::from_micros(1), "{rank} of {of}, {shift:?}");
        }
    }

    #[test]
    fn places_are_even_whoever_comes_and_goes() {
        let slots = Arc::new(Slots::default());
        let shard = |number: u32| ShardId::new(format!("shardId-{number:012}"));
        let mut held: Vec<Slot> = [5, 1, 3].map(|number| slots.take(&shard(number))).into();
        let ranks = |held: &[Slot]| held.iter().map(|slot| (slot.place().rank, slot.place().of)).collect::<Vec<_>>();
        assert_eq!(ranks(&held), [(2, 3), (0, 3), (1, 3)]);
        held.remove(1);
        assert_eq!(ranks(&held), [(1, 2), (0, 2)]);
        let twin = slots.take(&shard(3));
        drop(held.remove(1));
        assert_eq!(twin.place().of, 2);
    }

    #[test]
    fn many_leases_share_their_places_and_few_do_not() {
        let epoch = Instant::now();
        for (of, places) in [(3, 3), (20, 20), (100, 34), (1000, 33)] {
            let place = |rank| next_renewal(epoch, INTERVAL, Place { epoch, rank, of }, Shift::Whole);
            let mut times: Vec<_> = (0..of).map(place).collect();
            times.sort();
            let shared = times.chunk_by(|one, next| one == next).map(<[_]>::len);
            assert_eq!((shared.clone().count(), shared.max()), (places, Some(of.div_ceil(places))), "{of} leases");
        }
    }

    proptest! {
        #[test]
        fn a_renewal_is_always_in_time(sent in 0_u64..100_000, rank in 0_usize..50, more in 1_usize..50) {
            let epoch = Instant::now();
            let sent = epoch + Duration::from_millis(sent);
            let place = Place { epoch, rank, of: rank + more };
            let little = next_renewal(sent, INTERVAL, place, Shift::Little);
            prop_assert!(little <= sent + INTERVAL && little >= sent + INTERVAL - INTERVAL / NUDGE);
            let whole = next_renewal(sent, INTERVAL, place, Shift::Whole);
            prop_assert!(whole <= sent + INTERVAL && whole >= sent);
        }
    }
}
