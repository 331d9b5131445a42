//! The looks of a worker that leaves: who gets its leases, and whether one was left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::coordinator::age::LeaseWatch;
use crate::coordinator::assign::plan;
use crate::coordinator::heirs::{heirs_by, without};
use crate::coordinator::held::Holdings;
use crate::coordinator::renew::chain;
use crate::coordinator::view::Look;
use crate::coordinator::{Fleet, LEAVING_LIMIT, LEAVING_RETRY, WRITES_AT_ONCE};
use crate::lease::{FleetRows, Lease, LeaseStoreError, Written};
use crate::types::WorkerId;

/// One look of a worker that leaves.
pub(super) struct Leave {
    pub(super) fleet: Fleet,
    pub(super) holdings: Arc<Holdings>,
    /// When we last reported our load, in seconds since the Unix epoch, if that is known.
    pub(super) last_report: Option<i64>,
}

impl Leave {
    /// Looks once; if the table cannot be read nobody is named, the leases go to nobody, and a leader gives them away.
    pub(super) async fn look(&self) {
        match timeout(LEAVING_LIMIT, self.try_look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %chain(&error), "no worker could be found that takes our leases over; a leader must");
                self.holdings.heirs().name(BTreeMap::new());
            }
            Err(_) => self.holdings.heirs().name(BTreeMap::new()),
        }
    }

    /// The last look. We hold nothing any more, so it gives away whatever is left in our name, and tries on while that
    /// can help.
    pub(super) async fn last_look(&self) {
        let mut failures = 0;
        while let Err(error) = self.try_look().await {
            failures += 1;
            if !error.is_transient() {
                warn!(error = %chain(&error), "leases in our name could not be given back; they will expire");
                return;
            }
            sleep(LEAVING_RETRY.jittered(failures)).await;
        }
    }

    async fn try_look(&self) -> Result<(), LeaseStoreError> {
        let rows = self.fleet.leases.list().await?;
        let gifts = self.name(&rows).into_iter().map(|(lease, heir)| self.give(lease, heir));
        futures_util::stream::iter(gifts).buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }

    /// Names the workers that get our leases: those that could be given some when we last looked, by the same plan as a
    /// leader makes. They find them sooner than a leader could give them, and no leader need be there. Returns what
    /// must be given away here and now, and to whom.
    fn name(&self, rows: &FleetRows) -> Vec<(Lease, Option<WorkerId>)> {
        let (fleet, heirs, me, now) = (&self.fleet, self.holdings.heirs(), &self.fleet.me, Instant::now());
        let (watch, dead) = (&LeaseWatch::default(), &BTreeSet::new());
        let mut view = Look { rows, watch, dead, config: &fleet.config, me, now, wall: fleet.clock.now() }.view();
        view.workers.retain(|worker, _| worker != me && heirs.was_alive(worker));
        heirs.saw(&view.workers.keys().cloned().collect());
        let orphans = |lease: &Lease| lease.actual_owner() == Some(me) || heirs.is_astray(lease);
        let named = heirs_by(plan(&without(me, orphans, view), &fleet.config.balancing, false).steps);
        debug!(leases = named.len(), "other workers take our leases over");
        let ours = |lease: &Lease| !self.has_namesake(rows) || lease.actual_owner() != Some(me);
        let unheld =
            rows.leases.iter().filter(|lease| orphans(lease) && !self.holdings.has(&lease.shard) && ours(lease));
        let unheld = unheld.map(|lease| (lease.clone(), named.get(&lease.shard).cloned())).collect();
        heirs.name(named);
        unheld
    }

    /// Whether a process that was started in our place has our name: it reports already, and the leases that we do not
    /// hold are its own.
    pub(super) fn has_namesake(&self, rows: &FleetRows) -> bool {
        let named = rows.workers.iter().filter(|row| row.worker == self.fleet.me);
        let Some(last) = self.last_report else { return false }; // the row may well be ours
        named.filter_map(|row| row.last_update_seconds).any(|at| at > last)
    }

    /// Gives away a lease that names us though we do not hold it: a write of ours may have come through unseen, or a
    /// leader, or somebody else who leaves, may have given it to us while we were leaving. Its shard stands still, so
    /// it must not wait for our children; nor may one that we gave to somebody who had gone.
    async fn give(&self, lease: Lease, heir: Option<WorkerId>) -> Result<(), LeaseStoreError> {
        let wanted_by = lease.checkpoint_owner.as_ref().and(lease.owner.clone());
        let heir = match wanted_by {
            Some(next) if heir.is_none() || self.holdings.heirs().was_alive(&next) => Some(next),
            Some(_) | None => heir,
        };
        let written = match heir {
            Some(heir) => self.fleet.leases.assign(&lease, &heir).await?,
            None => self.fleet.leases.evict(&lease).await?,
        };
        if let Written::Yes(row) = written {
            debug!(shard = %row.shard, owner = ?row.owner, "gave away a lease that we did not hold");
            self.holdings.heirs().gave(&row);
        }
        Ok(())
    }
}
