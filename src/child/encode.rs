//! Writes what the child reads: one JSON object a line, byte for byte as a Java daemon writes it.
//!
//! Hot path: a batch is written in one pass, piece by piece, so that it is never in memory twice; data goes through
//! verbatim. It never validates: data is base64 and holds nothing that JSON escapes.
//!
//! Source of every format: PROTOCOL.md section 2.

use crate::child::message::Action;
use crate::record::Record;
use crate::types::{Checkpoint, ShardId};

/// Bytes of a record's line besides its texts: field names, quotes and three numbers of up to 20 digits.
const RECORD_FRAME: usize = 200;

/// The first message: which shard, and where it stands.
#[must_use]
pub fn initialize(shard: &ShardId, checkpoint: &Checkpoint) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(br#"{"action":"initialize","shardId":"#);
    text(&mut line, shard.as_str().as_bytes());
    line.extend_from_slice(br#","sequenceNumber":"#);
    text(&mut line, checkpoint.sequence_text().as_bytes());
    line.extend_from_slice(br#","subSequenceNumber":"#);
    unsigned(&mut line, checkpoint.sub());
    line.extend_from_slice(b"}\n");
    line
}

/// A batch, which may be empty. `millis_behind` is what the service said when it sent the batch.
#[must_use]
pub fn process_records(records: &[Record], millis_behind: Option<i64>) -> Vec<u8> {
    let mut line = Vec::new();
    BatchLine::new(records, millis_behind).fill(&mut line, usize::MAX); // all of it is one piece
    line
}

/// Whether a line goes on behind the piece that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// It does.
    Yes,
    /// The piece ends in the line's end.
    No,
}

/// The line of a batch, written piece by piece.
#[derive(Debug)]
pub struct BatchLine<'a> {
    left: &'a [Record],
    millis_behind: Option<i64>,
    has_begun: bool,
}

impl<'a> BatchLine<'a> {
    /// As [`process_records`].
    #[must_use]
    pub fn new(records: &'a [Record], millis_behind: Option<i64>) -> Self {
        Self { left: records, millis_behind, has_begun: false }
    }

    /// Replaces what is in `piece` by the next piece: whole records, until there are `wanted` bytes or none is left.
    pub fn fill(&mut self, piece: &mut Vec<u8>, wanted: usize) -> More {
        piece.clear();
        let (mut size, mut fit) = (0, 0);
        while let Some(record) = self.left.get(fit).filter(|_| size < wanted) {
            size += room_for(record);
            fit += 1;
        }
        let (now, later) = self.left.split_at(fit);
        piece.reserve(size + 100);
        if !self.has_begun {
            piece.extend_from_slice(br#"{"action":"processRecords","records":["#);
        }
        for each in now {
            if self.has_begun {
                piece.push(b',');
            }
            self.has_begun = true;
            record(piece, each);
        }
        self.left = later;
        if !later.is_empty() {
            return More::Yes;
        }
        piece.extend_from_slice(br#"],"millisBehindLatest":"#);
        signed_or_null(piece, self.millis_behind);
        piece.extend_from_slice(b"}\n");
        More::No
    }
}

/// The most that a record takes if nothing in it is escaped.
fn room_for(record: &Record) -> usize {
    let texts = [record.data.as_bytes(), record.partition_key.as_bytes(), record.sequence.as_bytes()];
    texts.iter().map(|text| text.len()).sum::<usize>() + RECORD_FRAME
}

fn record(line: &mut Vec<u8>, record: &Record) {
    line.extend_from_slice(br#"{"data":""#);
    line.extend_from_slice(record.data.as_bytes());
    line.extend_from_slice(br#"","partitionKey":"#);
    text(line, record.partition_key.as_bytes());
    line.extend_from_slice(br#","sequenceNumber":"#);
    text(line, record.sequence.as_bytes());
    line.extend_from_slice(br#","approximateArrivalTimestamp":"#);
    signed_or_null(line, record.arrival_millis);
    line.extend_from_slice(br#","subSequenceNumber":"#);
    unsigned(line, record.sub);
    line.extend_from_slice(br#","action":"record"}"#); // amazon_kclpy dispatches on it (CLIENTS.md quirk 11)
}

/// The answer to a checkpoint request: its two fields as they were understood, and the error's name or null.
#[must_use]
pub fn checkpoint_reply(sequence: Option<&str>, sub: Option<i64>, error: Option<&str>) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(br#"{"action":"checkpoint","sequenceNumber":"#);
    text_or_null(&mut line, sequence);
    line.extend_from_slice(br#","subSequenceNumber":"#);
    signed_or_null(&mut line, sub);
    line.extend_from_slice(br#","error":"#);
    text_or_null(&mut line, error);
    line.extend_from_slice(b"}\n");
    line
}

/// A message that says no more than what to do: `leaseLost`, `shardEnded`, `shutdownRequested`.
#[must_use]
pub fn bare(action: Action) -> Vec<u8> {
    format!("{{\"action\":\"{}\"}}\n", action.as_str()).into_bytes()
}

/// The message of KCL 1.x for the end of a shard (`TERMINATE`) or of a lease (`ZOMBIE`).
#[must_use]
pub fn shutdown(reason: &str) -> Vec<u8> {
    format!("{{\"action\":\"shutdown\",\"reason\":\"{reason}\"}}\n").into_bytes()
}

/// A message with a text field `checkpoint`, as the documentation of KCL 2.x has it.
#[must_use]
pub fn with_checkpoint(action: Action, place: &str) -> Vec<u8> {
    format!("{{\"action\":\"{}\",\"checkpoint\":\"{place}\"}}\n", action.as_str()).into_bytes()
}

fn text_or_null(line: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => text(line, value.as_bytes()),
        None => line.extend_from_slice(b"null"),
    }
}

fn signed_or_null(line: &mut Vec<u8>, value: Option<i64>) {
    let Some(value) = value else { return line.extend_from_slice(b"null") };
    if value < 0 {
        line.push(b'-');
    }
    unsigned(line, value.unsigned_abs());
}

fn unsigned(line: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20]; // u64::MAX has 20 digits
    let mut begin = digits.len() - 1;
    loop {
        digits[begin] = b"0123456789"[usize::try_from(value % 10).unwrap_or_default()];
        value /= 10;
        if value == 0 {
            break;
        }
        begin -= 1;
    }
    line.extend_from_slice(&digits[begin..]);
}

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Writes UTF-8 as a JSON string.
fn text(line: &mut Vec<u8>, value: &[u8]) {
    line.push(b'"');
    // without an early exit the compiler checks many bytes at a time, and texts with escapes are rare
    if value.iter().fold(false, |found, byte| found | must_escape(*byte)) {
        value.iter().for_each(|byte| escaped(line, *byte));
    } else {
        line.extend_from_slice(value);
    }
    line.push(b'"');
}

/// Source: PROTOCOL.md section 1, "Escaping on output".
fn escaped(line: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => line.extend_from_slice(br#"\""#),
        b'\\' => line.extend_from_slice(br"\\"),
        0x08 => line.extend_from_slice(br"\b"),
        b'\t' => line.extend_from_slice(br"\t"),
        b'\n' => line.extend_from_slice(br"\n"),
        0x0c => line.extend_from_slice(br"\f"),
        b'\r' => line.extend_from_slice(br"\r"),
        control if control < 0x20 => {
            let hex = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
            line.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 0xf)]);
        }
        other => line.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Text;
    use proptest::prelude::*;

    fn record(data: &'static str, key: &str) -> Record {
        Record {
            data: data.into(),
            partition_key: Text::from(key.to_owned()),
            sequence: Text::from("49680427213658138392293291758025530305206203416796200962"),
            arrival_millis: Some(1_795_259_286_142),
            sub: 0,
            aggregated: false,
            explicit_hash_key: None,
        }
    }

    fn line(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn initialize_is_written_as_java_writes_it() {
        let written = initialize(&ShardId::new("shardId-000000000000"), &Checkpoint::TrimHorizon);
        let recorded = r#"{"action":"initialize","shardId":"shardId-000000000000","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#;
        assert_eq!(line(written), format!("{recorded}\n"));
        let written = initialize(&ShardId::new("s"), &Checkpoint::parse("0077", 12).unwrap());
        assert_eq!(
            line(written),
            "{\"action\":\"initialize\",\"shardId\":\"s\",\"sequenceNumber\":\"0077\",\"subSequenceNumber\":12}\n"
        );
    }

    #[test]
    fn a_batch_is_written_as_java_writes_it() {
        let recorded = r#"{"action":"processRecords","records":[{"data":"cjA=","partitionKey":"pk","sequenceNumber":"49680427213658138392293291758025530305206203416796200962","approximateArrivalTimestamp":1795259286142,"subSequenceNumber":0,"action":"record"}],"millisBehindLatest":0}"#;
        assert_eq!(line(process_records(&[record("cjA=", "pk")], Some(0))), format!("{recorded}\n"));
    }

    #[test]
    fn missing_values_are_null_and_never_left_out() {
        let mut none = record("", "pk");
        (none.arrival_millis, none.sub, none.sequence) = (None, u64::MAX, Text::from("1"));
        let expected = r#"{"action":"processRecords","records":[{"data":"","partitionKey":"pk","sequenceNumber":"1","approximateArrivalTimestamp":null,"subSequenceNumber":18446744073709551615,"action":"record"}],"millisBehindLatest":null}"#;
        assert_eq!(line(process_records(&[none], None)), format!("{expected}\n"));
        assert_eq!(
            line(process_records(&[], Some(-7))),
            "{\"action\":\"processRecords\",\"records\":[],\"millisBehindLatest\":-7}\n"
        );
        assert_eq!(
            line(checkpoint_reply(None, None, None)),
            "{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null,\"error\":null}\n"
        );
        assert_eq!(
            line(checkpoint_reply(Some("4968"), Some(i64::MIN), Some("IllegalArgumentException"))),
            "{\"action\":\"checkpoint\",\"sequenceNumber\":\"4968\",\"subSequenceNumber\":-9223372036854775808,\"error\":\"IllegalArgumentException\"}\n"
        );
    }

    #[test]
    fn messages_without_fields_hold_their_action_only() {
        assert_eq!(line(bare(Action::LeaseLost)), "{\"action\":\"leaseLost\"}\n");
        assert_eq!(line(bare(Action::ShardEnded)), "{\"action\":\"shardEnded\"}\n");
        assert_eq!(line(bare(Action::ShutdownRequested)), "{\"action\":\"shutdownRequested\"}\n");
    }

    #[test]
    fn only_quotes_backslashes_and_low_controls_are_escaped() {
        let table = [
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{1}\u{b}\u{1f}", r#""\u0000\u0001\u000B\u001F""#),
            ("\u{7f}\u{85}\u{2028}\u{2029}\u{feff}<>&'é😀", "\"\u{7f}\u{85}\u{2028}\u{2029}\u{feff}<>&'é😀\""),
        ];
        for (value, expected) in table {
            let mut written = Vec::new();
            text(&mut written, value.as_bytes());
            assert_eq!(line(written), expected);
        }
    }

    #[test]
    fn a_batch_fits_what_was_reserved() {
        let mut large = record("cjA=", "pk");
        (large.sub, large.arrival_millis) = (u64::MAX, Some(i64::MIN));
        let written = process_records(&vec![large; 1000], Some(i64::MAX));
        assert!(written.len() <= 1000 * (RECORD_FRAME + 62) + 100);
    }

    proptest! {
        #[test]
        fn pieces_together_are_the_line(
            datas in prop::collection::vec(0..200_usize, 0..30), wanted in 0..600_usize, millis: Option<i64>,
        ) {
            let records: Vec<Record> = datas
                .iter()
                .map(|length| Record { data: "A".repeat(length * 4).into(), ..record("", "k\"\n") })
                .collect();
            let (mut line, mut piece, mut whole) = (BatchLine::new(&records, millis), Vec::new(), Vec::new());
            loop {
                let more = line.fill(&mut piece, wanted.max(1));
                whole.extend_from_slice(&piece);
                if more == More::No { break }
            }
            prop_assert_eq!(whole, process_records(&records, millis));
        }

        #[test]
        fn what_is_written_is_what_json_reads(key: String, sequence: String, sub: Option<i64>, error: Option<String>) {
            let mut given = record("AA==", &key);
            given.sequence = Text::from(sequence.clone());
            let read: serde_json::Value = serde_json::from_slice(&process_records(&[given], sub)).unwrap();
            prop_assert_eq!(&read["records"][0]["partitionKey"], &serde_json::json!(key));
            prop_assert_eq!(&read["records"][0]["sequenceNumber"], &serde_json::json!(sequence));
            prop_assert_eq!(&read["millisBehindLatest"], &serde_json::json!(sub));
            let reply = checkpoint_reply(Some(&sequence), sub, error.as_deref());
            prop_assert_eq!(reply.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&reply).unwrap();
            let expected =
                serde_json::json!({"action": "checkpoint", "sequenceNumber": sequence, "subSequenceNumber": sub, "error": error});
            prop_assert_eq!(read, expected);
        }
    }
}
