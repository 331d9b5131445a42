//! Gives the pages of the program that only the start needed back to the system.
//!
//! A third of what is resident of the program file is touched once, by relocation, command line and credentials, and
//! would stay for months. These pages are copies of the file and nothing else; those that are needed again come back
//! from the page cache, sixteen with one fault.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::progress::{Progress, ShardState};
use crate::record::Record;
use crate::types::{Checkpoint, ShardId};

/// From the first shard that is read to the end of what belongs to the start: first reads, renewals, log lines.
const SETTLED: Duration = Duration::from_secs(5);
/// A worker that has no shard by then waits for one as a spare.
const SPARE_AFTER: Duration = Duration::from_secs(60);

/// Hears of the first shard that is read.
#[derive(Debug, Default)]
pub struct Footprint {
    reading: Notify,
}

impl Footprint {
    /// Gives back what only the start needed once the start is over; never ends, so that it may stand beside the worker
    /// in a `select!`.
    pub async fn shrink_after_start(&self) -> Infallible {
        self.start_is_over().await;
        #[cfg(target_os = "linux")]
        linux::give_back();
        std::future::pending().await
    }

    async fn start_is_over(&self) {
        let _spare = timeout(SPARE_AFTER, self.reading.notified()).await;
        sleep(SETTLED).await;
    }
}

impl Progress for Footprint {
    fn state(&self, _: &ShardId, state: ShardState) {
        if state == ShardState::Processing {
            self.reading.notify_one();
        }
    }

    fn delivered(&self, _: &ShardId, _: &[Record], _: Option<i64>) {}

    fn checkpointed(&self, _: &ShardId, _: &Checkpoint) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;
    use std::ptr::without_provenance_mut;

    use rustix::mm::{Advice, madvise};
    use tracing::debug;

    const MAPPINGS: &str = "/proc/self/smaps";

    /// Where there is no `/proc`, or the system refuses, everything stays as it is.
    pub(super) fn give_back() {
        match mappings() {
            Ok(all) => {
                let done = drop_clean(&all); // not in the macro, which looks at its arguments only where it logs
                debug!(mappings = all.len(), ?done, "gave back what only the start needed");
            }
            Err(error) => debug!(%error, "{MAPPINGS} cannot be read, the pages of the start stay resident"),
        }
    }

    /// Those of two addresses of the program itself, which stays mapped until the process ends: of its code and, as
    /// literals are there, of its constants.
    fn mappings() -> std::io::Result<Vec<Range<usize>>> {
        let smaps = std::fs::read_to_string(MAPPINGS)?;
        let inside = [give_back as fn() as *const () as usize, MAPPINGS.as_ptr().addr()];
        Ok(inside.iter().filter_map(|address| clean_pages(&smaps, *address)).collect())
    }

    fn drop_clean(all: &[Range<usize>]) -> rustix::io::Result<()> {
        for pages in all {
            let start = without_provenance_mut(pages.start);
            #[expect(unsafe_code, reason = "memory is advised by address")]
            // SAFETY: `clean_pages` names a private mapping of the program file that nobody may write and in which no
            // page differs from the file; a page that is dropped is read from the file again when it is touched.
            // Nothing maps other memory to this place while the process lives.
            unsafe {
                madvise(start, pages.len(), Advice::LinuxDontNeed)?;
            }
        }
        Ok(())
    }

    /// The mapping around `address`, unless it may be written or holds a page of its own in the place of the file's: a
    /// relocated one, or one with a debugger's breakpoint.
    ///
    /// Source: proc(5), `/proc/pid/smaps`: a line `from-to rwxp offset device inode file` a mapping, then its fields.
    fn clean_pages(mappings: &str, address: usize) -> Option<Range<usize>> {
        let mut lines = mappings.lines();
        let pages = lines.by_ref().find_map(|line| private_file(line).filter(|pages| pages.contains(&address)))?;
        let own = lines.take_while(|line| range(line).is_none()).find_map(|line| line.strip_prefix("Anonymous:"))?;
        (own.trim() == "0 kB").then_some(pages)
    }

    fn private_file(line: &str) -> Option<Range<usize>> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (rights, file) = (words.next()?, words.nth(3)?);
        (matches!(rights, "r--p" | "r-xp") && file.starts_with('/')).then(|| range(line)).flatten()
    }

    fn range(line: &str) -> Option<Range<usize>> {
        let (from, to) = line.split_ascii_whitespace().next()?.split_once('-')?;
        Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 17 /usr/bin/multilangd
Size:                  8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
3000-9000 r-xp 00002000 fe:00 17 /usr/bin/a file (deleted)
Anonymous:             0 kB
9000-a000 r--p 00008000 fe:00 17 /usr/bin/multilangd
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 17 /usr/bin/multilangd
Anonymous:             0 kB
b000-c000 r--p 00000000 00:00 0 [vvar]
Anonymous:             0 kB
c000-d000 r--p 00000000 00:00 0
Anonymous:             0 kB
d000-e000 r--s 00000000 fe:00 18 /shared
Anonymous:             0 kB
e000-f000 r--p 00000000 fe:00 18 /no/such/field
f000-10000 r--p 00000000 fe:00 18 /the/next/one
Anonymous:             0 kB
";

        #[test]
        fn only_pages_that_are_the_files_are_clean() {
            let table = [
                (0x0fff, None, "before all"),
                (0x1000, Some(0x1000..0x3000), "constants"),
                (0x2fff, Some(0x1000..0x3000), "to the last byte"),
                (0x3000, Some(0x3000..0x9000), "code, of a file with a blank that is gone"),
                (0x9000, None, "relocated"),
                (0xa000, None, "may be written"),
                (0xb000, None, "the kernel's"),
                (0xc000, None, "no file"),
                (0xd000, None, "shared"),
                (0xe000, None, "the field is the next mapping's"),
                (0x10000, None, "after all"),
            ];
            for (address, pages, what) in table {
                assert_eq!(clean_pages(SMAPS, address), pages, "{what}");
            }
            assert_eq!(clean_pages("", 0), None);
        }

        #[test]
        fn code_and_constants_are_given_back_and_come_again() {
            let all = mappings().expect("the mappings");
            assert_eq!(all.len(), 2, "{all:x?}");
            assert!(all[0].contains(&(give_back as fn() as *const () as usize)));
            let before: u64 = SMAPS.bytes().map(u64::from).sum();
            drop_clean(&all).expect("the system lets us");
            assert_eq!(SMAPS.bytes().map(u64::from).sum::<u64>(), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Seconds from the beginning to the end of the start, where `state` is told after ten of them.
    async fn seconds_until_over(state: Option<ShardState>) -> u64 {
        let (footprint, begun) = (Footprint::default(), Instant::now());
        let tell = async {
            sleep(Duration::from_secs(10)).await;
            if let Some(state) = state {
                footprint.state(&ShardId::new("shardId-000000000000"), state);
            }
        };
        tokio::join!(footprint.start_is_over(), tell);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_is_over_a_while_after_the_first_shard_is_read() {
        assert_eq!(seconds_until_over(Some(ShardState::Processing)).await, 15);
        assert_eq!(seconds_until_over(Some(ShardState::Initializing)).await, 65, "the child is still being started");
        assert_eq!(seconds_until_over(None).await, 65, "a spare worker has no shard");
    }
}
