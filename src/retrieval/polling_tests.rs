use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::clock::PausedClock;
use crate::retrieval::api::EventFeed;
use crate::retrieval::script::{Play, Script, answer, at, children, open, read, shared, throttled, transient};
use crate::stream::fetch::IteratorStart;
use crate::types::EpochMillis;

const SETTINGS: Polling = Polling {
    max_records: 10,
    idle: Duration::from_millis(1_500),
    follows_arrivals: false,
    reduced_tps_threshold: Duration::ZERO,
};

fn reader(script: &Arc<Script>, from: &Checkpoint) -> Box<dyn RecordReader> {
    reader_with(script, from, SETTINGS)
}

fn reader_with(script: &Arc<Script>, from: &Checkpoint, settings: Polling) -> Box<dyn RecordReader> {
    let clock = Arc::new(PausedClock::new(EpochMillis(1_000_000)));
    open(&PollingSource::over(script.clone(), settings, InitialPosition::TrimHorizon, clock), from)
}

fn good(sequences: &[&str], next: &str) -> Play {
    Play::Answer(answer(sequences, next, 0))
}

fn end(sequences: &[&str]) -> Play {
    Play::Answer(Answer { next_iterator: None, child_shards: children(), ..answer(sequences, "", 0) })
}

#[tokio::test(start_paused = true)]
async fn at_the_tip_calls_start_the_idle_time_after_the_last_one_ended() {
    let script = Script::polling([good(&[], "b"), good(&["1"], "c"), good(&[], "d")]);
    let script = shared(script.with_call_time(Duration::from_millis(40)));
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 3).await, ["", "1", ""]);
    assert_eq!(script.asked(), ["iterator horizon", "records first1", "records b", "records c"]);
    assert_eq!(script.millis_of("records"), [0, 1_540, 3_080]);
}

#[tokio::test(start_paused = true)]
async fn behind_the_tip_calls_start_five_times_a_second() {
    let behind = |sequence, next| Play::Answer(answer(&[sequence], next, 60_000));
    let script = Script::polling([behind("1", "b"), behind("2", "c"), good(&["3"], "d"), good(&[], "e")]);
    let script = shared(script.with_call_time(Duration::from_millis(40)));
    read(&mut reader(&script, &Checkpoint::TrimHorizon), 4).await;
    assert_eq!(script.millis_of("records"), [0, 200, 400, 1_940]);
}

#[tokio::test(start_paused = true)]
async fn while_records_keep_coming_the_tip_is_read_twice_a_second_unless_an_idle_time_is_set() {
    let plays = || [good(&[], "a"), good(&["1"], "b"), good(&[], "c"), good(&["2"], "d")];
    let by_arrivals = Polling { follows_arrivals: true, ..SETTINGS };
    let script = shared(Script::polling(plays()));
    read(&mut reader_with(&script, &Checkpoint::TrimHorizon, by_arrivals), 4).await;
    assert_eq!(script.millis_of("records"), [0, 1_500, 2_000, 2_500]);
    let script = shared(Script::polling(plays()));
    read(&mut reader(&script, &Checkpoint::TrimHorizon), 4).await;
    assert_eq!(script.millis_of("records"), [0, 1_500, 3_000, 4_500]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_has_become_quiet_is_read_at_the_idle_time_again() {
    let quiet = (0..100).map(|n| good(&[], &format!("{n}")));
    let script = shared(Script::polling([good(&["1"], "b")].into_iter().chain(quiet)));
    let by_arrivals = Polling { follows_arrivals: true, ..SETTINGS };
    read(&mut reader_with(&script, &Checkpoint::TrimHorizon, by_arrivals), 50).await;
    let times = script.millis_of("records");
    let gaps: Vec<_> = times.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
    assert!(gaps.iter().all(|(at, gap)| *gap == if *at < 15_000 { 500 } else { 1_500 }), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_for_load_the_idle_time_counts_for_a_minute() {
    let plays = [good(&["1"], "b"), Play::Fault(throttled())].into_iter();
    let script = shared(Script::polling(plays.chain((0..200).map(|n| good(&[&format!("{}", n + 2)], "c")))));
    let by_arrivals = Polling { follows_arrivals: true, ..SETTINGS };
    read(&mut reader_with(&script, &Checkpoint::TrimHorizon, by_arrivals), 80).await;
    let times = script.millis_of("records");
    let refused = times[1];
    let later: Vec<_> = times[2..].windows(2).map(|pair| (pair[0] - refused, pair[1] - pair[0])).collect();
    assert!(later.iter().all(|(since, gap)| *gap == if *since < 60_000 { 1_500 } else { 500 }), "{later:?}");
}

/// A shard with more to read than anybody can, and the service's five reads a second for all who read it.
#[derive(Default)]
struct Crowded {
    reads: Mutex<Vec<Instant>>,
    refusals: AtomicUsize,
}

#[async_trait]
impl ShardApi for Crowded {
    async fn iterator(&self, _: &ShardId, _: &IteratorStart) -> Result<Dated<String>, FetchError> {
        Ok(Dated { given: "1".to_owned(), date: None })
    }

    async fn records(&self, iterator: &str, _: i32) -> Result<Answer, FetchError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut reads = self.reads.lock().unwrap();
        if reads.iter().rev().take_while(|read| read.elapsed() < Duration::from_secs(1)).count() >= 5 {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(throttled());
        }
        reads.push(Instant::now());
        let next: u64 = iterator.parse::<u64>().unwrap() + 1;
        Ok(answer(&[iterator], &next.to_string(), 60_000))
    }

    async fn subscribe(
        &self,
        _: &str,
        _: &ShardId,
        _: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError> {
        Err(transient())
    }
}

#[tokio::test(start_paused = true)]
async fn two_applications_that_are_behind_share_the_reads_of_a_shard() {
    let service = Arc::new(Crowded::default());
    let read_for_ten_minutes = || async {
        let clock = Arc::new(PausedClock::new(EpochMillis(0)));
        let source = PollingSource::over(service.clone(), SETTINGS, InitialPosition::TrimHorizon, clock);
        let (mut reader, mut batches) = (open(&source, &Checkpoint::TrimHorizon), 0);
        let over = Instant::now() + Duration::from_secs(600);
        while Instant::now() < over {
            reader.next().await;
            batches += 1;
        }
        batches
    };
    let (one, other) = tokio::join!(read_for_ten_minutes(), read_for_ten_minutes());
    let refusals = service.refusals.load(Ordering::Relaxed);
    assert!(refusals * 20 < one + other, "{refusals} refusals of {one} and {other} reads");
    assert!(one.min(other) > 1_000, "{one} and {other} of 3,000");
}

#[test]
fn the_pause_follows_lag_size_and_settings() {
    let (idle, seconds) = (Duration::from_millis(1_500), Duration::from_secs);
    let slow = Polling { reduced_tps_threshold: seconds(10), ..SETTINGS };
    let table = [
        // settings   records  lag      took                          pause after the call
        (&SETTINGS, 0, 0, seconds(0), idle),
        (&SETTINGS, 3, 0, seconds(3), idle),
        (&SETTINGS, 0, 9_000, seconds(0), idle), // behind, and nothing here: a gap in the shard
        (&SETTINGS, 3, 1, Duration::from_millis(50), Duration::from_millis(150)),
        (&SETTINGS, 3, 1, seconds(1), seconds(0)),
        (&SETTINGS, 10, 0, seconds(0), Duration::from_millis(200)), // full
        (&slow, 3, 9_999, seconds(2), seconds(8)),
        (&slow, 3, 9_999, seconds(9), idle),
        (&slow, 3, 10_000, seconds(1), seconds(0)),
    ];
    for (settings, records, lag, took, expected) in table {
        let answer = answer(&vec!["1"; records], "n", lag);
        assert_eq!(pause(settings, &ReadLimits::SERVICE, &answer, took, idle), expected, "{records} {lag} {took:?}");
    }
}

#[test]
fn large_answers_are_paid_for_at_two_mebibytes_a_second() {
    let mut big = answer(&["1"], "n", 60_000);
    big.records[0].data = "A".repeat(8 << 20).into(); // 6 MiB once decoded
    let paid = pause(&SETTINGS, &ReadLimits::SERVICE, &big, Duration::from_secs(1), SETTINGS.idle);
    assert_eq!(paid.as_secs_f64().round(), 2.0);
    assert_eq!(pause(&SETTINGS, &ReadLimits::NONE, &big, Duration::ZERO, SETTINGS.idle), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_iterator_that_expires_in_mid_shard_is_replaced_behind_the_last_record_taken() {
    let expired = || Play::Fault(FetchError::Expired);
    let script = shared(Script::polling([good(&["8", "9"], "b"), good(&[], "c"), expired(), good(&["10"], "e")]));
    let mut reader = reader(&script, &Checkpoint::TrimHorizon);
    assert_eq!(read(&mut reader, 3).await, ["8 9", "", "10"]);
    assert_eq!(script.asked()[2..], ["records b", "records c", "iterator after 9", "records first5"]);
    assert_eq!(script.millis_of("iterator"), [0, 3_000], "without a wait");
}

#[tokio::test(start_paused = true)]
async fn loss_window_aggregate_an_iterator_that_expires_before_the_first_read_begins_at_the_checkpoint_again() {
    for fault in [|| FetchError::Expired, || FetchError::InvalidIterator("bad".to_owned())] {
        let script = shared(Script::polling([
            Play::Fault(throttled()),
            Play::Fault(fault()),
            Play::Fault(fault()),
            good(&["7", "8"], "d"),
            Play::Fault(fault()),
            good(&["9"], "e"),
        ]));
        assert_eq!(read(&mut reader(&script, &at("7", 0)), 2).await, ["7 8", "9"]);
        let iterators: Vec<_> = script.asked().into_iter().filter(|what| what.starts_with("iterator")).collect();
        assert_eq!(iterators, ["iterator at 7", "iterator at 7", "iterator at 7", "iterator after 8"]);
    }
}

#[tokio::test(start_paused = true)]
async fn loss_window_latest_an_expired_first_iterator_is_replaced_by_the_time_of_that_first_one() {
    let expired = || Play::Fault(FetchError::Expired);
    let script =
        shared(Script::polling([good(&[], "b"), expired(), expired(), good(&["5"], "c"), expired(), good(&[], "d")]));
    assert_eq!(read(&mut reader(&script, &Checkpoint::Latest), 3).await, ["", "5", ""]);
    let iterators: Vec<_> = script.asked().into_iter().filter(|what| what.starts_with("iterator")).collect();
    assert_eq!(iterators, ["iterator latest", "iterator time 1000000", "iterator time 1000000", "iterator after 5"]);
}

#[tokio::test(start_paused = true)]
async fn loss_window_latest_a_clock_that_is_wrong_loses_nothing_either() {
    let expired = || Play::Fault(FetchError::Expired);
    let script = Script::polling([good(&[], "b"), expired(), good(&["5"], "c")]).with_date(EpochMillis(400_000));
    let script = shared(script); // our clock is ten minutes ahead of the service's
    let since = Since::default();
    let clock = Arc::new(PausedClock::new(EpochMillis(1_000_000)));
    let source = PollingSource::over(script.clone(), SETTINGS, InitialPosition::TrimHorizon, clock);
    let mut reader = source.open_again(&ShardId::new("shard-1"), &Checkpoint::Latest, since.clone());
    assert_eq!(read(&mut reader, 2).await, ["", "5"]);
    let iterators: Vec<_> = script.asked().into_iter().filter(|what| what.starts_with("iterator")).collect();
    assert_eq!(iterators, ["iterator latest", "iterator time 399000"]);
    assert_eq!(since.get(), Some(&EpochMillis(399_000)), "and for the next child's reader");
}

#[tokio::test(start_paused = true)]
async fn loss_window_stall_after_a_day_reading_goes_on_behind_the_last_record_or_where_latest_was() {
    let day = Duration::from_secs(24 * 3_600);
    let script = shared(Script::polling([good(&[], "a"), good(&["5"], "b"), good(&["6"], "c")]));
    let mut reader = reader(&script, &Checkpoint::Latest);
    for _ in 0..3 {
        read(&mut reader, 1).await;
        tokio::time::sleep(day).await;
    }
    let iterators: Vec<_> = script.asked().into_iter().filter(|what| what.starts_with("iterator")).collect();
    assert_eq!(iterators, ["iterator latest", "iterator time 1000000", "iterator after 5"]);
}

#[tokio::test(start_paused = true)]
async fn throttling_is_survived_with_growing_waits_and_the_same_iterator() {
    let refusals = (0..7).map(|_| Play::Fault(throttled()));
    let script = shared(Script::polling([good(&["1"], "b")].into_iter().chain(refusals).chain([good(&["2"], "c")])));
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 2).await, ["1", "2"]);
    assert!(script.asked()[2..].iter().all(|what| what == "records b"));
    let times = script.millis_of("records b");
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, bound) in waits.iter().zip([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
        assert!((bound / 2..=bound).contains(wait), "{wait} of {bound}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_episode_begins_with_short_waits_again() {
    let refusals = || (0..5).map(|_| Play::Fault(transient()));
    let plays = refusals().chain([good(&["1"], "b")]).chain(refusals()).chain([good(&["2"], "c")]);
    let script = shared(Script::polling(plays));
    read(&mut reader(&script, &Checkpoint::TrimHorizon), 2).await;
    let times = script.millis_of("records b");
    assert!(times[1] - times[0] <= 500);
}

#[tokio::test(start_paused = true)]
async fn a_null_iterator_without_child_shards_is_asked_again_after_the_idle_time_and_its_records_are_not_taken() {
    let odd = |sequences: &[&str]| Play::Answer(Answer { next_iterator: None, ..answer(sequences, "", 0) });
    let script = shared(Script::polling([good(&["1"], "b"), odd(&[]), odd(&["2"]), end(&["2", "3"])]));
    let mut reader = reader(&script, &Checkpoint::TrimHorizon);
    assert_eq!(read(&mut reader, 1).await, ["1"]);
    let last = reader.next().await;
    assert_eq!(last.records.len(), 2);
    assert_eq!(last.end, Some(children()));
    assert_eq!(script.asked()[2..], ["records b", "records b", "records b"]);
    assert_eq!(script.millis_of("records b"), [1_500, 3_000, 4_500]);
}

#[tokio::test(start_paused = true)]
async fn child_shards_with_an_iterator_or_without_parents_are_no_end() {
    let mut orphans = children();
    orphans[1].parents.clear();
    let both = Answer { child_shards: children(), ..answer(&["2"], "x", 0) };
    let orphaned = Answer { next_iterator: None, child_shards: orphans, ..answer(&["2"], "", 0) };
    let script = shared(Script::polling([Play::Answer(both), Play::Answer(orphaned), end(&[])]));
    let last = reader(&script, &Checkpoint::TrimHorizon).next().await;
    assert_eq!((last.records.len(), last.end), (0, Some(children())));
    assert_eq!(script.asked()[1..], ["records first1", "records first1", "records first1"]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_ends_without_children() {
    let gone = shared(Script::polling([Play::Fault(FetchError::ShardGone)]));
    assert_eq!(reader(&gone, &Checkpoint::TrimHorizon).next().await.end, Some(Vec::new()));
    let gone = shared(Script::polling([]).refusing_iterators([FetchError::ShardGone]));
    assert_eq!(reader(&gone, &Checkpoint::TrimHorizon).next().await.end, Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_answer_is_given_up_after_thirty_seconds_and_made_again() {
    let script = shared(Script::polling([Play::Silence, good(&["1"], "b")]));
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await, ["1"]);
    assert_eq!(script.asked()[1..], ["records first1", "records first1"]);
    let again = script.millis_of("records")[1];
    assert!((30_250..=30_500).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_iterator_is_asked_for_again_with_growing_waits() {
    let invalid = || FetchError::InvalidIterator("timestamp in the future".to_owned());
    let script = Script::polling([good(&["1"], "b")]).refusing_iterators([invalid(), invalid(), invalid()]);
    let script = shared(script);
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await, ["1"]);
    let times = script.millis_of("iterator");
    assert_eq!(times[1], 0);
    assert!(times[2] >= 500 && times[3] >= times[2] + 1_000, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn an_iterator_that_grew_old_under_a_slow_child_is_not_used() {
    let script = shared(Script::polling([good(&["1"], "b"), good(&["2"], "c"), good(&["3"], "d")]));
    let mut reader = reader(&script, &Checkpoint::TrimHorizon);
    read(&mut reader, 1).await;
    tokio::time::sleep(Duration::from_secs(269)).await;
    read(&mut reader, 1).await;
    tokio::time::sleep(Duration::from_secs(270)).await;
    read(&mut reader, 1).await;
    assert_eq!(script.asked()[2..], ["records b", "iterator after 2", "records first4"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_memory_is_read_through_a_split_by_the_same_reader() {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new(EpochMillis(0)));
    let stream = Arc::new(MemoryStream::new(1, clock.clone()));
    let parent = ShardId::new("shardId-000000000000");
    for n in 0..25 {
        stream.put(n, "key", b"data");
    }
    stream.split(&parent).unwrap();
    let source = PollingSource::in_memory(stream.clone(), SETTINGS, InitialPosition::TrimHorizon, clock);
    let mut reader = source.open(&parent, &Checkpoint::TrimHorizon);
    let (mut seen, mut ended) = (0, None);
    while ended.is_none() {
        let batch = reader.next().await;
        seen += batch.records.len();
        ended = batch.end;
    }
    assert_eq!(seen, 25);
    assert_eq!(ended.unwrap().len(), 2);
}
