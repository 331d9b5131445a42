//! Leases are counted, not weighed: each worker gets as many as the next one, give or take one.
//!
//! Source: KCL 3.x `LeaseCountBasedLeaseAssignmentDecider`, which is content with any spread below ceil(N/W); here a
//! difference of two is evened out, and one is left, so that a balanced fleet stays as it is.

use std::collections::{BTreeSet, HashSet};

use super::load::Limits;
use super::scene::{Given, Place, Scene};

/// Gives each lease that needs an owner to the worker with the fewest; of those with the same number, to the first in
/// `order`, which names every worker.
pub(super) fn assign<'a>(scene: &mut Scene<'a>, limits: Limits, order: &[Place]) -> Vec<Given<'a>> {
    let mut queue = BTreeSet::new();
    for (rank, place) in order.iter().enumerate() {
        queue.extend(limits.leave_room(&scene.carriers[*place]).then(|| (scene.carriers[*place].leases, rank)));
    }
    let mut given = Vec::new();
    for weighed in std::mem::take(&mut scene.needy) {
        let Some((least, rank)) = queue.pop_first() else { break }; // all are full
        given.push(scene.give(weighed, order[rank]));
        queue.extend(limits.leave_room(&scene.carriers[order[rank]]).then_some((least + 1, rank)));
    }
    given
}

/// Moves leases from the workers with most to those with fewest, as far as Java would not move them back once it leads:
/// to none of `loaded`, which it takes leases from, and never so that the receiver comes to carry more than the giver
/// did. Otherwise every change of leaders would move the fleet.
pub(super) fn balance<'a>(scene: &mut Scene<'a>, limits: Limits, loaded: &HashSet<Place>) -> Vec<Given<'a>> {
    let may_take = |scene: &Scene<'_>, place| !loaded.contains(&place) && limits.leave_room(&scene.carriers[place]);
    let (mut givers, mut takers) = (BTreeSet::new(), BTreeSet::new());
    for (place, carrier) in scene.carriers.iter().enumerate() {
        givers.insert((carrier.leases, place));
        takers.extend(may_take(scene, place).then_some((carrier.leases, place)));
    }
    let mut moved = Vec::new();
    while let (Some(&(least, to)), Some(&(most, from))) = (takers.first(), givers.last()) {
        if most < least + 2 {
            break;
        }
        givers.remove(&(most, from));
        let spread = scene.carriers[from].kbps - scene.carriers[to].kbps;
        let movable = &mut scene.carriers[from].movable;
        let evens = |kbps: f64| kbps < spread || (kbps == 0.0 && spread == 0.0);
        let Some(lease) = movable.iter().rposition(|weighed| evens(weighed.kbps)) else { continue };
        let weighed = movable.remove(lease);
        scene.take(weighed, from);
        moved.push(scene.give(weighed, to));
        let was_giver = givers.remove(&(least, to)); // not if what it holds must stay
        givers.extend(was_giver.then_some((least + 1, to)));
        givers.insert((most - 1, from));
        takers.remove(&(least, to));
        takers.remove(&(most, from));
        for (leases, place) in [(least + 1, to), (most - 1, from)] {
            takers.extend(may_take(scene, place).then_some((leases, place)));
        }
    }
    moved
}
