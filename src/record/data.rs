//! A record's data as it travels.

use bytes::Bytes;

use super::Text;

/// Standard base64 with padding, ready for the child: it holds no character that JSON must escape.
///
/// What is asked of each record on its way is found out when the text is made, while it is in the processor's cache:
/// later on each look would be a wait for memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    text: Text,
    decoded_len: usize,
    may_be_aggregate: bool,
}

impl Data {
    /// Takes the bytes if they are standard base64 with padding.
    #[must_use]
    pub fn from_base64(bytes: Bytes) -> Option<Self> {
        base64_simd::STANDARD.check(&bytes).is_ok().then(|| Self::trusted(Text(bytes))) // which is ASCII
    }

    /// Takes a text that is known to be base64.
    pub(crate) fn trusted(text: Text) -> Self {
        let bytes = text.as_bytes();
        let padding = match bytes {
            [.., b'=', b'='] => 2,
            [.., b'='] => 1,
            _ => 0,
        };
        let decoded_len = (bytes.len() / 4 * 3).saturating_sub(padding);
        // the four bytes of the magic fix five characters and half of the sixth
        let may_be_aggregate =
            bytes.starts_with(b"84maw") && bytes.get(5).is_some_and(|sixth| (b'g'..=b'v').contains(sixth));
        Self { text, decoded_len, may_be_aggregate }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Length in bytes once decoded.
    #[must_use]
    pub fn decoded_len(&self) -> usize {
        self.decoded_len
    }

    /// Whether it begins as an aggregate does.
    ///
    /// Source: AGGREGATION.md, the magic `f3 89 9a c2`.
    #[must_use]
    pub fn may_be_aggregate(&self) -> bool {
        self.may_be_aggregate
    }
}

impl From<String> for Data {
    /// Of a text that is base64, which is not checked.
    fn from(text: String) -> Self {
        Self::trusted(text.into())
    }
}

impl From<&'static str> for Data {
    /// Of a text that is base64, which is not checked.
    fn from(text: &'static str) -> Self {
        Self::trusted(text.into())
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64_simd::STANDARD;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_base64_with_padding_is_not_taken() {
        for text in ["a", "aGk", "aGk=\n", "aG k", "a-_=", "\"Gk="] {
            assert!(Data::from_base64(Bytes::from_static(text.as_bytes())).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_known_beforehand_is_what_decoding_shows(magic: bool, mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if magic {
                bytes.splice(0..bytes.len().min(4), [0xf3, 0x89, 0x9a, 0xc2]);
            }
            let data = Data::from_base64(STANDARD.encode_to_string(&bytes).into()).unwrap();
            prop_assert_eq!(data.decoded_len(), bytes.len());
            prop_assert_eq!(data.may_be_aggregate(), bytes.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]));
        }
    }
}
