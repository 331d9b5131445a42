//! Standard output and standard error, written so that nobody who does not read them can stop the daemon: renewals of
//! leases and signals would wait behind a line of the log.

use std::io::{Error, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A pipe that can be written to takes so much without a wait. Source: POSIX `PIPE_BUF`, on Linux.
const PIECE: usize = 4096;

/// How one stream has been read so far.
#[derive(Debug)]
pub struct Stream {
    /// How long a reader may be busy before the log goes on without it.
    patience: Duration,
    /// Whether nobody read for so long.
    is_stalled: bool,
    /// Whether the last thing that was written is the beginning of a line.
    is_torn: bool,
}

impl Stream {
    /// Waits so long for a reader once, and not at all from then on, until it reads again.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, is_stalled: false, is_torn: false }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It is lost: the stream is closed, or nobody reads it.
    pub fn write(&mut self, stream: BorrowedFd<'_>, line: &str) -> std::io::Result<()> {
        if self.is_torn {
            self.put(stream, b"\n")?;
        }
        self.put(stream, line.as_bytes())
    }

    fn put(&mut self, stream: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            if !self.has_room(stream)? {
                return Err(ErrorKind::TimedOut.into());
            }
            match rustix::io::write(stream, &bytes[..bytes.len().min(PIECE)]) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.is_torn = !bytes.is_empty();
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn has_room(&mut self, stream: BorrowedFd<'_>) -> std::io::Result<bool> {
        let patience = if self.is_stalled { Duration::ZERO } else { self.patience };
        let limit = Timespec::try_from(patience).map_err(Error::other)?;
        loop {
            match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], Some(&limit)) {
                Ok(ready) => {
                    self.is_stalled = ready == 0;
                    return Ok(ready > 0);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    /// What is in the pipe now.
    fn drain(pipe: BorrowedFd<'_>) -> String {
        let mut all = Vec::new();
        while poll(&mut [PollFd::from_borrowed_fd(pipe, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0 {
            let mut some = [0; PIECE];
            let length = rustix::io::read(pipe, &mut some).unwrap();
            all.extend_from_slice(&some[..length]);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn who_does_not_read_the_log_is_waited_for_once_and_misses_lines() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let mut stream = Stream::new(PATIENCE);
        let line = format!("{}\n", "x".repeat(999));
        let begun = tokio::time::Instant::now();
        let written = (0..1_000).filter(|_| stream.write(theirs.as_fd(), &line).is_ok()).count();
        assert!((40..100).contains(&written), "{written}"); // what a pipe holds
        assert!((PATIENCE..PATIENCE * 100).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!(drain(ours.as_fd()).lines().filter(|read| *read == line.trim()).count(), written);
        stream.write(theirs.as_fd(), "again\n").unwrap();
        assert_eq!(drain(ours.as_fd()), "again\n");
    }

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next_one() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let mut stream = Stream::new(PATIENCE);
        assert!(stream.write(theirs.as_fd(), &"y".repeat(1 << 20)).is_err());
        assert!(stream.write(theirs.as_fd(), "lost\n").is_err());
        assert!(drain(ours.as_fd()).chars().all(|c| c == 'y'));
        stream.write(theirs.as_fd(), "next\n").unwrap();
        assert_eq!(drain(ours.as_fd()), "\nnext\n");
    }

    #[test]
    fn a_stream_that_is_closed_is_an_error_at_once() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        drop(ours);
        assert_eq!(Stream::new(PATIENCE).write(theirs.as_fd(), "x\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
