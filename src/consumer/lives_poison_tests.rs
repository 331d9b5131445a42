//! Poison in the lives of a shard: found, traced, left out, and never without the trace.

use std::sync::Mutex;

use super::*;
use crate::config::DeadLetters;
use crate::config::dead_letters::LetterStream;
use crate::poison::file::LetterFile;
use crate::poison::letter::Letter;
use crate::poison::target::{NotStored, Target};

/// Children that die of the records whose data says so.
fn allergic(bad: &[String]) -> impl Fn(usize, &str) -> Vec<Say> + Send + Sync + 'static {
    let bad = bad.to_vec();
    move |life, told| {
        let dies = told.split(' ').skip(1).any(|number| bad.iter().any(|bad| bad == number));
        let action = told.split(' ').next().unwrap_or_default();
        if dies { vec![Say::End] } else { obedient(life, action) }
    }
}

fn given(nursery: &Nursery) -> std::collections::BTreeSet<String> {
    let lives = (0..nursery.births()).flat_map(|life| {
        let heard = nursery.heard(life);
        let survived = heard.windows(2).filter(|two| two[1].starts_with("checkpoint stored")).map(|two| two[0].clone());
        survived.collect::<Vec<_>>()
    });
    lives
        .filter_map(|line| line.strip_prefix("processRecords ").map(str::to_owned))
        .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn poison_is_found_written_down_and_left_out_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.jsonl");
    for policy in [OnPoison::Skip, OnPoison::DeadLetter(DeadLetters::File(file.clone()))] {
        let mut ground = Ground::new();
        ground.processing.on_poison = policy.clone();
        ground.dead_letters = Some(Arc::new(LetterFile::new(file.clone())));
        let numbers: Vec<String> = (0..25).map(|_| ground.put()).collect();
        let bad = [numbers[3].clone(), numbers[4].clone(), numbers[24].clone()];
        ground.stream.split(&shard(0)).unwrap();
        let mut scene = begin(ground, Nursery::new_hearing(allergic(&bad)));
        let outcome = scene.outcome().await;
        assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
        let good = numbers.iter().filter(|number| !bad.contains(number)).cloned().collect();
        assert_eq!(given(&scene.nursery), good, "{policy:?}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let letters: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 3);
    for letter in letters {
        assert_eq!((&letter["stream"], &letter["shard"]), (&"words".into(), &"shardId-000000000000".into()));
        assert_eq!((&letter["attempts"], &letter["data"]), (&5.into(), &"ZGF0YQ==".into()));
        assert!(letter["error"].as_str().unwrap().contains("oh no"), "{letter}");
    }
}

#[tokio::test(start_paused = true)]
async fn poison_stops_the_shard_unless_something_else_is_asked_for() {
    let ground = Ground::new();
    let bad = [ground.put()];
    let mut scene = begin(ground, Nursery::new_hearing(allergic(&bad)));
    assert!(matches!(scene.outcome().await, Outcome::Failed(Failure::GaveUp { .. })));
    assert_eq!(scene.nursery.births(), 5);
}

#[tokio::test(start_paused = true)]
async fn poison_that_cannot_be_written_down_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut ground = Ground::new();
    ground.processing.on_poison = OnPoison::DeadLetter(DeadLetters::File(folder.path().to_owned()));
    ground.dead_letters = Some(Arc::new(LetterFile::new(folder.path().to_owned())));
    let bad = [ground.put()];
    ground.put();
    let mut scene = begin(ground, Nursery::new_hearing(allergic(&bad)));
    let outcome = scene.outcome().await;
    let Outcome::Failed(failure @ Failure::NoDeadLetter { .. }) = &outcome else { panic!("{outcome:?}") };
    assert!(failure.to_string().contains("multilangd.deadLetterFile"), "{failure}");
    assert!(given(&scene.nursery).is_empty() && scene.owner().is_none());
}

/// A service that refuses so many letters before it takes any, and remembers what it took.
struct Service {
    refusals: AtomicU32,
    asked: AtomicU32,
    taken: Mutex<Vec<String>>,
}

impl Service {
    fn new(refusals: u32) -> Arc<Self> {
        Arc::new(Self { refusals: AtomicU32::new(refusals), asked: AtomicU32::new(0), taken: Mutex::default() })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Target for Service {
    async fn store(&self, letter: &Letter<'_>) -> Result<(), NotStored> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(NotStored::Yet("SQS answered 503".to_owned()));
        }
        self.taken.lock().unwrap().push(letter.name());
        Ok(())
    }
}

/// A shard of three records of which the second is poison; its name in a letter, and all that are not.
fn poisoned(service: &Arc<Service>) -> (Scene, String, String, std::collections::BTreeSet<String>) {
    poisoned_with(service, 5)
}

/// A shard whose dead letters go to `service`.
fn kept_by(service: &Arc<Service>) -> Ground {
    let mut ground = Ground::new();
    ground.processing.on_poison = OnPoison::DeadLetter(DeadLetters::Stream(stream()));
    ground.dead_letters = Some(service.clone());
    ground
}

fn poisoned_with(service: &Arc<Service>, limit: u32) -> (Scene, String, String, std::collections::BTreeSet<String>) {
    let mut ground = kept_by(service);
    ground.processing.child_restart_limit = NonZeroU32::new(limit).unwrap();
    let numbers: Vec<String> = (0..3).map(|_| ground.put()).collect();
    let name = format!("words/shardId-000000000000/{}", numbers[1]);
    let good = [numbers[0].clone(), numbers[2].clone()].into();
    let nursery = Nursery::new_hearing(allergic(&numbers[1..2]));
    (begin(ground, nursery), name, numbers[1].clone(), good)
}

#[tokio::test(start_paused = true)]
async fn a_shard_waits_for_its_dead_letter_and_no_checkpoint_passes_the_record_before() {
    let service = Service::new(40);
    let (mut scene, name, bad, good) = poisoned(&service);
    while service.asked() < 40 {
        sleep(SECOND).await;
        assert!(at(&bad) > scene.held.last_checkpoint(), "the record was passed without a trace");
    }
    let births = scene.nursery.births();
    while service.taken.lock().unwrap().is_empty() {
        sleep(SECOND).await;
    }
    sleep(SECOND * 5).await;
    assert_eq!(*service.taken.lock().unwrap(), [name], "one letter for one record");
    assert_eq!((scene.nursery.births(), given(&scene.nursery)), (births + 1, good));
    assert!(scene.held.last_checkpoint() > at(&bad));
    scene.stops.gracefully.cancel();
    assert!(matches!(scene.outcome().await, Outcome::LeaseGone));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_dead_letter_leaves_when_told_and_the_record_is_not_left_out() {
    for whom in ["stop", "loss"] {
        let service = Service::new(u32::MAX);
        let (mut scene, _, bad, good) = poisoned(&service);
        while service.asked() < 3 {
            sleep(SECOND).await;
        }
        let births = scene.nursery.births();
        match whom {
            "stop" => scene.stops.gracefully.cancel(),
            _ => scene.ground.table.faults().cut(SECOND * 600),
        }
        let begin = Instant::now();
        assert!(matches!(scene.outcome().await, Outcome::LeaseGone), "{whom}");
        assert!(begin.elapsed() < F * 2, "{whom}");
        assert_eq!(scene.nursery.births(), births, "{whom}: no child is started for it");
        assert!(given(&scene.nursery).is_subset(&good) && service.taken.lock().unwrap().is_empty(), "{whom}");
        assert!(scene.held.last_checkpoint() < at(&bad), "{whom}");
    }
}

/// The lines of the log at error and above, of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_waits_is_told_of_at_once_and_each_ten_minutes_with_the_reason_of_then() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::ERROR)
        .with_writer(move || writer.clone());
    let _until_the_end = tracing::subscriber::set_default(lines.finish());
    let service = Service::new(u32::MAX);
    let (scene, ..) = poisoned(&service);
    while service.asked() == 0 {
        sleep(SECOND).await;
    }
    sleep(SECOND * 35 * 60).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("dead letter cannot be stored")).collect();
    assert_eq!(told.len(), 4, "{text}");
    assert!(told[0].contains("tries=1 ") && told[3].contains("SQS answered 503"), "{text}");
    drop(scene);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_no_child_ever_answers_is_poison_too() {
    let service = Service::new(0);
    let ground = kept_by(&service);
    let numbers: Vec<String> = (0..6).map(|_| ground.put()).collect();
    ground.stream.split(&shard(0)).unwrap();
    let bad = numbers[0].clone();
    let nursery = Nursery::new_hearing(move |life, told| {
        let hangs = told.split(' ').any(|word| word == bad);
        if hangs { vec![Say::Work(SECOND * 3600)] } else { obedient(life, told.split(' ').next().unwrap_or_default()) }
    });
    let mut scene = begin(ground, nursery);
    assert!(matches!(scene.outcome().await, Outcome::Finished));
    assert_eq!(*service.taken.lock().unwrap(), [format!("words/shardId-000000000000/{}", numbers[0])]);
    assert_eq!(given(&scene.nursery), numbers[1..].iter().cloned().collect());
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_nothing_but_poison_is_set_aside_up_to_ten_and_the_shard_given_up_beyond() {
    for (count, is_finished) in [(10, true), (11, false)] {
        let service = Service::new(0);
        let ground = kept_by(&service);
        let numbers: Vec<String> = (0..count).map(|_| ground.put()).collect();
        ground.stream.split(&shard(0)).unwrap();
        let mut scene = begin(ground, Nursery::new_hearing(allergic(&numbers)));
        let outcome = scene.outcome().await;
        assert_eq!(matches!(outcome, Outcome::Finished), is_finished, "{count}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Failed(Failure::GaveUp { .. })), !is_finished, "{count}: {outcome:?}");
        let names: Vec<String> =
            numbers.iter().take(10).map(|number| format!("words/shardId-000000000000/{number}")).collect();
        assert_eq!(*service.taken.lock().unwrap(), names, "in order, each once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_in_the_search_ends_it_without_a_letter() {
    let service = Service::new(0);
    let (mut scene, _, bad, good) = poisoned_with(&service, 9);
    while scene.nursery.births() < 11 {
        sleep(SECOND).await; // nine failed in a row, then one in the search; nine more alone would take minutes
    }
    scene.ground.table.faults().cut(SECOND * 600);
    assert!(matches!(scene.outcome().await, Outcome::LeaseGone));
    assert!(service.taken.lock().unwrap().is_empty() && given(&scene.nursery).is_subset(&good));
    assert!(scene.held.last_checkpoint() < at(&bad));
}

#[tokio::test(start_paused = true)]
async fn poison_behind_all_other_records_is_passed_by_the_last_checkpoint_of_a_shard_that_is_left() {
    let service = Service::new(0);
    let ground = kept_by(&service);
    let numbers: Vec<String> = (0..3).map(|_| ground.put()).collect();
    let mut scene = begin(ground, Nursery::new_hearing(allergic(&numbers[2..])));
    while service.taken.lock().unwrap().is_empty() {
        sleep(SECOND).await;
    }
    sleep(SECOND * 10).await;
    assert_eq!(scene.held.last_checkpoint(), at(&numbers[1]), "until then it is the child's");
    scene.stops.gracefully.cancel();
    assert!(matches!(scene.outcome().await, Outcome::LeaseGone));
    assert_eq!(scene.held.last_checkpoint(), at(&numbers[2]));
}

fn stream() -> LetterStream {
    LetterStream { name: "letters".to_owned(), arn: None }
}

fn at(number: &str) -> Checkpoint {
    Checkpoint::At(crate::types::ExtendedSequenceNumber::new(number.parse().unwrap(), 0))
}
