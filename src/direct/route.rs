//! What the SDK resolved for a request, and requests along the same route.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_runtime::auth::sigv4::SCHEME_ID;
use aws_smithy_runtime_api::client::auth::AuthScheme;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::{
    IdentityCacheLocation, ResolveCachedIdentity, ResolveIdentity, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{ConfigBag, FrozenLayer};
use aws_smithy_types::date_time::Format;
use aws_smithy_types::retry::{RetryConfig, RetryMode};
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::time::Instant;
use tracing::debug;

use super::reading::Reading;
use super::sign::{AUTHORIZATION, DATE, Form, Keys, LENGTH, Seal, TOKEN};

/// How long keys and date of a signature are used. The service takes a date that is minutes off, and the SDK's cache of
/// credentials replaces them ten seconds before they expire.
const SEALED_FOR: Duration = Duration::from_secs(1);
/// Headers of one request alone. What the SDK tells of its attempts for statistics is left out.
const OF_ONE_REQUEST: [&str; 6] = [AUTHORIZATION, DATE, TOKEN, LENGTH, "amz-sdk-invocation-id", "amz-sdk-request"];

/// A route to one operation of a service.
pub(super) struct Route {
    components: RuntimeComponents,
    connector: SharedHttpConnector,
    resolver: SharedIdentityResolver,
    reading: Reading,
    form: Form,
    /// How far the service's clock is ahead of ours, as the SDK sees it, in seconds.
    ahead: i64,
    /// Address and headers.
    template: HttpRequest,
    sealed: Mutex<Option<(Arc<Sealed>, Instant)>>,
}

/// A route at one moment: all but body and signature.
pub(super) struct Sealed {
    seal: Seal,
    template: HttpRequest,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Route").field(&self.template.uri()).finish()
    }
}

impl Route {
    /// The route of a signed request; `None` if something about it is not as we know it.
    pub(super) fn of(
        operation: FrozenLayer,
        sent: &HttpRequest,
        components: &RuntimeComponents,
        bag: &ConfigBag,
    ) -> Option<Self> {
        let (timeouts, retries) = (bag.load::<TimeoutConfig>()?, bag.load::<RetryConfig>()?);
        if timeouts.operation_attempt_timeout().is_some() || retries.mode() != RetryMode::Standard {
            return None;
        }
        let resolver = components.auth_scheme(SCHEME_ID)?.identity_resolver(components)?;
        if resolver.cache_location() != IdentityCacheLocation::RuntimeComponents {
            return None;
        }
        let mut template = template(sent)?;
        let uri = template.uri_mut();
        let form = Form::of(sent, uri.path())?;
        if uri.query().is_some() {
            return None;
        }
        let mut limits = HttpConnectorSettings::builder();
        limits.set_connect_timeout(timeouts.connect_timeout()).set_read_timeout(timeouts.read_timeout());
        let reading = Reading::of(operation, components, bag)?;
        let now = seconds(components.time_source()?.now())?;
        Some(Self {
            connector: components.http_client()?.http_connector(&limits.build(), components),
            components: reading.components().clone(),
            ahead: time_of(form.sample_date())?.saturating_sub(now),
            sealed: Mutex::default(),
            resolver,
            reading,
            form,
            template,
        })
    }

    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// The route as it is now; `None` if it leads nowhere any more.
    pub(super) async fn sealed(&self) -> Option<Arc<Sealed>> {
        let known = self.sealed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some((sealed, since)) if since.elapsed() < SEALED_FOR => Some(sealed),
            known => {
                let sealed = Arc::new(self.seal(known.is_none()).await?);
                let since = (Arc::clone(&sealed), Instant::now());
                *self.sealed.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
                Some(sealed)
            }
        }
    }

    async fn seal(&self, is_first: bool) -> Option<Sealed> {
        let bag = self.reading.bag();
        let cache = self.components.identity_cache();
        let identity = cache.resolve_cached_identity(self.resolver.clone(), &self.components, &bag).await.ok()?;
        let credentials = identity.data::<Credentials>()?;
        let (id, secret) = (credentials.access_key_id(), credentials.secret_access_key());
        let keys = Keys { id, secret, token: credentials.session_token() };
        if is_first && !self.form.confirms(keys) {
            debug!(route = ?self, "this is not signed as it is known, the SDK goes on signing it");
            return None;
        }
        let now = seconds(self.components.time_source()?.now())?.saturating_add(self.ahead);
        let seal = self.form.seal(keys, &date_of(now)?)?;
        let mut template = self.template.try_clone()?;
        template.headers_mut().try_insert(DATE, seal.date().to_owned()).ok()?;
        if let Some(token) = seal.token() {
            template.headers_mut().try_insert(TOKEN, token.to_owned()).ok()?;
        }
        Some(Sealed { seal, template })
    }

    /// Sends one request. The connection is told to `taken`, if that is given.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(
        &self,
        sealed: &Sealed,
        body: Vec<u8>,
        taken: Option<CaptureSmithyConnection>,
    ) -> Result<HttpResponse, ConnectorError> {
        let copied = sealed.template.try_clone();
        let mut request = copied.ok_or_else(|| ConnectorError::user("the request cannot be copied".into()))?;
        let headers = request.headers_mut();
        headers.insert(LENGTH, body.len().to_string());
        headers.insert(AUTHORIZATION, sealed.seal.authorization(&self.form, &body));
        *request.body_mut() = SdkBody::from(body);
        if let Some(taken) = taken {
            request.add_extension(taken);
        }
        self.connector.call(request).await
    }
}

/// The request without what belongs to it alone.
fn template(sent: &HttpRequest) -> Option<HttpRequest> {
    let mut template = sent.try_clone()?;
    *template.body_mut() = SdkBody::empty();
    for header in OF_ONE_REQUEST {
        template.headers_mut().remove(header);
    }
    Some(template)
}

fn seconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// As signatures write it: `20240101T000000Z`.
fn date_of(seconds: i64) -> Option<String> {
    let text = DateTime::from_secs(seconds).fmt(Format::DateTime).ok()?;
    Some(text.replace(['-', ':'], ""))
}

fn time_of(date: &str) -> Option<i64> {
    let part = |range| date.get(range);
    let (day, time) = (format!("{}-{}-{}", part(0..4)?, part(4..6)?, part(6..8)?), part(8..11)?);
    let text = format!("{day}{time}:{}:{}", part(11..13)?, part(13..date.len())?);
    Some(DateTime::from_str(&text, Format::DateTime).ok()?.secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_as_signatures_have_them() {
        assert_eq!(date_of(1_704_067_207).as_deref(), Some("20240101T000007Z"));
        assert_eq!(time_of("20240101T000007Z"), Some(1_704_067_207));
        for text in ["", "20240101", "2024-01-01T00:00:07Z"] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }
}
