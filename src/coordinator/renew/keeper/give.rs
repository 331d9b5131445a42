//! Gives the lease away: to the worker that waits for it, to an heir, or to nobody.

use tokio::time::sleep;
use tracing::{info, warn};

use super::super::chain;
use super::{Keeper, RETRY};
use crate::lease::{LeaseStore, Written};
use crate::types::WorkerId;

impl<S: LeaseStore + ?Sized> Keeper<S> {
    /// A handoff ends with the assignment to the worker that waits; else the lease goes to our heir, or is left without
    /// an owner, which every version of the leader takes up first (Source: COEXISTENCE.md D4). Tries on while that can
    /// help.
    pub(super) async fn give_back(&mut self) {
        let mut failures = 0;
        loop {
            let next = self.next_owner().await;
            let written = match &next {
                Some(next) => self.store.assign(&self.lease, next).await,
                // An evicted lease in a handoff would go to the worker that is not there.
                None if self.lease.checkpoint_owner.is_some() => self.store.assign(&self.lease, &self.me).await,
                None => self.store.evict(&self.lease).await,
            };
            match written {
                Ok(Written::Yes(row)) if next.is_none() && row.owner.is_some() => self.lease = row,
                Ok(Written::Yes(row)) => return self.heirs.gave(&row),
                Ok(Written::No(seen)) => match seen.filter(|row| row.actual_owner() == Some(&self.me)) {
                    Some(row) => self.lease = *row, // a handoff began or ended meanwhile
                    None => return,
                },
                Err(error) if error.is_transient() => {
                    failures += 1;
                    sleep(RETRY.jittered(failures)).await;
                }
                Err(error) => {
                    warn!(shard = %self.lease.shard, error = %chain(&error), "the lease could not be given back; it will expire");
                    return;
                }
            }
        }
    }

    async fn next_owner(&self) -> Option<WorkerId> {
        match (&self.lease.checkpoint_owner, &self.lease.owner) {
            (Some(_), Some(next)) if *next != self.me && self.is_there(next).await => Some(next.clone()),
            (Some(_) | None, _) => self.heirs.of(&self.lease.shard).await,
        }
    }

    /// Whether a worker that shall get the lease has not left meanwhile. Whoever leaves takes its load row away; when
    /// that cannot be found out, the leader that named it is believed.
    async fn is_there(&self, worker: &WorkerId) -> bool {
        if self.heirs.was_alive(worker) {
            return true;
        }
        let there = self.store.list().await.map_or(true, |rows| rows.workers.iter().any(|row| row.worker == *worker));
        if !there {
            info!(shard = %self.lease.shard, next = %worker, "the worker that asked for the lease has left");
        }
        there
    }
}
