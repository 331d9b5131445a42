//! The dead-letter file: one JSON object a line, on disk before its shard goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tracing::error;

use super::letter::Letter;
use super::target::{NotStored, Target};

/// Its owner only: it holds customers' data.
const MODE: u32 = 0o600;

/// How long a letter may take before somebody is told of it.
const SLOW: Duration = Duration::from_secs(60);
/// How often a letter is written that was removed, or moved away, with its file.
const MOST_MOVES: u32 = 10;

/// Letters into one file.
#[derive(Clone, Debug)]
pub struct LetterFile(PathBuf);

impl LetterFile {
    /// Writes to `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

#[async_trait]
impl Target for LetterFile {
    async fn store(&self, letter: &Letter<'_>) -> Result<(), NotStored> {
        let mut written = pin!(append(&self.0, letter.line()));
        if let Ok(written) = timeout(SLOW, &mut written).await {
            return written.map_err(NotStored::ForGood);
        }
        error!(shard = %letter.shard, file = %self.0.display(),
            "dead-letter file takes no letter: another process has it locked, or its disk does not answer; this shard \
             waits for it, others run on");
        written.await.map_err(NotStored::ForGood)
    }
}

/// Appends a line and returns when it is on disk. Several shards, and daemons, may share a file: each waits for the
/// others. A line that a crash cut short is ended first, and one that does not fit is taken back. Whoever moves the file away
/// meanwhile may find the line in it, but it is in a file of that name in any case.
///
/// # Errors
/// It is not known to be on disk; a part of it may be.
pub async fn append(file: &Path, line: Vec<u8>) -> io::Result<()> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || append_now(&file, &line))
        .await
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// Finds out whether the file can be written and locked, and makes it if it is not there.
///
/// # Errors
/// It cannot.
pub fn validate(file: &Path) -> io::Result<()> {
    match open(file)?.try_lock() {
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(file)
}

fn append_now(path: &Path, line: &[u8]) -> io::Result<()> {
    for _ in 0..MOST_MOVES {
        let mut file = open(path)?;
        file.lock()?; // until it is closed
        let length = file.seek(SeekFrom::End(0))?;
        if length == 0 {
            File::open(folder(path))?.sync_all()?; // the name must last, too
        }
        if let Err(error) = end_line(&mut file, length).and_then(|()| file.write_all(line)) {
            let _or_the_next_one_ends_it = file.set_len(length);
            return Err(error);
        }
        file.sync_all()?;
        if is_at(&file, path)? {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("{MOST_MOVES} times the file was moved away or removed while it was written")))
}

/// Ends a line that was cut short.
fn end_line(file: &mut File, length: u64) -> io::Result<()> {
    let Some(before) = length.checked_sub(1) else { return Ok(()) };
    let mut last = [0];
    file.seek(SeekFrom::Start(before))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

/// Whether the file still has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_appended_by_many_and_a_torn_one_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dead.jsonl");
        std::fs::write(&file, "{\"torn").unwrap();
        let long = "x".repeat(200_000);
        let lines = (0..8).map(|number| append(&file, format!("{number}{long}\n").into_bytes()));
        for written in futures_util::future::join_all(lines).await {
            written.unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (9, "{\"torn"));
        assert!(lines[1..].iter().all(|line| line.len() == long.len() + 1 && line.ends_with(&long)));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_error_before_and_when_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(validate(folder.path()).is_err() && append(folder.path(), b"x\n".to_vec()).await.is_err());
        let missing = folder.path().join("no/such/dead.jsonl");
        assert!(validate(&missing).is_err());
    }

    /// A line, while another holds the lock; `meanwhile` happens to the file before it is released.
    #[cfg(target_os = "linux")]
    async fn appended_after(meanwhile: impl FnOnce(&Path)) -> (tempfile::TempDir, io::Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dead.jsonl");
        std::fs::write(&file, "one\n").unwrap();
        let locked = open(&file).unwrap();
        locked.lock().unwrap();
        let begun = || std::fs::read_dir("/proc/self/fd").unwrap().filter(|entry| points_at(entry, &file)).count() > 1;
        let meddling = async {
            while !begun() {
                tokio::task::yield_now().await;
            }
            meanwhile(&file);
            drop(locked);
        };
        let (written, ()) = tokio::join!(append(&file, b"two\n".to_vec()), meddling);
        (folder, written)
    }

    #[cfg(target_os = "linux")]
    fn points_at(entry: &io::Result<std::fs::DirEntry>, file: &Path) -> bool {
        entry.as_ref().is_ok_and(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_line_is_in_a_file_of_that_name_whatever_became_of_the_one_that_was_opened() {
        let (folder, written) = appended_after(|file| std::fs::remove_file(file).unwrap()).await;
        written.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("dead.jsonl")).unwrap(), "two\n");
        let (folder, written) = appended_after(|file| std::fs::rename(file, file.with_extension("1")).unwrap()).await;
        written.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("dead.jsonl")).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("dead.1")).unwrap(), "one\ntwo\n");
        let (_folder, written) = appended_after(|file| std::fs::remove_dir_all(file.parent().unwrap()).unwrap()).await;
        assert!(written.is_err());
    }

    #[test]
    fn a_file_that_is_locked_can_be_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dead.jsonl");
        let locked = open(&file).unwrap();
        locked.lock().unwrap();
        validate(&file).unwrap();
    }
}
