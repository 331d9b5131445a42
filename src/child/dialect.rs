//! What older children are told instead, and what they may answer (`multilangd.protocolLevel`). Pure.
//!
//! Level 3 is the Java daemon 3.x, to the byte. The other levels exist for children whose library knows only the
//! messages of its time, and are never used unless asked for: today's libraries end on yesterday's messages
//! (Source: CLIENTS.md section 6).

use crate::child::encode;
use crate::child::message::Action;
use crate::config::ProtocolLevel;
use crate::types::Checkpoint;

/// The line that tells a child to do `action`, one of those that end its work; `last` is its last checkpoint.
#[must_use]
pub fn ending(level: ProtocolLevel, action: Action, last: &Checkpoint) -> Vec<u8> {
    let place = if action == Action::ShardEnded { &Checkpoint::ShardEnd } else { last }.sequence_text();
    match (level, action) {
        (ProtocolLevel::One, Action::ShardEnded) => encode::shutdown("TERMINATE"),
        (ProtocolLevel::One, Action::LeaseLost) => encode::shutdown("ZOMBIE"),
        (ProtocolLevel::Two, Action::ShardEnded | Action::ShutdownRequested) => encode::with_checkpoint(action, place),
        (_, action) => encode::bare(action),
    }
}

/// Whether a status for `answered` is the answer to `awaited`.
///
/// At level 1 `shutdown` stands for both endings; Clever's Go library answers `shutdownRequested` with it too
/// (Source: CLIENTS.md quirk 6).
#[must_use]
pub fn answers(level: ProtocolLevel, awaited: Action, answered: Option<&str>) -> bool {
    answered == Some(awaited.as_str()) || (may_end(level, awaited) && answered == Some("shutdown"))
}

/// Whether a child that was told to do `action` may be gone before it has heard all: at level 1 it may, once its work
/// is to end.
///
/// Clever's Go library asks for a checkpoint, answers and ends without waiting for the reply; kclpy 1.1 and the Haskell
/// library end at `shutdownRequested`, which they do not know (Source: CLIENTS.md quirk 6 and section 6; run).
#[must_use]
pub fn may_end(level: ProtocolLevel, action: Action) -> bool {
    let ends = matches!(action, Action::ShardEnded | Action::LeaseLost | Action::ShutdownRequested);
    level == ProtocolLevel::One && ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProtocolLevel::{One, Three, Two};

    #[test]
    fn each_level_is_told_the_end_in_its_own_words() {
        let last = Checkpoint::parse("7", 0).unwrap();
        let table = [
            (Three, Action::ShardEnded, r#"{"action":"shardEnded"}"#),
            (Three, Action::LeaseLost, r#"{"action":"leaseLost"}"#),
            (Three, Action::ShutdownRequested, r#"{"action":"shutdownRequested"}"#),
            (Two, Action::ShardEnded, r#"{"action":"shardEnded","checkpoint":"SHARD_END"}"#),
            (Two, Action::LeaseLost, r#"{"action":"leaseLost"}"#),
            (Two, Action::ShutdownRequested, r#"{"action":"shutdownRequested","checkpoint":"7"}"#),
            (One, Action::ShardEnded, r#"{"action":"shutdown","reason":"TERMINATE"}"#),
            (One, Action::LeaseLost, r#"{"action":"shutdown","reason":"ZOMBIE"}"#),
            (One, Action::ShutdownRequested, r#"{"action":"shutdownRequested"}"#),
        ];
        for (level, action, line) in table {
            assert_eq!(ending(level, action, &last), format!("{line}\n").into_bytes(), "{level:?} {action}");
        }
    }

    #[test]
    fn shutdown_answers_an_ending_at_level_1_only() {
        for (level, awaited, right) in [
            (One, Action::ShardEnded, true),
            (One, Action::LeaseLost, true),
            (One, Action::ShutdownRequested, true),
            (One, Action::ProcessRecords, false),
            (Two, Action::ShardEnded, false),
            (Three, Action::LeaseLost, false),
        ] {
            assert_eq!(answers(level, awaited, Some("shutdown")), right, "{level:?} {awaited}");
            assert!(answers(level, awaited, Some(awaited.as_str())));
            assert!(!answers(level, awaited, None));
        }
    }

    #[test]
    fn a_checkpoint_may_have_its_old_name_below_level_3_only() {
        use crate::child::exchange::{Skipped, Step, step_at};
        use crate::child::message::Unreadable;
        let line = br#"{"action":"checkpoint","checkpoint":"49"}"#;
        let understood = Step::Checkpoint { sequence: Some("49".to_owned()), sub: None };
        let skipped = Step::Skip { reason: Skipped::NotAMessage(Unreadable::UnknownField("checkpoint".to_owned())) };
        for (level, step) in [(One, understood.clone()), (Two, understood), (Three, skipped)] {
            assert_eq!(step_at(level, Action::ProcessRecords, line), step, "{level:?}");
        }
    }
}
