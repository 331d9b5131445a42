//! Draws what happens to a fleet from a seed, and lets it happen.

use std::collections::BTreeSet;
use std::time::Duration;

use multilangd::config::ClientVersionConfig;
use multilangd::lease::ClientVersion;
use multilangd::lease::memory::faults::{Fault, Operation};
use multilangd::types::ShardId;
use tokio::time::Instant;

use crate::child::Manners;
use crate::laws::{Begun, Course};
use crate::world::{F, Home, Running, Voice, World};

/// Steps of a schedule.
const STEPS: usize = 40;
/// Time until every shard is read again once nothing more goes wrong: until a dead leader that held nothing is missed
/// (40 s), twice the failover time, and a child that is still at work (20 s).
const SERVED: Duration = Duration::from_secs(40 + 2 * 10 + 20);
/// Time until everything is delivered then. Leases that a crash kept from being made are found by the third audit,
/// and each generation of a lineage waits for the one before.
const DELIVERED: Duration = Duration::from_secs(900);
/// Time until each worker has read what the tool wrote last, a minute, and has acted on it.
const FOLLOWED: Duration = Duration::from_secs(80);
/// Time until a child that has just begun has caught up: twice the longest work, and a child that is still at work.
const CAUGHT_UP: Duration = Duration::from_secs(120);
/// What the tool may write; not 3X, after which nobody looks any more.
const VERSIONS: [ClientVersion; 3] =
    [ClientVersion::UpgradeFrom2x, ClientVersion::ThreeXWithRollback, ClientVersion::TwoX];
const OPERATIONS: [Operation; 25] = [
    Operation::List,
    Operation::List,
    Operation::List,
    Operation::Get,
    Operation::Create,
    Operation::Renew,
    Operation::Renew,
    Operation::Renew,
    Operation::Checkpoint,
    Operation::Checkpoint,
    Operation::Take,
    Operation::Assign,
    Operation::BeginHandoff,
    Operation::Evict,
    Operation::NoteChildren,
    Operation::OwnedBy,
    Operation::Lock,
    Operation::TakeLock,
    Operation::BeatLock,
    Operation::PutWorker,
    Operation::TableMigration,
    Operation::MoveItems,
    Operation::ChangeTableMigration,
    Operation::CompleteTableMigration,
    Operation::GetNow,
];

/// As what the fleet works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    ThreeX,
    /// Everybody helps themselves to leases.
    TwoX,
    /// As either, and back and forth.
    Moving,
}
/// Time of a move into one table once all is calm: a dead leader's lock, a fleet that is silent, the move's own times.
const MOVED: Duration = Duration::from_secs(360);

/// Runs the schedule of `seed`.
///
/// # Errors
/// The law that was broken, after the last of what happened.
pub(crate) async fn run(seed: u64, generation: Generation, voice: Voice) -> Result<Course, String> {
    let mut world = World::new(seed, 1 + u32::try_from(seed % 4).unwrap(), voice);
    match generation {
        Generation::ThreeX => {}
        Generation::TwoX => world.configure(ClientVersionConfig::CompatibleWith2xPhase1),
        Generation::Moving => world.configure(ClientVersionConfig::CompatibleWith2x),
    }
    world.interval = Duration::from_secs([2, 20][world.rng.usize(..2)]);
    let homes = [Home::OneTable, Home::ThreeTables, Home::Moving];
    let home =
        if generation == Generation::ThreeX { homes[usize::try_from(seed % 3).unwrap()] } else { Home::OneTable };
    world.in_old_tables(home).await;
    let mut longest = Duration::ZERO;
    let manners = manners(&mut world);
    world.start(manners);
    for _ in 0..STEPS {
        let pause = [300, 2_000, 9_000][world.rng.usize(..3)];
        let pause = Duration::from_millis(world.rng.u64(1..=pause));
        world.pass(pause).await;
        if generation == Generation::Moving && world.rng.u8(..8) == 0 {
            let version = VERSIONS[world.rng.usize(..VERSIONS.len())];
            world.tool_writes(version).await;
        }
        step(&mut world, generation, &mut longest).await;
        check(&world, seed)?;
    }
    while let Some(index) = world.workers.iter().position(|worker| !worker.lasts()) {
        world.crash(index); // or its children could die behind the last check
    }
    calm(&mut world, &mut longest).await;
    if world.home == Home::Moving {
        world.until_moved(MOVED).await;
    }
    // Requests that hung are over, so the children's last checkpoints are stored; and everybody follows the tool.
    world.pass(if generation == Generation::Moving { FOLLOWED } else { F * 2 }).await;
    world.until_caught_up(CAUGHT_UP).await; // or a child that began a moment ago is told to end in the middle
    check(&world, seed)?;
    world.stop_all().await;
    check(&world, seed)?;
    if let Some(left) = world.laws.unfinished() {
        world.laws.break_law(format!("everything is checkpointed in the end: {left:?} is not"));
    }
    check(&world, seed)?;
    Ok(world.laws.course(longest))
}

fn check(world: &World, seed: u64) -> Result<(), String> {
    let Some(broken) = world.laws.broken() else { return Ok(()) };
    let told = world.laws.course(Duration::ZERO).told;
    let last = told[told.len().saturating_sub(60)..].join("\n");
    Err(format!("{last}\n\nlaw broken: {broken}\nSIMULATION_SEED={seed} replays it"))
}

fn manners(world: &mut World) -> Manners {
    let rng = &mut world.rng;
    Manners {
        slowest: Duration::from_millis([50, 500, 2_500][rng.usize(..3)]),
        hangs: [0, 0, 12][rng.usize(..3)],
        hang: Duration::from_secs(rng.u64(8..20)),
        forgets_ends: rng.u8(..4) == 0,
        deaths: [0, 0, 0, 0, 30][rng.usize(..5)],
        breaks_down: 0,
    }
}

async fn step(world: &mut World, generation: Generation, longest: &mut Duration) {
    let staying = world.staying();
    let some = (!staying.is_empty()).then(|| staying[world.rng.usize(..staying.len())]);
    match world.rng.u32(..100) {
        0..30 => {
            let count = world.rng.usize(1..25);
            world.put(count);
        }
        30..42 if world.workers.len() < 4 => {
            let manners = manners(world);
            world.start(manners);
        }
        42..49 => reshard(world).await,
        49..56 => {
            if let Some(index) = some {
                world.stop(index);
            }
        }
        56..62 => {
            if let Some(index) = some {
                world.crash(index);
            }
        }
        62..70 => {
            if let Some(index) = some {
                cut(world, index).await;
            }
        }
        70..88 => {
            if let Some(index) = some {
                trouble(world, index);
            }
        }
        88..90 => {
            if let Some(index) = some {
                set_clock(world, index);
            }
        }
        90..92 if world.workers.iter().all(|worker| !worker.stopping) => {
            let time = Duration::from_millis(world.rng.u64(500..25_000));
            world.freeze(time).await;
        }
        92..94 => {
            if let Some(index) = some {
                let (operation, done) = (OPERATIONS[world.rng.usize(..OPERATIONS.len())], world.rng.bool());
                let name = &world.workers[index].name;
                world.laws.note(format!("{name} will die in its next {operation:?}, done: {done}"));
                world.workers[index].faults.next(operation, 1, Fault::Death { done });
            }
        }
        94..96 => calm(world, longest).await,
        96 => {
            calm(world, longest).await;
            if generation == Generation::ThreeX {
                crash_alone(world).await;
            }
        }
        _ => {}
    }
}

async fn reshard(world: &mut World) {
    let open = world.open().await;
    let index = world.rng.usize(..open.len());
    if world.rng.bool() && open.len() > 1 {
        let index = index.min(open.len() - 2);
        let child = world.stream.merge(&open[index].0, &open[index + 1].0);
        world.laws.note(format!("{} and {} are merged: {child:?}", open[index].0, open[index + 1].0));
    } else if open.len() < 8 {
        let children = world.stream.split(&open[index].0);
        world.laws.note(format!("{} is split: {children:?}", open[index].0));
    }
}

/// Cuts a worker off from the table, for less or more than the failover time.
async fn cut(world: &mut World, index: usize) {
    let time = Duration::from_millis(world.rng.u64(500..25_000));
    let timeout = Duration::from_millis(world.rng.u64(1..6_000));
    let name = world.workers[index].name.clone();
    world.laws.note(format!("{name} is cut off for {time:?}, its requests end after {timeout:?}"));
    world.workers[index].faults.cut(timeout);
    world.pass(time).await;
    if let Some(worker) = world.workers.iter().find(|worker| worker.name == name) {
        worker.faults.heal();
    }
    world.laws.note(format!("{name} is connected again"));
}

fn trouble(world: &mut World, index: usize) {
    for _ in 0..world.rng.usize(1..4) {
        let operation = OPERATIONS[world.rng.usize(..OPERATIONS.len())];
        let fault = match world.rng.u32(..7) {
            0 => Fault::LostRequest,
            1 => Fault::LostReply,
            2 => Fault::SentTwice,
            3 => Fault::Throttled,
            4 => {
                lag(world, index);
                continue;
            }
            _ => Fault::Slow {
                before: Duration::from_millis(world.rng.u64(..4_000)),
                after: Duration::from_millis(world.rng.u64(..8_000)),
            },
        };
        let times = world.rng.usize(1..4);
        world.laws.note(format!("{} will meet {fault:?} in {operation:?}, {times} times", world.workers[index].name));
        world.workers[index].faults.next(operation, times, fault);
    }
}

/// Lets some reads of a worker be answered from the past.
fn lag(world: &mut World, index: usize) {
    let (age, times) = (Duration::from_millis(world.rng.u64(100..6_000)), world.rng.usize(1..12));
    let operation = [Operation::List, Operation::Get, Operation::OwnedBy][world.rng.usize(..3)];
    world.laws.note(format!("{} will see {operation:?} of {age:?} ago, {times} times", world.workers[index].name));
    world.workers[index].faults.next(operation, times, Fault::Stale(age));
}

/// Lets the clock of a worker go wrong, or right again. It stays so when all is calm.
fn set_clock(world: &mut World, index: usize) {
    let ahead = [-60, 0, 60][world.rng.usize(..3)];
    world.laws.note(format!("the clock of {} is {ahead} s ahead from now on", world.workers[index].name));
    world.workers[index].set_clock(ahead);
}

/// Time until each shard of a worker that crashed is delivered to again when nothing else goes wrong: a death is seen up to
/// a second late (`rounds::watch`), and what was given is found within another.
const ALONE: Duration = Duration::from_secs(10 + 2);

/// Shards that could be read and that no child of a worker that stays reads.
fn unserved(world: &World, begun: Begun) -> Vec<ShardId> {
    let staying = world.staying().into_iter().map(|index| world.workers[index].name.clone()).collect();
    world.laws.all_unserved(&staying, begun)
}

/// One worker crashes, and nothing else goes wrong. Does nothing where children may die, or the fleet is not at rest. For
/// fleets of 3.x: takers of 2.x look less often.
async fn crash_alone(world: &mut World) {
    world.workers.iter().for_each(|worker| worker.set_clock(0));
    world.pass(F * 7).await; // reports are right again, no child hangs, leases are where they belong
    let rows = world.table.snapshot();
    let at_rest = rows.leases.iter().all(|lease| lease.owner.is_some() && lease.checkpoint_owner.is_none());
    if world.workers.len() < 2 || !at_rest {
        return;
    }
    if !world.workers.iter().all(Running::lasts) || !unserved(world, Begun::Answered).is_empty() {
        return;
    }
    let index = world.rng.usize(..world.workers.len());
    let name = world.workers[index].name.clone();
    let owned = rows.leases.into_iter().filter(|lease| lease.actual_owner() == Some(&name));
    let mut left: BTreeSet<_> = owned.map(|lease| lease.shard).collect();
    world.crash(index);
    let begin = Instant::now();
    while begin.elapsed() <= ALONE {
        let still = unserved(world, Begun::Told);
        left.retain(|shard| still.contains(shard));
        if left.is_empty() {
            return;
        }
        world.pass(Duration::from_millis(100)).await;
    }
    world.laws.break_law(format!("what a crash alone leaves is delivered again within {ALONE:?}: {left:?} is not"));
}

/// Nothing goes wrong any more: every shard must be read soon, and every record delivered.
async fn calm(world: &mut World, longest: &mut Duration) {
    world.laws.note("all is calm".to_owned());
    for worker in &world.workers {
        worker.faults.heal();
    }
    if !world.workers.iter().any(|worker| worker.lasts()) {
        let manners = manners(world);
        world.start(Manners { deaths: 0, ..manners });
    }
    let took = world.until_served(SERVED).await;
    *longest = took.max(*longest);
    for (_, start) in world.open().await {
        world.put_at(start);
    }
    world.until_delivered(DELIVERED).await;
    assert!(F < SERVED, "the bound has the failover time in it");
}
