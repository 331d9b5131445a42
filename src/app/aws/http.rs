//! HTTP with the proxy and the certificate authorities of the environment, and with few idle connections.
//!
//! Otherwise it is what the SDK would make itself; both services and their credentials share one, so that there is one
//! pool and one copy of the authorities for all.

use std::time::Duration;

use anyhow::Context as _;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tracing::info;

use crate::config::Surroundings;
use crate::config::surroundings::Proxy;

/// How long a connection that nobody uses is kept. A thousand shards that begin together open about as many, and need a
/// few once their reads are spread; the SDK keeps them for 90 s, each with tens of kilobytes.
pub(in crate::app) const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// Clients for both schemes.
#[derive(Clone, Debug)]
pub(super) struct HttpClients {
    http: SharedHttpClient,
    https: SharedHttpClient,
}

impl HttpClients {
    /// Makes them, and logs the proxy in use.
    ///
    /// # Errors
    /// A proxy is no URL, or the bundle of certificate authorities cannot be read.
    pub(super) fn new(around: &Surroundings) -> anyhow::Result<Self> {
        let tls = trust(around)?;
        let client = |proxy: Option<&Proxy>| -> anyhow::Result<SharedHttpClient> {
            Ok(build(proxy.map_or_else(|| Ok(ProxyConfig::disabled()), config)?, Some(tls.clone())))
        };
        let (http, https) = (around.http_proxy.as_ref(), around.https_proxy.as_ref());
        let for_https = client(https)?;
        let for_http = if http.is_none() { build(ProxyConfig::disabled(), None) } else { client(http)? };
        for (scheme, proxy) in [("http", http), ("https", https)] {
            if let Some(proxy) = proxy {
                info!(
                    scheme,
                    from = proxy.from,
                    not_for = proxy.not_for,
                    "requests go through the proxy {}",
                    proxy.url
                );
            }
        }
        Ok(Self { http: for_http, https: for_https })
    }

    /// The client for an endpoint; without one, for the service of the region, which is `https`.
    pub(super) fn for_url(&self, endpoint: Option<&str>) -> SharedHttpClient {
        let plain = endpoint.is_some_and(|url| url.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("http:")));
        if plain { self.http.clone() } else { self.https.clone() }
    }
}

fn config(proxy: &Proxy) -> anyhow::Result<ProxyConfig> {
    let url = proxy.url.as_str();
    let named = || format!("{} names the proxy `{url}`; expected http://host:port", proxy.from);
    let mut config = ProxyConfig::all(url).with_context(named)?.no_proxy(&proxy.not_for);
    if let Some((user, password)) = &proxy.user {
        config = config.with_basic_auth(user, password);
    }
    Ok(config)
}

fn trust(around: &Surroundings) -> anyhow::Result<TlsContext> {
    let Some(path) = &around.ca_bundle else { return Ok(TlsContext::default()) };
    let pem = std::fs::read(path).with_context(|| {
        format!("AWS_CA_BUNDLE names `{}`, which cannot be read; correct the variable", path.display())
    })?;
    let store = TrustStore::default().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build();
    context.with_context(|| format!("AWS_CA_BUNDLE names `{}`, which is no PEM file", path.display()))
}

/// Without `tls` no certificate authority is read, which takes 10 ms of CPU each time.
fn build(proxy: ProxyConfig, tls: Option<TlsContext>) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| -> Connector {
        let mut connector = Connector::builder().proxy_config(proxy.clone()).pool_idle_timeout(IDLE_CONNECTION);
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        match &tls {
            Some(tls) => connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls.clone()).build(),
            None => connector.build_http(),
        }
    })
}
