use super::*;
use crate::coordinator::testing::{fleet, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};

/// Reports for `time`, then stops.
async fn report(table: &MemoryStore, time: Duration) -> Reporter {
    let stop = CancellationToken::new();
    let stopper = async {
        sleep(time).await;
        stop.cancel();
    };
    tokio::join!(Reporter::new(fleet(table, "a")).run(stop.clone()), stopper).0
}

#[tokio::test(start_paused = true)]
async fn a_worker_reports_at_once_and_then_at_the_interval() {
    let table = MemoryStore::new();
    report(&table, Duration::from_secs(65)).await;
    assert_eq!(table.faults().calls(Operation::PutWorker), 3);
    assert_eq!(table.snapshot().workers[0].worker, worker("a"));
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_answer_was_lost_is_withdrawn_too() {
    let table = MemoryStore::new();
    table.faults().next(Operation::PutWorker, 1, Fault::LostReply);
    let reporter = report(&table, Duration::from_secs(1)).await;
    reporter.withdraw().await.unwrap();
    assert_eq!(table.snapshot().workers, []);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_was_cut_short_is_withdrawn_too() {
    let table = MemoryStore::new();
    let slow = Fault::Slow { before: Duration::ZERO, after: Duration::from_secs(8) };
    table.faults().next(Operation::PutWorker, 1, slow);
    let begin = tokio::time::Instant::now();
    let reporter = report(&table, Duration::from_secs(1)).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(1), "stopping does not wait for the answer");
    reporter.withdraw().await.unwrap();
    assert_eq!(table.snapshot().workers, []);
}

#[tokio::test(start_paused = true)]
async fn withdrawing_survives_faults_that_time_can_cure() {
    for fault in [Fault::LostRequest, Fault::LostReply, Fault::SentTwice, Fault::Throttled] {
        let table = MemoryStore::new();
        let reporter = report(&table, Duration::from_secs(1)).await;
        table.faults().next(Operation::DeleteWorker, 1, fault);
        reporter.withdraw().await.unwrap();
        assert_eq!(table.snapshot().workers, [], "{fault:?}");
    }
}
