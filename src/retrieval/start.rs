//! From checkpoint and progress to the place where reading begins. Pure.
//!
//! The rule that closes the loss windows of RETRIEVAL.md sections 1.6 and 2.6: a place is behind a record only if
//! that record was taken, and the meaning of "newest" is fixed when it is first asked for.

use std::time::Duration;

use crate::config::Compatibility;
use crate::record::Record;
use crate::stream::fetch::IteratorStart;
use crate::types::{Checkpoint, EpochMillis, InitialPosition, NotASequenceNumber, SequenceNumber};

/// What the hosts of the service may be apart, and more: what it costs is that records which came a second before the
/// newest are given to the child too, and only where reading had to begin again before anything was read.
const MARGIN: Duration = Duration::from_secs(1);

/// When the service fixed what its newest record is: before it wrote the `date` of an answer that took so long. Only if
/// it told no date that is when we `sent` the request, by a clock that may be wrong.
#[must_use]
pub fn fixed_at(sent: EpochMillis, date: Option<EpochMillis>, took: Duration) -> EpochMillis {
    let before = i64::try_from((took + MARGIN).as_millis()).unwrap_or(i64::MAX);
    date.map_or(sent, |EpochMillis(date)| EpochMillis(date.saturating_sub(before)))
}

/// How far a reader has come, and so where its next iterator or subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    checkpoint: Checkpoint,
    initial: InitialPosition,
    /// The last record that was taken.
    record: Option<SequenceNumber>,
    /// Where the service says to go on; may lie behind the last record.
    taken: Option<SequenceNumber>,
    latest_since: Option<EpochMillis>,
    /// A request to begin was taken by the service.
    begun: bool,
    compatibility: Compatibility,
}

impl Position {
    /// A reader that has taken nothing yet. `initial` says what time [`Checkpoint::AtTimestamp`] stands for.
    #[must_use]
    pub fn new(checkpoint: Checkpoint, initial: InitialPosition) -> Self {
        let compatibility = Compatibility::Safe;
        let checkpoint = checkpoint.without_sub_of_start();
        Self { checkpoint, initial, record: None, taken: None, latest_since: None, begun: false, compatibility }
    }

    /// The same for a shard whose newest record was asked for at that time already.
    #[must_use]
    pub fn since(self, latest_since: Option<EpochMillis>) -> Self {
        Self { latest_since, ..self }
    }

    /// When the newest record was first asked for, if it was.
    #[must_use]
    pub fn latest_since(&self) -> Option<EpochMillis> {
        self.latest_since
    }

    /// The same, or as Java does it: any later request is AFTER the checkpoint, or at the newest record of that time,
    /// and what lies between is lost (Source: RETRIEVAL.md sections 1.6 and 2.6).
    #[must_use]
    pub fn in_the_way_of(self, compatibility: Compatibility) -> Self {
        Self { compatibility, ..self }
    }

    /// Where the next iterator or subscription begins.
    ///
    /// AT the checkpoint, not after it: the rest of an aggregate may still be wanted, and the consumer leaves out
    /// what is done. Source: KCL 3.x `IteratorBuilder.request`, but there any later iterator is AFTER it.
    #[must_use]
    pub fn start(&self) -> IteratorStart {
        if let Some(taken) = &self.taken {
            return IteratorStart::After(taken.clone());
        }
        if self.begun && self.compatibility == Compatibility::Strict {
            match &self.checkpoint {
                Checkpoint::At(place) => return IteratorStart::After(place.sequence.clone()),
                Checkpoint::Latest => return IteratorStart::Latest,
                Checkpoint::AtTimestamp
                | Checkpoint::TrimHorizon
                | Checkpoint::StartWithSub(..)
                | Checkpoint::ShardEnd => {}
            }
        }
        match (&self.checkpoint, self.initial, self.latest_since) {
            (Checkpoint::At(place), _, _) => IteratorStart::At(place.sequence.clone()),
            // a start with a sub-sequence number does not come here; if it did, nothing may be left out
            (Checkpoint::TrimHorizon | Checkpoint::StartWithSub(..), _, _) => IteratorStart::TrimHorizon,
            (Checkpoint::AtTimestamp, InitialPosition::AtTimestamp(time), _) => IteratorStart::AtTimestamp(time),
            // the configuration has changed since the lease was made; nothing may be left out
            (Checkpoint::AtTimestamp, InitialPosition::Latest | InitialPosition::TrimHorizon, _) => {
                IteratorStart::TrimHorizon
            }
            (Checkpoint::Latest, _, Some(since)) => IteratorStart::AtTimestamp(since),
            // of an ended shard it brings the end once more. Source: RETRIEVAL.md section 2.2
            (Checkpoint::Latest, _, None) | (Checkpoint::ShardEnd, _, _) => IteratorStart::Latest,
        }
    }

    /// The service has taken a request to begin at `start`, at the moment [`fixed_at`]. The first time that it was the
    /// newest record fixes the moment for all later requests.
    pub fn began(&mut self, start: &IteratorStart, at: EpochMillis) {
        self.begun = true;
        if *start == IteratorStart::Latest {
            self.latest_since.get_or_insert(at);
        }
    }

    /// Takes these records, which are in the order of the shard. Those that were taken before, or lie before the
    /// checkpoint, are left out: a stand-in may begin earlier than it was asked to.
    ///
    /// # Errors
    /// The service sent a sequence number that is none; nothing was taken.
    pub fn take(&mut self, records: &mut Vec<Record>) -> Result<(), NotASequenceNumber> {
        let number = |record: &Record| record.sequence.as_str().parse::<SequenceNumber>();
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let last = number(last)?;
        if self.is_old(&number(first)?) {
            records.retain(|record| !number(record).is_ok_and(|number| self.is_old(&number)));
        }
        if self.record.as_ref().is_none_or(|record| *record < last) {
            self.record = Some(last.clone());
        }
        self.move_to(last);
        Ok(())
    }

    fn is_old(&self, number: &SequenceNumber) -> bool {
        match (&self.record, &self.checkpoint) {
            (Some(taken), _) => number <= taken,
            (None, Checkpoint::At(place)) => *number < place.sequence,
            (
                None,
                Checkpoint::AtTimestamp
                | Checkpoint::TrimHorizon
                | Checkpoint::Latest
                | Checkpoint::StartWithSub(..)
                | Checkpoint::ShardEnd,
            ) => false,
        }
    }

    fn move_to(&mut self, number: SequenceNumber) {
        if self.taken.as_ref().is_none_or(|taken| *taken < number) {
            self.taken = Some(number);
        }
    }

    /// The service says that it has come this far. It counts only past the checkpoint: the checkpointed record
    /// itself may be an aggregate that was not taken yet.
    pub fn reached(&mut self, continuation: SequenceNumber) {
        match &self.checkpoint {
            Checkpoint::At(place) if continuation <= place.sequence => {}
            Checkpoint::At(_)
            | Checkpoint::AtTimestamp
            | Checkpoint::TrimHorizon
            | Checkpoint::Latest
            | Checkpoint::StartWithSub(..)
            | Checkpoint::ShardEnd => self.move_to(continuation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::script::records;
    use crate::types::ExtendedSequenceNumber;

    fn number(text: &str) -> SequenceNumber {
        text.parse().unwrap()
    }

    fn at(text: &str, sub: u64) -> Checkpoint {
        Checkpoint::At(ExtendedSequenceNumber::new(number(text), sub))
    }

    const NOON: InitialPosition = InitialPosition::AtTimestamp(EpochMillis(12));
    const LATEST: InitialPosition = InitialPosition::Latest;
    const HORIZON: InitialPosition = InitialPosition::TrimHorizon;

    #[test]
    fn the_newest_record_is_fixed_by_the_services_clock_if_it_tells_it() {
        let took = Duration::from_millis(250);
        assert_eq!(fixed_at(EpochMillis(70_000), Some(EpochMillis(9_000)), took), EpochMillis(7_750));
        assert_eq!(fixed_at(EpochMillis(70_000), None, took), EpochMillis(70_000));
    }

    #[test]
    fn in_strict_mode_a_second_request_skips_what_java_skips() {
        let table = [
            // checkpoint    first                              again
            (at("7", 0), IteratorStart::At(number("7")), IteratorStart::After(number("7"))),
            (Checkpoint::Latest, IteratorStart::Latest, IteratorStart::Latest),
            (Checkpoint::parse("LATEST", 4).unwrap(), IteratorStart::Latest, IteratorStart::Latest),
            (Checkpoint::TrimHorizon, IteratorStart::TrimHorizon, IteratorStart::TrimHorizon),
        ];
        for (checkpoint, first, again) in table {
            let mut position = Position::new(checkpoint, HORIZON).in_the_way_of(Compatibility::Strict);
            assert_eq!(position.start(), first);
            position.began(&first, EpochMillis(100));
            assert_eq!(position.start(), again, "{first:?}");
        }
    }

    #[test]
    fn a_reader_that_has_taken_nothing_begins_at_its_checkpoint_however_often_it_asks() {
        let table = [
            // checkpoint             configured  first                                    again, 5 ms later
            (Checkpoint::TrimHorizon, LATEST, IteratorStart::TrimHorizon, IteratorStart::TrimHorizon),
            (Checkpoint::Latest, HORIZON, IteratorStart::Latest, IteratorStart::AtTimestamp(EpochMillis(100))),
            (
                Checkpoint::AtTimestamp,
                NOON,
                IteratorStart::AtTimestamp(EpochMillis(12)),
                IteratorStart::AtTimestamp(EpochMillis(12)),
            ),
            (Checkpoint::AtTimestamp, LATEST, IteratorStart::TrimHorizon, IteratorStart::TrimHorizon),
            (at("7", 0), LATEST, IteratorStart::At(number("7")), IteratorStart::At(number("7"))),
            (at("7", 3), HORIZON, IteratorStart::At(number("7")), IteratorStart::At(number("7"))),
        ];
        for (checkpoint, initial, first, again) in table {
            let mut position = Position::new(checkpoint.clone(), initial);
            assert_eq!(position.start(), first, "{checkpoint:?} {initial:?}");
            position.began(&first, EpochMillis(100));
            assert_eq!(position.start(), again, "{checkpoint:?} {initial:?}");
            position.began(&again, EpochMillis(105));
            assert_eq!(position.start(), again, "{checkpoint:?} {initial:?}");
        }
    }

    #[test]
    fn after_a_record_was_taken_reading_goes_on_behind_it_from_any_checkpoint() {
        for checkpoint in [Checkpoint::TrimHorizon, Checkpoint::Latest, Checkpoint::AtTimestamp, at("7", 2)] {
            let mut position = Position::new(checkpoint, NOON);
            position.began(&IteratorStart::Latest, EpochMillis(100));
            position.take(&mut records(&["9", "10"])).unwrap();
            assert_eq!(position.start(), IteratorStart::After(number("10")));
        }
    }

    #[test]
    fn a_place_never_moves_back() {
        let mut position = Position::new(Checkpoint::TrimHorizon, LATEST);
        position.take(&mut records(&["10"])).unwrap();
        position.reached(number("9"));
        assert_eq!(position.start(), IteratorStart::After(number("10")));
    }

    #[test]
    fn records_before_the_checkpoint_or_taken_before_are_left_out() {
        let sequences = |records: &[Record]| {
            let texts: Vec<_> = records.iter().map(|record| record.sequence.as_str().to_owned()).collect();
            texts.join(" ")
        };
        let mut position = Position::new(at("9", 1), LATEST);
        let mut again = records(&["8", "9", "10"]);
        position.take(&mut again).unwrap();
        assert_eq!(sequences(&again), "9 10", "the checkpointed record may be an aggregate with a rest");
        position.reached(number("15"));
        let mut again = records(&["8", "9", "10", "11"]);
        position.take(&mut again).unwrap();
        assert_eq!(sequences(&again), "11");
        assert_eq!(position.start(), IteratorStart::After(number("15")));
    }

    #[test]
    fn a_continuation_counts_only_past_the_checkpoint() {
        let table = [
            // checkpoint            continuation  next
            (at("7", 0), "6", IteratorStart::At(number("7"))),
            (at("7", 0), "7", IteratorStart::At(number("7"))),
            (at("7", 0), "8", IteratorStart::After(number("8"))),
            (Checkpoint::Latest, "8", IteratorStart::After(number("8"))),
            (Checkpoint::TrimHorizon, "8", IteratorStart::After(number("8"))),
        ];
        for (checkpoint, continuation, next) in table {
            let mut position = Position::new(checkpoint.clone(), LATEST);
            position.reached(number(continuation));
            assert_eq!(position.start(), next, "{checkpoint:?} {continuation}");
        }
    }
}
