//! The two encodings of the API: JSON as the AWS CLI, boto3 and Rust speak it, CBOR as Java does.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// How a client writes its requests and wants its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::local) enum Wire {
    Json,
    Cbor,
}

impl Wire {
    /// The encoding of a request.
    pub(in crate::local) fn of(request: &Request) -> Self {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if kind.is_some_and(|kind| kind.contains("cbor")) { Self::Cbor } else { Self::Json }
    }

    /// A request's members; `null` when the body is neither of the two, which the emulator then refuses.
    pub(super) fn question(self, body: &[u8]) -> Value {
        match self {
            Self::Json => serde_json::from_slice(body).unwrap_or_default(),
            Self::Cbor => ciborium::from_reader::<ciborium::Value, _>(body)
                .map(|value| ferrokinesis::server::cbor_to_json(&value))
                .unwrap_or_default(),
        }
    }

    /// A document whose blobs stay blobs.
    pub(super) fn read(self, body: &[u8]) -> Option<ciborium::Value> {
        match self {
            Self::Json => serde_json::from_slice(body).ok(),
            Self::Cbor => ciborium::from_reader(body).ok(),
        }
    }

    /// Writes a value made of maps, lists, texts, numbers and [`Blob`]s.
    pub(super) fn write<T: Serialize>(self, value: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("maps with text keys into memory cannot fail"),
            Self::Cbor => {
                let mut bytes = Vec::new();
                ciborium::into_writer(value, &mut bytes).expect("writing into memory cannot fail");
                bytes
            }
        }
    }

    /// An answer with status 200.
    pub(super) fn answer<T: Serialize>(self, value: &T) -> Response {
        self.respond(StatusCode::OK, value)
    }

    /// An error answer as the service writes it.
    pub(in crate::local) fn refuse(self, status: StatusCode, kind: &'static str, message: &str) -> Response {
        let mut answer = self.respond(status, &json!({"__type": kind, "message": message}));
        answer.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
        answer
    }

    fn respond<T: Serialize>(self, status: StatusCode, value: &T) -> Response {
        let kind = match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        };
        let mut answer = Response::new(Body::from(self.write(value)));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let id = uuid::Uuid::new_v4().to_string();
        headers.insert("x-amzn-requestid", HeaderValue::from_str(&id).expect("a uuid is a header value"));
        answer
    }
}

/// Base64 text in JSON, a byte string in CBOR.
pub(super) struct Blob<'a>(pub(super) &'a str);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.0);
        }
        match base64_simd::STANDARD.decode_to_vec(self.0) {
            Ok(bytes) => serializer.serialize_bytes(&bytes),
            Err(_) => serializer.serialize_str(self.0), // was stored as it came
        }
    }
}
