//! The stream's name inside `streamArn`. Pure.

use super::values::is_blank;

/// Gives the part between `stream/` and the next `/`.
///
/// Region and account are checked for their form and used for nothing.
///
/// Source: AWS SDK for Java 2.41 `Arn.fromString`, KCL 3.x `StreamIdentifier.validateArn`.
///
/// # Errors
/// Java's message.
pub(super) fn stream_name(arn: &str) -> Result<String, String> {
    let malformed = |what: &str| format!("Malformed ARN - {what}");
    let rest = arn.strip_prefix("arn:").ok_or_else(|| malformed("doesn't start with 'arn:'"))?;
    let (partition, rest) = rest.split_once(':').ok_or_else(|| malformed("no AWS partition specified"))?;
    let (service, rest) = rest.split_once(':').ok_or_else(|| malformed("no service specified"))?;
    let (region, rest) = rest.split_once(':').ok_or_else(|| malformed("no AWS region partition specified"))?;
    let (account, resource) = rest.split_once(':').ok_or_else(|| malformed("no AWS account specified"))?;
    if resource.is_empty() {
        return Err(malformed("no resource specified"));
    }
    // the last one stands for the part between `stream/` and the next `/`
    let name = resource_name(resource);
    for (what, part) in [("partition", partition), ("service", service), ("resource", resource), ("resource", name)] {
        if is_blank(part) {
            return Err(format!("{what} must not be blank or empty."));
        }
    }
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = partition.starts_with("aws")
        && service == "kinesis"
        && !region.is_empty()
        && region.bytes().all(lower)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource.strip_prefix("stream/").is_some_and(|rest| !rest.is_empty())
        && !arn.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    if fits { Ok(name.to_owned()) } else { Err(format!("Invalid streamArn {arn}")) }
}

/// Source: AWS SDK for Java 2.41 `ArnResource.fromString`: type, first `/` or `:`, name, second `/` or `:` of the
/// same kind.
fn resource_name(resource: &str) -> &str {
    let Some(separator) = resource.find(['/', ':']) else { return resource };
    let kind = if resource.as_bytes()[separator] == b'/' { '/' } else { ':' };
    let after = &resource[separator + 1..];
    after.split(kind).next().unwrap_or(after)
}
