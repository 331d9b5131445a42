//! Into how many segments a scan of the lease table is cut where the file does not say
//! (`leaseTableScanTotalSegments = 0`).
//!
//! Source: KCL 3.5 `LeaseTableScanSegmentResolver`; LEASES.md section 2, "parallel scan". Java begins with 10 segments
//! where the size is not known; every start of ours has described the table before it scans, so it is known.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most segments.
pub(super) const MOST: u32 = 32;
/// Bytes of the table for each segment: 0.2 GB.
const SEGMENT_BYTES: u64 = 1024 * 1024 * 1024 / 5;
/// How long a size is believed.
const KNOWN_FOR: Duration = Duration::from_secs(2 * 3600);

/// Segments for a table of so many bytes.
pub(super) fn for_size(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(SEGMENT_BYTES)).unwrap_or(MOST).clamp(1, MOST)
}

/// The table's size as we heard it last.
#[derive(Debug, Default)]
pub(super) struct Size(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bytes: u64,
    asked: Option<Instant>,
}

impl Size {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a description of the table says.
    pub(super) fn is(&self, bytes: u64) {
        *self.known() = Known { bytes, asked: Some(Instant::now()) };
    }

    /// Whether it is time to ask again; the caller does, and if that fails the old size is good for as long again.
    pub(super) fn must_ask(&self) -> bool {
        let mut known = self.known();
        let due = known.asked.is_some_and(|asked| asked.elapsed() >= KNOWN_FOR);
        if due {
            known.asked = Some(Instant::now());
        }
        due
    }

    /// Segments for the size that is known; one if none is.
    pub(super) fn segments(&self) -> u32 {
        for_size(self.known().bytes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn a_segment_is_a_fifth_of_a_gigabyte_and_there_are_1_to_32() {
        const GB: u64 = 1024 * 1024 * 1024;
        let table = [
            (0, 1),
            (1, 1),
            (GB / 5, 1),
            (GB / 5 + 1, 2),
            (GB / 2, 3),
            (GB, 6),
            (6 * GB, 31),
            (7 * GB, 32),
            (u64::MAX, 32),
        ];
        for (bytes, segments) in table {
            assert_eq!(for_size(bytes), segments, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_is_believed_for_two_hours_and_a_failure_to_ask_changes_nothing() {
        let size = Size::default();
        assert_eq!((size.segments(), size.must_ask()), (1, false), "every start describes the table");
        size.is(SEGMENT_BYTES * 4);
        assert_eq!((size.segments(), size.must_ask()), (4, false));
        advance(KNOWN_FOR).await;
        assert!(size.must_ask());
        assert_eq!((size.segments(), size.must_ask()), (4, false), "not at each scan");
    }
}
