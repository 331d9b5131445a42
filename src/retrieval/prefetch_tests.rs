use super::*;
use crate::clock::PausedClock;
use crate::config::Polling;
use crate::retrieval::polling::PollingSource;
use crate::retrieval::script::{Play, Script, answer, open, record, shared, throttled};
use crate::types::{Checkpoint, EpochMillis, InitialPosition};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Gives batches of these sizes, one a second, and counts them; the last one ends the shard.
struct Sized {
    sizes: VecDeque<usize>,
    records: usize,
    fetched: Arc<AtomicUsize>,
}

#[async_trait]
impl RecordReader for Sized {
    async fn next(&mut self) -> Batch {
        sleep(Duration::from_secs(1)).await;
        let bytes = self.sizes.pop_front().expect("not asked after the end");
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let end = self.sizes.is_empty().then(Vec::new);
        Batch { records: vec![record("1"); self.records], millis_behind_latest: None, end, bytes }
    }
}

fn start(sizes: &[usize], limits: PrefetchLimits) -> (Prefetch, Arc<AtomicUsize>, JoinSet<()>) {
    start_with(sizes, 0, limits)
}

fn start_with(sizes: &[usize], records: usize, limits: PrefetchLimits) -> (Prefetch, Arc<AtomicUsize>, JoinSet<()>) {
    let (fetched, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let reader = Sized { sizes: sizes.iter().copied().collect(), records, fetched: fetched.clone() };
    (Prefetch::start(Box::new(reader), limits, &mut tasks), fetched, tasks)
}

async fn settle() {
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn at_most_four_polled_batches_wait() {
    let (mut prefetch, fetched, _tasks) = start(&[0; 9], PrefetchLimits::POLLING);
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 4);
    prefetch.recv().await.unwrap();
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn one_event_of_a_subscription_waits() {
    let (mut prefetch, fetched, _tasks) = start(&[0; 9], PrefetchLimits::FAN_OUT);
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
    prefetch.recv().await.unwrap();
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_while_eight_mebibytes_wait() {
    let mib = 1 << 20;
    let (mut prefetch, fetched, _tasks) = start(&[5 * mib, 3 * mib, mib, mib, mib], PrefetchLimits::POLLING);
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 2);
    prefetch.recv().await.unwrap();
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 5, "3 + 1 + 1 + 1 MiB wait");
}

/// Gives batches that are so far behind, one a second: those at `with_record` have one, the last one ends the shard.
struct Behind {
    millis: Vec<Option<i64>>,
    with_record: Vec<usize>,
    at: usize,
}

#[async_trait]
impl RecordReader for Behind {
    async fn next(&mut self) -> Batch {
        sleep(Duration::from_secs(1)).await;
        let records = self.with_record.iter().filter(|at| **at == self.at).map(|_| record("1")).collect();
        let millis_behind_latest = self.millis[self.at];
        self.at += 1;
        Batch { records, millis_behind_latest, end: (self.at == self.millis.len()).then(Vec::new), bytes: 1 }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_that_says_nothing_new_is_kept_from_who_wants_only_news() {
    let millis = vec![Some(0), Some(0), Some(7), Some(7), None, None, None, Some(0), Some(0), Some(0), Some(0)];
    let reader = || Box::new(Behind { millis: millis.clone(), with_record: vec![5, 8], at: 0 });
    let mut tasks = JoinSet::new();
    for (only_news, wanted) in
        [(false, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11][..]), (true, &[1, 3, 5, 6, 7, 8, 9, 10, 11])]
    {
        let budget = Budget::new(100);
        let limits = PrefetchLimits { budget: Some(Arc::clone(&budget)), ..PrefetchLimits::FAN_OUT };
        let (began, mut came) = (tokio::time::Instant::now(), Vec::new());
        let mut prefetch = Prefetch::start(reader(), limits, &mut tasks);
        if only_news {
            prefetch.only_news();
        }
        while let Some(batch) = prefetch.recv().await {
            let second = began.elapsed().as_secs();
            assert_eq!(batch.millis_behind_latest, millis[usize::try_from(second).unwrap() - 1]);
            came.push(second);
        }
        assert_eq!((&came[..], budget.used()), (wanted, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_above_the_bound_comes_through_when_nothing_waits() {
    let (mut prefetch, fetched, _tasks) = start(&[100 << 20; 3], PrefetchLimits::POLLING);
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
    for nth in 1..=3 {
        assert_eq!(prefetch.recv().await.unwrap().end.is_some(), nth == 3);
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_the_task_is_over_and_nothing_comes() {
    let (mut prefetch, _, mut tasks) = start(&[0, 0], PrefetchLimits::POLLING);
    assert!(prefetch.recv().await.unwrap().end.is_none());
    assert!(prefetch.recv().await.unwrap().end.is_some());
    assert_eq!(prefetch.recv().await, None);
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_it_stops_the_reader_in_the_middle_of_a_fetch() {
    let (prefetch, fetched, mut tasks) = start(&[0; 9], PrefetchLimits::POLLING);
    sleep(Duration::from_millis(1_500)).await;
    drop(prefetch);
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_given_up_loses_no_batch() {
    let (mut prefetch, _, _tasks) = start(&[1, 2, 3], PrefetchLimits::POLLING);
    let mut sizes = Vec::new();
    while sizes.len() < 3 {
        if let Ok(Some(batch)) = timeout(Duration::from_millis(300), prefetch.recv()).await {
            sizes.push(batch.bytes);
        }
    }
    assert_eq!(sizes, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_while_thirty_thousand_records_wait() {
    let (mut prefetch, fetched, _tasks) = start_with(&[0; 9], 10_000, PrefetchLimits::POLLING);
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 3);
    prefetch.recv().await.unwrap();
    settle().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_given_back_when_the_next_batch_is_asked_for() {
    let budget = Budget::new(100);
    let limits = PrefetchLimits { budget: Some(Arc::clone(&budget)), ..PrefetchLimits::FAN_OUT };
    let (mut prefetch, fetched, _tasks) = start(&[80, 70, 60], limits);
    prefetch.recv().await.unwrap();
    settle().await;
    assert_eq!((fetched.load(Ordering::SeqCst), budget.used()), (1, 80), "in work, and too much to read ahead");
    prefetch.recv().await.unwrap();
    assert_eq!(budget.used(), 70);
    drop(prefetch);
    settle().await;
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_child_hangs_lets_others_read() {
    let budget = Budget::new(100);
    let limits = PrefetchLimits { budget: Some(Arc::clone(&budget)), ..PrefetchLimits::POLLING };
    let (mut hung, _, _tasks) = start(&[90; 9], limits.clone());
    hung.recv().await.unwrap();
    let (mut other, fetched, _others) = start(&[90; 5], limits);
    let began = tokio::time::Instant::now();
    while other.recv().await.is_some() {}
    assert_eq!(fetched.load(Ordering::SeqCst), 5);
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_refused_keeps_no_memory_for_the_answer_while_it_waits() {
    let refusals = (0..6).map(|_| Play::Fault(throttled()));
    let script = shared(Script::polling(refusals.chain([Play::Answer(answer(&["1"], "b", 0))])));
    let settings = Polling {
        max_records: 10,
        idle: Duration::from_secs(1),
        follows_arrivals: false,
        reduced_tps_threshold: Duration::ZERO,
    };
    let clock = Arc::new(PausedClock::new(EpochMillis(0)));
    let source = PollingSource::over(script.clone(), settings, InitialPosition::TrimHorizon, clock);
    let budget = Budget::new(100);
    let limits = PrefetchLimits { budget: Some(Arc::clone(&budget)), ..PrefetchLimits::POLLING };
    let mut tasks = JoinSet::new();
    let mut prefetch = Prefetch::start(open(&source, &Checkpoint::TrimHorizon), limits, &mut tasks);
    let receiving = async { prefetch.recv().await.unwrap().records.len() };
    let watching = async {
        for nth in 1..7 {
            while script.millis_of("records").len() < nth {
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(budget.used(), 0, "after refusal {nth}");
        }
    };
    assert_eq!(tokio::join!(receiving, watching), (1, ()));
}
