//! Decides which leases a list of shards calls for. Pure.
//!
//! Source: KCL 3.x `HierarchicalShardSyncer`, as LEASES.md section 7 describes it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::coordinator::ring::{NotOnce, covers_once, storable};
use crate::lease::Lease;
use crate::stream::{ChildShard, Shard};
use crate::types::{Checkpoint, InitialPosition, ShardId};

/// Why a list of shards cannot be right, at least at this moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// Some hash keys belong to no shard, or to two that were open at the same time.
    #[error(transparent)]
    Ring(#[from] NotOnce),
    /// A shard has a child although it is open.
    #[error("shard `{child}` is listed although its parent `{parent}` is not closed")]
    ChildOfOpenParent {
        /// The child.
        child: ShardId,
        /// The parent.
        parent: ShardId,
    },
    /// One shard, two entries.
    #[error("shard `{shard}` is listed twice")]
    Twice {
        /// The shard.
        shard: ShardId,
    },
}

fn lease_of(shard: &Shard, checkpoint: Checkpoint) -> Lease {
    let mut lease = Lease::new(shard.id.clone(), checkpoint);
    lease.parents = shard.parents().cloned().collect();
    lease.hash_range = storable(shard.hash_range);
    lease
}

/// Shards that are listed although a parent of theirs is open.
///
/// Source: KCL 3.x `HierarchicalShardSyncer.findInconsistentShardIds`; whether the child is open does not matter.
fn too_early<'a>(by_id: &HashMap<&ShardId, &'a Shard>) -> BTreeMap<&'a ShardId, &'a ShardId> {
    let open_parent = |shard: &'a Shard| {
        let parent = shard.parents().find(|id| by_id.get(id).is_some_and(|parent| parent.is_open()))?;
        Some((&shard.id, parent))
    };
    by_id.values().filter_map(|shard| open_parent(shard)).collect()
}

/// The shards by name, and those of them that are there too early, which `ignore_unexpected` lets pass.
type Listed<'a> = (HashMap<&'a ShardId, &'a Shard>, BTreeMap<&'a ShardId, &'a ShardId>);

fn consistent(shards: &[Shard], ignore_unexpected: bool) -> Result<Listed<'_>, Inconsistent> {
    let mut by_id: HashMap<&ShardId, &Shard> = HashMap::with_capacity(shards.len());
    for shard in shards {
        if by_id.insert(&shard.id, shard).is_some() {
            return Err(Inconsistent::Twice { shard: shard.id.clone() });
        }
    }
    let unexpected = too_early(&by_id);
    match unexpected.first_key_value() {
        Some((child, parent)) if !ignore_unexpected => {
            Err(Inconsistent::ChildOfOpenParent { child: (*child).clone(), parent: (*parent).clone() })
        }
        Some(_) | None => Ok((by_id, unexpected)),
    }
}

/// Leases for an empty table, from the shards that were open at the initial position.
///
/// # Errors
/// The shards do not cover the ring exactly once, or one of them has an open parent, and `ignore_unexpected` does not
/// say that this may be.
pub fn first_leases(
    shards: &[Shard],
    initial: InitialPosition,
    ignore_unexpected: bool,
) -> Result<Vec<Lease>, Inconsistent> {
    covers_once(shards.iter().map(|shard| shard.hash_range))?;
    consistent(shards, ignore_unexpected)?;
    let mut sorted: Vec<_> = shards.iter().collect();
    sorted.sort_by(|a, b| (&a.starting_sequence, &a.id).cmp(&(&b.starting_sequence, &b.id)));
    Ok(sorted.into_iter().map(|shard| lease_of(shard, initial.sentinel())).collect())
}

/// Leases that a table with leases still lacks, from the list of all shards.
///
/// Children of a leased, unfinished parent are not among them; they come when the parent ends.
///
/// # Errors
/// A shard is listed twice, or has an open parent, and `ignore_unexpected` does not say to leave it out.
pub fn missing_leases(
    shards: &[Shard],
    leases: &[Lease],
    initial: InitialPosition,
    ignore_unexpected: bool,
) -> Result<Vec<Lease>, Inconsistent> {
    let (by_id, unexpected) = consistent(shards, ignore_unexpected)?;
    let leased: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
    let mut tree = Tree { by_id, leased, initial, ..Tree::default() };
    for shard in shards.iter().filter(|shard| shard.is_open() && !unexpected.contains_key(&shard.id)) {
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
        lease.hash_range = storable(child.hash_range);
        lease
    };
    children.iter().map(lease).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EpochMillis, HashKeyRange};
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
    fn a_child_of_an_open_parent_fails_the_listing_or_is_left_out() {
        const TRIM: InitialPosition = InitialPosition::TrimHorizon;
        let early = Err(Inconsistent::ChildOfOpenParent { child: id(1), parent: id(0) });
        let open = [shard(0, &[], true), shard(1, &[0], true)];
        let closed = [shard(0, &[], true), shard(1, &[0], false), shard(2, &[1], true)];
        for shards in [&open[..], &closed] {
            assert_eq!(missing_leases(shards, &leased(&[0]), TRIM, false), early);
            assert_eq!(missing_leases(shards, &leased(&[0]), TRIM, true), Ok(vec![]));
        }
        let twice = [shard(0, &[], true), shard(0, &[], false)];
        assert_eq!(missing_leases(&twice, &leased(&[0]), TRIM, true), Err(Inconsistent::Twice { shard: id(0) }));
    }

    #[test]
    fn an_empty_table_gets_one_lease_for_each_shard_of_a_whole_ring() {
        const LATEST: InitialPosition = InitialPosition::Latest;
        let mut shards = vec![shard(1, &[], true), shard(0, &[], true)];
        shards[1].hash_range = HashKeyRange { start: 0, end: 9 };
        shards[0].hash_range = HashKeyRange { start: 10, end: u128::MAX };
        let leases = first_leases(&shards, LATEST, false).unwrap();
        assert_eq!(named(&leases), [(0, "LATEST"), (1, "LATEST")]);
        assert_eq!(leases[0].hash_range, Some(shards[1].hash_range));
        let fault = |shards: &[Shard]| first_leases(shards, LATEST, false).unwrap_err().to_string();
        shards[0].hash_range.start = 11;
        assert_eq!(fault(&shards), "no shard covers hash keys 10 to 10; expected shards to cover each key once");
        shards[0].hash_range.start = 8;
        assert_eq!(fault(&shards), "two shards cover hash keys 8 to 9; expected shards to cover each key once");
        shards[0].hash_range.start = 10;
        shards[0].parent = Some(id(0));
        assert_eq!(
            fault(&shards),
            format!("shard `{}` is listed although its parent `{}` is not closed", id(1), id(0))
        );
        assert_eq!(first_leases(&shards, LATEST, true).unwrap().len(), 2);
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
