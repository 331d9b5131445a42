//! From the text of a file to the configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::*;
use crate::types::EpochMillis;

/// A usable configuration and what was odd on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the daemon runs on.
    pub config: Config,
    /// Every oddity, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// Reads the file at `path`.
///
/// # Errors
/// All faults of the file at once.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, LoadError> {
    let fail = |message: String| LoadError {
        faults: vec![Fault { stage: Stage::Load, key: None, message }],
        warnings: vec![],
    };
    let bytes = std::fs::read(path).map_err(|error| {
        fail(format!("Error while reading properties file: Unable to find property file in classpath, or file system: '{}' ({error})", path.display()))
    })?;
    let entries: BTreeMap<String, String> =
        properties::parse(&bytes).map_err(|e| fail(e.to_string()))?.into_iter().collect();
    minimal(path, &entries, environment).map_err(fail)
}

fn number<T: FromStr + Default + PartialEq>(entries: &BTreeMap<String, String>, key: &str, default: T) -> T {
    let value = entries.get(key).and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    if value == T::default() { default } else { value }
}

fn minimal(path: &Path, entries: &BTreeMap<String, String>, environment: &Environment) -> Result<Loaded, String> {
    let text = |key: &str| entries.get(key).filter(|value| !value.is_empty()).cloned();
    let millis = |key: &str, default: u64| Duration::from_millis(number(entries, key, default));
    let yes = |key: &str| entries.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let no = |key: &str| entries.get(key).is_some_and(|value| !value.eq_ignore_ascii_case("true"));
    let executable = text("executableName")
        .ok_or("Must provide an executable name in the properties file, e.g. executableName = sampleapp.py")?;
    let application_name = text("applicationName").ok_or("Application name is required")?;
    let stream_name = text("streamName")
        .ok_or("Stream name or Stream Arn is required. Stream Arn takes precedence if both are passed in.")?;
    let polling = ["maxRecords", "idleTimeBetweenReadsInMillis"].iter().any(|key| number(entries, key, 0) != 0_u64);
    let mode = text("retrievalMode").unwrap_or_default().to_uppercase();
    let retrieval = if mode == "POLLING" || (polling && mode != "FANOUT") {
        Retrieval::Polling(Polling {
            max_records: number(entries, "maxRecords", 10_000),
            idle: millis("idleTimeBetweenReadsInMillis", 1_500).max(Duration::from_millis(200)),
            reduced_tps_threshold: millis("millisBehindLatestThresholdForReducedTps", 0),
        })
    } else {
        Retrieval::FanOut(FanOut {
            consumer_arn: text("fanoutConfig.consumerArn"),
            consumer_name: text("fanoutConfig.consumerName").unwrap_or_else(|| application_name.clone()),
            max_describe_stream_summary_retries: number(entries, "fanoutConfig.maxDescribeStreamSummaryRetries", 10),
            max_describe_stream_consumer_retries: number(entries, "fanoutConfig.maxDescribeStreamConsumerRetries", 10),
            register_stream_consumer_retries: number(entries, "fanoutConfig.registerStreamConsumerRetries", 10),
            retry_backoff: millis("fanoutConfig.retryBackoffMillis", 1_000),
        })
    };
    let region = text("regionName").or_else(|| environment.variable("AWS_REGION").map(str::to_owned));
    let provider = vec![CredentialsProvider::Default];
    let failover = number(entries, "failoverTimeMillis", 10_000_u64);
    let position = match text("initialPositionInStream").unwrap_or_default().as_str() {
        "TRIM_HORIZON" => InitialPosition::TrimHorizon,
        _ => InitialPosition::Latest,
    };
    let position = text("initialPositionInStreamExtended")
        .and_then(|text| text.parse().ok())
        .map_or(position, |seconds: i64| InitialPosition::AtTimestamp(EpochMillis(seconds.saturating_mul(1_000))));
    let config = Config {
        command: executable.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        table_name: text("tableName").unwrap_or_else(|| application_name.clone()),
        application_name,
        stream_name,
        worker_id: WorkerId::new(
            text("workerId").or_else(|| text("workerIdentifier")).unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        ),
        dynamodb_region: region.clone(),
        cloudwatch_region: region.clone(),
        region,
        kinesis_endpoint: text("kinesisEndpoint"),
        dynamodb_endpoint: text("dynamoDBEndpoint"),
        cloudwatch_endpoint: text("cloudWatchClient.endpointOverride"),
        credentials: Credentials { kinesis: provider.clone(), dynamodb: provider.clone(), cloudwatch: provider },
        initial_position: position,
        retrieval,
        coordination: Coordination {
            failover_time: Duration::from_millis(failover),
            lease_assignment_interval: millis("leaseAssignmentIntervalMillis", 2 * failover),
            max_leases_for_worker: number(entries, "maxLeasesForWorker", 2_147_483_647),
            shard_sync_interval: millis("shardSyncIntervalMillis", 60_000),
            parent_poll_interval: millis("parentShardPollIntervalMillis", 10_000),
            ignore_unexpected_child_shards: yes("ignoreUnexpectedChildShards"),
            graceful_handoff: !no("isGracefulLeaseHandoffEnabled"),
            graceful_handoff_timeout: millis("gracefulLeaseHandoffTimeoutMillis", 30_000),
            list_shards_backoff: millis("listShardsBackoffTimeInMillis", 1_500),
            max_list_shards_retries: number(entries, "maxListShardsRetryAttempts", 50),
            worker_metrics_interval: millis("workerMetricsReporterFreqInMillis", 30_000),
            initialization_backoff: millis("schedulerInitializationBackoffTimeMillis", 1_000),
        },
        processing: Processing {
            call_for_empty_lists: yes("callProcessRecordsEvenForEmptyRecordList"),
            skip_shard_sync_if_leases_exist: yes("skipShardSyncAtWorkerInitializationIfLeasesExist"),
            child_timeout: entries
                .get("timeoutInSeconds")
                .map(|_| Duration::from_secs(number(entries, "timeoutInSeconds", 0))),
            task_backoff: millis("taskBackoffTimeMillis", 500),
            shutdown_grace: millis("shutdownGraceMillis", 8_000),
        },
        table: TableSettings {
            deletion_protection: yes("leaseTableDeletionProtectionEnabled"),
            point_in_time_recovery: yes("leaseTablePitrEnabled"),
            scan_segments: None,
        },
        strict: false,
        source: path.to_owned(),
    };
    Ok(Loaded { config, warnings: Vec::new() })
}
