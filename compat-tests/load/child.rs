//! A child that does nothing with its records, for measurements: it answers each message and writes down when the
//! message's last byte had come and how long it was.
//!
//!   child LOG     one line a batch to the file LOG.PID: nanoseconds since 1970, bytes
//!
//! It checkpoints once at the end of a shard, and every CHECKPOINT_EVERY batches if that is set.
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::SystemTime;

/// The beginning of a line and the line's length; what is behind the beginning is not kept.
fn next_line(input: &mut impl BufRead, begin: &mut Vec<u8>) -> std::io::Result<usize> {
    begin.clear();
    let mut length = 0;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(length);
        }
        let end = find(b'\n', buffer);
        let taken = end.map_or(buffer.len(), |at| at + 1);
        let room = 256_usize.saturating_sub(begin.len());
        begin.extend_from_slice(&buffer[..taken.min(room)]);
        input.consume(taken);
        length += taken;
        if end.is_some() {
            return Ok(length);
        }
    }
}

/// Sixteen bytes at a time: the compiler makes one instruction of it.
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let whole = bytes.chunks_exact(16).take_while(|chunk| !chunk.iter().fold(false, |found, b| found | (*b == byte)));
    let skipped = whole.count() * 16;
    bytes[skipped..].iter().position(|b| *b == byte).map(|at| skipped + at)
}

fn action(begin: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(begin.get(..begin.len().min(60))?).ok()?;
    text.strip_prefix("{\"action\":\"")?.split('"').next()
}

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).expect("the name of a log");
    let every: u64 = std::env::var("CHECKPOINT_EVERY").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut log = File::create(format!("{path}.{}", std::process::id()))?;
    let mut input = BufReader::with_capacity(1 << 18, std::io::stdin().lock());
    let (mut output, mut begin, mut batches) = (std::io::stdout().lock(), Vec::new(), 0_u64);
    loop {
        let length = next_line(&mut input, &mut begin)?;
        if length == 0 {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let Some(action) = action(&begin) else { continue };
        let is_batch = action == "processRecords";
        if is_batch {
            batches += 1;
            writeln!(log, "{now} {length}")?;
        }
        if action == "checkpoint" {
            continue; // what became of ours
        }
        if action == "shardEnded" || (is_batch && every > 0 && batches % every == 0) {
            output.write_all(b"{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n")?;
            output.flush()?;
            next_line(&mut input, &mut Vec::new())?;
        }
        writeln!(output, "{{\"action\":\"status\",\"responseFor\":\"{action}\"}}")?;
        output.flush()?;
    }
}
