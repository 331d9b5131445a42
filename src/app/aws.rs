//! Clients of the services: region, credentials, endpoints, as the properties file says.

use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};

use crate::config::{Config, CredentialsProvider};

/// Limit of one look at the instance metadata service, which is not there outside EC2.
const METADATA_LIMIT: Duration = Duration::from_secs(2);
/// Limit of connecting to a service.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Limit of all that happens before credentials are there.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(20);

/// One client a service.
#[derive(Debug)]
pub struct Clients {
    /// Kinesis.
    pub kinesis: aws_sdk_kinesis::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Where both are.
    pub region: String,
}

impl Clients {
    /// Makes the clients, and makes sure that there are credentials.
    ///
    /// # Errors
    /// There is no region, or there are no credentials; one sentence that says where they were looked for.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let region = region(config).await?;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build();
        let base = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .no_credentials()
            .load()
            .await;
        let kinesis = with_credentials(&base, &config.credentials.kinesis, "AwsCredentialsProvider").await?;
        let dynamodb = if config.credentials.dynamodb == config.credentials.kinesis {
            kinesis.clone()
        } else {
            with_credentials(&base, &config.credentials.dynamodb, "AwsCredentialsProviderDynamoDB").await?
        };
        let mut for_kinesis = aws_sdk_kinesis::config::Builder::from(&kinesis);
        let mut for_dynamodb = aws_sdk_dynamodb::config::Builder::from(&dynamodb);
        if let Some(url) = &config.kinesis_endpoint {
            for_kinesis = for_kinesis.endpoint_url(url);
        }
        if let Some(url) = &config.dynamodb_endpoint {
            for_dynamodb = for_dynamodb.endpoint_url(url);
        }
        Ok(Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(for_kinesis.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(for_dynamodb.build()),
            region,
        })
    }
}

/// Source: CONFIGURATION.md section 6, `regionName`: `AWS_DEFAULT_REGION` is not read.
async fn region(config: &Config) -> anyhow::Result<String> {
    if let Some(region) = &config.region {
        return Ok(region.clone());
    }
    if let Some(region) = std::env::var("AWS_REGION").ok().filter(|region| !region.is_empty()) {
        return Ok(region);
    }
    let profile = aws_config::profile::ProfileFileRegionProvider::new();
    if let Some(region) = profile.region().await {
        return Ok(region.to_string());
    }
    let metadata = aws_config::imds::region::ImdsRegionProvider::builder().build();
    match tokio::time::timeout(METADATA_LIMIT, metadata.region()).await.ok().flatten() {
        Some(region) => Ok(region.to_string()),
        None => bail!(
            "no region: regionName is not set in `{}`, and neither AWS_REGION, the profile nor instance metadata \
             name one; set regionName, for example regionName = us-east-1",
            config.source.display()
        ),
    }
}

async fn with_credentials(base: &SdkConfig, members: &[CredentialsProvider], key: &str) -> anyhow::Result<SdkConfig> {
    if members == [CredentialsProvider::Anonymous] {
        return Ok(base.clone());
    }
    let chain = SharedCredentialsProvider::new(chain(base, members).await);
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
async fn chain(base: &SdkConfig, members: &[CredentialsProvider]) -> CredentialsProviderChain {
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
        chain = add(chain, base, &member).await;
    }
    chain
}

/// The Java SDK's order. The ready-made chain of the Rust SDK asks the profile before the web identity, which is
/// another identity on a pod that has both (Source: CONFIGURATION.md section 5).
fn default_chain() -> [CredentialsProvider; 5] {
    [
        CredentialsProvider::Environment,
        CredentialsProvider::WebIdentity,
        CredentialsProvider::Profile(None),
        CredentialsProvider::Container,
        CredentialsProvider::InstanceProfile,
    ]
}

async fn add(
    chain: CredentialsProviderChain,
    base: &SdkConfig,
    member: &CredentialsProvider,
) -> CredentialsProviderChain {
    match member {
        CredentialsProvider::Environment => {
            chain.or_else("environment", aws_config::environment::EnvironmentVariableCredentialsProvider::new())
        }
        CredentialsProvider::WebIdentity => {
            let provider = aws_config::web_identity_token::WebIdentityTokenCredentialsProvider::builder();
            let conf = aws_config::provider_config::ProviderConfig::default().with_region(base.region().cloned());
            chain.or_else("web identity", provider.configure(&conf).build())
        }
        CredentialsProvider::Profile(name) => {
            let conf = aws_config::provider_config::ProviderConfig::default().with_region(base.region().cloned());
            let mut provider = aws_config::profile::ProfileFileCredentialsProvider::builder().configure(&conf);
            if let Some(name) = name {
                provider = provider.profile_name(name);
            }
            chain.or_else("profile", provider.build())
        }
        CredentialsProvider::Container => {
            chain.or_else("container", aws_config::ecs::EcsCredentialsProvider::builder().build())
        }
        CredentialsProvider::InstanceProfile => {
            let metadata = aws_config::imds::Client::builder()
                .connect_timeout(METADATA_LIMIT / 2)
                .read_timeout(METADATA_LIMIT / 2)
                .max_attempts(2)
                .build();
            let provider = aws_config::imds::credentials::ImdsCredentialsProvider::builder().imds_client(metadata);
            chain.or_else("instance metadata", provider.build())
        }
        CredentialsProvider::AssumeRole { role_arn, session_name, external_id, region, endpoint } => {
            let mut sts = base.to_builder();
            if let Some(endpoint) = endpoint {
                sts = sts.endpoint_url(endpoint);
            }
            let mut provider = aws_config::sts::AssumeRoleProvider::builder(role_arn).session_name(session_name);
            if let Some(id) = external_id {
                provider = provider.external_id(id);
            }
            let region = region.clone().map(Region::new).or_else(|| base.region().cloned());
            if let Some(region) = region {
                provider = provider.region(region);
            }
            let mut own = CredentialsProviderChain::first_try("none", NoCredentials);
            for member in default_chain() {
                own = Box::pin(add(own, base, &member)).await;
            }
            chain.or_else("assumed role", provider.configure(&sts.build()).build_from_provider(own).await)
        }
        CredentialsProvider::Default | CredentialsProvider::SystemProperties | CredentialsProvider::Anonymous => chain,
    }
}

/// Yields nothing; the beginning of every chain.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let nothing = aws_credential_types::provider::error::CredentialsError::not_loaded("no provider was asked");
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(nothing))
    }
}
