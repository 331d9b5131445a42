//! What the daemon was started with besides the file: a snapshot, so that loading is a function of its input.

use std::collections::BTreeMap;

use super::profile::{self, Profile};
use super::{region, values};

/// Environment variables, `-D` system properties and flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// System properties (`-Dname=value`), when started in the place of `java`.
    pub system_properties: BTreeMap<String, String>,
    /// `--strict` was given: as `multilangd.compatibility = strict`, and stronger than the file.
    pub strict: bool,
}

impl Environment {
    /// Takes the variables of this process; those that are no UTF-8 are left out.
    #[must_use]
    pub fn from_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// Takes these variables and nothing else.
    #[must_use]
    pub fn from_variables<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// The value of a variable, if it is there and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Name of the profile in use.
    #[must_use]
    pub fn profile_name(&self) -> &str {
        let property = self.system_properties.get("aws.profile");
        property.or_else(|| self.variables.get("AWS_PROFILE")).map_or("default", |name| values::trim(name))
    }

    /// Whether instance metadata may still tell the region at run time.
    ///
    /// Source: AWS SDK for Java 2.41 `InstanceProfileRegionProvider`.
    #[must_use]
    pub fn may_ask_instance_metadata(&self) -> bool {
        let disabled = self.system_properties.get("aws.disableEc2Metadata").map(String::as_str);
        !disabled.or_else(|| self.variable("AWS_EC2_METADATA_DISABLED")).is_some_and(|v| v.eq_ignore_ascii_case("true"))
    }

    /// What this snapshot tells the clients.
    ///
    /// # Errors
    /// A profile file that the SDK refuses.
    pub(super) fn defaults(&self) -> Result<Defaults<'_>, String> {
        let profile = profile::load(self)?;
        let property = self.system_properties.get("aws.region").map(|region| (region.as_str(), "-Daws.region"));
        let variable = || self.variable("AWS_REGION").map(|region| (region, "AWS_REGION"));
        let given = property.or_else(variable).map(|(region, from)| (values::trim(region), from));
        let given = given.filter(|(region, _)| !values::is_blank(region));
        let found = given.or_else(|| profile.property("region").map(|region| (region, PROFILE)));
        let (region, region_from) = found.map(|(region, from)| (region::encode(region), from)).unzip();
        Ok(Defaults { environment: self, region, region_from, profile })
    }
}

/// Where a value of the shared AWS files comes from, for messages.
const PROFILE: &str = "the profile";

/// What the environment says where the file is silent.
pub(super) struct Defaults<'a> {
    /// Besides variables.
    pub(super) environment: &'a Environment,
    /// The region, without instance metadata. `AWS_DEFAULT_REGION` is not read.
    pub(super) region: Option<String>,
    /// The setting that it comes from.
    pub(super) region_from: Option<&'static str>,
    profile: Profile,
}

impl<'a> Defaults<'a> {
    /// When the profile cannot be read.
    pub(super) fn without_profile(environment: &'a Environment) -> Self {
        Self { environment, region: None, region_from: None, profile: Profile::default() }
    }

    /// A setting of the profile in use.
    pub(super) fn in_profile(&self, name: &str) -> Option<&str> {
        self.profile.property(name)
    }

    /// Endpoint of a service: its own setting beats the general one, variables beat the profile.
    ///
    /// An empty variable counts, as in Java. Source: CONFIGURATION section 9, case `endpoint-env`.
    pub(super) fn endpoint(&self, service: &str) -> Option<&str> {
        self.endpoint_and_source(service).map(|(endpoint, _)| endpoint)
    }

    /// As [`Defaults::endpoint`], with the setting that it comes from.
    pub(super) fn endpoint_and_source(&self, service: &str) -> Option<(&str, String)> {
        // `aws.endpointUrlDynamoDb`: the service in the spelling of its class, which has capitals inside
        let property = |name: String| {
            let mut properties = self.environment.system_properties.iter();
            let (name, value) = properties.find(|(given, _)| given.eq_ignore_ascii_case(&name))?;
            Some((values::trim(value), format!("-D{name}")))
        };
        let variable = |name: String| {
            let value = self.environment.variables.get(&name)?;
            Some((values::trim(value), name))
        };
        let in_profile = || self.profile.endpoint(&service.to_ascii_lowercase()).map(|url| (url, PROFILE.to_owned()));
        property(format!("aws.endpointUrl{service}"))
            .or_else(|| variable(format!("AWS_ENDPOINT_URL_{service}")))
            .or_else(|| property("aws.endpointUrl".to_owned()))
            .or_else(|| variable("AWS_ENDPOINT_URL".to_owned()))
            .or_else(in_profile)
    }
}
