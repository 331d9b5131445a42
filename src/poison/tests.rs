use proptest::prelude::*;

use super::*;
use crate::record::Text;

const LIMIT: NonZeroU32 = NonZeroU32::new(3).unwrap();

fn record(number: u64) -> Record {
    Record {
        data: "aGk=".into(),
        partition_key: Text::from("k"),
        sequence: Text::from((number + 1).to_string()),
        arrival_millis: None,
        sub: 0,
        aggregated: false,
        explicit_hash_key: None,
    }
}

fn number(record: &Record) -> u64 {
    record.sequence.as_str().parse::<u64>().unwrap() - 1
}

/// What became of a shard.
#[derive(Debug, Default)]
struct Course {
    answered: BTreeSet<u64>,
    set_aside: Vec<u64>,
    failed_alone: std::collections::BTreeMap<u64, u32>,
    deliveries: u32,
    gave_up: bool,
}

/// Reads `count` records in batches of `batch`, as the lives of a shard do; `survives` is asked about each delivery,
/// and each answer is checkpointed if `checkpoints`.
fn run(count: u64, batch: usize, checkpoints: bool, mut survives: impl FnMut(&[Record]) -> bool) -> Course {
    let (mut hunt, mut course, mut stored, mut failures) = (Hunt::default(), Course::default(), 0, 0);
    'life: loop {
        let all: Vec<Record> = (stored..count).map(record).collect();
        for batch in all.chunks(batch) {
            let records: Vec<Record> = batch.iter().filter(|record| !hunt.is_set_aside(record)).cloned().collect();
            let mut rest = records.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(hunt.portion(rest));
                assert!(!now.is_empty());
                rest = later;
                course.deliveries += 1;
                hunt.give(now);
                if survives(now) {
                    hunt.answered();
                    course.answered.extend(now.iter().map(number));
                    if checkpoints {
                        stored = number(now.last().unwrap()) + 1;
                        failures = 0;
                        hunt.passed(&Checkpoint::parse(&stored.to_string(), 0).unwrap());
                    }
                    continue;
                }
                if let [record] = now {
                    *course.failed_alone.entry(number(record)).or_default() += 1;
                }
                match hunt.failed(LIMIT) {
                    Finding::Nothing => {
                        failures += 1;
                        if failures >= LIMIT.get() {
                            failures = 0;
                            course.gave_up = !hunt.begin(LIMIT);
                        }
                    }
                    Finding::Poison(record, times) => {
                        assert!(times >= LIMIT);
                        course.set_aside.push(number(&record));
                        hunt.set_aside(record.place().unwrap());
                    }
                    Finding::Lost => course.gave_up = true,
                    Finding::Among(_) | Finding::Alone(_) => {}
                }
                if course.gave_up {
                    return course;
                }
                continue 'life;
            }
        }
        return course;
    }
}

proptest! {
    #[test]
    fn all_poison_is_found_and_nothing_else_is_set_aside(
        count in 1..60_u64, batch in 1..25_usize, bad in prop::collection::btree_set(0..60_u64, 0..5), checkpoints: bool,
    ) {
        let bad: Vec<u64> = bad.into_iter().filter(|bad| *bad < count).collect();
        let course = run(count, batch, checkpoints, |records| !records.iter().any(|record| bad.contains(&number(record))));
        prop_assert!(!course.gave_up, "{:?}", course);
        prop_assert_eq!(&course.set_aside, &bad);
        let good: BTreeSet<u64> = (0..count).filter(|good| !bad.contains(good)).collect();
        prop_assert_eq!(&course.answered, &good);
    }

    #[test]
    fn whatever_children_do_it_ends_and_only_what_failed_alone_so_often_is_set_aside(
        count in 1..30_u64, batch in 1..12_usize, checkpoints: bool, fate in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let mut fates = fate.iter().cycle();
        let mut left = 3_000;
        let course = run(count, batch, checkpoints, |_| { left -= 1; left < 0 || *fates.next().unwrap() });
        for record in &course.set_aside {
            prop_assert!(course.failed_alone[record] >= LIMIT.get(), "{:?}", course);
        }
        let all: BTreeSet<u64> = course.answered.iter().chain(&course.set_aside).copied().collect();
        prop_assert!(course.gave_up || all.len() as u64 == count, "{:?}", course);
    }
}

#[test]
fn a_search_takes_as_many_failures_as_halving_does() {
    let course = run(10_000, 10_000, true, |records| !records.iter().any(|record| number(record) == 7_777));
    assert_eq!(course.set_aside, [7_777]);
    assert!(course.deliveries < 3 + 14 * 2 + 3 + 5, "{}", course.deliveries);
}

#[test]
fn in_an_outage_a_few_records_are_set_aside_and_no_more() {
    let course = run(1_000, 100, true, |_| false);
    assert!(course.gave_up && course.set_aside.len() == usize::try_from(MOST_SEARCHES).unwrap(), "{course:?}");
}

#[test]
fn failures_without_a_record_in_common_begin_no_search() {
    let mut hunt = Hunt::default();
    for numbers in [0..5, 5..10, 10..11] {
        hunt.give(&numbers.map(record).collect::<Vec<_>>());
        assert_eq!(hunt.failed(LIMIT), Finding::Nothing);
    }
    assert!(!hunt.begin(LIMIT));
    assert_eq!(hunt.failed(LIMIT), Finding::Nothing, "and one while nothing was asked of the child");
    assert!(!hunt.begin(LIMIT));
}
