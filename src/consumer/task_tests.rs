use tokio::time::{Instant, sleep};

use super::*;
use crate::config::{ProtocolLevel, WhenChildFails};
use crate::consumer::testing::{Ground, Nursery, SILENCE, Say, crowd, obedient};
use crate::consumer::{Stops, consume};
use crate::coordinator::renew::keeper::Keeper;
use crate::coordinator::testing::{F, at, beside, lease, load_row, row, shard, worker};
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{LeaseStore, StateStore};
use crate::retrieval::{Batch, RecordReader, RecordSource};
use crate::types::ShardId;
use async_trait::async_trait;

const SECOND: Duration = Duration::from_secs(1);

/// A consumer of shard 0 at work, from the beginning of the shard.
struct Scene {
    ground: Ground,
    nursery: Arc<Nursery>,
    stops: Stops,
    work: JoinSet<Outcome>,
}

fn begin(ground: Ground, lease: &Lease, script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Scene {
    let mut ground = ground;
    let held = ground.hold(lease);
    let (nursery, stops) = (Nursery::new(script), Stops::default());
    let mut work = JoinSet::new();
    work.spawn(Box::pin(consume(ground.shared(nursery.clone()), lease.clone(), held, stops.clone())));
    Scene { ground, nursery, stops, work }
}

fn fresh() -> Lease {
    Lease { checkpoint: Checkpoint::TrimHorizon, ..lease(0, Some("a")) }
}

/// Where a child that fails stops the daemon.
fn unforgiving() -> Ground {
    let mut ground = Ground::new();
    ground.processing.when_child_fails = WhenChildFails::Exit;
    ground
}

fn scene(script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Scene {
    begin(Ground::new(), &fresh(), script)
}

impl Scene {
    async fn outcome(mut self) -> (Outcome, Vec<String>, Ground) {
        let outcome = self.work.join_next().await.unwrap().unwrap();
        (outcome, self.nursery.heard(0), self.ground)
    }

    /// Makes the consumer leave.
    async fn call(&self, call: Call) {
        let table = &self.ground.table;
        match call {
            Call::Stop => self.stops.gracefully.cancel(),
            Call::Lost => drop(beside(table).assign(&row(table, 0), &worker("b")).await.unwrap()),
            Call::Wanted => {
                beside(table).put_worker(&load_row("b")).await.unwrap();
                drop(beside(table).begin_handoff(&row(table, 0), &worker("b")).await.unwrap());
            }
            Call::Unclear => panic!("that is the last answer's doing"),
        }
    }
}

const CALLS: [Call; 3] = [Call::Stop, Call::Wanted, Call::Lost];

fn heard(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ends_is_told_as_its_last_message() {
    let scene = scene(obedient);
    let number = scene.ground.put();
    scene.ground.stream.split(&shard(0)).unwrap();
    let (outcome, told, ground) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::Finished));
    let records = format!("processRecords {number}");
    let expected = ["initialize", &records, "checkpoint stored", "shardEnded", "checkpoint stored", "end of input"];
    assert_eq!(told, heard(&expected));
    let row = row(&ground.table, 0);
    assert!(row.is_finished() && row.children.len() == 2 && row.owner == Some(worker("a")), "the lease stays ours");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_great_many_user_records_is_several_messages() {
    for (compatibility, messages) in [(Compatibility::Safe, 2), (Compatibility::Strict, 1)] {
        let ground = Ground { compatibility, ..Ground::new() };
        for _ in 0..10 {
            ground.stream.put(0, "key", &crowd(4_000)); // ten Kinesis records are one answer
        }
        let scene = begin(ground, &fresh(), obedient);
        scene.ground.stream.split(&shard(0)).unwrap();
        let (outcome, told, ground) = scene.outcome().await;
        assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
        let batches = told.iter().filter(|line| line.starts_with("processRecords"));
        assert_eq!(batches.count(), messages, "{compatibility:?}");
        assert!(row(&ground.table, 0).is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_of_leaving_has_its_messages() {
    for call in CALLS {
        let scene = scene(obedient);
        let records = format!("processRecords {}", scene.ground.put());
        sleep(SECOND).await;
        scene.call(call).await;
        let (outcome, told, ground) = scene.outcome().await;
        assert!(matches!(outcome, Outcome::LeaseGone), "{call:?} {outcome:?}");
        let mut expected = vec!["initialize", &records, "checkpoint stored"];
        if call != Call::Lost {
            expected.extend(["shutdownRequested", "checkpoint stored"]);
        }
        expected.extend(["leaseLost", "end of input"]);
        assert_eq!(told, heard(&expected), "{call:?}");
        let owner = if call == Call::Stop { None } else { Some(worker("b")) };
        assert_eq!((row(&ground.table, 0).owner, row(&ground.table, 0).checkpoint_owner), (owner, None), "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_child_finishes_its_batch_before_it_hears_of_leaving() {
    for call in CALLS {
        let scene = scene(|life, action| match action {
            "processRecords" => vec![Say::Work(SECOND * 5), Say::Checkpoint(None), Say::Answer],
            _ => obedient(life, action),
        });
        scene.ground.put();
        sleep(SECOND).await;
        scene.call(call).await;
        let (_, told, _) = scene.outcome().await;
        let stored = if call == Call::Lost { "checkpoint ShutdownException" } else { "checkpoint stored" };
        assert_eq!(told[2], stored, "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_comes_after_the_lease_has_expired_is_not_delivered() {
    let scene = scene(|life, action| match action {
        "processRecords" => vec![Say::Work(F + SECOND), Say::Answer],
        _ => obedient(life, action),
    });
    scene.ground.put();
    sleep(SECOND).await;
    scene.ground.put();
    scene.ground.table.faults().cut(SECOND * 60);
    let (outcome, told, _) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::LeaseGone));
    assert_eq!(told[2..], heard(&["leaseLost", "end of input"]));
}

#[tokio::test(start_paused = true)]
async fn no_child_begins_on_a_lease_that_expired_while_the_process_stood_still() {
    let ground = Ground::new();
    ground.table.put_lease(&fresh());
    let (store, sent) = (Arc::new(ground.table.clone()), Instant::now());
    sleep(F).await;
    let (_keeper_has_not_woken_yet, held) = Keeper::new(store, worker("a"), F, fresh(), sent);
    let nursery = Nursery::new(obedient);
    let outcome = consume(ground.shared(nursery.clone()), fresh(), held, Stops::default()).await;
    assert!(matches!(outcome, Outcome::LeaseGone));
    assert_eq!(nursery.births(), 0);
}

/// A reader whose subscription goes to another worker after a second.
struct Displaced(Arc<Notify>);

#[async_trait]
impl RecordReader for Displaced {
    fn rivals(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.0))
    }

    async fn next(&mut self) -> Batch {
        sleep(SECOND).await;
        self.0.notify_one();
        std::future::pending().await
    }
}

impl RecordSource for Displaced {
    fn open_again(&self, _: &ShardId, _: &Checkpoint, _: Since) -> Box<dyn RecordReader> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_subscription_with_its_lease_leaves_before_it_may_subscribe_again() {
    for is_stolen in [true, false] {
        let (mut ground, nursery) = (Ground::new(), Nursery::new(obedient));
        let held = ground.hold(&fresh());
        let mut shared = Arc::into_inner(ground.shared(nursery.clone())).unwrap();
        shared.source = Arc::new(Displaced(Arc::default()));
        if is_stolen {
            beside(&ground.table).assign(&row(&ground.table, 0), &worker("b")).await.unwrap();
        }
        let work = consume(Arc::new(shared), fresh(), held, Stops::default());
        let ended = timeout(SECOND * 2, Box::pin(work)).await;
        assert_eq!(ended.is_ok(), is_stolen, "a displaced subscription alone ends nothing");
        assert!(!is_stolen || nursery.heard(0).contains(&"leaseLost".to_owned()), "{:?}", nursery.heard(0));
    }
}

#[tokio::test(start_paused = true)]
async fn in_strict_mode_the_loss_of_a_lease_goes_unnoticed_for_a_second() {
    let ground = Ground { compatibility: Compatibility::Strict, ..Ground::new() };
    let scene = begin(ground, &fresh(), |life, action| match action {
        "processRecords" => vec![Say::Work(F + SECOND), Say::Answer],
        _ => obedient(life, action),
    });
    scene.ground.put();
    sleep(SECOND).await;
    scene.ground.put();
    scene.ground.table.faults().cut(SECOND * 60);
    let (outcome, told, _) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::LeaseGone));
    assert!(told[2].starts_with("processRecords"), "{told:?}");
    assert_eq!(told[3..], heard(&["leaseLost", "end of input"]), "and then no more");
}

#[tokio::test(start_paused = true)]
async fn where_a_failure_ends_all_it_fails_the_consumer_and_the_lease_is_given_back() {
    for failing in ["initialize", "processRecords", "shardEnded"] {
        let script = move |life, action: &str| if action == failing { vec![Say::End] } else { obedient(life, action) };
        let scene = begin(unforgiving(), &fresh(), script);
        scene.ground.put();
        sleep(SECOND).await;
        scene.ground.stream.split(&shard(0)).unwrap();
        let (outcome, told, ground) = scene.outcome().await;
        assert!(matches!(outcome, Outcome::Failed(Failure::Child { .. })), "{failing} {outcome:?}");
        assert_eq!(told.last().unwrap(), "ended by force", "{failing}");
        assert_eq!(row(&ground.table, 0).owner, None, "{failing}");
        assert!(!row(&ground.table, 0).is_finished(), "{failing}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_fails_while_it_leaves_is_a_failure_only_where_that_ends_all_that_goes_on() {
    for ground in [Ground::new, unforgiving] {
        for failing in ["shutdownRequested", "leaseLost"] {
            for call in CALLS {
                let scene = begin(ground(), &fresh(), move |life, action| {
                    let dead = action == failing || (failing == "shutdownRequested" && action == "leaseLost");
                    if dead { vec![Say::End] } else { obedient(life, action) }
                });
                sleep(SECOND).await;
                scene.call(call).await;
                let (outcome, told, ground) = scene.outcome().await;
                let ends_all = ground.processing.when_child_fails == WhenChildFails::Exit && call != Call::Stop;
                let has_failed = matches!(outcome, Outcome::Failed(Failure::Child { .. }));
                assert_eq!(has_failed, ends_all, "{failing} {call:?} {outcome:?}");
                assert_eq!(told.last().unwrap(), "ended by force", "{failing} {call:?}");
                assert_ne!(row(&ground.table, 0).actual_owner(), Some(&worker("a")), "{failing} {call:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_says_finished_needs_no_child() {
    let done = Lease { checkpoint: Checkpoint::ShardEnd, ..lease(0, Some("a")) };
    let scene = begin(Ground::new(), &done, obedient);
    let nursery = scene.nursery.clone();
    let (outcome, _, _) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::Finished));
    assert_eq!(nursery.births(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_child_is_started_before_the_parents_leases_say_finished() {
    let mut child = fresh();
    child.parents.insert(shard(7));
    let ground = Ground::new();
    ground.table.put_lease(&lease(7, Some("b")));
    let scene = begin(ground, &child, obedient);
    sleep(SECOND * 120).await;
    assert_eq!(scene.nursery.births(), 0);
    scene.ground.table.put_lease(&Lease { checkpoint: Checkpoint::ShardEnd, ..lease(7, Some("b")) });
    sleep(SECOND * 11).await;
    assert_eq!(scene.nursery.heard(0), heard(&["initialize"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_parents_lease_was_made_does_not_let_a_child_begin() {
    let mut child = fresh();
    child.parents.insert(shard(7));
    let ground = Ground::new();
    ground.table.put_lease(&lease(7, Some("b")));
    ground.table.faults().next(Operation::Get, 1, Fault::Stale(SECOND));
    let scene = begin(ground, &child, obedient);
    sleep(SECOND * 5).await;
    assert_eq!(scene.nursery.births(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_parents_leaves_at_once_and_without_a_child() {
    for call in CALLS {
        let mut child = fresh();
        child.parents.insert(shard(7));
        let ground = Ground::new();
        ground.table.put_lease(&lease(7, Some("b")));
        let scene = begin(ground, &child, obedient);
        let nursery = scene.nursery.clone();
        sleep(SECOND * 20).await;
        scene.call(call).await;
        let begin = Instant::now();
        let (outcome, _, ground) = scene.outcome().await;
        assert!(matches!(outcome, Outcome::LeaseGone) && begin.elapsed() <= F / 3, "{call:?}");
        assert_eq!(nursery.births(), 0);
        assert_ne!(row(&ground.table, 0).actual_owner(), Some(&worker("a")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_a_consumer_that_waits_for_the_other_parent_of_a_merge() {
    let ground = Ground::new();
    let [left, right] = ground.stream.split(&shard(0)).unwrap();
    ground.stream.merge(&left, &right).unwrap();
    let mut half = fresh();
    half.shard = left;
    let scene = begin(ground, &half, obedient);
    sleep(SECOND * 30).await;
    scene.stops.gracefully.cancel();
    let (outcome, told, _) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::LeaseGone));
    assert_eq!(told, heard(&["initialize", "shutdownRequested", "checkpoint stored", "leaseLost", "end of input"]));
}

#[tokio::test(start_paused = true)]
async fn when_the_grace_is_over_a_busy_child_sees_the_end_of_its_input() {
    let scene = scene(|life, action| if action == "processRecords" { SILENCE } else { obedient(life, action) });
    scene.ground.put();
    sleep(SECOND).await;
    scene.stops.gracefully.cancel();
    sleep(SECOND * 5).await;
    scene.stops.now.cancel();
    let begin = Instant::now();
    let (outcome, told, ground) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::LeaseGone) && begin.elapsed() <= SECOND);
    assert_eq!((told.len(), told[2].as_str()), (3, "end of input"));
    assert_eq!(row(&ground.table, 0).owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_end_holds_its_shard_for_a_minute_at_most() {
    for call in CALLS {
        let scene = scene(obedient);
        scene.nursery.stays.store(true, std::sync::atomic::Ordering::Relaxed);
        sleep(SECOND).await;
        scene.call(call).await;
        let begin = Instant::now();
        let (outcome, told, _) = scene.outcome().await;
        assert!(matches!(outcome, Outcome::LeaseGone), "{call:?}");
        assert_eq!(told[told.len() - 2..], heard(&["end of input", "ended by force"]), "{call:?}");
        assert!((CLOSED_LIMIT..CLOSED_LIMIT + F).contains(&begin.elapsed()), "{call:?} {:?}", begin.elapsed());
    }
    let mut scene = begin(Ground { compatibility: Compatibility::Strict, ..Ground::new() }, &fresh(), obedient);
    scene.nursery.stays.store(true, std::sync::atomic::Ordering::Relaxed);
    sleep(SECOND).await;
    scene.call(Call::Stop).await;
    sleep(CLOSED_LIMIT * 10).await;
    assert!(scene.work.try_join_next().is_none(), "in strict mode for ever");
}

#[tokio::test(start_paused = true)]
async fn records_at_or_before_the_checkpoint_are_left_out() {
    let ground = Ground::new();
    let numbers: Vec<u32> = (0..3).map(|_| ground.put().parse().unwrap()).collect();
    let lease = Lease { checkpoint: at(numbers[1]), ..lease(0, Some("a")) };
    let scene = begin(ground, &lease, obedient);
    sleep(SECOND).await;
    assert_eq!(scene.nursery.heard(0)[1], format!("processRecords {}", numbers[2]));
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_failover_time_costs_nothing() {
    let scene = scene(obedient);
    scene.ground.put();
    scene.ground.table.faults().next(Operation::Checkpoint, 2, Fault::LostRequest);
    sleep(SECOND).await;
    scene.ground.table.faults().cut(SECOND);
    scene.ground.stream.split(&shard(0)).unwrap();
    sleep(SECOND * 5).await;
    scene.ground.table.faults().heal();
    let (outcome, told, _) = scene.outcome().await;
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?} {told:?}");
    assert!(!told.iter().any(|line| line.contains("Exception")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_ends_for_a_child_that_cannot_checkpoint_there_if_it_is_asked_for_and_nothing_is_left() {
    for (is_behind, is_asked_for, ends) in [(false, true, true), (false, false, false), (true, true, false)] {
        let script = move |life: usize, action: &str| match action {
            "processRecords" if is_behind => vec![Say::Answer],
            "shardEnded" => vec![Say::Answer],
            _ => obedient(life, action),
        };
        let mut ground = Ground::new();
        ground.processing.checkpoint_at_shard_end = is_asked_for;
        ground.put();
        ground.stream.split(&shard(0)).unwrap();
        let (outcome, _, ground) = begin(ground, &fresh(), script).outcome().await;
        assert_eq!(matches!(outcome, Outcome::Finished), ends, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Failed(Failure::GaveUp { .. })), !ends, "{outcome:?}");
        assert_eq!(row(&ground.table, 0).is_finished(), ends);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_of_level_1_that_ends_when_asked_to_stop_stops_nobody() {
    for knows_it in [true, false] {
        for call in CALLS {
            let script = move |life: usize, action: &str| match action {
                "shutdownRequested" if knows_it => vec![Say::Checkpoint(None), Say::Answer, Say::End],
                "shutdownRequested" => vec![Say::Work(SECOND), Say::End],
                "shutdown" => vec![Say::End],
                _ => obedient(life, action),
            };
            let mut ground = unforgiving();
            ground.processing.protocol_level = ProtocolLevel::One;
            let scene = begin(ground, &fresh(), script);
            scene.ground.put();
            sleep(SECOND).await;
            scene.call(call).await;
            let (outcome, _, _) = scene.outcome().await;
            let was_asked = call != Call::Lost;
            assert_eq!(matches!(outcome, Outcome::LeaseGone), was_asked, "{knows_it} {call:?} {outcome:?}");
        }
    }
}
