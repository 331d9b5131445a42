//! Single courses of fleets that work as 2.x, and of their way to 3.x.

use std::time::Duration;

use multilangd::config::ClientVersionConfig;
use multilangd::lease::StateStore;
use tokio::time::Instant;

use crate::in_paused_time;
use crate::scenarios::{brisk, finish};
use crate::world::{F, Voice, World};

const SECOND: Duration = Duration::from_secs(1);

/// A fleet that works as 2.x and has settled on a stream of four shards.
async fn settled(workers: usize, version: ClientVersionConfig) -> World {
    let mut world = World::new(1, 4, Voice::Quiet);
    world.configure(version);
    for _ in 0..workers {
        world.start(brisk());
        world.put(20);
        world.pass(SECOND * 90).await;
    }
    world.until_served(SECOND).await;
    world
}

#[test]
fn a_worker_of_phase_1_reads_an_empty_table_at_once() {
    in_paused_time(async {
        let mut world = World::new(1, 4, Voice::Quiet);
        world.configure(ClientVersionConfig::CompatibleWith2xPhase1);
        world.start(brisk());
        world.put(20);
        let took = world.until_served(F).await;
        assert!(took <= SECOND, "{took:?}");
        finish(world).await;
    });
}

#[test]
fn without_a_leader_the_leases_of_a_crashed_worker_are_read_again_too() {
    in_paused_time(async {
        // Everybody takes their own share, and of a larger fleet not all look closely.
        for (workers, limit) in [(2, F + SECOND * 3 / 2), (3, F + SECOND * 2), (4, F * 2 + SECOND)] {
            for (crashed, later) in (0..workers).zip([0, 1_300, 3_900, 5_200]) {
                let mut world = settled(workers, ClientVersionConfig::CompatibleWith2xPhase1).await;
                world.pass(Duration::from_millis(later)).await;
                world.crash(crashed);
                world.put(20);
                let took = world.until_served(F * 3).await;
                assert!(took <= limit, "worker {crashed} of {workers}: {took:?}");
                finish(world).await;
            }
        }
    });
}

#[test]
fn without_a_leader_a_lineage_is_read_on_at_once() {
    in_paused_time(async {
        let mut world = settled(2, ClientVersionConfig::CompatibleWith2xPhase1).await;
        let open = world.open().await;
        world.stream.split(&open[0].0).unwrap();
        world.stream.merge(&open[2].0, &open[3].0).unwrap();
        world.put(40);
        let begin = Instant::now();
        world.until_delivered(F * 3).await;
        assert!(begin.elapsed() <= F * 2, "{:?}", begin.elapsed());
        finish(world).await;
    });
}

#[test]
fn a_fleet_goes_over_to_3x_without_a_pause() {
    in_paused_time(async {
        let mut world = settled(2, ClientVersionConfig::CompatibleWith2x).await;
        let lives = world.laws.lives();
        let begin = Instant::now();
        while world.table.lock().await.unwrap().is_none() {
            world.put(2);
            world.pass(SECOND).await;
            assert!(begin.elapsed() < SECOND * 60 * 14, "ten minutes, and the looks before and after");
        }
        world.pass(F * 6).await;
        assert_eq!(world.laws.lives(), lives, "no child was started anew");
        finish(world).await;
    });
}
