use super::*;
use crate::coordinator::testing::{F, NOW, beside, fleet, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::migration::{MigrationStore, TableMigrationRow};
use crate::lease::place::Table;
use crate::lease::{LockRow, StateStore};

async fn three_tables(item: Option<TableMigration>) -> MemoryStore {
    let table = MemoryStore::new();
    table.set_legacy_tables(true);
    if let Some(state) = item {
        table.create_table_migration(&TableMigrationRow::first(state, &worker("old"), NOW)).await.unwrap();
    }
    table
}

fn phase2(mut fleet: Fleet) -> Fleet {
    fleet.config.table_migration.to_lease_table = true;
    fleet
}

fn layout(table: &MemoryStore) -> Layout {
    *table.layout().borrow()
}

fn lock(version: &str) -> LockRow {
    LockRow { owner: worker("e1"), lease_duration: F * 12, version: version.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn each_state_of_the_old_table_has_its_layout() {
    let table = [
        (None, Layout::ThreeTables),
        (Some(TableMigration::Init), Layout::ThreeTables),
        (Some(TableMigration::Deployed), Layout::ThreeTables),
        (Some(TableMigration::Complete), Layout::OneTable),
    ];
    for (item, expected) in table {
        let table = three_tables(item).await;
        locate(&fleet(&table, "a")).await.unwrap();
        assert_eq!(layout(&table), expected, "{item:?}");
        assert_eq!(table.keys(Table::Leases), [""; 0], "{item:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn phase_2_waits_for_the_end_of_phase_1() {
    for item in [None, Some(TableMigration::Init)] {
        let table = three_tables(item).await;
        let error = locate(&phase2(fleet(&table, "a"))).await.unwrap_err();
        assert!(matches!(error, StartError::Layout(LayoutError::TooEarly { item: said, .. }) if said == item));
    }
    let table = three_tables(Some(TableMigration::Deployed)).await;
    locate(&phase2(fleet(&table, "a"))).await.unwrap();
    assert_eq!(layout(&table), Layout::Moving);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lock_in_the_lease_table_is_a_second_leader() {
    for item in [None, Some(TableMigration::Pending)] {
        let table = three_tables(item).await;
        let single = beside(&table); // settled on one table, as older processes are
        assert!(single.take_lock(&lock("1"), None).await.unwrap());
        let renewal = async {
            sleep(Duration::from_secs(29)).await;
            assert!(single.beat_lock(&lock("1"), "2").await.unwrap());
        };
        let fleet = fleet(&table, "a");
        let (result, ()) = tokio::join!(locate(&fleet), renewal);
        let error = result.unwrap_err();
        assert!(error.to_string().contains("worker `e1` keeps renewing a lock"), "{error}");
        assert_eq!(layout(&table), Layout::OneTable, "nothing was settled");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_lock_in_the_lease_table_stops_nobody() {
    let table = three_tables(None).await;
    assert!(beside(&table).take_lock(&lock("1"), None).await.unwrap());
    locate(&fleet(&table, "a")).await.unwrap();
    assert_eq!(layout(&table), Layout::ThreeTables);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_moves_because_the_move_became_complete_is_right() {
    let table = three_tables(Some(TableMigration::Pending)).await;
    let other = beside(&table);
    assert!(other.take_lock(&lock("1"), None).await.unwrap());
    let completion = async {
        sleep(Duration::from_secs(9)).await;
        let row = other.table_migration().await.unwrap().unwrap();
        let row = row.advanced(TableMigration::Complete, &worker("e1"), NOW);
        assert!(other.change_table_migration(TableMigration::Pending, &row).await.unwrap());
        assert!(other.beat_lock(&lock("1"), "2").await.unwrap());
    };
    let fleet = fleet(&table, "a");
    let (result, ()) = tokio::join!(locate(&fleet), completion);
    result.unwrap();
    assert_eq!(layout(&table), Layout::OneTable);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_goes_while_it_is_looked_at_is_looked_for_again() {
    let table = three_tables(None).await;
    let slow = Fault::Slow { before: Duration::from_secs(1), after: Duration::ZERO };
    table.faults().next(Operation::TableMigration, 1, slow);
    let vanishing = async {
        sleep(Duration::from_millis(500)).await;
        table.set_legacy_tables(false);
    };
    let fleet = fleet(&table, "a");
    let (result, ()) = tokio::join!(locate(&fleet), vanishing);
    result.unwrap();
    assert_eq!(layout(&table), Layout::OneTable);
    assert_eq!(table.faults().calls(Operation::HasLegacyTables), 2);
}
