//! The protocol buffer inside an aggregated record, read as Google's Java runtime reads it.
//!
//! ```proto
//! message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
//!                            repeated Record records = 3; }
//! message Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
//!                  required bytes data = 3; repeated Tag tags = 4; }
//! message Tag    { required string key = 1; optional string value = 2; }
//! ```
//!
//! Everything is borrowed from the message; texts are not checked for UTF-8. Written by hand, because `required`
//! fields and known fields with a wrong wire type decide whether a record counts as aggregated at all.
//!
//! Source: AGGREGATION.md section 1 and 2; protobuf-java 4.27 `CodedInputStream`.

/// An aggregate's tables and user records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AggregatedRecord<'a> {
    /// Bytes of each partition key.
    pub partition_keys: Vec<&'a [u8]>,
    /// Bytes of each explicit hash key.
    pub explicit_hash_keys: Vec<&'a [u8]>,
    /// In the order in which the producer gave them.
    pub records: Vec<UserRecord<'a>>,
}

/// One user record, with places in the tables instead of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Place of its partition key.
    pub partition_key_index: u64,
    /// Place of its explicit hash key, if it has one.
    pub explicit_hash_key_index: Option<u64>,
    /// Its data.
    pub data: &'a [u8],
}

/// The bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an aggregated record")]
pub struct NotAnAggregate;

/// Reads a whole message.
///
/// # Errors
/// The bytes do not parse, or a required field of any record or tag is missing.
pub fn parse(message: &[u8]) -> Result<AggregatedRecord<'_>, NotAnAggregate> {
    let mut aggregate = AggregatedRecord::default();
    let mut reader = Reader { rest: message };
    while let Some(field) = reader.field(0)? {
        match field {
            (1, Value::Bytes(key)) => aggregate.partition_keys.push(key),
            (2, Value::Bytes(key)) => aggregate.explicit_hash_keys.push(key),
            (3, Value::Bytes(record)) => aggregate.records.push(user_record(record)?),
            _ => {}
        }
    }
    Ok(aggregate)
}

fn user_record(message: &[u8]) -> Result<UserRecord<'_>, NotAnAggregate> {
    let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
    let mut reader = Reader { rest: message };
    while let Some(field) = reader.field(1)? {
        match field {
            (1, Value::Varint(index)) => partition_key_index = Some(index), // of several, the last one counts
            (2, Value::Varint(index)) => explicit_hash_key_index = Some(index),
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            (4, Value::Bytes(tag)) => check_tag(tag)?,
            _ => {}
        }
    }
    Ok(UserRecord {
        partition_key_index: partition_key_index.ok_or(NotAnAggregate)?,
        explicit_hash_key_index,
        data: data.ok_or(NotAnAggregate)?,
    })
}

fn check_tag(message: &[u8]) -> Result<(), NotAnAggregate> {
    let mut has_key = false;
    let mut reader = Reader { rest: message };
    while let Some(field) = reader.field(2)? {
        has_key |= matches!(field, (1, Value::Bytes(_)));
    }
    if has_key { Ok(()) } else { Err(NotAnAggregate) }
}

/// A field's value as far as its wire type tells.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed-size numbers and groups, which no known field is.
    Other,
}

/// Messages and groups inside one another. Source: protobuf-java 4.27 `CodedInputStream.defaultRecursionLimit`.
const MAX_DEPTH: usize = 100;

const END_GROUP: u32 = 4;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next field number and value; groups are checked and skipped. `depth` counts the messages around this one.
    fn field(&mut self, depth: usize) -> Result<Option<(u32, Value<'a>)>, NotAnAggregate> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        if wire_type == END_GROUP {
            return Err(NotAnAggregate); // of a group that never began
        }
        Ok(Some((number, self.value(number, wire_type, depth)?)))
    }

    fn tag(&mut self) -> Result<(u32, u32), NotAnAggregate> {
        let tag = self.varint32()?;
        if tag >> 3 == 0 { Err(NotAnAggregate) } else { Ok((tag >> 3, tag & 7)) }
    }

    fn value(&mut self, number: u32, wire_type: u32, depth: usize) -> Result<Value<'a>, NotAnAggregate> {
        match wire_type {
            0 => self.varint().map(Value::Varint),
            1 => self.take(8).map(|_| Value::Other),
            2 => {
                let length = usize::try_from(self.varint32()?.cast_signed()).map_err(|_| NotAnAggregate)?;
                self.take(length).map(Value::Bytes)
            }
            3 => self.skip_group(number, depth).map(|()| Value::Other),
            5 => self.take(4).map(|_| Value::Other),
            _ => Err(NotAnAggregate),
        }
    }

    /// Skips to the end of group `number`, whose begin is already taken.
    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), NotAnAggregate> {
        if depth >= MAX_DEPTH {
            return Err(NotAnAggregate);
        }
        loop {
            let (inner, wire_type) = self.tag()?;
            if wire_type == END_GROUP {
                return if inner == number { Ok(()) } else { Err(NotAnAggregate) };
            }
            self.value(inner, wire_type, depth + 1)?;
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotAnAggregate> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(NotAnAggregate)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Up to ten bytes, seven bits each, the lowest first; bits beyond 64 are lost.
    fn varint(&mut self) -> Result<u64, NotAnAggregate> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(NotAnAggregate)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(NotAnAggregate)
    }

    fn varint32(&mut self) -> Result<u32, NotAnAggregate> {
        Ok(low_half(self.varint()?))
    }
}

/// The lower 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is dropped on purpose, as Java's cast does")]
pub(super) fn low_half(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record with partition key 0 and data `d`.
    const RECORD: &[u8] = b"\x08\x00\x1a\x01d";

    fn nested(field: u8, inner: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2, u8::try_from(inner.len()).unwrap()], inner].concat()
    }

    fn records_of(record: &[u8]) -> Result<Vec<UserRecord<'static>>, NotAnAggregate> {
        let message = nested(3, record).leak();
        parse(message).map(|aggregate| aggregate.records)
    }

    #[test]
    fn fields_come_in_any_order_and_the_last_scalar_wins() {
        let message =
            [nested(3, b"\x1a\x01x\x08\x07\x10\x01\x08\x02\x1a\x01y"), nested(1, b"a"), nested(2, b"5")].concat();
        let expected = AggregatedRecord {
            partition_keys: vec![b"a"],
            explicit_hash_keys: vec![b"5"],
            records: vec![UserRecord { partition_key_index: 2, explicit_hash_key_index: Some(1), data: b"y" }],
        };
        assert_eq!(parse(&message), Ok(expected));
        assert_eq!(parse(b""), Ok(AggregatedRecord::default()));
    }

    #[test]
    fn what_java_refuses_is_refused() {
        let deep_group = |depth: usize| [RECORD.to_vec(), vec![0x2b; depth], vec![0x2c; depth]].concat();
        let table: &[(&str, &[u8], bool)] = &[
            ("a plain record", RECORD, true),
            ("no partition key index", b"\x1a\x01d", false),
            ("no data", b"\x08\x00", false),
            ("index of a wrong wire type is unknown, thus missing", b"\x0d\x00\x00\x00\x00\x1a\x01d", false),
            ("explicit hash key index of a wrong wire type is none", b"\x08\x00\x1a\x01d\x12\x01x", true),
            ("over-long varint", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x1a\x01d", true),
            ("varint of eleven bytes", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x1a\x01d", false),
            ("tag without key", b"\x08\x00\x1a\x01d\x22\x02\x12\x00", false),
            ("tag with key", b"\x08\x00\x1a\x01d\x22\x03\x0a\x01k", true),
            (
                "unknown fields of all wire types",
                b"\x08\x00\x1a\x01d\x28\x01\x29\0\0\0\0\0\0\0\0\x2a\x01x\x2d\0\0\0\0",
                true,
            ),
            ("unknown group", b"\x08\x00\x1a\x01d\x2b\x08\x01\x2c", true),
            ("group that does not end", b"\x08\x00\x1a\x01d\x2b\x08\x01", false),
            ("group that ends as another", b"\x08\x00\x1a\x01d\x2b\x34", false),
            ("stray end of a group", b"\x08\x00\x1a\x01d\x2c", false),
            ("field number 0", b"\x08\x00\x1a\x01d\x00\x00", false),
            ("wire type 6", b"\x08\x00\x1a\x01d\x2e", false),
            ("cut off", b"\x08\x00\x1a\x05d", false),
            ("negative length", b"\x08\x00\x1a\xff\xff\xff\xff\x0f", false),
            ("length with bits beyond 32", b"\x08\x00\x1a\x81\x80\x80\x80\x10d", true),
        ];
        for (what, record, is_accepted) in table {
            assert_eq!(records_of(record).is_ok(), *is_accepted, "{what}");
        }
        assert!(records_of(&deep_group(50)).is_ok());
        assert!(parse(&[vec![0x2b; 100], vec![0x2c; 100]].concat()).is_ok());
        assert!(parse(&[vec![0x2b; 101], vec![0x2c; 101]].concat()).is_err());
        assert!(parse(&vec![0x2b; 1_000_000]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message: Vec<u8>) {
            let _ = parse(&message);
        }
    }
}
