//! What the tests of the coordination share: leases and fleets over a table in memory.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::PausedClock;
use crate::config::{Balancing, ClientVersionConfig, Coordination, CpuSampling};
use crate::coordinator::Fleet;
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::Faults;
use crate::lease::{Lease, WorkerRow};
use crate::stream::memory::MemoryStream;
use crate::types::{Checkpoint, EpochMillis, InitialPosition, LeaseCounter, ShardId, WorkerId};

pub(crate) mod drawn;
pub(crate) mod java;
mod rows;

/// `failoverTimeMillis` of these tests.
pub(crate) const F: Duration = Duration::from_secs(10);
/// Some wall time.
pub(crate) const NOW: EpochMillis = EpochMillis(1_700_000_000_000);

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

pub(crate) fn shard(number: u32) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

pub(crate) fn at(number: u32) -> Checkpoint {
    Checkpoint::parse(&number.to_string(), 0).unwrap()
}

/// A lease of `owner` at the checkpoint `5`, whose counter is 5, too.
pub(crate) fn lease(number: u32, owner: Option<&str>) -> Lease {
    let mut lease = Lease::new(shard(number), at(5));
    lease.counter = LeaseCounter(5);
    lease.owner = owner.map(worker);
    lease
}

/// The row as it is, past all faults.
pub(crate) fn row(table: &MemoryStore, number: u32) -> Lease {
    table.snapshot().leases.into_iter().find(|lease| lease.shard == shard(number)).unwrap()
}

/// A load row written now.
pub(crate) fn load_row(name: &str) -> WorkerRow {
    WorkerRow {
        worker: worker(name),
        last_update_seconds: Some(NOW.0 / 1000),
        stats: Default::default(),
        operating_ranges: Default::default(),
        support_code: Some(1),
        support_update_seconds: Some(NOW.0 / 1000),
    }
}

/// Another connection to the same table.
pub(crate) fn beside(table: &MemoryStore) -> MemoryStore {
    table.connect(Faults::default())
}

/// The fleet as `name` sees it through `table`, on a stream of two shards.
pub(crate) fn fleet(table: &MemoryStore, name: &str) -> Fleet {
    let clock = Arc::new(PausedClock::new(NOW));
    let store = Arc::new(table.clone());
    Fleet {
        leases: store.clone(),
        state: store,
        catalog: Arc::new(MemoryStream::new(2, clock.clone())),
        clock,
        host: Arc::new(crate::host::Unknown),
        config: Coordination {
            failover_time: F,
            lease_assignment_interval: F * 2,
            max_leases_for_worker: usize::MAX,
            balancing: Balancing::default(),
            client_version: ClientVersionConfig::ThreeX,
            spare_2x_workers: true,
            max_leases_to_steal: 1,
            priority_assignment: true,
            shard_sync_interval: Duration::from_secs(60),
            parent_poll_interval: Duration::from_secs(10),
            ignore_unexpected_child_shards: false,
            graceful_handoff: true,
            graceful_handoff_timeout: Duration::from_secs(30),
            list_shards_backoff: Duration::from_millis(1_500),
            max_list_shards_retries: 50,
            worker_metrics_interval: Duration::from_secs(30),
            cpu_sampling: Some(CpuSampling::default()),
            initialization_backoff: Duration::from_secs(1),
            table_migration: Default::default(),
        },
        initial: InitialPosition::TrimHorizon,
        me: worker(name),
    }
}
