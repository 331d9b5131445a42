//! Which leases a worker takes that helps itself, as workers of 2.x do. Pure.
//!
//! Source: KCL 3.x `DynamoDBLeaseTaker.computeLeasesToTake`; LEASES.md section 3.4.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::lease::Lease;
use crate::types::{LeaseCounter, ShardId, WorkerId};

/// How many failover times old a lease is that is taken whatever the target says
/// (Source: KCL 3.x `veryOldLeaseDurationNanosMultiplier`).
pub(super) const VERY_OLD: u32 = 3;

/// When each lease last moved, as far as this worker has seen.
///
/// Unlike the memory of a leader: a lease without an owner that is seen for the first time has never been renewed.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: HashMap<ShardId, (LeaseCounter, Option<Instant>)>,
}

impl Sightings {
    /// Takes in one scan made at `now`. Leases that are gone are forgotten.
    pub fn observe(&mut self, leases: &[Lease], now: Instant) {
        let mut next = HashMap::with_capacity(leases.len());
        for lease in leases {
            let moved = match self.seen.get(&lease.shard) {
                Some((counter, moved)) if *counter == lease.counter => *moved,
                Some(_) => Some(now),
                None => lease.owner.is_some().then_some(now),
            };
            next.insert(lease.shard.clone(), (lease.counter, moved));
        }
        self.seen = next;
    }

    /// How long the lease has not moved; `None` if it has never been renewed.
    #[must_use]
    pub fn age(&self, lease: &Lease, now: Instant) -> Option<Duration> {
        let (_, moved) = self.seen.get(&lease.shard)?;
        moved.map(|moved| now.saturating_duration_since(moved))
    }
}

/// What makes a look a reason to take leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It is time, as it is every two failover times.
    Due,
    /// Something happened in between: what lies about may be taken, but nothing is taken from anybody.
    Event,
}

/// The settings of a taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Age from which a lease may be taken.
    pub failover_time: Duration,
    /// Most leases of one worker.
    pub max_leases: usize,
    /// Most leases that are taken from another worker in one look.
    pub max_steals: usize,
    /// Whether very old leases go before everything else, and beyond the target.
    pub priority: bool,
}

/// Why a lease is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has been lying about for long.
    VeryOld,
    /// It has no owner, or its owner does not renew it.
    Available,
    /// Its owner has more than we have.
    Steal,
}

/// One lease as the taker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// The row.
    pub lease: &'a Lease,
    /// Since when its counter stands; `None` if it was never renewed.
    pub age: Option<Duration>,
    /// We keep it, whatever the row says: it may have been taken from us without our knowing.
    pub in_our_hands: bool,
}

impl Candidate<'_> {
    fn is_older(&self, limit: Duration) -> bool {
        self.age.is_none_or(|age| age > limit)
    }

    fn is_available(&self, rules: &Rules) -> bool {
        self.lease.owner.is_none() || self.is_older(rules.failover_time)
    }
}

/// Chooses what `me` takes now, in no particular order.
#[must_use]
pub fn choose<'a>(
    leases: &[Candidate<'a>],
    me: &WorkerId,
    rules: &Rules,
    occasion: Occasion,
    random: &mut Rng,
) -> Vec<(&'a Lease, Why)> {
    if leases.is_empty() {
        return Vec::new();
    }
    let counts = counts(leases, me, rules);
    let mine = counts[me];
    let free = |is_free: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<&'a Lease> {
        leases.iter().filter(|one| !one.in_our_hands && is_free(one)).map(|one| one.lease).collect()
    };
    if rules.priority {
        let old = free(&|one| one.is_older(rules.failover_time * VERY_OLD));
        if !old.is_empty() {
            return some(old, rules.max_leases.saturating_sub(mine), Why::VeryOld, random);
        }
    }
    let target = target(leases.len(), counts.len(), rules.max_leases);
    let needed = target.saturating_sub(mine);
    let available = free(&|one| one.is_available(rules));
    if !available.is_empty() {
        return some(available, needed, Why::Available, random);
    }
    let Some((victim, theirs)) = counts.iter().max_by_key(|(_, count)| **count) else { return Vec::new() };
    if occasion == Occasion::Event || *victim == me {
        return Vec::new();
    }
    let steals = match theirs.checked_sub(target) {
        None => 0,
        Some(0) => usize::from(needed > 1),
        Some(surplus) => needed.min(surplus),
    };
    let theirs = free(&|one| one.lease.owner.as_ref() == Some(*victim));
    some(theirs, steals.min(rules.max_steals), Why::Steal, random)
}

/// How many leases each living worker has; one that holds nothing is not seen, except for ourselves.
fn counts<'a>(leases: &[Candidate<'a>], me: &'a WorkerId, rules: &Rules) -> BTreeMap<&'a WorkerId, usize> {
    let mut counts = BTreeMap::from([(me, 0)]);
    for one in leases.iter().filter(|one| one.in_our_hands || !one.is_available(rules)) {
        if let Some(owner) = &one.lease.owner {
            *counts.entry(owner).or_default() += 1;
        }
    }
    counts
}

/// What every worker should have at least.
fn target(leases: usize, workers: usize, max_leases: usize) -> usize {
    if workers >= leases { 1 } else { leases.div_ceil(workers).min(max_leases) }
}

/// Shuffled, so that workers do not all run for the same ones.
fn some<'a>(mut leases: Vec<&'a Lease>, most: usize, why: Why, random: &mut Rng) -> Vec<(&'a Lease, Why)> {
    random.shuffle(&mut leases);
    leases.truncate(most);
    leases.into_iter().map(|lease| (lease, why)).collect()
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
