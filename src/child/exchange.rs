//! One line of a child while the daemon awaits the answer to an action: a line in, a step out.
//!
//! Pure, and never panics whatever a child prints.
//!
//! Source: PROTOCOL.md section 3; KCL 3.5.1 `MultiLangProtocol.waitForStatusMessage`.

use crate::child::dialect::answers;
use crate::child::message::{Action, FromChild, Unreadable, parse_at};
use crate::config::ProtocolLevel;

/// What to do about one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; read the next line.
    Skip {
        /// What kind of nothing it was.
        reason: Skipped,
    },
    /// Perform a checkpoint, send the reply, read the next line.
    Checkpoint {
        /// To be echoed as it is here.
        sequence: Option<String>,
        /// To be echoed as it is here.
        sub: Option<i64>,
    },
    /// The child is done with the action.
    Finished,
    /// The child answered something else; the conversation is out of step.
    WrongAnswer {
        /// The action it was told.
        awaited: Action,
        /// What it answered, if anything.
        answered: Option<String>,
    },
    /// The line was the bare word `null`, which stops a Java daemon as a wrong answer does.
    NullMessage,
}

/// Why a line was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// An empty line; official clients write one before each message. Not worth a log line.
    Empty,
    /// Something printed. A Java daemon logs it at info as "Skipping unexpected line on STDOUT for shard".
    NotAMessage(Unreadable),
    /// A message that only a daemon sends; a Java daemon drops it in silence, and starts its time-out anew.
    Senseless(&'static str),
}

/// Decides the step after `line`, given without its line end, of a child that was told to do `awaited`.
#[must_use]
pub fn step(awaited: Action, line: &[u8]) -> Step {
    step_at(ProtocolLevel::Three, awaited, line)
}

/// [`step`] for a child of an older level.
#[must_use]
pub fn step_at(level: ProtocolLevel, awaited: Action, line: &[u8]) -> Step {
    if line.is_empty() {
        return Step::Skip { reason: Skipped::Empty };
    }
    match parse_at(level, line) {
        Err(unreadable) => Step::Skip { reason: Skipped::NotAMessage(unreadable) },
        Ok(FromChild::Senseless(action)) => Step::Skip { reason: Skipped::Senseless(action) },
        Ok(FromChild::Null) => Step::NullMessage,
        Ok(FromChild::Checkpoint { sequence, sub }) => Step::Checkpoint { sequence, sub },
        Ok(FromChild::Status { response_for }) if answers(level, awaited, response_for.as_deref()) => Step::Finished,
        Ok(FromChild::Status { response_for }) => Step::WrongAnswer { awaited, answered: response_for },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_for_the_awaited_action_finishes_it_and_any_other_is_wrong() {
        let wrong = |answered: Option<&str>| Step::WrongAnswer {
            awaited: Action::ShardEnded,
            answered: answered.map(str::to_owned),
        };
        let table: &[(&str, Step)] = &[
            (r#"{"action":"status","responseFor":"shardEnded"}"#, Step::Finished),
            (r#"{"action":"status","responseFor":"processRecords"}"#, wrong(Some("processRecords"))),
            (r#"{"action":"status","responseFor":"ShardEnded"}"#, wrong(Some("ShardEnded"))),
            (r#"{"action":"status","responseFor":" shardEnded"}"#, wrong(Some(" shardEnded"))),
            (r#"{"action":"status","responseFor":null}"#, wrong(None)),
            (r#"{"action":"status"}"#, wrong(None)),
            ("null", Step::NullMessage),
            ("  null  ", Step::NullMessage),
        ];
        for (line, expected) in table {
            assert_eq!(step(Action::ShardEnded, line.as_bytes()), *expected, "{line}");
        }
    }

    #[test]
    fn every_action_is_finished_by_its_own_name() {
        use Action::*;
        for action in [Initialize, ProcessRecords, LeaseLost, ShardEnded, ShutdownRequested] {
            let line = format!(r#"{{"action":"status","responseFor":"{action}"}}"#);
            assert_eq!(step(action, line.as_bytes()), Step::Finished);
        }
    }

    #[test]
    fn empty_lines_noise_and_a_daemons_own_messages_are_skipped_apart() {
        let skipped = |line: &str| {
            let Step::Skip { reason } = step(Action::ProcessRecords, line.as_bytes()) else { panic!("{line}") };
            reason
        };
        assert_eq!(skipped(""), Skipped::Empty);
        assert!(matches!(skipped("   "), Skipped::NotAMessage(_)));
        assert_eq!(skipped(r#"{"action":"shutdown","reason":"ZOMBIE"}"#), Skipped::Senseless("shutdown"));
        assert!(matches!(skipped(r#"{"action":"checkpoint","checkpoint":"1"}"#), Skipped::NotAMessage(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_step(line: Vec<u8>) {
            let _ = step(Action::ProcessRecords, &line);
        }

        #[test]
        fn anything_like_json_has_a_step(line in r#"[\[\]{}",:\\u0-9eE.+-dtfnulrsasciochekpint ]{0,60}"#) {
            let _ = step(Action::ProcessRecords, line.as_bytes());
        }
    }
}
