//! The looks of a worker that leaves: who gets its leases, and whether one was left behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
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
    /// Looks once; if the table cannot be read, who was named before stays so. If that is nobody the leases go to nobody,
    /// and a leader gives them away.
    pub(super) async fn look(&self) {
        match timeout(LEAVING_LIMIT, self.try_look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %chain(&error), "our leases could not all be given to other workers; a leader must")
            }
            Err(_) => debug!("giving our leases to other workers takes long, looking again"),
        }
        self.holdings.heirs().wait_no_longer();
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
        let given: Vec<_> = futures_util::stream::iter(gifts).buffer_unordered(WRITES_AT_ONCE).collect().await;
        given.into_iter().collect() // one that fails leaves the others alone
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
    /// it must not wait for our children; nor may one that we gave to somebody who had gone. Tries on while that can help,
    /// so the caller sets the limit.
    async fn give(&self, mut lease: Lease, heir: Option<WorkerId>) -> Result<(), LeaseStoreError> {
        let mut failures = 0;
        loop {
            match self.try_give(&lease, heir.as_ref()).await {
                Ok(None) => return Ok(()),
                Ok(Some(row)) => lease = row,
                Err(error) if error.is_transient() => {
                    failures += 1;
                    sleep(LEAVING_RETRY.jittered(failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One try; the row as it is if somebody changed it meanwhile and it still is to be given away.
    async fn try_give(&self, lease: &Lease, heir: Option<&WorkerId>) -> Result<Option<Lease>, LeaseStoreError> {
        let heirs = self.holdings.heirs();
        let wanted_by = lease.checkpoint_owner.as_ref().and(lease.owner.as_ref());
        let heir = match wanted_by {
            Some(next) if heir.is_none() || heirs.was_alive(next) => Some(next),
            Some(_) | None => heir,
        };
        let written = match heir {
            Some(heir) => self.fleet.leases.assign(lease, heir).await?,
            None => self.fleet.leases.evict(lease).await?,
        };
        let seen = match written {
            Written::Yes(row) => {
                debug!(shard = %row.shard, owner = ?row.owner, "gave away a lease that we did not hold");
                heirs.gave(&row);
                return Ok(None);
            }
            Written::No(Some(row)) => Some(*row),
            Written::No(None) => self.fleet.leases.get_now(&lease.shard).await?,
        };
        let Some(row) = seen else { return Ok(None) };
        if row.actual_owner() == Some(&self.fleet.me) {
            return Ok(Some(row)); // a handoff began or ended
        }
        if heir.is_some_and(|heir| row.is_given_to(heir)) {
            heirs.gave(&row); // by a try whose answer was lost
        }
        Ok(None)
    }
}
