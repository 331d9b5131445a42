use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::coordinator::testing::{NOW, beside, fleet, load_row, worker};
use crate::host::{Cpu, Host, NotMeasured};
use crate::lease::StateStore as _;
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

#[tokio::test(start_paused = true)]
async fn the_row_of_a_successor_with_our_name_stays() {
    let table = MemoryStore::new();
    let leaving = report(&table, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(5)).await;
    let successor = WorkerRow { last_update_seconds: Some(NOW.0 / 1000 + 6), ..load_row("a") };
    beside(&table).put_worker(&successor).await.unwrap();
    leaving.withdraw().await.unwrap();
    assert_eq!(table.snapshot().workers, [successor]);
}

#[test]
fn a_row_that_somebody_else_wrote_is_noticed_once_an_episode() {
    let mut written = Written::default();
    let table = [
        // we write at, and find, so that
        (100, Some(70), false, "an earlier process of our name died"),
        (130, Some(100), false, "it is as we left it"),
        (160, None, false, "somebody deleted it: a leader tidies up"),
        (190, Some(171), true, "a namesake"),
        (220, Some(201), false, "still the same one"),
        (250, Some(220), false, "it was slow"),
        (280, Some(251), false, "still the same one"),
        (310, Some(280), false, "it is going"),
        (340, Some(310), false, "it is going"),
        (370, Some(340), false, "it is going"),
        (400, Some(370), false, "it is gone"),
        (430, Some(401), true, "and back"),
        (460, Some(400), false, "an earlier report of ours was late"),
    ];
    for (at, before, told, why) in table {
        written.sending(at);
        assert_eq!(written.came_through(at, before), told, "{why}");
    }
}

#[test]
fn a_report_whose_answer_was_lost_is_no_namesake() {
    let mut written = Written::default();
    for at in [100, 105, 110] {
        written.sending(at);
    }
    assert!(!written.came_through(110, Some(105)));
    written.sending(140);
    written.sending(145);
    assert!(!written.came_through(145, Some(140)));
}

#[tokio::test(start_paused = true)]
async fn two_processes_of_one_name_find_out_even_if_they_start_at_the_same_instant() {
    fastrand::seed(1); // the pauses between reports
    let table = MemoryStore::new();
    let other = beside(&table);
    let time = Duration::from_secs(300);
    let (one, two) = tokio::join!(report(&table, time), report(&other, time));
    assert!(one.written.namesake > 0 || two.written.namesake > 0);
}

/// A machine that is half busy.
struct Half;

#[async_trait]
impl Cpu for Half {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        Ok(50.0)
    }
}

#[async_trait]
impl Host for Half {
    async fn find_cpu(&self) -> Option<Box<dyn Cpu>> {
        Some(Box::new(Half))
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_of_the_cpu_comes_with_the_second_report_two_captures_later() {
    let table = MemoryStore::new();
    let mut fleet = fleet(&table, "a");
    fleet.host = Arc::new(Half);
    let stop = CancellationToken::new();
    let watch = async {
        sleep(Duration::from_millis(1)).await;
        assert_eq!(table.snapshot().workers[0].stats, BTreeMap::new(), "the first row does not wait");
        sleep(Duration::from_secs(2)).await;
        let row = &table.snapshot().workers[0];
        assert_eq!(row.stats, BTreeMap::from([("C".to_owned(), vec![50.0])]));
        assert_eq!(row.operating_ranges, BTreeMap::from([("C".to_owned(), vec![100.0])]));
        sleep(Duration::from_secs(31)).await;
        assert_eq!(table.snapshot().workers[0].stats["C"], [50.0, 50.0]);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(table.snapshot().workers[0].stats["C"].len(), 10, "the last ten");
        stop.cancel();
    };
    tokio::join!(Reporter::new(fleet).run(stop.clone()), watch);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_has_to_be_tried_again_is_the_same_report() {
    let table = MemoryStore::new();
    let mut fleet = fleet(&table, "a");
    fleet.host = Arc::new(Half);
    let stop = CancellationToken::new();
    let watch = async {
        sleep(Duration::from_secs(5)).await;
        table.faults().next(Operation::PutWorker, 3, Fault::Throttled);
        sleep(Duration::from_secs(50)).await;
        assert_eq!(table.faults().calls(Operation::PutWorker), 6);
        let row = &table.snapshot().workers[0];
        assert_eq!(row.stats["C"], [50.0, 50.0]);
        assert!(row.last_update_seconds.unwrap() >= NOW.0 / 1000 + 44, "written now");
        stop.cancel();
    };
    tokio::join!(Reporter::new(fleet).run(stop.clone()), watch);
}
