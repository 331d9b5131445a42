//! Item `TableMigration3.5`, and rows of the old tables, whose hash keys have other names.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Unreadable;
use super::attribute::{Reader, text};
use super::history::States;
use super::{
    CLIENT_VERSION, CLIENT_VERSION_KEY, ENTITY_TYPE, KEY, LOCK_KEY, Row, TABLE_MIGRATION, TABLE_MIGRATION_KEY,
};
use crate::lease::migration::{TableMigration, TableMigrationRow};
use crate::lease::place::Table;

/// State of the table migration.
pub const STATE: &str = "tm";

/// Text of a state. Source: KCL 3.5 `TableMigrationStatus`.
#[must_use]
pub fn state_text(state: TableMigration) -> &'static str {
    match state {
        TableMigration::Init => "TABLE_MIGRATION_STATUS_INIT",
        TableMigration::Deployed => "TABLE_MIGRATION_STATUS_DEPLOYED",
        TableMigration::Pending => "TABLE_MIGRATION_STATUS_PENDING",
        TableMigration::Complete => "TABLE_MIGRATION_STATUS_COMPLETE",
    }
}

fn parse_state(word: &str) -> Option<TableMigration> {
    use TableMigration::{Complete, Deployed, Init, Pending};
    [Init, Deployed, Pending, Complete].into_iter().find(|state| state_text(*state) == word)
}

const STATES: States<TableMigration> = States {
    name: STATE,
    expected: "one of the four states, as `TABLE_MIGRATION_STATUS_INIT`",
    text: state_text,
    parse: parse_state,
};

/// Reads item `TableMigration3.5`. An absent history counts as empty.
///
/// # Errors
/// Names the key, the attribute, its value and what was expected.
pub fn table_migration(row: &Row) -> Result<TableMigrationRow, Unreadable> {
    let ((state, modified_by, modified_at), history) = STATES.read(&Reader::new(row)?)?;
    Ok(TableMigrationRow { state, modified_by, modified_at, history })
}

/// What a change of the item writes: state, author, time, history.
#[must_use]
pub fn table_migration_attributes(row: &TableMigrationRow) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = STATES.attributes(row.state, &row.modified_by, row.modified_at).to_vec();
    if !row.history.is_empty() {
        attributes.push(STATES.history(&row.history));
    }
    attributes
}

/// The whole item.
#[must_use]
pub fn table_migration_row(row: &TableMigrationRow) -> Row {
    let mut item =
        Row::from([(KEY.to_owned(), text(TABLE_MIGRATION_KEY)), (ENTITY_TYPE.to_owned(), text(TABLE_MIGRATION))]);
    item.extend(table_migration_attributes(row).into_iter().map(|(name, value)| (name.to_owned(), value)));
    item
}

/// A row of `table` as it would be in the lease table.
#[must_use]
pub fn from_table(table: Table, mut row: Row) -> Row {
    if let Some(key) = row.remove(table.key()) {
        row.insert(KEY.to_owned(), key);
    }
    row
}

/// A row of the lease table as it is in `table`.
#[must_use]
pub fn to_table(table: Table, mut row: Row) -> Row {
    if let Some(key) = row.remove(KEY) {
        row.insert(table.key().to_owned(), key);
    }
    row
}

/// What becomes of a row of the old coordinator table when the application moves.
#[derive(Clone, Debug, PartialEq)]
pub enum Mover {
    /// It stays: the lock, and the item that tells of the move.
    Stays,
    /// It goes to the lease table, as it is then.
    Goes(Row),
    /// Nobody could tell what it is once it is in the lease table; one sentence.
    Unknown(String),
}

/// Decides what becomes of a row of the old coordinator table, given as [`from_table`] makes it.
///
/// Source: KCL 3.5 `TableMigrationStateMachineImpl.moveCoordinatorStateEntries`. Java also moves rows without a kind,
/// which every worker then takes for a broken lease.
#[must_use]
pub fn mover(mut row: Row) -> Mover {
    let Some(key) = row.get(KEY).and_then(|key| key.as_s().ok()).cloned() else {
        return Mover::Unknown("a row without a key".to_owned());
    };
    match (key.as_str(), row.get(ENTITY_TYPE)) {
        (LOCK_KEY | TABLE_MIGRATION_KEY, _) => Mover::Stays,
        (_, Some(_)) => Mover::Goes(row),
        (CLIENT_VERSION_KEY, None) => {
            row.insert(ENTITY_TYPE.to_owned(), text(CLIENT_VERSION)); // KCL 3.0-3.4 wrote none
            Mover::Goes(row)
        }
        (_, None) => {
            Mover::Unknown(format!("row `{key}` has no `{ENTITY_TYPE}` and is none that KCL 3.0 to 3.4 wrote"))
        }
    }
}
