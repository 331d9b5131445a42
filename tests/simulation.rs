//! Whole fleets in no time: workers, scripted children, a lease table and a stream in memory, a paused clock, and
//! schedules drawn from a seed.
//!
//! `SIMULATION_SEED=7` replays one schedule and prints its course, `SIMULATION_SCHEDULES=1000` runs more of them, from
//! `SIMULATION_FIRST=5000` on. All that break a law are named in the end.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic, too")]

use std::panic::catch_unwind;
use std::time::Duration;

#[path = "simulation/child.rs"]
mod child;
#[path = "simulation/clock.rs"]
mod clock;
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

use laws::Course;
use schedule::Generation;
use world::Voice;

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

/// One schedule; a panic in it is a broken law, too.
fn run(seed: u64, generation: Generation, voice: Voice) -> Result<Course, String> {
    let course = catch_unwind(|| in_paused_time(schedule::run(seed, generation, voice)));
    course.unwrap_or_else(|_| Err(format!("SIMULATION_SEED={seed} panics")))
}

fn run_schedules(generation: Generation, of_an_ordinary_run: u64) {
    if let Some(seed) = number("SIMULATION_SEED") {
        let log = tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        let _one_of_the_generations_was_first = log.try_init();
        let course = run(seed, generation, Voice::Loud);
        assert!(course.is_ok(), "{}", course.err().unwrap_or_default());
        return;
    }
    let (first, began) = (number("SIMULATION_FIRST").unwrap_or(1), tokio::time::Instant::now());
    let (mut waited, mut records, mut lives, mut broken) = (Duration::ZERO, 0, 0, Vec::new());
    let count = number("SIMULATION_SCHEDULES").unwrap_or(of_an_ordinary_run);
    for seed in first..first + count {
        match run(seed, generation, Voice::Quiet) {
            Ok(course) => {
                waited = waited.max(course.longest_unserved);
                records += course.records;
                lives += course.lives;
            }
            Err(course) => {
                println!("{course}\n");
                broken.push(seed);
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} schedules in {took:.1} s ({:.0} each minute), {records} records, {lives} children; \
         a shard was unserved for at most {waited:?}",
        f64::from(u32::try_from(count).unwrap()) * 60.0 / took
    );
    assert!(broken.is_empty(), "laws are broken by the schedules of {generation:?} with the seeds {broken:?}");
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
    let course = || run(4711, Generation::ThreeX, Voice::Quiet).unwrap().told;
    let (first, second) = (course(), course());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a, b);
    }
    assert_eq!(first.len(), second.len());
}
