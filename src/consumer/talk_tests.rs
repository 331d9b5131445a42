use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::*;
use crate::consumer::testing::{Ground, Nursery, SILENCE, Say, obedient};
use crate::coordinator::testing::{F, at, beside, lease, row, shard, worker};
use crate::lease::LeaseStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::progress::Unwatched;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(30);

/// A conversation about shard 0, whose lease says 5, with records up to 9 delivered.
struct Scene {
    ground: Ground,
    nursery: Arc<Nursery>,
    talk: Conversation,
}

fn scene(script: impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static) -> Scene {
    let mut ground = Ground::new();
    let held = ground.hold(&lease(0, Some("a")));
    let nursery = Nursery::new(script);
    let mut talk = Conversation::new(nursery.child(), held, at(5), Some(LIMIT));
    let Checkpoint::At(place) = at(9) else { panic!("9 is a place") };
    talk.checkpointer().delivered(place);
    Scene { ground, nursery, talk }
}

impl Scene {
    async fn tell(&mut self, action: Action) -> Result<(), ChildFailure> {
        let line = format!(r#"{{"action":"{action}"}}"#);
        self.talk.tell(action, line.as_bytes(), &Unwatched).await
    }

    /// What the child heard after the message itself.
    fn replies(&self) -> String {
        self.nursery.heard(0)[1..].join(", ")
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_are_answered_in_turn_before_the_message_is_done() {
    let mut scene =
        scene(|_, _| vec![Say::Checkpoint(Some(7)), Say::Checkpoint(Some(6)), Say::Checkpoint(Some(10)), Say::Answer]);
    scene.tell(Action::ProcessRecords).await.unwrap();
    let refused = "checkpoint IllegalArgumentException";
    assert_eq!(scene.replies(), format!("checkpoint stored, {refused}, {refused}"));
    assert_eq!((row(&scene.ground.table, 0).checkpoint, scene.talk.checkpointer().last()), (at(7), &at(7)));
}

#[tokio::test(start_paused = true)]
async fn no_checkpoint_is_taken_before_the_first_batch_nor_after_the_lease_is_lost() {
    for action in [Action::Initialize, Action::LeaseLost] {
        let mut scene = scene(|_, _| vec![Say::Checkpoint(None), Say::Answer]);
        scene.tell(action).await.unwrap();
        assert_eq!(scene.replies(), "checkpoint InvalidStateException");
        assert_eq!(row(&scene.ground.table, 0).checkpoint, at(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_not_stored_is_told_in_the_words_of_java() {
    let table =
        [(Fault::Throttled, "ThrottlingException"), (Fault::LostRequest, "KinesisClientLibDependencyException")];
    for (fault, word) in table {
        let mut scene = scene(obedient);
        scene.ground.table.faults().next(Operation::Checkpoint, 4, fault);
        scene.tell(Action::ProcessRecords).await.unwrap();
        assert_eq!(scene.replies(), format!("checkpoint {word}"));
    }
    let mut scene = scene(obedient);
    let table = &scene.ground.table;
    beside(table).assign(&row(table, 0), &worker("b")).await.unwrap();
    scene.tell(Action::ProcessRecords).await.unwrap();
    assert_eq!(scene.replies(), "checkpoint ShutdownException");
}

/// Counts what is logged at warn or above.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(usize::from(*event.metadata().level() <= Level::WARN), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_checkpoints_each_record_of_a_batch_in_vain_does_not_fill_the_log() {
    let each = |place| [vec![Say::Checkpoint(Some(place)); 500], vec![Say::Answer]].concat();
    for (place, most) in [(9, 1), (10, 20)] {
        let warnings = Warnings::default();
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
        let mut scene = scene(move |_, _| each(place));
        scene.ground.table.faults().next(Operation::Checkpoint, 10_000, Fault::LostRequest);
        scene.tell(Action::ProcessRecords).await.unwrap();
        let told = warnings.0.load(Ordering::Relaxed);
        assert!((1..=most).contains(&told), "{told} lines about {place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_unknown_fate_that_was_stored_is_not_undone_by_an_older_one() {
    let mut scene = scene(|_, _| vec![Say::Checkpoint(Some(9)), Say::Checkpoint(Some(7)), Say::Answer]);
    let faults = scene.ground.table.faults().clone();
    faults.next(Operation::Checkpoint, 1, Fault::LostReply);
    faults.next(Operation::Checkpoint, 3, Fault::LostRequest);
    scene.tell(Action::ProcessRecords).await.unwrap();
    let replies = "checkpoint KinesisClientLibDependencyException, checkpoint IllegalArgumentException";
    assert_eq!((scene.replies().as_str(), row(&scene.ground.table, 0).checkpoint), (replies, at(9)));
    assert_eq!(*scene.talk.checkpointer().last(), at(9));
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_checkpoint_came_through_unseen_is_known_once_the_lease_is_renewed() {
    let mut scene = scene(|_, _| vec![Say::Checkpoint(None), Say::Work(F), Say::Checkpoint(None), Say::Answer]);
    let faults = scene.ground.table.faults().clone();
    faults.next(Operation::Checkpoint, 1, Fault::LostReply);
    faults.next(Operation::Checkpoint, 3, Fault::LostRequest);
    scene.talk.checkpointer().shard_ended();
    scene.tell(Action::ShardEnded).await.unwrap();
    assert_eq!(scene.replies(), "checkpoint KinesisClientLibDependencyException, checkpoint stored");
    assert_eq!(*scene.talk.checkpointer().last(), Checkpoint::ShardEnd);
}

#[tokio::test(start_paused = true)]
async fn what_a_child_may_not_say_ends_the_conversation() {
    let told = async |say: Say| {
        let mut scene = scene(move |_, _| vec![say.clone()]);
        scene.tell(Action::ProcessRecords).await.unwrap_err()
    };
    let wrong = told(Say::Line(r#"{"action":"status","responseFor":"initialize"}"#)).await;
    assert!(matches!(wrong, ChildFailure::WrongAnswer { answered: Some(answered), .. } if answered == "initialize"));
    let endless = format!(r#"{{"action":"status","responseFor":"{}"}}"#, "x".repeat(1 << 20));
    assert!(told(Say::Line(endless.leak())).await.to_string().len() < 700);
    assert!(matches!(told(Say::Line("null")).await, ChildFailure::Null { .. }));
    assert!(matches!(told(Say::End).await, ChildFailure::Write { message: "processRecords", .. }));
    let mut scene = scene(|_, _| vec![Say::Work(SECOND), Say::End]);
    let ended = scene.tell(Action::ProcessRecords).await.unwrap_err();
    assert!(matches!(ended, ChildFailure::Ended { awaited: Action::ProcessRecords }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_child_has_its_time_and_no_more() {
    let mut scene = scene(|_, _| SILENCE);
    let begin = Instant::now();
    let late = scene.tell(Action::ProcessRecords).await.unwrap_err();
    assert!(matches!(late, ChildFailure::TimedOut { limit: LIMIT, .. }), "{late}");
    assert_eq!(begin.elapsed(), LIMIT);
}

#[tokio::test(start_paused = true)]
async fn messages_start_the_clock_anew_and_noise_does_not() {
    let table = [
        (Say::Line(r#"{"action":"shutdown","reason":"ZOMBIE"}"#), true),
        (Say::Checkpoint(None), true),
        (Say::Line("progress: 50%"), false),
        (Say::Line(""), false),
    ];
    for (say, starts_anew) in table {
        let said = say.clone();
        let work = LIMIT - SECOND;
        let mut scene = scene(move |_, _| vec![Say::Work(work), said.clone(), Say::Work(work), Say::Answer]);
        let result = scene.tell(Action::ProcessRecords).await;
        assert_eq!(result.is_ok(), starts_anew, "{say:?} {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_child_has_all_the_time_there_is() {
    let mut ground = Ground::new();
    let held = ground.hold(&lease(0, Some("a")));
    let nursery = Nursery::new(|_, _| vec![Say::Work(SECOND * 100_000), Say::Answer]);
    let mut talk = Conversation::new(nursery.child(), held, at(5), None);
    talk.tell(Action::ShardEnded, br#"{"action":"shardEnded"}"#, &Unwatched).await.unwrap();
    assert_eq!(talk.shard, shard(0));
}

const SHUT_DOWN: Say = Say::Line(r#"{"action":"status","responseFor":"shutdown"}"#);

#[tokio::test(start_paused = true)]
async fn a_child_of_level_1_may_end_before_it_hears_that_its_checkpoint_is_stored() {
    for (level, may) in [(ProtocolLevel::One, true), (ProtocolLevel::Two, false), (ProtocolLevel::Three, false)] {
        let mut scene = scene(|_, _| vec![Say::Checkpoint(None), SHUT_DOWN, Say::End]);
        scene.talk = scene.talk.at_level(level);
        scene.talk.checkpointer().shard_ended();
        let told = scene.talk.end(Action::ShardEnded, &Unwatched).await;
        assert_eq!(told.is_ok(), may, "{level:?} {told:?}");
        assert!(row(&scene.ground.table, 0).is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_before_it_answers_an_end_has_failed_at_level_1_too() {
    let mut scene = scene(|_, _| vec![Say::Checkpoint(None), Say::End]);
    scene.talk = scene.talk.at_level(ProtocolLevel::One);
    let failure = scene.talk.end(Action::ShardEnded, &Unwatched).await.unwrap_err();
    assert!(matches!(failure, ChildFailure::Ended { .. }), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn the_end_is_stored_for_a_child_only_if_it_checkpointed_its_last_record() {
    for (checkpointed, stored) in [(9, Checkpoint::ShardEnd), (8, at(8))] {
        let mut scene = scene(move |_, _| vec![Say::Checkpoint(Some(checkpointed.into())), Say::Answer]);
        scene.tell(Action::ProcessRecords).await.unwrap();
        scene.talk.store_end(&Unwatched).await;
        assert_eq!(row(&scene.ground.table, 0).checkpoint, at(checkpointed), "the shard has not ended yet");
        scene.talk.checkpointer().shard_ended();
        scene.talk.store_end(&Unwatched).await;
        assert_eq!((&row(&scene.ground.table, 0).checkpoint, scene.talk.checkpointer().last()), (&stored, &stored));
    }
}
