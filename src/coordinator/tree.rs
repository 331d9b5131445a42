//! Decides which leases a list of shards calls for. Pure.
//!
//! Source: KCL 3.x `HierarchicalShardSyncer`, as LEASES.md section 7 describes it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::lease::Lease;
use crate::stream::{ChildShard, Shard};
use crate::types::{Checkpoint, HashKeyRange, InitialPosition, ShardId};

/// Why a list of shards cannot be right, at least at this moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// Some hash keys belong to no shard.
    #[error("shards leave hash keys {from} to {to} uncovered; expected the list to cover all keys")]
    Hole {
        /// First key not covered.
        from: u128,
        /// Last key not covered.
        to: u128,
    },
    /// A child is open although its parent is, too.
    #[error("shard `{child}` is open although its parent `{parent}` is not closed")]
    OpenChildOfOpenParent {
        /// The child.
        child: ShardId,
        /// The parent.
        parent: ShardId,
    },
}

/// The first part of the ring that none of `ranges` covers. Overlaps are fine.
#[must_use]
pub fn first_hole(ranges: impl IntoIterator<Item = HashKeyRange>) -> Option<HashKeyRange> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_unstable();
    let mut next = 0_u128;
    for range in ranges {
        if range.start > next {
            return Some(HashKeyRange { start: next, end: range.start - 1 });
        }
        if range.end >= next {
            match range.end.checked_add(1) {
                Some(after) => next = after,
                None => return None, // the ring is complete
            }
        }
    }
    Some(HashKeyRange { start: next, end: u128::MAX })
}

fn lease_of(shard: &Shard, checkpoint: Checkpoint) -> Lease {
    let mut lease = Lease::new(shard.id.clone(), checkpoint);
    lease.parents = shard.parents().cloned().collect();
    lease.hash_range = Some(shard.hash_range);
    lease
}

/// Leases for an empty table, from the shards that were open at the initial position.
///
/// # Errors
/// The shards do not cover the ring.
pub fn first_leases(shards: &[Shard], initial: InitialPosition) -> Result<Vec<Lease>, Inconsistent> {
    if let Some(hole) = first_hole(shards.iter().map(|shard| shard.hash_range)) {
        return Err(Inconsistent::Hole { from: hole.start, to: hole.end });
    }
    let mut sorted: Vec<_> = shards.iter().collect();
    sorted.sort_by(|a, b| (&a.starting_sequence, &a.id).cmp(&(&b.starting_sequence, &b.id)));
    Ok(sorted.into_iter().map(|shard| lease_of(shard, initial.sentinel())).collect())
}

/// Leases that a table with leases still lacks, from the list of all shards.
///
/// Children of a leased, unfinished parent are not among them; they come when the parent ends.
///
/// # Errors
/// An open shard has an open parent, and `ignore_unexpected` does not say to leave it out.
pub fn missing_leases(
    shards: &[Shard],
    leases: &[Lease],
    initial: InitialPosition,
    ignore_unexpected: bool,
) -> Result<Vec<Lease>, Inconsistent> {
    let by_id: HashMap<&ShardId, &Shard> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    let leased: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
    let mut unexpected = HashSet::new();
    for shard in shards.iter().filter(|shard| shard.is_open()) {
        let open_parent = shard.parents().find(|id| by_id.get(id).is_some_and(|parent| parent.is_open()));
        if let Some(parent) = open_parent {
            if !ignore_unexpected {
                let (child, parent) = (shard.id.clone(), parent.clone());
                return Err(Inconsistent::OpenChildOfOpenParent { child, parent });
            }
            unexpected.insert(&shard.id);
        }
    }
    let mut tree = Tree { by_id, leased, initial, ..Tree::default() };
    for shard in shards.iter().filter(|shard| shard.is_open() && !unexpected.contains(&shard.id)) {
        if !tree.leased.contains(&shard.id) && !tree.is_covered(&shard.id) {
            tree.want(&shard.id, initial.sentinel());
        }
    }
    let mut missing: Vec<(&Shard, Lease)> = tree.wanted.into_values().collect();
    missing.sort_by(|(a, _), (b, _)| (&a.starting_sequence, &a.id).cmp(&(&b.starting_sequence, &b.id)));
    Ok(missing.into_iter().map(|(_, lease)| lease).collect())
}

/// A walk from open shards up to their ancestors.
struct Tree<'a> {
    by_id: HashMap<&'a ShardId, &'a Shard>,
    leased: HashSet<&'a ShardId>,
    initial: InitialPosition,
    /// Whether a shard visited before comes from one that has, or will have, a lease.
    covered: HashMap<&'a ShardId, bool>,
    /// Oldest ancestors, where reading has to begin.
    roots: HashSet<&'a ShardId>,
    wanted: BTreeMap<&'a ShardId, (&'a Shard, Lease)>,
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            leased: HashSet::new(),
            initial: InitialPosition::TrimHorizon,
            covered: HashMap::new(),
            roots: HashSet::new(),
            wanted: BTreeMap::new(),
        }
    }
}

impl<'a> Tree<'a> {
    fn want(&mut self, id: &ShardId, checkpoint: Checkpoint) {
        if let Some(shard) = self.by_id.get(id).copied() {
            self.wanted.insert(&shard.id, (shard, lease_of(shard, checkpoint)));
        }
    }

    /// Whether the records before this shard are, or will be, read by the lease of an ancestor or its own. On the way,
    /// asks for the leases of ancestors where the reading of this line has to begin: one level of them, no more.
    fn is_covered(&mut self, id: &ShardId) -> bool {
        let Some(shard) = self.by_id.get(id).copied() else { return false };
        if self.leased.contains(id) {
            return true;
        }
        if let Some(known) = self.covered.get(id) {
            return *known;
        }
        self.covered.insert(&shard.id, false); // a listing with a circle must not hang us
        let parents: Vec<&'a ShardId> = shard.parents().filter(|parent| self.by_id.contains_key(parent)).collect();
        let mut leading_here = Vec::new();
        for parent in &parents {
            if self.is_covered(parent) || self.roots.contains(parent) {
                leading_here.push(*parent);
            }
        }
        let covered = !leading_here.is_empty();
        if covered {
            for parent in parents.into_iter().filter(|parent| !self.leased.contains(parent)).collect::<Vec<_>>() {
                self.want_parent(parent, leading_here.contains(&parent));
            }
        } else if self.initial != InitialPosition::Latest {
            self.roots.insert(&shard.id);
        }
        self.covered.insert(&shard.id, covered);
        covered
    }

    /// `leads_here`: the parent itself comes from a lease, or is the root of its line.
    fn want_parent(&mut self, parent: &ShardId, leads_here: bool) {
        if leads_here && !self.roots.contains(parent) && !self.wanted.contains_key(parent) {
            return; // its own ancestors' leases lead to it
        }
        let from_the_start = leads_here && !matches!(self.initial, InitialPosition::AtTimestamp(_));
        let checkpoint = if from_the_start { Checkpoint::TrimHorizon } else { self.initial.sentinel() };
        self.want(parent, checkpoint);
    }
}

/// Leases of the shards that follow a finished one.
#[must_use]
pub fn child_leases(children: &[ChildShard]) -> Vec<Lease> {
    let lease = |child: &ChildShard| {
        let mut lease = Lease::new(child.id.clone(), Checkpoint::TrimHorizon);
        lease.parents = child.parents.iter().cloned().collect();
        lease.hash_range = Some(child.hash_range);
        lease
    };
    children.iter().map(lease).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::EpochMillis;
    use proptest::prelude::*;

    fn id(number: usize) -> ShardId {
        ShardId::new(format!("shardId-{number:012}"))
    }

    fn shard(number: usize, parents: &[usize], open: bool) -> Shard {
        Shard {
            id: id(number),
            parent: parents.first().map(|n| id(*n)),
            adjacent_parent: parents.get(1).map(|n| id(*n)),
            hash_range: HashKeyRange::WHOLE,
            starting_sequence: (number * 100).to_string().parse().unwrap(),
            ending_sequence: (!open).then(|| (number * 100 + 99).to_string().parse().unwrap()),
        }
    }

    fn leased(numbers: &[usize]) -> Vec<Lease> {
        numbers.iter().map(|n| Lease::new(id(*n), Checkpoint::TrimHorizon)).collect()
    }

    /// The tree of KCL's own documentation: 0..5 at first, 6 and 7 merged, then 8 merged and 5 split.
    fn documented() -> Vec<Shard> {
        let mut shards: Vec<_> = [0, 1, 2, 3, 5].map(|n| shard(n, &[], false)).into();
        shards.push(shard(4, &[], true));
        shards.push(shard(6, &[0, 1], false));
        shards.push(shard(7, &[2, 3], false));
        shards.push(shard(8, &[6, 7], true));
        shards.push(shard(9, &[5], true));
        shards.push(shard(10, &[5], true));
        shards
    }

    fn named(leases: &[Lease]) -> Vec<(usize, &str)> {
        leases.iter().map(|l| (l.shard.as_str()[8..].parse().unwrap(), l.checkpoint.sequence_text())).collect()
    }

    #[test]
    fn missing_leases_are_those_of_the_reference() {
        const AT: InitialPosition = InitialPosition::AtTimestamp(EpochMillis(206));
        const TRIM: InitialPosition = InitialPosition::TrimHorizon;
        const LATEST: InitialPosition = InitialPosition::Latest;
        type Case<'a> = (&'a [usize], InitialPosition, &'a [(usize, &'a str)]);
        let table: [Case<'_>; 8] = [
            (&[4, 5, 7], LATEST, &[(6, "LATEST")]),
            (&[4, 5, 7], TRIM, &[(0, "TRIM_HORIZON"), (1, "TRIM_HORIZON")]),
            (&[4, 5, 7], AT, &[(0, "AT_TIMESTAMP"), (1, "AT_TIMESTAMP")]),
            (&[4, 8, 9, 10], TRIM, &[]),
            (&[4, 6, 7, 5], TRIM, &[]),
            (&[4, 8], LATEST, &[(9, "LATEST"), (10, "LATEST")]),
            (&[4, 8], TRIM, &[(5, "TRIM_HORIZON")]),
            (&[8, 9, 10], LATEST, &[(4, "LATEST")]),
        ];
        for (have, initial, want) in table {
            let missing = missing_leases(&documented(), &leased(have), initial, false).unwrap();
            assert_eq!(named(&missing), want, "{have:?} {initial:?}");
        }
    }

    #[test]
    fn an_open_child_of_an_open_parent_fails_the_listing_or_is_left_out() {
        let shards = [shard(0, &[], true), shard(1, &[0], true)];
        let have = leased(&[0]);
        let error = missing_leases(&shards, &have, InitialPosition::TrimHorizon, false).unwrap_err();
        assert_eq!(error, Inconsistent::OpenChildOfOpenParent { child: id(1), parent: id(0) });
        assert_eq!(missing_leases(&shards, &have, InitialPosition::TrimHorizon, true), Ok(vec![]));
    }

    #[test]
    fn an_empty_table_gets_one_lease_for_each_shard_of_a_whole_ring() {
        let mut shards = vec![shard(1, &[], true), shard(0, &[], true)];
        shards[1].hash_range = HashKeyRange { start: 0, end: 9 };
        shards[0].hash_range = HashKeyRange { start: 10, end: u128::MAX };
        let leases = first_leases(&shards, InitialPosition::Latest).unwrap();
        assert_eq!(named(&leases), [(0, "LATEST"), (1, "LATEST")]);
        assert_eq!(leases[0].hash_range, Some(shards[1].hash_range));
        shards[0].hash_range.start = 11;
        assert_eq!(first_leases(&shards, InitialPosition::Latest), Err(Inconsistent::Hole { from: 10, to: 10 }));
    }

    #[test]
    fn holes_are_found_wherever_they_are() {
        let range = |start, end| HashKeyRange { start, end };
        let table = [
            (vec![], Some(range(0, u128::MAX))),
            (vec![range(0, u128::MAX)], None),
            (vec![range(5, u128::MAX)], Some(range(0, 4))),
            (vec![range(0, 4)], Some(range(5, u128::MAX))),
            (vec![range(8, u128::MAX), range(0, 4)], Some(range(5, 7))),
            (vec![range(0, 9), range(2, 3), range(5, u128::MAX)], None),
        ];
        for (ranges, hole) in table {
            assert_eq!(first_hole(ranges.clone()), hole, "{ranges:?}");
        }
    }

    proptest! {
        /// Any family tree: every open shard ends up with a lease of its own or of an ancestor.
        #[test]
        fn no_open_shard_is_left_without_a_reader(
            parents in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..20),
            have in prop::collection::vec(any::<bool>(), 20),
            initial in prop_oneof![Just(InitialPosition::Latest), Just(InitialPosition::TrimHorizon)],
        ) {
            let mut shards: Vec<Shard> = Vec::new();
            for (number, family) in parents.iter().enumerate() {
                let mut family: Vec<usize> = if number == 0 { vec![] } else { family.iter().map(|i| i.index(number)).collect() };
                family.dedup();
                for parent in &family {
                    shards[*parent].ending_sequence = Some("99999".parse().unwrap());
                }
                shards.push(shard(number, &family, true));
            }
            let mut leases = leased(&(0..shards.len()).filter(|n| have[*n]).collect::<Vec<_>>());
            leases.extend(missing_leases(&shards, &leases, initial, false).unwrap());
            let has: HashSet<ShardId> = leases.iter().map(|lease| lease.shard.clone()).collect();
            prop_assert_eq!(has.len(), leases.len());
            for shard in shards.iter().filter(|shard| shard.is_open()) {
                let mut line = vec![shard.id.clone()];
                let mut found = false;
                while let Some(next) = line.pop() {
                    found |= has.contains(&next);
                    let ancestor = shards.iter().find(|s| s.id == next).unwrap();
                    line.extend(ancestor.parents().cloned());
                }
                prop_assert!(found, "{} has no reader", shard.id);
            }
        }
    }
}
