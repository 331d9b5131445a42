//! Runs every vector recorded from the Java library's own deaggregator, field by field.
//!
//! Vectors are read from all `.json` files of the folder in `GOLDEN_AGGREGATION_DIR`, else of
//! `tests/golden/aggregation`. The last line printed is `golden: PASSED/TOTAL`.

#![expect(clippy::unwrap_used, reason = "a test fails where it is")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use multilangd::checkpoint::Checkpointer;
use multilangd::record::deaggregate::{deaggregate, drop_done};
use multilangd::record::{Record, Text};
use multilangd::types::{Checkpoint, HashKeyRange};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let named = std::env::var_os("GOLDEN_AGGREGATION_DIR").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/aggregation"));
    let (mut passed, mut total) = (0, 0);
    for vector in vectors(&folder) {
        total += 1;
        match check(&vector) {
            Ok(()) => passed += 1,
            Err(difference) => println!("{}: {difference}", vector["name"]),
        }
    }
    println!("golden: {passed}/{total}");
    if passed == total && total > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn vectors(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        read["vectors"].as_array().cloned().unwrap_or_default()
    };
    files.into_iter().flat_map(read).collect()
}

fn check(vector: &Value) -> Result<(), String> {
    let given = vector["records"].as_array().unwrap().iter().map(record).collect();
    let checkpoint = vector.get("checkpoint").filter(|value| !value.is_null()).map(checkpoint);
    let mut records = deaggregate(given, range(vector), &mut Vec::new());
    let mut checkpointer = Checkpointer::new(checkpoint.clone().unwrap_or(Checkpoint::TrimHorizon));
    if let Some(checkpoint) = &checkpoint {
        drop_done(&mut records, checkpoint);
    }
    for record in &records {
        checkpointer.delivered(record.place().unwrap());
    }
    same("expected", &vector["expected"], &records.iter().map(told).collect())?;
    let largest = checkpointer.largest_permitted();
    let is_known = checkpoint.is_some() || !records.is_empty();
    let largest =
        is_known.then(|| json!({"sequenceNumber": largest.sequence_text(), "subSequenceNumber": largest.sub()}));
    same("largestPermitted", &vector["largestPermitted"], &largest.unwrap_or_default())
}

fn same(what: &str, expected: &Value, found: &Value) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}\n  expected {expected}\n  found    {found}")) }
}

fn range(vector: &Value) -> Option<HashKeyRange> {
    let bound = |name: &str| vector.get(name).and_then(Value::as_str).map(|digits| digits.parse::<u128>().unwrap());
    let (start, end) = (bound("startingHashKey"), bound("endingHashKey"));
    if start.is_none() && end.is_none() {
        return None;
    }
    Some(HashKeyRange { start: start.unwrap_or(0), end: end.unwrap_or(u128::MAX) })
}

fn checkpoint(value: &Value) -> Checkpoint {
    let sub = value["subSequenceNumber"].as_u64().unwrap_or(0);
    Checkpoint::parse(value["sequenceNumber"].as_str().unwrap(), sub).unwrap()
}

fn text(value: &Value) -> Text {
    value.as_str().unwrap().to_owned().into()
}

fn record(value: &Value) -> Record {
    let hex = value["dataHex"].as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    Record {
        data: base64_simd::STANDARD.encode_to_string(bytes).into(),
        partition_key: text(&value["partitionKey"]),
        sequence: text(&value["sequenceNumber"]),
        arrival_millis: value["approximateArrivalMillis"].as_i64(),
        sub: 0,
        aggregated: false,
        explicit_hash_key: None,
    }
}

fn told(record: &Record) -> Value {
    let data = base64_simd::STANDARD.decode_to_vec(record.data.as_bytes()).unwrap();
    let hex = data.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    json!({
        "sequenceNumber": record.sequence.as_str(),
        "subSequenceNumber": record.sub,
        "aggregated": record.aggregated,
        "partitionKey": record.partition_key.as_str(),
        "explicitHashKey": record.explicit_hash_key.as_ref().map(Text::as_str),
        "approximateArrivalMillis": record.arrival_millis,
        "dataHex": hex,
    })
}
