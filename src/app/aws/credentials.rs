//! Credentials, as the keys of the properties file name them. A secret never appears in a log or an error.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use super::METADATA_LIMIT;
use super::http::HttpClients;
use crate::config::{CredentialsProvider, Surroundings};

/// Limit of all that happens before credentials are there.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(20);

/// What every provider is made of.
pub(super) struct Source<'a> {
    /// Region and time-outs, no credentials.
    pub(super) base: &'a SdkConfig,
    /// Profile, keys, metadata.
    pub(super) around: &'a Surroundings,
    /// With the proxy, if there is one.
    pub(super) http: &'a HttpClients,
}

impl Source<'_> {
    /// Settings of the providers that ask a service on the network: STS, SSO. Metadata is asked without them.
    fn remote(&self) -> ProviderConfig {
        let config = ProviderConfig::default().with_region(self.base.region().cloned());
        config.with_http_client(self.http.for_url(None))
    }
}

/// Adds the credentials that `key` names, and makes sure that there are some.
///
/// # Errors
/// None of the members yields any.
pub(super) async fn with_credentials(
    source: &Source<'_>,
    members: &[CredentialsProvider],
    key: &str,
) -> anyhow::Result<SdkConfig> {
    let base = source.base;
    if members == [CredentialsProvider::Anonymous] {
        return Ok(base.clone());
    }
    let chain = SharedCredentialsProvider::new(chain(source, members).await);
    match tokio::time::timeout(CREDENTIALS_LIMIT, chain.provide_credentials()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return Err(error).with_context(|| {
                format!(
                    "no credentials: {key} names {members:?} and none of them yields any; set the AWS_ACCESS_KEY_ID \
                         and AWS_SECRET_ACCESS_KEY variables, a profile or a role"
                )
            });
        }
        Err(_) => {
            bail!("no credentials: {key} names {members:?} and none of them answered within {CREDENTIALS_LIMIT:?}")
        }
    }
    Ok(base.to_builder().credentials_provider(chain).build())
}

/// The first member that yields credentials wins (Source: CONFIGURATION.md section 5).
async fn chain(source: &Source<'_>, members: &[CredentialsProvider]) -> CredentialsProviderChain {
    let mut flat = Vec::new();
    for member in members {
        if *member == CredentialsProvider::Default {
            flat.extend(default_chain());
        } else {
            flat.push(member.clone());
        }
    }
    let mut chain = CredentialsProviderChain::first_try("none", NoCredentials);
    for member in flat {
        chain = add(chain, source, &member).await;
    }
    chain
}

/// The Java SDK's order. The ready-made chain of the Rust SDK asks the profile before the web identity, which is
/// another identity on a pod that has both (Source: CONFIGURATION.md section 5).
///
/// Source: AWS SDK for Java 2.41 `DefaultCredentialsProvider`: system properties come first.
fn default_chain() -> [CredentialsProvider; 6] {
    [
        CredentialsProvider::SystemProperties,
        CredentialsProvider::Environment,
        CredentialsProvider::WebIdentity,
        CredentialsProvider::Profile(None),
        CredentialsProvider::Container,
        CredentialsProvider::InstanceProfile,
    ]
}

async fn add(
    chain: CredentialsProviderChain,
    source: &Source<'_>,
    member: &CredentialsProvider,
) -> CredentialsProviderChain {
    let around = source.around;
    match member {
        CredentialsProvider::SystemProperties => match &around.keys {
            Some(keys) => {
                let token = keys.token.clone();
                let given = Credentials::new(&keys.id, &keys.secret, token, None, "system properties");
                chain.or_else("system properties", given)
            }
            None => chain,
        },
        CredentialsProvider::Environment => {
            chain.or_else("environment", aws_config::environment::EnvironmentVariableCredentialsProvider::new())
        }
        CredentialsProvider::WebIdentity => {
            let remote = source.remote();
            let provider = aws_config::web_identity_token::WebIdentityTokenCredentialsProvider::builder();
            chain.or_else("web identity", WhenAsked::new(move || provider.configure(&remote).build()))
        }
        CredentialsProvider::Profile(name) => {
            let mut provider = aws_config::profile::ProfileFileCredentialsProvider::builder();
            provider = provider.configure(&source.remote()).profile_files(profile_files(around));
            if let Some(name) = name.as_ref().or(around.profile.as_ref()) {
                provider = provider.profile_name(name);
            }
            chain.or_else("profile", provider.build())
        }
        CredentialsProvider::Container => {
            chain.or_else("container", aws_config::ecs::EcsCredentialsProvider::builder().build())
        }
        CredentialsProvider::InstanceProfile if around.metadata_disabled => chain,
        CredentialsProvider::InstanceProfile => {
            let metadata = aws_config::imds::Client::builder()
                .connect_timeout(METADATA_LIMIT / 2)
                .read_timeout(METADATA_LIMIT / 2)
                .max_attempts(2)
                .build();
            let provider = aws_config::imds::credentials::ImdsCredentialsProvider::builder().imds_client(metadata);
            chain.or_else("instance metadata", provider.build())
        }
        CredentialsProvider::AssumeRole { .. } => chain.or_else("assumed role", assume(source, member).await),
        CredentialsProvider::Default | CredentialsProvider::Anonymous => chain,
    }
}

/// A role, assumed with the default chain.
async fn assume(source: &Source<'_>, role: &CredentialsProvider) -> CredentialsProviderChain {
    let none = CredentialsProviderChain::first_try("none", NoCredentials);
    let CredentialsProvider::AssumeRole { role_arn, session_name, external_id, region, endpoint } = role else {
        return none;
    };
    let mut sts = source.base.to_builder();
    if let Some(endpoint) = endpoint {
        sts = sts.endpoint_url(endpoint);
    }
    sts = sts.http_client(source.http.for_url(endpoint.as_deref()));
    let mut provider = aws_config::sts::AssumeRoleProvider::builder(role_arn).session_name(session_name);
    if let Some(id) = external_id {
        provider = provider.external_id(id);
    }
    let region = region.clone().map(Region::new).or_else(|| source.base.region().cloned());
    if let Some(region) = region {
        provider = provider.region(region);
    }
    let mut own = CredentialsProviderChain::first_try("none", NoCredentials);
    for member in default_chain() {
        own = Box::pin(add(own, source, &member)).await;
    }
    none.or_else("role", provider.configure(&sts.build()).build_from_provider(own).await)
}

/// The shared AWS files, where system properties say they are.
pub(super) fn profile_files(around: &Surroundings) -> EnvConfigFiles {
    let mut files = EnvConfigFiles::builder();
    files = match &around.config_file {
        Some(path) => files.with_file(EnvConfigFileKind::Config, path),
        None => files.include_default_config_file(true),
    };
    files = match &around.credentials_file {
        Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
        None => files.include_default_credentials_file(true),
    };
    files.build()
}

/// A provider that is made when it is first asked: one with a client of its own reads and checks all certificate
/// authorities when it is made, and is mostly not asked.
struct WhenAsked<P>(LazyLock<P, Box<dyn FnOnce() -> P + Send>>);

impl<P> WhenAsked<P> {
    fn new(make: impl FnOnce() -> P + Send + 'static) -> Self {
        Self(LazyLock::new(Box::new(make)))
    }
}

impl<P> std::fmt::Debug for WhenAsked<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WhenAsked")
    }
}

impl<P: ProvideCredentials> ProvideCredentials for WhenAsked<P> {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        self.0.provide_credentials()
    }
}

/// Yields nothing; the beginning of every chain.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        let nothing = aws_credential_types::provider::error::CredentialsError::not_loaded("no provider was asked");
        Provided::ready(Err(nothing))
    }
}
