//! Frames of an event stream, cut out of a body as it arrives.

use std::io::{Error, ErrorKind};

use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Bytes, BytesMut};

/// Where a frame says how long it is: four bytes at its beginning.
const LENGTH: usize = 4;
/// What stands before the headers: the frame's length, theirs, and the checksum of both.
const PRELUDE: usize = 12;
/// The checksum of all before it, at the end.
const CHECKSUM: usize = 4;
/// Length of a frame without headers and payload.
const LEAST: usize = PRELUDE + CHECKSUM;
/// The encoding allows 16 MiB of payload; what is longer is no frame.
const MOST: usize = 17 << 20;

/// A frame: its headers as they were sent, and its payload. Both are slices of it.
#[derive(Debug)]
pub(super) struct Message {
    headers: Bytes,
    payload: Bytes,
}

impl Message {
    /// The text of the first header of this name, if it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut rest = &self.headers[..];
        while let Some((found, text)) = next_header(&mut rest) {
            if found == name {
                return text;
            }
        }
        None
    }

    pub(super) fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// Takes the first of these headers: its name, and what it says if that is a text; `None` if there is none, or what
/// stands there is no header.
///
/// Source: the event stream encoding of the AWS SDKs, types of header values.
fn next_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, Option<&'a str>)> {
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        *rest = left;
        Some(taken)
    };
    let length = take(1)?[0];
    let name = std::str::from_utf8(take(length.into())?).ok()?;
    let kind = take(1)?[0];
    let length = match kind {
        0 | 1 => 0, // true, false
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8, // a number, a moment
        9 => 16,
        6 | 7 => usize::from(u16::from_be_bytes(*take(2)?.first_chunk()?)), // bytes, a text
        _ => return None,
    };
    let value = take(length)?;
    let text = if kind == 7 { Some(std::str::from_utf8(value).ok()?) } else { None };
    Some((name, text))
}

/// A body of frames.
#[derive(Debug)]
pub(super) struct Frames {
    body: ByteStream,
    /// The beginning of a frame. It never holds more than one, so that records keep no memory besides their own.
    begun: BytesMut,
    /// What has arrived behind it.
    rest: Bytes,
}

impl Frames {
    pub(super) fn new(body: SdkBody) -> Self {
        Self { body: ByteStream::new(body), begun: BytesMut::new(), rest: Bytes::new() }
    }

    /// The next message; `None` at the end of the body. Cancel-safe: what has arrived is kept.
    ///
    /// # Errors
    /// The connection broke, or what came is no frame.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(frame) = cut(&mut self.begun, &mut self.rest)? {
                return message_in(&frame).map(Some);
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => return Err(Error::other(error)),
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(Error::new(ErrorKind::UnexpectedEof, "the stream ended within an event")),
            }
        }
    }
}

/// Takes what belongs to the first frame out of `rest`, and gives the frame out once it is whole. Until then nothing is
/// left in `rest`.
fn cut(begun: &mut BytesMut, rest: &mut Bytes) -> Result<Option<Bytes>, Error> {
    if begun.is_empty() && rest.len() >= LEAST && (LEAST..=rest.len()).contains(&number_at(rest, 0)) {
        return Ok(Some(Bytes::copy_from_slice(&rest.split_to(number_at(rest, 0))))); // mostly all of it has arrived
    }
    let mut take = |begun: &mut BytesMut, until: usize| {
        let taken = rest.split_to(until.saturating_sub(begun.len()).min(rest.len()));
        begun.reserve(until.saturating_sub(begun.len()));
        begun.extend_from_slice(&taken);
        begun.len() >= until
    };
    if !take(begun, LENGTH) {
        return Ok(None);
    }
    let length = number_at(begun, 0);
    if !(LEAST..=MOST).contains(&length) {
        return Err(invalid(format!("{length} bytes are no length of an event")));
    }
    Ok(take(begun, length).then(|| std::mem::take(begun).freeze()))
}

/// Reads a whole frame. Its payload is a slice of it, where the SDK would copy it.
///
/// Source: the event stream encoding of the AWS SDKs.
pub(super) fn message_in(frame: &Bytes) -> Result<Message, Error> {
    let end = frame.len().saturating_sub(CHECKSUM);
    let headers = PRELUDE.saturating_add(number_at(frame, LENGTH));
    if headers > end {
        return Err(invalid("an event's headers are longer than the event"));
    }
    let is_as_sent = |end: usize| usize::try_from(crc32fast::hash(&frame[..end])) == Ok(number_at(frame, end));
    if !is_as_sent(PRELUDE - CHECKSUM) || !is_as_sent(end) {
        return Err(invalid("an event's checksum is not that of its bytes"));
    }
    let (headers, payload) = (frame.slice(PRELUDE..headers), frame.slice(headers..end));
    let mut rest = &headers[..];
    while !rest.is_empty() {
        next_header(&mut rest).ok_or_else(|| invalid("an event has something else than a header among its headers"))?;
    }
    Ok(Message { headers, payload })
}

/// The number of four bytes at this place.
fn number_at(bytes: &[u8], at: usize) -> usize {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| usize::try_from(u32::from_be_bytes(*number)).unwrap_or(usize::MAX))
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
    use aws_smithy_types::DateTime;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Sdk};
    use proptest::prelude::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_message_to(&Sdk::new(payload.to_vec()), &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for length in [0_u32, 15, 1 << 30] {
            let mut bytes = Bytes::copy_from_slice(&length.to_be_bytes());
            assert!(cut(&mut BytesMut::new(), &mut bytes).is_err(), "{length}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_within_a_frame_is_broken() {
        let whole = frame(b"{}");
        let mut frames = Frames::new(SdkBody::from(whole[..whole.len() - 1].to_vec()));
        assert_eq!(frames.next().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let mut damaged = frame(b"{}");
        damaged[17] ^= 1;
        assert!(Frames::new(SdkBody::from(damaged)).next().await.is_err());
        assert!(Frames::new(SdkBody::empty()).next().await.unwrap().is_none());
    }

    #[test]
    fn a_frame_that_was_changed_on_its_way_is_refused() {
        let name = Header::new(":event-type", HeaderValue::String("SubscribeToShardEvent".into()));
        let mut whole = Vec::new();
        write_message_to(&Sdk::new("{}").add_header(name), &mut whole).unwrap();
        let read = message_in(&whole.clone().into()).unwrap();
        assert_eq!((read.text(":event-type"), &read.payload()[..]), (Some("SubscribeToShardEvent"), &b"{}"[..]));
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(message_in(&damaged.into()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_payload_is_not_copied() {
        let whole = Bytes::from(frame(b"payload"));
        let read = message_in(&whole).unwrap();
        assert_eq!(read.payload().as_ptr(), whole[PRELUDE..].as_ptr());
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let moment = |millis| HeaderValue::Timestamp(DateTime::from_millis(millis));
        prop_oneof![
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i8>().prop_map(HeaderValue::Byte),
            any::<i16>().prop_map(HeaderValue::Int16),
            any::<i32>().prop_map(HeaderValue::Int32),
            any::<i64>().prop_map(HeaderValue::Int64),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
            ".{0,100}".prop_map(|text| HeaderValue::String(text.into())),
            (0..1_i64 << 40).prop_map(moment),
            any::<u128>().prop_map(HeaderValue::Uuid),
        ]
    }

    /// Whether both readers say the same of these headers.
    fn is_read_as_by_the_sdk(frame: Vec<u8>) {
        let sdk = read_message_from(&*frame);
        let ours = message_in(&frame.into());
        let (Ok(sdk), Ok(ours)) = (&sdk, &ours) else {
            return assert_eq!(sdk.is_ok(), ours.is_ok(), "{sdk:?} {ours:?}");
        };
        assert_eq!(sdk.payload(), ours.payload());
        for header in sdk.headers() {
            let first = sdk.headers().iter().find(|first| first.name() == header.name()).unwrap();
            let text = first.value().as_string().ok().map(|text| text.as_str());
            assert_eq!(ours.text(header.name().as_str()), text);
        }
        assert_eq!(ours.text("no such header"), None);
    }

    proptest! {
        #[test]
        fn headers_of_all_kinds_are_read_as_by_the_sdk(headers in prop::collection::vec(("[:a-c]{1,2}", value()), 0..6)) {
            let mut whole = Vec::new();
            let headers = headers.into_iter().map(|(name, value)| Header::new(name, value));
            write_message_to(&headers.fold(Sdk::new("{}"), Sdk::add_header), &mut whole).unwrap();
            is_read_as_by_the_sdk(whole);
        }

        #[test]
        fn what_is_no_header_is_refused_as_by_the_sdk(headers in prop::collection::vec(0..12_u8, 0..30)) {
            let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
            let mut whole = [length(LEAST + headers.len()), length(headers.len())].concat();
            whole.extend(crc32fast::hash(&whole).to_be_bytes());
            whole.extend(headers);
            whole.extend(crc32fast::hash(&whole).to_be_bytes());
            is_read_as_by_the_sdk(whole);
        }

        #[test]
        fn frames_do_not_depend_on_how_bytes_arrive(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            step in 1..140_usize,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
            let (mut begun, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                let mut rest = Bytes::copy_from_slice(piece);
                while let Some(frame) = cut(&mut begun, &mut rest).unwrap() {
                    found.push(message_in(&frame).unwrap().payload().to_vec());
                }
                prop_assert!(rest.is_empty());
            }
            prop_assert!(begun.is_empty());
            prop_assert_eq!(found, payloads);
        }

        #[test]
        fn no_garbage_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = message_in(&bytes.into());
        }
    }
}
