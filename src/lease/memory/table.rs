//! Tables in memory that do what DynamoDB does with `Expected` and `AttributeUpdates`, and how they were a while ago.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lease::place;
use crate::lease::row::attribute::{text, whole};
use crate::lease::row::{self, Entity, KEY, Row, Unreadable};
use crate::lease::write::{Change, Expect, RowWrite};
use crate::lease::{FleetRows, LeaseStoreError};

/// How long it is remembered what rows were before.
const MEMORY: Duration = Duration::from_secs(30);

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

    /// How the tables were `age` ago, 30 s at most.
    pub(super) fn before(&self, age: Duration) -> Self {
        Self {
            leases: self.leases.before(age),
            coordinator: self.coordinator.before(age),
            metrics: self.metrics.before(age),
            legacy: self.legacy,
        }
    }
}

/// A row before a write.
#[derive(Clone, Debug)]
struct Past {
    until: Instant,
    key: String,
    row: Option<Row>,
}

/// The rows by key, which is called as in the lease table everywhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<String, Row>,
    past: VecDeque<Past>,
    /// What was read of the rows that were not written to since; most of a simulation's time would go there.
    read: BTreeMap<String, Result<Entity, Unreadable>>,
    writes: watch::Sender<u64>,
}

impl Table {
    pub(super) fn rows(&self) -> &BTreeMap<String, Row> {
        &self.rows
    }

    /// What a scan finds.
    pub(super) fn scan(&mut self) -> FleetRows {
        let read = self.rows.iter().map(|(key, row)| match self.read.get(key) {
            Some(read) => read.clone(),
            None => self.read.entry(key.clone()).insert_entry(row::read(row)).get().clone(),
        });
        read.collect()
    }

    /// How the table was `age` ago, without a past of its own.
    fn before(&self, age: Duration) -> Self {
        let mut rows = self.rows.clone();
        for past in self.past.iter().rev().take_while(|past| past.until.elapsed() < age) {
            match &past.row {
                Some(row) => rows.insert(past.key.clone(), row.clone()),
                None => rows.remove(&past.key),
            };
        }
        Self { rows, ..Self::default() }
    }

    /// How many writes there have been.
    pub(super) fn writes(&self) -> watch::Receiver<u64> {
        self.writes.subscribe()
    }

    /// The row as it is and as it was, the newest first, each with the moment until which it was so.
    pub(super) fn history(&self, key: &str) -> impl Iterator<Item = (Instant, &Row)> {
        let past = self.past.iter().rev().filter(move |past| past.key == key);
        let now = self.rows.get(key).map(|row| (Instant::now(), row));
        now.into_iter().chain(past.filter_map(|past| Some((past.until, past.row.as_ref()?))))
    }

    /// Remembers the row as it is; before each write.
    fn remember(&mut self, key: &str) {
        while self.past.front().is_some_and(|past| past.until.elapsed() >= MEMORY) {
            self.past.pop_front();
        }
        let row = self.rows.get(key).cloned();
        self.past.push_back(Past { until: Instant::now(), key: key.to_owned(), row });
        self.read.remove(key);
        self.writes.send_modify(|writes| *writes += 1);
    }

    /// Puts a row, whatever was there.
    pub(super) fn put(&mut self, key: &str, row: Row) {
        self.remember(key);
        self.rows.insert(key.to_owned(), row);
    }

    /// Removes a row; says whether there was one.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.remember(key);
        self.rows.remove(key).is_some()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        writes.send_modify(|writes| *writes += 1);
        *self = Self { writes, ..Self::default() };
    }

    /// Does the write if its conditions hold: the new row, or else the old one.
    pub(super) fn update(&mut self, write: &RowWrite) -> Result<&Row, Option<&Row>> {
        if !holds(self.rows.get(&write.key), write) {
            return Err(self.rows.get(&write.key));
        }
        self.remember(&write.key);
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
        self.put(key, row);
        true
    }

    /// Sets attributes of a row, which is made if there is none.
    pub(super) fn set(&mut self, key: &str, attributes: Vec<(&'static str, AttributeValue)>) {
        self.remember(key);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &str) -> Row {
        Row::from([("value".to_owned(), text(value))])
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_remembers_how_it_was() {
        let mut table = Table::default();
        let past = |table: &Table, ago| table.before(Duration::from_secs(ago)).rows;
        table.put("a", row("1"));
        tokio::time::advance(Duration::from_secs(2)).await;
        table.put("a", row("2"));
        table.put_new("b", row("3"));
        tokio::time::advance(Duration::from_secs(2)).await;
        table.remove("b");
        let (first, second) =
            (BTreeMap::from([("a".to_owned(), row("1"))]), BTreeMap::from([("a".to_owned(), row("2"))]));
        assert_eq!(past(&table, 0), second);
        assert_eq!(past(&table, 1), BTreeMap::from([("a".to_owned(), row("2")), ("b".to_owned(), row("3"))]));
        assert_eq!(past(&table, 3), first);
        assert_eq!(past(&table, 5), BTreeMap::new());
        tokio::time::advance(MEMORY).await;
        table.put("a", row("4"));
        assert_eq!(table.past.len(), 1, "what nobody can ask for is forgotten");
    }

    #[test]
    fn a_scan_finds_each_write_and_each_write_is_told() {
        let lease = |counter: i64| {
            let attributes = [(row::COUNTER, whole(counter)), (row::CHECKPOINT, text("7")), (row::SWITCHES, whole(0))];
            attributes.map(|(name, value)| (name.to_owned(), value))
        };
        let mut table = Table::default();
        let mut writes = table.writes();
        let mut counters = |table: &mut Table| {
            let told = writes.has_changed().expect("the table is there");
            writes.mark_unchanged();
            let leases = table.scan().leases;
            (told, leases.iter().map(|lease| lease.counter.0).collect::<Vec<_>>())
        };
        assert_eq!(counters(&mut table), (false, vec![]));
        table.put("a", lease(1).into_iter().chain(key_only("a")).collect());
        assert_eq!(counters(&mut table), (true, vec![1]));
        assert_eq!(counters(&mut table), (false, vec![1]));
        table.set("a", vec![(row::COUNTER, whole(2))]);
        assert_eq!(counters(&mut table), (true, vec![2]));
        let add = RowWrite { key: "a".to_owned(), expected: vec![], changes: vec![(row::COUNTER, Change::Add(1))] };
        table.update(&add).expect("there is no condition");
        assert_eq!(counters(&mut table), (true, vec![3]));
        table.remove("a");
        assert_eq!(counters(&mut table), (true, vec![]));
        table.clear();
        assert_eq!(counters(&mut table), (true, vec![]));
    }
}
