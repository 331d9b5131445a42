use super::number::{millis_of_seconds, usual_seconds};
use super::*;
use base64_simd::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

fn both(body: &str) -> Answer {
    let body = Bytes::from(body.to_owned());
    let walked = walk(&body).unwrap();
    assert_eq!(walked, tolerate(&body).unwrap());
    walked
}

/// What only the second parser takes.
fn only_tolerated(body: &str) -> Answer {
    let body = Bytes::from(body.to_owned());
    assert!(walk(&body).is_err(), "{body:?}");
    tolerate(&body).unwrap()
}

#[test]
fn seconds_of_the_service_need_one_pass() {
    for (text, read) in [
        ("1.441215410867E9,", Some((1_441_215_410_867, 16))),
        ("1441215410.867}", Some((1_441_215_410_867, 14))),
        ("1.7E9,", Some((1_700_000_000_000, 5))),
        ("1700000000,", Some((1_700_000_000_000, 10))),
        ("1441215410.8679,", Some((1_441_215_410_867, 15))),
        ("0,", Some((0, 1))),
        ("1.7E9", None), // more may follow
        ("01,", None),
        ("1.,", None),
        (".1,", None),
        ("-1,", None),
        ("1e9,", None),
        ("1E,", None),
        ("1.2.3,", None),
        ("1234567890123456789,", None),
        ("999999999999999999E9,", None),
    ] {
        assert_eq!(usual_seconds(text.as_bytes()), read, "{text}");
    }
}

const ONE: &str = r#"{"Data":"aGk=","PartitionKey":"k","SequenceNumber":"49"}"#;

#[test]
fn an_answer_of_the_service_is_read_whole() {
    let answer = both(concat!(
        r#"{"MillisBehindLatest":2100,"NextShardIterator":"AAA","Records":["#,
        r#"{"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"aGk=","PartitionKey":"k","SequenceNumber":"49"},"#,
        r#"{"Data":"","EncryptionType":"KMS","SequenceNumber":"50","PartitionKey":"ä"}]}"#
    ));
    assert_eq!(answer.next_iterator.as_deref(), Some("AAA"));
    assert_eq!(answer.millis_behind_latest, Some(2100));
    assert_eq!(answer.records[0].data.as_str(), "aGk=");
    assert_eq!(answer.records[0].arrival_millis, Some(1_441_215_410_867));
    assert_eq!(answer.records[1].partition_key.as_str(), "ä");
    assert_eq!(answer.records[1].arrival_millis, None);
}

#[test]
fn records_share_the_memory_of_the_answer() {
    let body = Bytes::from(format!(r#"{{"Records":[{ONE}]}}"#));
    let record = walk(&body).unwrap().records.remove(0);
    let whole = body.as_ptr_range();
    for text in [record.data.as_bytes(), record.partition_key.as_bytes(), record.sequence.as_bytes()] {
        assert!(whole.contains(&text.as_ptr()));
    }
}

#[test]
fn a_partition_key_with_escapes_is_decoded() {
    let answer =
        both(r#"{"Records":[{"Data":"aGk=","PartitionKey":"a\"b\\\u00e4\ud83d\ude00\/","SequenceNumber":"1"}]}"#);
    assert_eq!(answer.records[0].partition_key.as_str(), "a\"b\\ä😀/");
}

#[test]
fn data_with_escapes_is_decoded_to_plain_base64() {
    let answer = both(r#"{"Records":[{"Data":"\/\/\/\/","PartitionKey":"k","SequenceNumber":"1"}]}"#);
    assert_eq!(answer.records[0].data.as_str(), "////");
}

#[test]
fn the_end_of_a_shard_names_its_children() {
    let answer = both(concat!(
        r#"{"Records":[],"NextShardIterator":null,"ChildShards":[{"ShardId":"shardId-000000000002","#,
        r#""ParentShards":["shardId-000000000000","shardId-000000000001"],"New":1,"#,
        r#""HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211455"}}]}"#
    ));
    assert_eq!(answer.next_iterator, None);
    assert_eq!(answer.child_shards[0].parents.len(), 2);
    assert_eq!(answer.child_shards[0].hash_range, HashKeyRange::WHOLE);
}

#[test]
fn unknown_members_blanks_and_nulls_are_passed_over() {
    let answer = both(&format!(
        "\r\n{{ \"A\" : {{\"Records\":[1,{{}}],\"b\":\"\\\"}}\"}} ,\t\"Records\" : [ {ONE} , {ONE} ] , \"ChildShards\" : null , \
         \"MillisBehindLatest\" : null, \"Z\":[-1.5e3,true,null,\"]\"] }} \n"
    ));
    assert_eq!(answer.records.len(), 2);
    assert_eq!((answer.millis_behind_latest, answer.next_iterator), (None, None));
    assert_eq!(both("{}").records, []);
    assert_eq!(both(r#"{"Records":null}"#).records, []);
}

#[test]
fn a_record_without_partition_key_has_an_empty_one() {
    let answer = both(
        r#"{"Records":[{"Data":"aGk=","SequenceNumber":"1"},{"PartitionKey":null,"Data":"","SequenceNumber":"2"}]}"#,
    );
    assert!(answer.records.iter().all(|record| record.partition_key.as_str().is_empty()));
}

#[test]
fn odd_forms_are_slow_and_not_fatal() {
    let unpadded = only_tolerated(r#"{"Records":[{"Data":"aGk","PartitionKey":"k","SequenceNumber":"1"}]}"#);
    assert_eq!(unpadded.records[0].data.as_str(), "aGk=");
    let lag = only_tolerated(r#"{"Records":[],"MillisBehindLatest":12.7,"NextShardIterator":"A"}"#);
    assert_eq!(lag.millis_behind_latest, Some(12));
    let text_time =
        r#"{"Records":[{"ApproximateArrivalTimestamp":"2026","Data":"","PartitionKey":"","SequenceNumber":"1"}]}"#;
    assert_eq!(only_tolerated(text_time).records[0].arrival_millis, None);
}

#[test]
fn half_characters_and_bytes_that_are_no_text_stop_no_shard() {
    let body = |key: &str| format!(r#"{{"Records":[{{"Data":"","PartitionKey":"{key}","SequenceNumber":"1"}}]}}"#);
    let table = [
        (r"a\ud800b", "a?b"),
        (r"a\uDC00", "a?"),
        (r"\ud83d\ud83d\ude00", "?\u{1f600}"),
        (r"\ud83d\n\\ud800\\\ud800\u00e4", "?\n\\ud800\\?\u{e4}"),
    ];
    for (escaped, key) in table {
        assert_eq!(only_tolerated(&body(escaped)).records[0].partition_key.as_str(), key, "{escaped}");
    }
    let mut bytes = body("a_b").into_bytes();
    let place = bytes.iter().position(|byte| *byte == b'_').unwrap();
    bytes[place] = 0xff;
    let bytes = Bytes::from(bytes);
    assert!(walk(&bytes).is_err());
    assert_eq!(tolerate(&bytes).unwrap().records[0].partition_key.as_str(), "a\u{fffd}b");
}

proptest! {
    #[test]
    fn no_escape_makes_the_general_way_panic(key in r#"(\\|u|d8|dc|00|[0-9a-f]|"|é|\\ud8[0-9a-f]{2}|\\ude00){0,12}"#) {
        let body = Bytes::from(format!(r#"{{"Records":[{{"Data":"","PartitionKey":"{key}","SequenceNumber":"1"}}]}}"#));
        if let (Ok(walked), tolerated) = (walk(&body), tolerate(&body)) {
            prop_assert_eq!(Ok(walked), tolerated);
        }
    }
}

#[test]
fn what_is_cut_off_or_lacks_a_records_place_or_data_is_refused() {
    let whole = format!(r#"{{"Records":[{ONE}],"NextShardIterator":"A"}}"#);
    let cut = (0..whole.len()).map(|end| whole[..end].to_owned());
    let bad = [
        r#"{"Records":[{"Data":"aGk=","PartitionKey":"k","SequenceNumber":"4x"}]}"#,
        r#"{"Records":[{"Data":"aGk=","PartitionKey":"k","SequenceNumber":""}]}"#,
        r#"{"Records":[{"Data":"aGk=","PartitionKey":"k"}]}"#,
        r#"{"Records":[{"PartitionKey":"k","SequenceNumber":"4"}]}"#,
        r#"{"Records":[{"Data":"a b\"","PartitionKey":"k","SequenceNumber":"4"}]}"#,
        r#"{"Records":{}}"#,
        r#"{"ChildShards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"x","EndingHashKey":"1"}}]}"#,
        "[]",
        "{} {}",
    ];
    for body in cut.chain(bad.map(str::to_owned)) {
        let body = Bytes::from(body);
        assert!(walk(&body).is_err() && tolerate(&body).is_err(), "{body:?}");
    }
}

#[test]
fn seconds_become_milliseconds_by_their_digits() {
    let table = [
        ("1700000000", Some(1_700_000_000_000)),
        ("1700000000.124", Some(1_700_000_000_124)), // as a float times 1000 it may be ..123.99
        ("1700000000.1239", Some(1_700_000_000_123)),
        ("1.7E9", Some(1_700_000_000_000)),
        ("1.441215410867E9", Some(1_441_215_410_867)),
        ("17e+8", Some(1_700_000_000_000)),
        ("1700000000124e-3", Some(1_700_000_000_124)),
        ("0.0015", Some(1)),
        ("1e-9", Some(0)),
        ("0", Some(0)),
        ("-1.5", Some(-1_500)),
        ("1e300", None),
        ("1e9999999999", None),
    ];
    for (text, millis) in table {
        assert_eq!(millis_of_seconds(text), millis, "{text}");
    }
}

fn record() -> impl Strategy<Value = Value> {
    let key = prop_oneof!["\\PC{0,8}", any::<String>()];
    let arrival = proptest::option::of(0_i64..4_000_000_000_000);
    (proptest::collection::vec(any::<u8>(), 0..40), key, "[0-9]{1,56}", arrival, any::<bool>()).prop_map(
        |(data, key, sequence, arrival, encrypted)| {
            let mut record = json!({
                "Data": STANDARD.encode_to_string(data), "PartitionKey": key, "SequenceNumber": sequence
            });
            if let Some(millis) = arrival {
                let text = format!("{}.{:03}", millis / 1000, millis % 1000);
                record["ApproximateArrivalTimestamp"] = serde_json::from_str(&text).unwrap();
            }
            if encrypted {
                record["EncryptionType"] = json!("KMS");
            }
            record
        },
    )
}

fn answer() -> impl Strategy<Value = Value> {
    let children = proptest::option::of(proptest::collection::vec(
        ("[a-z]{1,9}", proptest::collection::vec("[a-z]{1,9}", 0..3), any::<u128>()).prop_map(|(id, parents, end)| {
            json!({"ShardId": id, "ParentShards": parents,
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": end.to_string()}})
        }),
        0..3,
    ));
    let next = proptest::option::of("[A-Za-z0-9+/=\"\\\\]{0,30}");
    (proptest::collection::vec(record(), 0..6), next, proptest::option::of(0_i64..i64::MAX), children).prop_map(
        |(records, next, behind, children)| {
            json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": behind,
                "ChildShards": children, "Extra": {"a": [1, "}", null]}})
        },
    )
}

proptest! {
    #[test]
    fn the_walk_says_the_same_as_a_general_parser(tree in answer(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) };
        let body = Bytes::from(text.unwrap());
        prop_assert_eq!(walk(&body).unwrap(), tolerate(&body).unwrap());
    }

    #[test]
    fn a_damaged_answer_is_refused_or_read_as_the_general_parser_reads_it(
        tree in answer(), at: prop::sample::Index, byte: u8, cut: bool
    ) {
        let mut bytes = serde_json::to_vec(&tree).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let body = Bytes::from(bytes);
        if let (Ok(walked), Ok(tolerated)) = (walk(&body), tolerate(&body)) {
            prop_assert_eq!(walked, tolerated);
        }
    }

    #[test]
    fn no_garbage_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(bytes);
        let _ = (walk(&body), tolerate(&body));
    }

    #[test]
    fn seconds_in_one_pass_are_those_of_the_general_way(
        text in r"-?(0|[1-9][0-9]{0,12}|[0-9]{1,20})(\.[0-9]{0,9})?([eE][+-]?[0-9]{0,3})?", end in "[,}0-9. ]?",
    ) {
        let usual = usual_seconds(format!("{text}{end}").as_bytes());
        if let Some((millis, length)) = usual {
            prop_assert_eq!(length, text.len());
            prop_assert_eq!(millis_of_seconds(&text), Some(millis));
        }
        let body = Bytes::from(format!(
            r#"{{"Records":[{{"ApproximateArrivalTimestamp":{text},"Data":"","SequenceNumber":"1"}}]}}"#
        ));
        if let Ok(answer) = walk(&body) {
            prop_assert_eq!(&tolerate(&body).unwrap().records[0].sequence, &answer.records[0].sequence);
            prop_assert_eq!(answer.records[0].arrival_millis, millis_of_seconds(&text));
        }
    }

    #[test]
    fn members_are_read_in_any_order_and_with_blanks(
        blanks in prop::collection::vec("[ \t\r\n]?", 16), order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
    ) {
        let members = [
            ["\"Data\"", "\"aGk=\""],
            ["\"PartitionKey\"", "\"k\\u00e4\""],
            ["\"Sequence\\u004eumber\"", "\"17\""],
            ["\"ApproximateArrivalTimestamp\"", "1.7E9"],
        ];
        let member = |index: usize| {
            let ([name, value], at) = (members[index], index * 4);
            format!("{}{name}{}:{}{value}{}", blanks[at], blanks[at + 1], blanks[at + 2], blanks[at + 3])
        };
        let text: Vec<String> = order.into_iter().map(member).collect();
        let body = Bytes::from(format!("{{\"Records\":[{{{}}}]}}", text.join(",")));
        let answer = walk(&body).unwrap();
        prop_assert_eq!(&answer, &tolerate(&body).unwrap());
        prop_assert_eq!(answer.records[0].arrival_millis, Some(1_700_000_000_000));
    }

    #[test]
    fn no_garbage_of_json_characters_makes_it_panic(text in r#"[\{\}\[\]",:\\0-9eE.+\-nul "RecordsData]{0,80}"#) {
        let body = Bytes::from(format!("{{\"Records\":[{text}"));
        let _ = (walk(&body), tolerate(&body));
        let _ = millis_of_seconds(&text);
    }
}

#[test]
fn an_event_is_an_answer_with_a_continuation() {
    let text = format!(r#"{{"ContinuationSequenceNumber":"50","MillisBehindLatest":7,"Records":[{ONE}]}}"#);
    let payload = Bytes::from(text);
    let event = walk_event(&payload).unwrap();
    assert_eq!(event, tolerate_event(&payload).unwrap());
    assert_eq!(event.continuation, Some("50".parse().unwrap()));
    assert_eq!((event.millis_behind_latest, event.records.len()), (Some(7), 1));
    assert_eq!(event.records[0].data.as_str(), "aGk=");
}

#[test]
fn an_event_at_the_end_of_a_shard_has_no_continuation() {
    let child =
        r#"{"ShardId":"s-2","ParentShards":["s-1"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}"#;
    for continuation in ["", r#""ContinuationSequenceNumber":"","#, r#""ContinuationSequenceNumber":null,"#] {
        let text = format!(r#"{{{continuation}"ChildShards":[{child}],"MillisBehindLatest":0,"Records":[]}}"#);
        let payload = Bytes::from(text);
        let event = walk_event(&payload).unwrap();
        assert_eq!(event, tolerate_event(&payload).unwrap());
        assert_eq!((event.continuation, event.child_shards.len()), (None, 1));
    }
    let odd = Bytes::from_static(br#"{"ContinuationSequenceNumber":"next","Records":[]}"#);
    assert!(walk_event(&odd).is_err() && tolerate_event(&odd).is_err());
}
