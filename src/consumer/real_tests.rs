//! Children as real processes that end badly: one sentence, a fresh child, and nothing left behind.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::child::process::ProcessLauncher;
use crate::config::WhenChildFails;
use crate::consumer::testing::{Ground, Nursery, obedient};
use crate::coordinator::renew::chain;
use crate::coordinator::testing::{lease, row, shard};
use crate::lease::Lease;
use crate::types::Checkpoint;

/// Longer than any of these takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its first life goes wrong as told; all later ones checkpoint whatever they can.
const CHILD: &str = r#"
import json, os, signal, subprocess, sys, time
folder, fault = sys.argv[1:3]
def note(file, text):
    with open(f"{folder}/{file}", "a") as notes:
        notes.write(f"{text}\n")
def say(message):
    print(json.dumps(message), flush=True)
is_first = not os.path.exists(f"{folder}/processes")
note("processes", os.getpid())
for line in iter(sys.stdin.readline, ""):
    action = json.loads(line)["action"]
    if is_first and action == "processRecords":
        if fault == "endless line":
            while True:
                sys.stdout.write("x" * 100_000)
        if fault == "closed output":
            os.close(1)
            time.sleep(600)
        if fault == "grandchild":
            note("processes", subprocess.Popen(["sleep", "600"]).pid)
            os._exit(3)
    if action in ("processRecords", "shardEnded") and not (is_first and fault == "stays"):
        say({"action": "checkpoint"})
        sys.stdin.readline()
    say({"action": "status", "responseFor": action})
if is_first and fault == "stays":
    signal.signal(signal.SIGTERM, lambda *_: (note("told", "to terminate"), sys.exit(0)))
    time.sleep(600)
"#;

/// A shard of one record, which has ended, and children that fail in this way.
async fn run(folder: &Path, fault: &str, when_child_fails: WhenChildFails) -> (Outcome, Ground) {
    let mut ground = Ground::new();
    ground.processing.when_child_fails = when_child_fails;
    ground.processing.child_timeout = None;
    ground.put();
    ground.stream.split(&shard(0)).unwrap();
    let lease = Lease { checkpoint: Checkpoint::TrimHorizon, ..lease(0, Some("a")) };
    let held = ground.hold(&lease);
    let mut shared = Arc::into_inner(ground.shared(Nursery::new(obedient))).unwrap();
    let words = ["python3", "-c", CHILD, folder.to_str().unwrap(), fault];
    shared.launcher = Arc::new(ProcessLauncher::new(words.map(str::to_owned).to_vec()));
    let work = Box::pin(consume(Arc::new(shared), lease, held, Stops::default()));
    (timeout(PATIENCE, work).await.expect("an end in time"), ground)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn is_alive(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn all_die(folder: &Path) {
    for process in lines(&folder.join("processes")) {
        let dies = async {
            while is_alive(&process) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, dies).await.expect("nothing is left behind");
    }
}

async fn ends_in_one_sentence_and_a_fresh_child(fault: &str, sentence: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = run(folder.path(), fault, WhenChildFails::Exit).await;
    let Outcome::Failed(failure) = outcome else { panic!("{fault}: {outcome:?}") };
    let told = chain(&failure);
    assert!(told.starts_with("child of shard") && told.contains(sentence), "{told}");
    all_die(folder.path()).await;

    let folder = tempfile::tempdir().unwrap();
    let (outcome, ground) = run(folder.path(), fault, WhenChildFails::Restart).await;
    assert!(matches!(outcome, Outcome::Finished), "{fault}: {outcome:?}");
    assert!(row(&ground.table, 0).is_finished());
    all_die(folder.path()).await;
}

#[tokio::test]
async fn a_child_that_prints_without_a_line_end() {
    let sentence = "could not be read: it has written 64 MiB to standard output without a line end";
    ends_in_one_sentence_and_a_fresh_child("endless line", sentence).await;
}

#[tokio::test]
async fn a_child_that_closes_its_output_and_lives_on() {
    let sentence = "it ended its output before it answered `processRecords`";
    ends_in_one_sentence_and_a_fresh_child("closed output", sentence).await;
}

#[tokio::test]
async fn a_child_that_ends_while_its_own_child_keeps_the_pipes_open() {
    let sentence = "it ended its output before it answered `processRecords`; look for its last words on standard \
                    error; it ended with exit status: 3";
    ends_in_one_sentence_and_a_fresh_child("grandchild", sentence).await;
}

#[tokio::test]
async fn a_child_that_forgets_the_end_of_its_shard_and_does_not_go_is_told_to_terminate_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, ground) = run(folder.path(), "stays", WhenChildFails::Restart).await;
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
    assert_eq!(lines(&folder.path().join("told")), ["to terminate"]);
    assert_eq!(lines(&folder.path().join("processes")).len(), 2, "one child after the other");
    assert!(row(&ground.table, 0).is_finished());
    all_die(folder.path()).await;
}
