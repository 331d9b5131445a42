//! Which generation the fleet works as: item `Migration3.0`, and what `clientVersionConfig` says about it. Pure.
//!
//! [`ClientVersion::Init`] stands for "no item": this worker works as 2.x and writes nothing but leases.
//! Source: KCL 3.x `MigrationClientVersionStateInitializer`; LEASES.md section 9.

use crate::config::ClientVersionConfig;
use crate::lease::{ClientVersion, ClientVersionRow, history_with};
use crate::types::{EpochMillis, WorkerId};

pub mod follow;
pub mod guard;
pub mod join;
pub mod readiness;

/// What a worker that starts does about the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStep {
    /// Works as this.
    Follow(ClientVersion),
    /// Creates or changes the item so that it says this, and works so.
    Write(ClientVersion),
    /// Does not start: the item says what no worker ever writes.
    Refuse,
}

/// Decides what a worker with this configuration does when the item says `item`.
///
/// What stands in the item wins, except that the way back to 2.x is closed by the first worker that is told that
/// the fleet is of generation 3.x.
#[must_use]
pub fn first_step(config: ClientVersionConfig, item: Option<ClientVersion>) -> FirstStep {
    use ClientVersion::{Init, ThreeX, ThreeXWithRollback, TwoX, UpgradeFrom2x};
    match (item, config) {
        (Some(Init), _) => FirstStep::Refuse,
        (None | Some(ThreeXWithRollback), ClientVersionConfig::ThreeX) => FirstStep::Write(ThreeX),
        (Some(version @ (UpgradeFrom2x | ThreeXWithRollback | ThreeX | TwoX)), _) => FirstStep::Follow(version),
        (None, ClientVersionConfig::CompatibleWith2x) => FirstStep::Write(UpgradeFrom2x),
        (None, ClientVersionConfig::CompatibleWith2xPhase1) => FirstStep::Follow(Init),
    }
}

/// Whether leases are taken as in 2.x; else a leader gives them.
#[must_use]
pub fn works_as_2x(version: ClientVersion) -> bool {
    match version {
        ClientVersion::Init | ClientVersion::UpgradeFrom2x | ClientVersion::TwoX => true,
        ClientVersion::ThreeXWithRollback | ClientVersion::ThreeX => false,
    }
}

/// Whether a worker tells of its load, and sees to it that the index is there.
#[must_use]
pub fn reports_load(version: ClientVersion) -> bool {
    match version {
        ClientVersion::UpgradeFrom2x | ClientVersion::ThreeXWithRollback | ClientVersion::ThreeX => true,
        ClientVersion::Init | ClientVersion::TwoX => false,
    }
}

/// The item after somebody made it say `to`.
#[must_use]
pub fn next_row(
    before: Option<ClientVersionRow>,
    to: ClientVersion,
    me: &WorkerId,
    now: EpochMillis,
) -> ClientVersionRow {
    let history = match before {
        None => vec![(ClientVersion::Init, me.clone(), now)],
        Some(row) => history_with((row.version, row.modified_by, row.modified_at), row.history),
    };
    ClientVersionRow { version: to, modified_by: me.clone(), modified_at: now, history }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::testing::{NOW, worker};

    #[test]
    fn the_first_step_is_that_of_java() {
        use ClientVersion::{Init, ThreeX, ThreeXWithRollback, TwoX, UpgradeFrom2x};
        use FirstStep::{Follow, Refuse, Write};
        let configs = [
            ClientVersionConfig::ThreeX,
            ClientVersionConfig::CompatibleWith2x,
            ClientVersionConfig::CompatibleWith2xPhase1,
        ];
        #[rustfmt::skip]
        let table = [
            // the item says          3X                             COMPATIBLE_WITH_2X          …_PHASE1
            (None,                     [Write(ThreeX),                Write(UpgradeFrom2x),       Follow(Init)]),
            (Some(UpgradeFrom2x),      [Follow(UpgradeFrom2x),        Follow(UpgradeFrom2x),      Follow(UpgradeFrom2x)]),
            (Some(ThreeXWithRollback), [Write(ThreeX),                Follow(ThreeXWithRollback), Follow(ThreeXWithRollback)]),
            (Some(ThreeX),             [Follow(ThreeX),               Follow(ThreeX),             Follow(ThreeX)]),
            (Some(TwoX),               [Follow(TwoX),                 Follow(TwoX),               Follow(TwoX)]),
            (Some(Init),               [Refuse,                       Refuse,                     Refuse]),
        ];
        for (item, steps) in table {
            assert_eq!(configs.map(|config| first_step(config, item)), steps, "{item:?}");
        }
    }

    #[test]
    fn each_version_has_its_duties() {
        use ClientVersion::{Init, ThreeX, ThreeXWithRollback, TwoX, UpgradeFrom2x};
        let table = [
            (Init, true, false),
            (UpgradeFrom2x, true, true),
            (TwoX, true, false),
            (ThreeXWithRollback, false, true),
            (ThreeX, false, true),
        ];
        for (version, as_2x, reports) in table {
            assert_eq!((works_as_2x(version), reports_load(version)), (as_2x, reports), "{version:?}");
        }
    }

    #[test]
    fn the_newest_ten_states_are_remembered() {
        let mut row = next_row(None, ClientVersion::UpgradeFrom2x, &worker("a"), NOW);
        assert_eq!(row.history, [(ClientVersion::Init, worker("a"), NOW)]);
        for step in 1..20 {
            let now = EpochMillis(NOW.0 + step);
            row = next_row(Some(row), ClientVersion::TwoX, &worker("b"), now);
            let before = EpochMillis(now.0 - 1);
            assert_eq!((row.modified_at, row.history[0].2), (now, before));
        }
        assert_eq!(row.history.len(), 10);
    }
}
