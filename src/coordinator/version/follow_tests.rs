use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::clock::PausedClock;
use crate::config::ClientVersionConfig;
use crate::coordinator::renew::Standing;
use crate::coordinator::start::prepare;
use crate::coordinator::testing::{F, NOW, beside, fleet, lease, row, worker};
use crate::coordinator::version::works_as_2x;
use crate::coordinator::{Assignment, Coordinator};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{Lease, StateStore};
use crate::stream::memory::MemoryStream;
use crate::types::{EpochMillis, LeaseCounter};

use ClientVersion::{Init, ThreeX, ThreeXWithRollback, TwoX, UpgradeFrom2x};
use ClientVersionConfig::{CompatibleWith2x, CompatibleWith2xPhase1};

const MINUTE: Duration = Duration::from_secs(60);
/// Until everybody has read the item anew.
const FOLLOWED: Duration = Duration::from_secs(95);

struct Member {
    coordinator: Coordinator,
    assignments: mpsc::Receiver<Assignment>,
    held: Vec<Assignment>,
}

impl Member {
    async fn start(table: &MemoryStore, name: &str, config: ClientVersionConfig) -> (Self, ClientVersion) {
        Self::start_late(table, name, config, Duration::ZERO).await
    }

    /// Starts when this much time has passed in the test, so that its clock agrees with the others'.
    async fn start_late(
        table: &MemoryStore,
        name: &str,
        config: ClientVersionConfig,
        passed: Duration,
    ) -> (Self, ClientVersion) {
        let mut fleet = fleet(table, name);
        let now = EpochMillis(NOW.0 + i64::try_from(passed.as_millis()).unwrap());
        fleet.clock = Arc::new(PausedClock::new(now));
        fleet.catalog = Arc::new(MemoryStream::new(8, fleet.clock.clone()));
        fleet.config.client_version = config;
        let version = prepare(&fleet).await.unwrap();
        let (coordinator, assignments) = Coordinator::start(fleet, version);
        (Self { coordinator, assignments, held: Vec::new() }, version)
    }

    /// Leases that came since the last time; those that were lost are released, as a worker does.
    fn came(&mut self) -> usize {
        self.held.retain(|one| {
            let is_held = one.held.standing() != Standing::Lost;
            if !is_held {
                self.coordinator.released(&one.held);
            }
            is_held
        });
        let before = self.held.len();
        while let Ok(assignment) = self.assignments.try_recv() {
            self.held.push(assignment);
        }
        self.held.len() - before
    }
}

/// Lets time pass with workers that hand over what they are asked for, as consumers do.
async fn pass(time: Duration, members: &mut [&mut Member]) -> usize {
    let end = Instant::now() + time;
    let mut came = 0;
    while Instant::now() < end {
        sleep(Duration::from_millis(500)).await;
        for member in &mut *members {
            came += member.came();
            for one in &member.held {
                if let Standing::Wanted(_) = one.held.standing() {
                    one.held.give_back().await;
                }
            }
        }
    }
    came
}

async fn item(table: &MemoryStore) -> Option<ClientVersion> {
    beside(table).client_version().await.unwrap().map(|row| row.version)
}

async fn tool_writes(table: &MemoryStore, to: ClientVersion) {
    let before = beside(table).client_version().await.unwrap().unwrap();
    let from = before.version;
    let next = next_row(Some(before), to, &worker("tool"), NOW);
    assert!(beside(table).change_client_version(from, &next).await.unwrap());
}

fn shares(table: &MemoryStore, names: &[&str]) -> Vec<usize> {
    let leases = table.snapshot().leases;
    let share = |name: &&str| leases.iter().filter(|lease| lease.owner == Some(worker(name))).count();
    names.iter().map(share).collect()
}

async fn has_lock(table: &MemoryStore) -> bool {
    beside(table).lock().await.unwrap().is_some()
}

fn reporting(table: &MemoryStore) -> usize {
    table.snapshot().workers.len()
}

#[tokio::test(start_paused = true)]
async fn a_fleet_goes_to_3x_and_back_and_forth_and_keeps_every_lease_in_hand() {
    let (table, began) = (MemoryStore::new(), Instant::now());
    let (mut a, first) = Member::start(&table, "a", CompatibleWith2x).await;
    let (mut b, second) = Member::start(&beside(&table), "b", CompatibleWith2x).await;
    assert_eq!((first, second), (UpgradeFrom2x, UpgradeFrom2x));
    pass(MINUTE * 3, &mut [&mut a, &mut b]).await;
    assert_eq!(shares(&table, &["a", "b"]), [4, 4]);
    assert_eq!((has_lock(&table).await, reporting(&table)), (false, 2));
    // Everything that comes from here on would be a consumer that was restarted.
    let came = pass(MINUTE * 7, &mut [&mut a, &mut b]).await;
    assert_eq!((item(&table).await, came), (Some(UpgradeFrom2x), 0), "ten minutes are not over");
    let came = pass(MINUTE * 3, &mut [&mut a, &mut b]).await;
    assert_eq!((item(&table).await, came), (Some(ThreeXWithRollback), 0));
    let came = pass(FOLLOWED, &mut [&mut a, &mut b]).await;
    assert_eq!((has_lock(&table).await, reporting(&table), came), (true, 2, 0));

    tool_writes(&table, TwoX).await;
    let came = pass(FOLLOWED, &mut [&mut a, &mut b]).await;
    assert_eq!((has_lock(&table).await, reporting(&table), came), (false, 0, 0), "2.x can read the rest");
    assert_eq!(shares(&table, &["a", "b"]), [4, 4]);

    tool_writes(&table, UpgradeFrom2x).await;
    pass(MINUTE * 14, &mut [&mut a, &mut b]).await;
    assert_eq!((item(&table).await, has_lock(&table).await), (Some(ThreeXWithRollback), true));
    let (mut c, third) = Member::start_late(&beside(&table), "c", ClientVersionConfig::ThreeX, began.elapsed()).await;
    assert_eq!((third, item(&table).await), (ThreeX, Some(ThreeX)));
    pass(MINUTE * 4, &mut [&mut a, &mut b, &mut c]).await;
    let shares = shares(&table, &["a", "b", "c"]);
    assert!(shares.iter().sum::<usize>() == 8 && shares.iter().all(|share| (2..=3).contains(share)), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_report_keeps_the_fleet_in_2x() {
    let table = MemoryStore::new();
    let (mut silent, version) = Member::start(&table, "silent", CompatibleWith2xPhase1).await;
    assert_eq!((version, item(&table).await), (Init, None));
    pass(MINUTE, &mut [&mut silent]).await;
    tool_writes_first(&table).await;
    let (mut a, _) = Member::start(&beside(&table), "a", CompatibleWith2x).await;
    let (coordinator, assignments) = (silent.coordinator, silent.assignments);
    drop((coordinator, assignments)); // its leases are kept by a stand-in that says nothing
    let mut counter = LeaseCounter(100_000);
    for _ in 0..(20 * 60 / 5) {
        for lease in table.snapshot().leases.iter().filter(|lease| lease.owner == Some(worker("silent"))) {
            table.put_lease(&Lease { counter, ..lease.clone() });
        }
        counter = counter.next();
        pass(Duration::from_secs(5), &mut [&mut a]).await;
    }
    assert_eq!((item(&table).await, shares(&table, &["a", "silent"])), (Some(UpgradeFrom2x), vec![4, 4]));
    pass(MINUTE * 13, &mut [&mut a]).await; // it is gone, and its leases are ours
    assert_eq!(item(&table).await, Some(ThreeXWithRollback));
}

async fn tool_writes_first(table: &MemoryStore) {
    let row = next_row(None, UpgradeFrom2x, &worker("tool"), NOW);
    assert!(beside(table).create_client_version(&row).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_phase_1_follows_the_item_when_it_appears() {
    let table = MemoryStore::new();
    let (mut a, version) = Member::start(&table, "a", CompatibleWith2xPhase1).await;
    assert_eq!(version, Init);
    pass(MINUTE * 20, &mut [&mut a]).await;
    assert_eq!((item(&table).await, reporting(&table)), (None, 0), "it writes nothing by itself, ever");
    tool_writes_first(&table).await;
    let came = pass(FOLLOWED, &mut [&mut a]).await;
    assert_eq!((reporting(&table), table.faults().calls(Operation::PrepareIndex), came), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_item_waits_until_no_owner_can_be_of_2x() {
    let table = MemoryStore::new();
    let mut old = lease(0, Some("old"));
    table.put_lease(&old);
    let (mut a, version) = Member::start(&beside(&table), "a", CompatibleWith2x).await;
    assert_eq!(version, Init);
    for _ in 0..(5 * 60 / 5) {
        old.counter = old.counter.next();
        table.put_lease(&old);
        pass(Duration::from_secs(5), &mut [&mut a]).await;
    }
    assert_eq!((item(&table).await, reporting(&table), has_lock(&table).await), (None, 0, false));
    assert_eq!(row(&table, 0).owner, Some(worker("old")));
    pass(FOLLOWED, &mut [&mut a]).await; // nobody renews it any more
    assert_eq!((item(&table).await, reporting(&table)), (Some(UpgradeFrom2x), 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_item_says_is_followed_whatever_came_before() {
    let steps =
        [(Init, ThreeX), (UpgradeFrom2x, ThreeX), (TwoX, ThreeXWithRollback), (ThreeXWithRollback, UpgradeFrom2x)];
    for (from, to) in steps {
        let table = MemoryStore::new();
        if from != Init {
            tool_writes_first(&table).await;
            tool_writes(&table, from).await;
        }
        let (mut a, version) = Member::start(&table, "a", CompatibleWith2xPhase1).await;
        assert_eq!(version, from);
        pass(F, &mut [&mut a]).await;
        if from == Init {
            tool_writes_first(&table).await;
        }
        tool_writes(&table, to).await;
        let came = pass(FOLLOWED, &mut [&mut a]).await;
        assert_eq!((has_lock(&table).await, came), (!works_as_2x(to), 0), "{from:?} {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_could_not_be_asked_for_is_asked_for_again() {
    let table = MemoryStore::new();
    let (mut a, _) = Member::start(&table, "a", CompatibleWith2xPhase1).await;
    table.faults().next(Operation::PrepareIndex, 1, Fault::LostRequest);
    tool_writes_first(&table).await;
    tool_writes(&table, ThreeX).await;
    pass(FOLLOWED * 2, &mut [&mut a]).await;
    assert_eq!(table.faults().calls(Operation::PrepareIndex), 2);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cannot_be_reached_changes_nothing() {
    let table = MemoryStore::new();
    let (mut a, _) = Member::start(&table, "a", CompatibleWith2x).await;
    pass(MINUTE, &mut [&mut a]).await;
    for operation in [Operation::ClientVersion, Operation::ChangeClientVersion] {
        table.faults().next(operation, 2, Fault::LostRequest);
    }
    table.faults().next(Operation::ChangeClientVersion, 1, Fault::LostReply);
    pass(MINUTE * 16, &mut [&mut a]).await;
    assert_eq!((item(&table).await, has_lock(&table).await), (Some(ThreeXWithRollback), true));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_in_any_mode_leaves_nothing_behind() {
    for version in [Init, UpgradeFrom2x, TwoX, ThreeXWithRollback, ThreeX] {
        let table = MemoryStore::new();
        if version != Init {
            tool_writes_first(&table).await;
            tool_writes(&table, version).await;
        }
        let (mut a, _) = Member::start(&table, "a", CompatibleWith2xPhase1).await;
        pass(F, &mut [&mut a]).await;
        assert_eq!(shares(&table, &["a"]), [8], "{version:?}");
        a.coordinator.withdraw().await;
        a.coordinator.leave().await;
        assert_eq!((shares(&table, &["a"]), reporting(&table), has_lock(&table).await), (vec![0], 0, false));
    }
}
