//! How long the leader thinks: plans for a table of 10,000 leases and 200 workers. `cargo bench --bench assign`.
//!
//! Prints the median of some plans of each kind, and fails where one takes 50 ms or more in a release build.

use std::time::Duration;

use tokio::time::Instant;

use multilangd::config::Balancing;
use multilangd::coordinator::assign::{FleetView, Need, plan};
use multilangd::lease::{Lease, WorkerRow};
use multilangd::types::{Checkpoint, ShardId, WorkerId};

const LEASES: u32 = 10_000;
const WORKERS: u32 = 200;
const LIMIT: Duration = Duration::from_millis(50);

fn worker(number: u32) -> WorkerId {
    WorkerId::new(format!("ip-10-0-{number:03}.ec2.internal:{number:036}"))
}

fn rows(reporting: bool) -> Vec<WorkerRow> {
    let row = |number| WorkerRow {
        worker: worker(number),
        last_update_seconds: Some(1),
        stats: reporting.then(|| ("C".to_owned(), vec![20.0 + f64::from(number % 60); 10])).into_iter().collect(),
        operating_ranges: reporting.then(|| ("C".to_owned(), vec![100.0])).into_iter().collect(),
        support_code: Some(1),
        support_update_seconds: Some(1),
    };
    (0..WORKERS).map(row).collect()
}

fn leases(owner: impl Fn(u32) -> Option<u32>, kbps: impl Fn(u32) -> f64) -> Vec<(Lease, Need)> {
    let lease = |number: u32| {
        let mut lease = Lease::new(ShardId::new(format!("shardId-{number:012}")), Checkpoint::TrimHorizon);
        lease.owner = owner(number).map(worker);
        lease.throughput_kbps = Some(kbps(number));
        let need = if lease.owner.is_some() { Need::Nothing } else { Need::Owner };
        (lease, need)
    };
    (0..LEASES).map(|number| lease(number * 7919 % LEASES)).collect() // as a scan brings them: in no order
}

fn median(name: &str, leases: &[(Lease, Need)], rows: &[WorkerRow]) -> bool {
    let view = FleetView {
        leases: leases.iter().map(|(lease, need)| (lease, *need)).collect(),
        workers: rows.iter().map(|row| (row.worker.clone(), Some(row))).collect(),
        max_leases_per_worker: usize::MAX,
    };
    let (mut took, mut steps) = (Vec::new(), 0);
    for _ in 0..25 {
        let begin = Instant::now();
        steps = plan(&view, &Balancing::default(), true).steps.len();
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    println!("{name}: {steps} steps in {:.1} ms", took[12].as_secs_f64() * 1000.0);
    took[12] < LIMIT
}

fn main() {
    let flow = |number: u32| 10.0 + f64::from(number * 31 % 1000);
    let even = |number: u32| Some(number % WORKERS);
    let first_half = |number: u32| Some(number % (WORKERS / 2));
    let nobody = |_| None;
    let fast = [
        median("all need an owner, idle", &leases(nobody, |_| 0.0), &rows(false)),
        median("all need an owner, flowing", &leases(nobody, flow), &rows(true)),
        median("half of the workers came, idle", &leases(first_half, |_| 0.0), &rows(false)),
        median("half of the workers came, by throughput", &leases(first_half, flow), &rows(false)),
        median("uneven processors", &leases(even, flow), &rows(true)),
        median("even", &leases(even, |_| 100.0), &rows(false)),
    ];
    assert!(cfg!(debug_assertions) || fast.iter().all(|fast| *fast), "a plan took {LIMIT:?} or more");
}
