//! Names of regions as the Java SDK treats them. Pure.

use std::fmt::Write as _;

/// What a region's name becomes on its way through `Region.of`: URL-encoded.
///
/// Source: AWS SDK for Java 2.41 `Region.of`, `SdkHttpUtils.urlEncode`.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Takes `fips-` and `-fips` out of a name; the SDK turns them into a switch.
///
/// Source: AWS SDK for Java 2.41 `AwsDefaultClientBuilder.transformFipsPseudoRegionIfNecessary`.
#[must_use]
pub fn without_fips(name: &str) -> String {
    name.replace("fips-", "").replace("-fips", "")
}

/// Whether `https://service.<name>.amazonaws.com` has a host in the eyes of `java.net.URI`.
#[must_use]
pub fn fits_host(name: &str) -> bool {
    let label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label)
}

/// The regions that the SDK knows; only `endpointRegion` of an STS provider must be one of them.
///
/// Source: AWS SDK for Java 2.41.21 `Region.regions()`.
pub const KNOWN: [&str; 53] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "aws-cn-global",
    "aws-global",
    "aws-iso-b-global",
    "aws-iso-e-global",
    "aws-iso-f-global",
    "aws-iso-global",
    "aws-us-gov-global",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];
