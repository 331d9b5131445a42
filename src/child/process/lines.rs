//! Cuts what a child writes into lines.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// Room for one read; a pipe rarely holds more at once.
const READ_SIZE: usize = 8 * 1024;

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
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new(), searched: 0, after_cr: false, is_at_end: false }
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
        let Self { source, buffer, .. } = self;
        let read = poll_fn(|context| {
            // on the stack: a child that says nothing holds no buffer, and most of 1,000 say nothing most of the time
            let mut room = [MaybeUninit::uninit(); READ_SIZE];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *source).poll_read(context, &mut room))?;
            buffer.extend_from_slice(room.filled());
            Poll::Ready(std::io::Result::Ok(room.filled().len()))
        });
        self.is_at_end = read.await? == 0;
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
