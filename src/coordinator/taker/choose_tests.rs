use std::collections::BTreeSet;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::coordinator::testing::{F, lease, worker};

const RULES: Rules = Rules { failover_time: F, max_leases: usize::MAX, max_steals: 1, priority: true };
const FRESH: Option<Duration> = Some(Duration::from_secs(1));
const EXPIRED: Option<Duration> = Some(Duration::from_secs(11));
const OLD: Option<Duration> = Some(Duration::from_secs(31));
const NEVER: Option<Duration> = None;

/// What it is, the rows, the rules, the occasion, and how many leases are taken why.
type Case<'a> = (&'a str, &'a [Row], &'a Rules, Occasion, (usize, Option<Why>));
type Row = (Option<&'static str>, Option<Duration>);

/// How many leases `me` takes, and why; everything that names `me` and is fresh is in our hands.
fn taken(rows: &[Row], rules: &Rules, occasion: Occasion) -> (usize, Option<Why>) {
    let leases: Vec<Lease> = (0..).zip(rows).map(|(number, (owner, _))| lease(number, *owner)).collect();
    let candidate = |(lease, (owner, age)): (_, &Row)| Candidate {
        lease,
        age: *age,
        in_our_hands: *owner == Some("me") && *age == FRESH,
    };
    let candidates: Vec<_> = leases.iter().zip(rows).map(candidate).collect();
    let taken = choose(&candidates, &worker("me"), rules, occasion, &mut Rng::with_seed(7));
    (taken.len(), taken.first().map(|(_, why)| *why))
}

#[test]
fn leases_are_chosen_as_workers_of_2x_choose_them() {
    use Occasion::{Due, Event};
    let (a, b, me) = (Some("a"), Some("b"), Some("me"));
    let plain = Rules { priority: false, ..RULES };
    let greedy = Rules { max_steals: 3, ..RULES };
    let small = Rules { max_leases: 1, ..RULES };
    #[rustfmt::skip]
    let table: [Case<'_>; 19] = [
        ("nothing there",                 &[],                                                      &RULES,  Due,   (0, None)),
        ("new leases, all of them",       &[(None, NEVER); 4],                                      &RULES,  Due,   (4, Some(Why::VeryOld))),
        ("up to the limit",               &[(None, NEVER); 4],                                      &small,  Due,   (1, Some(Why::VeryOld))),
        ("without priority: the target",  &[(None, NEVER), (None, NEVER), (a, FRESH), (a, FRESH)],  &plain,  Due,   (2, Some(Why::Available))),
        ("very old goes before expired",  &[(a, OLD), (a, EXPIRED), (b, FRESH), (b, FRESH)],        &RULES,  Due,   (1, Some(Why::VeryOld))),
        ("very old, at the limit",        &[(a, OLD), (a, EXPIRED), (me, FRESH)],                   &small,  Due,   (0, None)),
        ("expired: up to the target",     &[(a, EXPIRED), (a, EXPIRED), (a, EXPIRED), (b, FRESH)],  &RULES,  Due,   (2, Some(Why::Available))),
        ("given back: up to the target",  &[(None, FRESH), (None, FRESH), (a, FRESH), (a, FRESH)],  &RULES,  Due,   (2, Some(Why::Available))),
        ("on an event as well",           &[(a, EXPIRED), (a, EXPIRED), (a, EXPIRED), (b, FRESH)],  &RULES,  Event, (2, Some(Why::Available))),
        ("nothing above the target",      &[(a, EXPIRED), (me, FRESH), (me, FRESH), (b, FRESH)],    &RULES,  Due,   (0, None)),
        ("one by one from the richest",   &[(a, FRESH), (a, FRESH), (a, FRESH), (a, FRESH)],        &RULES,  Due,   (1, Some(Why::Steal))),
        ("or more, if so configured",     &[(a, FRESH), (a, FRESH), (a, FRESH), (a, FRESH)],        &greedy, Due,   (2, Some(Why::Steal))),
        ("never on an event",             &[(a, FRESH), (a, FRESH), (a, FRESH), (a, FRESH)],        &RULES,  Event, (0, None)),
        ("one from a full one, if two are needed", &[(a, FRESH), (a, FRESH), (b, FRESH), (b, FRESH), (me, FRESH)], &RULES, Due, (0, None)),
        ("the same, two are needed",      &[(a, FRESH), (a, FRESH), (b, FRESH), (b, FRESH)],        &RULES,  Due,   (1, Some(Why::Steal))),
        ("one lease each is enough",      &[(a, FRESH), (b, FRESH)],                                &RULES,  Due,   (0, None)),
        ("balanced",                      &[(a, FRESH), (me, FRESH)],                               &RULES,  Due,   (0, None)),
        ("a target above the limit",      &[(a, FRESH), (a, FRESH), (a, FRESH), (me, FRESH)],       &small,  Due,   (0, None)),
        ("my name, but not in my hands",  &[(me, EXPIRED), (a, FRESH), (a, FRESH)],                 &RULES,  Due,   (1, Some(Why::Available))),
    ];
    for (case, rows, rules, occasion, expected) in table {
        assert_eq!(taken(rows, rules, occasion), expected, "{case}");
    }
}

#[test]
fn a_lease_without_owner_is_very_old_at_first_sight_and_ages_when_it_was_given_back() {
    let (mut seen, start) = (Sightings::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    let (new, held) = (lease(0, None), lease(1, Some("a")));
    seen.observe(&[new.clone(), held.clone()], at(0));
    assert_eq!((seen.age(&new, at(5)), seen.age(&held, at(5))), (None, Some(Duration::from_secs(5))));
    let mut back = lease(1, None);
    back.counter = back.counter.next();
    seen.observe(&[new.clone(), back.clone()], at(6));
    assert_eq!((seen.age(&new, at(9)), seen.age(&back, at(9))), (None, Some(Duration::from_secs(3))));
    seen.observe(&[], at(10));
    assert_eq!(seen.seen.len(), 0, "a lease that is gone is forgotten");
}

fn fleets() -> impl Strategy<Value = Vec<(Option<u8>, Option<u64>)>> {
    let owner = prop::option::weighted(0.9, 0..6u8);
    let age = prop_oneof![6 => (0..10u64).prop_map(Some), 1 => (11..50u64).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((owner, age), 0..60)
}

proptest! {
    #[test]
    fn whatever_is_there_the_rules_hold(
        fleet in fleets(),
        max_leases in 1..20usize,
        max_steals in 1..4usize,
        priority: bool,
        event: bool,
        seed: u64,
    ) {
        let names = ["me", "b", "c", "d", "e", "f"];
        let leases: Vec<Lease> =
            (0..).zip(&fleet).map(|(number, (owner, _))| lease(number, owner.map(|o| names[usize::from(o)]))).collect();
        let me = worker("me");
        let rules = Rules { failover_time: F, max_leases, max_steals, priority };
        let candidates: Vec<_> = leases.iter().zip(&fleet).map(|(lease, (_, age))| {
            let age = age.map(Duration::from_secs);
            let fresh = age.is_some_and(|age| age <= F);
            Candidate { lease, age, in_our_hands: fresh && lease.owner.as_ref() == Some(&me) }
        }).collect();
        let occasion = if event { Occasion::Event } else { Occasion::Due };
        let taken = choose(&candidates, &me, &rules, occasion, &mut Rng::with_seed(seed));
        let again = choose(&candidates, &me, &rules, occasion, &mut Rng::with_seed(seed));
        prop_assert_eq!(&taken, &again, "the same seed gives the same answer");
        let distinct: BTreeSet<_> = taken.iter().map(|(lease, _)| &lease.shard).collect();
        prop_assert_eq!(distinct.len(), taken.len(), "no lease twice");
        let mine = candidates.iter().filter(|one| one.in_our_hands).count();
        prop_assert!(taken.is_empty() || mine + taken.len() <= max_leases, "never beyond the limit");
        let age = |lease: &Lease| candidates.iter().find(|one| one.lease == lease).unwrap().age;
        let counts = counts(&candidates, &me, &rules);
        for (lease, why) in &taken {
            let is_older = |limit: Duration| age(lease).is_none_or(|age| age > limit);
            match why {
                Why::VeryOld => prop_assert!(priority && is_older(F * VERY_OLD)),
                Why::Available => prop_assert!(lease.owner.is_none() || is_older(F)),
                Why::Steal => {
                    let theirs = counts[lease.owner.as_ref().unwrap()];
                    prop_assert!(!event && taken.len() <= max_steals && theirs > mine + taken.len());
                    prop_assert_eq!(theirs, *counts.values().max().unwrap());
                    let free = candidates.iter().any(|one| !one.in_our_hands && one.is_available(&rules));
                    prop_assert!(!free, "nothing is stolen while something lies about");
                }
            }
        }
    }

    /// Workers that look in turn come to rest with nothing left over and shares that differ by one at most.
    #[test]
    fn a_fleet_comes_to_rest(leases in 1..30u32, workers in 1..6usize, seed: u64) {
        let names = ["a", "b", "c", "d", "e"];
        let mut random = Rng::with_seed(seed);
        let mut rows: Vec<Lease> = (0..leases).map(|number| lease(number, None)).collect();
        for _ in 0..40 {
            for me in &names[..workers] {
                let me = worker(me);
                let seen: Vec<Lease> = rows.clone();
                let candidates: Vec<_> = seen.iter().map(|lease| Candidate {
                    lease,
                    age: lease.owner.is_some().then_some(Duration::ZERO),
                    in_our_hands: lease.owner.as_ref() == Some(&me),
                }).collect();
                for (lease, _) in choose(&candidates, &me, &RULES, Occasion::Due, &mut random) {
                    rows.iter_mut().find(|row| row.shard == lease.shard).unwrap().owner = Some(me.clone());
                }
            }
        }
        let mut shares: Vec<usize> = names[..workers].iter()
            .map(|name| rows.iter().filter(|row| row.owner == Some(worker(name))).count()).collect();
        shares.sort_unstable();
        prop_assert_eq!(shares.iter().sum::<usize>(), rows.len());
        let most = rows.len().div_ceil(workers);
        prop_assert!(shares[workers - 1] <= most + 1 && shares[workers - 1] - shares[0] <= 2, "{:?}", shares);
        prop_assert!(rows.len() < workers || shares[0] > 0);
    }
}
