//! A leader's duties besides giving leases: the first leases, holes in the ring, load rows of the dead.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Rounds;
use crate::coordinator::sync::{AUDIT_INTERVAL, FIRST_AUDIT, SyncError, audit_ring};
use crate::lease::{FleetRows, Lease, LeaseStoreError, WorkerRow};
use crate::types::Checkpoint;

/// A load row that has not been written for so long is deleted (Source: LEASES.md section 2, "drop metric row").
const ROW_STALE: Duration = Duration::from_secs(24 * 3600);

impl Rounds {
    /// The leader creates the first leases; anybody does where a leader has not done so for long.
    fn must_create_first(&mut self, rows: &FleetRows, leading: bool) -> bool {
        if !rows.leases.is_empty() {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert_with(Instant::now);
        leading || since.elapsed() > self.fleet.config.failover_time
    }

    /// Creates leases for an empty table, or the rest of them where we failed half way; whether there are new ones.
    pub(super) async fn create_leases(&mut self, rows: &FleetRows, leading: bool) -> Result<bool, SyncError> {
        let may_begin = self.must_create_first(rows, leading);
        self.first_leases.create(&self.fleet, &rows.leases, may_begin).await
    }

    /// The duties that need not be done at each look: holes in the ring, and load rows that nobody writes any more.
    pub(super) async fn audit(&mut self, rows: &FleetRows, now: Instant) -> Result<(), SyncError> {
        let leases = &rows.leases;
        let first = if untouched(leases) { Duration::ZERO } else { FIRST_AUDIT };
        let due = *self.next_audit.get_or_insert(now + first);
        if now < due || leases.is_empty() {
            return Ok(());
        }
        // Where nobody has begun to read, a hole is what a worker has left that died while it created the leases.
        let again = if untouched(leases) { self.fleet.config.failover_time } else { AUDIT_INTERVAL };
        self.next_audit = Some(now + again);
        if audit_ring(&self.fleet, &mut self.audit, leases).await? > 0 {
            self.poke.notify_one();
        }
        self.sweep(&rows.workers).await?;
        Ok(())
    }

    async fn sweep(&self, workers: &[WorkerRow]) -> Result<(), LeaseStoreError> {
        let limit = self.fleet.clock.now().before(ROW_STALE).0;
        for row in workers {
            let Some(updated) = row.last_update_seconds.filter(|updated| updated.saturating_mul(1000) < limit) else {
                continue;
            };
            if self.fleet.state.delete_worker(&row.worker, updated).await? {
                info!(worker = %row.worker, "deleted the load row of a worker that has been gone for more than a day");
            }
        }
        Ok(())
    }
}

/// Whether nobody has read anything yet.
fn untouched(leases: &[Lease]) -> bool {
    leases.iter().all(|lease| !matches!(lease.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd))
}
