//! Every setting with its effective value and where the value comes from; for `multilangd check` and the log.
//!
//! Shows no secrets: of credentials only the names of the providers.

use std::fmt;

use serde_json::{Value as Json, json};

use super::bean::{Bean, Value};
use super::environment::Defaults;
use super::keys::{Honoured, KEYS, Key, Kind};
use super::resolved::{Client, Resolved};
use super::{Config, CredentialsProvider, Retrieval};

mod own;

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key by which it is set.
    pub key: &'static str,
    /// What the daemon runs on; null: nothing is set, or the way of reading does not use it.
    pub value: Json,
    /// Where that comes from.
    pub origin: Origin,
    /// Whether it changes what this daemon does.
    pub honoured: Honoured,
    /// What it is about, in one line.
    pub help: &'static str,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The properties file, under this key.
    File(String),
    /// A variable, a system property or the profile.
    Environment(String),
    /// What happens when nothing is said.
    Default,
}

impl Origin {
    /// `file`, `environment` or `default`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
            Self::Default => "default",
        }
    }

    /// The key or variable.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::File(name) | Self::Environment(name) => Some(name),
            Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

/// What the values are looked up in.
struct Values<'a> {
    bean: &'a Bean,
    config: &'a Config,
    resolved: &'a Resolved,
    json: Json,
}

/// Lists all settings, in the order of the documentation, aliases left out.
pub(super) fn settings(
    entries: &[(String, String)],
    bean: &Bean,
    (config, resolved): (&Config, &Resolved),
    defaults: &Defaults<'_>,
) -> Vec<Setting> {
    let json = serde_json::to_value(&resolved.resolved).unwrap_or_default();
    let values = Values { bean, config, resolved, json };
    let is_alias = |index: usize, key: &Key| KEYS[..index].iter().any(|other| other.field == key.field);
    let shown = KEYS.iter().enumerate().filter(|(index, key)| !is_alias(*index, key) && key.kind != Kind::Impossible);
    let mut settings: Vec<Setting> = shown
        .map(|(_, key)| Setting {
            key: key.name,
            value: values.of(key),
            origin: origin(key, &values, defaults, entries),
            honoured: key.honoured,
            help: key.help,
        })
        .collect();
    settings.extend(own::settings(config, defaults, entries));
    settings
}

fn origin(key: &Key, values: &Values<'_>, defaults: &Defaults<'_>, entries: &[(String, String)]) -> Origin {
    let bean = values.bean;
    let in_file = |name: &str| entries.iter().any(|(entry, _)| entry == name).then(|| name.to_owned());
    let spelled = match key.name {
        "regionName" => bean.spelled.get("kinesisClient.region").cloned(),
        // the reference reads these two from the entries themselves
        "executableName" | "maxActiveThreads" => in_file(key.name),
        _ => bean.spelled.get(key.field).cloned(),
    };
    match spelled {
        Some(name) if !is_unset(key, bean) => return Origin::File(name),
        Some(_) | None => {}
    }
    let service = match key.field {
        "kinesisClient.endpointOverride" => "KINESIS",
        "dynamoDbClient.endpointOverride" => "DYNAMODB",
        "cloudWatchClient.endpointOverride" => "CLOUDWATCH",
        _ if key.kind == Kind::Region => {
            return defaults.region_from.map_or(Origin::Default, |from| Origin::Environment(from.to_owned()));
        }
        _ => return Origin::Default,
    };
    defaults.endpoint_and_source(service).map_or(Origin::Default, |(_, from)| Origin::Environment(from))
}

/// A value that counts as none: the default is used all the same.
fn is_unset(key: &Key, bean: &Bean) -> bool {
    let boxed = matches!(key.kind, Kind::BoxedInt | Kind::BoxedLong | Kind::BoxedBool);
    let grace = key.name == "shutdownGraceMillis"; // 0 in the file is 0
    match bean.fields.get(key.field) {
        Some(Value::Number(0)) => !boxed && !grace,
        Some(Value::Real(real)) => *real == 0.0,
        Some(_) | None => false,
    }
}

impl Values<'_> {
    fn of(&self, key: &Key) -> Json {
        let clients = &self.resolved.clients;
        match key.name {
            "executableName" => json!(self.config.command.join(" ")),
            "applicationName" => json!(self.config.application_name),
            "streamName" => json!(self.config.stream_name),
            "workerIdentifier" => json!(self.config.worker_id.as_str()),
            "tableName" => json!(self.config.table_name),
            "regionName" => json!(clients.kinesis.region),
            "maxActiveThreads" => json!(self.resolved.daemon.thread_pool),
            "shutdownGraceMillis" => millis(self.config.processing.shutdown_grace),
            "timeoutInSeconds" => json!(self.config.processing.child_timeout.map(|limit| limit.as_secs())),
            "retrievalMode" => json!(match self.config.retrieval {
                Retrieval::Polling(_) => "POLLING",
                Retrieval::FanOut(_) => "FANOUT",
            }),
            "initialPositionInStream" => {
                json!(self.resolved.resolved.retrieval_config.stream_tracker.streams[0].initial_position)
            }
            _ => self.of_client(key).unwrap_or_else(|| self.of_core(key)),
        }
    }

    fn of_client(&self, key: &Key) -> Option<Json> {
        let clients = &self.resolved.clients;
        let client: &Client = match key.field.split(['.', 'C']).next().unwrap_or_default() {
            "kinesis" => &clients.kinesis,
            "dynamoDb" | "dynamoDB" => &clients.dynamodb,
            "cloudWatch" | "cloud" => &clients.cloudwatch,
            _ => return None,
        };
        if key.kind == Kind::Region {
            Some(json!(client.region))
        } else if key.kind == Kind::Uri {
            Some(json!(client.endpoint_override))
        } else if key.kind == Kind::Credentials {
            Some(json!(client.credentials.providers.iter().map(provider).collect::<Vec<_>>()))
        } else {
            None
        }
    }

    fn of_core(&self, key: &Key) -> Json {
        let leaf = key.name.rsplit('.').next().unwrap_or_default();
        let table = |prefix: &str, parent: &str, name: &str| {
            let rest = leaf.strip_prefix(prefix)?;
            let lower = format!("{}{}", rest.get(..1)?.to_ascii_lowercase(), rest.get(1..)?);
            find(self.json.get(parent)?, name)?.get(&lower).cloned()
        };
        let in_table = table("coordinatorState", "coordinatorConfig", "coordinatorStateTableConfig")
            .or_else(|| table("workerMetrics", "leaseManagementConfig", "workerMetricsTableConfig"));
        let in_core = || find(&self.json, leaf).cloned();
        let in_file = || self.bean.fields.get(key.field).map(plain);
        in_table.or_else(in_core).or_else(in_file).unwrap_or_else(|| default(key))
    }
}

/// The default as the table of keys tells it, where that is a value and no explanation.
fn default(key: &Key) -> Json {
    serde_json::from_str(key.default).unwrap_or_default()
}

fn millis(duration: std::time::Duration) -> Json {
    json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The value of a name, wherever it stands.
fn find<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    let object = json.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inside| find(inside, name)))
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Number(number) => json!(number),
        Value::Real(real) => json!(real),
        Value::Flag(flag) => json!(flag),
        Value::Text(text) => json!(text),
        Value::Tags(tags) => json!(tags),
        Value::Names(names) => json!(names),
        Value::Position(_) | Value::Providers(_) => Json::Null,
    }
}

/// Name of a provider. What else the file says about it may be secret.
fn provider(provider: &CredentialsProvider) -> &'static str {
    match provider {
        CredentialsProvider::Default => "DefaultCredentialsProvider",
        CredentialsProvider::Environment => "EnvironmentVariableCredentialsProvider",
        CredentialsProvider::SystemProperties => "SystemPropertyCredentialsProvider",
        CredentialsProvider::Profile(None) => "ProfileCredentialsProvider",
        CredentialsProvider::Profile(Some(_)) => "ProfileCredentialsProvider|…",
        CredentialsProvider::InstanceProfile => "InstanceProfileCredentialsProvider",
        CredentialsProvider::Container => "ContainerCredentialsProvider",
        CredentialsProvider::WebIdentity => "WebIdentityTokenFileCredentialsProvider",
        CredentialsProvider::Anonymous => "AnonymousCredentialsProvider",
        CredentialsProvider::AssumeRole { .. } => "KclStsAssumeRoleCredentialsProvider|…",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::own::BUFFER_BYTES;
    use crate::config::{Environment, load_bytes};

    const BASE: &str = "executableName = app.py\nstreamName = stream1\napplicationName = app1\n\
                        AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn|me|externalId=hush|endpointRegion=us-east-1\n";

    fn listed(lines: &str, variables: &[(&str, &str)], properties: &[(&str, &str)]) -> Vec<Setting> {
        let map = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut environment =
            Environment { variables: map(variables), system_properties: map(properties), strict: false };
        environment.variables.insert("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned());
        load_bytes(format!("{BASE}{lines}\n").as_bytes(), Path::new("x"), &environment).unwrap().settings
    }

    fn one(lines: &str, variables: &[(&str, &str)], properties: &[(&str, &str)], key: &str) -> (String, String) {
        let settings = listed(lines, variables, properties);
        let setting = settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no {key}"));
        (setting.value.to_string(), setting.origin.to_string())
    }

    #[test]
    fn each_value_tells_where_it_comes_from() {
        let region = [("AWS_REGION", "eu-west-1")];
        let table: [(&str, &str, &str, &str); 14] = [
            ("", "failoverTimeMillis", "10000", "default"),
            ("failoverTimeMillis = 7", "failoverTimeMillis", "7", "file (failoverTimeMillis)"),
            ("failoverTimeMillis = abc", "failoverTimeMillis", "10000", "default"),
            ("failoverTimeMillis = 7", "leaseAssignmentIntervalMillis", "14", "default"),
            ("workerId = w1", "workerIdentifier", "\"w1\"", "file (workerId)"),
            ("", "tableName", "\"app1\"", "default"),
            ("", "regionName", "\"eu-west-1\"", "environment (AWS_REGION)"),
            ("regionName = us-east-1", "regionName", "\"us-east-1\"", "file (regionName)"),
            ("", "shutdownGraceMillis", "8000", "default"),
            ("shutdownGraceMillis = 0", "shutdownGraceMillis", "0", "file (shutdownGraceMillis)"),
            ("pollingConfig.maxRecords = 5", "maxRecords", "5", "file (pollingConfig.maxRecords)"),
            ("maxRecords = 5", "retrievalMode", "\"POLLING\"", "default"),
            ("coordinatorStateTableName = t", "coordinatorStateTableName", "\"t\"", "file (coordinatorStateTableName)"),
            ("", "workerMetricsTableName", "\"app1-WorkerMetricStats\"", "default"),
        ];
        for (lines, key, value, origin) in table {
            assert_eq!(one(lines, &region, &[], key), (value.to_owned(), origin.to_owned()), "{lines} {key}");
        }
    }

    #[test]
    fn the_environment_is_named() {
        let endpoint =
            [("AWS_REGION", "x-1"), ("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_KINESIS", "http://k")];
        let wanted = |value: &str, origin: &str| (format!("\"{value}\""), origin.to_owned());
        let key = |key: &str| one("", &endpoint, &[("aws.region", "y-1")], key);
        assert_eq!(key("kinesisEndpoint"), wanted("http://k", "environment (AWS_ENDPOINT_URL_KINESIS)"));
        assert_eq!(key("dynamoDBEndpoint"), wanted("http://a", "environment (AWS_ENDPOINT_URL)"));
        assert_eq!(key("regionName"), wanted("y-1", "environment (-Daws.region)"));
    }

    #[test]
    fn secrets_are_not_shown_and_every_key_has_a_value_or_none() {
        let settings = listed("", &[("AWS_REGION", "eu-west-1")], &[]);
        let shown: String = settings.iter().map(|setting| format!("{}\n", setting.value)).collect();
        assert!(!shown.contains("hush") && shown.contains("KclStsAssumeRoleCredentialsProvider|…"), "{shown}");
        let mut keys: Vec<_> = settings.iter().map(|setting| setting.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), settings.len());
        for setting in &settings {
            let has_none = ["none", "required unless streamArn", "of the region"].contains(&default_of(setting.key));
            let unused = ["maxRecords", "idleTimeBetweenReadsInMillis", "millisBehindLatestThresholdForReducedTps"];
            let at_run_time = setting.key == BUFFER_BYTES;
            assert!(
                !setting.value.is_null()
                    || has_none
                    || at_run_time
                    || unused.contains(&setting.key)
                    || setting.key.starts_with("multilangd.deadLetter")
                    || setting.key.contains("onsumer"),
                "{} has no value",
                setting.key
            );
        }
    }

    fn default_of(key: &str) -> &'static str {
        KEYS.iter().find(|known| known.name == key).map_or("", |known| known.default)
    }
}
