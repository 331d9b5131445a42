//! The end of a child that has failed, and of everything that it started in its process group.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Signal, kill_process_group};
use tokio::time::timeout;

use super::{LAST_WORDS, ProcessChild, log_rest};
use crate::child::Death;

/// How long a child may take to notice the end of its input before it is told to terminate: long enough for what is
/// dying already, short enough for what hangs.
const NOTICE: Duration = Duration::from_millis(500);
/// How long a killed child may take to be gone. Only one that the kernel cannot end (a dead disk) takes longer, and it
/// must not hold up its shard.
const KILLED: Duration = Duration::from_secs(2);

impl ProcessChild {
    /// A child on a loose leash shares our process group and is never signalled.
    pub(super) async fn end_by_force(&mut self, patience: Duration) -> Death {
        drop(self.stdin.take());
        let mut status = timeout(NOTICE, self.reap()).await.unwrap_or_default();
        if status.is_none() {
            self.signal_group(Signal::TERM);
            status = timeout(patience, self.reap()).await.unwrap_or_default();
        }
        if status.is_none() {
            self.kill_group();
            status = timeout(KILLED, self.reap()).await.unwrap_or_default();
        }
        let _held_open_by_another = timeout(LAST_WORDS, self.stderr.ended()).await;
        Death { status, last_words: self.stderr.last_words() }
    }

    /// Waits for the exit, takes in meanwhile what the child still prints, and leaves nobody of its group behind.
    /// Cancel-safe but for what was printed.
    async fn reap(&mut self) -> Option<ExitStatus> {
        let stdout = self.stdout.take();
        let drain = async {
            if let Some(stdout) = stdout {
                log_rest(stdout).await;
            }
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            biased;
            exit = self.process.wait() => exit.ok(),
            () = drain => None,
        };
        self.kill_group(); // at once: its number may be given to another soon
        status
    }

    pub(super) fn kill_group(&self) {
        self.signal_group(Signal::KILL);
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _nobody_is_left_in_it = kill_process_group(group, signal);
        }
    }
}
