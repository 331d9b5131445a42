//! Lines and what the real reader makes of them.

use super::*;

/// Each row is what jackson-databind 2.21 with the message classes of KCL 3.5.1 made of a line, a tab, and the line.
/// Texts are in hexadecimal after `x`; `-` is null.
const RECORDED: &str = include_str!("jackson.tsv");

fn hex(text: Option<&str>) -> String {
    match text {
        None => "-".to_owned(),
        Some(text) => text.bytes().fold("x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    }
}

/// The words of the recording.
fn words(line: &[u8]) -> String {
    match parse(line) {
        Err(_) => "skip".to_owned(),
        Ok(FromChild::Null) => "null".to_owned(),
        Ok(FromChild::Status { response_for }) => format!("status {}", hex(response_for.as_deref())),
        Ok(FromChild::Checkpoint { sequence, sub }) => {
            let sub = sub.map_or("null".to_owned(), |sub| sub.to_string());
            format!("checkpoint {} {sub}", hex(sequence.as_deref()))
        }
        Ok(FromChild::Senseless(action)) => {
            let (first, rest) = action.split_at(1);
            format!("other {}{rest}Message", first.to_uppercase())
        }
    }
}

#[test]
fn every_recorded_line_is_read_as_jackson_read_it() {
    let rows: Vec<_> = RECORDED.split_terminator('\n').map(|row| row.split_once('\t').unwrap()).collect();
    assert!(rows.len() > 300, "{} rows", rows.len());
    for (expected, line) in rows {
        assert_eq!(words(line.as_bytes()), expected, "{line}");
    }
}

fn checkpoint(sequence: Option<&str>, sub: Option<i64>) -> Result<FromChild, Unreadable> {
    Ok(FromChild::Checkpoint { sequence: sequence.map(str::to_owned), sub })
}

#[test]
fn checkpoint_requests_are_coerced_as_documented() {
    let table: &[(&str, Result<FromChild, Unreadable>)] = &[
        (r#"{"action":"checkpoint"}"#, checkpoint(None, None)),
        (r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null}"#, checkpoint(None, None)),
        (
            r#"{"action": "checkpoint", "sequenceNumber": "4968", "subSequenceNumber": 3}"#,
            checkpoint(Some("4968"), Some(3)),
        ),
        (r#"{"sequenceNumber":123,"action":"checkpoint"}"#, checkpoint(Some("123"), None)),
        (r#"{"action":"checkpoint","sequenceNumber":1e3}"#, checkpoint(Some("1e3"), None)),
        (r#"{"action":"checkpoint","sequenceNumber":true}"#, checkpoint(Some("true"), None)),
        (r#"{"action":"checkpoint","subSequenceNumber":"5"}"#, checkpoint(None, Some(5))),
        (r#"{"action":"checkpoint","subSequenceNumber":""}"#, checkpoint(None, None)),
        (r#"{"action":"checkpoint","subSequenceNumber":0.9}"#, checkpoint(None, Some(0))),
        (r#"{"action":"checkpoint","subSequenceNumber":-1}"#, checkpoint(None, Some(-1))),
        (r#"{"action":"checkpoint","error":"x"}"#, checkpoint(None, None)),
        (r#"{"action":"checkpoint","subSequenceNumber":true}"#, Err(Unreadable::WrongValue("subSequenceNumber"))),
        (
            r#"{"action":"checkpoint","subSequenceNumber":9223372036854775808}"#,
            Err(Unreadable::WrongValue("subSequenceNumber")),
        ),
        (r#"{"action":"checkpoint","checkpoint":"4968"}"#, Err(Unreadable::UnknownField("checkpoint".to_owned()))),
        (r#"{"action":"record"}"#, Err(Unreadable::UnknownAction)),
        (r#"{"responseFor":"initialize"}"#, Err(Unreadable::UnknownAction)),
        ("42", Err(Unreadable::NotAnObject)),
    ];
    for (line, expected) in table {
        assert_eq!(parse(line.as_bytes()), *expected, "{line}");
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let line = b"{\"action\":\"checkpoint\",\"sequenceNumber\":\"\xff\xed\xa0\x80\"}";
    assert_eq!(parse(line), checkpoint(Some("\u{fffd}\u{fffd}"), None));
}

#[test]
fn limits_are_jacksons() {
    let number = |digits: usize| format!(r#"{{"action":"checkpoint","sequenceNumber":{}}}"#, "1".repeat(digits));
    assert!(parse(number(1000).as_bytes()).is_ok());
    assert!(parse(number(1001).as_bytes()).is_err());
    let text = |chars: usize| format!(r#"{{"action":"checkpoint","sequenceNumber":"{}"}}"#, "1".repeat(chars));
    assert!(parse(text(20_000_000).as_bytes()).is_ok());
    assert!(parse(text(20_000_001).as_bytes()).is_err());
}

#[test]
fn deep_nesting_neither_overflows_nor_passes() {
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        assert!(parse(format!("{{\"x\":{}", open.repeat(1_000_000)).as_bytes()).is_err());
    }
}

#[test]
fn text_around_a_message_spoils_it_in_front_but_not_behind() {
    let status = r#"{"action":"status","responseFor":"a"}"#;
    for front in ["\u{feff}", "log: ", "'", "//", "\u{a0}", "\u{c}"] {
        assert!(parse(format!("{front}{status}").as_bytes()).is_err(), "{front:?}");
    }
    for behind in [" trailing garbage }{", "}", "{", "\u{0}", "// x", "{\"action\":\"status\"}"] {
        assert!(parse(format!(" \t{status}{behind}").as_bytes()).is_ok(), "{behind:?}");
    }
}
