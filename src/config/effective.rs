//! From what the Java daemon would run on to what this daemon runs on: types, and the safer choices.
//!
//! Every difference made here is off in strict mode.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use super::bean::{Bean, Value};
use super::own::Own;
use super::report::Report;
use super::resolved::{self, LeaseManagementConfig, Resolved, Specific, real_json};
use super::worker_id;
use super::{
    Balancing, ClientVersionConfig, Compatibility, Config, Coordination, CpuSampling, Credentials, CredentialsProvider,
    Environment, FanOut, Polling, Processing, Retrieval, Surroundings, TableMigrationSettings, TableSettings,
};
use crate::types::{InitialPosition, WorkerId};

/// Grace of a stop when the file does not say: Java's is 0, which loses the last checkpoints.
pub const SAFE_GRACE: Duration = Duration::from_secs(8);

/// Builds the configuration; `grace_given` tells an explicit `shutdownGraceMillis = 0` from an absent one.
pub(super) fn config(
    resolved: &Resolved,
    bean: &Bean,
    own: &Own,
    grace_given: bool,
    (path, environment): (&Path, &Environment),
    report: &mut Report,
) -> Config {
    let core = &resolved.resolved;
    let leases = &core.lease_management_config;
    let clients = &resolved.clients;
    let strict = own.compatibility == Compatibility::Strict;
    if !strict {
        worker_id::check(&leases.worker_identifier, report);
    }
    let providers =
        |client: &super::resolved::Client| -> Vec<CredentialsProvider> { client.credentials.providers.clone() };
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let position = match bean.fields.get("initialPositionInStream") {
        Some(Value::Position(position)) => *position,
        _ => InitialPosition::Latest,
    };
    let mut take = Millis { strict, report };
    let retrieval =
        retrieval(&core.retrieval_config.retrieval_specific_config, &core.retrieval_config.application_name, &mut take);
    let coordination = coordination(resolved, leases, &mut take);
    let processing = processing(resolved, bean, (own, grace_given), &mut take);
    Config {
        command: resolved.daemon.command.clone(),
        application_name: core.coordinator_config.application_name.clone(),
        stream_name: core.retrieval_config.stream_tracker.streams[0].stream_name.clone(),
        table_name: leases.table_name.clone(),
        worker_id: WorkerId::new(leases.worker_identifier.as_str()),
        region: clients.kinesis.region.clone(),
        dynamodb_region: clients.dynamodb.region.clone(),
        cloudwatch_region: clients.cloudwatch.region.clone(),
        kinesis_endpoint: filled(&clients.kinesis.endpoint_override),
        dynamodb_endpoint: filled(&clients.dynamodb.endpoint_override),
        cloudwatch_endpoint: filled(&clients.cloudwatch.endpoint_override),
        credentials: Credentials {
            kinesis: providers(&clients.kinesis),
            dynamodb: providers(&clients.dynamodb),
            cloudwatch: providers(&clients.cloudwatch),
        },
        initial_position: position,
        retrieval,
        coordination,
        processing,
        table: TableSettings {
            deletion_protection: leases.lease_table_deletion_protection_enabled,
            point_in_time_recovery: leases.lease_table_pitr_enabled,
            scan_segments: u32::try_from(leases.lease_table_scan_total_segments).ok().filter(|segments| *segments > 0),
            coordinator_table: Some(core.coordinator_config.coordinator_state_table_config.table_name.clone()),
            metrics_table: Some(
                leases.worker_utilization_aware_assignment_config.worker_metrics_table_config.table_name.clone(),
            ),
        },
        surroundings: Surroundings::of(environment),
        compatibility: own.compatibility,
        buffer_bytes: own.buffer_bytes,
        source: path.to_owned(),
    }
}

/// Numbers of the file as durations and counts; negative ones mean nothing here.
struct Millis<'a> {
    strict: bool,
    report: &'a mut Report,
}

impl Millis<'_> {
    /// Negative: the default, or nothing at all in strict mode. Java takes it as it is.
    fn at_least_zero(&mut self, key: &str, value: i64, default: i64) -> i64 {
        if value >= 0 {
            return value;
        }
        let effective = if self.strict { 0 } else { default };
        self.report.warn(
            key,
            format!("`{key} = {value}`: a negative number has no meaning here; {effective} is used; correct it"),
        );
        effective
    }

    /// `None` and a warning where Java cannot start, or writes no row: zero and below.
    fn above_zero(&mut self, key: &str, value: i64) -> Option<NonZeroU64> {
        let given = u64::try_from(value).ok().and_then(NonZeroU64::new);
        if given.is_none() {
            let message = format!("`{key} = {value}`: expected 1 or more; the default is used; correct it");
            self.report.warn(key, message);
        }
        given
    }

    fn duration(&mut self, key: &str, value: i64, default: i64) -> Duration {
        Duration::from_millis(self.at_least_zero(key, value, default).unsigned_abs())
    }

    /// Outside of 0 to `most`, or no number: the default, in strict mode too. Java's leader gives nothing to anybody
    /// then, or ranks workers by noise.
    fn real(&mut self, key: &str, value: f64, (most, expected, default): (f64, &str, f64)) -> f64 {
        if (0.0..=most).contains(&value) {
            return value;
        }
        let shown = real_json(value);
        self.report
            .warn(key, format!("`{key} = {shown}`: expected {expected}; {} is used; correct it", real_json(default)));
        default
    }

    fn count(&mut self, key: &str, value: i64, default: i64) -> u32 {
        u32::try_from(self.at_least_zero(key, value, default)).unwrap_or(u32::MAX)
    }
}

fn retrieval(specific: &Specific, application: &str, take: &mut Millis<'_>) -> Retrieval {
    match specific {
        Specific::Polling {
            max_records,
            idle_time_between_reads_in_millis,
            use_polling_config_idle_time_value,
            millis_behind_latest_threshold_for_reduced_tps,
            ..
        } => {
            let threshold = *millis_behind_latest_threshold_for_reduced_tps;
            Retrieval::Polling(Polling {
                max_records: i32::try_from(take.at_least_zero("maxRecords", *max_records, 10_000)).unwrap_or(i32::MAX),
                idle: take.duration("idleTimeBetweenReadsInMillis", *idle_time_between_reads_in_millis, 1_500),
                follows_arrivals: !take.strict && !*use_polling_config_idle_time_value,
                reduced_tps_threshold: take.duration("millisBehindLatestThresholdForReducedTps", threshold, 0),
            })
        }
        Specific::FanOut {
            consumer_arn,
            consumer_name,
            max_describe_stream_consumer_retries,
            max_describe_stream_summary_retries,
            register_stream_consumer_retries,
            retry_backoff_millis,
            ..
        } => {
            let mut retries = |leaf: &str, value: i64| take.count(&format!("fanoutConfig.{leaf}"), value, 10);
            let max_describe_stream_summary_retries =
                retries("maxDescribeStreamSummaryRetries", *max_describe_stream_summary_retries);
            let max_describe_stream_consumer_retries =
                retries("maxDescribeStreamConsumerRetries", *max_describe_stream_consumer_retries);
            let register_stream_consumer_retries =
                retries("registerStreamConsumerRetries", *register_stream_consumer_retries);
            let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            Retrieval::FanOut(FanOut {
                consumer_arn: filled(consumer_arn),
                consumer_name: filled(consumer_name).unwrap_or_else(|| application.to_owned()),
                max_describe_stream_summary_retries,
                max_describe_stream_consumer_retries,
                register_stream_consumer_retries,
                retry_backoff: take.duration("fanoutConfig.retryBackoffMillis", *retry_backoff_millis, 1_000),
            })
        }
    }
}

fn coordination(resolved: &Resolved, leases: &LeaseManagementConfig, take: &mut Millis<'_>) -> Coordination {
    let coordinator = &resolved.resolved.coordinator_config;
    let handoff = &leases.graceful_lease_handoff_config;
    let weighing = &leases.worker_utilization_aware_assignment_config;
    let failover = take.at_least_zero("failoverTimeMillis", leases.failover_time_millis, 10_000);
    // follows failoverTimeMillis, so it is negative with it
    let assignment = match leases.lease_assignment_interval_millis {
        interval if interval < 0 => failover.saturating_mul(2),
        interval => interval,
    };
    Coordination {
        failover_time: Duration::from_millis(failover.unsigned_abs()),
        lease_assignment_interval: take.duration("leaseAssignmentIntervalMillis", assignment, 20_000),
        max_leases_for_worker: usize::try_from(leases.max_leases_for_worker).unwrap_or_default(),
        balancing: balancing(weighing, take),
        client_version: client_version(&coordinator.client_version_config),
        spare_2x_workers: !take.strict,
        max_leases_to_steal: usize::try_from(leases.max_leases_to_steal_at_one_time).unwrap_or_default(),
        priority_assignment: leases.enable_priority_lease_assignment,
        shard_sync_interval: take.duration("shardSyncIntervalMillis", leases.shard_sync_interval_millis, 60_000),
        parent_poll_interval: take.duration(
            "parentShardPollIntervalMillis",
            coordinator.parent_shard_poll_interval_millis,
            10_000,
        ),
        ignore_unexpected_child_shards: leases.ignore_unexpected_child_shards,
        graceful_handoff: handoff.is_graceful_lease_handoff_enabled,
        graceful_handoff_timeout: take.duration(
            "gracefulLeaseHandoffTimeoutMillis",
            handoff.graceful_lease_handoff_timeout_millis,
            30_000,
        ),
        list_shards_backoff: take.duration(
            "listShardsBackoffTimeInMillis",
            leases.list_shards_backoff_time_in_millis,
            1_500,
        ),
        max_list_shards_retries: take.count("maxListShardsRetryAttempts", leases.max_list_shards_retry_attempts, 50),
        worker_metrics_interval: take.duration(
            "workerMetricsReporterFreqInMillis",
            weighing.worker_metrics_reporter_freq_in_millis,
            30_000,
        ),
        cpu_sampling: cpu_sampling(weighing, take),
        initialization_backoff: take.duration(
            "schedulerInitializationBackoffTimeMillis",
            coordinator.scheduler_initialization_backoff_time_millis,
            1_000,
        ),
        table_migration: TableMigrationSettings {
            to_lease_table: coordinator.migrate_all_entities_to_lease_table,
            complete_after: Duration::from_secs(
                coordinator.effective_table_migration_complete_bake_time_seconds.unsigned_abs(),
            ),
        },
    }
}

fn cpu_sampling(weighing: &resolved::Balancing, take: &mut Millis<'_>) -> Option<CpuSampling> {
    let CpuSampling { every, kept } = CpuSampling::default();
    if weighing.disable_worker_metrics {
        return None;
    }
    let kept_given = weighing.no_of_persisted_metrics_per_worker_metrics;
    let every_given = weighing.in_memory_worker_metrics_capture_frequency_millis;
    let every_given = take.above_zero("inMemoryWorkerMetricsCaptureFrequencyMillis", every_given);
    let kept_given = take.above_zero("noOfPersistedMetricsPerWorkerMetrics", kept_given);
    Some(CpuSampling {
        every: every_given.map_or(every, |millis| Duration::from_millis(millis.get())),
        kept: kept_given.and_then(|kept| NonZeroUsize::try_from(kept).ok()).unwrap_or(kept),
    })
}

fn balancing(given: &resolved::Balancing, take: &mut Millis<'_>) -> Balancing {
    let default = Balancing::default();
    Balancing {
        threshold_percentage: take.count("reBalanceThresholdPercentage", given.re_balance_threshold_percentage, 10),
        dampening_percentage: take.count("dampeningPercentage", given.dampening_percentage, 60),
        allow_overshoot: given.allow_throughput_overshoot,
        max_throughput_per_host_kbps: take.real(
            "maxThroughputPerHostKBps",
            given.max_throughput_per_host_kbps,
            (f64::INFINITY, "0 or more", default.max_throughput_per_host_kbps),
        ),
        ema_alpha: take.real(
            "workerMetricsEMAAlpha",
            given.worker_metrics_ema_alpha,
            (1.0, "a number from 0 to 1", default.ema_alpha),
        ),
        frequency: take.count("varianceBalancingFrequency", given.variance_balancing_frequency, 3).max(1),
    }
}

/// The word has been checked with the file; nothing else than these three comes through.
fn client_version(word: &str) -> ClientVersionConfig {
    match word {
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X" => ClientVersionConfig::CompatibleWith2x,
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1" => ClientVersionConfig::CompatibleWith2xPhase1,
        _ => ClientVersionConfig::ThreeX,
    }
}

fn processing(resolved: &Resolved, bean: &Bean, (own, grace_given): (&Own, bool), take: &mut Millis<'_>) -> Processing {
    let core = &resolved.resolved;
    let grace = bean.number("shutdownGraceMillis");
    let shutdown_grace =
        if grace_given || take.strict { take.duration("shutdownGraceMillis", grace, 8_000) } else { SAFE_GRACE };
    Processing {
        call_for_empty_lists: core.processor_config.call_process_records_even_for_empty_record_list,
        skip_shard_sync_if_leases_exist: core
            .coordinator_config
            .skip_shard_sync_at_worker_initialization_if_leases_exist,
        child_timeout: child_timeout(bean.boxed("timeoutInSeconds"), take),
        task_backoff: take.duration("taskBackoffTimeMillis", core.lifecycle_config.task_backoff_time_millis, 500),
        shutdown_grace,
        protocol_level: own.protocol_level,
        checkpoint_at_shard_end: own.checkpoint_at_shard_end,
        when_child_fails: own.when_child_fails,
        child_restart_limit: own.child_restart_limit,
        on_poison: own.on_poison.clone(),
        resume_latest: own.resume_latest,
    }
}

/// Java with 0, which is also what a blank or unreadable value becomes: it halts at the first message.
fn child_timeout(seconds: Option<i64>, take: &mut Millis<'_>) -> Option<Duration> {
    let seconds = seconds?;
    if seconds <= 0 && !take.strict {
        let message = format!(
            "`timeoutInSeconds = {seconds}`: the Java daemon would halt at the first message of a child; \
             no limit is used; give 1 or more, or remove the line",
        );
        take.report.warn("timeoutInSeconds", message);
        return None;
    }
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}
