use super::*;
use base64_simd::STANDARD;
use proptest::prelude::*;
use serde_json::json;

/// An answer with records of these lengths.
fn body(lengths: &[usize]) -> Vec<u8> {
    let record = |(index, length): (usize, &usize)| json!({"Data": STANDARD.encode_to_string(vec![7; *length]), "PartitionKey": "k\"", "SequenceNumber": index.to_string()});
    let records: Vec<_> = lengths.iter().enumerate().map(record).collect();
    serde_json::to_vec(&json!({"MillisBehindLatest": 12, "NextShardIterator": "A", "Records": records, "Z": [1]}))
        .unwrap()
}

fn arrived(home: &Arc<Segments>, bytes: &[u8], expected: usize, step: usize) -> Arriving {
    let mut arriving = Arriving::new(home, expected);
    bytes.chunks(step.max(1)).for_each(|piece| arriving.add(piece));
    arriving
}

fn without_size(answer: Answer) -> Answer {
    Answer { bytes: 0, ..answer }
}

#[test]
fn an_answer_in_many_segments_is_the_same_as_in_one() {
    let lengths: Vec<usize> = (0..300).map(|index| index * 97 % 30_000).collect();
    for lengths in [&lengths[..], &[3 * SEGMENT], &[10, 2 * SEGMENT, 10, SEGMENT], &[]] {
        let (bytes, home) = (body(lengths), Arc::default());
        let expected = without_size(answer::walk(&Bytes::from(bytes.clone())).unwrap());
        for (hint, step) in [(bytes.len(), 400_000), (bytes.len(), 1_371), (0, 16_384), (0, usize::MAX)] {
            let (answer, odd) = arrived(&home, &bytes, hint, step).read().unwrap();
            assert!(answer.bytes >= bytes.len(), "what the records keep is counted");
            assert_eq!((without_size(answer), odd), (expected.clone(), None), "{hint} {step}");
        }
    }
}

#[test]
fn segments_are_free_again_when_the_last_record_is_gone() {
    let (bytes, home) = (body(&vec![10_000; 200]), Arc::default());
    let (answer, _) = arrived(&home, &bytes, bytes.len(), 400_000).read().unwrap();
    let (last, all) = (answer.records.last().cloned(), bytes.len() / SEGMENT + 1);
    assert_eq!(home.free(), 0);
    drop(answer);
    assert_eq!(home.free(), all - 1, "the last record's is still held");
    drop(last);
    assert_eq!(home.free(), all);
    let again = arrived(&home, &bytes, bytes.len(), 400_000);
    assert_eq!(home.free(), 0, "they are used again");
    drop(again);
    assert_eq!(home.free(), all);
}

#[tokio::test(start_paused = true)]
async fn small_answers_give_free_segments_back_little_by_little() {
    let home: Arc<Segments> = Arc::default();
    drop((0..KEPT).map(|_| home.take()).collect::<Vec<_>>());
    let small = || drop(arrived(&home, b"{}", 2, 2));
    small();
    small();
    assert_eq!(home.free(), KEPT - KEPT / GIVEN_BACK, "once a second, however many shards are quiet");
    for _ in 0..30 {
        tokio::time::advance(SHRINKS_EVERY).await;
        small();
    }
    assert_eq!(home.free(), 0);
}

#[test]
fn no_more_are_kept_than_some() {
    let home: Arc<Segments> = Arc::default();
    drop((0..KEPT + 2).map(|_| home.take()).collect::<Vec<_>>());
    assert_eq!(home.free(), KEPT);
}

#[test]
fn what_the_walk_does_not_know_is_read_by_the_general_parser() {
    let lengths = vec![10_000; 120];
    let (bytes, home) = (body(&lengths), Arc::default());
    let odd = String::from_utf8(bytes).unwrap().replace("\"MillisBehindLatest\":12", "\"MillisBehindLatest\":12.5");
    let (answer, stuck) = arrived(&home, odd.as_bytes(), odd.len(), 9_999).read().unwrap();
    assert!(stuck.is_some());
    assert_eq!((answer.records.len(), answer.millis_behind_latest), (120, Some(12)));
    let whole = answer::tolerate(&Bytes::from(odd.clone())).unwrap();
    assert_eq!(answer, whole);
    let late = odd.replacen("\"SequenceNumber\":\"119\"", "\"SequenceNumber\":\"x\"", 1);
    assert!(arrived(&home, late.as_bytes(), late.len(), 9_999).read().is_err());
    assert!(arrived(&home, &odd.as_bytes()[..odd.len() - 1], odd.len(), 9_999).read().is_err(), "cut off");
}

proptest! {
    #[test]
    fn a_walk_does_not_depend_on_where_segments_end(
        lengths in prop::collection::vec(0..40_usize, 0..6), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = Bytes::from(body(&lengths));
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let (mut walk, mut done) = (Stepwise::expecting(bytes.len()), 0);
        for end in ends {
            done += walk.take(&bytes.slice(done..end));
        }
        prop_assert_eq!(walk.answer(bytes.len()).unwrap(), answer::walk(&bytes).unwrap());
    }
}
