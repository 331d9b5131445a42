//! Region, endpoint and credentials of the three clients, and the faults that the SDK's builders find.
//!
//! Source: AWS SDK for Java 2.41 client builders, as the daemon drives them; CONFIGURATION sections 4 and 9.

use super::bean::Bean;
use super::environment::Defaults;
use super::report::{Report, Stage};
use super::resolved::{Client, ClientCredentials, Clients};
use super::{region, uri};

/// Builds the three clients; faults in the order in which the reference builds them.
pub(super) fn clients(bean: &Bean, defaults: &Defaults<'_>, report: &mut Report) -> Clients {
    let mut one = |client: &str, service: &str, host: &str, credentials: &str, endpoint_key: &str| {
        let given = bean.text(&format!("{client}.region")).map(region::without_fips);
        let region = given.or_else(|| defaults.region.clone());
        let key = format!("{client}.endpointOverride");
        let mut endpoint = bean.text(&key).map(str::to_owned);
        if let Some(Ok(None)) = endpoint.as_deref().map(uri::scheme) {
            let text = endpoint.as_deref().unwrap_or_default();
            let message = format!(
                "`{endpoint_key} = {text}`: expected a URL with its scheme; write http://{text} or https://{text}, \
                 or remove the line",
            );
            let java = "The URI scheme of endpointOverride must not be null.";
            report.fault_java(Stage::Resolve, endpoint_key, message, java);
        }
        let given = endpoint.is_some();
        endpoint = endpoint.or_else(|| defaults.endpoint(service).map(str::to_owned));
        check_region(region.as_deref(), endpoint.is_some(), host, defaults, report);
        if let (false, Some(Err(java))) = (given, endpoint.as_deref().map(uri::scheme)) {
            let message = format!("AWS_ENDPOINT_URL_{service} or AWS_ENDPOINT_URL is no URL; correct the variable");
            report.fault_java(Stage::Resolve, endpoint_key, message, java);
        }
        let chosen = bean.providers(credentials).or_else(|| bean.providers("kinesisCredentialsProvider"));
        let credentials = ClientCredentials {
            providers: chosen.map(|chosen| chosen.providers.clone()).unwrap_or_default(),
            is_chain: chosen.is_none_or(|chosen| chosen.is_chain),
            default_profile: defaults.environment.profile_name().to_owned(),
        };
        Client { region, endpoint_override: endpoint, credentials }
    };
    Clients {
        kinesis: one("kinesisClient", "KINESIS", "kinesis", "kinesisCredentialsProvider", "kinesisEndpoint"),
        dynamodb: one("dynamoDbClient", "DYNAMODB", "dynamodb", "dynamoDBCredentialsProvider", "dynamoDBEndpoint"),
        cloudwatch: one(
            "cloudWatchClient",
            "CLOUDWATCH",
            "monitoring",
            "cloudWatchCredentialsProvider",
            "cloudWatchClient.endpointOverride",
        ),
    }
}

fn check_region(region: Option<&str>, has_endpoint: bool, host: &str, defaults: &Defaults<'_>, report: &mut Report) {
    let already = |report: &Report| report.faults.iter().any(|fault| fault.key.as_deref() == Some("regionName"));
    match region {
        None if defaults.environment.may_ask_instance_metadata() => {}
        None if !already(report) => {
            let message = "no region: give `regionName`, or set AWS_REGION, or a region in the profile (AWS_DEFAULT_REGION is not read)";
            let java = "Unable to load region from any of the providers in the chain software.amazon.awssdk.regions.providers.DefaultAwsRegionProviderChain";
            report.fault_java(Stage::Resolve, "regionName", message, java);
        }
        Some(region) if !has_endpoint && !region::fits_host(region) && !already(report) => {
            let message = format!(
                "`regionName`: `{region}` is no name of a region; expected one like us-east-1, without blanks; correct it"
            );
            let java = format!(
                "Configured region ({region}) and tags ([]) resulted in an invalid URI: https://{host}.{region}.amazonaws.com. \
                 This is usually caused by an invalid region configuration.",
            );
            report.fault_java(Stage::Resolve, "regionName", message, java);
        }
        None | Some(_) => {}
    }
}
