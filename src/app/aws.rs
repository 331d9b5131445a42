//! Clients of the services: region, credentials, endpoints, proxy, as the properties file and the environment say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};

use crate::clock::SystemClock;
use crate::config::retries::Retries;
use crate::config::{Config, OnPoison};

mod clock_watch;
mod credentials;
pub(super) mod http;
pub mod letters;

use clock_watch::ClockWatch;
use credentials::{Source, with_credentials};
use http::HttpClients;
use letters::{Keeper, Means};

/// Limit of one look at the instance metadata service, which is not there outside EC2.
const METADATA_LIMIT: Duration = Duration::from_secs(2);
/// Limit of connecting to a service.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One client a service.
#[derive(Debug)]
pub struct Clients {
    /// Kinesis.
    pub kinesis: aws_sdk_kinesis::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Where both are.
    pub region: String,
    /// The service that keeps dead letters, if one does.
    pub dead_letters: Option<Arc<Keeper>>,
}

impl Clients {
    /// Makes the clients, and makes sure that there are credentials.
    ///
    /// # Errors
    /// There is no region, or there are no credentials; one sentence that says where they were looked for.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let region = region(config).await?;
        let around = &config.surroundings;
        let http = HttpClients::new(around)?;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .retry_config(retry_config(around.retries))
            .profile_files(credentials::profile_files(around))
            .no_credentials();
        if let Some(profile) = &around.profile {
            loader = loader.profile_name(profile);
        }
        let base = loader.load().await;
        let source = Source { base: &base, around, http: &http };
        let kinesis = with_credentials(&source, &config.credentials.kinesis, "AwsCredentialsProvider").await?;
        let dynamodb = if config.credentials.dynamodb == config.credentials.kinesis {
            kinesis.clone()
        } else {
            with_credentials(&source, &config.credentials.dynamodb, "AwsCredentialsProviderDynamoDB").await?
        };
        let mut for_kinesis = aws_sdk_kinesis::config::Builder::from(&kinesis);
        let mut for_dynamodb = aws_sdk_dynamodb::config::Builder::from(&dynamodb);
        if let Some(url) = &config.kinesis_endpoint {
            for_kinesis = for_kinesis.endpoint_url(url);
        }
        if let Some(url) = &config.dynamodb_endpoint {
            for_dynamodb = for_dynamodb.endpoint_url(url);
        }
        if let Some(region) = &config.dynamodb_region {
            for_dynamodb = for_dynamodb.region(aws_sdk_dynamodb::config::Region::new(region.clone()));
        }
        for_kinesis = for_kinesis.http_client(http.for_url(config.kinesis_endpoint.as_deref()));
        for_dynamodb = for_dynamodb.http_client(http.for_url(config.dynamodb_endpoint.as_deref()));
        let watch = ClockWatch::new(Arc::new(SystemClock), config.coordination.worker_metrics_interval);
        let for_dynamodb = for_dynamodb.interceptor(watch);
        let reader = aws_sdk_kinesis::Client::from_conf(for_kinesis.build());
        let dead_letters = match &config.processing.on_poison {
            OnPoison::Stop | OnPoison::Skip => None,
            OnPoison::DeadLetter(target) => {
                let means = Means { base: kinesis, http, region: region.clone(), kinesis: reader.clone() };
                Keeper::new(target, &means)?.map(Arc::new)
            }
        };
        Ok(Self {
            kinesis: reader,
            dynamodb: aws_sdk_dynamodb::Client::from_conf(for_dynamodb.build()),
            region,
            dead_letters,
        })
    }
}

/// Given, so that the SDK does not read the environment for it, over which it would panic.
fn retry_config(retries: Retries) -> RetryConfig {
    let mode = if retries.is_adaptive { RetryConfig::adaptive() } else { RetryConfig::standard() };
    match retries.max_attempts {
        Some(attempts) => mode.with_max_attempts(attempts),
        None => mode,
    }
}

/// Everything but instance metadata has been asked when the file was loaded.
///
/// Source: CONFIGURATION.md section 6, `regionName`: `AWS_DEFAULT_REGION` is not read.
async fn region(config: &Config) -> anyhow::Result<String> {
    if let Some(region) = &config.region {
        return Ok(region.clone());
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
