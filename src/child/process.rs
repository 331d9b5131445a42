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
use rustix::process::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, debug_span, info};

use crate::child::encode::{self, More};
use crate::child::{Child, ChildLauncher, Death, LaunchError};
use crate::record::Record;
use crate::record::utf8::java_text;
use crate::types::ShardId;

mod end;
mod lines;
mod program;
mod stderr;

use lines::LineReader;
use stderr::Stderr;

/// Lines of a child come in one piece.
const WHOLE_LINE: usize = usize::MAX;

/// Longest piece of a line that is only passed on: what holds no line end must not fill the memory.
const PIECE: usize = 1024 * 1024;

/// Longest piece of a batch that is encoded at once, in bytes, but for one record: small enough to stay in the
/// processor's cache until it is in the pipe, and half of what the pipe holds, so that reader and writer seldom wait.
const BATCH_PIECE: usize = WIDE_PIPE / 2;

/// What a pipe holds in bytes, and what it holds once a batch was longer than that (the kernel's limit for everybody,
/// `/proc/sys/fs/pipe-max-size`).
const USUAL_PIPE: usize = 64 * 1024;
const WIDE_PIPE: usize = 1024 * 1024;

/// What a child may print while it is being written to; a child that does not read its input until it has printed
/// more than this stands still.
const MAX_AHEAD: usize = 64 * 1024 * 1024;

/// What an idle child may print before it is read no further: what a pipe holds.
const IDLE_AHEAD: usize = 64 * 1024;

/// How long after a child's exit its last words are awaited. They are in the pipe by then; only a process that
/// inherited the pipe from the child can hold it open, and a Java daemon would wait for that one.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines of a closed child's standard output that are logged; the others are counted.
const LOGGED_LINES: usize = 20;

/// Longest piece of each that is, in bytes.
const LOGGED_LENGTH: usize = 512;

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
    /// The process group that it leads, unless its leash is loose.
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    is_pipe_wide: bool,
    stdout: Option<LineReader<ChildStdout>>,
    stderr: Stderr,
}

impl ProcessChild {
    fn new(mut process: tokio::process::Child, shard: &ShardId, leash: Leash) -> Self {
        let mut stderr = Stderr::default();
        if let Some(pipe) = process.stderr.take() {
            stderr.pass_on(pipe, debug_span!("child", %shard, pid = process.id()));
        }
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = pid.filter(|_| leash == Leash::Tight);
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().map(|pipe| LineReader::new(pipe).cutting_off_long_lines());
        Self { process, group, stdin, is_pipe_wide: false, stdout, stderr }
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
        let write = while_listening(&mut self.stdout, write);
        unless_gone(&mut self.process, self.group, write).await
    }

    async fn send_batch(&mut self, records: &[Record], millis_behind: Option<i64>) -> std::io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Err(ErrorKind::BrokenPipe.into()) };
        let write = async {
            let (mut line, mut piece) = (encode::BatchLine::new(records, millis_behind), Vec::new());
            let mut more = line.fill(&mut piece, BATCH_PIECE);
            if piece.len() > USUAL_PIPE && !std::mem::replace(&mut self.is_pipe_wide, true) {
                widen(stdin);
            }
            stdin.write_all(&piece).await?;
            while more == More::Yes {
                more = line.fill(&mut piece, BATCH_PIECE);
                stdin.write_all(&piece).await?;
            }
            stdin.flush().await
        };
        let write = while_listening(&mut self.stdout, write);
        unless_gone(&mut self.process, self.group, write).await
    }

    /// The end of the child is the end of its output, though another process may hold the pipe open.
    async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(stdout) = &mut self.stdout else { return Ok(None) };
        tokio::select! {
            biased;
            line = stdout.next(WHOLE_LINE) => return line,
            _ = self.process.wait(), if self.group.is_some() => {}
        }
        self.kill_group(); // at once: its number may be given to another soon
        let Some(stdout) = &mut self.stdout else { return Ok(None) };
        timeout(LAST_WORDS, stdout.next(WHOLE_LINE)).await.unwrap_or_else(|_| {
            debug!("another process holds the output of the ended child open");
            Ok(None)
        })
    }

    /// A shell may have left a process behind that holds the pipes, so the exit counts, too. Reading ahead is bounded:
    /// a child that prints without being asked fills its own pipe.
    async fn gone(&mut self) {
        let Some(stdout) = &mut self.stdout else { return };
        let closed = async {
            while !stdout.is_at_end() && stdout.waiting() < IDLE_AHEAD {
                if stdout.fill().await.is_err() {
                    return; // what cannot be read is told at the next message
                }
            }
            if !stdout.is_at_end() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = closed => {}
            _ = self.process.wait() => self.kill_group(), // at once: its number may be given to another soon
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
            tokio::join!(drain, self.stderr.ended());
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

    async fn end(&mut self, patience: Duration) -> Death {
        self.end_by_force(patience).await
    }
}

impl Drop for ProcessChild {
    fn drop(&mut self) {
        if self.process.id().is_some() {
            self.kill_group(); // not reaped yet, so the number still belongs to the child's group
        }
    }
}

/// Works until the child has ended, which its pipes need not show: another process may hold them open. On a loose
/// leash that is not looked for, as Java does not.
async fn unless_gone<T>(
    process: &mut tokio::process::Child,
    group: Option<Pid>,
    work: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    tokio::select! {
        biased;
        done = work => done,
        _ = process.wait(), if group.is_some() => Err(ErrorKind::BrokenPipe.into()),
    }
}

/// Writes, and takes in what the child prints meanwhile.
async fn while_listening(
    stdout: &mut Option<LineReader<ChildStdout>>,
    write: impl Future<Output = std::io::Result<()>>,
) -> std::io::Result<()> {
    tokio::pin!(write);
    while let Some(stdout) = stdout.as_mut().filter(|out| !out.is_at_end() && out.waiting() < MAX_AHEAD) {
        tokio::select! {
            biased;
            written = &mut write => return written,
            filled = stdout.fill() => filled?,
        }
    }
    write.await
}

/// Lets the pipe hold more, so that writer and reader wake each other less often. The kernel refuses it to users with
/// many wide pipes; then the usual size does.
#[cfg(target_os = "linux")]
fn widen(pipe: &ChildStdin) {
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, WIDE_PIPE) {
        debug!(%error, "the pipe to the child keeps its usual size");
    }
}

#[cfg(not(target_os = "linux"))]
fn widen(_pipe: &ChildStdin) {}

/// Logs what a closed child still prints.
///
/// Source: KCL 3.5.1 `DrainChildSTDOUTTask`.
async fn log_rest(mut stdout: LineReader<ChildStdout>) {
    let mut count = 0_usize;
    while let Ok(Some(line)) = stdout.next(PIECE).await {
        count += usize::from(!line.is_empty());
        if !line.is_empty() && count <= LOGGED_LINES {
            let shown = line.get(..LOGGED_LENGTH).unwrap_or(&line); // the rest is seldom worth a megabyte of log
            info!(line = %java_text(shown), "skipping line of a closed child");
        }
    }
    if count > LOGGED_LINES {
        info!(count = count - LOGGED_LINES, "skipped more lines of a closed child");
    }
}
