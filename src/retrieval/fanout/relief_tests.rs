use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::FanOutSource;
use super::service::{PACE, Service};
use crate::clock::PausedClock;
use crate::config::Compatibility;
use crate::retrieval::RecordReader;
use crate::retrieval::script::open;
use crate::types::{Checkpoint, EpochMillis, InitialPosition};

/// A record's way from the service. There and back and there again is longer than the pace of records, so no gap of a
/// new request goes unseen.
const WAY: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(1_300);

fn reader(service: &Arc<Service>) -> Box<dyn RecordReader> {
    let source = FanOutSource {
        api: service.clone(),
        consumer_arn: "arn:consumer".into(),
        initial: InitialPosition::TrimHorizon,
        clock: Arc::new(PausedClock::new(EpochMillis(1_000_000))),
        compatibility: Compatibility::Safe,
    };
    open(&source, &Checkpoint::TrimHorizon)
}

/// Reads until so much time has gone since the service began, pausing as told by the number of each record; the
/// longest time that one took from the service to here. Each must come once, and in order.
async fn longest_delay(service: &Service, mut reader: Box<dyn RecordReader>, pause: fn(u32) -> Duration) -> Duration {
    let (mut longest, mut expected) = (Duration::ZERO, 1);
    while service.began.elapsed() < LONG {
        for record in reader.next().await.records {
            assert_eq!(record.sequence.as_str(), expected.to_string());
            if expected > 10 {
                longest = longest.max(Instant::now() - service.put_at(expected)); // the first ones waited for the start
            }
            expected += 1;
            sleep(pause(expected)).await;
        }
    }
    assert!(PACE * (expected + 4_000) > LONG, "only {expected} records came");
    longest
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_five_minutes_leave_no_gap_in_what_comes() {
    let service = Service::new(WAY, |_| false);
    assert_eq!(longest_delay(&service, reader(&service), |_| Duration::ZERO).await, WAY);
    let calls = service.calls();
    let ages: Vec<_> = calls.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(ages.iter().all(|age| (209..=270).contains(age)), "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_replacement_is_asked_for_again_while_the_old_subscription_is_still_read() {
    let service = Service::new(WAY, |nth| nth > 1 && nth % 4 != 0);
    assert_eq!(longest_delay(&service, reader(&service), |_| Duration::ZERO).await, WAY);
    assert!(service.calls().len() > 12);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_comes_twice_when_a_slow_child_sleeps_over_the_replacement_or_the_end() {
    let service = Service::new(WAY, |nth| nth % 5 == 0);
    let pause = |number: u32| match number {
        n if n % 4_000 == 0 => Duration::from_secs(320),
        n if n % 2_300 == 0 => Duration::from_secs(45),
        _ => Duration::ZERO,
    };
    longest_delay(&service, reader(&service), pause).await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_that_began_together_are_replaced_one_after_the_other() {
    let mut seconds = Vec::new();
    for _ in 0..60 {
        let service = Service::new(WAY, |_| false);
        let mut reader = reader(&service);
        while service.calls().len() < 2 {
            reader.next().await;
        }
        seconds.push(service.calls()[1].as_secs());
    }
    let most = (0..400).map(|second| seconds.iter().filter(|other| **other == second).count()).max().unwrap();
    assert!(most < 12, "{most} of 60 within the same second");
}
