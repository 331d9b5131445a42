//! GetShardIterator and GetRecords.
//!
//! The body of GetRecords is taken away before the SDK parses it, because the SDK would decode each record's
//! base64 only for the child's line to encode it again. Signing, endpoint and credentials stay the SDK's.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;
use tracing::warn;

use super::Kinesis;
use super::body::{Arriving, Segments};
use super::faults::fetch_error;
use crate::clock::service;
use crate::stream::fetch::{Answer, Dated, FetchError, IteratorStart};
use crate::types::{EpochMillis, ShardId};

const GET_RECORDS: &str = "GetRecords";
/// Six times the base64 of the 10 MiB that the service sends at most; what is longer is no answer of Kinesis.
const LARGEST_BODY: usize = 64 << 20;

impl Kinesis {
    /// Asks for an iterator of `shard`.
    ///
    /// # Errors
    /// The service refused or did not answer.
    pub async fn get_shard_iterator(
        &self,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<String>, FetchError> {
        let date = TakeDate::default();
        let (kind, sequence, timestamp) = position(start);
        let call = self
            .reader
            .get_shard_iterator()
            .stream_name(&self.stream)
            .shard_id(shard.as_str())
            .shard_iterator_type(kind)
            .set_starting_sequence_number(sequence)
            .set_timestamp(timestamp)
            .customize()
            .interceptor(date.clone())
            .send();
        let answer = Box::pin(call).await.map_err(|error| fetch_error("GetShardIterator", error))?;
        let missing = || FetchError::transient("GetShardIterator", "the answer has no iterator");
        Ok(Dated { given: answer.shard_iterator.ok_or_else(missing)?, date: date.date() })
    }

    /// Asks once for at most `limit` records.
    ///
    /// # Errors
    /// The service refused, did not answer, or its answer was cut off: the same iterator can be asked again.
    pub async fn get_records(&self, iterator: &str, limit: i32) -> Result<Answer, FetchError> {
        let body = match self.direct.way().await {
            Some(way) => {
                let answer = way.open::<GetRecordsError>(question(iterator, limit)).await;
                answer.map_err(|error| fetch_error(GET_RECORDS, error))?.into_body()
            }
            None => Box::pin(self.ask_through_sdk(iterator, limit)).await?,
        };
        let body = arrive(body, &self.segments).await?;
        let (answer, odd) = body.read().map_err(|error| FetchError::transient(GET_RECORDS, error))?;
        if let Some(odd) = odd.filter(|_| !self.told_of_slow_path.swap(true, Ordering::Relaxed)) {
            warn!(%odd, "answers of GetRecords have an unknown form, reading them takes more time now");
        }
        Ok(answer)
    }

    async fn ask_through_sdk(&self, iterator: &str, limit: i32) -> Result<SdkBody, FetchError> {
        let taken = TakeBody::leaving(r#"{"Records":[]}"#);
        let call = self.reader.get_records().shard_iterator(iterator).limit(limit);
        let call = call.customize().interceptor(taken.clone()).interceptor(self.direct.learn());
        call.send().await.map_err(|error| fetch_error(GET_RECORDS, error))?;
        taken.body().ok_or_else(|| FetchError::transient(GET_RECORDS, "the answer has no body"))
    }
}

/// The body of a request, as the SDK writes it.
fn question(iterator: &str, limit: i32) -> Vec<u8> {
    format!(r#"{{"ShardIterator":{},"Limit":{limit}}}"#, serde_json::Value::from(iterator)).into_bytes()
}

/// A place as the API writes it: kind, sequence number, timestamp.
pub(super) fn position(start: &IteratorStart) -> (ShardIteratorType, Option<String>, Option<DateTime>) {
    match start {
        IteratorStart::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
        IteratorStart::Latest => (ShardIteratorType::Latest, None, None),
        IteratorStart::AtTimestamp(EpochMillis(millis)) => {
            (ShardIteratorType::AtTimestamp, None, Some(DateTime::from_millis(*millis)))
        }
        IteratorStart::At(number) => (ShardIteratorType::AtSequenceNumber, Some(number.as_str().to_owned()), None),
        IteratorStart::After(number) => {
            (ShardIteratorType::AfterSequenceNumber, Some(number.as_str().to_owned()), None)
        }
    }
}

/// Takes the body in as it comes.
async fn arrive(body: SdkBody, segments: &Arc<Segments>) -> Result<Arriving, FetchError> {
    let mut stream = ByteStream::new(body);
    let (least, _) = stream.size_hint();
    let mut arriving = Arriving::new(segments, usize::try_from(least).unwrap_or(0).min(LARGEST_BODY));
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| FetchError::transient(GET_RECORDS, error))?;
        if arriving.len() + piece.len() > LARGEST_BODY {
            return Err(FetchError::transient(GET_RECORDS, format!("the answer is longer than {LARGEST_BODY} bytes")));
        }
        arriving.add(&piece);
    }
    Ok(arriving)
}

/// Takes the body of a good answer away from the SDK's parser; errors still go to it.
#[derive(Clone, Debug)]
pub(super) struct TakeBody {
    taken: Arc<Mutex<Option<SdkBody>>>,
    instead: &'static str,
}

impl TakeBody {
    /// Gives the parser `instead`.
    pub(super) fn leaving(instead: &'static str) -> Self {
        Self { taken: Arc::default(), instead }
    }

    pub(super) fn body(&self) -> Option<SdkBody> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for TakeBody {
    fn name(&self) -> &'static str {
        "TakeBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().as_u16() == 200 {
            let body = std::mem::replace(response.body_mut(), SdkBody::from(self.instead));
            *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
        Ok(())
    }
}

/// Notes the time of an answer by the service's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct TakeDate(Arc<Mutex<Option<EpochMillis>>>);

impl TakeDate {
    pub(super) fn date(&self) -> Option<EpochMillis> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for TakeDate {
    fn name(&self) -> &'static str {
        "TakeDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = service::told(|name| context.response().headers().get(name)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
        }
        Ok(())
    }
}
