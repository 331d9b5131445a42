//! Takes leases as workers of 2.x do: everybody looks at the table and helps themselves, and nobody gives.
//!
//! Works beside Java workers of 2.x, and of 3.x in 2.x mode. Writes nothing but leases (Source: LEASES.md section 3.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use tokio::sync::{Notify, watch as channel};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::coordinator::held::Holdings;
use crate::coordinator::odd::OddRows;
use crate::coordinator::renew::{Proof, chain};
use crate::coordinator::sync::{AUDIT_INTERVAL, Audit, FIRST_AUDIT, FirstLeases, SyncError, audit_ring};
use crate::coordinator::taker::choose::{Candidate, Occasion, Rules, Sightings, VERY_OLD, Why, choose};
use crate::coordinator::taker::election::elected;
use crate::coordinator::{Fleet, WRITES_AT_ONCE};
use crate::lease::{Lease, LeaseStoreError, Written};
use crate::types::WorkerId;

pub mod choose;
pub mod election;
mod watch;

/// Added to the failover time; twice the sum is the time between two balancing looks
/// (Source: KCL 3.x `DynamoDBLeaseCoordinator.takerIntervalMillis`).
const EPSILON: Duration = Duration::from_millis(25);
/// Added to the moment at which a lease will have expired, so that it has.
const MARGIN: Duration = Duration::from_millis(50);
/// Waits after looks that failed.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Shortest time between two looks that succeed.
const SHORTEST: Duration = Duration::from_millis(200);
/// Longest time until the next look when a take failed: it may have come through unseen.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The looks of one worker.
pub struct Taker {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    poke: Arc<Notify>,
    /// Whether the shard list is ours to look after.
    leads: channel::Sender<bool>,
    seen: Sightings,
    audit: Audit,
    next_audit: Instant,
    /// When leases may be taken from others again.
    due: Instant,
    first_leases: FirstLeases,
    odd: OddRows,
    random: Rng,
    failures: u32,
}

impl Taker {
    /// Has seen nothing yet. `poke` asks for a look at once; `leads` is told whether this worker leads.
    #[must_use]
    pub fn new(fleet: Fleet, holdings: Arc<Holdings>, poke: Arc<Notify>, leads: channel::Sender<bool>) -> Self {
        let now = Instant::now();
        Self {
            fleet,
            holdings,
            poke,
            leads,
            seen: Sightings::default(),
            audit: Audit::default(),
            next_audit: now + FIRST_AUDIT,
            due: now,
            first_leases: FirstLeases::default(),
            odd: OddRows::default(),
            random: Rng::new(),
            failures: 0,
        }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                pause = self.round() => pause,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.poke.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One look; returns the time until the next.
    async fn round(&mut self) -> Duration {
        match self.look().await {
            Ok(pause) => {
                self.failures = 0;
                pause.max(SHORTEST)
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == 1 {
                    warn!(error = %chain(&error), "the leases could not be looked at, trying on");
                }
                RETRY.jittered(self.failures)
            }
        }
    }

    async fn look(&mut self) -> Result<Duration, SyncError> {
        let began = Instant::now();
        let mut rows = self.fleet.leases.list().await?;
        let scan_took = began.elapsed();
        // As long as nobody owns a lease everybody leads, so nobody need wait for anybody.
        if self.first_leases.create(&self.fleet, &rows.leases, true).await? {
            rows = self.fleet.leases.list().await?;
        }
        let now = Instant::now();
        self.seen.observe(&rows.leases, now);
        self.odd.tell(&rows);
        self.holdings.adopt_ours(&rows.leases).await?;
        let leading = elected(rows.leases.iter().filter_map(|lease| lease.owner.as_ref()))
            .is_none_or(|leader| *leader == self.fleet.me);
        self.leads.send_if_modified(|before| std::mem::replace(before, leading) != leading);
        let occasion = if now >= self.due { Occasion::Due } else { Occasion::Event };
        let chosen = self.choose(&rows.leases, occasion, now);
        let failed = self.take(chosen, scan_took).await;
        if occasion == Occasion::Due {
            self.due = Instant::now() + (self.fleet.config.failover_time + EPSILON) * 2;
        }
        if leading {
            self.audit(&rows.leases, now).await?;
        }
        let pause = self.pause(&rows.leases, scan_took, Instant::now());
        Ok(if failed { pause.min(LOOK_AGAIN) } else { pause })
    }

    fn choose(&mut self, leases: &[Lease], occasion: Occasion, now: Instant) -> Vec<(Lease, Why)> {
        let config = &self.fleet.config;
        let rules = Rules {
            failover_time: config.failover_time,
            max_leases: config.max_leases_for_worker,
            max_steals: config.max_leases_to_steal,
            priority: config.priority_assignment,
        };
        let candidate =
            |lease| Candidate { lease, age: self.seen.age(lease, now), in_our_hands: self.holdings.has(&lease.shard) };
        let candidates: Vec<Candidate<'_>> = leases.iter().map(candidate).collect();
        let chosen = choose(&candidates, &self.fleet.me, &rules, occasion, &mut self.random);
        chosen.into_iter().map(|(lease, why)| (lease.clone(), why)).collect()
    }

    /// Takes what was chosen; whether some of it could not be asked for.
    async fn take(&self, chosen: Vec<(Lease, Why)>, scan_took: Duration) -> bool {
        // Source: KCL 3.x `updateStaleLeasesWithLatestState`: half a renewal interval.
        let is_stale = scan_took > self.fleet.config.failover_time / 6;
        let failed = AtomicBool::new(false);
        let takes = futures_util::stream::iter(chosen).for_each_concurrent(WRITES_AT_ONCE, |(lease, why)| {
            let failed = &failed;
            async move {
                if let Err(error) = self.take_one(lease, why, is_stale).await {
                    warn!(error = %chain(&error), "a lease could not be taken, trying on");
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
        takes.await;
        failed.into_inner()
    }

    async fn take_one(&self, seen: Lease, why: Why, is_stale: bool) -> Result<(), LeaseStoreError> {
        let read_again = if is_stale && why == Why::Steal { self.fleet.leases.get(&seen.shard).await? } else { None };
        let lease = read_again.as_ref().unwrap_or(&seen);
        if lease.owner != seen.owner {
            return Ok(()); // somebody else's by now
        }
        let sent = Instant::now();
        match self.fleet.leases.take(lease, &self.fleet.me).await? {
            Written::Yes(lease) => {
                let from = seen.owner.as_ref().map_or("nobody", WorkerId::as_str);
                info!(shard = %lease.shard, %from, ?why, "helped ourselves to a lease");
                self.holdings.adopt(lease, Proof::Given(sent)).await?;
            }
            Written::No(_) => debug!(shard = %seen.shard, "somebody was faster"),
        }
        Ok(())
    }

    async fn audit(&mut self, leases: &[Lease], now: Instant) -> Result<(), SyncError> {
        if now < self.next_audit || leases.is_empty() {
            return Ok(());
        }
        self.next_audit = now + AUDIT_INTERVAL;
        if audit_ring(&self.fleet, &mut self.audit, leases).await? > 0 {
            self.poke.notify_one();
        }
        Ok(())
    }

    /// Until it is time to balance, or to watch the others, or a lease of somebody else's would have expired.
    fn pause(&self, leases: &[Lease], scan: Duration, now: Instant) -> Duration {
        let failover_time = self.fleet.config.failover_time;
        let until_due = self.due.saturating_duration_since(now);
        if leases.is_empty() {
            return until_due.min(failover_time / 4);
        }
        let others = leases.iter().filter(|lease| !self.holdings.has(&lease.shard));
        let ages = others.filter_map(|lease| self.seen.age(lease, now));
        let limits = [failover_time, failover_time * VERY_OLD];
        let waits = ages.flat_map(|age| limits.map(|limit| (limit + MARGIN).checked_sub(age)));
        let expires = waits.flatten().filter(|wait| !wait.is_zero()).min();
        let is_kept = |lease: &&Lease| self.seen.age(lease, now).is_some_and(|age| age <= failover_time);
        let living = leases.iter().filter(is_kept).filter_map(|lease| lease.owner.as_ref()).collect();
        let watched = watch::pause(&self.fleet.me, &living, leases.len(), failover_time, scan);
        [expires, watched].into_iter().flatten().fold(until_due, Duration::min)
    }
}

#[cfg(test)]
mod beside;

#[cfg(test)]
#[path = "taker_tests.rs"]
mod tests;
