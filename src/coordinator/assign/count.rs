//! Leases are counted, not weighed: each worker gets as many as the next one, give or take one.
//!
//! Source: KCL 3.x `LeaseCountBasedLeaseAssignmentDecider`, which is content with any spread below ceil(N/W); here a
//! difference of two is evened out, and one is left, so that a balanced fleet stays as it is.

use std::collections::BTreeSet;

use super::scene::{Given, Place, Scene};

fn by_count(scene: &Scene<'_>) -> BTreeSet<(usize, Place)> {
    scene.carriers.iter().enumerate().map(|(place, carrier)| (carrier.leases, place)).collect()
}

/// Gives each lease that needs an owner to the worker with the fewest; ties go to the smaller name.
pub(super) fn assign<'a>(scene: &mut Scene<'a>, limit: usize) -> Vec<Given<'a>> {
    let mut queue = by_count(scene);
    let mut given = Vec::new();
    for weighed in std::mem::take(&mut scene.needy) {
        let Some((least, to)) = queue.pop_first() else { break };
        if least >= limit {
            break; // the least loaded is full, so all are
        }
        queue.insert((least + 1, to));
        given.push(scene.give(weighed, to));
    }
    given
}

/// Moves leases from the workers with most to those with fewest.
pub(super) fn balance<'a>(scene: &mut Scene<'a>, limit: usize) -> Vec<Given<'a>> {
    let mut queue = by_count(scene);
    let mut moved = Vec::new();
    while let (Some(&(least, to)), Some(&(most, from))) = (queue.first(), queue.last()) {
        if most < least + 2 || least >= limit {
            break;
        }
        queue.remove(&(most, from));
        let Some(weighed) = scene.carriers[from].movable.pop() else { continue }; // what it holds must stay
        queue.remove(&(least, to));
        queue.insert((least + 1, to));
        queue.insert((most - 1, from));
        scene.carriers[from].leases -= 1;
        moved.push(scene.give(weighed, to));
    }
    moved
}
