//! Names the rows of the lease table that cannot be read: nobody looks after the shard of such a row.

use std::collections::BTreeSet;

use tracing::warn;

use crate::lease::FleetRows;

/// The rows that have been named and are still there.
#[derive(Debug, Default)]
pub struct OddRows {
    named: BTreeSet<String>,
}

impl OddRows {
    /// Takes in one scan; a row is named when it comes up, and not again before it has been readable or gone.
    pub fn tell(&mut self, rows: &FleetRows) {
        for reason in self.news(&rows.unreadable) {
            warn!(%reason, "a row of the lease table cannot be read and is left alone; correct or delete it");
        }
    }

    fn news<'a>(&mut self, unreadable: &'a [(String, String)]) -> Vec<&'a str> {
        let now: BTreeSet<String> = unreadable.iter().map(|(key, _)| key.clone()).collect();
        let before = std::mem::replace(&mut self.named, now);
        unreadable.iter().filter(|(key, _)| !before.contains(key)).map(|(_, reason)| reason.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_named_once_an_episode() {
        let row = |key: &str| (key.to_owned(), format!("row `{key}`"));
        let mut odd = OddRows::default();
        assert_eq!(odd.news(&[row("a"), row("b")]), ["row `a`", "row `b`"]);
        assert_eq!(odd.news(&[row("c"), row("a")]), ["row `c`"]);
        assert_eq!(odd.news(&[row("b")]), ["row `b`"]);
    }
}
