use tokio::sync::mpsc;

use super::*;
use crate::coordinator::Assignment;
use crate::coordinator::sync::FIRST_AUDIT;
use crate::coordinator::testing::{F, NOW, beside, fleet, lease, load_row, row, shard, worker};
use crate::lease::memory::MemoryStore;
use crate::lease::memory::faults::{Fault, Operation};
use crate::lease::{LeaseStore, LockRow, StateStore};

/// One worker's looks at a table, without a lock of its own: the test says who leads.
struct Side {
    rounds: Rounds,
    leader: channel::Sender<Leadership>,
    assignments: mpsc::Receiver<Assignment>,
}

impl Side {
    fn of(table: &MemoryStore, name: &str) -> Self {
        let (sender, assignments) = mpsc::channel(64);
        let fleet = fleet(table, name);
        let holdings = Arc::new(Holdings::new(fleet.clone(), sender, CancellationToken::new()));
        let (leader, watched) = channel::channel(Leadership::Unknown);
        let rounds = Rounds::new(fleet, holdings, watched, Signals::default(), Arc::default());
        Self { rounds, leader, assignments }
    }

    fn leading(table: &MemoryStore, name: &str) -> Self {
        let side = Self::of(table, name);
        side.leader.send_replace(Leadership::Mine);
        side
    }

    /// The lock names `owner` and has not changed since now.
    fn below(table: &MemoryStore, name: &str, owner: &str) -> Self {
        let side = Self::of(table, name);
        side.follow(owner);
        side
    }

    fn follow(&self, owner: &str) {
        self.leader.send_replace(Leadership::Theirs { owner: worker(owner), unchanged_since: Instant::now() });
    }

    /// Looks whenever it is time, until it has something; says how long that took.
    async fn until_assigned(&mut self, limit: Duration) -> Option<Duration> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            let pause = self.rounds.round().await;
            if self.assignments.try_recv().is_ok() {
                return Some(begin.elapsed());
            }
            sleep(pause).await;
        }
        None
    }

    async fn look_for(&mut self, time: Duration) -> usize {
        let begin = Instant::now();
        let mut looks = 0;
        while begin.elapsed() < time {
            sleep(self.rounds.round().await).await;
            looks += 1;
        }
        looks
    }
}

fn owners(table: &MemoryStore) -> Vec<Option<String>> {
    table.snapshot().leases.iter().map(|lease| lease.owner.as_ref().map(ToString::to_string)).collect()
}

async fn report(table: &MemoryStore, name: &str) {
    beside(table).put_worker(&load_row(name)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_gives_ownerless_leases_at_the_first_look() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, None));
    let mut a = Side::leading(&table, "a");
    assert_eq!(a.until_assigned(F).await, Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_leader_gives_an_abandoned_lease_when_it_has_seen_it_stand_still_for_the_failover_time() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    let mut a = Side::leading(&table, "a");
    let took = a.until_assigned(F * 3).await.unwrap();
    assert!((F..=F + SHORTEST).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lone_worker_takes_abandoned_leases_under_a_dead_leaders_lock() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    table.put_lease(&lease(1, Some("dead")));
    report(&table, "dead").await; // its load row outlives it
    let mut a = Side::below(&table, "a", "dead");
    let took = a.until_assigned(F * 3).await.unwrap();
    assert!((F..=F + SHORTEST).contains(&took), "{took:?}");
    assert_eq!(owners(&table), [Some("a".to_owned()), Some("a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_while_the_leader_lives() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    let mut a = Side::below(&table, "a", "leader");
    for _ in 0..10 {
        report(&table, "leader").await;
        a.follow("leader"); // it beats
        assert_eq!(a.look_for(F).await.min(1), 1);
    }
    assert_eq!(owners(&table), [Some("dead".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_holds_nothing_is_missed_when_two_of_its_beats_are_due() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    report(&table, "leader").await;
    let mut a = Side::below(&table, "a", "leader");
    let took = a.until_assigned(F * 10).await.unwrap();
    assert!((LOCK_SILENT..LOCK_SILENT + F).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_second_looks_closely_while_the_leader_is_gone_and_not_because_a_leader_has_no_row() {
    let table = MemoryStore::new();
    for name in ["a", "c"] {
        report(&table, name).await;
    }
    let mut c = Side::below(&table, "c", "leader");
    let b = beside(&table);
    let mut looks = async |beats: bool| {
        let (begin, mut looks) = (Instant::now(), 0);
        while begin.elapsed() < F * 3 {
            b.put_worker(&WorkerRow { last_update_seconds: Some(NOW.0 / 1000 + looks), ..load_row("a") })
                .await
                .unwrap();
            table.put_lease(&Lease { counter: crate::types::LeaseCounter(looks), ..lease(0, Some("a")) });
            if beats && looks % 8 == 0 {
                c.follow("leader");
            }
            sleep(c.rounds.round().await).await;
            looks += 1;
        }
        looks
    };
    let (now_and_then, closely) = (12..=14, 32..=36);
    assert!(now_and_then.contains(&looks(true).await), "it has no row yet, but it beats");
    report(&table, "leader").await;
    assert!(now_and_then.contains(&looks(true).await));
    beside(&table).delete_worker(&worker("leader"), NOW.0 / 1000).await.unwrap();
    let count = looks(false).await;
    assert!(closely.contains(&count), "{count}: it was taken for dead");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_while_the_leader_looks_is_not_taken_away() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("b")));
    let mut a = Side::leading(&table, "a");
    a.rounds.round().await;
    // The answer to the second scan is so slow that the lease looks expired when it is there.
    let slow = Fault::Slow { before: F / 2, after: F };
    table.faults().next(Operation::List, 1, slow);
    let b = beside(&table);
    let renewal = async {
        sleep(F).await;
        b.renew(&shard(0), row(&b, 0).counter, None, crate::lease::HandoffKnown::No).await.unwrap();
    };
    tokio::join!(a.rounds.round(), renewal);
    assert_eq!(owners(&table), [Some("b".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_died_is_given_nothing_until_it_reports_again() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    report(&table, "dead").await;
    let mut a = Side::leading(&table, "a");
    a.until_assigned(F * 2).await.unwrap();
    for number in 1..4 {
        table.put_lease(&lease(number, None)); // the dead one would be the least loaded
        a.rounds.round().await;
    }
    assert!(owners(&table).iter().all(|owner| owner.as_deref() == Some("a")), "{:?}", owners(&table));
    let again = WorkerRow { last_update_seconds: Some(NOW.0 / 1000 + 15), ..load_row("dead") };
    beside(&table).put_worker(&again).await.unwrap();
    table.put_lease(&lease(9, None));
    a.rounds.round().await;
    assert!(owners(&table).contains(&Some("dead".to_owned())), "it lives after all");
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_last_lease_of_the_dead_deletes_their_load_row() {
    for leads in [true, false] {
        let table = MemoryStore::new();
        for number in 0..2 {
            table.put_lease(&lease(number, Some("dead")));
        }
        for name in ["dead", "idle"] {
            report(&table, name).await;
        }
        let mut a = if leads { Side::leading(&table, "a") } else { Side::below(&table, "a", "dead") };
        a.rounds.round().await;
        sleep(F + SHORTEST).await;
        let named = || table.snapshot().workers.into_iter().map(|row| row.worker).collect::<Vec<_>>();
        table.faults().next(Operation::Take, 1, Fault::Throttled);
        a.rounds.round().await;
        let of_dead = owners(&table).iter().filter(|owner| owner.as_deref() == Some("dead")).count();
        assert_eq!((of_dead, named()), (1, vec![worker("dead"), worker("idle")]), "leads: {leads}");
        a.rounds.round().await;
        assert_eq!(named(), [worker("idle")], "leads: {leads}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_reports_after_its_leases_were_taken_keeps_its_load_row() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("slow")));
    report(&table, "slow").await;
    let mut a = Side::leading(&table, "a");
    a.rounds.round().await;
    sleep(F + SHORTEST).await;
    let reported = WorkerRow { last_update_seconds: Some(NOW.0 / 1000 + 10), ..load_row("slow") };
    let slow = beside(&table);
    // While the leader takes the lease.
    table.faults().next(Operation::Take, 1, Fault::Slow { before: Duration::from_secs(1), after: Duration::ZERO });
    let reports = async {
        sleep(Duration::from_millis(500)).await;
        slow.put_worker(&reported).await.unwrap();
    };
    tokio::join!(a.rounds.round(), reports);
    assert_eq!(owners(&table), [Some("a".to_owned())]);
    assert_eq!(table.snapshot().workers, [reported]);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_lease_that_cannot_be_given_away_is_not_looked_at_all_the_time() {
    let table = MemoryStore::new();
    table.put_lease(&lease(0, Some("dead")));
    let mut a = Side::leading(&table, "a");
    a.rounds.fleet.config.max_leases_for_worker = 0;
    let looks = a.look_for(F * 12).await;
    assert!((40..60).contains(&looks), "{looks} looks in two minutes");
}

#[tokio::test(start_paused = true)]
async fn the_leader_creates_the_leases_of_an_empty_table_at_once() {
    let table = MemoryStore::new();
    let mut a = Side::leading(&table, "a");
    assert_eq!(a.until_assigned(F).await, Some(Duration::ZERO));
    assert_eq!(table.snapshot().leases.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_creates_the_first_leases_only_after_the_failover_time() {
    let table = MemoryStore::new();
    let mut a = Side::below(&table, "a", "leader");
    a.look_for(F).await;
    assert_eq!(table.snapshot().leases.len(), 0);
    a.look_for(F / 2).await;
    assert_eq!(table.snapshot().leases.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn first_leases_that_could_be_made_only_in_part_are_made_at_the_next_look() {
    let table = MemoryStore::new();
    let mut a = Side::leading(&table, "a");
    // The second lease of two.
    table.faults().next(Operation::Create, 1, Fault::Slow { before: Duration::ZERO, after: Duration::ZERO });
    table.faults().next(Operation::Create, 1, Fault::Throttled);
    a.rounds.round().await;
    assert_eq!(table.snapshot().leases.len(), 1);
    a.look_for(F).await;
    assert_eq!(table.snapshot().leases.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handoff_that_nobody_answers_is_forced_when_its_time_is_over() {
    let table = MemoryStore::new();
    let mut asked = lease(0, Some("a"));
    asked.checkpoint_owner = Some(worker("b"));
    table.put_lease(&asked);
    let mut a = Side::leading(&table, "a");
    let b = beside(&table);
    let begin = Instant::now();
    let took = loop {
        a.rounds.round().await;
        if a.assignments.try_recv().is_ok() {
            break begin.elapsed();
        }
        sleep(Duration::from_secs(1)).await;
        let known = crate::lease::HandoffKnown::Yes;
        b.renew(&shard(0), row(&b, 0).counter, None, known).await.unwrap();
    };
    let limit = Duration::from_secs(30) + F;
    assert!((limit..limit + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_the_share_of_a_worker_that_takes_nothing_is_taken_by_others() {
    let table = MemoryStore::new();
    for number in 0..4 {
        table.put_lease(&lease(number, Some("dead")));
    }
    report(&table, "idle").await; // died before it held anything
    let mut a = Side::below(&table, "a", "dead");
    a.look_for(F * 3 / 2).await;
    let taken = || owners(&table).iter().filter(|owner| owner.as_deref() == Some("a")).count();
    assert_eq!(taken(), 2, "its own share first");
    a.look_for(F * 3 / 2).await;
    assert_eq!(taken(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_a_dead_leader_gives_everybody_their_share_and_a_member_takes_its_own() {
    for (name, time, given) in [("a", F * 7 / 4, 4), ("c", F * 7 / 4, 2)] {
        let table = MemoryStore::new();
        for number in 0..4 {
            table.put_lease(&lease(number, Some("dead")));
        }
        for other in ["a", "c", "dead"] {
            report(&table, other).await;
        }
        let mut side = Side::below(&table, name, "dead");
        side.look_for(time).await;
        let owners = owners(&table);
        let of = |name: &str| owners.iter().filter(|owner| owner.as_deref() == Some(name)).count();
        assert_eq!((of("a") + of("c"), of(name)), (given, 2), "{name}: {owners:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_leader_looks_each_second_but_moves_leases_for_balance_only_at_the_interval() {
    let table = MemoryStore::new();
    for number in 0..4 {
        table.put_lease(&lease(number, Some("a")));
    }
    let mut a = Side::leading(&table, "a");
    let b = beside(&table);
    let mut begun = Vec::new();
    let mut seconds = 0;
    while seconds < 150 {
        let reported = NOW.0 / 1000 + seconds;
        b.put_worker(&WorkerRow { last_update_seconds: Some(reported), ..load_row("b") }).await.unwrap();
        a.rounds.round().await;
        for lease in table.snapshot().leases {
            if lease.checkpoint_owner.is_some() {
                begun.push(seconds);
                // Answered at once; and b is gone from the lease again, so that there is always something to even out.
                table.put_lease(&Lease { owner: Some(worker("a")), checkpoint_owner: None, ..lease });
            }
        }
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
    begun.dedup();
    assert_eq!(begun, [0, 60, 120]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_deletes_load_rows_that_nobody_has_written_for_a_day() {
    let table = MemoryStore::new();
    let day = 24 * 3600;
    for (name, age) in [("gone", day + 60), ("away", day - 600)] {
        let row = WorkerRow { last_update_seconds: Some(NOW.0 / 1000 - age), ..load_row(name) };
        beside(&table).put_worker(&row).await.unwrap();
    }
    let mut a = Side::leading(&table, "a");
    a.look_for(FIRST_AUDIT + F).await;
    let left: Vec<_> = table.snapshot().workers.into_iter().map(|row| row.worker).collect();
    assert_eq!(left, [worker("away")]);
}

#[tokio::test(start_paused = true)]
async fn first_leases_that_a_dead_worker_created_in_part_are_made_whole_soon() {
    let table = MemoryStore::new();
    let mut only = Lease::new(shard(0), crate::types::Checkpoint::TrimHorizon);
    only.hash_range = Some(crate::types::HashKeyRange { start: 0, end: u128::MAX / 2 });
    table.put_lease(&only);
    let mut a = Side::leading(&table, "a");
    a.look_for(F * 7 / 2).await;
    assert_eq!(table.snapshot().leases.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_look_for_long_resigns() {
    let table = MemoryStore::new();
    let mut a = Side::leading(&table, "a");
    a.look_for(F).await;
    table.faults().next(Operation::List, usize::from(u8::MAX), Fault::Throttled);
    let begin = Instant::now();
    let resign = a.rounds.signals.resign.clone();
    tokio::select! {
        () = resign.notified() => {}
        _ = a.look_for(F * 30) => panic!("it holds on to the lock"),
    }
    let limit = F * 6; // three assignment runs
    assert!((limit..limit + F * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_load_row_was_taken_away_gives_itself_nothing_until_it_reports_again() {
    let table = MemoryStore::new();
    for name in ["a", "b"] {
        report(&table, name).await;
    }
    let mut a = Side::leading(&table, "a");
    a.rounds.round().await;
    beside(&table).delete_worker(&worker("a"), NOW.0 / 1000).await.unwrap(); // while it stood still
    for number in 2..4 {
        table.put_lease(&lease(number, None));
    }
    a.rounds.round().await;
    let of_a = || owners(&table).iter().filter(|owner| owner.as_deref() == Some("a")).count();
    assert_eq!(of_a(), 1, "what it had: {:?}", owners(&table));
    report(&table, "a").await;
    for number in 4..8 {
        table.put_lease(&lease(number, None));
    }
    a.rounds.round().await;
    assert_eq!(of_a(), 4, "{:?}", owners(&table));
}

#[tokio::test(start_paused = true)]
async fn who_sees_another_name_on_the_lock_does_not_lead_whatever_it_believes() {
    let table = MemoryStore::new();
    let lock = LockRow { owner: worker("b"), lease_duration: F * 12, version: "v".to_owned() };
    assert!(beside(&table).take_lock(&lock, None).await.unwrap());
    table.put_lease(&lease(0, None));
    let mut a = Side::leading(&table, "a");
    a.rounds.round().await;
    assert_eq!(owners(&table), [None]);
    assert!(beside(&table).release_lock(&lock).await.unwrap());
    a.rounds.round().await;
    assert_eq!(owners(&table), [Some("a".to_owned())]);
}
