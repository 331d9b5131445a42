//! A child's standard error: passed on as it is, its last lines remembered for the report of its death.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::ChildStderr;
use tokio::task::JoinSet;
use tracing::{Instrument, Span, debug};

use super::PIECE;
use super::lines::LineReader;
use crate::record::utf8::java_text;

/// Lines that are remembered: the last of a stack trace say what it was.
const REMEMBERED: usize = 3;
/// Bytes of each that are.
const REMEMBERED_LENGTH: usize = 300;

type Memory = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// Copies a child's standard error to ours.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    copying: JoinSet<()>,
    memory: Memory,
}

impl Stderr {
    /// Begins to copy.
    pub(super) fn pass_on(&mut self, pipe: ChildStderr, span: Span) {
        let copy = pass_on(LineReader::new(pipe), tokio::io::stderr(), self.memory.clone());
        self.copying.spawn(copy.instrument(span));
    }

    /// Waits until nobody can write there any more. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        while self.copying.join_next().await.is_some() {}
    }

    /// The last lines with anything in them, oldest first.
    pub(super) fn last_words(&self) -> Vec<String> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.iter().map(|line| java_text(line).into_owned()).collect()
    }
}

fn remember(memory: &Memory, line: &[u8]) {
    let line = line.trim_ascii();
    if line.is_empty() {
        return;
    }
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let mut room = if memory.len() < REMEMBERED { Vec::new() } else { memory.pop_front().unwrap_or_default() };
    room.clear();
    room.extend_from_slice(&line[..line.len().min(REMEMBERED_LENGTH)]);
    memory.push_back(room);
}

/// Line by line, each in one piece.
///
/// Source: LOGGING.md section 1: people read their application's log there. The log itself has each line once, at
/// debug.
async fn pass_on(mut stderr: LineReader<impl AsyncRead + Unpin>, mut ours: impl AsyncWrite + Unpin, memory: Memory) {
    while let Ok(Some(mut line)) = stderr.next(PIECE).await {
        // runbooks look for these words; the reference has the line at error, and a second time as we pass it on
        debug!("Received error line from subprocess [{}]", java_text(&line));
        remember(&memory, &line);
        line.push(b'\n');
        // if ours is closed there is nobody to tell, and the child must not block
        if ours.write_all(&line).await.is_ok() {
            drop(ours.flush().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn standard_error_is_passed_on_line_by_line_as_it_is() {
        let given: &[u8] = b"one\ntwo\xff\r\n\nthree";
        let mut ours = Vec::new();
        pass_on(LineReader::new(given), &mut ours, Memory::default()).await;
        assert_eq!(ours, b"one\ntwo\xff\n\nthree\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_passed_on_in_pieces() {
        let given = vec![b'x'; PIECE * 2 + 5];
        let mut ours = Vec::new();
        pass_on(LineReader::new(given.as_slice()), &mut ours, Memory::default()).await;
        assert_eq!(ours.iter().filter(|byte| **byte == b'x').count(), given.len());
        assert!(ours.split(|byte| *byte == b'\n').all(|piece| piece.len() <= PIECE + READ_AHEAD));
    }

    #[tokio::test]
    async fn the_last_lines_are_remembered_and_cut() {
        let stderr = Stderr::default();
        let given = format!("one\ntwo\n\nthree\n  at \u{e9}\n{}\n\n", "x".repeat(1000));
        pass_on(LineReader::new(given.as_bytes()), Vec::new(), stderr.memory.clone()).await;
        assert_eq!(stderr.last_words(), ["three", "at \u{e9}", &"x".repeat(REMEMBERED_LENGTH)]);
    }

    /// A piece may exceed its limit by what one read brought.
    const READ_AHEAD: usize = 64 * 1024;
}
