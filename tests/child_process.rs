//! Children as real processes: `/bin/sh` and `python3`.

#![expect(clippy::unwrap_used, reason = "a test fails where it is")]
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use multilangd::child::process::ProcessLauncher;
use multilangd::child::{Child, ChildLauncher};
use multilangd::types::ShardId;
use tokio::time::{Instant, sleep, timeout};

/// Long enough for a slow machine; nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells a copy of this test binary which part it plays.
const ROLE: &str = "MULTILANGD_TEST_ROLE";

fn launcher(words: &[&str]) -> ProcessLauncher {
    ProcessLauncher::new(words.iter().map(|word| (*word).to_owned()).collect())
}

async fn start(words: &[&str]) -> Box<dyn Child> {
    launcher(words).launch(&ShardId::new("shardId-000000000000")).await.unwrap()
}

async fn line(child: &mut dyn Child) -> Option<String> {
    let line = timeout(PATIENCE, child.receive()).await.expect("a line in time").unwrap();
    line.map(|line| String::from_utf8(line).unwrap())
}

async fn code(mut child: Box<dyn Child>) -> Option<i32> {
    timeout(PATIENCE, child.close()).await.expect("an exit in time").unwrap().code()
}

async fn refusal(words: &[&str]) -> String {
    let told = launcher(words).launch(&ShardId::new("shardId-000000000000")).await.err().expect("no child");
    let source = std::error::Error::source(&told).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{told}{source}")
}

/// Writes the file from another process: were it open for writing in this one, a fork of a neighbour test would hold
/// it open, and the system refuses to run such a file.
fn script(folder: &Path, name: &str, text: &str, mode: &str) -> String {
    let path = folder.join(name).to_str().unwrap().to_owned();
    let write = r#"printf %s "$2" > "$1" && chmod "$3" "$1""#;
    let status = std::process::Command::new("sh").args(["-c", write, "sh", &path, text, mode]).status().unwrap();
    assert!(status.success());
    path
}

/// A process that is dead may stay as a zombie of a parent that we do not know.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn dies(pid: &str) -> bool {
    let begin = Instant::now();
    while is_alive(pid) && begin.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    !is_alive(pid)
}

#[tokio::test]
async fn words_reach_the_program_as_they_are() {
    let print = "import sys; [print(repr(word)) for word in sys.argv]";
    let mut child = start(&["python3", "-c", print, "a\tb", "'c'", "$HOME", ""]).await;
    for expected in ["'-c'", r"'a\tb'", r#""'c'""#, "'$HOME'", "''"] {
        assert_eq!(line(&mut *child).await.unwrap(), expected);
    }
    assert_eq!(line(&mut *child).await, None);
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn folder_and_environment_are_inherited() {
    let mut child = start(&["sh", "-c", "pwd; echo \"$PATH\""]).await;
    assert_eq!(line(&mut *child).await.unwrap(), std::env::current_dir().unwrap().to_str().unwrap());
    assert_eq!(line(&mut *child).await.unwrap(), std::env::var("PATH").unwrap());
}

#[tokio::test]
async fn a_file_without_interpreter_line_is_run_by_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "app", "echo \"$0 $1\"\n", "755");
    let mut child = start(&[&file, "x"]).await;
    assert_eq!(line(&mut *child).await.unwrap(), format!("{file} x"));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let plain = script(folder.path(), "plain", "echo\n", "644");
    let astray = script(folder.path(), "astray", "#!/no/such/python\n", "755");
    let told = refusal(&["no-such-program", "x"]).await;
    assert!(
        told.starts_with("executableName `no-such-program x`: program `no-such-program` was not found in PATH"),
        "{told}"
    );
    let told = refusal(&["./no/such", "x"]).await;
    assert!(told.contains("program `./no/such` was not found from the working directory `"), "{told}");
    let told = refusal(&[&plain]).await;
    assert!(told.contains("cannot be run; make it executable or name its interpreter: permission denied"), "{told}");
    let told = refusal(&[&astray]).await;
    assert!(told.contains("cannot be run; make it executable or name its interpreter: No such file"), "{told}");
    assert!(launcher(&[&plain]).validate().is_err());
    assert!(launcher(&["sh"]).validate().is_ok());
}

#[tokio::test]
async fn every_line_end_is_understood() {
    let mut child = start(&["printf", r"a\nb\r\nc\rd\n\nlast"]).await;
    for expected in ["a", "b", "c", "d", "", "last"] {
        assert_eq!(line(&mut *child).await.unwrap(), expected);
    }
    assert_eq!(line(&mut *child).await, None);
}

#[tokio::test]
async fn large_lines_pass_both_ways_at_once() {
    let mut child = start(&["cat"]).await; // it prints while it is being written to
    let large = [&[b'x'; 13_000_000][..], b"\n"].concat();
    timeout(PATIENCE, child.send(&large)).await.expect("written in time").unwrap();
    let back = timeout(PATIENCE, child.receive()).await.expect("read in time").unwrap().unwrap();
    assert!(back.len() >= 1 << 20 && large.starts_with(&back), "the beginning of what it printed");
    child.send(b"small\n").await.unwrap();
    assert_eq!(line(&mut *child).await.unwrap(), "small");
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn closing_ends_the_input_and_waits_for_the_exit() {
    let mut child = start(&["sh", "-c", "read line; cat >/dev/null; echo noise; echo more >&2; exit 3"]).await;
    child.send(b"line\n").await.unwrap();
    let status = timeout(PATIENCE, child.close()).await.expect("an exit in time").unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(line(&mut *child).await, None);
    assert!(child.send(b"late\n").await.is_err());
}

#[tokio::test]
async fn a_child_ended_by_a_signal_is_closed_with_it() {
    let mut child = start(&["sh", "-c", "kill -9 $$"]).await;
    assert_eq!(line(&mut *child).await, None);
    assert_eq!(timeout(PATIENCE, child.close()).await.unwrap().unwrap().signal(), Some(9));
}

#[tokio::test]
async fn writing_to_a_dead_child_is_an_error_and_not_the_end() {
    let mut child = start(&["true"]).await;
    assert_eq!(line(&mut *child).await, None);
    let large = vec![b'x'; 1_000_000]; // more than a pipe holds
    let written = timeout(PATIENCE, child.send(&large)).await.expect("an answer in time");
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn a_pipe_held_open_by_a_grandchild_does_not_hold_up_the_close() {
    let mut child = start(&["sh", "-c", "sleep 600 & echo $!; exit 4"]).await;
    let grandchild = line(&mut *child).await.unwrap();
    assert_eq!(code(child).await, Some(4));
    assert!(is_alive(&grandchild));
    let killed = std::process::Command::new("kill").args(["-9", &grandchild]).status().unwrap();
    assert!(killed.success());
}

#[tokio::test]
async fn a_child_leads_its_own_process_group() {
    let mut child = start(&["python3", "-c", "import os; print(os.getpgid(0) == os.getpid())"]).await;
    assert_eq!(line(&mut *child).await.unwrap(), "True");
}

#[tokio::test]
async fn dropping_a_child_kills_it_with_its_own_children() {
    let mut child = start(&["sh", "-c", "sleep 600 & echo $!; echo $$; trap '' TERM; wait"]).await;
    let (grandchild, leader) = (line(&mut *child).await.unwrap(), line(&mut *child).await.unwrap());
    assert!(is_alive(&grandchild) && is_alive(&leader));
    drop(child);
    assert!(dies(&leader).await, "child {leader}");
    assert!(dies(&grandchild).await, "grandchild {grandchild}");
}

const NO_TIME: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_failed_child_may_end_in_its_own_way_when_it_is_told_to_terminate() {
    let mut child =
        start(&["sh", "-c", "trap 'echo last words >&2; exit 3' TERM; echo up; while :; do sleep 0.05; done"]).await;
    assert_eq!(line(&mut *child).await.unwrap(), "up");
    let death = timeout(PATIENCE, child.end(PATIENCE)).await.expect("an end in time");
    assert_eq!((death.status.unwrap().code(), death.last_words.last().unwrap().as_str()), (Some(3), "last words"));
}

#[tokio::test]
async fn a_failed_child_that_does_not_care_is_killed_with_its_own_children() {
    let mut child = start(&["sh", "-c", "trap '' TERM; sleep 600 & echo $!; echo $$; while :; do wait; done"]).await;
    let (grandchild, leader) = (line(&mut *child).await.unwrap(), line(&mut *child).await.unwrap());
    let death = timeout(PATIENCE, child.end(NO_TIME)).await.expect("an end in time");
    assert_eq!(death.status.unwrap().signal(), Some(9));
    assert!(dies(&leader).await && dies(&grandchild).await);
}

#[tokio::test]
async fn what_a_failed_child_leaves_behind_is_killed_and_its_status_is_its_own() {
    let mut child = start(&["sh", "-c", "trap '' TERM; sleep 600 & echo $!; exit 7"]).await;
    let grandchild = line(&mut *child).await.unwrap();
    let death = timeout(PATIENCE, child.end(NO_TIME)).await.expect("an end in time");
    assert_eq!(death.status.unwrap().code(), Some(7));
    assert!(dies(&grandchild).await);
}

#[tokio::test]
async fn a_child_that_ends_unasked_is_noticed_and_what_it_said_is_kept() {
    let mut child = start(&["sh", "-c", "read line; echo one; echo two; exit 4"]).await;
    assert!(timeout(NO_TIME, child.gone()).await.is_err(), "it is there");
    child.send(b"go\n").await.unwrap();
    timeout(PATIENCE, child.gone()).await.expect("noticed in time");
    assert_eq!((line(&mut *child).await.unwrap(), line(&mut *child).await.unwrap()), ("one".into(), "two".into()));
    assert_eq!(line(&mut *child).await, None);
    assert_eq!(child.end(NO_TIME).await.status.unwrap().code(), Some(4));
}

#[tokio::test]
async fn a_child_that_closes_its_output_or_leaves_it_to_another_is_gone() {
    let mut child = start(&["sh", "-c", "exec >&-; exec sleep 600"]).await;
    timeout(PATIENCE, child.gone()).await.expect("noticed in time");
    let mut child = start(&["sh", "-c", "sleep 600 & echo $!; exit 0"]).await;
    let grandchild = line(&mut *child).await.unwrap();
    timeout(PATIENCE, child.gone()).await.expect("noticed in time");
    assert!(dies(&grandchild).await);
}

#[tokio::test]
async fn the_end_of_a_child_is_noticed_though_another_process_holds_its_pipes() {
    for leave in ["sleep 600 & echo $!", "setsid sleep 600 & echo $!"] {
        let text = format!("read line; {leave}; echo last; exit 4");
        let mut child = start(&["sh", "-c", &text]).await;
        child.send(b"go\n").await.unwrap();
        let grandchild = line(&mut *child).await.unwrap();
        assert_eq!(line(&mut *child).await.unwrap(), "last", "what it said is kept");
        assert_eq!(line(&mut *child).await, None, "while an answer is awaited");
        let large = vec![b'x'; 1_000_000]; // more than a pipe holds, and nobody reads it
        let written = timeout(PATIENCE, child.send(&large)).await.expect("an answer in time");
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(timeout(PATIENCE, child.end(NO_TIME)).await.unwrap().status.unwrap().code(), Some(4));
        if leave.starts_with("setsid") {
            let killed = std::process::Command::new("kill").args(["-9", &grandchild]).status().unwrap();
            assert!(killed.success(), "one that left the group is none of ours");
        }
        assert!(dies(&grandchild).await);
    }
}

#[tokio::test]
async fn a_child_that_ends_in_the_middle_of_a_message_does_not_block_the_writer() {
    // the other process keeps the reading end of the pipe, and never reads
    let mut child = start(&["sh", "-c", "setsid sleep 600 <&0 & echo $!; sleep 0.3; exit 4"]).await;
    let grandchild = line(&mut *child).await.unwrap();
    let large = vec![b'x'; 1_000_000];
    let written = timeout(PATIENCE, child.send(&large)).await.expect("an answer in time");
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    std::process::Command::new("kill").args(["-9", &grandchild]).status().unwrap();
}

#[tokio::test]
async fn a_line_without_an_end_is_not_read_for_ever() {
    let mut child = start(&["sh", "-c", "head -c 100000000 /dev/zero; sleep 600"]).await;
    let error = timeout(PATIENCE, child.receive()).await.expect("an end in time").unwrap_err();
    assert!(error.to_string().contains("without a line end"), "{error}");
}

/// Runs `test` of this binary as a process of its own.
fn role(test: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, test);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn plays(test: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == test)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_dies_with_a_killed_daemon() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    if plays("a_child_dies_with_a_killed_daemon") {
        let mut child = start(&["sh", "-c", "echo child $$; exec sleep 600"]).await;
        println!("{}", line(&mut *child).await.unwrap());
        return sleep(PATIENCE).await; // to be killed
    }
    let mut daemon = role("a_child_dies_with_a_killed_daemon").spawn().unwrap();
    let mut printed = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let pid = loop {
        let line = timeout(PATIENCE, printed.next_line()).await.unwrap().unwrap().expect("the child's number");
        if let Some((_, pid)) = line.split_once("child ") {
            break pid.to_owned();
        }
    };
    assert!(is_alive(&pid));
    daemon.kill().await.unwrap();
    assert!(dies(&pid).await, "child {pid}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asking = runtime.handle().clone();
    let child = std::thread::spawn(move || asking.block_on(start(&["cat"]))).join().unwrap();
    let answered = runtime.block_on(async move {
        let mut child = child;
        sleep(Duration::from_millis(100)).await; // a signal for the ended thread would have come
        child.send(b"still here\n").await.unwrap();
        line(&mut *child).await
    });
    assert_eq!(answered.unwrap(), "still here");
}

#[tokio::test]
async fn standard_error_comes_out_bare_and_in_whole_lines() {
    if plays("standard_error_comes_out_bare_and_in_whole_lines") {
        let first = start(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo one one one one >&2; done"]).await;
        let second = start(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo two two two two >&2; done"]).await;
        let codes = tokio::join!(code(first), code(second));
        assert_eq!(codes, (Some(0), Some(0)));
        return;
    }
    let daemon = role("standard_error_comes_out_bare_and_in_whole_lines").spawn().unwrap();
    let output = timeout(PATIENCE, daemon.wait_with_output()).await.unwrap().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for text in ["one one one one", "two two two two"] {
        assert_eq!(told.lines().filter(|line| *line == text).count(), 9, "{told}");
    }
}
