//! Deletes the leases of finished shards when nobody needs them any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::coordinator::Fleet;
use crate::coordinator::held::Holdings;
use crate::coordinator::renew::chain;
use crate::coordinator::sync::SyncError;
use crate::lease::Lease;
use crate::stream::{ShardFilter, StreamError};
use crate::types::{Checkpoint, ShardId};

/// Time between two looks at finished leases (Source: KCL 3.x `completedLeaseCleanupIntervalMillis`).
const INTERVAL: Duration = Duration::from_secs(300);

/// Whether a finished lease may go: its children have begun, and its own parents' leases are gone.
///
/// Source: KCL 3.x `LeaseCleanupManager`; LEASES.md section 7.4 (LATEST counts as begun).
#[must_use]
pub fn may_go(lease: &Lease, children: &[Option<Lease>], parents: &[Option<Lease>]) -> bool {
    let begun = |child: &Option<Lease>| {
        let at = child.as_ref().map(|child| &child.checkpoint);
        at.is_some_and(|at| !matches!(at, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp))
    };
    lease.is_finished() && !children.is_empty() && children.iter().all(begun) && parents.iter().all(Option::is_none)
}

/// Looks at the finished leases that this worker keeps.
pub struct Cleanup {
    fleet: Fleet,
    holdings: Arc<Holdings>,
}

impl Cleanup {
    /// Works on what `holdings` calls finished.
    #[must_use]
    pub fn new(fleet: Fleet, holdings: Arc<Holdings>) -> Self {
        Self { fleet, holdings }
    }

    /// Looks at the configured interval, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(INTERVAL) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&self) {
        // In the order of their names: parents have smaller ones than their children.
        for shard in self.holdings.finished() {
            if let Err(error) = self.look_at(&shard).await {
                warn!(%shard, error = %chain(&error), "finished lease could not be cleaned up, trying later");
            }
        }
    }

    async fn look_at(&self, shard: &ShardId) -> Result<(), SyncError> {
        let Some(lease) = self.fleet.leases.get(shard).await? else {
            if let Some(held) = self.holdings.get(shard) {
                self.holdings.release(&held);
            }
            return Ok(());
        };
        if lease.actual_owner() != Some(&self.fleet.me) {
            return Ok(());
        }
        if lease.children.is_empty() {
            return self.look_at_childless(&lease).await;
        }
        let (children, parents) = (self.read(&lease.children).await?, self.read(&lease.parents).await?);
        if may_go(&lease, &children, &parents) {
            self.delete(shard).await?;
        }
        Ok(())
    }

    async fn read<'a>(&self, shards: impl IntoIterator<Item = &'a ShardId>) -> Result<Vec<Option<Lease>>, SyncError> {
        let mut rows = Vec::new();
        for shard in shards {
            rows.push(self.fleet.leases.get(shard).await?);
        }
        Ok(rows)
    }

    /// Its children were never learnt: the service may know them, or may not know the shard any more.
    async fn look_at_childless(&self, lease: &Lease) -> Result<(), SyncError> {
        let shards = match self.fleet.catalog.list_shards(ShardFilter::All).await {
            Ok(shards) => shards,
            Err(StreamError::Missing { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if !shards.iter().any(|shard| shard.id == lease.shard) {
            return self.delete(&lease.shard).await;
        }
        let children = shards.iter().filter(|shard| shard.parents().any(|parent| *parent == lease.shard));
        let children = children.map(|shard| shard.id.clone()).collect();
        self.fleet.leases.note_children(&lease.shard, &children).await?;
        Ok(())
    }

    async fn delete(&self, shard: &ShardId) -> Result<(), SyncError> {
        if let Some(held) = self.holdings.get(shard) {
            self.holdings.release(&held);
            held.forget().await;
        }
        self.fleet.leases.delete(shard).await?;
        info!(%shard, "deleted the lease of a finished shard");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(checkpoint: Checkpoint) -> Option<Lease> {
        Some(Lease::new(ShardId::new("shardId-000000000001"), checkpoint))
    }

    #[test]
    fn a_finished_lease_goes_when_its_children_have_begun_and_its_parents_are_gone() {
        use Checkpoint::{AtTimestamp, Latest, ShardEnd, TrimHorizon};
        let number = || Checkpoint::parse("7", 0).unwrap();
        let table = [
            // own,        children,                               parents,              may go
            (ShardEnd, vec![at(number())], vec![], true),
            (ShardEnd, vec![at(number()), at(ShardEnd)], vec![None], true),
            (ShardEnd, vec![at(Latest)], vec![], true),
            (ShardEnd, vec![at(number()), at(TrimHorizon)], vec![], false),
            (ShardEnd, vec![at(AtTimestamp)], vec![], false),
            (ShardEnd, vec![at(number()), None], vec![], false),
            (ShardEnd, vec![at(number())], vec![at(ShardEnd)], false),
            (ShardEnd, vec![], vec![], false),
            (number(), vec![at(number())], vec![], false),
        ];
        for (own, children, parents, verdict) in table {
            let lease = at(own.clone()).unwrap();
            assert_eq!(may_go(&lease, &children, &parents), verdict, "{own} {children:?} {parents:?}");
        }
    }
}
