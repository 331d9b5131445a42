//! The body of a GetRecords answer, walked while it arrives.
//!
//! It is kept in segments that are used again and again: the system would have to clear fresh memory for each answer
//! of 10 MB, and a segment is walked while it is still in the processor's cache. No segment is longer than it must be
//! to hold one record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::stream::answer::{self, Malformed, NotUnderstood, Stepwise};
use crate::stream::fetch::Answer;

/// Length of a segment in bytes, unless a record or the whole answer asks for another.
const SEGMENT: usize = 256 * 1024;
/// How many free segments are kept. They and those in use are never more than were in use at once.
const KEPT: usize = 128;
/// How often, and how many of the free segments, are given back to the system while answers are small: often enough
/// that a stream that has become quiet keeps none after half a minute, and too seldom to cost a busy shard anything.
const SHRINKS_EVERY: Duration = Duration::from_secs(1);
const GIVEN_BACK: usize = 8; // one of so many

/// Segments that are free.
#[derive(Debug, Default)]
pub(super) struct Segments(Mutex<Free>);

#[derive(Debug, Default)]
struct Free {
    segments: Vec<Vec<u8>>,
    shrunk_at: Option<Instant>,
}

impl Segments {
    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>) -> Segment {
        let free = self.lock().segments.pop(); // the lock is free again before memory is asked for
        self.segment(free.unwrap_or_else(|| Vec::with_capacity(SEGMENT)))
    }

    /// Gives some free segments back to the system, if that was not done lately.
    fn shrink(&self) {
        let mut free = self.lock();
        if free.segments.is_empty() || free.shrunk_at.is_some_and(|at| at.elapsed() < SHRINKS_EVERY) {
            return;
        }
        free.shrunk_at = Some(Instant::now());
        let left = free.segments.len() - free.segments.len().div_ceil(GIVEN_BACK);
        let given_back = free.segments.split_off(left);
        drop(free);
        drop(given_back);
    }

    #[cfg(test)]
    fn free(&self) -> usize {
        self.lock().segments.len()
    }

    fn segment(self: &Arc<Self>, bytes: Vec<u8>) -> Segment {
        Segment { bytes, home: Arc::clone(self) }
    }
}

/// A segment; it is free again when it, or the last slice of it, is dropped.
struct Segment {
    bytes: Vec<u8>,
    home: Arc<Segments>,
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() != SEGMENT {
            return;
        }
        bytes.clear();
        let mut free = self.home.lock();
        if free.segments.len() < KEPT {
            free.segments.push(bytes);
        }
    }
}

/// An answer on its way.
pub(super) struct Arriving {
    home: Arc<Segments>,
    walk: Stepwise,
    segment: Segment,
    /// What the walk went past, in case that it gets stuck.
    passed: Vec<Bytes>,
    /// Bytes of memory that the segments behind take.
    kept: usize,
    length: usize,
}

impl Arriving {
    /// Begins with an answer of `expected` bytes, 0 if that is not known.
    pub(super) fn new(home: &Arc<Segments>, expected: usize) -> Self {
        let segment = if expected > SEGMENT {
            home.take()
        } else {
            home.shrink();
            home.segment(Vec::with_capacity(expected))
        };
        let walk = Stepwise::expecting(expected);
        Self { home: Arc::clone(home), walk, segment, passed: Vec::new(), kept: 0, length: 0 }
    }

    /// Bytes that have arrived.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Takes the next bytes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            let segment = &mut self.segment.bytes;
            let limit = segment.capacity().max(SEGMENT);
            let (now, later) = bytes.split_at(bytes.len().min(limit - segment.len()));
            segment.extend_from_slice(now);
            bytes = later;
            if segment.len() == limit {
                self.next_segment();
            }
        }
    }

    /// Walks the segment, and begins another one with what is left of it.
    fn next_segment(&mut self) {
        let segment = self.full();
        let done = self.walk.take(&segment);
        let left = segment.slice(done..);
        // a segment that one record fills would be copied again and again
        self.segment = if left.len() > SEGMENT / 2 {
            self.home.segment(Vec::with_capacity(left.len() * 2))
        } else {
            self.home.take()
        };
        self.segment.bytes.extend_from_slice(&left);
        self.passed.push(segment.slice(..done));
    }

    fn full(&mut self) -> Bytes {
        let segment = std::mem::replace(&mut self.segment, self.home.segment(Vec::new()));
        self.kept += segment.bytes.capacity();
        Bytes::from_owner(segment)
    }

    /// The answer, now that all of it is there; and what the walk did not know, if it had to be read in the slow way.
    ///
    /// # Errors
    /// It is no answer of GetRecords.
    pub(super) fn read(mut self) -> Result<(Answer, Option<NotUnderstood>), Malformed> {
        let segment = self.full();
        self.walk.take(&segment);
        match self.walk.answer(self.kept) {
            Ok(answer) => Ok((answer, None)),
            Err(odd) => {
                self.passed.push(segment);
                let whole = Bytes::from(self.passed.concat());
                drop(self.passed);
                answer::tolerate(&whole).map(|answer| (answer, Some(odd)))
            }
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
