//! Records on their way from the service to the child, as slices of the service's answer.
//!
//! A record's data stays the base64 text that the service sent; it is decoded only where an aggregate must be
//! opened.

use bytes::Bytes;

use crate::types::{ExtendedSequenceNumber, SequenceNumber};

pub use data::Data;

mod data;
pub mod deaggregate;
mod digest;
pub mod proto;
pub mod utf8;

/// UTF-8 text that shares its memory with the answer it came in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Takes the bytes if they are UTF-8.
    ///
    /// # Errors
    /// They are not.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes the bytes if they are decimal digits, one at least.
    #[must_use]
    pub fn from_digits(bytes: Bytes) -> Option<Self> {
        // without an early exit the compiler checks many bytes at a time
        let is_number = !bytes.is_empty() && bytes.iter().fold(true, |all, byte| all & byte.is_ascii_digit());
        is_number.then(|| Self(bytes))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // checked when it was made
    }

    /// The text as UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// One Kinesis record, or one user record of an aggregate.
///
/// `sub` and `aggregated` are 0 and `false` until [`deaggregate`] has opened an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The data.
    pub data: Data,
    /// The partition key, without JSON escapes.
    pub partition_key: Text,
    /// Decimal digits.
    pub sequence: Text,
    /// Arrival at the service, milliseconds since the Unix epoch (fractions cut).
    pub arrival_millis: Option<i64>,
    /// Index of the user record in its aggregate.
    pub sub: u64,
    /// Whether it came out of an aggregate.
    pub aggregated: bool,
    /// Only for user records: the explicit hash key that the producer gave.
    pub explicit_hash_key: Option<Text>,
}

impl Record {
    /// Where the record stands in its shard.
    ///
    /// # Errors
    /// The service sent a sequence number that is none.
    pub fn place(&self) -> Result<ExtendedSequenceNumber, crate::types::NotASequenceNumber> {
        Ok(ExtendedSequenceNumber::new(self.sequence.as_str().parse::<SequenceNumber>()?, self.sub))
    }

    /// Length of the data in bytes once decoded.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data.decoded_len()
    }
}
