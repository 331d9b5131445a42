//! Whole fleets in no time: workers, scripted children, a lease table and a stream in memory, a paused clock, and
//! schedules drawn from a seed.
//!
//! `SIMULATION_SEED=7` replays one schedule and prints its course, `SIMULATION_SCHEDULES=1000` runs more of them.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic, too")]

use std::time::Duration;

#[path = "simulation/child.rs"]
mod child;
#[path = "simulation/laws.rs"]
mod laws;
#[path = "simulation/scenarios.rs"]
mod scenarios;
#[path = "simulation/scenarios_2x.rs"]
mod scenarios_2x;
#[path = "simulation/schedule.rs"]
mod schedule;
#[path = "simulation/world.rs"]
mod world;

use schedule::Generation;

/// Schedules of an ordinary test run; some twenty seconds.
const SCHEDULES: u64 = 50;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, found {text:?}")))
}

/// Runs `work` as if nothing else were in the world.
fn in_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn run_schedules(generation: Generation, of_an_ordinary_run: u64) {
    if let Some(seed) = number("SIMULATION_SEED") {
        let log = tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        let _one_of_the_generations_was_first = log.try_init();
        in_paused_time(schedule::run(seed, generation, world::Voice::Loud));
        return;
    }
    let first = number("SIMULATION_FIRST").unwrap_or(1);
    let (mut waited, mut records, mut lives) = (Duration::ZERO, 0, 0);
    let count = number("SIMULATION_SCHEDULES").unwrap_or(of_an_ordinary_run);
    for seed in first..first + count {
        let course = in_paused_time(schedule::run(seed, generation, world::Voice::Quiet));
        waited = waited.max(course.longest_unserved);
        records += course.records;
        lives += course.lives;
    }
    println!("{count} schedules, {records} records, {lives} children; a shard was unserved for at most {waited:?}");
}

#[test]
fn no_schedule_breaks_a_law() {
    run_schedules(Generation::ThreeX, SCHEDULES);
}

#[test]
fn no_schedule_breaks_a_law_while_the_fleet_works_as_2x() {
    run_schedules(Generation::TwoX, SCHEDULES / 2);
}

#[test]
fn no_schedule_breaks_a_law_while_the_fleet_changes_over_and_back() {
    run_schedules(Generation::Moving, SCHEDULES / 2);
}

#[test]
fn the_same_seed_gives_the_same_course() {
    let course = || in_paused_time(schedule::run(4711, Generation::ThreeX, world::Voice::Quiet)).told;
    let (first, second) = (course(), course());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a, b);
    }
    assert_eq!(first.len(), second.len());
}
