//! Clients for the commands and tests: dummy credentials on loopback, the usual chain everywhere else.

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_kinesis::Client;

use super::error::LocalError;

/// Region of the local backend.
pub const LOCAL_REGION: &str = "us-east-1";

/// Credentials that a local backend takes; they are no secret.
#[must_use]
pub fn local_credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "local backend")
}

/// Configuration of SDK clients for one local endpoint.
#[must_use]
pub fn local_config(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(LOCAL_REGION))
        .endpoint_url(endpoint)
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(local_credentials()))
        .build()
}

/// A Kinesis client for an endpoint (`None`: the service itself) and a region.
///
/// # Errors
/// There is no region, or there are no credentials and the endpoint is not on loopback.
pub async fn kinesis(endpoint: Option<&str>, region: Option<&str>) -> Result<Client, LocalError> {
    let is_local = endpoint.is_some_and(is_loopback);
    // given, so that the SDK does not read the environment for it, over which it would panic
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(RetryConfig::standard());
    if let Some(endpoint) = endpoint {
        if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
            let expected = "a URL such as http://127.0.0.1:4567";
            return Err(LocalError::BadValue { option: "--endpoint", value: endpoint.to_owned(), expected });
        }
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    } else if is_local && std::env::var_os("AWS_REGION").is_none() {
        loader = loader.region(Region::from_static(LOCAL_REGION));
    }
    if is_local && std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        loader = loader.credentials_provider(local_credentials());
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(LocalError::NoRegion);
    }
    if let Some(provider) = config.credentials_provider() {
        provider.provide_credentials().await.map_err(|error| LocalError::NoCredentials(Box::new(error)))?;
    }
    Ok(Client::new(&config))
}

/// Whether a URL's host is this machine.
fn is_loopback(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        let table = [
            ("http://127.0.0.1:4567", true),
            ("http://127.8.9.10", true),
            ("http://localhost:4567/", true),
            ("http://[::1]:4567", true),
            ("http://127.0.0.1.example.com", false),
            ("https://kinesis.us-east-1.amazonaws.com", false),
            ("http://10.0.0.1:4567", false),
        ];
        for (endpoint, expected) in table {
            assert_eq!(is_loopback(endpoint), expected, "{endpoint}");
        }
    }
}
