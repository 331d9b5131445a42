//! One signed request to a service that we have no client of, sent and signed as the SDK does it for its own: with its HTTP
//! client, its cache of credentials, its correction of a wrong clock. Trying again is the caller's.

use std::convert::Infallible;

use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::auth::{SigV4OperationSigningConfig, SigningOptions};
use aws_runtime::service_clock_skew::ServiceClockSkewInterceptor;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};
use aws_types::service_config::ServiceConfigKey;

use super::{Means, in_time};

/// A service, and how requests to it are signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// As shared files and variables call it: `AWS_ENDPOINT_URL_SQS`.
    pub(super) id: &'static str,
    /// As signatures call it.
    pub(super) signing_name: &'static str,
    /// Of the one operation that we ask for.
    pub(super) operation: &'static str,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    /// Percent-encoded.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where S3 says that the bucket is.
    pub(super) bucket_region: Option<String>,
    /// Whether S3 says which version of an object it has.
    pub(super) has_etag: bool,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends signed requests to one endpoint.
#[derive(Debug)]
pub(super) struct Signed(Operation<Ask, Answer, Infallible>);

impl Signed {
    pub(super) fn new(service: Service, endpoint: &str, region: &str, means: &Means) -> Self {
        let base = &means.base;
        let mut operation = Operation::builder()
            .service_name(service.id)
            .operation_name(service.operation)
            .endpoint_url(endpoint)
            .http_client(means.http.for_url(Some(endpoint)))
            .no_retry()
            .with_connection_poisoning()
            .interceptor(ServiceClockSkewInterceptor::new())
            .runtime_plugin(signing(service, region, means))
            .serializer(request)
            .deserializer(|response: &HttpResponse| Ok(answer(response)));
        if let Some(version) = base.behavior_version() {
            operation = operation.behavior_version(version);
        }
        if let Some(timeouts) = base.timeout_config() {
            operation = operation.timeout_config(timeouts.clone());
        }
        if let Some(time) = base.time_source() {
            operation = operation.time_source(time);
        }
        if let Some(sleep) = base.sleep_impl() {
            operation = operation.sleep_impl(sleep);
        }
        Self(operation.build())
    }

    /// # Errors
    /// There is no answer; why.
    pub(super) async fn send(&self, ask: Ask) -> Result<Answer, String> {
        in_time(self.0.invoke(ask)).await
    }
}

/// The endpoint that variables or shared files give for `service` (`AWS_ENDPOINT_URL_…`, `AWS_ENDPOINT_URL`).
pub(super) fn configured_endpoint(service: Service, means: &Means) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let own = means.base.service_config().zip(key.ok()).and_then(|(config, key)| config.load_config(key));
    own.or_else(|| means.base.endpoint_url().map(str::to_owned)).map(|url| url.trim_end_matches('/').to_owned())
}

/// Source: the SDK's own client of S3: there the path is encoded once and taken as it is, and the body's hash is a header.
fn signing(service: Service, region: &str, means: &Means) -> StaticRuntimePlugin {
    let mut options = SigningOptions::default();
    if service.signing_name == "s3" {
        (options.double_uri_encode, options.normalize_uri_path) = (false, false);
        options.content_sha256_header = true;
    }
    let mut layer = Layer::new("signing");
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(Region::new(region.to_owned()))),
        region_set: None,
        name: Some(SigningName::from(service.signing_name)),
        signing_options: options,
    });
    let mut components = RuntimeComponentsBuilder::new("signing");
    let scheme = StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]);
    components.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(scheme)));
    components.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
    components.set_identity_cache(means.base.identity_cache());
    if let Some(credentials) = means.base.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, credentials);
    }
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

fn request(ask: Ask) -> Result<HttpRequest, aws_smithy_runtime_api::box_error::BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(ask.body));
    request.set_method(ask.method)?;
    request.set_uri(ask.path)?;
    for (name, value) in ask.headers {
        request.headers_mut().try_insert(name, value)?;
    }
    Ok(request)
}

fn answer(response: &HttpResponse) -> Answer {
    Answer {
        status: response.status().as_u16(),
        bucket_region: response.headers().get("x-amz-bucket-region").map(str::to_owned),
        has_etag: response.headers().get("etag").is_some(),
        body: response.body().bytes().unwrap_or_default().to_vec(),
    }
}
