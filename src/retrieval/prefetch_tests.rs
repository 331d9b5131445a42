use super::*;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Gives batches of these sizes, one a second, and counts them; the last one ends the shard.
struct Sized {
    sizes: VecDeque<usize>,
    fetched: Arc<AtomicUsize>,
}

#[async_trait]
impl RecordReader for Sized {
    async fn next(&mut self) -> Batch {
        sleep(Duration::from_secs(1)).await;
        let bytes = self.sizes.pop_front().expect("not asked after the end");
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let end = self.sizes.is_empty().then(Vec::new);
        Batch { records: Vec::new(), millis_behind_latest: None, end, bytes }
    }
}

fn start(sizes: &[usize], limits: PrefetchLimits) -> (Prefetch, Arc<AtomicUsize>, JoinSet<()>) {
    let (fetched, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let reader = Sized { sizes: sizes.iter().copied().collect(), fetched: fetched.clone() };
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
