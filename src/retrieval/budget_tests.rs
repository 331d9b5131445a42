use super::*;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const MIB: usize = 1 << 20;

#[test]
fn a_shard_reads_ahead_while_it_holds_no_more_than_is_free() {
    let table = [
        // free, own, wanted, overdue, admitted
        (10, 0, 10, false, true),
        (10, 0, 11, false, false),
        (10, 0, 11, true, true),
        (0, 0, 0, false, true),
        (10, 10, 10, false, true),
        (10, 11, 1, false, false),
        (10, 10, 11, false, false),
        (10, 11, 1, true, false), // time alone is no reason to read ahead
    ];
    for (free, own, wanted, overdue, admitted) in table {
        assert_eq!(admits(free, own, wanted, overdue), admitted, "{free} {own} {wanted} {overdue}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_nothing_is_served_in_order_as_bytes_come_back() {
    let budget = Budget::new(10 * MIB);
    let [a, b, c] = [(); 3].map(|()| budget.account());
    let first = a.take(8 * MIB).await;
    let order = Mutex::new(Vec::new());
    let note = |name: &'static str| order.lock().unwrap().push(name);
    tokio::join!(
        async {
            let _kept = (b.take(6 * MIB).await, note("b"), sleep(Duration::from_millis(100)).await);
        },
        async {
            sleep(Duration::from_millis(1)).await;
            let _kept = (c.take(MIB).await, note("c")); // there is room, but it is not its turn
        },
        async {
            sleep(Duration::from_millis(50)).await;
            note("a gives back");
            drop(first);
        },
    );
    assert_eq!(order.into_inner().unwrap(), ["a gives back", "b", "c"]);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn children_that_never_answer_do_not_starve_another_shard() {
    let budget = Budget::new(32 * MIB);
    let stuck: Vec<_> = (0..100).map(|_| budget.account()).collect();
    let mut kept = Vec::new();
    for account in &stuck {
        kept.push(account.take(4 * MIB).await); // each waits a second at most
    }
    let began = Instant::now();
    let alive = budget.account();
    for _ in 0..10 {
        drop(alive.take(4 * MIB).await);
    }
    assert!(began.elapsed() <= FIRST_WAIT * 10, "{:?}", began.elapsed());
    assert_eq!(budget.used(), 400 * MIB, "one answer each, no more");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_holds_its_share_waits_until_it_gives_back_however_long() {
    let budget = Budget::new(10 * MIB);
    let account = budget.account();
    let first = account.take(6 * MIB).await;
    assert!(timeout(Duration::from_secs(3_600), account.take(MIB)).await.is_err(), "6 MiB held, 4 free");
    let waits = account.take(20 * MIB);
    let gives = async {
        sleep(Duration::from_secs(60)).await;
        drop(first);
        Instant::now()
    };
    let (second, at) = tokio::join!(waits, gives);
    assert_eq!(Instant::now(), at, "it is overdue, so it goes at once when it holds nothing");
    drop(second);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_correction_downwards_lets_the_next_one_go() {
    let budget = Budget::new(10 * MIB);
    let (a, b) = (budget.account(), budget.account());
    let mut first = a.take(10 * MIB).await;
    let began = Instant::now();
    let correct = async {
        sleep(Duration::from_millis(10)).await;
        first.correct(MIB);
        first
    };
    let (second, first) = tokio::join!(b.take(8 * MIB), correct);
    assert_eq!(began.elapsed(), Duration::from_millis(10));
    assert_eq!(budget.used(), 9 * MIB);
    drop((first, second));
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_takes_nothing_and_holds_nobody_up() {
    let budget = Budget::new(10 * MIB);
    let [a, b, c] = [(); 3].map(|()| budget.account());
    let first = a.take(9 * MIB).await;
    assert!(timeout(Duration::from_millis(10), b.take(10 * MIB)).await.is_err());
    let third = c.take(MIB).await;
    assert_eq!(budget.used(), 10 * MIB);
    drop((first, third));
    assert_eq!(budget.used(), 0);
}

/// One batch of a shard: how many bytes were expected and came, in KiB, and how long the child takes in milliseconds.
fn batch() -> impl Strategy<Value = (usize, usize, u64)> {
    (0..4_000_usize, 0..14_000_usize, 0..3_000_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Shards fetch, keep up to two batches and give back; some children never answer.
    #[test]
    fn it_is_never_exceeded_by_more_than_one_answer_a_shard_and_everybody_gets_on(
        shards in prop::collection::vec(prop::collection::vec(batch(), 1..8), 1..12),
        stuck in 0..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let budget = Budget::new(32 * MIB);
            let most = budget.limit + 14_000 * 1024 * (shards.len() + stuck);
            let mut tasks = JoinSet::new();
            for _ in 0..stuck {
                let account = budget.account();
                tasks.spawn(async move {
                    let _kept = (account.take(14_000 * 1024).await, account.take(1024).await);
                    std::future::pending::<()>().await;
                });
            }
            let mut busy = JoinSet::new();
            for batches in shards.clone() {
                let (account, budget) = (budget.account(), Arc::clone(&budget));
                busy.spawn(async move {
                    let (sender, mut received) = tokio::sync::mpsc::channel(1);
                    let read = async {
                        for (expected, came, takes) in batches {
                            let mut grant = account.take(expected * 1024).await;
                            sleep(Duration::from_millis(20)).await;
                            grant.correct(came * 1024);
                            assert!(budget.used() <= most);
                            sender.send((grant, takes)).await.unwrap();
                        }
                        drop(sender);
                    };
                    let work = async {
                        while let Some((grant, takes)) = received.recv().await {
                            sleep(Duration::from_millis(takes)).await;
                            drop(grant);
                        }
                    };
                    tokio::join!(read, work);
                });
            }
            // each batch waits for its budget a second at most once nothing of its shard is left
            let limit = Duration::from_secs(8 * 5);
            let all = async { while let Some(ended) = busy.join_next().await { ended.unwrap() } };
            timeout(limit, all).await.expect("somebody starves");
            tasks.shutdown().await;
            assert_eq!(budget.used(), 0);
        });
    }
}
