//! Gives memory that nobody needs now back to the system: code that only the start needed, and what the allocator keeps.
//!
//! A third of what is resident of the program file is touched once, by relocation, command line and credentials, and
//! would stay for months; so would half of the C library. These pages are copies of files and nothing else; those that
//! are needed again come back from the page cache, sixteen with one fault. What a burst of large answers or of starting
//! shards leaves in the allocator's hands lies between what is in use, and is given back only when asked for.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::aws::http::IDLE_CONNECTION;
use crate::progress::{Progress, ShardState};
use crate::record::Record;
use crate::types::{Checkpoint, ShardId};

/// From the last shard whose reading begins to the end of what belongs to its start: first reads, renewals, log lines,
/// and the connections that were opened for them.
const SETTLED: Duration = IDLE_CONNECTION.saturating_add(Duration::from_secs(5));
/// A worker that has no shard by then waits for one as a spare. Where shards begin all the time, this is long enough.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often memory is given back later on; it takes milliseconds.
const REGULARLY: Duration = Duration::from_secs(600);

/// Hears of each shard that is begun to be read.
#[derive(Debug)]
pub struct Footprint {
    reading: Notify,
    #[cfg(target_os = "linux")]
    lasting: linux::Lasting,
}

impl Default for Footprint {
    /// To be made when the process begins, while all that is mapped into it stays.
    fn default() -> Self {
        Self {
            reading: Notify::new(),
            #[cfg(target_os = "linux")]
            lasting: linux::Lasting::now(),
        }
    }
}

impl Footprint {
    /// Gives back after each start of shards and every ten minutes; never ends, so that it may stand beside the worker
    /// in a `select!`.
    pub async fn keep_small(&self) -> Infallible {
        let mut patience = PATIENCE;
        loop {
            self.nothing_begins(patience).await;
            #[cfg(target_os = "linux")]
            linux::give_back(&self.lasting);
            patience = REGULARLY;
        }
    }

    /// Waits for a shard that begins, `patience` at most, and until there are no more.
    async fn nothing_begins(&self, patience: Duration) {
        let _spare = timeout(patience, self.reading.notified()).await;
        let settled = async { while timeout(SETTLED, self.reading.notified()).await.is_ok() {} };
        let _restless = timeout(PATIENCE, settled).await;
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

    const MAPPINGS: &str = "/proc/self/maps";
    const PAGES: &str = "/proc/self/smaps";

    /// The mappings of the program and of the libraries that it is linked with, which stay until the process ends, by
    /// their lines. Whatever is mapped later may go again at any moment.
    #[derive(Debug)]
    pub(super) struct Lasting(Vec<String>);

    impl Lasting {
        /// Those of files that nobody may write; none where there is no `/proc`.
        pub(super) fn now() -> Self {
            let maps = std::fs::read_to_string(MAPPINGS).unwrap_or_default();
            Self(maps.lines().filter(|line| is_private_file(line)).map(str::to_owned).collect())
        }
    }

    /// Where there is no `/proc`, or the system refuses, everything stays as it is.
    pub(super) fn give_back(lasting: &Lasting) {
        trim_allocator();
        match std::fs::read_to_string(PAGES) {
            Ok(pages) => {
                let all = clean_pages(&pages, lasting);
                let done = drop_clean(&all); // not in the macro, which looks at its arguments only where it logs
                debug!(mappings = all.len(), ?done, "gave back memory that is not needed now");
            }
            Err(error) => debug!(%error, "{PAGES} cannot be read, the pages of the start stay resident"),
        }
    }

    #[cfg(target_env = "gnu")]
    fn trim_allocator() {
        #[expect(unsafe_code, reason = "a call into the C library")]
        // SAFETY: any thread may call it at any time; it gives back whole pages in which no block is in use
        // (malloc_trim(3)).
        unsafe {
            libc::malloc_trim(0);
        }
    }

    #[cfg(not(target_env = "gnu"))]
    fn trim_allocator() {}

    fn drop_clean(all: &[Range<usize>]) -> rustix::io::Result<()> {
        for pages in all {
            let start = without_provenance_mut(pages.start);
            #[expect(unsafe_code, reason = "memory is advised by address")]
            // SAFETY: `clean_pages` names private mappings of files that nobody may write and in which no page differs
            // from the file; a page that is dropped is read from the file again when it is touched. They belong to the
            // program and its libraries, so nothing else is mapped to their place while the process lives.
            unsafe {
                madvise(start, pages.len(), Advice::LinuxDontNeed)?;
            }
        }
        Ok(())
    }

    /// The mappings of `lasting` that hold no page of their own in the place of the file's: a relocated one, or one with
    /// a debugger's breakpoint.
    ///
    /// Source: proc(5), `/proc/pid/smaps`: a line `from-to rwxp offset device inode file` a mapping, as in
    /// `/proc/pid/maps`, then its fields.
    fn clean_pages(smaps: &str, lasting: &Lasting) -> Vec<Range<usize>> {
        let mut lines = smaps.lines().peekable();
        let mut clean = Vec::new();
        while let Some(line) = lines.next() {
            let Some(pages) = range(line).filter(|_| lasting.0.iter().any(|lasts| lasts == line)) else { continue };
            let fields = std::iter::from_fn(|| lines.next_if(|line| range(line).is_none()));
            let own = fields.filter_map(|line| line.strip_prefix("Anonymous:")).last();
            clean.extend(own.is_some_and(|own| own.trim() == "0 kB").then_some(pages));
        }
        clean
    }

    fn is_private_file(line: &str) -> bool {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (rights, file) = (words.next().unwrap_or_default(), words.nth(3).unwrap_or_default());
        matches!(rights, "r--p" | "r-xp") && file.starts_with('/')
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

        fn lasting(maps: &str) -> Lasting {
            Lasting(maps.lines().filter(|line| is_private_file(line)).map(str::to_owned).collect())
        }

        #[test]
        fn only_pages_that_are_the_files_are_clean() {
            let table = [
                (0x1000..0x3000, true, "constants"),
                (0x3000..0x9000, true, "code, of a file with a blank that is gone"),
                (0x9000..0xa000, false, "relocated"),
                (0xa000..0xb000, false, "may be written"),
                (0xb000..0xc000, false, "the kernel's"),
                (0xc000..0xd000, false, "no file"),
                (0xd000..0xe000, false, "shared"),
                (0xe000..0xf000, false, "the field is the next mapping's"),
                (0xf000..0x10000, true, "the last one"),
            ];
            let clean = clean_pages(SMAPS, &lasting(SMAPS));
            for (pages, expected, what) in &table {
                assert_eq!(clean.contains(pages), *expected, "{what}");
            }
            assert_eq!(clean.len(), 3);
        }

        #[test]
        fn what_was_mapped_later_is_left_alone() {
            let first = SMAPS.lines().next().expect("a line");
            assert_eq!(clean_pages(SMAPS, &lasting(first)), vec![0x1000..0x3000]);
            let moved = first.replace(" 00000000 ", " 00001000 "); // another part of the file is there now
            assert!(clean_pages(SMAPS, &lasting(&moved)).is_empty());
            assert!(clean_pages("", &lasting(SMAPS)).is_empty());
        }

        #[test]
        fn code_and_constants_are_given_back_and_come_again() {
            let all = clean_pages(&std::fs::read_to_string(PAGES).expect("the pages"), &Lasting::now());
            for inside in [give_back as fn(&Lasting) as *const () as usize, PAGES.as_ptr().addr()] {
                assert!(all.iter().any(|pages| pages.contains(&inside)), "{inside:x} {all:x?}");
            }
            trim_allocator();
            let before: u64 = SMAPS.bytes().map(u64::from).sum();
            drop_clean(&all).expect("the system lets us");
            assert_eq!(SMAPS.bytes().map(u64::from).sum::<u64>(), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    const SHARD: &str = "shardId-000000000000";

    /// Seconds until nothing begins any more, where `states` are told one each ten seconds.
    async fn seconds_until_quiet(patience: Duration, states: &[ShardState]) -> u64 {
        let (footprint, begun) = (Footprint::default(), Instant::now());
        let tell = async {
            for state in states {
                sleep(Duration::from_secs(10)).await;
                footprint.state(&ShardId::new(SHARD), *state);
            }
        };
        let quiet = async {
            footprint.nothing_begins(patience).await;
            begun.elapsed().as_secs()
        };
        tokio::join!(quiet, tell).0
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_a_while_after_the_last_shard_began() {
        use ShardState::{Initializing, Processing};
        assert_eq!(seconds_until_quiet(PATIENCE, &[Processing]).await, 35);
        assert_eq!(seconds_until_quiet(PATIENCE, &[Processing; 3]).await, 55);
        assert_eq!(seconds_until_quiet(PATIENCE, &[Initializing]).await, 85, "the child is still being started");
        assert_eq!(seconds_until_quiet(PATIENCE, &[]).await, 85, "a spare worker has no shard");
        assert_eq!(seconds_until_quiet(PATIENCE, &[Processing; 60]).await, 70, "shards begin all the time");
        assert_eq!(seconds_until_quiet(REGULARLY, &[]).await, 625, "later on");
    }
}
