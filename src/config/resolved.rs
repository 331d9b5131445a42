//! The values the Java daemon would run on, in the shape of the golden cases: what a file means, before any
//! difference of ours.
//!
//! Source: `expected.json` of the golden cases, made from daemon 3.5.1. Fields that no key reaches are left out.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::CredentialsProvider;
use super::lists::Tag;
use crate::types::InitialPosition;

/// Everything a file decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resolved {
    /// Command and thread pool.
    pub daemon: Daemon,
    /// What the file changed, by the name of the setting.
    pub multilang: BTreeMap<String, serde_json::Value>,
    /// The core configuration.
    pub resolved: Core,
    /// Region, endpoint and credentials of each client.
    pub clients: Clients,
}

/// Command and thread pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Daemon {
    /// Words of `executableName`.
    pub command: Vec<String>,
    /// `cached`, or `fixed:N`.
    pub thread_pool: String,
}

/// The core configuration objects.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Core {
    pub coordinator_config: CoordinatorConfig,
    pub lease_management_config: LeaseManagementConfig,
    pub lifecycle_config: LifecycleConfig,
    pub metrics_config: MetricsConfig,
    pub processor_config: ProcessorConfig,
    pub retrieval_config: RetrievalConfig,
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// `LATEST`, `TRIM_HORIZON` or `AT_TIMESTAMP`.
    pub position: &'static str,
    /// Only with `AT_TIMESTAMP`.
    pub timestamp_millis: Option<i64>,
}

impl From<InitialPosition> for Position {
    fn from(position: InitialPosition) -> Self {
        let (position, timestamp_millis) = match position {
            InitialPosition::Latest => ("LATEST", None),
            InitialPosition::TrimHorizon => ("TRIM_HORIZON", None),
            InitialPosition::AtTimestamp(moment) => ("AT_TIMESTAMP", Some(moment.0)),
        };
        Self { position, timestamp_millis }
    }
}

/// Settings of one of the two tables besides the lease table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Table {
    pub table_name: String,
    pub billing_mode: String,
    pub read_capacity: i64,
    pub write_capacity: i64,
    pub point_in_time_recovery_enabled: bool,
    pub deletion_protection_enabled: bool,
    pub tags: Vec<Tag>,
}

/// Coordinator.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct CoordinatorConfig {
    pub application_name: String,
    pub client_version_config: String,
    pub coordinator_state_table_config: Table,
    pub effective_table_migration_complete_bake_time_seconds: i64,
    pub migrate_all_entities_to_lease_table: bool,
    pub parent_shard_poll_interval_millis: i64,
    pub scheduler_initialization_backoff_time_millis: i64,
    pub skip_shard_sync_at_worker_initialization_if_leases_exist: bool,
    pub table_migration_complete_bake_time_seconds: i64,
}

/// Leases.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct LeaseManagementConfig {
    pub cleanup_leases_upon_shard_completion: bool,
    pub enable_priority_lease_assignment: bool,
    pub failover_time_millis: i64,
    pub graceful_lease_handoff_config: Handoff,
    pub ignore_unexpected_child_shards: bool,
    pub initial_lease_table_read_capacity: i64,
    pub initial_lease_table_write_capacity: i64,
    /// The lease object's own view; what counts is the stream's.
    pub initial_position_in_stream: Position,
    pub lease_assignment_interval_millis: i64,
    pub lease_table_deletion_protection_enabled: bool,
    pub lease_table_pitr_enabled: bool,
    pub lease_table_scan_total_segments: i64,
    pub list_shards_backoff_time_in_millis: i64,
    pub max_lease_renewal_threads: i64,
    pub max_leases_for_worker: i64,
    pub max_leases_to_steal_at_one_time: i64,
    pub max_list_shards_retry_attempts: i64,
    pub shard_sync_interval_millis: i64,
    pub table_name: String,
    pub worker_identifier: String,
    pub worker_utilization_aware_assignment_config: Balancing,
}

/// Graceful hand-off.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Handoff {
    pub graceful_lease_handoff_timeout_millis: i64,
    pub is_graceful_lease_handoff_enabled: bool,
}

/// Worker metrics and balancing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Balancing {
    pub allow_throughput_overshoot: bool,
    pub dampening_percentage: i64,
    pub disable_worker_metrics: bool,
    pub in_memory_worker_metrics_capture_frequency_millis: i64,
    #[serde(rename = "maxThroughputPerHostKBps", serialize_with = "real")]
    pub max_throughput_per_host_kbps: f64,
    pub no_of_persisted_metrics_per_worker_metrics: i64,
    pub re_balance_threshold_percentage: i64,
    pub stale_worker_metrics_entry_cleanup_duration: String,
    pub variance_balancing_frequency: i64,
    #[serde(rename = "workerMetricsEMAAlpha", serialize_with = "real")]
    pub worker_metrics_ema_alpha: f64,
    pub worker_metrics_reporter_freq_in_millis: i64,
    pub worker_metrics_table_config: Table,
}

/// Life cycle of a shard.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct LifecycleConfig {
    pub log_warning_for_task_after_millis: Option<i64>,
    pub task_backoff_time_millis: i64,
}

/// Metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct MetricsConfig {
    pub metrics_buffer_time_millis: i64,
    pub metrics_enabled_dimensions: Vec<String>,
    pub metrics_level: String,
    pub metrics_max_queue_size: i64,
    pub namespace: String,
}

/// The child.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct ProcessorConfig {
    pub call_process_records_even_for_empty_record_list: bool,
}

/// Reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct RetrievalConfig {
    pub application_name: String,
    pub retrieval_specific_config: Specific,
    pub stream_tracker: Tracker,
}

/// The two ways of reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub enum Specific {
    #[serde(rename = "PollingConfig")]
    Polling {
        idle_time_between_reads_in_millis: i64,
        max_get_records_thread_pool: Option<i64>,
        max_records: i64,
        millis_behind_latest_threshold_for_reduced_tps: i64,
        retry_get_records_in_seconds: Option<i64>,
        stream_name: String,
        use_polling_config_idle_time_value: bool,
    },
    #[serde(rename = "FanOutConfig")]
    FanOut {
        application_name: String,
        consumer_arn: Option<String>,
        consumer_name: Option<String>,
        max_describe_stream_consumer_retries: i64,
        max_describe_stream_summary_retries: i64,
        register_stream_consumer_retries: i64,
        retry_backoff_millis: i64,
        stream_name: String,
    },
}

/// The streams; always one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracker {
    /// That one.
    pub streams: [Stream; 1],
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Stream {
    pub stream_identifier: String,
    pub stream_name: String,
    pub initial_position: Position,
}

/// The three clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the keys of the golden cases and of CONFIGURATION section 6")]
pub struct Clients {
    pub kinesis: Client,
    pub dynamodb: Client,
    pub cloudwatch: Client,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// `None`: instance metadata is asked at run time.
    pub region: Option<String>,
    /// As given, even if it is empty.
    pub endpoint_override: Option<String>,
    /// Chain or single provider.
    #[serde(serialize_with = "credentials")]
    pub credentials: ClientCredentials,
}

/// Credentials of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// In the order in which they are asked.
    pub providers: Vec<CredentialsProvider>,
    /// Whether they stand in a chain; the bean form gives one without.
    pub is_chain: bool,
    /// What a profile provider without a name uses.
    pub default_profile: String,
}

/// Numbers that JSON does not have are written as words.
fn real<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    real_json(*value).serialize(serializer)
}

/// As JSON; `NaN`, `Infinity` and `-Infinity` as words.
pub(super) fn real_json(value: f64) -> serde_json::Value {
    if value.is_finite() {
        return value.into();
    }
    let word = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    word.into()
}

fn credentials<S: Serializer>(credentials: &ClientCredentials, serializer: S) -> Result<S::Ok, S::Error> {
    let provider = |provider| provider_json(provider, &credentials.default_profile);
    let mut providers = credentials.providers.iter().map(provider);
    let json = match providers.next() {
        Some(single) if !credentials.is_chain => single,
        first => {
            let all: Vec<_> = first.into_iter().chain(providers).collect();
            serde_json::json!({ "type": "AwsCredentialsProviderChain", "providers": all })
        }
    };
    json.serialize(serializer)
}

fn provider_json(provider: &CredentialsProvider, default_profile: &str) -> serde_json::Value {
    let plain = |name: &str| serde_json::json!({ "type": name });
    match provider {
        CredentialsProvider::Default => plain("DefaultCredentialsProvider"),
        CredentialsProvider::Environment => plain("EnvironmentVariableCredentialsProvider"),
        CredentialsProvider::SystemProperties => plain("SystemPropertyCredentialsProvider"),
        CredentialsProvider::InstanceProfile => plain("InstanceProfileCredentialsProvider"),
        CredentialsProvider::Container => plain("ContainerCredentialsProvider"),
        CredentialsProvider::WebIdentity => plain("WebIdentityTokenFileCredentialsProvider"),
        CredentialsProvider::Anonymous => plain("AnonymousCredentialsProvider"),
        CredentialsProvider::Profile(name) => serde_json::json!({
            "type": "ProfileCredentialsProvider",
            "profileName": name.as_deref().unwrap_or(default_profile),
        }),
        CredentialsProvider::AssumeRole { role_arn, session_name, external_id, region, endpoint } => {
            serde_json::json!({
                "type": "KclStsAssumeRoleCredentialsProvider",
                "roleArn": role_arn,
                "roleSessionName": session_name,
                "externalId": external_id,
                "durationSeconds": null,
                "stsRegion": region,
                "stsEndpointOverride": endpoint,
            })
        }
    }
}
