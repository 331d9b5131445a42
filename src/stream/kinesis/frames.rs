//! Frames of an event stream, cut out of a body as it arrives.

use std::io::{Error, ErrorKind};

use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};

/// Where a frame says how long it is: four bytes at its beginning.
const LENGTH: usize = 4;
/// Length of a frame without headers and payload.
const LEAST: usize = 16;
/// The encoding allows 16 MiB of payload; what is longer is no frame.
const MOST: usize = 17 << 20;

/// A body of frames.
#[derive(Debug)]
pub(super) struct Frames {
    body: ByteStream,
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn new(body: SdkBody) -> Self {
        Self { body: ByteStream::new(body), buffer: BytesMut::new() }
    }

    /// The next message; `None` at the end of the body. Cancel-safe: what has arrived is kept.
    ///
    /// # Errors
    /// The connection broke, or what came is no frame.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(frame) = cut(&mut self.buffer)? {
                return read_message_from(frame).map(Some).map_err(Error::other);
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(error)) => return Err(Error::other(error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Error::new(ErrorKind::UnexpectedEof, "the stream ended within an event")),
            }
        }
    }
}

/// Takes the first frame out of the buffer if it is whole; else makes room for it.
fn cut(buffer: &mut BytesMut) -> Result<Option<Bytes>, Error> {
    let Some(length) = buffer.first_chunk::<LENGTH>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(LEAST..=MOST).contains(&length) {
        return Err(Error::new(ErrorKind::InvalidData, format!("{length} bytes are no length of an event")));
    }
    let Some(missing) = length.checked_sub(buffer.len()).filter(|missing| *missing > 0) else {
        let frame = buffer.split_to(length).freeze();
        if buffer.is_empty() {
            *buffer = BytesMut::new(); // else the records' memory would live on here
        }
        return Ok(Some(frame));
    };
    buffer.reserve(missing);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::write_message_to;
    use proptest::prelude::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_message_to(&Message::new(payload.to_vec()), &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for length in [0_u32, 15, 1 << 30] {
            assert!(cut(&mut BytesMut::from(&length.to_be_bytes()[..])).is_err(), "{length}");
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

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_bytes_arrive(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            step in 1..40_usize,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = cut(&mut buffer).unwrap() {
                    found.push(read_message_from(frame).unwrap().payload().to_vec());
                }
            }
            prop_assert_eq!(found, payloads);
        }
    }
}
