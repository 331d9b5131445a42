//! Bytes to text as Java does it: what is not UTF-8 becomes U+FFFD, by Java's own count.
//!
//! Rust's `from_utf8_lossy` counts differently for surrogates and cut sequences, and a partition key's hash depends
//! on the count.

use std::borrow::Cow;

/// Reads `bytes` as UTF-8, with U+FFFD for each malformed sequence as the Java runtime delimits it.
///
/// Source: OpenJDK 17 `sun.nio.cs.UTF_8.Decoder.malformedN`; AGGREGATION.md section 2.
#[must_use]
pub fn java_text(bytes: &[u8]) -> Cow<'_, str> {
    let mut rest = match std::str::from_utf8(bytes) {
        Ok(text) => return Cow::Borrowed(text),
        Err(_) => bytes,
    };
    let mut text = String::with_capacity(bytes.len() + 8);
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return Cow::Owned(text);
            }
            Err(fault) => {
                let (valid, bad) = rest.split_at(fault.valid_up_to());
                text.push_str(std::str::from_utf8(valid).unwrap_or_default()); // just checked
                text.push(char::REPLACEMENT_CHARACTER);
                rest = bad.get(malformed_len(bad)..).unwrap_or_default();
            }
        }
    }
}

/// How many bytes the malformed sequence at the beginning of `bad` takes.
fn malformed_len(bad: &[u8]) -> usize {
    let is_continuation = |index: usize| bad.get(index).is_some_and(|byte| byte & 0xc0 == 0x80);
    let second = bad.get(1).copied().unwrap_or_default();
    match bad.first().copied().unwrap_or_default() {
        0xed if is_continuation(1) && second >= 0xa0 => match bad.get(2) {
            Some(_) if is_continuation(2) => 3, // a surrogate, well formed but no character
            Some(_) | None => 2,
        },
        0xe0 if second & 0xe0 == 0x80 => 1,
        0xe0..=0xef if is_continuation(1) => 2,
        0xf0 if second < 0x90 => 1,
        0xf4 if second & 0xf0 != 0x80 => 1,
        0xf0..=0xf4 if is_continuation(1) => match is_continuation(2) {
            true => 3,
            false => 2,
        },
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_sequences_are_counted_as_java_counts_them() {
        // each row was run through a Java 17 InputStreamReader
        let table: &[(&[u8], usize)] = &[
            (b"\xff\xfe", 2),
            (b"\xc0\x80", 2),
            (b"\xed\xa0\x80", 1),
            (b"\xed\xa0", 1),
            (b"\xed\xa0x", 1),
            (b"\xe2\x82", 1),
            (b"\xe2\x82x", 1),
            (b"\xe0\x80\x80", 3),
            (b"\xf0\x9f\x98", 1),
            (b"\xf0\x9f\x98x", 1),
            (b"\xf0\x80\x80\x80", 4),
            (b"\xf4\x90\x80\x80", 4),
            (b"\xf5\x80", 2),
            (b"\x80", 1),
        ];
        for (bytes, expected) in table {
            let text = java_text(bytes);
            assert_eq!(text.matches(char::REPLACEMENT_CHARACTER).count(), *expected, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn valid_text_is_borrowed(text: String) {
            prop_assert!(matches!(java_text(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }

        #[test]
        fn ascii_is_never_swallowed(bytes: Vec<u8>) {
            let ascii: Vec<u8> = bytes.iter().copied().filter(u8::is_ascii).collect();
            let kept: Vec<u8> = java_text(&bytes).bytes().filter(u8::is_ascii).collect();
            prop_assert_eq!(kept, ascii);
        }
    }
}
