//! Tables in memory that do what DynamoDB does with `Expected` and `AttributeUpdates`. Pure.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::lease::LeaseStoreError;
use crate::lease::place;
use crate::lease::row::attribute::{text, whole};
use crate::lease::row::{KEY, Row};
use crate::lease::write::{Change, Expect, RowWrite};

/// The tables of one application.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) leases: Table,
    coordinator: Table,
    metrics: Table,
    /// Whether the last two exist.
    pub(super) legacy: bool,
}

impl Tables {
    pub(super) fn at(&mut self, table: place::Table) -> &mut Table {
        match table {
            place::Table::Leases => &mut self.leases,
            place::Table::OldCoordinator => &mut self.coordinator,
            place::Table::OldMetrics => &mut self.metrics,
        }
    }

    /// A table for a request that fails where there is none.
    pub(super) fn old(&mut self, table: place::Table) -> Result<&mut Table, LeaseStoreError> {
        if table != place::Table::Leases && !self.legacy {
            return Err(LeaseStoreError::TableMissing { table: format!("{}-by-{}", super::NAME, table.key()) });
        }
        Ok(self.at(table))
    }
}

/// The rows by key, which is called as in the lease table everywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<String, Row>,
}

impl Table {
    /// Does the write if its conditions hold: the new row, or else the old one.
    pub(super) fn update(&mut self, write: &RowWrite) -> Result<&Row, Option<&Row>> {
        if !holds(self.rows.get(&write.key), write) {
            return Err(self.rows.get(&write.key));
        }
        let row = self.rows.entry(write.key.clone()).or_insert_with(|| key_only(&write.key));
        for (name, change) in &write.changes {
            apply(row, name, change);
        }
        Ok(row)
    }

    /// Puts a row unless its key is taken; says whether it did.
    pub(super) fn put_new(&mut self, key: &str, row: Row) -> bool {
        if self.rows.contains_key(key) {
            return false;
        }
        self.rows.insert(key.to_owned(), row);
        true
    }

    /// Sets attributes of a row, which is made if there is none.
    pub(super) fn set(&mut self, key: &str, attributes: Vec<(&'static str, AttributeValue)>) {
        let row = self.rows.entry(key.to_owned()).or_insert_with(|| key_only(key));
        row.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
}

fn key_only(key: &str) -> Row {
    Row::from([(KEY.to_owned(), text(key))])
}

fn holds(row: Option<&Row>, write: &RowWrite) -> bool {
    write.expected.iter().all(|(name, expect)| {
        let found = row.and_then(|row| row.get(*name));
        match expect {
            Expect::Is(value) | Expect::Exists(value) => found == Some(value),
            Expect::Absent => found.is_none(),
        }
    })
}

fn apply(row: &mut Row, name: &str, change: &Change) {
    match change {
        Change::Put(value) => {
            row.insert(name.to_owned(), value.clone());
        }
        Change::Remove => {
            row.remove(name);
        }
        Change::Add(by) => {
            let number = row.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
            row.insert(name.to_owned(), whole(number.unwrap_or(0_i64).wrapping_add(*by)));
        }
    }
}
