//! The dead-letter file: one JSON object a line, on disk before its shard goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::letter::Letter;
use super::target::{NotStored, Target};

/// Its owner only: it holds customers' data.
const MODE: u32 = 0o600;

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
        append(&self.0, letter.line()).await.map_err(NotStored::ForGood)
    }
}

/// Appends a line and returns when it is on disk. Several shards, and daemons, may share a file: each waits for the
/// others. A line that a crash cut short is ended first.
///
/// # Errors
/// It is not known to be on disk; a part of it may be.
pub async fn append(file: &Path, line: Vec<u8>) -> io::Result<()> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || append_now(&file, &line))
        .await
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// Finds out whether the file can be written, and makes it if it is not there.
///
/// # Errors
/// It cannot.
pub fn validate(file: &Path) -> io::Result<()> {
    open(file).map(drop)
}

fn open(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(file)
}

fn append_now(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    file.lock()?; // until it is closed
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        File::open(folder(path))?.sync_all()?; // the name must last, too
    } else {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(line)?;
    file.sync_all()
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
}
