//! Settings of the AWS SDK that the environment gives and every client reads at its start: refused here when they are
//! none, and the ones that this daemon honours.
//!
//! The Rust SDK would panic over some of them, over `legacy` for example, which the Java SDK takes.
//!
//! Source: AWS SDK for Java 2.41 `RetryMode.Resolver`, `SdkDefaultRetryStrategy`, `SystemSettingUtils`,
//! `DefaultsMode.fromValue`, `AccountIdEndpointModeResolver`; each row was run.

use super::environment::Defaults;
use super::report::{Report, Stage};
use super::values;

/// How the clients try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// `AWS_RETRY_MODE` is `adaptive`.
    pub is_adaptive: bool,
    /// `AWS_MAX_ATTEMPTS`; `None`: as many as the mode has.
    pub max_attempts: Option<u32>,
}

/// What a setting takes.
enum Takes {
    /// One of these words, in any case, and what Java says of another.
    Word(&'static [&'static str], fn(&str) -> String),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
}

/// Variable, system property, name in a profile.
struct Setting(&'static str, &'static str, &'static str, Takes);

const RETRY_MODE: Setting = Setting(
    "AWS_RETRY_MODE",
    "aws.retryMode",
    "retry_mode",
    Takes::Word(&["legacy", "standard", "adaptive"], |text| {
        format!("Unsupported retry policy mode configured: {text}")
    }),
);
/// The Java SDK does not read `max_attempts` of a profile.
const MAX_ATTEMPTS: Setting = Setting("AWS_MAX_ATTEMPTS", "aws.maxAttempts", "", Takes::Number);

/// Read by the Java SDK only.
const OTHERS: [Setting; 5] = [
    Setting("AWS_USE_FIPS_ENDPOINT", "aws.useFipsEndpoint", "use_fips_endpoint", Takes::Flag),
    Setting("AWS_USE_DUALSTACK_ENDPOINT", "aws.useDualstackEndpoint", "use_dualstack_endpoint", Takes::Flag),
    Setting(
        "AWS_DEFAULTS_MODE",
        "aws.defaultsMode",
        "",
        Takes::Word(&["legacy", "standard", "mobile", "cross-region", "in-region", "auto"], |text| {
            format!("The provided value is not a valid defaults mode {text}")
        }),
    ),
    Setting("AWS_DISABLE_REQUEST_COMPRESSION", "aws.disableRequestCompression", "", Takes::Flag),
    Setting(
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        "aws.accountIdEndpointMode",
        "",
        Takes::Word(&["preferred", "disabled", "required"], |text| {
            format!("Unrecognized value for account id endpoint mode: {text}")
        }),
    ),
];

/// Reads them; faults are those of the Java daemon, when it makes its clients.
pub(super) fn read(defaults: &Defaults<'_>, report: &mut Report) -> Retries {
    for setting in &OTHERS {
        let _checked = value_of(setting, defaults, report);
    }
    let mode = value_of(&RETRY_MODE, defaults, report);
    let attempts = value_of(&MAX_ATTEMPTS, defaults, report);
    Retries {
        is_adaptive: mode.is_some_and(|mode| mode.eq_ignore_ascii_case("adaptive")),
        max_attempts: attempts.and_then(|attempts| attempts.parse().ok()),
    }
}

/// The value of a setting if it is given and what it takes.
fn value_of<'a>(setting: &Setting, defaults: &'a Defaults<'_>, report: &mut Report) -> Option<&'a str> {
    let Setting(variable, property, in_profile, takes) = setting;
    let environment = defaults.environment;
    let given = environment.system_properties.get(*property).or_else(|| environment.variables.get(*variable));
    let text = values::trim(given.map(String::as_str).or_else(|| defaults.in_profile(in_profile))?);
    let named = if given.is_some() { format!("{variable} = {text}") } else { format!("{in_profile} = {text}") };
    let (expected, java) = match takes {
        Takes::Word(..) if text.is_empty() && *variable == RETRY_MODE.0 => return None,
        Takes::Word(words, _) if words.iter().any(|word| text.eq_ignore_ascii_case(word)) => return Some(text),
        Takes::Word(words, java) => (format!("one of {}", words.join(", ")), java(text)),
        Takes::Flag if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") => return Some(text),
        Takes::Flag => {
            let java = if given.is_some() {
                format!(
                    "Environment variable '{variable}' or system property '{property}' was defined as '{text}', but \
                     should be 'false' or 'true'"
                )
            } else {
                format!(
                    "Profile property '{in_profile}' must be set to 'true', 'false' or unset, but was set to '{text}'."
                )
            };
            ("true or false".to_owned(), java)
        }
        Takes::Number if values::int(text).is_some_and(|number| number > 0) => return Some(text),
        Takes::Number if values::int(text).is_some() => {
            let java = format!("Maximum attempts must be positive, but was {text} must be positive");
            ("a number of at least 1".to_owned(), java)
        }
        Takes::Number => ("a whole number".to_owned(), format!("For input string: \"{text}\"")),
    };
    let message = format!("`{named}` of the environment: expected {expected}; correct it or unset it");
    report.fault_java(Stage::Resolve, variable, message, java);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    /// What is made of variables: the retries, or Java's complaint.
    fn outcome(variables: &[(&str, &str)]) -> Result<Retries, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Environment { variables: variables.collect(), ..Environment::default() };
        let mut report = Report::default();
        let retries = read(&Defaults::without_profile(&environment), &mut report);
        match report.faults.pop() {
            None => Ok(retries),
            Some(fault) => Err(fault.java.unwrap_or_default()),
        }
    }

    #[test]
    fn what_the_java_sdk_takes_is_taken_and_what_it_refuses_is_refused() {
        let plain = Ok(Retries::default());
        let with = |max_attempts| Ok(Retries { max_attempts: Some(max_attempts), is_adaptive: false });
        let no = |java: &str| Err(java.to_owned());
        let table = [
            ("AWS_RETRY_MODE", "legacy", plain.clone()),
            ("AWS_RETRY_MODE", " Standard ", plain.clone()),
            ("AWS_RETRY_MODE", "", plain.clone()),
            ("AWS_RETRY_MODE", "adaptive", Ok(Retries { is_adaptive: true, max_attempts: None })),
            ("AWS_RETRY_MODE", "x", no("Unsupported retry policy mode configured: x")),
            ("AWS_MAX_ATTEMPTS", " 3 ", with(3)),
            ("AWS_MAX_ATTEMPTS", "x", no("For input string: \"x\"")),
            ("AWS_MAX_ATTEMPTS", "", no("For input string: \"\"")),
            ("AWS_MAX_ATTEMPTS", "0", no("Maximum attempts must be positive, but was 0 must be positive")),
            ("AWS_USE_FIPS_ENDPOINT", "TRUE", plain.clone()),
            (
                "AWS_USE_FIPS_ENDPOINT",
                "maybe",
                no(
                    "Environment variable 'AWS_USE_FIPS_ENDPOINT' or system property 'aws.useFipsEndpoint' was defined \
                    as 'maybe', but should be 'false' or 'true'",
                ),
            ),
            ("AWS_DEFAULTS_MODE", "Cross-Region", plain.clone()),
            ("AWS_DEFAULTS_MODE", "", no("The provided value is not a valid defaults mode ")),
            ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "zzz", no("Unrecognized value for account id endpoint mode: zzz")),
            ("AWS_STS_REGIONAL_ENDPOINTS", "x", plain),
        ];
        for (name, value, expected) in table {
            assert_eq!(outcome(&[(name, value)]), expected, "{name}={value}");
        }
    }

    #[test]
    fn a_system_property_is_stronger_than_the_variable() {
        let mut environment = Environment::from_variables([("AWS_MAX_ATTEMPTS", "x")]);
        environment.system_properties.insert("aws.maxAttempts".to_owned(), "7".to_owned());
        let mut report = Report::default();
        let retries = read(&Defaults::without_profile(&environment), &mut report);
        assert_eq!((retries.max_attempts, report.faults), (Some(7), Vec::new()));
    }
}
