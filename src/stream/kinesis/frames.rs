//! Frames of an event stream, cut out of a body as it arrives.

use std::io::{Error, ErrorKind};

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::event_stream::Message;
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
fn message_in(frame: &Bytes) -> Result<Message, Error> {
    let end = frame.len().saturating_sub(CHECKSUM);
    let headers = PRELUDE.saturating_add(number_at(frame, LENGTH));
    if headers > end {
        return Err(invalid("an event's headers are longer than the event"));
    }
    let is_as_sent = |end: usize| usize::try_from(crc32fast::hash(&frame[..end])) == Ok(number_at(frame, end));
    if !is_as_sent(PRELUDE - CHECKSUM) || !is_as_sent(end) {
        return Err(invalid("an event's checksum is not that of its bytes"));
    }
    let head = read_message_from(&*without_payload(&frame[PRELUDE..headers])).map_err(Error::other)?;
    Ok(Message::new_from_parts(head.headers().to_vec(), frame.slice(headers..end)))
}

/// A frame of these headers alone, as the SDK reads it.
fn without_payload(headers: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes(); // MOST fits
    let mut frame = [length(headers.len() + LEAST), length(headers.len())].concat();
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
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
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue};
    use proptest::prelude::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_message_to(&Message::new(payload.to_vec()), &mut out).unwrap();
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
        write_message_to(&Message::new("{}").add_header(name), &mut whole).unwrap();
        let read = message_in(&whole.clone().into()).unwrap();
        assert_eq!((read.headers().len(), &read.payload()[..]), (1, &b"{}"[..]));
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

    proptest! {
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
                    prop_assert_eq!(message_in(&frame).unwrap(), read_message_from(&*frame).unwrap());
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
