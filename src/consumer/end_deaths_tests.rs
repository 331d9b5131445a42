//! A worker dies at the end of a shard, at each of its writes; another one goes on from what it finds.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::consumer::testing::{Ground, Nursery, obedient};
use crate::consumer::{Outcome, Stops, consume};
use crate::coordinator::testing::{beside, lease, row, shard};
use crate::lease::Lease;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::stream::memory::MemoryStream;
use crate::types::{Checkpoint, LeaseCounter};

/// How the shard 0 comes to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Split,
    /// With shard 1, which somebody else reads.
    Merge,
}

/// A worker, and its end if it meets its death.
struct Worker {
    ground: Ground,
    nursery: Arc<Nursery>,
    work: JoinSet<Outcome>,
}

fn fresh(number: u32) -> Lease {
    Lease { checkpoint: Checkpoint::TrimHorizon, ..lease(number, Some("a")) }
}

impl Worker {
    fn first(change: Change) -> Self {
        let mut ground = Ground::new();
        if change == Change::Merge {
            ground.stream = Arc::new(MemoryStream::new(2, ground.clock.clone()));
            ground.table.put_lease(&Lease { owner: None, ..fresh(1) });
        }
        ground.put();
        match change {
            Change::Split => drop(ground.stream.split(&shard(0)).unwrap()),
            Change::Merge => drop(ground.stream.merge(&shard(0), &shard(1)).unwrap()),
        }
        Self::at_work(ground, &fresh(0))
    }

    /// Another one beside a dead worker, which has its lease.
    fn next(dead: &Ground) -> Self {
        let mut ground = Ground::new();
        (ground.table, ground.stream) = (beside(&dead.table), dead.stream.clone());
        let mut lease = row(&ground.table, 0);
        lease.counter = lease.counter.next();
        Self::at_work(ground, &lease)
    }

    fn at_work(mut ground: Ground, lease: &Lease) -> Self {
        let (held, nursery, mut work) = (ground.hold(lease), Nursery::new(obedient), JoinSet::new());
        work.spawn(Box::pin(consume(ground.shared(nursery.clone()), lease.clone(), held, Stops::default())));
        Self { ground, nursery, work }
    }

    async fn ended(&mut self) -> Outcome {
        timeout(Duration::from_secs(60), self.work.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// The table but for its counters.
fn rows(table: &MemoryStore) -> Vec<Lease> {
    let still = |lease: Lease| Lease { counter: LeaseCounter(0), throughput_kbps: None, ..lease };
    table.snapshot().leases.into_iter().map(still).collect()
}

/// What holds between any two writes: what follows waits for this shard, and is there before this one is finished.
fn nobody_is_missed(table: &MemoryStore, whole: &[Lease], context: &str) {
    let now = rows(table);
    let children = || whole.iter().filter(|lease| lease.parents.contains(&shard(0)));
    assert!(children().count() > 0, "{context}");
    if row(table, 0).is_finished() {
        assert!(children().all(|child| now.contains(child)), "{context}: {now:?}");
        assert_eq!(row(table, 0).children.len(), children().count(), "{context}");
    }
    for child in now.iter().filter(|lease| ![shard(0), shard(1)].contains(&lease.shard)) {
        assert!(whole.contains(child), "{context}: {child:?}, with all its parents");
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_at_any_write_of_the_end_leaves_what_the_next_worker_finishes() {
    for change in [Change::Split, Change::Merge] {
        let mut undisturbed = Worker::first(change);
        assert!(matches!(undisturbed.ended().await, Outcome::Finished));
        let (whole, calls) = (rows(&undisturbed.ground.table), undisturbed.ground.table.faults().all_calls());
        let writes = [Operation::Create, Operation::NoteChildren, Operation::Checkpoint];
        let writes = writes.into_iter().flat_map(|write| (0..calls[&write]).map(move |number| (write, number)));
        let mut deaths = 0;
        for (write, before) in writes {
            for done in [false, true] {
                let context = format!("{change:?}, {write:?} {before}, done {done}");
                let mut worker = Worker::first(change);
                let unharmed = Fault::Slow { before: Duration::ZERO, after: Duration::ZERO };
                worker.ground.table.faults().next(write, before, unharmed);
                worker.ground.table.faults().next(write, 1, Fault::Death { done });
                worker.ground.table.faults().death().cancelled().await;
                worker.work.shutdown().await;
                worker.ground.keepers.shutdown().await;
                nobody_is_missed(&worker.ground.table, &whole, &context);
                let ends_already = row(&worker.ground.table, 0).is_finished();
                let mut next = Worker::next(&worker.ground);
                assert!(matches!(next.ended().await, Outcome::Finished), "{context}");
                assert_eq!(rows(&next.ground.table), whole, "{context}");
                assert_eq!(next.nursery.births(), usize::from(!ends_already), "{context}");
                deaths += 1;
            }
        }
        assert_eq!(deaths, if change == Change::Split { 10 } else { 8 }, "{calls:?}");
    }
}
