//! The validated configuration of one daemon.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::types::{InitialPosition, WorkerId};

mod arn;
mod bean;
mod clients;
mod core;
mod credentials;
pub mod dead_letters;
mod effective;
pub mod environment;
pub mod keys;
mod leaf;
pub mod lists;
pub mod order;
pub mod origin;
pub mod own;
mod profile;
pub mod properties;
pub mod region;
pub mod report;
pub mod resolve;
pub mod resolved;
pub mod retries;
pub mod surroundings;
mod unknown;
pub mod uri;
pub mod values;
mod worker_id;

pub use dead_letters::DeadLetters;
pub use effective::SAFE_GRACE;
pub use environment::Environment;
pub use origin::{Origin, Setting};
pub use own::{Compatibility, OnPoison, ProtocolLevel, WhenChildFails, buffer_bytes_within};
pub use report::{Fault, LoadError, Stage, Warning};
pub use resolve::{Loaded, load, load_bytes};
pub use resolved::Resolved;
pub use surroundings::Surroundings;

#[cfg(test)]
mod tests;

/// Everything the daemon needs to know; made once from the properties file, the environment and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `executableName`, split at blanks.
    pub command: Vec<String>,
    /// `applicationName`.
    pub application_name: String,
    /// `streamName`, or the name inside `streamArn`.
    pub stream_name: String,
    /// `tableName`, else the application's name.
    pub table_name: String,
    /// `workerId`, else a random UUID.
    pub worker_id: WorkerId,
    /// `regionName`, else `AWS_REGION`, else the profile; without them instance metadata is asked at run time.
    pub region: Option<String>,
    /// `kinesisEndpoint`, else the variables of the SDK (`AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL`).
    pub kinesis_endpoint: Option<String>,
    /// `dynamoDBEndpoint`, else the variables of the SDK.
    pub dynamodb_endpoint: Option<String>,
    /// `dynamoDbClient.region`, else as `region`.
    pub dynamodb_region: Option<String>,
    /// `cloudWatchClient.region`, else as `region`.
    pub cloudwatch_region: Option<String>,
    /// `cloudWatchClient.endpointOverride`.
    pub cloudwatch_endpoint: Option<String>,
    /// `AwsCredentialsProvider` and its two relatives.
    pub credentials: Credentials,
    /// `initialPositionInStream`, `initialPositionInStreamExtended`.
    pub initial_position: InitialPosition,
    /// How to read.
    pub retrieval: Retrieval,
    /// Leases and the fleet.
    pub coordination: Coordination,
    /// The child and its shard.
    pub processing: Processing,
    /// Settings of the lease table when it must be created, and names of the two tables of older fleets.
    pub table: TableSettings,
    /// What the clients need besides: proxy, profile, `-D` credentials.
    pub surroundings: Surroundings,
    /// `multilangd.compatibility`: whose way is taken where Java loses data, wedges or dies.
    pub compatibility: Compatibility,
    /// `multilangd.bufferBytes`: bytes that all shards may keep together; `None` follows the memory limit.
    pub buffer_bytes: Option<usize>,
    /// The file it came from, for messages.
    pub source: PathBuf,
}

/// Where credentials come from, a service each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// For Kinesis.
    pub kinesis: Vec<CredentialsProvider>,
    /// For DynamoDB.
    pub dynamodb: Vec<CredentialsProvider>,
    /// For CloudWatch.
    pub cloudwatch: Vec<CredentialsProvider>,
}

/// One member of a chain of credentials providers. Its secret parts never appear in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsProvider {
    /// The default chain of the Java SDK, in its order.
    Default,
    /// `AWS_ACCESS_KEY_ID` and its relatives.
    Environment,
    /// `-Daws.accessKeyId` and its relatives.
    SystemProperties,
    /// A profile; the default one without a name.
    Profile(Option<String>),
    /// EC2 instance metadata.
    InstanceProfile,
    /// ECS and EKS container endpoint.
    Container,
    /// A web identity token file.
    WebIdentity,
    /// Unsigned requests.
    Anonymous,
    /// A role to assume with the default chain.
    AssumeRole {
        /// Role.
        role_arn: String,
        /// Session name.
        session_name: String,
        /// `externalId`.
        external_id: Option<String>,
        /// Region of the STS call.
        region: Option<String>,
        /// Endpoint of the STS call.
        endpoint: Option<String>,
    },
}

/// How records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retrieval {
    /// GetRecords.
    Polling(Polling),
    /// SubscribeToShard with a consumer of our own.
    FanOut(FanOut),
}

/// Settings of GetRecords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// `maxRecords`: most records in an answer, 1 to 10,000.
    pub max_records: i32,
    /// `idleTimeBetweenReadsInMillis`, at least 200 ms.
    pub idle: Duration,
    /// Whether the pause may be shorter while records keep coming: nobody has set an idle time, and not strict.
    pub follows_arrivals: bool,
    /// `millisBehindLatestThresholdForReducedTps`; zero is off.
    pub reduced_tps_threshold: Duration,
}

/// Settings of SubscribeToShard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOut {
    /// `fanoutConfig.consumerArn`: use this one, register none.
    pub consumer_arn: Option<String>,
    /// `fanoutConfig.consumerName`, else the application's name.
    pub consumer_name: String,
    /// `fanoutConfig.maxDescribeStreamSummaryRetries`.
    pub max_describe_stream_summary_retries: u32,
    /// `fanoutConfig.maxDescribeStreamConsumerRetries`.
    pub max_describe_stream_consumer_retries: u32,
    /// `fanoutConfig.registerStreamConsumerRetries`.
    pub register_stream_consumer_retries: u32,
    /// `fanoutConfig.retryBackoffMillis`.
    pub retry_backoff: Duration,
}

/// How the leader weighs the fleet and evens it out.
///
/// Source: KCL 3.x `WorkerUtilizationAwareAssignmentConfig`; LEASES.md section 4.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancing {
    /// `reBalanceThresholdPercentage`: how far a worker may be from the fleet's average before leases are moved.
    pub threshold_percentage: u32,
    /// `dampeningPercentage`: share of an imbalance that is moved at once.
    pub dampening_percentage: u32,
    /// `allowThroughputOvershoot`: whether the lightest lease is moved where none is light enough.
    pub allow_overshoot: bool,
    /// `maxThroughputPerHostKBps`: a worker that carries more is given nothing, KiB a second.
    pub max_throughput_per_host_kbps: f64,
    /// `workerMetricsEMAAlpha`: weight of the newest sample of a worker's load, 0 to 1.
    pub ema_alpha: f64,
    /// `varianceBalancingFrequency`: assignment intervals from one balancing to the next.
    pub frequency: u32,
}

impl Default for Balancing {
    /// Java's defaults.
    fn default() -> Self {
        Self {
            threshold_percentage: 10,
            dampening_percentage: 60,
            allow_overshoot: true,
            max_throughput_per_host_kbps: f64::MAX,
            ema_alpha: 0.5,
            frequency: 3,
        }
    }
}

/// `clientVersionConfig`: how a worker joins a fleet that comes from 2.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientVersionConfig {
    /// `CLIENT_VERSION_CONFIG_3X`, the default: no worker of 2.x is left.
    ThreeX,
    /// `CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X`: works as 2.x until everybody can do better.
    CompatibleWith2x,
    /// `CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1`: works as 2.x and writes nothing but leases.
    CompatibleWith2xPhase1,
}

/// Settings of leases and the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordination {
    /// `failoverTimeMillis`: age at which a lease counts as abandoned.
    pub failover_time: Duration,
    /// `leaseAssignmentIntervalMillis`.
    pub lease_assignment_interval: Duration,
    /// `maxLeasesForWorker`.
    pub max_leases_for_worker: usize,
    /// How load is weighed and evened out.
    pub balancing: Balancing,
    /// `clientVersionConfig`.
    pub client_version: ClientVersionConfig,
    /// Whether rows that workers of 2.x cannot read are kept back while such workers may be left; off in strict mode.
    pub spare_2x_workers: bool,
    /// `maxLeasesToStealAtOneTime`; only while the fleet works as 2.x.
    pub max_leases_to_steal: usize,
    /// `enablePriorityLeaseAssignment`: abandoned leases go before balance; only while the fleet works as 2.x.
    pub priority_assignment: bool,
    /// `shardSyncIntervalMillis`.
    pub shard_sync_interval: Duration,
    /// `parentShardPollIntervalMillis`.
    pub parent_poll_interval: Duration,
    /// `ignoreUnexpectedChildShards`.
    pub ignore_unexpected_child_shards: bool,
    /// `isGracefulLeaseHandoffEnabled`.
    pub graceful_handoff: bool,
    /// `gracefulLeaseHandoffTimeoutMillis`.
    pub graceful_handoff_timeout: Duration,
    /// `listShardsBackoffTimeInMillis`.
    pub list_shards_backoff: Duration,
    /// `maxListShardsRetryAttempts`.
    pub max_list_shards_retries: u32,
    /// `workerMetricsReporterFreqInMillis`.
    pub worker_metrics_interval: Duration,
    /// How the CPU is measured for those reports; `None` is `disableWorkerMetrics = true`.
    pub cpu_sampling: Option<CpuSampling>,
    /// `schedulerInitializationBackoffTimeMillis`: wait between two of the 20 start attempts.
    pub initialization_backoff: Duration,
    /// The move from the three tables of 3.0 to 3.4 into one.
    pub table_migration: TableMigrationSettings,
}

/// Settings of the move from the three tables of 3.0 to 3.4 into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMigrationSettings {
    /// `migrateAllEntitiesToLeaseTable`: phase 2, everything is written to the lease table.
    pub to_lease_table: bool,
    /// `tableMigrationCompleteBakeTimeSeconds`, clamped to 3600..604800: time in PENDING before COMPLETE.
    pub complete_after: Duration,
}

impl Default for TableMigrationSettings {
    fn default() -> Self {
        Self { to_lease_table: false, complete_after: Duration::from_secs(86_400) }
    }
}

/// How the CPU is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSampling {
    /// `inMemoryWorkerMetricsCaptureFrequencyMillis`: pause between two samples, above zero.
    pub every: Duration,
    /// `noOfPersistedMetricsPerWorkerMetrics`: averages that a report holds at most.
    pub kept: NonZeroUsize,
}

impl Default for CpuSampling {
    fn default() -> Self {
        Self { every: Duration::from_secs(1), kept: NonZeroUsize::new(10).expect("ten is not zero") }
    }
}

/// Settings of the child and of the records given to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processing {
    /// `callProcessRecordsEvenForEmptyRecordList`.
    pub call_for_empty_lists: bool,
    /// `skipShardSyncAtWorkerInitializationIfLeasesExist`, which also turns the hash range filter of aggregates off.
    pub skip_shard_sync_if_leases_exist: bool,
    /// `timeoutInSeconds`: longest wait for a message of the child; `None` waits for ever. 0 only in strict mode.
    pub child_timeout: Option<Duration>,
    /// `taskBackoffTimeMillis`: wait before a failed step is tried again.
    pub task_backoff: Duration,
    /// `shutdownGraceMillis`: longest wait of a graceful shutdown; [`SAFE_GRACE`] when absent, unless strict.
    pub shutdown_grace: Duration,
    /// `multilangd.protocolLevel`: which generation of child programs we speak to.
    pub protocol_level: ProtocolLevel,
    /// `multilangd.checkpointAtShardEnd`: whether the end of a shard is stored for a child that cannot do it.
    pub checkpoint_at_shard_end: bool,
    /// `multilangd.childFailure`: what follows when a child dies, answers wrongly or is late.
    pub when_child_fails: WhenChildFails,
    /// `multilangd.childRestartLimit`: failures of a shard in a row, without a checkpoint in between, that end the
    /// daemon.
    pub child_restart_limit: NonZeroU32,
    /// `multilangd.onPoison`: what becomes of a record that no child survives.
    pub on_poison: OnPoison,
    /// `multilangd.uncheckpointedLatest`: whether a shard that began at LATEST, and of which nothing is checkpointed,
    /// begins where it began then (`resume`), or at what is newest now, as Java does (`newest`).
    pub resume_latest: bool,
}

/// Settings of the lease table when it must be created.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableSettings {
    /// `leaseTableDeletionProtectionEnabled`.
    pub deletion_protection: bool,
    /// `leaseTablePitrEnabled`.
    pub point_in_time_recovery: bool,
    /// `leaseTableScanTotalSegments`; `None` is automatic.
    pub scan_segments: Option<u32>,
    /// `coordinatorStateTableName`: table of fleets from 3.0 to 3.4; `None` is the application's name with
    /// `-CoordinatorState`.
    pub coordinator_table: Option<String>,
    /// `workerMetricsTableName`: table of fleets from 3.0 to 3.4; `None` is the application's name with
    /// `-WorkerMetricStats`.
    pub metrics_table: Option<String>,
}
