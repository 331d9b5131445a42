//! Deletes the leases of finished shards when nobody needs them any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::coordinator::Fleet;
use crate::coordinator::held::Holdings;
use crate::coordinator::renew::chain;
use crate::coordinator::sync::SyncError;
use crate::lease::Lease;
use crate::stream::{Shard, ShardFilter, StreamError};
use crate::types::{Checkpoint, ShardId};

/// Time between two looks at finished leases (Source: KCL 3.x `completedLeaseCleanupIntervalMillis`).
const INTERVAL: Duration = Duration::from_secs(300);
/// Time between two looks whether finished shards are still in the stream (Source: KCL 3.x
/// `garbageLeaseCleanupIntervalMillis`).
const GARBAGE_INTERVAL: Duration = Duration::from_secs(1800);

/// Whether a finished lease may go: the children that are known have begun, and its own parents' leases are gone.
///
/// Source: KCL 3.x `LeaseCleanupManager`; LEASES.md section 7.4 (LATEST counts as begun).
#[must_use]
pub fn may_go(lease: &Lease, children: &[Option<Lease>], parents: &[Option<Lease>]) -> bool {
    let begun = |child: &Option<Lease>| {
        let at = child.as_ref().map(|child| &child.checkpoint);
        at.is_some_and(|at| !matches!(at, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp))
    };
    lease.is_finished() && children.iter().all(begun) && parents.iter().all(Option::is_none)
}

/// Looks at the finished leases that this worker keeps.
pub struct Cleanup {
    fleet: Fleet,
    holdings: Arc<Holdings>,
    /// When shards are looked for in the stream again.
    garbage_due: Instant,
}

/// What one look asks of the stream, once at most.
#[derive(Default)]
struct Listing(OnceCell<Vec<Shard>>);

impl Listing {
    async fn shards(&self, fleet: &Fleet) -> Result<&[Shard], SyncError> {
        let list = || async {
            match fleet.catalog.list_shards(ShardFilter::All).await {
                Err(StreamError::Missing { .. }) => Ok(Vec::new()),
                listed => listed,
            }
        };
        Ok(self.0.get_or_try_init(list).await?)
    }
}

impl Cleanup {
    /// Works on what `holdings` calls finished.
    #[must_use]
    pub fn new(fleet: Fleet, holdings: Arc<Holdings>) -> Self {
        Self { fleet, holdings, garbage_due: Instant::now() + GARBAGE_INTERVAL }
    }

    /// Looks at the configured interval, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
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

    async fn look(&mut self) {
        let (listing, now) = (Listing::default(), Instant::now());
        let garbage = now >= self.garbage_due;
        if garbage {
            self.garbage_due = now + GARBAGE_INTERVAL;
        }
        // In the order of their names: parents have smaller ones than their children.
        for shard in self.holdings.finished() {
            if let Err(error) = self.look_at(&shard, garbage, &listing).await {
                warn!(%shard, error = %chain(&error), "finished lease could not be cleaned up, trying later");
            }
        }
    }

    /// `garbage`: it goes, too, when the stream does not have its shard any more, whatever became of the children.
    async fn look_at(&self, shard: &ShardId, garbage: bool, listing: &Listing) -> Result<(), SyncError> {
        let Some(lease) = self.fleet.leases.get(shard).await? else {
            if let Some(held) = self.holdings.get(shard) {
                self.holdings.release(&held);
            }
            return Ok(());
        };
        if lease.actual_owner() != Some(&self.fleet.me) || !lease.is_finished() {
            return Ok(());
        }
        let childless = lease.children.is_empty();
        let mut children = lease.children.clone();
        if childless || garbage {
            let shards = listing.shards(&self.fleet).await?;
            let Some(listed) = shards.iter().find(|listed| listed.id == *shard) else {
                return self.delete(shard).await;
            };
            if childless {
                let born = shards.iter().filter(|child| child.parents().any(|parent| parent == shard));
                children = born.map(|child| child.id.clone()).collect();
                if children.is_empty() && !listed.is_open() {
                    return Ok(()); // it has some, and they are not listed yet
                }
            }
            if childless && !children.is_empty() {
                self.fleet.leases.note_children(shard, &children).await?;
            }
        }
        // An open shard has none: the stream was made anew under its old name, and without this lease it is read.
        if may_go(&lease, &self.read(&children).await?, &self.read(&lease.parents).await?) {
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
mod beside;

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
            (ShardEnd, vec![], vec![], true),
            (ShardEnd, vec![], vec![at(ShardEnd)], false),
            (number(), vec![at(number())], vec![], false),
        ];
        for (own, children, parents, verdict) in table {
            let lease = at(own.clone()).unwrap();
            assert_eq!(may_go(&lease, &children, &parents), verdict, "{own} {children:?} {parents:?}");
        }
    }
}
