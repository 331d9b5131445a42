//! What items `Migration3.0` and `TableMigration3.5` have in common: a state, who made the item say it, when, and the
//! earlier ones (LEASES.md 1.4).

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::Unreadable;
use super::attribute::{Reader, text, whole};
use crate::lease::{Earlier, HISTORY_KEPT};
use crate::types::{EpochMillis, WorkerId};

/// Who changed it last.
pub const MODIFIED_BY: &str = "mb";
/// When, in milliseconds.
pub const MODIFIED_AT: &str = "mts";
/// Earlier states.
pub const HISTORY: &str = "h";

/// How one of the items says its state.
pub(super) struct States<S> {
    /// Attribute of the state.
    pub(super) name: &'static str,
    /// The states' words, for messages.
    pub(super) expected: &'static str,
    pub(super) text: fn(S) -> &'static str,
    pub(super) parse: fn(&str) -> Option<S>,
}

impl<S: Copy> States<S> {
    /// Reads the state and those before it. An absent history counts as empty.
    pub(super) fn read(&self, reader: &Reader<'_>) -> Result<(Earlier<S>, Vec<Earlier<S>>), Unreadable> {
        let word = reader.need(self.name, reader.text(self.name)?, self.expected)?;
        let wrong = || reader.wrong(HISTORY, &format!("a list of maps of `{}`, `mb`, `mts`", self.name));
        let history = match reader.raw(HISTORY) {
            None => Vec::new(),
            Some(list) => {
                let list = list.as_l().map_err(|_| wrong())?;
                list.iter().map(|entry| self.earlier(entry).ok_or_else(wrong)).collect::<Result<_, _>>()?
            }
        };
        let state = (self.parse)(word).ok_or_else(|| reader.wrong(self.name, self.expected))?;
        let by = WorkerId::new(reader.need(MODIFIED_BY, reader.text(MODIFIED_BY)?, "a text")?);
        let at = EpochMillis(reader.need(MODIFIED_AT, reader.whole(MODIFIED_AT)?, "a whole number")?);
        Ok(((state, by, at), history))
    }

    fn earlier(&self, entry: &AttributeValue) -> Option<Earlier<S>> {
        let map = entry.as_m().ok()?;
        let state = (self.parse)(map.get(self.name)?.as_s().ok()?)?;
        let by = WorkerId::new(map.get(MODIFIED_BY)?.as_s().ok()?.as_str());
        Some((state, by, EpochMillis(map.get(MODIFIED_AT)?.as_n().ok()?.parse().ok()?)))
    }

    /// The attributes of one state, its author and its time.
    pub(super) fn attributes(&self, state: S, by: &WorkerId, at: EpochMillis) -> [(&'static str, AttributeValue); 3] {
        [(self.name, text((self.text)(state))), (MODIFIED_BY, text(by.as_str())), (MODIFIED_AT, whole(at.0))]
    }

    /// The attribute of the earlier states.
    pub(super) fn history(&self, history: &[Earlier<S>]) -> (&'static str, AttributeValue) {
        let entry = |(state, by, at): &Earlier<S>| {
            let map = self.attributes(*state, by, *at).map(|(name, value)| (name.to_owned(), value));
            AttributeValue::M(HashMap::from(map))
        };
        (HISTORY, AttributeValue::L(history.iter().take(HISTORY_KEPT).map(entry).collect()))
    }
}
