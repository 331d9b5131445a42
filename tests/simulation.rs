//! Whole fleets in no time: workers, scripted children, a lease table and a stream in memory, a paused clock, and
//! schedules drawn from a seed.
//!
//! `SIMULATION_SEED=7` replays one schedule and prints its course, `SIMULATION_SCHEDULES=1000` runs more of them, from
//! `SIMULATION_FIRST=5000` on. All that break a law are named in the end.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic, too")]

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[path = "simulation/child.rs"]
mod child;
#[path = "simulation/clock.rs"]
mod clock;
#[path = "simulation/laws.rs"]
mod laws;
#[path = "simulation/moves.rs"]
mod moves;
#[path = "simulation/scenarios.rs"]
mod scenarios;
#[path = "simulation/scenarios_2x.rs"]
mod scenarios_2x;
#[path = "simulation/scenarios_deaths.rs"]
mod scenarios_deaths;
#[path = "simulation/schedule.rs"]
mod schedule;
#[path = "simulation/world.rs"]
mod world;

use laws::Course;
use schedule::Generation;
use world::Voice;

/// Schedules of an ordinary test run; some ten seconds on two cores.
const SCHEDULES: u64 = 120;
/// Schedules of each generation that an ordinary test run runs twice.
const TWICE: u64 = 4;

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

/// What became of many schedules.
#[derive(Default)]
struct Tally {
    longest_unserved: Duration,
    records: usize,
    lives: usize,
    broken: Vec<u64>,
}

impl Tally {
    fn add(&mut self, seed: u64, course: Result<Course, String>) {
        match course {
            Ok(course) => {
                self.longest_unserved = self.longest_unserved.max(course.longest_unserved);
                self.records += course.records;
                self.lives += course.lives;
            }
            Err(course) => {
                println!("{course}\n");
                self.broken.push(seed);
            }
        }
    }
}

/// Does `work` for each seed, on all cores: a schedule is a world of its own on one thread.
fn for_each(seeds: Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    work(seed);
                }
            });
        }
    });
}

/// The seeds of an ordinary run, or those that were asked for.
fn seeds(of_an_ordinary_run: u64) -> Range<u64> {
    let first = number("SIMULATION_FIRST").unwrap_or(1);
    first..first + number("SIMULATION_SCHEDULES").unwrap_or(of_an_ordinary_run)
}

fn run_schedules(generation: Generation, of_an_ordinary_run: u64) {
    if let Some(seed) = number("SIMULATION_SEED") {
        let log = tracing_subscriber::fmt().without_time().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        let _one_of_the_generations_was_first = log.try_init();
        let course = run(seed, generation, Voice::Loud);
        assert!(course.is_ok(), "{}", course.err().unwrap_or_default());
        return;
    }
    let (seeds, began, tally) = (seeds(of_an_ordinary_run), tokio::time::Instant::now(), Mutex::new(Tally::default()));
    for_each(seeds.clone(), |seed| {
        let course = run(seed, generation, Voice::Quiet);
        tally.lock().unwrap().add(seed, course);
    });
    let (Tally { longest_unserved, records, lives, mut broken }, count) =
        (tally.into_inner().unwrap(), seeds.end - seeds.start);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} schedules in {took:.1} s ({:.0} each minute), {records} records, {lives} children; \
         a shard was unserved for at most {longest_unserved:?}",
        f64::from(u32::try_from(count).unwrap()) * 60.0 / took
    );
    broken.sort_unstable();
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
    for_each(seeds(TWICE), |seed| {
        for generation in [Generation::ThreeX, Generation::TwoX, Generation::Moving] {
            let course = || run(seed, generation, Voice::Quiet).map(|course| (course.told, course.writes));
            let (first, second) = (course(), course());
            if let (Ok((first, _)), Ok((second, _))) = (&first, &second) {
                let mut both = first.iter().zip(second);
                assert_eq!(both.find(|(a, b)| a != b), None, "SIMULATION_SEED={seed} {generation:?}");
            }
            assert_eq!(first, second, "SIMULATION_SEED={seed} {generation:?}");
        }
    });
}
