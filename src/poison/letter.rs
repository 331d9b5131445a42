//! The dead letter: a record that was set aside, with its context, as one JSON object. Pure.
//!
//! Services take messages of a limited size, and a record in base64 with its context may be larger. Then its data goes in
//! several letters, each complete but for the data: nothing is lost, and no shard waits for a letter that nobody takes.
//! Where data is cut depends on nothing that may be another when the same record is told of again: a queue that leaves
//! out repeats keeps some parts of the first telling and some of the second, and they must fit together.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use serde_json::{Value as Json, json};

use crate::record::{Record, Text};
use crate::types::{EpochMillis, ShardId};

/// Bytes that the error may take in what is sent to a service; what else stands beside the data is shorter.
const MOST_ERROR: usize = 16 << 10;

/// A record that was set aside, with its context.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// When, in wall time.
    pub time: EpochMillis,
    /// `applicationName`: several may read a stream, and share a target.
    pub application: &'a str,
    /// `streamName`.
    pub stream: &'a str,
    /// Its shard.
    pub shard: &'a ShardId,
    /// The record; data stays base64.
    pub record: &'a Record,
    /// How often it failed alone.
    pub attempts: NonZeroU32,
    /// What the child did the last time.
    pub error: &'a str,
}

impl Letter<'_> {
    /// One line, with its end.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut line = self.json(self.record.data.as_str(), self.error).to_string().into_bytes();
        line.push(b'\n');
        line
    }

    /// The letter in ASCII, in as many parts as it takes for none to be longer than `most` bytes, which are 128 KiB at
    /// least; but one with an endless partition key, as no producer of Amazon's makes it, is longer, and refused in words.
    /// Each part's data is base64 by itself; of several, each says which it is (`part` of `parts`).
    #[must_use]
    pub fn parts(&self, most: usize) -> Vec<String> {
        let data = self.record.data.as_str();
        let size = self.data_beside(most);
        let error = beginning(self.error, MOST_ERROR);
        let parts = data.len().div_ceil(size).max(1);
        let part = |index: usize| {
            let mut letter = self.json(&data[index * size..data.len().min((index + 1) * size)], error);
            if parts > 1 {
                (letter["part"], letter["parts"]) = (json!(index + 1), json!(parts));
            }
            ascii(&letter)
        };
        (0..parts).map(part).collect()
    }

    /// Characters of base64 that a part of `most` bytes has room for, whatever time, attempts and error are.
    fn data_beside(&self, most: usize) -> usize {
        let mut longest = Letter { time: EpochMillis(i64::MAX), attempts: NonZeroU32::MAX, ..*self }.json("", "");
        (longest["part"], longest["parts"]) = (json!(usize::MAX), json!(usize::MAX));
        let room = most.saturating_sub(ascii(&longest).len() + MOST_ERROR).max(most / 2);
        room / 4 * 4 // four characters of base64 are three bytes
    }

    /// Stream, shard and sequence number, with the place in its aggregate if it was in one: unique for each record.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { stream, shard, record, .. } = self;
        let place = if record.aggregated { format!(".{}", record.sub) } else { String::new() };
        format!("{stream}/{shard}/{}{place}", record.sequence.as_str())
    }

    fn json(&self, data: &str, error: &str) -> Json {
        let Record { partition_key, sequence, arrival_millis, sub, explicit_hash_key, .. } = self.record;
        json!({
            "time": self.time.0,
            "application": self.application,
            "stream": self.stream,
            "shard": self.shard.as_str(),
            "sequenceNumber": sequence.as_str(),
            "subSequenceNumber": sub,
            "partitionKey": partition_key.as_str(),
            "explicitHashKey": explicit_hash_key.as_ref().map(Text::as_str),
            "approximateArrivalTimestamp": arrival_millis,
            "attempts": self.attempts,
            "error": error,
            "data": data,
        })
    }
}

/// The same value without a character beyond ASCII: SQS refuses some that may stand in a partition key or an error.
///
/// Source: SQS API, `SendMessage`: `#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF`.
fn ascii(value: &Json) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for letter in text.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _a_string_takes_all = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// As much of `text` as takes at most so many bytes in a letter.
fn beginning(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let long = |&(_, letter): &(usize, char)| {
        taken += match letter {
            '"' | '\\' => 2,
            ' '..='\u{7f}' => 1,
            other => 6 * other.len_utf16(),
        };
        taken > most
    };
    text.char_indices().find(long).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &str) -> Record {
        Record {
            data: crate::record::Data::from_base64(data.to_owned().into()).unwrap(),
            partition_key: Text::from("k\"1"),
            sequence: Text::from("4968"),
            arrival_millis: Some(17),
            sub: 3,
            aggregated: true,
            explicit_hash_key: None,
        }
    }

    fn letter<'a>(shard: &'a ShardId, record: &'a Record, error: &'a str) -> Letter<'a> {
        let attempts = NonZeroU32::new(5).unwrap();
        Letter { time: EpochMillis(99), application: "app", stream: "orders", shard, record, attempts, error }
    }

    #[test]
    fn a_letter_holds_the_record_and_its_context_in_one_line() {
        let (shard, record) = (ShardId::new("shardId-000000000007"), record("aGk="));
        let letter = letter(&shard, &record, "it died:\n\"boom\"");
        let line = String::from_utf8(letter.line()).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let read: Json = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "time": 99, "application": "app", "stream": "orders", "shard": "shardId-000000000007", "sequenceNumber": "4968",
            "subSequenceNumber": 3, "partitionKey": "k\"1", "explicitHashKey": null, "approximateArrivalTimestamp": 17,
            "attempts": 5, "error": "it died:\n\"boom\"", "data": "aGk=",
        });
        assert_eq!(read, expected);
        assert_eq!(letter.parts(1 << 17), [line.trim_end()], "one part is the letter as it is in a file");
        assert_eq!(letter.name(), "orders/shardId-000000000007/4968.3");
        let alone = Record { aggregated: false, sub: 0, ..record.clone() };
        assert_eq!(Letter { record: &alone, ..letter }.name(), "orders/shardId-000000000007/4968");
    }

    #[test]
    fn what_is_sent_is_ascii_and_says_the_same() {
        let (shard, record) = (ShardId::new("shardId-000000000007"), record("aGk="));
        let error = "\u{1b}[31m naïve \u{fffe} 🦀\u{7f}";
        let parts = letter(&shard, &record, error).parts(1 << 17);
        assert!(parts[0].bytes().all(|b| (0x20..=0x7f).contains(&b)), "{}", parts[0]);
        assert_eq!(serde_json::from_str::<Json>(&parts[0]).unwrap()["error"], json!(error));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

        #[test]
        fn no_part_is_too_long_and_together_they_are_the_record(
            data in proptest::collection::vec(0_u8.., 0..300_000), most in (128_usize << 10)..(256 << 10),
            error in "[\u{0}-\u{ff}\\PC]{0,40}", times in 1_usize..3000
        ) {
            let shard = ShardId::new("shardId-000000000007");
            let record = record(&base64_simd::STANDARD.encode_to_string(&data));
            let error = error.repeat(times);
            let parts = letter(&shard, &record, &error).parts(most);
            let again = Letter { attempts: NonZeroU32::MAX, time: EpochMillis(1), ..letter(&shard, &record, "") }.parts(most);
            proptest::prop_assert_eq!(parts.len(), again.len());
            let mut found = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                proptest::prop_assert!(part.len() <= most && part.is_ascii(), "{} of {most}", part.len());
                let read: Json = serde_json::from_str(part).unwrap();
                proptest::prop_assert_eq!(&read["data"], &serde_json::from_str::<Json>(&again[index]).unwrap()["data"]);
                found.extend(base64_simd::STANDARD.decode_to_vec(read["data"].as_str().unwrap()).unwrap());
                proptest::prop_assert_eq!(&read["sequenceNumber"], "4968");
                if parts.len() > 1 {
                    proptest::prop_assert_eq!((&read["part"], &read["parts"]), (&json!(index + 1), &json!(parts.len())));
                }
            }
            proptest::prop_assert_eq!(found, data);
        }
    }

    #[test]
    fn an_endless_partition_key_does_not_make_endless_parts() {
        let (shard, mut record) = (ShardId::new("shardId-000000000007"), record(&"eHh4".repeat(100_000)));
        record.partition_key = Text::from("k".repeat(1 << 20));
        let parts = letter(&shard, &record, "it died").parts(1 << 17);
        assert_eq!(parts.len(), 7);
    }
}
