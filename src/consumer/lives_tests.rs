use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::consumer::ChildFailure;
use crate::consumer::testing::{Ground, Nursery, SILENCE, Say, obedient};
use crate::coordinator::testing::{F, beside, lease, load_row, row, shard, worker};
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{LeaseStore, StateStore};
use crate::types::Checkpoint;

#[path = "lives_poison_tests.rs"]
mod poison;

const SECOND: Duration = Duration::from_secs(1);
/// Longest wait of all lives of a shard that fails until the limit of five.
const ALL_WAITS: Duration = Duration::from_secs(1 + 2 + 4 + 8);

/// A consumer of shard 0 at work, from the beginning of the shard.
struct Scene {
    ground: Ground,
    nursery: Arc<Nursery>,
    held: HeldLease,
    stops: Stops,
    work: JoinSet<Outcome>,
}

fn begin(ground: Ground, nursery: Arc<Nursery>) -> Scene {
    begin_at(Checkpoint::TrimHorizon, ground, nursery)
}

fn begin_at(checkpoint: Checkpoint, ground: Ground, nursery: Arc<Nursery>) -> Scene {
    begin_with(Lease { checkpoint, ..lease(0, Some("a")) }, ground, nursery)
}

fn begin_with(lease: Lease, mut ground: Ground, nursery: Arc<Nursery>) -> Scene {
    let (held, stops, mut work) = (ground.hold(&lease), Stops::default(), JoinSet::new());
    let consumer = consume(ground.shared(nursery.clone()), lease, held.clone(), stops.clone());
    work.spawn(Box::pin(consumer));
    Scene { ground, nursery, held, stops, work }
}

fn scene(script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Scene {
    begin(Ground::new(), Nursery::new(script))
}

impl Scene {
    async fn outcome(&mut self) -> Outcome {
        self.work.join_next().await.unwrap().unwrap()
    }

    fn owner(&self) -> Option<crate::types::WorkerId> {
        row(&self.ground.table, 0).owner
    }
}

fn heard(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_is_followed_by_a_fresh_one_from_the_last_checkpoint() {
    let wrong = Say::Line(r#"{"action":"status","responseFor":"initialize"}"#);
    let ways = [vec![Say::End], vec![Say::Work(SECOND), Say::End], vec![wrong], vec![Say::Line("null")], SILENCE];
    for way in ways {
        let acts = way.clone();
        let mut scene = scene(move |life, action| match (life, action) {
            (0, "processRecords") => acts.clone(),
            _ => obedient(life, action),
        });
        let records = format!("processRecords {}", scene.ground.put());
        sleep(SECOND * 64).await; // the limit of an answer is 60 s
        let again = ["initialize", &records, "checkpoint stored"];
        assert_eq!(scene.nursery.heard(0), heard(&["initialize", &records, "ended by force"]), "{way:?}");
        assert_eq!(scene.nursery.heard(1), heard(&again), "{way:?}");
        assert_eq!((scene.held.standing(), scene.owner()), (Standing::Held, Some(worker("a"))), "{way:?}");
        scene.stops.gracefully.cancel();
        assert!(matches!(scene.outcome().await, Outcome::LeaseGone));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_before_its_first_checkpoint_loses_nothing_that_came_since_its_shard_began_at_latest() {
    let ground = Ground::new();
    ground.put();
    sleep(SECOND).await;
    let mut scene = begin_at(
        Checkpoint::Latest,
        ground,
        Nursery::new(|life, action| match (life, action) {
            (0, "processRecords") => vec![Say::End],
            _ => obedient(life, action),
        }),
    );
    sleep(SECOND).await;
    let first = scene.ground.put();
    sleep(SECOND / 2).await; // it dies of this one, and the next comes while nobody reads
    let second = scene.ground.put();
    sleep(SECOND * 10).await;
    assert_eq!(scene.nursery.heard(0)[1], format!("processRecords {first}"));
    assert_eq!(scene.nursery.heard(1)[1], format!("processRecords {first} {second}"));
    scene.stops.gracefully.cancel();
    scene.outcome().await;
}

/// Worker `a` reads a shard from LATEST and stops before there was a record; one comes; `a` begins again with the row as
/// the table has it, and one more comes. What the second child is given.
async fn read_after_a_restart(resume: bool) -> (Vec<String>, [String; 2]) {
    let silent = |_: usize, action: &str| match action {
        "shutdownRequested" => vec![Say::Checkpoint(None), Say::Answer],
        _ => vec![Say::Answer],
    };
    let mut ground = Ground::new();
    ground.processing.resume_latest = resume;
    let mut first = begin_at(Checkpoint::Latest, ground, Nursery::new(silent));
    sleep(SECOND).await;
    first.stops.gracefully.cancel();
    first.outcome().await;
    let left = row(&first.ground.table, 0);
    assert_eq!((&left.checkpoint, left.latest_since.is_some()), (&Checkpoint::Latest, resume), "there is no place yet");
    let between = first.ground.put();
    sleep(SECOND).await;
    let again = Lease { owner: Some(worker("a")), ..left };
    let second = begin_with(again, first.ground, Nursery::new(obedient));
    sleep(SECOND).await;
    let later = second.ground.put();
    sleep(SECOND * 2).await;
    assert_eq!(row(&second.ground.table, 0).latest_since, None, "the checkpoint takes its place");
    (second.nursery.heard(0), [between, later])
}

#[tokio::test(start_paused = true)]
async fn loss_window_latest_a_restart_before_the_first_checkpoint_begins_where_the_shard_began() {
    let (heard, numbers) = read_after_a_restart(true).await;
    let given: Vec<_> = heard.iter().filter_map(|told| told.strip_prefix("processRecords ")).collect();
    assert_eq!(given, numbers);
}

#[tokio::test(start_paused = true)]
async fn a_restart_before_the_first_checkpoint_begins_at_what_is_newest_then_if_that_is_asked_for() {
    let (heard, [_, later]) = read_after_a_restart(false).await;
    assert_eq!(heard[1], format!("processRecords {later}"));
}

#[tokio::test(start_paused = true)]
async fn no_record_of_latest_is_delivered_before_its_moment_is_in_the_lease() {
    let scene = begin_at(Checkpoint::Latest, Ground::new(), Nursery::new(|_, _| vec![Say::Answer]));
    scene.ground.table.faults().next(Operation::NoteLatest, 2, Fault::Throttled);
    scene.ground.table.faults().next(Operation::NoteLatest, 1, Fault::Slow { before: SECOND * 2, after: SECOND });
    sleep(SECOND).await;
    assert_eq!(row(&scene.ground.table, 0).latest_since, None, "two tries failed or are under way");
    let number = scene.ground.put();
    while row(&scene.ground.table, 0).latest_since.is_none() {
        assert_eq!(scene.nursery.heard(0), heard(&["initialize"]));
        sleep(SECOND / 10).await;
    }
    sleep(SECOND * 5).await;
    assert_eq!(scene.nursery.heard(0), heard(&["initialize", &format!("processRecords {number}")]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_while_it_waits_is_noticed_at_once() {
    let scene = scene(|life, action| match (life, action) {
        (0, "processRecords") => vec![Say::Checkpoint(None), Say::Answer, Say::Work(SECOND * 30), Say::Vanish],
        _ => obedient(life, action),
    });
    scene.ground.put();
    sleep(SECOND * 30).await;
    assert_eq!(scene.nursery.births(), 1);
    sleep(SECOND * 2).await;
    assert_eq!(scene.nursery.heard(1), heard(&["initialize"]), "nothing comes twice");
}

#[tokio::test(start_paused = true)]
async fn in_strict_mode_a_child_that_dies_while_it_waits_is_noticed_at_the_next_message() {
    let mut ground = Ground::new();
    ground.compatibility = Compatibility::Strict;
    ground.processing.when_child_fails = WhenChildFails::Exit;
    let script = |life: usize, action: &str| match action {
        "processRecords" => vec![Say::Checkpoint(None), Say::Answer, Say::Vanish],
        _ => obedient(life, action),
    };
    let mut scene = begin(ground, Nursery::new(script));
    scene.ground.put();
    sleep(SECOND * 600).await;
    assert_eq!((scene.held.standing(), scene.work.len()), (Standing::Held, 1));
    assert!(scene.work.try_join_next().is_none(), "nobody has noticed");
}

#[tokio::test(start_paused = true)]
async fn after_the_limit_of_failures_in_a_row_everything_ends() {
    let mut scene = scene(|life, action| if action == "initialize" { obedient(life, action) } else { vec![Say::End] });
    scene.ground.put();
    let begun = Instant::now();
    let outcome = scene.outcome().await;
    let Outcome::Failed(failure) = &outcome else { panic!("{outcome:?}") };
    let told = failure.to_string();
    for part in ["shardId-000000000000", "failed 5 times", "multilangd.childRestartLimit", "oh no", "exit status: 0"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(matches!(failure, Failure::GaveUp { failures, .. } if failures.get() == 5));
    assert_eq!((scene.nursery.births(), scene.owner()), (5, None));
    assert!((ALL_WAITS / 2..ALL_WAITS + SECOND * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_often_and_gets_on_is_started_again_for_ever() {
    let batches = Arc::new(AtomicU32::new(0)); // every other batch is somebody's last
    let scene = scene(move |life, action| match action {
        "processRecords" if batches.fetch_add(1, Ordering::Relaxed) % 2 == 1 => vec![Say::End],
        _ => obedient(life, action),
    });
    let numbers: Vec<String> = (0..100).map(|_| scene.ground.put()).collect(); // ten batches
    sleep(SECOND * 60).await;
    assert!(scene.nursery.births() >= 10, "{}", scene.nursery.births());
    assert_eq!(scene.held.last_checkpoint().sequence_text(), numbers[99]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_the_system_refuses_is_asked_for_again_until_the_limit() {
    for (refusals, is_enough) in [(4, false), (5, true)] {
        let nursery = Nursery::new(obedient);
        nursery.refusals.store(refusals, Ordering::Relaxed);
        let mut scene = begin(Ground::new(), nursery);
        sleep(ALL_WAITS + SECOND).await;
        assert_eq!(scene.nursery.births(), usize::from(!is_enough));
        scene.stops.gracefully.cancel();
        let outcome = scene.outcome().await;
        let gave_up = matches!(&outcome, Outcome::Failed(Failure::GaveUp { last, .. })
            if last.contains("the system could not start a process"));
        assert_eq!(gave_up, is_enough, "{outcome:?}");
        assert_eq!(scene.owner(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_fresh_child_keeps_the_lease_and_leaves_at_once_when_called() {
    for call in ["stop", "now", "handoff", "lost"] {
        let mut ground = Ground::new();
        ground.processing.child_restart_limit = std::num::NonZeroU32::new(100).unwrap();
        let mut scene = begin(ground, Nursery::new(|_, _| vec![Say::End]));
        sleep(SECOND * 300).await;
        assert_eq!(scene.held.standing(), Standing::Held, "{call}");
        let (births, begun) = (scene.nursery.births(), Instant::now());
        let table = &scene.ground.table;
        match call {
            "stop" => scene.stops.gracefully.cancel(),
            "now" => scene.stops.now.cancel(),
            "handoff" => {
                beside(table).put_worker(&load_row("b")).await.unwrap();
                drop(beside(table).begin_handoff(&row(table, 0), &worker("b")).await.unwrap());
            }
            _ => drop(beside(table).assign(&row(table, 0), &worker("b")).await.unwrap()),
        }
        let outcome = scene.outcome().await;
        assert!(matches!(outcome, Outcome::LeaseGone), "{call} {outcome:?}");
        let limit = if matches!(call, "stop" | "now") { Duration::ZERO } else { F }; // renewals bring the news
        assert!(begun.elapsed() <= limit, "{call} {:?}", begun.elapsed());
        assert!(scene.nursery.births() <= births + 1, "{call}");
        let owner = if matches!(call, "stop" | "now") { None } else { Some(worker("b")) };
        assert_eq!((scene.owner(), row(&scene.ground.table, 0).checkpoint_owner), (owner, None), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_checkpointed_keeps_the_lease_and_is_not_final() {
    let mut scene = scene(|life, action| match (life, action) {
        (0, "shardEnded") => vec![Say::Answer],
        _ => obedient(life, action),
    });
    scene.nursery.stays.store(true, Ordering::Relaxed); // and does not end at the end of its input
    scene.ground.put();
    scene.ground.stream.split(&shard(0)).unwrap();
    sleep(SECOND).await;
    scene.nursery.stays.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    assert!(matches!(scene.outcome().await, Outcome::Finished));
    assert_eq!(scene.nursery.heard(0)[3..], heard(&["shardEnded", "end of input", "ended by force"]));
    // a fresh child begins behind what was checkpointed, and may do better
    assert_eq!(scene.nursery.heard(1), heard(&["initialize", "shardEnded", "checkpoint stored", "end of input"]));
    assert!(row(&scene.ground.table, 0).is_finished() && scene.owner() == Some(worker("a")));
    assert!(begun.elapsed() < SECOND * 10, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_never_checkpointed_reaches_the_limit_and_its_cure_is_told() {
    let mut scene =
        scene(|life, action| if action == "shardEnded" { vec![Say::Answer] } else { obedient(life, action) });
    scene.ground.put();
    scene.ground.stream.split(&shard(0)).unwrap();
    let outcome = scene.outcome().await;
    let Outcome::Failed(failure) = &outcome else { panic!("{outcome:?}") };
    let told = failure.to_string();
    assert!(told.contains("failed 5 times") && told.contains("must checkpoint in shardEnded"), "{told}");
    assert_eq!((scene.nursery.births(), scene.owner()), (5, None), "{told}");
    assert!(!row(&scene.ground.table, 0).is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_after_it_has_checkpointed_the_end_needs_no_successor() {
    let mut scene = scene(|life, action| match action {
        "shardEnded" => vec![Say::Checkpoint(None), Say::Work(SECOND), Say::End],
        _ => obedient(life, action),
    });
    scene.ground.put();
    scene.ground.stream.split(&shard(0)).unwrap();
    assert!(matches!(scene.outcome().await, Outcome::Finished));
    assert_eq!(scene.nursery.births(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_a_failure_ends_all_there_is_one_child_only() {
    for gone in [false, true] {
        let mut ground = Ground::new();
        ground.processing.when_child_fails = WhenChildFails::Exit;
        let script = move |life: usize, action: &str| match action {
            "processRecords" if gone => vec![Say::Checkpoint(None), Say::Answer, Say::Work(SECOND), Say::Vanish],
            "processRecords" => vec![Say::End],
            _ => obedient(life, action),
        };
        let mut scene = begin(ground, Nursery::new(script));
        scene.ground.put();
        let outcome = scene.outcome().await;
        let was_gone = matches!(outcome, Outcome::Failed(Failure::Child { failure: ChildFailure::Gone, .. }));
        assert!(matches!(outcome, Outcome::Failed(Failure::Child { .. })) && was_gone == gone, "{outcome:?}");
        assert_eq!((scene.nursery.births(), scene.owner()), (1, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_when_its_lease_is_lost_has_no_successor() {
    let mut scene = scene(|life, action| match action {
        "processRecords" => vec![Say::Work(F * 2), Say::End],
        _ => obedient(life, action),
    });
    scene.ground.put();
    sleep(SECOND).await;
    scene.ground.table.faults().cut(SECOND * 600);
    assert!(matches!(scene.outcome().await, Outcome::LeaseGone));
    assert_eq!(scene.nursery.births(), 1);
}
