//! The tables of PROTOCOL.md section 4 and LIFECYCLE.md section 7, row by row.

use super::*;

fn place(text: &str) -> Checkpoint {
    let (sequence, sub) = text.split_once('.').unwrap_or((text, "0"));
    Checkpoint::parse(sequence, sub.parse().unwrap()).unwrap()
}

fn checkpointer(last: &str, delivered: &str) -> Checkpointer {
    let mut checkpointer = Checkpointer::new(place(last));
    if let Checkpoint::At(place) = place(delivered) {
        checkpointer.delivered(place);
    }
    checkpointer
}

/// What the decision is, in the words of the tables below.
fn words(decision: Decision) -> String {
    match decision {
        Decision::Write(checkpoint) => format!("write {}.{}", checkpoint.sequence_text(), checkpoint.sub()),
        Decision::AlreadyThere => "already there".to_owned(),
        Decision::Refused(rejected) => rejected.java_name().to_owned(),
    }
}

/// Last checkpoint, last place delivered, the request's two fields, the decision.
type Row = (&'static str, &'static str, Option<&'static str>, Option<i64>, &'static str);

const REFUSED: &str = "IllegalArgumentException";
const THERE: &str = "already there";

#[test]
fn a_checkpoint_must_lie_between_the_last_one_and_what_was_delivered() {
    const BEYOND: &str = "100000000000000000000000000000000000000000000000000000000000000"; // 10^62
    let table: &[Row] = &[
        ("TRIM_HORIZON", "9", Some("9"), None, "write 9.0"),
        ("TRIM_HORIZON", "9", Some("9"), Some(0), "write 9.0"),
        ("TRIM_HORIZON", "9", None, None, "write 9.0"),
        ("TRIM_HORIZON", "9.3", None, None, "write 9.3"),
        ("TRIM_HORIZON", "9.3", Some("9"), None, "write 9.0"), // the first user record, not the last
        ("TRIM_HORIZON", "9.3", Some("9"), Some(3), "write 9.3"),
        ("TRIM_HORIZON", "9.3", Some("9"), Some(4), REFUSED),
        ("TRIM_HORIZON", "9", None, Some(5), "write 9.0"), // sub without a sequence number is ignored
        ("TRIM_HORIZON", "9", None, Some(-5), "write 9.0"),
        ("TRIM_HORIZON", "9", Some("1"), Some(0), "write 1.0"), // only the order is checked
        ("TRIM_HORIZON", "9", Some(BEYOND), Some(0), REFUSED),
        ("TRIM_HORIZON", "9", Some("10"), None, REFUSED), // numbers, not text
        ("TRIM_HORIZON", "10", Some("9"), None, "write 9.0"),
        ("7", "9", Some("7"), None, THERE),
        ("7", "9", Some("6"), None, REFUSED),
        ("7.2", "9", Some("7"), Some(1), REFUSED),
        ("7.2", "9", Some("7"), Some(3), "write 7.3"),
        ("7.2", "9", Some("7"), Some(99), "write 7.99"), // need not exist, only lie within
        ("9", "9", Some("9"), Some(1), REFUSED),
        ("9", "9", None, None, THERE),
        ("7", "9", Some("9"), Some(-1), REFUSED),
        ("7", "9", Some("abc"), Some(0), REFUSED),
        ("7", "9", Some(""), Some(0), REFUSED),
        ("7", "9", Some("+8"), None, REFUSED),
        ("7", "9", Some("-8"), None, REFUSED),
        ("7", "9", Some(" 8"), None, REFUSED),
        ("7", "9", Some("8.0"), None, REFUSED),
        ("7", "9", Some("007"), None, "write 007.0"), // the same number in another text is written
        ("7", "9", Some("0008"), None, "write 0008.0"),
        ("7", "9", Some("00010"), None, REFUSED),
    ];
    for (last, delivered, sequence, sub, expected) in table {
        let decision = checkpointer(last, delivered).decide(*sequence, *sub);
        assert_eq!(words(decision), *expected, "{last} {delivered} {sequence:?} {sub:?}");
    }
}

#[test]
fn the_words_are_places_below_and_above_all_numbers() {
    let table: &[(&str, &str, &str, Option<i64>, &str)] = &[
        ("TRIM_HORIZON", "9", "TRIM_HORIZON", None, THERE),
        ("TRIM_HORIZON", "9", "LATEST", None, "write LATEST.0"),
        ("TRIM_HORIZON", "9", "AT_TIMESTAMP", None, REFUSED),
        ("LATEST", "9", "TRIM_HORIZON", None, REFUSED),
        ("LATEST", "9", "LATEST", None, THERE),
        ("AT_TIMESTAMP", "9", "AT_TIMESTAMP", None, THERE),
        ("AT_TIMESTAMP", "9", "TRIM_HORIZON", None, "write TRIM_HORIZON.0"),
        ("AT_TIMESTAMP", "9", "LATEST", None, "write LATEST.0"),
        ("7", "9", "TRIM_HORIZON", None, REFUSED),
        ("7", "9", "LATEST", None, REFUSED),
        ("7", "9", "SHARD_END", None, REFUSED),
        ("TRIM_HORIZON", "TRIM_HORIZON", "TRIM_HORIZON", None, THERE),
        ("TRIM_HORIZON", "TRIM_HORIZON", "TRIM_HORIZON", Some(5), REFUSED),
        ("TRIM_HORIZON", "TRIM_HORIZON", "LATEST", None, REFUSED),
        ("TRIM_HORIZON", "TRIM_HORIZON", "1", None, REFUSED),
        ("TRIM_HORIZON", "9", "trim_horizon", None, REFUSED),
        // a start is ordered and kept with its sub-sequence number
        ("TRIM_HORIZON", "9", "LATEST", Some(4), "write LATEST.4"),
        ("LATEST", "9", "LATEST", Some(4), "write LATEST.4"),
        ("LATEST.4", "9", "LATEST", Some(4), THERE),
        ("LATEST.4", "9", "LATEST", None, REFUSED),
        ("LATEST.4", "9", "TRIM_HORIZON", Some(9), REFUSED),
        ("TRIM_HORIZON.2", "9", "LATEST", None, "write LATEST.0"),
        ("LATEST.4", "9", "1", None, "write 1.0"),
    ];
    for (last, delivered, sequence, sub, expected) in table {
        let decision = checkpointer(last, delivered).decide(Some(sequence), *sub);
        assert_eq!(words(decision), *expected, "{last} {delivered} {sequence} {sub:?}");
    }
}

#[test]
fn nothing_delivered_means_nothing_to_write() {
    for start in ["TRIM_HORIZON", "LATEST", "LATEST.4", "AT_TIMESTAMP", "7.2"] {
        assert_eq!(Checkpointer::new(place(start)).decide(None, None), Decision::AlreadyThere, "{start}");
    }
}

#[test]
fn the_last_place_delivered_becomes_the_end_of_an_ended_shard() {
    let table: &[Row] = &[
        ("7", "9", None, None, "write SHARD_END.0"),
        ("7", "9", Some("SHARD_END"), None, "write SHARD_END.0"),
        ("7", "9", Some("SHARD_END"), Some(4), "write SHARD_END.0"), // Java keeps the 4 and never ends the shard
        ("7", "9", Some("9"), None, "write SHARD_END.0"),
        ("7", "9", Some("9"), Some(0), "write SHARD_END.0"),
        ("7", "9.2", Some("9"), Some(2), "write SHARD_END.0"),
        ("7", "9.2", Some("9"), None, "write 9.0"), // not the last user record
        ("7", "9", Some("009"), None, "write 009.0"), // sameness is textual
        ("7", "9", Some("8"), None, "write 8.0"),
        ("7", "9", Some("10"), None, "write 10.0"), // accepted, and the shard is then not finished
        ("9", "9", Some("9"), None, THERE),         // already stored as a number, and stays one
        ("9", "9", None, None, "write SHARD_END.0"),
        ("7", "9", Some("6"), None, REFUSED),
        ("7", "9", Some("9"), Some(-1), REFUSED),
        ("TRIM_HORIZON", "TRIM_HORIZON", None, None, "write SHARD_END.0"),
        ("TRIM_HORIZON", "TRIM_HORIZON", Some("TRIM_HORIZON"), None, THERE),
    ];
    for (last, delivered, sequence, sub, expected) in table {
        let mut checkpointer = checkpointer(last, delivered);
        checkpointer.shard_ended();
        let decision = checkpointer.decide(*sequence, *sub);
        assert_eq!(words(decision), *expected, "{last} {delivered} {sequence:?} {sub:?}");
    }
}

#[test]
fn an_ended_shard_is_complete_once_its_last_place_delivered_is_checkpointed() {
    let table = [
        // last            delivered  complete
        ("9", "9", true),
        ("9.3", "9.3", true),
        ("TRIM_HORIZON", "none", true), // an empty shard
        ("TRIM_HORIZON", "9", false),
        ("7", "9", false),
        ("9", "9.3", false), // user records of the aggregate are left
    ];
    for (last, delivered, complete) in table {
        let mut checkpointer = match delivered {
            "none" => Checkpointer::new(place(last)),
            delivered => checkpointer(last, delivered),
        };
        assert!(!checkpointer.is_complete(), "{last} {delivered}: not ended yet");
        checkpointer.shard_ended();
        assert_eq!(checkpointer.is_complete(), complete, "{last} {delivered}");
    }
}

#[test]
fn after_the_end_only_the_end_is_accepted() {
    let mut checkpointer = checkpointer("7", "9");
    checkpointer.shard_ended();
    checkpointer.written(Checkpoint::ShardEnd);
    assert_eq!(checkpointer.decide(None, None), Decision::AlreadyThere);
    assert_eq!(checkpointer.decide(Some("SHARD_END"), None), Decision::AlreadyThere);
    assert_eq!(words(checkpointer.decide(Some("9"), None)), REFUSED);
    assert_eq!(words(checkpointer.decide(Some("10"), None)), REFUSED);
}

#[test]
fn what_was_delivered_only_grows() {
    let mut checkpointer = checkpointer("7", "9.4");
    for smaller in ["8", "9", "9.4", "5"] {
        if let Checkpoint::At(place) = place(smaller) {
            checkpointer.delivered(place);
        }
    }
    assert_eq!(checkpointer.largest_permitted(), &place("9.4"));
}

#[test]
fn a_written_checkpoint_is_the_new_lower_bound() {
    let mut checkpointer = checkpointer("TRIM_HORIZON", "9");
    checkpointer.written(place("8"));
    assert_eq!(checkpointer.last(), &place("8"));
    assert_eq!(words(checkpointer.decide(Some("7"), None)), REFUSED);
    assert_eq!(words(checkpointer.decide(Some("LATEST"), None)), REFUSED);
}

#[test]
fn every_error_has_the_name_that_java_children_know() {
    let table = [
        (CheckpointError::Rejected(CheckpointRejected::NegativeSub(-1)), "IllegalArgumentException"),
        (CheckpointError::InvalidState, "InvalidStateException"),
        (CheckpointError::LeaseLost, "ShutdownException"),
        (CheckpointError::Throttled, "ThrottlingException"),
        (CheckpointError::Dependency, "KinesisClientLibDependencyException"),
    ];
    for (error, name) in table {
        assert_eq!(error.java_name(), name);
    }
}
