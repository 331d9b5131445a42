//! Cuts what a child writes into lines.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// Room for one read; a pipe rarely holds more at once.
const READ_SIZE: usize = 8 * 1024;

/// Longest part of a line that is kept where lines are cut off. A message is a few hundred bytes; what is longer is
/// printed by mistake, and its beginning tells whose.
const LINE_KEPT: usize = 1024 * 1024;

/// Longest line that is waited for the end of: several times the longest message that a child may print back.
const LINE_LIMIT: usize = 64 * 1024 * 1024;

/// A buffer that grew beyond this for one long line is given back once the line is out.
const KEPT_SIZE: usize = 256 * 1024;

/// Reads lines that end in LF, CR LF or CR, or with the end of input, as Java's `BufferedReader` does.
///
/// Bytes read and not yet given out stay in here, so a dropped `next` loses nothing.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    source: R,
    buffer: BytesMut,
    /// Bytes at the front of the buffer that hold no line end.
    searched: usize,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    is_at_end: bool,
    /// What becomes of long lines.
    long_lines: LongLines,
    /// Length of the last line so far, in bytes, of which the first [`LINE_KEPT`] or so are in the buffer.
    unended: usize,
}

/// What becomes of lines longer than [`LINE_KEPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongLines {
    Whole,
    CutOff,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = BytesMut::new();
        let long_lines = LongLines::Whole;
        Self { source, buffer, searched: 0, after_cr: false, is_at_end: false, long_lines, unended: 0 }
    }

    /// The same, but a line's memory has a bound: what comes behind its first megabyte is left out, and one that does
    /// not end in 64 MiB is an error.
    pub(super) fn cutting_off_long_lines(self) -> Self {
        Self { long_lines: LongLines::CutOff, ..self }
    }

    /// The next line without its line end, or a piece of `longest` bytes of a line that is longer; `None` at the end
    /// of input. Cancel-safe.
    pub(super) async fn next(&mut self, longest: usize) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.buffered(longest) {
                return Ok(Some(line));
            }
            if self.is_at_end {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    /// Reads once into the buffer. Cancel-safe.
    pub(super) async fn fill(&mut self) -> std::io::Result<()> {
        let Self { source, buffer, long_lines, unended, .. } = self;
        let read = poll_fn(|context| {
            // on the stack: a child that says nothing holds no buffer, and most of 1,000 say nothing most of the time
            let mut room = [MaybeUninit::uninit(); READ_SIZE];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *source).poll_read(context, &mut room))?;
            let kept = match long_lines {
                LongLines::Whole => room.filled(),
                LongLines::CutOff => keep(unended, room.filled()),
            };
            buffer.extend_from_slice(kept);
            Poll::Ready(std::io::Result::Ok(room.filled().len()))
        });
        self.is_at_end = read.await? == 0;
        if self.unended > LINE_LIMIT {
            self.unended = LINE_LIMIT; // it is told once more if it is read on
            return Err(std::io::Error::new(ErrorKind::InvalidData, EndlessLine));
        }
        Ok(())
    }

    /// Whether nothing more will be read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// How many bytes wait to be given out.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    fn buffered(&mut self, longest: usize) -> Option<Vec<u8>> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer.first() == Some(&b'\n') {
                self.buffer.advance(1);
            }
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(found) = unsearched.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let length = self.searched + found;
            self.after_cr = self.buffer.get(length) == Some(&b'\r');
            let line = self.give_out(length);
            self.buffer.advance(1);
            return Some(line);
        }
        self.searched = self.buffer.len();
        let must_give = self.searched >= longest || (self.is_at_end && self.searched > 0);
        must_give.then(|| self.give_out(self.searched.min(longest)))
    }

    fn give_out(&mut self, length: usize) -> Vec<u8> {
        self.searched = 0;
        let line = self.buffer.split_to(length).to_vec();
        if self.buffer.len() < READ_SIZE && line.len() > KEPT_SIZE {
            self.buffer = BytesMut::from(self.buffer.as_ref()); // lets go of the long line's memory
        }
        line
    }
}

/// What of these bytes is kept, behind `unended` bytes without a line end; counts them.
fn keep<'a>(unended: &mut usize, bytes: &'a [u8]) -> &'a [u8] {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let kept = match *unended > LINE_KEPT {
        true => bytes.iter().position(is_end).map_or(&[][..], |end| &bytes[end..]),
        false => bytes,
    };
    match bytes.iter().rposition(is_end) {
        Some(end) => *unended = bytes.len() - end - 1,
        None => *unended += bytes.len(),
    }
    kept
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it has written {} MiB to standard output without a line end; a message is one line, and whatever else is printed \
     there needs line ends too, or belongs to standard error",
    LINE_LIMIT >> 20
)]
struct EndlessLine;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: usize = usize::MAX;

    /// Gives one chunk a read.
    struct Chunks<'a>(std::collections::VecDeque<&'a [u8]>);

    impl AsyncRead for Chunks<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
            into: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            into.put_slice(self.0.pop_front().unwrap_or_default());
            std::task::Poll::Ready(Ok(()))
        }
    }

    async fn lines(chunks: &[&[u8]], longest: usize) -> Vec<String> {
        let mut reader = LineReader::new(Chunks(chunks.iter().copied().collect()));
        let mut lines = Vec::new();
        while let Some(line) = reader.next(longest).await.unwrap() {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    #[tokio::test]
    async fn lf_crlf_and_cr_end_a_line() {
        assert_eq!(lines(&[b"a\nb\r\nc\rd\n\n\r\r\n"], WHOLE).await, ["a", "b", "c", "d", "", "", ""]);
    }

    #[tokio::test]
    async fn the_last_line_needs_no_end() {
        assert_eq!(lines(&[b"a\nb"], WHOLE).await, ["a", "b"]);
        assert_eq!(lines(&[b"a\n"], WHOLE).await, ["a"]);
        assert_eq!(lines(&[b"a\r"], WHOLE).await, ["a"]);
        assert_eq!(lines(&[], WHOLE).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_line_is_out_at_its_cr_without_waiting_for_an_lf() {
        let (mut child, ours) = tokio::io::duplex(64);
        let mut reader = LineReader::new(ours);
        tokio::io::AsyncWriteExt::write_all(&mut child, b"a\r").await.unwrap();
        assert_eq!(reader.next(WHOLE).await.unwrap(), Some(b"a".to_vec()));
        tokio::io::AsyncWriteExt::write_all(&mut child, b"\nb\n").await.unwrap();
        assert_eq!(reader.next(WHOLE).await.unwrap(), Some(b"b".to_vec()));
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let (mut child, ours) = tokio::io::duplex(64);
        let mut reader = LineReader::new(ours);
        tokio::io::AsyncWriteExt::write_all(&mut child, b"half").await.unwrap();
        tokio::select! {
            biased;
            _ = reader.next(WHOLE) => panic!("no line yet"),
            () = tokio::task::yield_now() => {}
        }
        tokio::io::AsyncWriteExt::write_all(&mut child, b" whole\n").await.unwrap();
        assert_eq!(reader.next(WHOLE).await.unwrap(), Some(b"half whole".to_vec()));
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_comes_in_pieces() {
        assert_eq!(lines(&[b"abcdefgh\nxy\n"], 3).await, ["abcdefgh", "xy"]); // its end is already there
        assert_eq!(lines(&[b"abcdefgh", b"ij\nxy\n"], 3).await, ["abc", "def", "ghij", "xy"]);
    }

    /// A child that prints so many bytes of a line, and then what follows.
    async fn print(child: &mut tokio::io::DuplexStream, length: usize, rest: &[u8]) {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..length >> 20 {
            tokio::io::AsyncWriteExt::write_all(child, &piece).await.unwrap();
        }
        tokio::io::AsyncWriteExt::write_all(child, rest).await.unwrap();
    }

    #[tokio::test]
    async fn a_long_line_is_cut_off_and_the_next_one_is_whole() {
        let (mut child, ours) = tokio::io::duplex(64 * 1024);
        let mut reader = LineReader::new(ours).cutting_off_long_lines();
        let read = async {
            let mut lines = Vec::new();
            while let Some(line) = reader.next(WHOLE).await.unwrap() {
                assert!(reader.buffer.capacity() < 8 * LINE_KEPT, "{}", reader.buffer.capacity());
                lines.push(line);
            }
            lines
        };
        let write = async {
            print(&mut child, 0, b"first\n").await;
            print(&mut child, 60 << 20, b"\r\nsecond\nthird").await;
            drop(child);
        };
        let (lines, ()) = tokio::join!(read, write);
        assert_eq!([&lines[0], &lines[2], &lines[3]], [&b"first"[..], b"second", b"third"]);
        assert!((LINE_KEPT..LINE_KEPT + 2 * READ_SIZE).contains(&lines[1].len()), "{}", lines[1].len());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error_and_its_memory_is_bounded() {
        let (mut child, ours) = tokio::io::duplex(64 * 1024);
        let mut reader = LineReader::new(ours).cutting_off_long_lines();
        let error = tokio::select! {
            line = reader.next(WHOLE) => line.unwrap_err(),
            () = print(&mut child, 100 << 20, b"\n") => panic!("it must stop reading"),
        };
        assert!(
            error.to_string().starts_with("it has written 64 MiB to standard output without a line end"),
            "{error}"
        );
        assert!(reader.buffer.capacity() < 8 * LINE_KEPT, "{}", reader.buffer.capacity());
    }

    proptest! {
        #[test]
        fn cuts_do_not_depend_on_how_bytes_arrive(text in "[ab\r\n]{0,40}", cuts in prop::collection::vec(1..5usize, 0..20)) {
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, behind) = rest.split_at(cut.min(rest.len()));
                if !chunk.is_empty() {
                    chunks.push(chunk);
                }
                rest = behind;
            }
            if !rest.is_empty() {
                chunks.push(rest);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let whole = text.replace("\r\n", "\n").replace('\r', "\n");
            let expected: Vec<&str> = whole.split_terminator('\n').collect();
            prop_assert_eq!(runtime.block_on(lines(&chunks, WHOLE)), expected);
        }
    }
}
