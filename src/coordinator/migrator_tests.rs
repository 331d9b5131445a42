use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::clock::{Clock, PausedClock};
use crate::coordinator::start::prepare;
use crate::coordinator::testing::{NOW, beside, fleet, lease, load_row, worker};
use crate::coordinator::{Assignment, Coordinator};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::migration::MigrationStore;
use crate::lease::place::Table;
use crate::lease::{LockRow, StateStore, WorkerRow};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// An application in three tables, and its clock.
struct Application {
    table: MemoryStore,
    clock: Arc<PausedClock>,
}

/// A worker of it that runs.
struct Running {
    store: MemoryStore,
    coordinator: Coordinator,
    _assignments: mpsc::Receiver<Assignment>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    One,
    Two,
}

impl Application {
    fn new() -> Self {
        let table = MemoryStore::new();
        table.set_legacy_tables(true);
        Self { table, clock: Arc::new(PausedClock::new(NOW)) }
    }

    /// One whose item says `state` since now.
    async fn at(state: TableMigration) -> Self {
        let application = Self::new();
        let row = TableMigrationRow::first(state, &worker("earlier"), NOW);
        assert!(application.table.create_table_migration(&row).await.unwrap());
        application
    }

    async fn join(&self, name: &str, phase: Phase) -> Running {
        self.join_through(beside(&self.table), name, phase).await
    }

    async fn join_through(&self, store: MemoryStore, name: &str, phase: Phase) -> Running {
        let mut fleet = fleet(&store, name);
        fleet.clock = self.clock.clone();
        fleet.config.table_migration.to_lease_table = phase == Phase::Two;
        fleet.config.table_migration.complete_after = HOUR;
        let version = prepare(&fleet).await.unwrap();
        let (coordinator, _assignments) = Coordinator::start(fleet, version);
        Running { store, coordinator, _assignments }
    }

    async fn state(&self) -> Option<TableMigration> {
        self.table.table_migration().await.unwrap().map(|row| row.state)
    }

    fn keys(&self, table: Table) -> Vec<String> {
        self.table.keys(table)
    }

    /// Keys of the lease table that are not leases.
    fn others(&self) -> Vec<String> {
        self.keys(Table::Leases).into_iter().filter(|key| !key.starts_with("shardId-")).collect()
    }

    fn load(&self, name: &str) -> WorkerRow {
        let now = Some(self.clock.now().0 / 1000);
        WorkerRow { last_update_seconds: now, support_update_seconds: now, ..load_row(name) }
    }

    async fn owner(&self, table: Table) -> Option<String> {
        let store = beside(&self.table);
        if table == Table::OldCoordinator {
            store.settle(Layout::ThreeTables);
        }
        store.lock().await.unwrap().map(|row| row.owner.to_string())
    }
}

impl Running {
    fn layout(&self) -> Layout {
        *self.store.layout().borrow()
    }

    async fn leave(mut self) {
        self.coordinator.withdraw().await;
        self.coordinator.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_moves_from_three_tables_into_one() {
    let app = Application::new();
    let first = app.join("a", Phase::One).await;
    sleep(SECOND * 5).await;
    assert_eq!(app.others(), [""; 0]);
    assert_eq!(app.keys(Table::OldMetrics), ["a"]);
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Init));
    sleep(HOUR).await;
    assert_eq!(app.state().await, Some(TableMigration::Deployed));
    assert_eq!(app.keys(Table::OldCoordinator), ["Leader", "Migration3.0", "TableMigration3.5"]);
    assert_eq!(app.others(), [""; 0], "phase 1 writes nothing but leases there");
    first.leave().await;
    assert_eq!(app.keys(Table::OldMetrics), [""; 0]);

    let second = app.join("b", Phase::Two).await;
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Pending));
    assert_eq!(app.others(), ["Migration3.0", "b"]);
    assert_eq!(app.keys(Table::OldCoordinator), ["Leader", "TableMigration3.5"]);
    assert_eq!(second.layout(), Layout::Moving);
    sleep(HOUR).await;
    assert_eq!(app.state().await, Some(TableMigration::Complete));
    assert_eq!(second.layout(), Layout::OneTable);
    assert_eq!(app.others(), ["Leader", "Migration3.0", "TableMigration3.5", "b"]);
    assert_eq!(app.keys(Table::OldCoordinator), ["TableMigration3.5"], "the old lock is given back");
    assert_eq!(app.owner(Table::Leases).await.as_deref(), Some("b"));
    let item = app.table.table_migration().await.unwrap().unwrap();
    let states: Vec<TableMigration> = item.history.iter().map(|(state, ..)| *state).collect();
    use TableMigration::{Deployed, Init, Pending};
    assert_eq!(states, [Pending, Deployed, Init, Init]);
    let third = app.join("c", Phase::One).await;
    assert_eq!(third.layout(), Layout::OneTable);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_follows_goes_to_one_table_and_there_is_one_leader() {
    let app = Application::at(TableMigration::Deployed).await;
    let leader = app.join("a", Phase::Two).await;
    sleep(SECOND).await;
    let follower = app.join("b", Phase::Two).await;
    sleep(HOUR + MINUTE * 2).await;
    assert_eq!(app.state().await, Some(TableMigration::Complete));
    assert_eq!((leader.layout(), follower.layout()), (Layout::OneTable, Layout::OneTable));
    assert_eq!(app.owner(Table::OldCoordinator).await, None);
    let owner = app.owner(Table::Leases).await.unwrap();
    assert!(["a", "b"].contains(&owner.as_str()), "{owner}");
    leader.leave().await;
    follower.leave().await;
    assert_eq!(app.others(), ["Migration3.0", "TableMigration3.5"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_support_ends_the_hour() {
    let app = Application::at(TableMigration::Init).await;
    let _leader = app.join("a", Phase::One).await;
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Init));
    let old = WorkerRow { support_code: None, support_update_seconds: None, ..app.load("old34") };
    app.table.put_load(Table::OldMetrics, &old);
    let mut seventh = lease(7, Some("old34"));
    for _ in 0..20 {
        seventh.counter = seventh.counter.next(); // it lives
        app.table.put_lease(&seventh);
        sleep(SECOND * 3).await;
    }
    assert_eq!(app.state().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_of_phase_1_takes_pending_back() {
    let app = Application::at(TableMigration::Pending).await;
    let worker = app.join("a", Phase::One).await;
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Deployed));
    assert_eq!((worker.layout(), app.keys(Table::OldMetrics)), (Layout::ThreeTables, vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_writes_to_the_old_table_takes_pending_back() {
    let app = Application::at(TableMigration::Deployed).await;
    let _leader = app.join("a", Phase::Two).await;
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Pending));
    app.table.put_load(Table::OldMetrics, &app.load("back"));
    sleep(SECOND * 25).await;
    assert_eq!(app.state().await, Some(TableMigration::Deployed));
    sleep(MINUTE * 2).await;
    assert_eq!(app.state().await, Some(TableMigration::Pending), "it was silent for a minute");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_row_is_not_moved_and_holds_everything_up() {
    let app = Application::at(TableMigration::Deployed).await;
    app.table.put_foreign_row_in(Table::OldCoordinator, "mine", &[("note", "x")]);
    let _leader = app.join("a", Phase::Two).await;
    sleep(MINUTE).await;
    assert_eq!(app.state().await, Some(TableMigration::Deployed));
    assert!(!app.others().contains(&"mine".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn every_step_may_lose_its_request_or_its_answer() {
    for fault in [Fault::LostRequest, Fault::LostReply, Fault::Throttled, Fault::SentTwice] {
        let app = Application::at(TableMigration::Deployed).await;
        let store = beside(&app.table);
        for operation in [
            Operation::TableMigration,
            Operation::ItemsToMove,
            Operation::MoveItems,
            Operation::ChangeTableMigration,
            Operation::CompleteTableMigration,
        ] {
            store.faults().next(operation, 1, Fault::Slow { before: SECOND, after: SECOND });
            store.faults().next(operation, 2, fault);
        }
        let running = app.join_through(store, "a", Phase::Two).await;
        sleep(HOUR + MINUTE * 10).await;
        assert_eq!(app.state().await, Some(TableMigration::Complete), "{fault:?}");
        assert_eq!(running.layout(), Layout::OneTable, "{fault:?}");
        assert_eq!(app.others(), ["Leader", "Migration3.0", "TableMigration3.5", "a"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_right_after_complete_leaves_no_second_leader() {
    let app = Application::at(TableMigration::Pending).await;
    let dead = beside(&app.table);
    dead.settle(Layout::Moving);
    let lock = LockRow { owner: worker("dead"), lease_duration: MINUTE * 2, version: "1".to_owned() };
    assert!(dead.take_lock(&lock, None).await.unwrap());
    let follower = app.join("b", Phase::Two).await;
    sleep(SECOND * 7).await;
    let row = app.table.table_migration().await.unwrap().unwrap();
    let row = row.advanced(TableMigration::Complete, &worker("dead"), app.clock.now());
    assert!(dead.complete_table_migration(&row, &worker("dead")).await.unwrap());
    sleep(SECOND * 40).await;
    assert_eq!(follower.layout(), Layout::OneTable);
    assert_eq!(app.owner(Table::Leases).await.as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_phase_1_follows_into_one_table() {
    let app = Application::at(TableMigration::Deployed).await;
    let worker_of_phase_1 = app.join("a", Phase::One).await;
    sleep(SECOND * 5).await;
    assert_eq!((app.keys(Table::OldMetrics), app.others()), (vec!["a".to_owned()], vec![]));
    let row = app.table.table_migration().await.unwrap().unwrap();
    let complete = row.advanced(TableMigration::Complete, &worker("other"), app.clock.now());
    assert!(app.table.change_table_migration(TableMigration::Deployed, &complete).await.unwrap());
    sleep(MINUTE * 2).await;
    assert_eq!(worker_of_phase_1.layout(), Layout::OneTable);
    assert_eq!(app.others(), ["Leader", "a"]);
    assert_eq!(app.owner(Table::OldCoordinator).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lock_taken_in_the_old_table_after_complete_is_given_back() {
    let app = Application::at(TableMigration::Complete).await;
    let late = beside(&app.table);
    late.settle(Layout::Moving); // started before, and has not looked since
    let lock = LockRow { owner: worker("late"), lease_duration: MINUTE * 2, version: "1".to_owned() };
    assert!(!late.take_lock(&lock, None).await.unwrap(), "the wrong one");
    assert_eq!((*late.layout().borrow(), app.owner(Table::OldCoordinator).await), (Layout::OneTable, None));
    assert!(late.take_lock(&lock, None).await.unwrap());
    assert_eq!(app.owner(Table::Leases).await.as_deref(), Some("late"));
}
