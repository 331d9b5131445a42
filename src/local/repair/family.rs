//! Which shards descend from which, and which of them a filter of ListShards selects. Pure.

use ferrokinesis::sequence::parse_sequence;
use ferrokinesis::types::{HashKeyRange, Shard};
use serde::Serialize;

/// One entry of `ChildShards`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Child<'a> {
    shard_id: &'a str,
    parent_shards: Vec<&'a str>,
    hash_key_range: &'a HashKeyRange,
}

/// Whether no more records can come into the shard.
pub(super) fn is_closed(shard: &Shard) -> bool {
    shard.sequence_number_range.ending_sequence_number.is_some()
}

/// The shards that were split or merged into `shard`; both after a merge.
pub(super) fn parents(shard: &Shard) -> impl Iterator<Item = &str> {
    [&shard.parent_shard_id, &shard.adjacent_parent_shard_id].into_iter().flatten().map(String::as_str)
}

/// The shards that go on where `parent` ended.
pub(super) fn children<'a>(shards: &'a [Shard], parent: &str) -> Vec<Child<'a>> {
    let children = shards.iter().filter(|shard| parents(shard).any(|id| id == parent));
    children
        .map(|shard| Child {
            shard_id: &shard.shard_id,
            parent_shards: parents(shard).collect(),
            hash_key_range: &shard.hash_key_range,
        })
        .collect()
}

/// `ShardFilter` of ListShards, times in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    /// No filter, or FROM_TRIM_HORIZON: every shard still known.
    All,
    AfterShardId(String),
    AtTrimHorizon,
    AtLatest,
    AtTimestamp(u64),
    FromTimestamp(u64),
}

/// The shards that `filter` selects of those still known, in the order of their names.
///
/// A shard is known while it is open or ended after `horizon`, the moment before which records are gone.
///
/// Source: Kinesis API reference, `ShardFilter`: AT_ selects the shards open at that moment, FROM_ also all
/// that came later; so each AT_ covers the whole ring exactly once.
pub(super) fn select<'a>(shards: &'a [Shard], filter: &Filter, horizon: u64) -> Vec<&'a Shard> {
    let known: Vec<&Shard> = shards.iter().filter(|shard| ended(shard).is_none_or(|end| end > horizon)).collect();
    let is_known = |id: &str| known.iter().any(|shard| shard.shard_id == id);
    // A child begins when its parents end, so that at no moment a part of the ring is uncovered.
    let began = |shard: &Shard| {
        let parents = parents(shard).filter_map(|id| known.iter().find(|other| other.shard_id == id));
        parents.filter_map(|parent| ended(parent)).max().unwrap_or(0)
    };
    let is_open_after = |shard: &Shard, time: u64| ended(shard).is_none_or(|end| end > time);
    let keep = |shard: &&&Shard| match filter {
        Filter::All => true,
        Filter::AfterShardId(id) => shard.shard_id > *id,
        Filter::AtTrimHorizon => !parents(shard).any(is_known),
        Filter::AtLatest => !is_closed(shard),
        Filter::AtTimestamp(time) => began(shard) <= *time && is_open_after(shard, *time),
        Filter::FromTimestamp(time) => is_open_after(shard, *time),
    };
    known.iter().filter(keep).copied().collect()
}

/// When the shard was closed, in milliseconds (whole seconds: the number has no more); `None` while it is open.
fn ended(shard: &Shard) -> Option<u64> {
    let end = shard.sequence_number_range.ending_sequence_number.as_deref()?;
    Some(parse_sequence(end).ok().and_then(|parts| parts.seq_time).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferrokinesis::sequence::{MAX_SEQ_IX, SeqObj, shard_id_name, stringify_sequence};
    use ferrokinesis::types::SequenceNumberRange;

    fn sequence(index: i64, place: u64, time: u64) -> String {
        let (seq_ix, seq_time) = (Some(place), Some(time));
        let parts =
            SeqObj { shard_create_time: 0, seq_ix, seq_time, shard_ix: index, byte1: None, seq_rand: None, version: 2 };
        stringify_sequence(&parts)
    }

    fn shard(index: i64, parents: &[i64], ended: Option<u64>) -> Shard {
        let range = SequenceNumberRange {
            starting_sequence_number: sequence(index, 0, 0),
            ending_sequence_number: ended.map(|time| sequence(index, MAX_SEQ_IX, time)),
        };
        let ids: Vec<String> = parents.iter().map(|parent| shard_id_name(*parent)).collect();
        Shard {
            shard_id: shard_id_name(index),
            hash_key_range: HashKeyRange::new("0".to_owned(), "1".to_owned()),
            sequence_number_range: range,
            parent_shard_id: ids.first().cloned(),
            adjacent_parent_shard_id: ids.get(1).cloned(),
        }
    }

    /// 0 and 1 at first; 0 splits into 2 and 3 at 10 s; 3 and 1 merge into 4 at 20 s.
    fn course() -> Vec<Shard> {
        vec![
            shard(0, &[], Some(10_000)),
            shard(1, &[], Some(20_000)),
            shard(2, &[0], None),
            shard(3, &[0], Some(20_000)),
            shard(4, &[3, 1], None),
        ]
    }

    fn selected(filter: &Filter, horizon: u64) -> Vec<usize> {
        let shards = course();
        let index = |shard: &Shard| shards.iter().position(|other| other.shard_id == shard.shard_id).unwrap();
        select(&shards, filter, horizon).into_iter().map(index).collect()
    }

    #[test]
    fn each_filter_selects_what_the_service_would() {
        let table = [
            (Filter::All, 0, vec![0, 1, 2, 3, 4]),
            (Filter::AfterShardId(shard_id_name(1)), 0, vec![2, 3, 4]),
            (Filter::AtTrimHorizon, 0, vec![0, 1]),
            (Filter::AtLatest, 0, vec![2, 4]),
            (Filter::AtTimestamp(5_000), 0, vec![0, 1]),
            (Filter::AtTimestamp(10_000), 0, vec![1, 2, 3]),
            (Filter::AtTimestamp(15_000), 0, vec![1, 2, 3]),
            (Filter::AtTimestamp(25_000), 0, vec![2, 4]),
            (Filter::FromTimestamp(15_000), 0, vec![1, 2, 3, 4]),
            // Nothing of shard 0 is left: its children are the oldest now.
            (Filter::All, 12_000, vec![1, 2, 3, 4]),
            (Filter::AtTrimHorizon, 12_000, vec![1, 2, 3]),
            (Filter::AtTrimHorizon, 30_000, vec![2, 4]),
        ];
        for (filter, horizon, expected) in table {
            assert_eq!(selected(&filter, horizon), expected, "{filter:?} with horizon {horizon}");
        }
    }

    #[test]
    fn both_parents_of_a_merge_are_named_to_either() {
        let shards = course();
        for parent in [1, 3] {
            let children = children(&shards, &shard_id_name(parent));
            assert_eq!(children.len(), 1);
            assert_eq!(children[0].parent_shards, [shard_id_name(3), shard_id_name(1)]);
        }
    }
}
