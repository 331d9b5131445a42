//! Settings of an SDK client that the Java daemon hands to the client's builder: which of them it refuses. Pure.
//!
//! Source: daemon 3.5.1 `BuilderDynaBean` over the builders of AWS SDK for Java 2.41; each arm was run.

use super::bean::CLIENTS;
use super::report::Stage;
use super::values;

/// Where the reference fails, and its message.
type Refused = (Stage, String);

/// Builders' own settings that take a plain value.
const SIMPLE: [&str; 5] = ["endpointOverride", "region", "fipsEnabled", "dualstackEnabled", "credentialsProvider"];

/// Settings that take an object, which no text becomes, and the object's interface, which nothing inside it becomes.
const OBJECTS: [(&str, &str); 6] = [
    ("httpClient", "software.amazon.awssdk.http.async.SdkAsyncHttpClient"),
    ("httpClientBuilder", "software.amazon.awssdk.http.async.SdkAsyncHttpClient$Builder"),
    ("endpointProvider", "EndpointProvider"),
    ("authSchemeProvider", "AuthSchemeProvider"),
    ("addPlugin", "software.amazon.awssdk.core.SdkPlugin"),
    ("putAuthScheme", "software.amazon.awssdk.http.auth.spi.scheme.AuthScheme"),
];

/// The same one level deeper.
const NESTED_OBJECTS: [&str; 10] = [
    "headers",
    "executionAttributes",
    "scheduledExecutorService",
    "compressionConfiguration",
    "defaultProfileFile",
    "metricPublishers",
    "addMetricPublisher",
    "addExecutionInterceptor",
    "executionInterceptors",
    "advancedOptions",
];

/// What Java stumbles over when a key ends in a dot.
const NO_SUPPORT: &str = "Cannot invoke \"software.amazon.kinesis.multilang.config.DynaBeanBuilderSupport.set(String, \
                          Object)\" because \"this.dynaBeanBuilderSupport\" is null";
const NO_INPUT: &str = "Cannot invoke \"String.length()\" because \"this.input\" is null";

/// An unknown leaf of an SDK client is fatal, unlike any other unknown key, and so is what its builder cannot take.
pub(super) fn fault(name: &str, text: &str) -> Option<Refused> {
    let (client, leaf) = name.split_once('.').filter(|(client, _)| CLIENTS.contains(client))?;
    let (first, nested) = leaf.split_once('.').map_or((leaf, None), |(first, rest)| (first, Some(rest)));
    if first.ends_with(']') && nested.is_some() {
        return None; // Java does not get hold of a member of a list, and leaves the entry out
    }
    let object = OBJECTS.iter().find(|(object, _)| *object == first);
    match (first, nested, object) {
        // nothing has no leaves, and Java leaves the entry out
        ("overrideConfiguration", Some(nested), _) if nested.starts_with('.') => None,
        ("overrideConfiguration", Some(nested), _) => overridden(nested, text),
        ("credentialsProvider", Some(""), _) | (_, Some(""), Some(_)) => Some((Stage::Load, NO_SUPPORT.to_owned())),
        ("endpointOverride", Some(""), _) => Some((Stage::Resolve, NO_INPUT.to_owned())),
        ("asyncConfiguration", Some("advancedOptions"), _) => Some(no_object()),
        ("asyncConfiguration", Some(nested), _) => Some(inside(nested, text)),
        ("", None, _) | ("credentialsProvider", None, _) => Some(no_mutator(first)),
        ("", Some(_), _) => None,
        ("credentialsProvider", Some("class"), _) => (!text.contains('.')).then(|| no_class(text)),
        ("credentialsProvider", Some(_), _) => {
            Some(no_builder("software.amazon.awssdk.auth.credentials.AwsCredentialsProvider"))
        }
        ("endpointOverride", Some(nested), _) => Some(unknown(nested)),
        ("defaultsMode", None, _) => Some(unconvertible("software.amazon.awssdk.awscore.defaultsmode.DefaultsMode")),
        ("accountIdEndpointMode", None, _) if client == "dynamoDbClient" => {
            Some(unconvertible("software.amazon.awssdk.awscore.endpoints.AccountIdEndpointMode"))
        }
        ("defaultsMode", Some(_), _) => None,
        ("accountIdEndpointMode" | "endpointDiscoveryEnabled", Some(_), _) if client == "dynamoDbClient" => None,
        ("class", None, _) => (text != class_of(client)).then(|| no_class(text)),
        (_, Some("class"), Some(_)) => Some(no_class(text)),
        (_, Some(_), Some((_, interface))) => Some(no_builder(&interface_of(client, interface))),
        (_, None, Some(_)) | ("overrideConfiguration" | "asyncConfiguration", None, _) => Some(no_object()),
        _ if SIMPLE.contains(&first) => None,
        _ => Some(unknown(first)),
    }
}

fn overridden(nested: &str, text: &str) -> Option<Refused> {
    match nested {
        "apiCallTimeout" | "apiCallAttemptTimeout" => values::duration(values::trim(text))
            .is_err()
            .then(|| (Stage::Load, "Text cannot be parsed to a Duration".to_owned())),
        "retryPolicy" if text == "ADAPTIVE_V2" => Some((
            Stage::Resolve,
            "ADAPTIVE_V2 is not supported by retry policies, use a RetryStrategy instead".to_owned(),
        )),
        "retryPolicy" | "retryStrategy" => (!matches!(text, "LEGACY" | "STANDARD" | "ADAPTIVE" | "ADAPTIVE_V2"))
            .then(|| (Stage::Load, format!("No enum constant software.amazon.awssdk.core.retry.RetryMode.{text}"))),
        "appId" | "defaultProfileName" => None,
        _ if NESTED_OBJECTS.contains(&nested) => Some(no_object()),
        _ => Some(inside(nested, text)),
    }
}

fn inside(nested: &str, text: &str) -> Refused {
    match nested {
        "" => no_mutator(nested),
        "class" => no_class(text),
        _ => unknown(nested),
    }
}

fn unknown(leaf: &str) -> Refused {
    (Stage::Load, format!("Unknown property: {leaf}"))
}

fn unconvertible(class: &str) -> Refused {
    (Stage::Load, format!("Can't convert value '' to type class {class}"))
}

fn no_object() -> Refused {
    unconvertible("software.amazon.kinesis.multilang.config.BuilderDynaBean")
}

fn no_mutator(leaf: &str) -> Refused {
    (Stage::Resolve, format!("Unable to find mutator for {leaf} of type java.lang.String"))
}

fn no_class(text: &str) -> Refused {
    (Stage::Load, format!("Unable to load class {text}. Attempted: ({text})"))
}

fn no_builder(interface: &str) -> Refused {
    let message =
        format!("Unable to to introspect or handle {interface} as it doesn't have a builder or create method.");
    (Stage::Load, message)
}

/// The full name of an interface that each service has for itself.
fn interface_of(client: &str, name: &str) -> String {
    let (package, service) = match client {
        "kinesisClient" => ("kinesis", "Kinesis"),
        "dynamoDbClient" => ("dynamodb", "DynamoDb"),
        _ => ("cloudwatch", "CloudWatch"),
    };
    match name {
        "EndpointProvider" => format!("software.amazon.awssdk.services.{package}.endpoints.{service}{name}"),
        "AuthSchemeProvider" => format!("software.amazon.awssdk.services.{package}.auth.scheme.{service}{name}"),
        other => other.to_owned(),
    }
}

fn class_of(client: &str) -> &'static str {
    match client {
        "kinesisClient" => "software.amazon.awssdk.services.kinesis.KinesisAsyncClient",
        "dynamoDbClient" => "software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient",
        _ => "software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_builder_cannot_take_is_refused_in_its_words() {
        let table = [
            ("kinesisClient.region", "x", None),
            ("kinesisClient.noSuch", "x", Some("Unknown property: noSuch")),
            ("kinesisClient.overrideConfiguration.apiCallTimeout", "PT5S", None),
            ("kinesisClient.overrideConfiguration.apiCallTimeout", "5", Some("Text cannot be parsed to a Duration")),
            ("kinesisClient.overrideConfiguration.retryStrategy", "STANDARD", None),
            (
                "kinesisClient.overrideConfiguration.retryPolicy",
                "standard",
                Some("No enum constant software.amazon.awssdk.core.retry.RetryMode.standard"),
            ),
            (
                "dynamoDbClient.overrideConfiguration.headers",
                "x",
                Some("Can't convert value '' to type class software.amazon.kinesis.multilang.config.BuilderDynaBean"),
            ),
            (
                "dynamoDbClient.endpointProvider.x",
                "1",
                Some(
                    "Unable to to introspect or handle \
                     software.amazon.awssdk.services.dynamodb.endpoints.DynamoDbEndpointProvider as it doesn't have a \
                     builder or create method.",
                ),
            ),
            ("cloudWatchClient.class", "x", Some("Unable to load class x. Attempted: (x)")),
            ("dynamoDbClient.overrideConfiguration..apiCallTimeout", "x", None),
            ("kinesisClient.region[0].x", "1", None),
            ("dynamoDbClient.httpClient.", "x", Some(NO_SUPPORT)),
            ("kinesisClient.credentialsProvider.", "x", Some(NO_SUPPORT)),
            ("kinesisClient.endpointOverride.", "x", Some(NO_INPUT)),
            ("fanoutConfig.noSuch", "x", None),
        ];
        for (name, text, message) in table {
            assert_eq!(fault(name, text).map(|(_, java)| java).as_deref(), message, "{name} = {text}");
        }
    }
}
