//! SubscribeToShard and its events.
//!
//! As with GetRecords the body is taken away before the SDK parses it; the records' base64 goes through as it is.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_kinesis::Config;
use aws_sdk_kinesis::types::StartingPosition;
use bytes::Bytes;
use serde::Deserialize;
use tracing::warn;

use super::Kinesis;
use super::faults::{exception, fetch_error};
use super::frames::{Frames, Message};
use super::records::{TakeBody, TakeDate, position};
use crate::stream::answer;
use crate::stream::fetch::{Dated, Event, FetchError, IteratorStart};
use crate::types::ShardId;

const SUBSCRIBE: &str = "SubscribeToShard";
const EVENT: &str = "SubscribeToShardEvent";

/// An open subscription. Not reading from it stops the service by flow control; dropping it ends it.
#[derive(Debug)]
pub struct Subscription(Frames);

/// What a frame is for.
#[derive(Debug, PartialEq)]
enum Frame {
    Event(Bytes),
    Exception {
        code: String,
        payload: Bytes,
    },
    /// The initial response, or a kind that we do not know.
    Other,
}

impl Kinesis {
    /// Opens a subscription of the consumer `consumer_arn` to `shard`.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn subscribe_to_shard(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<Subscription>, FetchError> {
        let (kind, sequence, timestamp) = position(start);
        let starting = StartingPosition::builder().r#type(kind).set_sequence_number(sequence).set_timestamp(timestamp);
        let starting = starting.build().map_err(|error| FetchError::transient(SUBSCRIBE, error))?;
        let call = self.reader.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard.as_str());
        let (taken, date) = (TakeBody::leaving(""), TakeDate::default());
        let limits = Config::builder().timeout_config(self.subscribe_limits.clone());
        let call = call.starting_position(starting).customize().interceptor(taken.clone());
        let call = call.interceptor(date.clone()).config_override(limits);
        Box::pin(call.send()).await.map_err(|error| fetch_error(SUBSCRIBE, error))?;
        let body = taken.body().ok_or_else(|| FetchError::transient(SUBSCRIBE, "the answer has no body"))?;
        Ok(Dated { given: Subscription(Frames::new(body)), date: date.date() })
    }
}

impl Subscription {
    /// Waits, without limit, for the next event; `None` once the service has ended the subscription. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke, or the service sent an exception.
    pub async fn next(&mut self) -> Result<Option<Event>, FetchError> {
        loop {
            let message = self.0.next().await.map_err(|error| FetchError::transient(SUBSCRIBE, error))?;
            let Some(message) = message else { return Ok(None) };
            match frame_of(&message) {
                Frame::Event(payload) => return event_of(&payload).map(Some),
                Frame::Exception { code, payload } => return Err(exception(SUBSCRIBE, &code, &message_in(&payload))),
                Frame::Other => {}
            }
        }
    }
}

/// Source: the event stream encoding of the AWS SDKs, headers of an event and of an exception.
fn frame_of(message: &Message) -> Frame {
    let text = |name| message.text(name).unwrap_or_default().to_owned();
    match message.text(":message-type") {
        Some("event") if message.text(":event-type") == Some(EVENT) => Frame::Event(message.payload().clone()),
        Some("exception") => Frame::Exception { code: text(":exception-type"), payload: message.payload().clone() },
        Some("error") => {
            let payload = serde_json::json!({ "message": text(":error-message") }).to_string().into();
            Frame::Exception { code: text(":error-code"), payload }
        }
        Some(_) | None => Frame::Other,
    }
}

/// What an exception says, as far as it says it in the usual way.
fn message_in(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "Message")]
        message: String,
    }
    serde_json::from_slice(payload).map_or_else(|_| String::new(), |body: Body| body.message)
}

fn event_of(payload: &Bytes) -> Result<Event, FetchError> {
    static TOLD_OF_SLOW_PATH: AtomicBool = AtomicBool::new(false);
    answer::walk_event(payload).or_else(|odd| {
        let read = answer::tolerate_event(payload).map_err(|error| FetchError::transient(SUBSCRIBE, error))?;
        if !TOLD_OF_SLOW_PATH.swap(true, Ordering::Relaxed) {
            warn!(%odd, "events of SubscribeToShard have an unknown form, reading them takes more time now");
        }
        Ok(read)
    })
}

#[cfg(test)]
mod tests {
    use super::super::frames;
    use super::*;
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{self, Header, HeaderValue};

    fn message(headers: &[(&'static str, &'static str)], payload: &'static str) -> Message {
        let whole = headers.iter().fold(event_stream::Message::new(payload.as_bytes()), |message, (name, value)| {
            message.add_header(Header::new(*name, HeaderValue::String((*value).into())))
        });
        let mut frame = Vec::new();
        write_message_to(&whole, &mut frame).unwrap();
        frames::message_in(&frame.into()).unwrap()
    }

    #[test]
    fn frames_are_told_apart_by_their_headers() {
        let event = message(&[(":event-type", EVENT), (":message-type", "event")], "{}");
        assert_eq!(frame_of(&event), Frame::Event(Bytes::from_static(b"{}")));
        for other in ["initial-response", "SomethingNew"] {
            assert_eq!(frame_of(&message(&[(":message-type", "event"), (":event-type", other)], "{}")), Frame::Other);
        }
        assert_eq!(frame_of(&message(&[], "{}")), Frame::Other);
    }

    #[test]
    fn an_exception_in_the_stream_tells_the_next_move() {
        let fault = |code, text| {
            let frame = frame_of(&message(&[(":message-type", "exception"), (":exception-type", code)], text));
            let Frame::Exception { code, payload } = frame else { panic!("{frame:?}") };
            exception(SUBSCRIBE, &code, &message_in(&payload))
        };
        assert!(matches!(fault("ResourceInUseException", "{}"), FetchError::Busy(_)));
        assert!(matches!(fault("ResourceNotFoundException", ""), FetchError::ShardGone));
        assert!(matches!(fault("KMSThrottlingException", r#"{"message":"slow"}"#), FetchError::Throttled(text)
            if text == "KMSThrottlingException: slow"));
        assert!(matches!(fault("InternalFailureException", r#"{"Message":"x"}"#), FetchError::Transient { .. }));
        let error = message(
            &[(":message-type", "error"), (":error-code", "LimitExceededException"), (":error-message", "m")],
            "",
        );
        let Frame::Exception { code, payload } = frame_of(&error) else { panic!("no exception") };
        assert!(matches!(exception(SUBSCRIBE, &code, &message_in(&payload)), FetchError::Throttled(_)));
    }
}
