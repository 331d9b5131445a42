use super::*;
use crate::coordinator::testing::{F, NOW, lease, load_row, worker};
use TableMigration::{Complete, Deployed, Init, Pending};

const INTERVAL: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

fn item(state: TableMigration, age_seconds: i64) -> TableMigrationRow {
    TableMigrationRow::first(state, &worker("l"), EpochMillis(NOW.0 - age_seconds * 1000))
}

fn survey(owners: usize, unsupported: &[&str], silent: &[&str], in_old_table: &[&str]) -> Survey {
    let set = |names: &[&str]| names.iter().map(|name| worker(name)).collect();
    let [unsupported, silent, in_old_table] = [unsupported, silent, in_old_table].map(set);
    Survey { taken: Instant::now(), owners, unsupported, silent, in_old_table }
}

#[test]
fn the_leader_does_what_item_fleet_and_phase_ask_for() {
    let good = || Some(survey(2, &[], &[], &[]));
    let nobody = || Some(survey(0, &[], &[], &[]));
    let unsupported = || Some(survey(2, &["b"], &[], &[]));
    let silent = || Some(survey(2, &[], &["b"], &[]));
    let old = || Some(survey(2, &[], &[], &["b"]));
    let (one, two) = (false, true);
    let to = Duty::Change;
    #[rustfmt::skip]
    let table = [
        // item                           fleet          left   phase  duty
        (None,                            good(),        false, one,   Duty::Create(Init)),
        (None,                            old(),         false, one,   Duty::Create(Init)),
        (None,                            silent(),      false, one,   Duty::Create(Init)),
        (None,                            unsupported(), false, one,   Duty::Nothing),
        (None,                            nobody(),      false, one,   Duty::Nothing),
        (None,                            None,          false, one,   Duty::Nothing),
        (None,                            None,          false, two,   Duty::Create(Deployed)),
        (Some(item(Init, HOUR - 1)),      good(),        false, one,   Duty::Nothing),
        (Some(item(Init, HOUR)),          good(),        false, one,   to(Deployed)),
        (Some(item(Init, HOUR)),          good(),        false, two,   to(Deployed)),
        (Some(item(Init, -HOUR)),         good(),        false, one,   Duty::Nothing), // written by a clock ahead
        (Some(item(Init, 2 * HOUR)),      unsupported(), false, one,   Duty::Delete),
        (Some(item(Init, 1)),             nobody(),      false, one,   Duty::Delete),
        (Some(item(Init, 2 * HOUR)),      None,          false, one,   Duty::Nothing), // unlike Java
        (Some(item(Deployed, DAY)),       good(),        false, one,   Duty::Nothing),
        (Some(item(Deployed, DAY)),       unsupported(), false, one,   Duty::Nothing),
        (Some(item(Deployed, 0)),         good(),        false, two,   Duty::MoveItems),
        (Some(item(Deployed, DAY)),       old(),         false, two,   Duty::Nothing),
        (Some(item(Deployed, DAY)),       silent(),      false, two,   Duty::Nothing),
        (Some(item(Deployed, DAY)),       None,          false, two,   Duty::Nothing),
        (Some(item(Pending, 0)),          None,          false, one,   to(Deployed)),
        (Some(item(Pending, DAY)),        good(),        false, one,   to(Deployed)),
        (Some(item(Pending, DAY - 1)),    good(),        false, two,   Duty::Nothing),
        (Some(item(Pending, DAY)),        good(),        false, two,   Duty::Complete),
        (Some(item(Pending, DAY)),        good(),        true,  two,   to(Deployed)),
        (Some(item(Pending, DAY)),        old(),         false, two,   to(Deployed)),
        (Some(item(Pending, DAY)),        silent(),      false, two,   to(Deployed)),
        (Some(item(Pending, DAY)),        None,          false, two,   Duty::Nothing), // unlike Java
        (Some(item(Complete, 0)),         None,          false, one,   Duty::Leave),
        (Some(item(Complete, 0)),         old(),         true,  two,   Duty::Leave),
    ];
    for (item, survey, items_left, to_lease_table, expected) in table {
        let settings = TableMigrationSettings { to_lease_table, ..TableMigrationSettings::default() };
        let seen = Situation { item: item.as_ref(), survey: survey.as_ref(), items_left, settings, now: NOW };
        assert_eq!(duty(seen), expected, "{seen:?}");
    }
}

#[test]
fn the_time_in_pending_is_configured() {
    let settings = TableMigrationSettings { to_lease_table: true, complete_after: F };
    let good = survey(1, &[], &[], &[]);
    for (age, expected) in [(9, Duty::Nothing), (10, Duty::Complete)] {
        let item = item(Pending, age);
        let seen = Situation { item: Some(&item), survey: Some(&good), items_left: false, settings, now: NOW };
        assert_eq!(duty(seen), expected, "{age}");
    }
}

#[test]
fn a_survey_tells_who_is_not_ready() {
    let aged = |name: &str, lut: i64, slu: i64| WorkerRow {
        last_update_seconds: Some(NOW.0 / 1000 - lut),
        support_update_seconds: Some(NOW.0 / 1000 - slu),
        ..load_row(name)
    };
    let mut rows = FleetRows {
        leases: vec![
            lease(1, Some("fine")),
            lease(2, Some("edge")),
            lease(3, Some("slow")),
            lease(4, Some("old34")),
            lease(5, Some("rowless")),
            lease(6, None),
            lease(7, Some("dead")),
            Lease { checkpoint_owner: Some(worker("leaver")), ..lease(8, Some("fine")) },
        ],
        workers: vec![aged("fine", 0, 0), aged("edge", 60, 90), aged("slow", 61, 91), aged("idle", 500, 500)],
        ..FleetRows::default()
    };
    let old34 = WorkerRow { support_code: None, support_update_seconds: None, ..load_row("old34") };
    rows.add_old(vec![old34, aged("slow", 61, 91)]);
    let is_dead = |lease: &Lease| lease.owner == Some(worker("dead"));
    let taken = Instant::now();
    let found = Survey::of(&rows, is_dead, (taken, NOW), INTERVAL);
    let set = |names: &[&str]| names.iter().map(|name| worker(name)).collect::<BTreeSet<_>>();
    assert_eq!(found.owners, 6);
    assert_eq!(found.unsupported, set(&["slow", "old34", "rowless", "leaver"]));
    assert_eq!(found.silent, set(&["slow", "rowless", "leaver"]));
    assert_eq!(found.in_old_table, set(&["old34"]));
}

#[test]
fn of_two_rows_of_a_worker_the_younger_counts() {
    let at = |lut| WorkerRow { last_update_seconds: Some(lut), ..load_row("a") };
    for (new, old, expected) in [(5, 4, 5), (4, 5, 5), (5, 5, 5)] {
        let mut rows = FleetRows { workers: vec![at(new)], ..FleetRows::default() };
        rows.add_old(vec![at(old)]);
        assert_eq!((rows.workers, rows.workers_in_old_table), (vec![at(expected)], vec![at(old)]));
    }
}
