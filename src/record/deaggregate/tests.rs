//! What the recorded vectors (`tests/golden_aggregation.rs`) do not show: faults, sharing, the checkpoint filter.

use super::*;
use md5::{Digest as _, Md5};
use proptest::prelude::*;

fn plain(data: &[u8], sequence: &str) -> Record {
    Record {
        data: base64_simd::STANDARD.encode_to_string(data).into(),
        partition_key: "outer".into(),
        sequence: sequence.to_owned().into(),
        arrival_millis: Some(1),
        sub: 0,
        aggregated: false,
        explicit_hash_key: None,
    }
}

fn payload(message: &[u8]) -> Vec<u8> {
    [&MAGIC, message, Md5::digest(message).as_slice()].concat()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A message of the keys and of records given as (partition key index, explicit hash key index, data).
fn message(keys: &[&[u8]], hash_keys: &[&[u8]], records: &[(u8, Option<u8>, &[u8])]) -> Vec<u8> {
    let mut message: Vec<u8> = keys.iter().flat_map(|key| field(1, key)).collect();
    message.extend(hash_keys.iter().flat_map(|key| field(2, key)));
    for (key, hash_key, data) in records {
        let mut record = vec![0x08, *key];
        record.extend(hash_key.iter().flat_map(|index| [0x10, *index]));
        record.extend(field(3, data));
        message.extend(field(3, &record));
    }
    message
}

/// An unknown field of the message, of this length.
fn filler(length: usize) -> Vec<u8> {
    let (low, middle, high) = (length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14);
    let head = [low, middle, high].map(|part| u8::try_from(part).unwrap());
    [&[9 << 3 | 2], head.as_slice(), &vec![7; length]].concat()
}

fn open(message: &[u8], range: Option<HashKeyRange>) -> (Vec<Record>, Vec<Fault>) {
    let mut faults = Vec::new();
    (deaggregate(vec![plain(&payload(message), "7")], range, &mut faults), faults)
}

/// User records without data: those take many times the memory of their aggregate.
fn crowded(sequence: usize) -> Record {
    let record: (u8, Option<u8>, &[u8]) = (0, None, b"");
    plain(&payload(&message(&[b"k"], &[], &[record; 1_000])), &sequence.to_string())
}

#[test]
fn small_user_records_are_opened_a_part_at_a_time() {
    let most = 2_000_000;
    let records: Vec<Record> =
        (0..100).map(|at| if at % 7 == 3 { plain(b"x", &at.to_string()) } else { crowded(at) }).collect();
    let (whole, mut faults) = (deaggregate(records.clone(), None, &mut Vec::new()), Vec::new());
    let mut opening = Opening::new(records, None, most);
    let parts: Vec<_> = std::iter::from_fn(|| opening.next(&mut faults)).collect();
    let one_group = LANES * 1_000 * size_of::<Record>();
    assert!(parts.iter().all(|part| size_of_val(part.as_slice()) <= most + one_group));
    assert!((4..20).contains(&parts.len()), "{}", parts.len());
    assert!(parts.concat() == whole && faults.is_empty());
    let mut plain_ones = Opening::new(vec![plain(b"x", "1"), plain(b"y", "2")], None, 1);
    let lengths = std::iter::from_fn(|| plain_ones.next(&mut faults)).map(|part| part.len());
    assert_eq!(lengths.collect::<Vec<_>>(), [2]);
}

#[test]
fn a_fault_keeps_what_stands_before_it_and_is_told() {
    let table: &[(&[u8], u8, Option<u8>, Reason)] = &[
        (b"1", 9, None, Reason::NoPartitionKey { index: 9, table: 1 }),
        (b"1", 0, Some(3), Reason::NoExplicitHashKey { index: 3, table: 1 }),
        (b"", 0, Some(0), Reason::NotANumber { length: 0 }),
        (b"-", 0, Some(0), Reason::NotANumber { length: 1 }),
        (b"+-1", 0, Some(0), Reason::NotANumber { length: 3 }),
        (b"1.5", 0, Some(0), Reason::NotANumber { length: 3 }),
        (b" 1", 0, Some(0), Reason::NotANumber { length: 2 }),
    ];
    for (hash_key, key, index, reason) in table {
        let message = message(&[b"a"], &[hash_key], &[(0, None, b"good"), (*key, *index, b"bad"), (0, None, b"lost")]);
        let (records, faults) = open(&message, None);
        assert_eq!(records.len(), 1, "{reason:?}");
        let expected = Fault { sequence: "7".into(), index: 1, records: 3, dropped: 2, reason: reason.clone() };
        assert_eq!(faults, [expected]);
    }
}

#[test]
fn a_hash_key_off_the_ring_takes_the_whole_aggregate_and_is_told() {
    let above = (u128::MAX.to_string() + "0").into_bytes();
    for hash_key in [b"-1".as_slice(), b"340282366920938463463374607431768211456", &above] {
        let message = message(&[b"a"], &[hash_key], &[(0, None, b"good"), (0, Some(0), b"bad")]);
        let (records, faults) = open(&message, None);
        assert_eq!(records, []);
        assert_eq!(
            faults.first().unwrap().to_string(),
            "aggregate `7`: user record 1 of 2 has an explicit hash key outside of 0 to 2^128-1; dropped 2"
        );
    }
    for hash_key in [b"-0".as_slice(), b"+5", b"0005", b"340282366920938463463374607431768211455"] {
        assert_eq!(open(&message(&[b"a"], &[hash_key], &[(0, Some(0), b"x")]), None).0.len(), 1);
    }
}

#[test]
fn a_record_of_another_shard_takes_its_aggregate_in_silence() {
    let range = Some(HashKeyRange { start: 5, end: 9 });
    let inside_and_outside = message(&[b"a"], &[b"5", b"10"], &[(0, Some(0), b"in"), (0, Some(1), b"out")]);
    assert_eq!(open(&inside_and_outside, range), (vec![], vec![]));
    let both_ends = message(&[b"a"], &[b"5", b"9"], &[(0, Some(0), b"in"), (0, Some(1), b"in")]);
    assert_eq!(open(&both_ends, range).0.len(), 2);
}

#[test]
fn user_records_of_an_aggregate_share_one_buffer() {
    let message = message(&[b"key", b"\xed\xa0\x80"], &[], &[(0, None, b"one"), (0, None, b"two!"), (1, None, b"")]);
    let (records, faults) = open(&message, None);
    assert_eq!(faults, []);
    let told: Vec<_> =
        records.iter().map(|record| (record.partition_key.as_str(), record.data.as_str(), record.sub)).collect();
    assert_eq!(told, [("key", "b25l", 0), ("key", "dHdvIQ==", 1), ("\u{fffd}", "", 2)]);
    let place = |index: usize| records[index].partition_key.as_bytes().as_ptr();
    assert_eq!(place(0), place(1));
}

#[test]
fn only_the_magic_makes_a_candidate() {
    for first in 0..=255_u8 {
        for (at, fixed) in MAGIC.iter().enumerate() {
            let mut bytes = MAGIC;
            bytes[at] = first;
            assert_eq!(plain(&bytes, "7").data.may_be_aggregate(), first == *fixed, "{bytes:x?}");
        }
    }
    assert!(!plain(&MAGIC[..3], "7").data.may_be_aggregate());
    assert!(!plain(b"", "7").data.may_be_aggregate());
}

#[test]
fn data_that_is_no_base64_is_left_alone() {
    let odd = Record { data: "84mawg!?".into(), ..plain(b"", "7") };
    assert_eq!(deaggregate(vec![odd.clone()], None, &mut Vec::new()), [odd]);
}

#[test]
fn records_up_to_the_checkpoint_are_dropped_by_number() {
    let at = |sequence: &str, sub| Record { sub, ..plain(b"", sequence) };
    let given = vec![at("9", 0), at("10", 0), at("010", 1), at("10", 2), at("11", 0), at("2", 7)];
    let left = |checkpoint: &str, sub| {
        let mut records = given.clone();
        drop_done(&mut records, &Checkpoint::parse(checkpoint, sub).unwrap());
        records.iter().map(|record| format!("{}.{}", record.sequence.as_str(), record.sub)).collect::<Vec<_>>()
    };
    assert_eq!(left("10", 1), ["10.2", "11.0"]);
    assert_eq!(left("0010", 0), ["010.1", "10.2", "11.0"]);
    assert_eq!(left("11", 5), [""; 0]);
    assert_eq!(left("TRIM_HORIZON", 0).len(), 6);
    assert_eq!(left("LATEST", 0).len(), 6);
    assert_eq!(left("AT_TIMESTAMP", 0).len(), 6);
    assert_eq!(left("SHARD_END", 0).len(), 0);
}

proptest! {
    #[test]
    fn plain_records_pass_untouched(data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
        let given: Vec<_> = data.iter().map(|data| plain(data, "7")).collect();
        let range = Some(HashKeyRange { start: 1, end: 1 });
        prop_assert_eq!(deaggregate(given.clone(), range, &mut Vec::new()), given);
    }

    #[test]
    fn any_message_is_opened_or_passed_on_whole(message: Vec<u8>) {
        let given = plain(&payload(&message), "7");
        let mut faults = Vec::new();
        let opened = deaggregate(vec![given.clone()], None, &mut faults);
        prop_assert!(opened == [given] || opened.iter().all(|record| record.aggregated));
    }

    #[test]
    fn the_filter_agrees_with_the_order_of_places(sequence: u64, sub in 0..3_u64, done: u64, done_sub in 0..3_u64) {
        let mut records = vec![Record { sub, ..plain(b"", &sequence.to_string()) }];
        let place = Checkpoint::At(records[0].place().unwrap());
        let checkpoint = Checkpoint::parse(&done.to_string(), done_sub).unwrap();
        drop_done(&mut records, &checkpoint);
        prop_assert_eq!(records.len() == 1, place > checkpoint);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))] // MD5 of so much takes long in a debug build

    /// What a batch is given: plain records, aggregates good and bad, and such as have a wrong digest.
    #[test]
    fn each_record_of_a_batch_is_opened_as_if_it_were_alone(kinds in prop::collection::vec((0..6, 0..90_000_usize), 0..40)) {
        let given: Vec<Record> = (0..).zip(&kinds).map(|(number, (kind, size)): (u32, _)| {
            let mut good = payload(&message(&[b"a"], &[b"x"], &[(0, None, b"one"), (0, None, number.to_string().as_bytes())]));
            match kind {
                0 => good = number.to_le_bytes().to_vec(),
                1 => *good.last_mut().unwrap() ^= 1,
                2 => good = payload(&message(&[b"a"], &[b"x"], &[(0, None, b"good"), (0, Some(0), b"bad")])),
                3 => good = payload(&[message(&[b"a"], &[], &[(0, None, b"long")]), filler(*size)].concat()),
                _ => {}
            }
            plain(&good, &number.to_string())
        }).collect();
        let (mut faults, mut faults_alone) = (Vec::new(), Vec::new());
        let alone = given.iter().flat_map(|record| deaggregate(vec![record.clone()], None, &mut faults_alone));
        let alone: Vec<Record> = alone.collect();
        prop_assert_eq!(deaggregate(given, None, &mut faults), alone);
        prop_assert_eq!(faults, faults_alone);
    }
}
