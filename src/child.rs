//! One child program: the seam between a shard's consumer and the process that handles its records.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;

use crate::record::Record;
use crate::types::ShardId;

pub mod ascii;
pub mod dialect;
pub mod encode;
pub mod exchange;
pub mod message;
pub mod process;

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such program.
    #[error(
        "executableName `{command}`: program `{program}` was not found {looked}; give a path, or a name that PATH leads to"
    )]
    NotFound {
        /// Value of the property.
        command: String,
        /// Its first word.
        program: String,
        /// Where it was looked for.
        looked: String,
    },
    /// The program is there and cannot be run.
    #[error(
        "executableName `{command}`: program `{program}` cannot be run; make it executable or name its interpreter"
    )]
    NotExecutable {
        /// Value of the property.
        command: String,
        /// Its first word.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system refused a new process.
    #[error(
        "executableName `{command}`: the system could not start a process; each shard needs one, and three pipes to it: \
         see its limits of processes, open files and memory"
    )]
    System {
        /// Value of the property.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Starts children.
#[async_trait]
pub trait ChildLauncher: Send + Sync + 'static {
    /// Starts the child of `shard`.
    async fn launch(&self, shard: &ShardId) -> Result<Box<dyn Child>, LaunchError>;
}

/// One running child. Lines go in, lines come out; what they mean is [`exchange`]'s matter.
///
/// Dropping a child kills its process group and reaps it.
#[async_trait]
pub trait Child: Send {
    /// Writes one line, which already ends in `\n`, and flushes it.
    async fn send(&mut self, line: &[u8]) -> std::io::Result<()>;

    /// Writes the line of a batch and flushes it. A child that can take it in pieces spares the memory of the whole.
    async fn send_batch(&mut self, records: &[Record], millis_behind: Option<i64>) -> std::io::Result<()> {
        self.send(&encode::process_records(records, millis_behind)).await
    }

    /// Reads the next line of its standard output without its line end (LF, CR LF or CR); `None` at the end of it.
    /// Cancel-safe.
    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>>;

    /// Waits until it has ended, or closed its standard output, though nothing is asked of it. What it prints meanwhile
    /// is kept for [`Self::receive`]. Cancel-safe.
    async fn gone(&mut self);

    /// Closes its standard input, logs and drops what it still prints, and waits for its exit, without limit.
    async fn close(&mut self) -> std::io::Result<ExitStatus>;

    /// Ends a child that has failed: after the end of its input it is told to terminate (SIGTERM), `patience` later it
    /// is killed, both with everything in its process group.
    async fn end(&mut self, patience: Duration) -> Death;
}

/// What is known of a child that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Death {
    /// Exit code or signal, if it could be had.
    pub status: Option<ExitStatus>,
    /// The last lines of its standard error, oldest first, each cut to a readable length.
    pub last_words: Vec<String>,
}

/// To be put behind a sentence about the child.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "; it ended with {status}")?;
        }
        if !self.last_words.is_empty() {
            write!(f, "; its last words on standard error: {:?}", self.last_words.join(" | "))?;
        }
        Ok(())
    }
}
