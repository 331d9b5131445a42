//! What the clients need to know of the environment besides the file: proxy, profile, metadata, `-D` credentials.
//!
//! Pure; nothing is contacted. Secrets never appear in logs.

use std::fmt;
use std::path::PathBuf;

use super::Environment;
use super::retries::Retries;

/// Settings of the SDK that come from system properties, and the proxy, which the SDK does not look up by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `-Daws.profile`; without it the SDK reads `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `-Daws.configFile`.
    pub config_file: Option<PathBuf>,
    /// `-Daws.sharedCredentialsFile`.
    pub credentials_file: Option<PathBuf>,
    /// `-Daws.accessKeyId`, `-Daws.secretAccessKey`, `-Daws.sessionToken`.
    pub keys: Option<Keys>,
    /// `-Daws.disableEc2Metadata`, `AWS_EC2_METADATA_DISABLED`.
    pub metadata_disabled: bool,
    /// Proxy of requests to `http` endpoints.
    pub http_proxy: Option<Proxy>,
    /// Proxy of requests to `https` endpoints.
    pub https_proxy: Option<Proxy>,
    /// `ECS_CONTAINER_METADATA_URI`: metadata of an older ECS agent.
    pub ecs_metadata_v3: Option<String>,
    /// `ECS_CONTAINER_METADATA_URI_V4`: metadata of our container and its task.
    pub ecs_metadata_v4: Option<String>,
    /// `AWS_CA_BUNDLE`: more certificate authorities, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// `AWS_RETRY_MODE`, `AWS_MAX_ATTEMPTS` and their like.
    pub retries: Retries,
}

/// Keys given as system properties.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Access key.
    pub id: String,
    /// Secret key.
    pub secret: String,
    /// Session token.
    pub token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// A proxy, who may be asked for what.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port`, without user.
    pub url: String,
    /// User and password.
    pub user: Option<(String, String)>,
    /// Hosts that are asked directly, separated by commas.
    pub not_for: String,
    /// The setting that names it.
    pub from: &'static str,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {})", self.url, self.from)
    }
}

/// Instance and container metadata: never through a proxy.
const METADATA: &str = "169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254,fd00:ec2::23";

/// One way to name a proxy.
enum Setting {
    /// Prefix of `.proxyHost`, `.proxyPort`, `.proxyUser`, `.proxyPassword`.
    Property(&'static str, &'static str),
    /// A variable with a URL.
    Variable(&'static str),
}

/// For `http` endpoints; strongest first.
///
/// Source: CLI.md section 4 (measured): for the reference the settings of `http` are those of every endpoint.
const FOR_HTTP: [Setting; 5] = [
    Setting::Property("http", "-Dhttp.proxyHost"),
    Setting::Variable("HTTP_PROXY"),
    Setting::Variable("http_proxy"),
    Setting::Variable("ALL_PROXY"),
    Setting::Variable("all_proxy"),
];

/// For `https` endpoints, before those of `http`. The reference ignores them.
const FOR_HTTPS: [Setting; 3] = [
    Setting::Property("https", "-Dhttps.proxyHost"),
    Setting::Variable("HTTPS_PROXY"),
    Setting::Variable("https_proxy"),
];

impl Surroundings {
    /// Reads them from a snapshot.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let property = |name: &str| environment.system_properties.get(name).filter(|value| !value.is_empty()).cloned();
        let keys = property("aws.accessKeyId").zip(property("aws.secretAccessKey"));
        let first = |settings: &[Setting]| settings.iter().find_map(|setting| proxy(setting, environment));
        let http_proxy = first(&FOR_HTTP);
        Self {
            profile: property("aws.profile").map(|name| name.trim().to_owned()),
            config_file: property("aws.configFile").map(PathBuf::from),
            credentials_file: property("aws.sharedCredentialsFile").map(PathBuf::from),
            keys: keys.map(|(id, secret)| Keys {
                id: id.trim().to_owned(),
                secret: secret.trim().to_owned(),
                token: property("aws.sessionToken").map(|token| token.trim().to_owned()),
            }),
            metadata_disabled: !environment.may_ask_instance_metadata(),
            https_proxy: first(&FOR_HTTPS).or_else(|| http_proxy.clone()),
            http_proxy,
            ecs_metadata_v3: environment.variable("ECS_CONTAINER_METADATA_URI").map(str::to_owned),
            ecs_metadata_v4: environment.variable("ECS_CONTAINER_METADATA_URI_V4").map(str::to_owned),
            ca_bundle: environment.variable("AWS_CA_BUNDLE").map(PathBuf::from),
            retries: Retries::default(), // needs the profile too
        }
    }
}

fn proxy(setting: &Setting, environment: &Environment) -> Option<Proxy> {
    let properties = &environment.system_properties;
    let (url, user, from) = match setting {
        Setting::Property(scheme, from) => {
            let value = |leaf: &str| properties.get(&format!("{scheme}.{leaf}")).filter(|value| !value.is_empty());
            let host = value("proxyHost")?;
            // Source: JDK 17 networking properties
            let port = value("proxyPort").map_or(if *scheme == "https" { "443" } else { "80" }, String::as_str);
            let user =
                value("proxyUser").cloned().map(|user| (user, value("proxyPassword").cloned().unwrap_or_default()));
            (format!("http://{host}:{port}"), user, *from)
        }
        Setting::Variable(name) => {
            let (url, user) = without_user(environment.variable(name)?.trim());
            (url, user, *name)
        }
    };
    Some(Proxy { url, user, not_for: exceptions(environment), from })
}

/// Splits `user:password@` off; a text without scheme is a host.
fn without_user(text: &str) -> (String, Option<(String, String)>) {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let rest = rest.trim_end_matches('/');
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            (format!("{scheme}://{host}"), Some((decoded(name), decoded(password))))
        }
        None => (format!("{scheme}://{rest}"), None),
    }
}

/// `%40` and its like.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `NO_PROXY` and `-Dhttp.nonProxyHosts` in one form, and the metadata addresses.
fn exceptions(environment: &Environment) -> String {
    let mut hosts = vec![METADATA.to_owned()];
    if let Some(list) = environment.system_properties.get("http.nonProxyHosts") {
        hosts.extend(list.split('|').map(|host| plain(host.trim())));
    }
    let variable = environment.variable("NO_PROXY").or_else(|| environment.variable("no_proxy"));
    if let Some(list) = variable {
        hosts.extend(list.split([',', '|']).map(|host| plain(host.trim())));
    }
    hosts.retain(|host| !host.is_empty());
    hosts.join(",")
}

/// `*.internal` becomes `.internal`, `10.*` a network; ports and brackets go.
fn plain(host: &str) -> String {
    if let Some(domain) = host.strip_prefix("*.") {
        return format!(".{domain}");
    }
    if let Some(begin) = host.strip_suffix(".*") {
        let parts: Vec<&str> = begin.split('.').collect();
        if parts.len() < 4 && parts.iter().all(|part| part.parse::<u8>().is_ok()) {
            let zeros = ".0".repeat(4 - parts.len());
            return format!("{begin}{zeros}/{}", parts.len() * 8);
        }
    }
    if let Some((address, _port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.to_owned();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name.to_owned(),
        Some(_) | None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &[(&str, &str)], variables: &[(&str, &str)]) -> Surroundings {
        let map = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (system_properties, variables) = (map(properties), map(variables));
        Surroundings::of(&Environment { variables, system_properties, strict: false })
    }

    fn urls(properties: &[(&str, &str)], variables: &[(&str, &str)]) -> [Option<String>; 2] {
        let found = of(properties, variables);
        [found.http_proxy, found.https_proxy].map(|proxy| proxy.map(|proxy| proxy.url))
    }

    #[test]
    fn the_settings_of_http_cover_https_and_those_of_https_are_taken_too() {
        let both = |url: &str| [Some(url.to_owned()), Some(url.to_owned())];
        let https = |url: &str| [None, Some(url.to_owned())];
        assert_eq!(urls(&[], &[]), [None, None]);
        assert_eq!(urls(&[], &[("HTTP_PROXY", "http://p:1")]), both("http://p:1"));
        assert_eq!(urls(&[], &[("http_proxy", "p:1/")]), both("http://p:1"));
        assert_eq!(urls(&[], &[("HTTPS_PROXY", "http://p:1")]), https("http://p:1"));
        assert_eq!(urls(&[], &[("ALL_PROXY", "http://p:1")]), both("http://p:1"));
        assert_eq!(urls(&[("http.proxyHost", "p")], &[("HTTP_PROXY", "http://q:1")]), both("http://p:80"));
        assert_eq!(urls(&[("https.proxyHost", "p"), ("https.proxyPort", "8")], &[]), https("http://p:8"));
        let different = urls(&[], &[("HTTP_PROXY", "http://p:1"), ("HTTPS_PROXY", "http://q:2")]);
        assert_eq!(different, [Some("http://p:1".to_owned()), Some("http://q:2".to_owned())]);
    }

    #[test]
    fn exceptions_of_both_forms_are_understood_and_metadata_is_one_of_them() {
        let proxy = of(
            &[("http.proxyHost", "p"), ("http.nonProxyHosts", "localhost|127.*|*.internal|[::1]")],
            &[("NO_PROXY", "a.b, .c:8080,10.0.0.0/8")],
        );
        let wanted = format!("{METADATA},localhost,127.0.0.0/8,.internal,::1,a.b,.c,10.0.0.0/8");
        assert_eq!(proxy.http_proxy.unwrap().not_for, wanted);
    }

    #[test]
    fn a_password_is_split_off_and_never_shown() {
        let proxy = of(&[], &[("HTTP_PROXY", "http://me:s%40fe@p:1")]).http_proxy.unwrap();
        assert_eq!(proxy.user, Some(("me".to_owned(), "s@fe".to_owned())));
        assert_eq!(format!("{proxy:?}"), "http://p:1 (from HTTP_PROXY)");
        let keys = of(&[("aws.accessKeyId", "AKIA"), ("aws.secretAccessKey", "hush")], &[]).keys.unwrap();
        assert_eq!(format!("{keys:?}"), "Keys(…)");
    }
}
