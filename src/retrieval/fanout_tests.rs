use super::*;
use crate::clock::PausedClock;
use crate::retrieval::script::{Beat, Feed, Script, at, children, event, open, read, shared, throttled, transient};
use crate::types::EpochMillis;

fn reader(script: &Arc<Script>, from: &Checkpoint) -> Box<dyn RecordReader> {
    let clock = Arc::new(PausedClock::new(EpochMillis(1_000_000)));
    let source = FanOutSource {
        api: script.clone(),
        consumer_arn: "arn:consumer".into(),
        initial: InitialPosition::TrimHorizon,
        clock,
        compatibility: Compatibility::Safe,
    };
    open(&source, from)
}

fn script(feeds: impl IntoIterator<Item = Feed>) -> Arc<Script> {
    shared(Script::fan_out(feeds))
}

fn good(sequences: &[&str], continuation: &str) -> Beat {
    Beat::Event(event(sequences, continuation))
}

fn broken() -> Beat {
    Beat::Fault(transient())
}

fn busy() -> FetchError {
    FetchError::Busy("ResourceInUseException".to_owned())
}

/// Time between two subscriptions.
fn gap(script: &Script, nth: usize) -> u128 {
    let times = script.millis_of("subscribe");
    times[nth] - times[nth - 1]
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ends_is_followed_by_one_behind_the_last_event_a_second_after_it_was_asked_for() {
    let script = script([
        Ok(vec![good(&["7", "8"], "8"), good(&[], "15"), Beat::End]),
        Ok(vec![good(&["16"], "16"), Beat::End]),
        Ok(vec![good(&["17"], "17")]),
    ]);
    assert_eq!(read(&mut reader(&script, &at("7", 0)), 4).await, ["7 8", "", "16", "17"]);
    assert_eq!(script.asked(), ["subscribe at 7", "subscribe after 15", "subscribe after 16"]);
    assert_eq!((gap(&script, 1), gap(&script, 2)), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ends_later_is_followed_at_once() {
    let script = script([Ok(vec![good(&["7"], "7"), Beat::End]), Ok(vec![good(&["8"], "8")])]);
    let mut reader = reader(&script, &at("7", 0));
    read(&mut reader, 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(read(&mut reader, 1).await, ["8"]);
    assert_eq!(gap(&script, 1), 60_000);
}

#[tokio::test(start_paused = true)]
async fn loss_window_aggregate_a_subscription_that_breaks_before_its_first_event_begins_at_the_checkpoint_again() {
    let script = script([
        Ok(vec![Beat::End]),
        Ok(vec![broken()]),
        Ok(vec![good(&[], "7"), broken()]), // no further than the checkpoint: its record was not taken
        Ok(vec![good(&["7", "8"], "8"), broken()]),
        Ok(vec![good(&["9"], "9")]),
    ]);
    assert_eq!(read(&mut reader(&script, &at("7", 0)), 3).await, ["", "7 8", "9"]);
    assert_eq!(
        script.asked(),
        ["subscribe at 7", "subscribe at 7", "subscribe at 7", "subscribe at 7", "subscribe after 8"]
    );
}

#[tokio::test(start_paused = true)]
async fn loss_window_latest_the_second_subscription_begins_at_the_time_of_the_first() {
    let script = script([Err(throttled()), Ok(vec![broken()]), Ok(vec![broken()]), Ok(vec![good(&["5"], "5")])]);
    assert_eq!(read(&mut reader(&script, &Checkpoint::Latest), 1).await, ["5"]);
    let asked = script.asked();
    assert_eq!(asked[..2], ["subscribe latest", "subscribe latest"], "the first was not taken by the service");
    let opened = 1_000_000 + script.millis_of("subscribe")[1];
    assert_eq!(asked[2..], [format!("subscribe time {opened}"), format!("subscribe time {opened}")]);
}

#[tokio::test(start_paused = true)]
async fn loss_window_latest_a_clock_that_is_wrong_loses_nothing_either() {
    let feeds = [Ok(vec![broken()]), Ok(vec![good(&["5"], "5")])];
    let script = shared(Script::fan_out(feeds).with_date(EpochMillis(400_000)));
    assert_eq!(read(&mut reader(&script, &Checkpoint::Latest), 1).await, ["5"]);
    assert_eq!(script.asked(), ["subscribe latest", "subscribe time 399000"]);
}

#[tokio::test(start_paused = true)]
async fn loss_window_stall_a_subscription_that_broke_under_a_slow_child_goes_on_behind_what_was_taken() {
    let script = script([Ok(vec![good(&["5"], "7"), broken()]), Ok(vec![good(&["8"], "8")])]);
    let mut reader = reader(&script, &Checkpoint::Latest);
    assert_eq!(read(&mut reader, 1).await, ["5"]);
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(read(&mut reader, 1).await, ["8"]);
    assert_eq!(script.asked(), ["subscribe latest", "subscribe after 7"]);
}

#[tokio::test(start_paused = true)]
async fn loss_window_takeover_who_is_displaced_by_another_worker_waits_and_goes_on_behind_what_was_taken() {
    let script = script([
        Ok(vec![good(&["5"], "5"), Beat::Fault(busy())]), // another subscription of the consumer took the shard
        Err(busy()),
        Ok(vec![good(&["6"], "6")]),
    ]);
    assert_eq!(read(&mut reader(&script, &at("4", 0)), 2).await, ["5", "6"]);
    assert_eq!(script.asked(), ["subscribe at 4", "subscribe after 5", "subscribe after 5"]);
    assert!(gap(&script, 1) >= 5_000 && gap(&script, 2) >= 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_another_subscription_has_is_told_before_it_is_asked_for_again() {
    let table = [
        // the first subscription                                              told within a second
        (Ok(vec![good(&["5"], "5"), Beat::Fault(busy())]), true),
        (Err(busy()), true),
        (Err(throttled()), false),
        (Ok(vec![good(&["5"], "5"), broken()]), false),
    ];
    for (first, is_told) in table {
        let case = format!("{:?}", first.as_ref().map(Vec::len).map_err(ToString::to_string));
        let script = script([first, Ok(vec![good(&["6"], "6")])]);
        let mut reader = reader(&script, &at("4", 0));
        let rivals = reader.rivals().expect("other workers subscribe too");
        let reading = async { while read(&mut reader, 1).await != ["6"] {} };
        let told = async { tokio::time::timeout(Duration::from_secs(1), rivals.notified()).await.is_ok() };
        assert_eq!(tokio::join!(reading, told).1, is_told, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_without_records_is_a_batch_that_tells_the_lag() {
    let lagging = Event { millis_behind_latest: Some(42), ..event(&[], "9") };
    let script = script([Ok(vec![Beat::Event(lagging)])]);
    let batch = reader(&script, &Checkpoint::TrimHorizon).next().await;
    assert_eq!((batch.records.len(), batch.millis_behind_latest, batch.end), (0, Some(42), None));
}

#[tokio::test(start_paused = true)]
async fn a_silent_subscription_is_given_up_after_twelve_seconds() {
    let script = script([Ok(vec![good(&["1"], "1"), Beat::Silence]), Ok(vec![good(&["2"], "2")])]);
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 2).await, ["1", "2"]);
    assert!((12_250..=12_500).contains(&gap(&script, 1)), "{}", gap(&script, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_subscribed_already_is_tried_again_after_five_seconds() {
    let script = script([Err(busy()), Err(busy()), Ok(vec![good(&["1"], "1")])]);
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await, ["1"]);
    for nth in [1, 2] {
        assert!((5_000..=6_000).contains(&gap(&script, nth)), "{}", gap(&script, nth));
    }
}

#[tokio::test(start_paused = true)]
async fn other_faults_are_waited_out_with_growing_waits() {
    let faults = [transient(), throttled(), transient(), throttled(), transient(), transient(), transient()];
    let script = script(faults.map(Err).into_iter().chain([Ok(vec![good(&["1"], "1")])]));
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await, ["1"]);
    for (nth, bound) in [(1, 500), (2, 1_000), (3, 2_000), (4, 4_000), (5, 8_000), (6, 10_000), (7, 10_000)] {
        let (least, most) = (1_000.max(bound / 2), 1_000.max(bound)); // one call a second at most
        assert!((least..=most).contains(&gap(&script, nth)), "{nth}: {}", gap(&script, nth));
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_that_end_before_their_first_event_are_no_busy_loop() {
    let script = script([Ok(vec![Beat::End]), Ok(vec![Beat::End]), Ok(vec![good(&["1"], "1")])]);
    assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await, ["1"]);
    assert!(gap(&script, 1) >= 1_000 && gap(&script, 2) >= 1_000);
}

#[tokio::test(start_paused = true)]
async fn no_continuation_and_child_shards_are_the_end_of_the_shard() {
    let last = Event { continuation: None, child_shards: children(), ..event(&["2"], "2") };
    let script = script([Ok(vec![good(&["1"], "1"), Beat::Event(last)])]);
    let mut reader = reader(&script, &Checkpoint::TrimHorizon);
    assert_eq!(read(&mut reader, 1).await, ["1"]);
    let batch = reader.next().await;
    assert_eq!((batch.records.len(), batch.end), (1, Some(children())));
}

#[tokio::test(start_paused = true)]
async fn an_event_with_neither_or_both_of_continuation_and_children_is_not_taken() {
    let mut orphans = children();
    orphans[0].parents.clear();
    let odd = [
        Event { continuation: None, ..event(&["2"], "2") },
        Event { child_shards: children(), ..event(&["2"], "2") },
        Event { continuation: None, child_shards: orphans, ..event(&["2"], "2") },
    ];
    for odd in odd {
        let script = script([Ok(vec![good(&["1"], "1"), Beat::Event(odd)]), Ok(vec![good(&["2"], "2")])]);
        assert_eq!(read(&mut reader(&script, &Checkpoint::TrimHorizon), 2).await, ["1", "2"]);
        assert_eq!(script.asked(), ["subscribe horizon", "subscribe after 1"]);
        assert!(gap(&script, 1) >= 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_ends_without_children() {
    let on_call = script([Err(FetchError::ShardGone)]);
    assert_eq!(reader(&on_call, &Checkpoint::TrimHorizon).next().await.end, Some(Vec::new()));
    let in_stream = script([Ok(vec![Beat::Fault(FetchError::ShardGone)])]);
    assert_eq!(reader(&in_stream, &Checkpoint::TrimHorizon).next().await.end, Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn first_subscriptions_are_spread_over_a_fifth_of_a_second() {
    for _ in 0..20 {
        let script = script([Ok(vec![good(&["1"], "1")])]);
        read(&mut reader(&script, &Checkpoint::TrimHorizon), 1).await;
        assert!(script.millis_of("subscribe")[0] <= 201);
    }
}
