//! From the text of a credentials key to a chain of providers, as the reference builds it.
//!
//! Arguments of a provider may be secret and never appear in a message.
//!
//! Source: CONFIGURATION section 5; daemon 3.5.1 `AwsCredentialsProviderPropertyValueDecoder`,
//! `KclStsAssumeRoleCredentialsProvider`, `NestedPropertyKey`.

use super::environment::Defaults;
use super::report::{Report, Stage};
use super::values::{split, trim};
use super::{CredentialsProvider, region, uri};

/// What one credentials key gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) providers: Vec<CredentialsProvider>,
    /// False for the bean form, which gives one provider without a chain around it.
    pub(super) is_chain: bool,
}

const SDK: &str = "software.amazon.awssdk.auth.credentials.";
const KCL_ROLE: &str = "software.amazon.kinesis.multilang.auth.KclStsAssumeRoleCredentialsProvider";
const SDK_ROLE: &str = "software.amazon.awssdk.services.sts.auth.StsAssumeRoleCredentialsProvider";

/// Decodes the value of `key`; `None` means that no provider could be built, which is fatal.
///
/// Names of the SDK 1.x count only outside strict mode, and only when nothing else is left: a file that works
/// with the reference keeps its identity.
pub(super) fn decode(
    key: &str,
    value: &str,
    defaults: &Defaults<'_>,
    strict: bool,
    report: &mut Report,
) -> Option<Chosen> {
    let members: Vec<&str> = value.split(',').map(trim).filter(|member| !member.is_empty()).collect();
    let mut providers = Vec::new();
    let mut old = Vec::new();
    let mut dropped = Vec::new();
    for member in members {
        let parts = split(member, '|');
        let (name, arguments) = parts.split_first().map_or(("", &[][..]), |(name, rest)| (*name, rest));
        if let Some(provider) = build(key, name, arguments, defaults, report) {
            providers.push(provider);
            continue;
        }
        let successors = old_generation(key, name, arguments, defaults, report);
        dropped.push((name.to_owned(), !successors.is_empty()));
        old.extend(successors);
    }
    let rescued = providers.is_empty() && !strict && !old.is_empty();
    if rescued {
        providers = old;
    }
    for (name, is_old) in dropped {
        report.warn(key, about_dropped(key, &name, is_old, rescued, providers.is_empty()));
    }
    if providers.is_empty() {
        report.warn(
            key,
            format!("`{key}`: Please verify that all AwsCredentialsProvider properties are passed correctly"),
        );
        return None;
    }
    Some(Chosen { providers, is_chain: true })
}

fn about_dropped(key: &str, name: &str, is_old: bool, rescued: bool, none_left: bool) -> String {
    if is_old && rescued {
        return format!(
            "`{key}`: `{name}` is a name of the SDK 1.x, its successor is used; the Java daemon 3.x refuses it, write the new name"
        );
    }
    let what = if none_left { "Unable to construct any provider with name" } else { "left out of the chain:" };
    let why = if is_old {
        "a name of the SDK 1.x; write its successor"
    } else if name.contains("StaticCredentialsProvider") || name.contains("ProcessCredentialsProvider") {
        "keys and commands cannot be given here; put them into a profile (`credential_process`) and use ProfileCredentialsProvider|NAME"
    } else if name.contains("AssumeRole") {
        "it needs a role ARN, a session name and a region (`endpointRegion=…`, AWS_REGION or a profile; regionName does not count)"
    } else {
        "no such provider here; classes of your own cannot be loaded, use `credential_process` in a profile"
    };
    format!("`{key}`: {what} {name} ({why})")
}

/// Builds a provider of the SDK 2.x or of the daemon.
fn build(
    key: &str,
    name: &str,
    arguments: &[&str],
    defaults: &Defaults<'_>,
    report: &mut Report,
) -> Option<CredentialsProvider> {
    if matches!(name, "KclStsAssumeRoleCredentialsProvider" | "StsAssumeRoleCredentialsProvider" | KCL_ROLE | SDK_ROLE)
    {
        return role(key, arguments, defaults, report);
    }
    plain(name.strip_prefix(SDK).unwrap_or(name), arguments)
}

/// Surplus arguments fall through to the form without arguments.
fn plain(name: &str, arguments: &[&str]) -> Option<CredentialsProvider> {
    Some(match name {
        "DefaultCredentialsProvider" => CredentialsProvider::Default,
        "EnvironmentVariableCredentialsProvider" => CredentialsProvider::Environment,
        "SystemPropertyCredentialsProvider" => CredentialsProvider::SystemProperties,
        "ProfileCredentialsProvider" => match arguments {
            [profile] => CredentialsProvider::Profile(Some((*profile).to_owned())),
            _ => CredentialsProvider::Profile(None),
        },
        "InstanceProfileCredentialsProvider" => CredentialsProvider::InstanceProfile,
        "ContainerCredentialsProvider" => CredentialsProvider::Container,
        "WebIdentityTokenFileCredentialsProvider" => CredentialsProvider::WebIdentity,
        "AnonymousCredentialsProvider" => CredentialsProvider::Anonymous,
        _ => return None,
    })
}

fn role(key: &str, arguments: &[&str], defaults: &Defaults<'_>, report: &mut Report) -> Option<CredentialsProvider> {
    let [role_arn, session_name, nested @ ..] = arguments else { return None };
    let (mut external_id, mut sts_region) = (None, None);
    let mut endpoint = defaults.endpoint("STS").map(str::to_owned);
    for parameter in nested {
        match split(parameter, '=')[..] {
            ["endpointRegion", name] => {
                sts_region = Some(region::KNOWN.iter().find(|known| **known == name)?.to_string());
            }
            ["endpoint", value] => {
                let [address, signing] = split(value, '^')[..] else { return None };
                let has_scheme = address.starts_with("http://") || address.starts_with("https://");
                let address = if has_scheme { address.to_owned() } else { format!("https://{address}") };
                uri::scheme(&address).ok()??;
                (endpoint, sts_region) = (Some(address), Some(region::without_fips(&region::encode(signing))));
            }
            ["externalId", id] => external_id = Some(id.to_owned()),
            [name, _] => report.warn(key, format!("`{key}`: Unsupported nested key: {name}=… (known are endpointRegion, endpoint, externalId; remove it)")),
            [name, _, _, ..] => report.warn(key, format!("`{key}`: Malformed nested key: {name}=… (a value must not contain `=`; it is lost)")),
            _ => report.warn(key, format!("`{key}`: a parameter after the session name has no value and is left out")),
        }
    }
    let region = sts_region.or_else(|| defaults.region.clone());
    match &region {
        Some(region) if endpoint.is_none() && !region::fits_host(region) => return None,
        None if !defaults.environment.may_ask_instance_metadata() => return None,
        Some(_) | None => {}
    }
    let (role_arn, session_name) = ((*role_arn).to_owned(), (*session_name).to_owned());
    Some(CredentialsProvider::AssumeRole { role_arn, session_name, external_id, region, endpoint })
}

/// The successors of a name of the SDK 1.x or of the KCL 1.x; empty if it is none.
fn old_generation(
    key: &str,
    name: &str,
    arguments: &[&str],
    defaults: &Defaults<'_>,
    report: &mut Report,
) -> Vec<CredentialsProvider> {
    const PREFIXES: [&str; 3] = [
        "com.amazonaws.auth.",
        "com.amazonaws.services.kinesis.multilang.auth.",
        // of KCL 2.0 to 2.6, which still had the SDK 1.x
        "software.amazon.kinesis.multilang.auth.",
    ];
    let short = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    match short {
        "DefaultAWSCredentialsProviderChain" => vec![CredentialsProvider::Default],
        "SystemPropertiesCredentialsProvider" => vec![CredentialsProvider::SystemProperties],
        "EC2ContainerCredentialsProviderWrapper" => {
            vec![CredentialsProvider::Container, CredentialsProvider::InstanceProfile]
        }
        "WebIdentityTokenCredentialsProvider" => vec![CredentialsProvider::WebIdentity],
        "STSAssumeRoleSessionCredentialsProvider" | "KclSTSAssumeRoleSessionCredentialsProvider" => {
            role(key, arguments, defaults, report).into_iter().collect()
        }
        "EnvironmentVariableCredentialsProvider"
        | "InstanceProfileCredentialsProvider"
        | "ContainerCredentialsProvider" => plain(short, &[]).into_iter().collect(),
        "profile.ProfileCredentialsProvider" => plain("ProfileCredentialsProvider", arguments).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a member is nothing but bars: it has no name, and the reference stumbles over it.
///
/// Source: daemon 3.5.1 `AwsCredentialsProviderPropertyValueDecoder`, `String.split` leaves no piece of such a text.
pub(super) fn has_nameless(value: &str) -> bool {
    value.split(',').map(trim).any(|member| !member.is_empty() && split(member, '|').is_empty())
}

/// Decodes the bean form `….class = NAME`, in which bars mean nothing.
///
/// # Errors
/// When and how the reference fails; some classes are there, but cannot be built without settings.
pub(super) fn decode_bean(name: &str) -> Result<Chosen, (Stage, String)> {
    let short = name.strip_prefix(SDK).unwrap_or(name);
    let late = match short {
        "StaticCredentialsProvider" => "Credentials must not be null.",
        "ProcessCredentialsProvider" => "command must not be null.",
        "AwsCredentialsProviderChain" => "No credential providers were specified.",
        SDK_ROLE => "STS client must not be null.",
        _ => "",
    };
    if !late.is_empty() {
        return Err((Stage::Resolve, late.to_owned()));
    }
    let provider = plain(short, &[]).ok_or_else(|| {
        let prefix = SDK.trim_end_matches('.');
        let name = name.split('|').next().unwrap_or_default(); // what follows may be secret
        (Stage::Load, format!("Unable to load class {name}. Attempted: ({name}, {prefix}.{name}, {prefix}${name})"))
    })?;
    Ok(Chosen { providers: vec![provider], is_chain: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_no_provider_is_refused() {
        for name in ["AwsCredentialsProvider", "HttpCredentialsProvider", "java.lang.String", "AwsBasicCredentials"] {
            let (stage, java) = decode_bean(name).unwrap_err();
            assert_eq!(stage, Stage::Load, "{name}");
            assert!(java.starts_with(&format!("Unable to load class {name}.")), "{java}");
        }
        let provider = vec![CredentialsProvider::Default];
        assert_eq!(decode_bean("DefaultCredentialsProvider"), Ok(Chosen { providers: provider, is_chain: false }));
    }
}
