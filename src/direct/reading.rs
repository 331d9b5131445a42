//! Answers on the short way, read by the SDK's own reader of the operation, and judged by its own rules for trying again.

use std::fmt;
use std::time::Duration;

use aws_runtime::service_clock_skew::DisableClockSkewCorrection;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::interceptors::context::{Error as AnyError, Input, InterceptorContext, Output};
use aws_smithy_runtime_api::client::interceptors::{Intercept, SharedInterceptor};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::retries::{RequestAttempts, RetryStrategy, ShouldAttempt};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_schema::protocol::{ServiceShapeName, ServiceShapeNamespace, SharedClientProtocol};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::{AggregatedBytes, ByteStream};
use aws_smithy_types::config_bag::{ConfigBag, FrozenLayer, Layer, Storable, StoreReplace};
use aws_smithy_types::retry::{RetryConfig, RetrySpec};
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;

use super::Failed;

type Fault = OrchestratorError<AnyError>;

/// Measures how wrong our clock is; a signature that was refused for it is tried again.
const CLOCK_SKEW: &str = "ServiceClockSkewInterceptor";
/// Takes the connections of servers that fail out of the pool.
const POISONING: &str = "ConnectionPoisoningInterceptor";
/// Watches whether a body goes on arriving.
const STALLED: &str = "StalledStreamProtectionInterceptor";
/// Bodies that are shorter come with their head, and are not watched.
const LONG: u64 = 64 << 10;

/// An answer with all of its body, as far as that came.
pub(super) struct Arrived {
    head: HttpResponse,
    body: Result<Bytes, BoxError>,
}

impl Arrived {
    /// # Errors
    /// There is no answer.
    pub(super) async fn of(answer: Result<HttpResponse, ConnectorError>) -> Result<Self, ConnectorError> {
        let mut head = answer?;
        let body = ByteStream::new(std::mem::replace(head.body_mut(), SdkBody::taken())).collect().await;
        Ok(Self { head, body: body.map(AggregatedBytes::into_bytes).map_err(BoxError::from) })
    }

    /// The body, if all of it came and the answer is one of success.
    pub(super) fn success(&self) -> Option<&[u8]> {
        self.body.as_deref().ok().filter(|_| self.head.status().as_u16() == 200)
    }
}

/// How one operation is read.
pub(super) struct Reading {
    components: RuntimeComponents,
    /// Writer and reader of the operation.
    operation: FrozenLayer,
    settings: FrozenLayer,
    retries: RetryConfig,
    clock_skew: SharedInterceptor,
    poisoning: Option<SharedInterceptor>,
    stalled: Option<SharedInterceptor>,
}

impl Reading {
    pub(super) fn of(operation: FrozenLayer, components: &RuntimeComponents, bag: &ConfigBag) -> Option<Self> {
        let named = |name: &'static str| components.interceptors().find(move |found| found.name() == name);
        let retries = bag.load::<RetryConfig>()?.clone();
        if retries.max_attempts() > 1 {
            bag.load::<TokenBucket>()?; // without it the rules for trying again cannot be asked
        }
        // Source: `ConnectionPoisoningInterceptor`: newer rules keep all connections
        let keeps_all = retries.retry_spec().is_some_and(|rules| rules.is_at_least(RetrySpec::V2_1));
        Some(Self {
            clock_skew: named(CLOCK_SKEW)?,
            poisoning: named(POISONING).filter(|_| !keeps_all),
            stalled: named(STALLED),
            settings: settings(bag),
            components: alone(components)?,
            operation,
            retries,
        })
    }

    pub(super) fn components(&self) -> &RuntimeComponents {
        &self.components
    }

    pub(super) fn retries(&self) -> &RetryConfig {
        &self.retries
    }

    /// What the SDK's parts look for their settings in.
    pub(super) fn bag(&self) -> ConfigBag {
        let mut bag = ConfigBag::base();
        bag.push_shared_layer(self.operation.clone()).push_shared_layer(self.settings.clone());
        bag
    }

    /// A request's place for its connection, if that may have to be closed.
    pub(super) fn capture(&self) -> Option<CaptureSmithyConnection> {
        self.poisoning.as_ref().map(|_| CaptureSmithyConnection::new())
    }

    /// A good answer, whose body is watched if it is long.
    pub(super) fn watched(&self, response: HttpResponse) -> Result<HttpResponse, BoxError> {
        let length = response.headers().get("content-length").and_then(|length| length.parse::<u64>().ok());
        let Some(stalled) = self.stalled.as_ref().filter(|_| length.is_none_or(|length| length >= LONG)) else {
            return Ok(response);
        };
        let (mut context, mut bag) = (sent(), self.bag());
        arrive(&mut context, response);
        stalled.modify_before_deserialization(&mut (&mut context).into(), &self.components, &mut bag)?;
        Ok(take(&mut context))
    }

    /// The result of a request, in the words of the SDK.
    #[expect(clippy::result_large_err, reason = "it is the SDK's own error")]
    pub(super) fn result(
        &self,
        answer: Result<Arrived, ConnectorError>,
        taken: Option<CaptureSmithyConnection>,
    ) -> Result<Output, Failed<AnyError>> {
        let (mut context, mut bag) = (sent(), self.bag());
        if let Some(taken) = taken {
            bag.interceptor_state().store_put(taken);
        }
        match answer {
            Ok(arrived) => {
                if let Err(error) = self.read(&mut context, &mut bag, arrived) {
                    context.fail(Fault::other(error));
                }
            }
            Err(error) => context.fail(Fault::connector(error)),
        }
        let again = self.again(&context, &bag); // also after a success, which the SDK's rules count
        context.finalize().map_err(|error| Failed { error, again })
    }

    /// Tells the rules for trying again of a success, if they have failures to make up for.
    pub(super) fn succeeded(&self) {
        if self.settings.load::<TokenBucket>().is_none_or(TokenBucket::is_full) {
            return;
        }
        let mut context = sent();
        arrive(&mut context, nothing());
        context.enter_deserialization_phase();
        context.set_output_or_error(Ok(Output::doesnt_matter()));
        context.enter_after_deserialization_phase();
        self.again(&context, &self.bag());
    }

    fn read(&self, context: &mut InterceptorContext, bag: &mut ConfigBag, arrived: Arrived) -> Result<(), BoxError> {
        let Arrived { head, body } = arrived;
        let is_good = head.status().is_success();
        if !is_good {
            self.clock_skew.read_before_transmit(&(&*context).into(), &self.components, bag)?;
        }
        arrive(context, head);
        if !is_good {
            self.clock_skew.modify_before_deserialization(&mut (&mut *context).into(), &self.components, bag)?;
        }
        context.enter_deserialization_phase();
        let read = match context.response_mut() {
            Some(response) => self.parse(response, body, bag),
            None => Err(Fault::other("there is no answer")),
        };
        context.set_output_or_error(read);
        context.enter_after_deserialization_phase();
        if let Some(poisoning) = self.poisoning.as_ref().filter(|_| !is_good) {
            poisoning.read_after_deserialization(&(&*context).into(), &self.components, bag)?;
        }
        Ok(())
    }

    fn parse(
        &self,
        response: &mut HttpResponse,
        body: Result<Bytes, BoxError>,
        bag: &ConfigBag,
    ) -> Result<Output, Fault> {
        *response.body_mut() = SdkBody::from(body.map_err(Fault::response)?);
        let reader = self.operation.load::<SharedResponseDeserializer>();
        let reader = reader.ok_or_else(|| Fault::other("the operation has no reader"))?;
        reader.deserialize_nonstreaming_with_config(response, bag)
    }

    /// After what wait the SDK would try again, if it would.
    fn again(&self, context: &InterceptorContext, bag: &ConfigBag) -> Option<Duration> {
        if self.retries.max_attempts() <= 1 {
            return None;
        }
        let strategy = self.components.retry_strategy();
        match strategy.should_attempt_retry(context, &self.components, bag) {
            Ok(ShouldAttempt::Yes) => Some(Duration::ZERO),
            Ok(ShouldAttempt::YesAfterDelay(wait)) => Some(wait),
            Ok(ShouldAttempt::No) | Err(_) => None,
        }
    }
}

/// A request that is on its way, in the eyes of the SDK.
fn sent() -> InterceptorContext {
    let mut context = InterceptorContext::new(Input::doesnt_matter());
    context.enter_serialization_phase();
    let _input = context.take_input();
    context.set_request(HttpRequest::empty());
    context.enter_before_transmit_phase();
    context
}

fn arrive(context: &mut InterceptorContext, response: HttpResponse) {
    context.enter_transmit_phase();
    let _request = context.take_request();
    context.set_response(response);
    context.enter_before_deserialization_phase();
}

fn take(context: &mut InterceptorContext) -> HttpResponse {
    context.response_mut().map_or_else(nothing, |response| std::mem::replace(response, nothing()))
}

fn nothing() -> HttpResponse {
    HttpResponse::new(200.try_into().expect("200 is a status"), SdkBody::taken())
}

/// The components without interceptors, for one of them is the one that is learning.
fn alone(components: &RuntimeComponents) -> Option<RuntimeComponents> {
    let mut builder = components.to_builder();
    builder.set_interceptors(std::iter::empty());
    builder.build().ok()
}

/// What writer, reader, identities and rules look for in the bag.
fn settings(bag: &ConfigBag) -> FrozenLayer {
    let mut layer = Layer::new("direct");
    copy::<SharedClientProtocol>(bag, &mut layer);
    copy::<ServiceShapeName>(bag, &mut layer);
    copy::<ServiceShapeNamespace>(bag, &mut layer);
    copy::<Metadata>(bag, &mut layer);
    copy::<DisableClockSkewCorrection>(bag, &mut layer);
    copy::<StalledStreamProtectionConfig>(bag, &mut layer);
    copy::<TimeoutConfig>(bag, &mut layer);
    copy::<RetryConfig>(bag, &mut layer);
    copy::<RetryPartition>(bag, &mut layer);
    copy::<TokenBucket>(bag, &mut layer);
    layer.store_put(RequestAttempts::from(1));
    layer.freeze()
}

fn copy<T>(bag: &ConfigBag, layer: &mut Layer)
where
    T: Storable<Storer = StoreReplace<T>> + Clone + fmt::Debug + Send + Sync + 'static,
{
    if let Some(value) = bag.load::<T>() {
        layer.store_put(value.clone());
    }
}
