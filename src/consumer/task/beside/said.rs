//! What an end came to, in words that can be compared.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::Row;
use crate::lease::Lease;
use crate::types::ShardId;

/// A row in Java's words.
pub(super) fn told(lease: &Lease) -> String {
    let numbers = |shards: &BTreeSet<ShardId>| {
        shards.iter().map(|shard| format!(" {}", shard.as_str()[8..].parse::<u32>().unwrap())).collect::<String>()
    };
    let (shard, at) = (numbers(&BTreeSet::from([lease.shard.clone()])), lease.checkpoint.sequence_text());
    let owner = lease.owner.as_ref().map_or("null", |owner| owner.as_str());
    let ranged = if lease.hash_range.is_some() { " ranged" } else { "" };
    let pending = if lease.latest_since.is_some() { " pending" } else { "" };
    let (parents, children) = (numbers(&lease.parents), numbers(&lease.children));
    format!("{} {at} {owner} of{parents} to{children}{ranged}{pending}", shard.trim())
}

/// An answer, to be compared.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Said {
    pub(super) steps: Vec<String>,
    pub(super) then: String,
    rows: Vec<String>,
}

impl Said {
    pub(super) fn of(said: &Value) -> Self {
        serde_json::from_value(said.clone()).unwrap()
    }

    pub(super) fn creates(&self) -> Vec<String> {
        self.steps.iter().filter(|step| step.starts_with("creates")).cloned().collect()
    }

    /// As if the lease had been left to expire, as Java does, and the child not asked before it hears of that.
    pub(super) fn without_giving_back(&self, later: &[Row]) -> Self {
        let mut said = self.clone();
        if let Some(at) = said.steps.iter().position(|step| step == "shutdownRequested") {
            said.steps.drain(at..at + 2);
        }
        said.rows.retain(|row| !later.iter().any(|later| told(&later.lease()) == *row));
        let own = said.rows.iter_mut().filter(|row| row.starts_with("50 "));
        own.for_each(|row| *row = row.replacen(" null ", " a ", 1).replacen(" b ", " a ", 1));
        said
    }

    /// As if no children were noted beside the checkpoint, which was `at`.
    pub(super) fn without_children(&self, at: &str) -> Self {
        let cut = |row: &String| {
            let words = if row.starts_with("makes 50 ") { 3 } else { 2 };
            let is_own = row.starts_with("makes 50 ") || row.starts_with("50 ");
            if is_own { row.splitn(words + 1, ' ').take(words).collect::<Vec<_>>().join(" ") } else { row.clone() }
        };
        let mut said = self.clone();
        said.rows = said.rows.iter().map(cut).collect();
        said.steps = said.steps.iter().map(cut).collect();
        let mut seen = BTreeSet::from([format!("makes 50 {at}")]);
        said.steps.retain(|step| !step.starts_with("makes 50 ") || seen.insert(step.clone()));
        said
    }
}
