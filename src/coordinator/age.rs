//! Remembers when each lease last moved, to tell the abandoned from the kept. Pure: time comes in as values.
//!
//! Ages are local monotonic time since this worker first saw a counter value; no wall clock is compared between
//! workers (Source: LEASES.md section 3.3).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::Lease;
use crate::types::{LeaseCounter, ShardId, WorkerId};

#[derive(Clone, Debug)]
struct Sighting {
    counter: LeaseCounter,
    since: Instant,
    handoff: Option<(WorkerId, Instant)>,
}

/// When each lease's counter was first seen at its present value, and each handoff at its present target.
#[derive(Debug, Default)]
pub struct LeaseWatch {
    sightings: HashMap<ShardId, Sighting>,
}

impl LeaseWatch {
    /// Takes in one scan made at `now`. Leases that are gone are forgotten.
    pub fn observe<'a>(&mut self, leases: impl Iterator<Item = &'a Lease>, now: Instant) {
        let mut next = HashMap::with_capacity(self.sightings.len());
        for lease in leases {
            let before = self.sightings.remove(&lease.shard);
            let since = match &before {
                Some(seen) if seen.counter == lease.counter => seen.since,
                Some(_) | None => now,
            };
            let target = lease.checkpoint_owner.as_ref().and(lease.owner.as_ref());
            let handoff = target.map(|to| match before.and_then(|seen| seen.handoff) {
                Some((known, at)) if known == *to => (known, at),
                Some(_) | None => (to.clone(), now),
            });
            next.insert(lease.shard.clone(), Sighting { counter: lease.counter, since, handoff });
        }
        self.sightings = next;
    }

    /// How long the lease has not moved, as far as we have seen.
    #[must_use]
    pub fn age(&self, lease: &Lease, now: Instant) -> Duration {
        match self.sightings.get(&lease.shard) {
            Some(seen) if seen.counter == lease.counter => now.saturating_duration_since(seen.since),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// How long ago we first saw the handoff that the lease is in; `None` if it is in none.
    #[must_use]
    pub fn handoff_age(&self, lease: &Lease, now: Instant) -> Option<Duration> {
        let (_, since) = self.sightings.get(&lease.shard)?.handoff.as_ref()?;
        Some(now.saturating_duration_since(*since))
    }

    /// The earliest moment at which one of `leases` will be older than `limit`, if it does not move until then.
    #[must_use]
    pub fn next_expiry<'a>(&self, leases: impl Iterator<Item = &'a Lease>, limit: Duration) -> Option<Instant> {
        leases.filter_map(|lease| Some(self.sightings.get(&lease.shard)?.since + limit)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Checkpoint;

    fn lease(counter: i64) -> Lease {
        let mut lease = Lease::new(ShardId::new("shardId-000000000000"), Checkpoint::TrimHorizon);
        lease.counter = LeaseCounter(counter);
        lease
    }

    #[test]
    fn a_lease_ages_only_while_its_counter_stands_still() {
        let (mut watch, start) = (LeaseWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        watch.observe([lease(5)].iter(), at(0));
        watch.observe([lease(5)].iter(), at(7));
        assert_eq!(watch.age(&lease(5), at(10)), Duration::from_secs(10));
        watch.observe([lease(6)].iter(), at(11));
        assert_eq!(watch.age(&lease(6), at(12)), Duration::from_secs(1));
        assert_eq!(watch.next_expiry([lease(6)].iter(), Duration::from_secs(10)), Some(at(21)));
    }

    #[test]
    fn a_handoff_is_timed_from_its_first_sight() {
        let (mut watch, start) = (LeaseWatch::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut asked = lease(5);
        asked.owner = Some(WorkerId::new("b"));
        asked.checkpoint_owner = Some(WorkerId::new("a"));
        watch.observe([asked.clone()].iter(), at(0));
        asked.counter = LeaseCounter(6); // the old owner goes on renewing
        watch.observe([asked.clone()].iter(), at(4));
        assert_eq!(watch.handoff_age(&asked, at(9)), Some(Duration::from_secs(9)));
        asked.checkpoint_owner = None;
        watch.observe([asked.clone()].iter(), at(10));
        assert_eq!(watch.handoff_age(&asked, at(10)), None);
    }
}
