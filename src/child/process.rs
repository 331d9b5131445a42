//! Children as processes: spawn, pipes, death.
//!
//! It never interprets what a child says. A child never outlives the daemon: it leads a process group of its own that
//! is killed when the [`Child`] is dropped, and on Linux the kernel kills it when the daemon dies in any other way.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, debug, debug_span, info};

use crate::child::{Child, ChildLauncher, LaunchError};
use crate::record::utf8::java_text;
use crate::types::ShardId;

mod lines;
mod program;

use lines::LineReader;

/// Lines of a child have no limit.
const WHOLE_LINE: usize = usize::MAX;

/// Longest piece of a line that is only passed on: what holds no line end must not fill the memory.
const PIECE: usize = 1024 * 1024;

/// What a child may print while it is being written to; a child that does not read its input until it has printed
/// more than this stands still.
const MAX_AHEAD: usize = 64 * 1024 * 1024;

/// How long after a child's exit its last words are awaited. They are in the pipe by then; only a process that
/// inherited the pipe from the child can hold it open, and a Java daemon would wait for that one.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines of a closed child's standard output that are logged; the others are counted.
const LOGGED_LINES: usize = 20;

/// Starts children from the words of `executableName`.
///
/// Environment and working directory are inherited, nothing is added.
/// Source: PROTOCOL.md section 7.
#[derive(Clone, Debug)]
pub struct ProcessLauncher {
    command: Vec<String>,
    leash: Leash,
}

/// How much the lives of children hang on the daemon's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leash {
    /// A process group of their own; they are killed when they are dropped, and when the daemon dies.
    #[default]
    Tight,
    /// As Java has it: the daemon's process group, no signal ever; they see the end of their input and are trusted to
    /// go (Source: PROTOCOL.md section 6).
    Loose,
}

impl ProcessLauncher {
    /// Takes `executableName`, already split at its blanks.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, leash: Leash::Tight }
    }

    /// The same with another leash.
    #[must_use]
    pub fn with_leash(self, leash: Leash) -> Self {
        Self { leash, ..self }
    }

    /// Finds out whether the program is there and may be run, without running it.
    ///
    /// # Errors
    /// Says what is missing, in a sentence for the operator.
    pub fn validate(&self) -> Result<(), LaunchError> {
        self.find().map(drop)
    }

    fn find(&self) -> Result<PathBuf, LaunchError> {
        program::find(&self.command, std::env::var_os("PATH").as_deref())
    }

    /// A file that the kernel cannot run is a shell script without `#!`.
    ///
    /// Source: OpenJDK 17 `childproc.c` execve_as_traditional_shell_script.
    async fn spawn(&self, file: &Path) -> std::io::Result<tokio::process::Child> {
        let arguments = self.command.get(1..).unwrap_or_default();
        let mut command = Command::new(file);
        command.arg0(self.command.first().map_or("", String::as_str)).args(arguments);
        match on_spawning_thread(command, self.leash).await {
            Err(fault) if fault.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg(file).args(arguments);
                on_spawning_thread(shell, self.leash).await
            }
            other => other,
        }
    }
}

#[async_trait]
impl ChildLauncher for ProcessLauncher {
    async fn launch(&self, shard: &ShardId) -> Result<Box<dyn Child>, LaunchError> {
        let file = self.find()?;
        match self.spawn(&file).await {
            Ok(process) => Ok(Box::new(ProcessChild::new(process, shard, self.leash))),
            // the file is there: its `#!` leads nowhere, or a right is missing
            Err(fault) if matches!(fault.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                Err(program::not_executable(&self.command, fault))
            }
            Err(fault) => Err(LaunchError::System { command: self.command.join(" "), source: fault }),
        }
    }
}

type Spawned = std::io::Result<tokio::process::Child>;
type SpawnJob = Box<dyn FnOnce() + Send>;

/// Starts a process from the one thread that lives as long as the daemon: the parent-death signal is sent when the
/// *thread* that forked ends.
async fn on_spawning_thread(mut command: Command, leash: Leash) -> Spawned {
    static JOBS: OnceLock<std::sync::mpsc::Sender<SpawnJob>> = OnceLock::new();
    let jobs = match JOBS.get() {
        Some(jobs) => jobs,
        None => {
            let (sender, receiver) = std::sync::mpsc::channel::<SpawnJob>();
            let work = move || receiver.into_iter().for_each(|job| job());
            std::thread::Builder::new().name("spawn-children".to_owned()).spawn(work)?;
            JOBS.get_or_init(|| sender) // of two at once, one thread ends unused with its sender
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if leash == Leash::Tight {
        command.process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
    }
    let runtime = Handle::current();
    let (answer, spawned) = oneshot::channel();
    let job = move || {
        let _entered = runtime.enter();
        drop(answer.send(command.spawn())); // nobody waits any more: dropping the child kills it
    };
    let gone = |()| std::io::Error::other("the thread that starts processes is gone");
    jobs.send(Box::new(job)).map_err(|_| gone(()))?;
    spawned.await.unwrap_or_else(|_| Err(gone(())))
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    let daemon = getpid();
    let arm = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() == Some(daemon) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) } // it died before that
    };
    #[expect(
        unsafe_code,
        reason = "the signal can only be set between fork and exec; both calls are bare system calls"
    )]
    // SAFETY: `arm` allocates nothing, takes no lock and touches no memory of the parent.
    unsafe {
        command.pre_exec(arm);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

/// A running child and its pipes.
#[derive(Debug)]
struct ProcessChild {
    process: tokio::process::Child,
    leash: Leash,
    stdin: Option<ChildStdin>,
    stdout: Option<LineReader<ChildStdout>>,
    /// Copies its standard error to ours.
    stderr: JoinSet<()>,
}

impl ProcessChild {
    fn new(mut process: tokio::process::Child, shard: &ShardId, leash: Leash) -> Self {
        let mut stderr = JoinSet::new();
        if let Some(pipe) = process.stderr.take() {
            let span = debug_span!("child", %shard, pid = process.id());
            stderr.spawn(pass_on(LineReader::new(pipe), tokio::io::stderr()).instrument(span));
        }
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().map(LineReader::new);
        Self { process, leash, stdin, stdout, stderr }
    }
}

#[async_trait]
impl Child for ProcessChild {
    /// A child may print a lot before it reads, so its output is taken in meanwhile: neither waits for the other.
    async fn send(&mut self, line: &[u8]) -> std::io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Err(ErrorKind::BrokenPipe.into()) };
        let write = async {
            stdin.write_all(line).await?;
            stdin.flush().await
        };
        tokio::pin!(write);
        while let Some(stdout) = self.stdout.as_mut().filter(|out| !out.is_at_end() && out.waiting() < MAX_AHEAD) {
            tokio::select! {
                biased;
                written = &mut write => return written,
                filled = stdout.fill() => filled?,
            }
        }
        write.await
    }

    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        match &mut self.stdout {
            Some(stdout) => stdout.next(WHOLE_LINE).await,
            None => Ok(None),
        }
    }

    async fn close(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.stdin.take());
        let stdout = self.stdout.take();
        let drain = async {
            if let Some(stdout) = stdout {
                log_rest(stdout).await;
            }
        };
        let last_words = async {
            tokio::join!(drain, async { while self.stderr.join_next().await.is_some() {} });
        };
        tokio::pin!(last_words);
        tokio::select! {
            () = &mut last_words => self.process.wait().await,
            exit = self.process.wait() => {
                if timeout(LAST_WORDS, last_words).await.is_err() {
                    debug!("another process holds the pipes of the ended child open");
                }
                exit
            }
        }
    }
}

impl Drop for ProcessChild {
    fn drop(&mut self) {
        if self.leash == Leash::Loose {
            return;
        }
        // not reaped yet, so the number still belongs to the child's group
        let group = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // an error means that nobody is left in it
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Logs what a closed child still prints.
///
/// Source: KCL 3.5.1 `DrainChildSTDOUTTask`.
async fn log_rest(mut stdout: LineReader<ChildStdout>) {
    let mut count = 0_usize;
    while let Ok(Some(line)) = stdout.next(PIECE).await {
        count += usize::from(!line.is_empty());
        if !line.is_empty() && count <= LOGGED_LINES {
            info!(line = %java_text(&line), "skipping line of a closed child");
        }
    }
    if count > LOGGED_LINES {
        info!(count = count - LOGGED_LINES, "skipped more lines of a closed child");
    }
}

/// Copies a child's standard error to ours, line by line, each in one piece.
///
/// Source: LOGGING.md section 1: people read their application's log there. The log itself has each line once, at
/// debug.
async fn pass_on(mut stderr: LineReader<impl AsyncRead + Unpin>, mut ours: impl tokio::io::AsyncWrite + Unpin) {
    while let Ok(Some(mut line)) = stderr.next(PIECE).await {
        // runbooks look for these words; the reference has the line at error, and a second time as we pass it on
        debug!("Received error line from subprocess [{}]", java_text(&line));
        line.push(b'\n');
        // if ours is closed there is nobody to tell, and the child must not block
        if ours.write_all(&line).await.is_ok() {
            drop(ours.flush().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn standard_error_is_passed_on_line_by_line_as_it_is() {
        let given: &[u8] = b"one\ntwo\xff\r\n\nthree";
        let mut ours = Vec::new();
        pass_on(LineReader::new(given), &mut ours).await;
        assert_eq!(ours, b"one\ntwo\xff\n\nthree\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_passed_on_in_pieces() {
        let given = vec![b'x'; PIECE * 2 + 5];
        let mut ours = Vec::new();
        pass_on(LineReader::new(given.as_slice()), &mut ours).await;
        assert_eq!(ours.iter().filter(|byte| **byte == b'x').count(), given.len());
        assert!(ours.split(|byte| *byte == b'\n').all(|piece| piece.len() <= PIECE + READ_AHEAD));
    }

    /// A piece may exceed its limit by what one read brought.
    const READ_AHEAD: usize = 64 * 1024;
}
