//! From the settings of a file to the values the Java daemon would run on, with its defaults and its late checks.
//!
//! Source: KCL 3.x `*Config` classes for the defaults; daemon 3.5.1 `MultiLangDaemonConfiguration` for what is
//! copied when: a field equal to its type's default is not (CONFIGURATION section 1).

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::bean::{Bean, Value};
use super::keys::{KEYS, Kind};
use super::report::{Report, Stage};
use super::resolved::{
    Balancing, CoordinatorConfig, Core, Handoff, LeaseManagementConfig, LifecycleConfig, MetricsConfig, Position,
    ProcessorConfig, RetrievalConfig, Specific, Stream, Table, Tracker, real_json,
};
use super::values;
use crate::types::InitialPosition;

/// Names that the required keys gave.
pub(super) struct Names {
    pub(super) application: String,
    pub(super) stream: String,
    pub(super) worker: String,
}

/// What the file changed, as the reference's getters would show it.
pub(super) fn multilang(bean: &Bean, names: &Names) -> BTreeMap<String, Json> {
    let mut changed = BTreeMap::new();
    for key in &KEYS {
        let hidden = matches!(key.kind, Kind::Uri | Kind::Region | Kind::Credentials) || key.name.contains("Client.");
        let Some(value) = bean.fields.get(key.field).filter(|_| !hidden && !key.name.contains('.')) else { continue };
        let boxed = matches!(key.kind, Kind::BoxedInt | Kind::BoxedLong | Kind::BoxedBool);
        let shown = match value {
            Value::Number(0) | Value::Flag(false) if !boxed => continue,
            Value::Text(text) if key.name == "retrievalMode" && text == "DEFAULT" => continue,
            Value::Real(real) if real.to_bits() == 0 => continue,
            Value::Number(number) => json!(number),
            Value::Flag(flag) => json!(flag),
            Value::Real(real) => real_json(*real),
            Value::Text(text) => json!(text),
            Value::Tags(tags) => json!(tags),
            Value::Names(names) => json!(names),
            Value::Position(position) => {
                let position = Position::from(*position);
                changed.insert("initialPositionInStreamExtended".to_owned(), json!(position));
                changed.insert("initialPositionInStream".to_owned(), json!(position.position));
                continue;
            }
            Value::Providers(_) => continue,
        };
        changed.insert(key.field.to_owned(), shown);
    }
    for hidden in ["executableName", "processingLanguage"] {
        changed.remove(hidden);
    }
    changed.insert("applicationName".to_owned(), json!(names.application));
    changed.insert("streamName".to_owned(), json!(names.stream));
    changed.insert("workerIdentifier".to_owned(), json!(names.worker));
    if polling_set(bean) {
        changed.insert("pollingConfig".to_owned(), whole(bean, "", &POLLING));
    }
    let fan_out = whole(bean, "fanoutConfig.", &FAN_OUT);
    if fan_out != whole(&Bean::default(), "", &FAN_OUT) {
        changed.insert("fanoutConfig".to_owned(), fan_out);
    }
    changed
}

/// The settings of the polling bean; the flag marks a boxed one.
const POLLING: [(&str, bool); 5] = [
    ("idleTimeBetweenReadsInMillis", false),
    ("maxGetRecordsThreadPool", true),
    ("maxRecords", false),
    ("millisBehindLatestThresholdForReducedTps", false),
    ("retryGetRecordsInSeconds", true),
];
const FAN_OUT: [(&str, bool); 6] = [
    ("consumerArn", true),
    ("consumerName", true),
    ("maxDescribeStreamConsumerRetries", false),
    ("maxDescribeStreamSummaryRetries", false),
    ("registerStreamConsumerRetries", false),
    ("retryBackoffMillis", false),
];

fn whole(bean: &Bean, prefix: &str, fields: &[(&str, bool)]) -> Json {
    let shown = fields.iter().map(|(field, boxed)| {
        let value = match bean.fields.get(format!("{prefix}{field}").as_str()) {
            Some(Value::Number(number)) => json!(number),
            Some(Value::Text(text)) => json!(text),
            _ if *boxed => Json::Null,
            _ => json!(0),
        };
        ((*field).to_owned(), value)
    });
    Json::Object(shown.collect())
}

/// Whether any polling key is set, which selects polling.
///
/// Source: daemon 3.5.1 `PollingConfigBean.anyPropertiesSet`.
fn polling_set(bean: &Bean) -> bool {
    POLLING.iter().any(|(field, boxed)| bean.boxed(field).is_some_and(|number| *boxed || number != 0))
}

/// Builds the core configuration; faults in the order of the reference.
pub(super) fn core(bean: &Bean, names: &Names, report: &mut Report) -> Core {
    let retrieval_config = retrieval(bean, names, report);
    let segments = bean.number_or("leaseTableScanTotalSegments", 0);
    if segments < 0 {
        let java = "leaseTableScanTotalSegments must be a positive number; leave unset for automatic sizing";
        below(report, Stage::Resolve, "leaseTableScanTotalSegments", segments, "1 or more, or no line", java);
    }
    let core = Core {
        coordinator_config: coordinator(bean, names),
        lease_management_config: leases(bean, names),
        lifecycle_config: LifecycleConfig {
            log_warning_for_task_after_millis: bean.boxed("logWarningForTaskAfterMillis"),
            task_backoff_time_millis: bean.number_or("taskBackoffTimeMillis", 500),
        },
        metrics_config: MetricsConfig {
            metrics_buffer_time_millis: bean.number_or("metricsBufferTimeMillis", 10_000),
            metrics_enabled_dimensions: match bean.fields.get("metricsEnabledDimensions") {
                Some(Value::Names(names)) => names.clone(),
                _ => vec!["ALL".to_owned()],
            },
            metrics_level: bean.text("metricsLevel").unwrap_or("DETAILED").to_owned(),
            metrics_max_queue_size: bean.number_or("metricsMaxQueueSize", 10_000),
            namespace: names.application.clone(),
        },
        processor_config: ProcessorConfig {
            call_process_records_even_for_empty_record_list: bean.flag("callProcessRecordsEvenForEmptyRecordList"),
        },
        retrieval_config,
    };
    scheduler(&core, report);
    core
}

fn below(report: &mut Report, stage: Stage, key: &str, value: i64, expected: &str, java: &str) {
    let message = format!("`{key} = {value}`: expected {expected}; correct the value or remove the line");
    if java.is_empty() { report.fault(stage, key, message) } else { report.fault_java(stage, key, message, java) }
}

/// The checks in the constructors of the worker.
///
/// Source: CONFIGURATION section 4; their order by running the reference.
fn scheduler(core: &Core, report: &mut Report) {
    let leases = &core.lease_management_config;
    let at_least_one = [
        ("maxLeasesForWorker", leases.max_leases_for_worker, "maxLeasesForWorker should be >= 1"),
        (
            "maxLeasesToStealAtOneTime",
            leases.max_leases_to_steal_at_one_time,
            "maxLeasesToStealAtOneTime should be >= 1",
        ),
        ("initialLeaseTableReadCapacity", leases.initial_lease_table_read_capacity, "readCapacity should be >= 1"),
        ("initialLeaseTableWriteCapacity", leases.initial_lease_table_write_capacity, "writeCapacity should be >= 1"),
    ];
    let queue = core.metrics_config.metrics_max_queue_size;
    if queue < 0 {
        below(report, Stage::Scheduler, "metricsMaxQueueSize", queue, "1 or more", "");
    }
    if leases.max_lease_renewal_threads < 2 {
        below(report, Stage::Scheduler, "maxLeaseRenewalThreads", leases.max_lease_renewal_threads, "2 or more", "");
    }
    for (key, value, java) in at_least_one {
        if value < 1 {
            below(report, Stage::Scheduler, key, value, "1 or more", java);
        }
    }
    if values::is_blank(&leases.worker_identifier) {
        let message = "`workerId` is blank: give a name that no other worker has, or remove the line for a random one";
        let java = "WorkerID is required to initialize PeriodicShardSyncManager.";
        report.fault_java(Stage::Scheduler, "workerId", message, java);
    }
}

fn coordinator(bean: &Bean, names: &Names) -> CoordinatorConfig {
    let bake = bean.number_or("tableMigrationCompleteBakeTimeSeconds", 86_400);
    CoordinatorConfig {
        application_name: names.application.clone(),
        client_version_config: bean.text("clientVersionConfig").unwrap_or("CLIENT_VERSION_CONFIG_3X").to_owned(),
        coordinator_state_table_config: table(
            bean,
            "coordinatorState",
            &format!("{}-CoordinatorState", names.application),
        ),
        effective_table_migration_complete_bake_time_seconds: bake.clamp(3_600, 604_800),
        migrate_all_entities_to_lease_table: bean.flag("migrateAllEntitiesToLeaseTable"),
        parent_shard_poll_interval_millis: bean.number_or("parentShardPollIntervalMillis", 10_000),
        scheduler_initialization_backoff_time_millis: bean.number_or("schedulerInitializationBackoffTimeMillis", 1_000),
        skip_shard_sync_at_worker_initialization_if_leases_exist: bean
            .flag("skipShardSyncAtWorkerInitializationIfLeasesExist"),
        table_migration_complete_bake_time_seconds: bake,
    }
}

fn table(bean: &Bean, prefix: &str, default_name: &str) -> Table {
    let field = |leaf: &str| format!("{prefix}{leaf}");
    Table {
        table_name: bean.text(&field("TableName")).unwrap_or(default_name).to_owned(),
        billing_mode: bean.text(&field("BillingMode")).unwrap_or("PAY_PER_REQUEST").to_owned(),
        read_capacity: bean.number(&field("ReadCapacity")),
        write_capacity: bean.number(&field("WriteCapacity")),
        point_in_time_recovery_enabled: bean.flag(&field("PointInTimeRecoveryEnabled")),
        deletion_protection_enabled: bean.flag(&field("DeletionProtectionEnabled")),
        tags: bean.tags(&field("Tags")),
    }
}

fn given_position(bean: &Bean) -> Option<InitialPosition> {
    match bean.fields.get("initialPositionInStream") {
        Some(Value::Position(position)) => Some(*position),
        _ => None,
    }
}

fn leases(bean: &Bean, names: &Names) -> LeaseManagementConfig {
    let failover = bean.number_or("failoverTimeMillis", 10_000);
    let table_name = bean.text("tableName").filter(|name| !name.is_empty()).unwrap_or(&names.application);
    LeaseManagementConfig {
        cleanup_leases_upon_shard_completion: true,
        enable_priority_lease_assignment: bean.boxed_flag("enablePriorityLeaseAssignment").unwrap_or(true),
        failover_time_millis: failover,
        graceful_lease_handoff_config: Handoff {
            graceful_lease_handoff_timeout_millis: bean.boxed("gracefulLeaseHandoffTimeoutMillis").unwrap_or(30_000),
            is_graceful_lease_handoff_enabled: bean.boxed_flag("isGracefulLeaseHandoffEnabled").unwrap_or(true),
        },
        ignore_unexpected_child_shards: bean.flag("ignoreUnexpectedChildShards"),
        initial_lease_table_read_capacity: bean.number_or("initialLeaseTableReadCapacity", 10),
        initial_lease_table_write_capacity: bean.number_or("initialLeaseTableWriteCapacity", 10),
        initial_position_in_stream: given_position(bean).unwrap_or(InitialPosition::TrimHorizon).into(),
        lease_assignment_interval_millis: bean.number_or("leaseAssignmentIntervalMillis", failover.wrapping_mul(2)),
        lease_table_deletion_protection_enabled: bean.flag("leaseTableDeletionProtectionEnabled"),
        lease_table_pitr_enabled: bean.flag("leaseTablePitrEnabled"),
        lease_table_scan_total_segments: bean.number_or("leaseTableScanTotalSegments", 0),
        list_shards_backoff_time_in_millis: bean.number_or("listShardsBackoffTimeInMillis", 1_500),
        max_lease_renewal_threads: bean.number_or("maxLeaseRenewalThreads", 20),
        max_leases_for_worker: bean.number_or("maxLeasesForWorker", i64::from(i32::MAX)),
        max_leases_to_steal_at_one_time: bean.number_or("maxLeasesToStealAtOneTime", 1),
        max_list_shards_retry_attempts: bean.number_or("maxListShardsRetryAttempts", 50),
        shard_sync_interval_millis: bean.number_or("shardSyncIntervalMillis", 60_000),
        table_name: table_name.to_owned(),
        worker_identifier: names.worker.clone(),
        worker_utilization_aware_assignment_config: balancing(bean, names),
    }
}

fn balancing(bean: &Bean, names: &Names) -> Balancing {
    let stale = bean.text("staleWorkerMetricsEntryCleanupDuration").unwrap_or("PT24H");
    Balancing {
        allow_throughput_overshoot: bean.boxed_flag("allowThroughputOvershoot").unwrap_or(true),
        dampening_percentage: bean.number_or("dampeningPercentage", 60),
        disable_worker_metrics: bean.flag("disableWorkerMetrics"),
        in_memory_worker_metrics_capture_frequency_millis: bean
            .number_or("inMemoryWorkerMetricsCaptureFrequencyMillis", 1_000),
        max_throughput_per_host_kbps: bean.real_or("maxThroughputPerHostKBps", f64::MAX),
        no_of_persisted_metrics_per_worker_metrics: bean.number_or("noOfPersistedMetricsPerWorkerMetrics", 10),
        re_balance_threshold_percentage: bean.number_or("reBalanceThresholdPercentage", 10),
        stale_worker_metrics_entry_cleanup_duration: stale.to_owned(),
        variance_balancing_frequency: bean.number_or("varianceBalancingFrequency", 3),
        worker_metrics_ema_alpha: bean.real_or("workerMetricsEMAAlpha", 0.5),
        worker_metrics_reporter_freq_in_millis: bean.number_or("workerMetricsReporterFreqInMillis", 30_000),
        worker_metrics_table_config: table(bean, "workerMetrics", &format!("{}-WorkerMetricStats", names.application)),
    }
}

fn retrieval(bean: &Bean, names: &Names, report: &mut Report) -> RetrievalConfig {
    let mode = bean.text("retrievalMode").unwrap_or("DEFAULT");
    let by_default = mode == "DEFAULT" && polling_set(bean);
    if by_default {
        report.warn(
            "retrievalMode",
            "Some polling properties have been set, defaulting to polling. To switch to Fanout either add \
             `RetrievalMode=FANOUT` to your properties or remove the any configuration for polling. \
             (the key is `retrievalMode`; `retrievalMode = POLLING` keeps polling and silences this line)",
        );
    }
    let retrieval_specific_config =
        if by_default || mode == "POLLING" { polling(bean, names, report) } else { fan_out(bean, names) };
    let stream = Stream {
        stream_identifier: names.stream.clone(),
        stream_name: names.stream.clone(),
        initial_position: given_position(bean).unwrap_or(InitialPosition::Latest).into(),
    };
    RetrievalConfig {
        application_name: names.application.clone(),
        retrieval_specific_config,
        stream_tracker: Tracker { streams: [stream] },
    }
}

fn polling(bean: &Bean, names: &Names, report: &mut Report) -> Specific {
    let max_records = bean.number_or("maxRecords", 10_000);
    if max_records > 10_000 {
        let java = "maxRecords must be less than or equal to 10000 but current value is 10000";
        below(report, Stage::Resolve, "maxRecords", max_records, "at most 10000", java);
    }
    let idle = bean.number_or("idleTimeBetweenReadsInMillis", 1_500);
    if idle < 200 {
        let message = format!(
            "idleTimeBetweenReadsInMillis must be greater than or equal to 200 but current value is {idle}. \
             Defaulting to minimum 200.",
        );
        report.warn("idleTimeBetweenReadsInMillis", message);
    }
    Specific::Polling {
        idle_time_between_reads_in_millis: idle.max(200),
        max_get_records_thread_pool: bean.boxed("maxGetRecordsThreadPool"),
        max_records,
        millis_behind_latest_threshold_for_reduced_tps: bean.number("millisBehindLatestThresholdForReducedTps"),
        retry_get_records_in_seconds: bean.boxed("retryGetRecordsInSeconds"),
        stream_name: names.stream.clone(),
        use_polling_config_idle_time_value: bean.number("idleTimeBetweenReadsInMillis") != 0,
    }
}

fn fan_out(bean: &Bean, names: &Names) -> Specific {
    Specific::FanOut {
        application_name: names.application.clone(),
        consumer_arn: bean.text("fanoutConfig.consumerArn").map(str::to_owned),
        consumer_name: bean.text("fanoutConfig.consumerName").map(str::to_owned),
        max_describe_stream_consumer_retries: bean.number_or("fanoutConfig.maxDescribeStreamConsumerRetries", 10),
        max_describe_stream_summary_retries: bean.number_or("fanoutConfig.maxDescribeStreamSummaryRetries", 10),
        register_stream_consumer_retries: bean.number_or("fanoutConfig.registerStreamConsumerRetries", 10),
        retry_backoff_millis: bean.number_or("fanoutConfig.retryBackoffMillis", 1_000),
        stream_name: names.stream.clone(),
    }
}
