//! What the data path costs by itself, a thread: the walk of an answer, the child's line, the opening of aggregates.
//!
//! `cargo bench --bench micro` prints gigabytes of record data a second, and how much that is of the speed at which this
//! machine copies the same text once and checks it to be base64, which no way of working can do without. That share is
//! much the same on any machine, so it is what `benches/baseline.txt` holds; if one falls below [`ALARM`] times its
//! baseline, or has none, the program fails. `-- --write` makes what is measured the new baseline. The best of many short
//! runs counts, because other programs can only make a run slower.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use multilangd::child::encode::{BatchLine, More};
use multilangd::record::deaggregate::deaggregate;
use multilangd::record::{Record, Text};
use multilangd::stream::answer::walk;
use tokio::time::Instant;

/// Ratio to the baseline that is a regression and no noise.
const ALARM: f64 = 0.75;
/// What looks slower is measured so often in all: whoever shares the core for two seconds looks like a regression.
const TRIES: usize = 3;
/// How long each figure is measured.
const LASTS: Duration = Duration::from_secs(2);
const ANSWER: usize = 4 << 20;
/// Twice as many as are checked side by side, and so few that a run is seldom interrupted.
const AGGREGATES: usize = 16;
/// What the process writer encodes at once.
const PIECE: usize = 512 * 1024;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baseline.txt");

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// An answer of about [`ANSWER`] bytes of data in records of `size` bytes, and how many bytes of data it has.
fn answer(size: usize) -> (Bytes, usize) {
    let (data, count) = (base64(&noise(size)), ANSWER / size);
    let mut body = String::from(r#"{"MillisBehindLatest":1000,"NextShardIterator":"AAAA","Records":["#);
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(
            body,
            r#"{comma}{{"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"{data}","PartitionKey":"key-{index}","SequenceNumber":"4968042721365813839229{index:034}"}}"#
        );
    }
    body.push_str("]}");
    (body.into(), size * count)
}

fn byte(value: usize) -> u8 {
    u8::try_from(value).expect("it is below 256")
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(byte(value & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(byte(value));
}

/// A record that is an aggregate of `count` user records of `size` bytes.
fn aggregate(size: usize, count: usize) -> Record {
    let (data, mut message) = (noise(size), Vec::new());
    for index in 0..count {
        let key = format!("key-{index}");
        message.extend_from_slice(&[0x0a, byte(key.len())]);
        message.extend_from_slice(key.as_bytes());
    }
    for index in 0..count {
        let mut user = vec![0x08];
        varint(&mut user, index);
        user.push(0x1a);
        varint(&mut user, size);
        user.extend_from_slice(&data);
        message.push(0x1a);
        varint(&mut message, user.len());
        message.extend_from_slice(&user);
    }
    let payload = [&[0xf3, 0x89, 0x9a, 0xc2], message.as_slice(), Md5::digest(&message).as_slice()].concat();
    Record {
        data: base64(&payload).into(),
        partition_key: Text::from("a"),
        sequence: Text::from("49680427213658138392293291758025530305206203416796200962"),
        arrival_millis: Some(1_795_259_286_142),
        sub: 0,
        aggregated: false,
        explicit_hash_key: None,
    }
}

/// Gigabytes a second of the best run.
fn measure(bytes: usize, mut run: impl FnMut()) -> f64 {
    let (began, mut best) = (Instant::now(), f64::INFINITY);
    while began.elapsed() < LASTS {
        let at = Instant::now();
        run();
        best = best.min(at.elapsed().as_secs_f64());
    }
    bytes as f64 / best / 1e9
}

/// The speed of the least that is to be done, in gigabytes of data a second: a copy of its base64, checked.
fn yardstick() -> f64 {
    let text = base64(&noise(ANSWER));
    let mut copy = Vec::with_capacity(text.len());
    measure(ANSWER, || {
        for part in text.as_bytes().chunks(64 * 1024) {
            copy.clear();
            copy.extend_from_slice(black_box(part));
            assert!(base64_simd::STANDARD.check(black_box(&copy)).is_ok());
        }
    })
}

fn figures() -> BTreeMap<&'static str, f64> {
    let mut figures = BTreeMap::new();
    for (size, names) in [
        (100, ["walk 100 B", "line 100 B"]),
        (1_024, ["walk 1 KB", "line 1 KB"]),
        (10_240, ["walk 10 KB", "line 10 KB"]),
    ] {
        let (body, bytes) = answer(size);
        figures.insert(names[0], measure(bytes, || drop(black_box(walk(black_box(&body))))));
        let records = walk(&body).expect("it is well formed").records;
        let mut piece = Vec::new();
        let line = || {
            let mut line = BatchLine::new(black_box(&records), Some(1));
            while line.fill(&mut piece, PIECE) == More::Yes {
                black_box(&piece);
            }
        };
        figures.insert(names[1], measure(bytes, line));
    }
    for (size, count, name) in [(100, 500, "aggregates 100 B"), (1_024, 50, "aggregates 1 KB")] {
        let records = vec![aggregate(size, count); AGGREGATES];
        let bytes = size * count * records.len();
        let open = || {
            let mut faults = Vec::new();
            let opened = deaggregate(black_box(records.clone()), None, &mut faults);
            assert!(opened.len() == count * records.len() && faults.is_empty());
            black_box(opened);
        };
        figures.insert(name, measure(bytes, open));
    }
    figures
}

fn baseline() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let line =
        |line: &str| line.rsplit_once(' ').and_then(|(name, rate)| Some((name.trim().to_owned(), rate.parse().ok()?)));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

fn main() {
    let before = baseline();
    let (mut yardstick, mut figures) = (yardstick(), figures());
    for _ in 1..TRIES {
        let is_slow = |(name, rate): (&&str, &f64)| before.get(*name).is_some_and(|old| rate / yardstick < old * ALARM);
        if !figures.iter().any(is_slow) {
            break;
        }
        yardstick = yardstick.max(self::yardstick());
        for (name, rate) in self::figures() {
            figures.entry(name).and_modify(|best| *best = best.max(rate));
        }
    }
    if std::env::args().any(|argument| argument == "--write") {
        let lines: String = figures.iter().map(|(name, rate)| format!("{name} {:.3}\n", rate / yardstick)).collect();
        let text = format!(
            "# Speed as a share of copying and checking the base64 once; `cargo bench --bench micro -- --write` makes this file\n\
             {lines}"
        );
        std::fs::write(BASELINE, text).expect("the baseline file can be written");
    }
    let mut has_failed = false;
    println!("yardstick {yardstick:.2} GB/s");
    println!("{:<20} {:>8} {:>8} {:>9} {:>6}", "figure", "GB/s", "share", "baseline", "ratio");
    for (name, rate) in &figures {
        let share = rate / yardstick;
        let old = before.get(*name).copied().unwrap_or(f64::NAN);
        let ratio = share / old;
        let verdict = if old.is_nan() {
            "  NO BASELINE"
        } else if ratio < ALARM {
            "  SLOWER"
        } else {
            ""
        };
        has_failed |= !verdict.is_empty();
        println!("{name:<20} {rate:>8.2} {share:>8.3} {old:>9.3} {ratio:>6.2}{verdict}");
    }
    std::process::exit(i32::from(has_failed));
}
