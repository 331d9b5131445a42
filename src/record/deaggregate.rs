//! Opens aggregates: user records out of Kinesis records.
//!
//! Pure. A record is decoded only if the first characters of its base64 say that it may be an aggregate. It never
//! delivers an aggregate itself, and never logs: what went wrong is a [`Fault`] for the caller.
//!
//! Source: AGGREGATION.md; KCL 3.5.1 `AggregatorUtil.deaggregate`.

use std::iter::zip;
use std::ops::Range;

use bytes::Bytes;

use crate::record::digest::{Digest, LANES, digests};
use crate::record::proto::{self, AggregatedRecord, UserRecord, low_half};
use crate::record::utf8::java_text;
use crate::record::{Data, Record, Text};
use crate::types::{Checkpoint, ExtendedSequenceNumber, HashKeyRange};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST_LEN: usize = 16;
/// Bytes of aggregates that are decoded before they are checked; of large ones fewer stand side by side then. What a
/// processor's cache of the second level holds.
const MOST_DECODED: usize = 512 * 1024;

/// Something in a valid aggregate that kept user records from being delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aggregate `{}`: user record {index} of {records} {reason}; dropped {dropped}", sequence.as_str())]
pub struct Fault {
    /// Sequence number of the Kinesis record.
    pub sequence: Text,
    /// Which user record is at fault, from 0.
    pub index: usize,
    /// How many user records the aggregate holds.
    pub records: usize,
    /// How many of them are not delivered.
    pub dropped: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a user record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its partition key is not in the table.
    #[error("has partition key {index} of a table of {table}")]
    NoPartitionKey {
        /// The place, cut to 32 bits as Java does.
        index: i32,
        /// Keys in the table.
        table: usize,
    },
    /// Its explicit hash key is not in the table.
    #[error("has explicit hash key {index} of a table of {table}")]
    NoExplicitHashKey {
        /// The place, cut to 32 bits as Java does.
        index: i32,
        /// Keys in the table.
        table: usize,
    },
    /// Its explicit hash key is not a decimal integer.
    #[error("has an explicit hash key of {length} bytes that is no decimal integer")]
    NotANumber {
        /// Length of the text, which may be too large to show.
        length: usize,
    },
    /// Its explicit hash key is negative or above 128 bits: outside of any shard. A Java daemon says nothing.
    #[error("has an explicit hash key outside of 0 to 2^128-1")]
    OffTheRing,
}

/// Replaces each aggregate by its user records, in place and in order.
///
/// A user record outside of `range` takes the whole aggregate with it, because the producer sends such records again;
/// without a range nothing is outside, but hash keys beyond 128 bits. A fault ends an aggregate, what stands before it
/// is kept.
#[must_use]
pub fn deaggregate(records: Vec<Record>, range: Option<HashKeyRange>, faults: &mut Vec<Fault>) -> Vec<Record> {
    Opening::new(records, range, usize::MAX).next(faults).unwrap_or_default()
}

/// Opens an answer's aggregates as [`deaggregate`] does, but a part of the answer at a time: small user records take many
/// times the memory of the aggregates that they come in.
#[derive(Debug)]
pub struct Opening {
    left: std::vec::IntoIter<Record>,
    has_aggregates: bool,
    range: HashKeyRange,
    most: usize,
}

impl Opening {
    /// Begins; a part ends with the aggregates that bring it beyond `most` bytes of memory.
    #[must_use]
    pub fn new(records: Vec<Record>, range: Option<HashKeyRange>, most: usize) -> Self {
        let has_aggregates = records.iter().any(|record| record.data.may_be_aggregate());
        Self { left: records.into_iter(), has_aggregates, range: range.unwrap_or(HashKeyRange::WHOLE), most }
    }

    /// The next part, which may be empty; `None` behind the last one.
    pub fn next(&mut self, faults: &mut Vec<Fault>) -> Option<Vec<Record>> {
        if self.left.len() == 0 {
            return None;
        }
        if !self.has_aggregates {
            return Some(std::mem::take(&mut self.left).collect());
        }
        let (mut opened, mut bytes, mut group) = (Vec::new(), 0, Group::default());
        for record in self.left.by_ref() {
            group.add(record);
            if group.is_full() {
                bytes += base64_simd::STANDARD.encoded_length(group.bytes);
                group.open(self.range, &mut opened, faults);
                if bytes + size_of_val(opened.as_slice()) >= self.most {
                    return Some(opened);
                }
            }
        }
        group.open(self.range, &mut opened, faults);
        Some(opened)
    }
}

/// Records that wait until there are enough aggregates to check side by side.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    /// What the base64 of each holds; empty if it is no aggregate.
    payloads: Vec<Vec<u8>>,
    aggregates: usize,
    bytes: usize,
}

impl Group {
    fn add(&mut self, record: Record) {
        let payload = if record.data.may_be_aggregate() { decode(&record).unwrap_or_default() } else { Vec::new() };
        self.aggregates += usize::from(!payload.is_empty());
        self.bytes += payload.len();
        self.records.push(record);
        self.payloads.push(payload);
    }

    fn is_full(&self) -> bool {
        self.aggregates >= LANES || self.bytes >= MOST_DECODED
    }

    /// Appends the user records of aggregates and the other records as they are; nothing is left in the group.
    fn open(&mut self, range: HashKeyRange, opened: &mut Vec<Record>, faults: &mut Vec<Fault>) {
        let Self { records, payloads, .. } = std::mem::take(self);
        let parts: Vec<Option<Parts<'_>>> = payloads.iter().map(|payload| parts(payload)).collect();
        let messages: Vec<&[u8]> = parts.iter().flatten().map(|parts| parts.message).collect();
        let mut digests = digests(&messages).into_iter();
        for (record, parts) in zip(records, parts) {
            let digest = parts.as_ref().and_then(|_| digests.next());
            match parts
                .filter(|parts| digest.is_some_and(|digest| digest == parts.digest))
                .and_then(|parts| proto::parse(parts.message).ok())
            {
                Some(aggregate) => user_records(&record, &aggregate, range, faults, opened),
                None => opened.push(record),
            }
        }
    }
}

fn decode(record: &Record) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(record.data.as_bytes()).ok()
}

/// An aggregate between its magic and its end.
#[derive(Clone, Copy)]
struct Parts<'a> {
    message: &'a [u8],
    digest: &'a [u8],
}

/// `None` if the record is a plain one after all.
fn parts(payload: &[u8]) -> Option<Parts<'_>> {
    let rest = payload.strip_prefix(&MAGIC)?;
    let (message, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST_LEN)?)?;
    (!message.is_empty()).then_some(Parts { message, digest })
}

/// A user record's parts as places in the buffer that the aggregate's user records share.
struct Packed {
    data: Range<usize>,
    partition_key: Range<usize>,
    explicit_hash_key: Option<Range<usize>>,
}

fn user_records(
    outer: &Record,
    aggregate: &AggregatedRecord<'_>,
    range: HashKeyRange,
    faults: &mut Vec<Fault>,
    opened: &mut Vec<Record>,
) {
    let mut pack = Pack { buffer: Vec::with_capacity(room(outer, aggregate)), ..Pack::default() };
    pack.partition_keys = pack.keys(&aggregate.partition_keys);
    pack.explicit_hash_keys = pack.keys(&aggregate.explicit_hash_keys);
    if aggregate.records.iter().any(|record| record.explicit_hash_key_index.is_none()) {
        let keys: Vec<&[u8]> = pack.partition_keys.iter().map(|place| pack.bytes(place)).collect();
        pack.key_digests = digests(&keys);
    }
    for (index, record) in aggregate.records.iter().enumerate() {
        let fault = |reason, dropped| {
            let (sequence, records) = (outer.sequence.clone(), aggregate.records.len());
            Fault { sequence, index, records, dropped, reason }
        };
        match pack.add(record, range) {
            Ok(()) => {}
            Err(Stop::OutOfRange) => return,
            Err(Stop::Fault(Reason::OffTheRing)) => {
                faults.push(fault(Reason::OffTheRing, aggregate.records.len()));
                return;
            }
            Err(Stop::Fault(reason)) => {
                faults.push(fault(reason, aggregate.records.len() - index));
                break;
            }
        }
    }
    pack.unpack(outer, opened);
}

/// Bytes of all that user records keep; more only where keys are no UTF-8.
fn room(outer: &Record, aggregate: &AggregatedRecord<'_>) -> usize {
    let data: usize = aggregate.records.iter().map(|record| record.data.len().div_ceil(3) * 4).sum();
    let keys = aggregate.partition_keys.iter().chain(&aggregate.explicit_hash_keys);
    data + keys.map(|key| key.len()).sum::<usize>() + outer.sequence.as_bytes().len()
}

/// Why the rest of an aggregate is not looked at.
enum Stop {
    /// The whole aggregate belongs to another shard.
    OutOfRange,
    Fault(Reason),
}

/// Collects an aggregate's user records in one buffer.
#[derive(Default)]
struct Pack {
    buffer: Vec<u8>,
    partition_keys: Vec<Range<usize>>,
    explicit_hash_keys: Vec<Range<usize>>,
    packed: Vec<Packed>,
    /// The MD5 of each partition key, where user records need it.
    key_digests: Vec<Digest>,
}

impl Pack {
    fn keys(&mut self, keys: &[&[u8]]) -> Vec<Range<usize>> {
        keys.iter().map(|key| self.append(|buffer| buffer.extend_from_slice(java_text(key).as_bytes()))).collect()
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let begin = self.buffer.len();
        write(&mut self.buffer);
        begin..self.buffer.len()
    }

    fn bytes(&self, place: &Range<usize>) -> &[u8] {
        self.buffer.get(place.clone()).unwrap_or_default()
    }

    fn add(&mut self, record: &UserRecord<'_>, range: HashKeyRange) -> Result<(), Stop> {
        let (key, partition_key) = at(&self.partition_keys, record.partition_key_index)
            .map_err(|(index, table)| Stop::Fault(Reason::NoPartitionKey { index, table }))?;
        let explicit_hash_key = record
            .explicit_hash_key_index
            .map(|index| at(&self.explicit_hash_keys, index))
            .transpose()
            .map_err(|(index, table)| Stop::Fault(Reason::NoExplicitHashKey { index, table }))?
            .map(|(_, place)| place);
        let hash = match &explicit_hash_key {
            Some(place) => hash_key(self.bytes(place)).map_err(Stop::Fault)?,
            None => u128::from_be_bytes(self.key_digests.get(key).copied().unwrap_or_default()), // there for each key
        };
        if !range.contains(hash) {
            return Err(Stop::OutOfRange);
        }
        let data = self.append(|buffer| base64_simd::STANDARD.encode_append(record.data, buffer));
        self.packed.push(Packed { data, partition_key, explicit_hash_key });
        Ok(())
    }

    /// The sequence number is copied too, so that the answer's memory goes as soon as its aggregates are open.
    fn unpack(mut self, outer: &Record, opened: &mut Vec<Record>) {
        let sequence = self.append(|buffer| buffer.extend_from_slice(outer.sequence.as_bytes()));
        let buffer = Bytes::from(self.buffer);
        // keys were made from text and base64 is ASCII, so every part is UTF-8
        let text = |place: Range<usize>| Text::from_utf8(buffer.slice(place)).unwrap_or_else(|_| Text::from(""));
        let sequence = text(sequence);
        let record = |(sub, packed): (u64, Packed)| Record {
            data: Data::trusted(text(packed.data)),
            partition_key: text(packed.partition_key),
            sequence: sequence.clone(),
            arrival_millis: outer.arrival_millis,
            sub,
            aggregated: true,
            explicit_hash_key: packed.explicit_hash_key.map(text),
        };
        opened.extend((0..).zip(self.packed).map(record));
    }
}

/// Looks a key up as Java does, after a cast to a signed number of 32 bits.
fn at(table: &[Range<usize>], index: u64) -> Result<(usize, Range<usize>), (i32, usize)> {
    let signed = low_half(index).cast_signed();
    let found = usize::try_from(signed).ok().and_then(|index| Some((index, table.get(index)?.clone())));
    found.ok_or((signed, table.len()))
}

/// Reads an explicit hash key: a decimal integer of any length, with or without a sign.
///
/// Source: `java.math.BigInteger(String)`. Its digits of other scripts are not taken.
fn hash_key(text: &[u8]) -> Result<u128, Reason> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::NotANumber { length: text.len() });
    }
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u128>().ok());
    match value {
        Some(value) if !is_negative || value == 0 => Ok(value),
        Some(_) | None => Err(Reason::OffTheRing),
    }
}

/// Removes the records at or before `checkpoint`, which an earlier child has already handled.
///
/// Source: KCL 3.5.1 `ProcessTask.filterAndGetMaxExtendedSequenceNumber`; AGGREGATION.md section 5.
pub fn drop_done(records: &mut Vec<Record>, checkpoint: &Checkpoint) {
    match checkpoint {
        Checkpoint::AtTimestamp | Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::StartWithSub(..) => {}
        Checkpoint::ShardEnd => records.clear(),
        Checkpoint::At(done) => records.retain(|record| !is_done(record, done)),
    }
}

/// Compares as numbers, without making a sequence number of each record's text.
fn is_done(record: &Record, done: &ExtendedSequenceNumber) -> bool {
    let digits = without_zeros(record.sequence.as_bytes());
    let done_digits = without_zeros(done.sequence.as_str().as_bytes());
    let place = (digits.len(), digits, record.sub); // without leading zeros, longer is larger
    place <= (done_digits.len(), done_digits, done.sub)
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == b'0').count()..]
}

#[cfg(test)]
mod tests;
