use super::*;
use crate::coordinator::testing::{NOW, beside, fleet, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::place::Table;
use crate::lease::{ClientVersionRow, StateStore};
use crate::types::EpochMillis;
use std::time::Duration;

fn says(version: ClientVersion) -> ClientVersionRow {
    ClientVersionRow { version, modified_by: worker("other"), modified_at: EpochMillis(7), history: Vec::new() }
}

async fn table_that_says(version: ClientVersion) -> MemoryStore {
    let table = MemoryStore::new();
    table.create_client_version(&says(version)).await.unwrap();
    table
}

async fn version(table: &MemoryStore) -> ClientVersionRow {
    beside(table).client_version().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_worker_says_that_the_application_is_of_generation_3() {
    let table = MemoryStore::new();
    prepare(&fleet(&table, "a")).await.unwrap();
    let row = version(&table).await;
    assert_eq!((row.version, row.modified_by, row.modified_at), (ClientVersion::ThreeX, worker("a"), NOW));
    assert_eq!(row.history, [(ClientVersion::Init, worker("a"), NOW)]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_of_generation_3_is_joined_without_a_write() {
    let table = table_that_says(ClientVersion::ThreeX).await;
    prepare(&fleet(&table, "a")).await.unwrap();
    assert_eq!(version(&table).await, says(ClientVersion::ThreeX));
}

#[tokio::test(start_paused = true)]
async fn the_way_back_to_2x_is_closed_and_the_history_kept() {
    let table = table_that_says(ClientVersion::ThreeXWithRollback).await;
    prepare(&fleet(&table, "a")).await.unwrap();
    let row = version(&table).await;
    assert_eq!(row.version, ClientVersion::ThreeX);
    assert_eq!(row.history, [(ClientVersion::ThreeXWithRollback, worker("other"), EpochMillis(7))]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_in_2x_mode_is_joined_as_it_is_and_the_index_made_only_where_it_is_used() {
    for (found, indexes) in [(ClientVersion::TwoX, 0), (ClientVersion::UpgradeFrom2x, 1)] {
        let table = table_that_says(found).await;
        assert_eq!(prepare(&fleet(&table, "a")).await.unwrap(), found);
        assert_eq!(version(&table).await, says(found));
        assert_eq!(table.faults().calls(Operation::PrepareIndex), indexes, "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_says_what_no_worker_writes_is_refused() {
    let table = table_that_says(ClientVersion::Init).await;
    let error = prepare(&fleet(&table, "a")).await.unwrap_err();
    assert!(error.to_string().contains("which no worker writes; delete the item"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_cannot_be_read_is_refused() {
    let table = MemoryStore::new();
    table.put_foreign_row("Migration3.0", &[("entityType", "CLIENT_VERSION_MIGRATION"), ("cv", "CLIENT_VERSION_4X")]);
    let error = prepare(&fleet(&table, "a")).await.unwrap_err();
    assert!(error.to_string().contains("CLIENT_VERSION_4X"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn in_an_application_of_three_tables_the_lease_table_gets_nothing() {
    let table = MemoryStore::new();
    table.set_legacy_tables(true);
    prepare(&fleet(&table, "a")).await.unwrap();
    assert_eq!(table.keys(Table::OldCoordinator), ["Migration3.0"]);
    assert_eq!(table.keys(Table::Leases), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn workers_that_start_in_the_same_moment_both_join() {
    let pause = Duration::from_millis(10);
    let slow = Fault::Slow { before: pause, after: pause };
    for from in [None, Some(ClientVersion::ThreeXWithRollback)] {
        let table = MemoryStore::new();
        if let Some(from) = from {
            table.create_client_version(&says(from)).await.unwrap();
        }
        let other = beside(&table);
        for store in [&table, &other] {
            for operation in [Operation::ClientVersion, Operation::CreateClientVersion, Operation::ChangeClientVersion]
            {
                store.faults().next(operation, 5, slow);
            }
        }
        let (a, b) = (fleet(&table, "a"), fleet(&other, "b"));
        let (a, b) = tokio::join!(prepare(&a), prepare(&b));
        assert!(a.is_ok() && b.is_ok(), "{from:?}: {a:?} {b:?}");
        assert_eq!(version(&table).await.history.len(), 1, "{from:?}: one of them has written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lost_its_answer_fails_in_a_way_that_trying_again_cures() {
    let table = MemoryStore::new();
    table.faults().next(Operation::CreateClientVersion, 1, Fault::LostReply);
    let fleet = fleet(&table, "a");
    let error = prepare(&fleet).await.unwrap_err();
    assert!(matches!(&error, StartError::Table(error) if error.is_transient()), "{error}");
    prepare(&fleet).await.unwrap();
    assert!(fleet.leases.list().await.unwrap().unreadable.is_empty());
}
