//! Moments in CBOR are whole milliseconds since 1970 with tag 1; in JSON, and to the emulator in both, seconds.
//!
//! Source: AWS SDK for Java 2.41 `AwsCborProtocolFactory` (`UNIX_TIMESTAMP_MILLIS`) reads them so, and
//! `SdkCborGenerator.writeValue(Instant)` writes them so.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use ciborium::Value as Document;
use ciborium::tag::Required;
use ferrokinesis::types::EpochSeconds;
use serde::{Serialize, Serializer};

use super::wire::Wire;

/// The tag of a moment. Source: RFC 8949 section 3.4.2, but with milliseconds.
const TAG: u64 = 1;
/// No moment in seconds is as large before the year 5138, none in milliseconds as small after 1973.
const MILLIS_FROM: f64 = 1e11;

/// A moment in seconds since 1970, as each encoding writes it.
pub(super) struct Moment(pub(super) f64);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return EpochSeconds(self.0).serialize(serializer);
        }
        Required::<i64, TAG>(millis(self.0)).serialize(serializer)
    }
}

/// Seconds as whole milliseconds.
fn millis(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let millis = (seconds * 1000.0).round() as i64;
    millis
}

/// Seconds of what may be either; a JSON client of the emulator gives seconds.
pub(super) fn seconds(moment: f64) -> f64 {
    if moment > MILLIS_FROM { moment / 1000.0 } else { moment }
}

/// Makes milliseconds of every moment in an answer of the emulator.
pub(super) fn to_millis(answer: &mut Document) {
    each_moment(answer, &|given| Document::Tag(TAG, Box::new(Document::from(millis(given)))));
}

/// Makes seconds of every moment in a request.
fn to_seconds(question: &mut Document) {
    each_moment(question, &|given| Document::Float(seconds(given)));
}

fn each_moment(document: &mut Document, change: &impl Fn(f64) -> Document) {
    if let Document::Array(members) = document {
        members.iter_mut().for_each(|member| each_moment(member, change));
    } else if let Document::Map(members) = document {
        for (name, value) in members {
            let is_moment = name.as_text().is_some_and(|name| name.ends_with("Timestamp"));
            match number(value).filter(|_| is_moment) {
                Some(given) => *value = change(given),
                None => each_moment(value, change),
            }
        }
    }
}

fn number(value: &Document) -> Option<f64> {
    if let Document::Tag(TAG, inner) = value {
        return number(inner);
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
    let whole = || i64::try_from(value.as_integer()?).ok().map(|number| number as f64);
    value.as_float().or_else(whole)
}

/// The request as the emulator understands it.
pub(super) fn question(wire: Wire, request: Request, body: &Bytes) -> (Request, Bytes) {
    let Some(mut document) = wire.read(body).filter(|_| wire == Wire::Cbor) else { return (request, body.clone()) };
    to_seconds(&mut document);
    let body = Bytes::from(wire.write(&document));
    (with_body(request, body.clone()), body)
}

/// The same request with another body.
pub(super) fn with_body(request: Request, body: Bytes) -> Request {
    let (mut parts, _) = request.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Request::from_parts(parts, Body::from(body))
}

/// The emulator's answer as its client understands it; for answers without records, which are small.
pub(super) async fn answer(wire: Wire, answer: Response) -> Response {
    if wire == Wire::Json {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return Response::from_parts(parts, Body::empty()) };
    let Some(mut document) = wire.read(&body) else { return Response::from_parts(parts, Body::from(body)) };
    to_millis(&mut document);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(wire.write(&document)))
}
