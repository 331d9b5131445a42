//! Every key of the file as data; lookups, help and documentation come from here.
//!
//! Source: CONFIGURATION section 6, daemon 3.5.1. No value is looked at here.

/// How a key's text becomes a value, and what "unset" means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Primitive: 0 means unset, and so does text that is no number.
    Int,
    /// As [`Kind::Int`], 64 bits.
    Long,
    /// Primitive floating point, 0 means unset.
    Double,
    /// Primitive: false means unset.
    Bool,
    /// Boxed: text that is no number is 0, and 0 is applied.
    BoxedInt,
    /// As [`Kind::BoxedInt`], 64 bits.
    BoxedLong,
    /// Boxed: text that is neither true nor false is false, and false is applied.
    BoxedBool,
    /// Taken as it is.
    Text,
    /// Upper-cased, not trimmed; anything else is fatal.
    Enum(&'static Words),
    /// Whole seconds since 1970; anything else is fatal.
    EpochSeconds,
    /// ISO 8601; anything else is fatal.
    Duration,
    /// Name of a region for all three clients or for one.
    Region,
    /// Endpoint of one client.
    Uri,
    /// `k=v,k2=v2`.
    Tags,
    /// Names, separated by nearly anything.
    Names,
    /// Strictly a number, checked last.
    Threads,
    /// A chain of credentials providers.
    Credentials,
    /// The key exists, but no value can be given.
    Impossible,
}

/// The words of an enumeration.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// Java's class, as it stands in messages.
    pub class: &'static str,
    /// The words that may be given.
    pub words: &'static [&'static str],
}

/// Whether setting the key changes what this daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honoured {
    /// Yes.
    Yes,
    /// The reference honours it, we do not yet.
    NotYet,
    /// Nobody reads it, in the reference neither.
    NoEffectInReference,
}

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// As written in the file; case counts.
    pub name: &'static str,
    /// `Some(bean)`: may also be written `bean.name`.
    pub bean: Option<&'static str>,
    /// What it writes; aliases share it.
    pub field: &'static str,
    /// Type rule.
    pub kind: Kind,
    /// Effective value when absent.
    pub default: &'static str,
    /// Whether we act on it.
    pub honoured: Honoured,
    /// One line.
    pub help: &'static str,
}

/// Where reading begins.
pub static POSITION: Words =
    Words { class: "software.amazon.kinesis.common.InitialPositionInStream", words: &["LATEST", "TRIM_HORIZON"] };
static LEVEL: Words =
    Words { class: "software.amazon.kinesis.metrics.MetricsLevel", words: &["NONE", "SUMMARY", "DETAILED"] };
static BILLING: Words = Words {
    class: "software.amazon.awssdk.services.dynamodb.model.BillingMode",
    words: &["PAY_PER_REQUEST", "PROVISIONED", "UNKNOWN_TO_SDK_VERSION"],
};
static VERSION: Words = Words {
    class: "software.amazon.kinesis.coordinator.CoordinatorConfig.ClientVersionConfig",
    words: &[
        "CLIENT_VERSION_CONFIG_3X",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1",
    ],
};
/// How to read.
pub static MODE: Words = Words { class: "RetrievalMode", words: &["FANOUT", "POLLING", "DEFAULT"] };

use Honoured::{NoEffectInReference as Idle, NotYet, Yes};

const fn key(name: &'static str, kind: Kind, default: &'static str, honoured: Honoured, help: &'static str) -> Key {
    Key { name, bean: None, field: name, kind, default, honoured, help }
}

const fn bean(bean: &'static str, key: Key) -> Key {
    Key { bean: Some(bean), ..key }
}

const fn writes(field: &'static str, key: Key) -> Key {
    Key { field, ..key }
}

const HANDOFF: &str = "gracefulLeaseHandoffConfigBean";
const STATE: &str = "coordinatorStateTableConfigBean";
const LOAD: &str = "workerMetricStatsTableConfigBean";
const BALANCE: &str = "workerUtilizationAwareAssignmentConfigBean";
const POLLING: &str = "pollingConfig";

/// All of them, in the order of the documentation.
pub static KEYS: [Key; 105] = [
    // identity, connection
    key("executableName", Kind::Text, "required", Yes, "command of the child, split at blanks"),
    key("applicationName", Kind::Text, "required", Yes, "name of lease table, metrics namespace and consumer"),
    key("streamName", Kind::Text, "required unless streamArn", Yes, "stream to read"),
    key("streamArn", Kind::Text, "none", Yes, "stream to read; beats streamName, only the name in it is used"),
    key("tableName", Kind::Text, "applicationName", Yes, "lease table"),
    key("workerIdentifier", Kind::Text, "random UUID", Yes, "name of this worker"),
    writes("workerIdentifier", key("workerId", Kind::Text, "random UUID", Yes, "alias of workerIdentifier")),
    key("regionName", Kind::Region, "aws.region, AWS_REGION, profile, instance metadata", Yes, "region of all clients"),
    writes(
        "kinesisClient.endpointOverride",
        key("kinesisEndpoint", Kind::Uri, "of the region", Yes, "Kinesis endpoint"),
    ),
    writes(
        "dynamoDbClient.endpointOverride",
        key("dynamoDBEndpoint", Kind::Uri, "of the region", Yes, "DynamoDB endpoint"),
    ),
    key("kinesisClient.endpointOverride", Kind::Uri, "of the region", Yes, "alias of kinesisEndpoint"),
    key("dynamoDbClient.endpointOverride", Kind::Uri, "of the region", Yes, "alias of dynamoDBEndpoint"),
    key("cloudWatchClient.endpointOverride", Kind::Uri, "of the region", NotYet, "CloudWatch endpoint"),
    key("kinesisClient.region", Kind::Region, "regionName", Yes, "region of Kinesis alone"),
    key("dynamoDbClient.region", Kind::Region, "regionName", Yes, "region of DynamoDB alone"),
    key("cloudWatchClient.region", Kind::Region, "regionName", NotYet, "region of CloudWatch alone"),
    key("kinesisClient.fipsEnabled", Kind::BoxedBool, "false", NotYet, "FIPS endpoint"),
    key("dynamoDbClient.fipsEnabled", Kind::BoxedBool, "false", NotYet, "FIPS endpoint"),
    key("cloudWatchClient.fipsEnabled", Kind::BoxedBool, "false", NotYet, "FIPS endpoint"),
    key("kinesisClient.dualstackEnabled", Kind::BoxedBool, "false", NotYet, "dual-stack endpoint"),
    key("dynamoDbClient.dualstackEnabled", Kind::BoxedBool, "false", NotYet, "dual-stack endpoint"),
    key("cloudWatchClient.dualstackEnabled", Kind::BoxedBool, "false", NotYet, "dual-stack endpoint"),
    key("dynamoDbClient.endpointDiscoveryEnabled", Kind::Bool, "false", NotYet, "endpoint discovery"),
    writes(
        "kinesisCredentialsProvider",
        key(
            "AwsCredentialsProvider",
            Kind::Credentials,
            "required",
            Yes,
            "credentials for Kinesis, and for the others",
        ),
    ),
    writes(
        "dynamoDBCredentialsProvider",
        key(
            "AwsCredentialsProviderDynamoDB",
            Kind::Credentials,
            "AwsCredentialsProvider",
            Yes,
            "credentials for DynamoDB",
        ),
    ),
    writes(
        "cloudWatchCredentialsProvider",
        key(
            "AwsCredentialsProviderCloudWatch",
            Kind::Credentials,
            "AwsCredentialsProvider",
            NotYet,
            "credentials for CloudWatch",
        ),
    ),
    writes(
        "kinesisCredentialsProvider",
        key("kinesisCredentialsProvider.class", Kind::Credentials, "none", Yes, "one provider without a chain"),
    ),
    writes(
        "dynamoDBCredentialsProvider",
        key("dynamoDBCredentialsProvider.class", Kind::Credentials, "none", Yes, "one provider without a chain"),
    ),
    writes(
        "cloudWatchCredentialsProvider",
        key("cloudWatchCredentialsProvider.class", Kind::Credentials, "none", NotYet, "one provider without a chain"),
    ),
    key("processingLanguage", Kind::Text, "none", Idle, "named in one log line of the reference"),
    key("maxActiveThreads", Kind::Threads, "0", NotYet, "size of the reference's thread pool; 0 is no limit"),
    key("timeoutInSeconds", Kind::BoxedInt, "none", Yes, "longest wait for a message of the child"),
    key("shutdownGraceMillis", Kind::Long, "0", Yes, "longest wait of a graceful shutdown"),
    key("validateSequenceNumberBeforeCheckpointing", Kind::Bool, "false", Idle, "read by nobody"),
    // leases
    key("failoverTimeMillis", Kind::Long, "10000", Yes, "age at which a lease counts as abandoned"),
    key("leaseAssignmentIntervalMillis", Kind::Long, "2 x failoverTimeMillis", Yes, "period of the lease assignment"),
    key(
        "enablePriorityLeaseAssignment",
        Kind::BoxedBool,
        "true",
        Yes,
        "abandoned leases first; only in the 2.x-compatible mode",
    ),
    key("maxLeasesForWorker", Kind::Int, "2147483647", Yes, "most leases of this worker"),
    key("maxLeasesToStealAtOneTime", Kind::Int, "1", Yes, "only in the 2.x-compatible mode"),
    key("maxLeaseRenewalThreads", Kind::Int, "20", NotYet, "threads of the reference's lease renewal, at least 2"),
    key("shardSyncIntervalMillis", Kind::Long, "60000", Yes, "period of the look at the shard list"),
    key("cleanupLeasesUponShardCompletion", Kind::Bool, "true", Yes, "cannot be set to false"),
    key("ignoreUnexpectedChildShards", Kind::Bool, "false", Yes, "tolerate child shards without a parent"),
    key(
        "initialLeaseTableReadCapacity",
        Kind::Int,
        "10",
        Idle,
        "only for a provisioned lease table, which no key selects",
    ),
    key(
        "initialLeaseTableWriteCapacity",
        Kind::Int,
        "10",
        Idle,
        "only for a provisioned lease table, which no key selects",
    ),
    key(
        "leaseTableDeletionProtectionEnabled",
        Kind::BoxedBool,
        "false",
        Yes,
        "protect a new lease table from deletion",
    ),
    key("leaseTablePitrEnabled", Kind::BoxedBool, "false", Yes, "point-in-time recovery of a new lease table"),
    key("leaseTableScanTotalSegments", Kind::Int, "0 (automatic)", Yes, "segments of the lease table's scan"),
    key("listShardsBackoffTimeInMillis", Kind::Long, "1500", Yes, "wait between two tries to list the shards"),
    key("maxListShardsRetryAttempts", Kind::Int, "50", Yes, "tries to list the shards"),
    key("initialPositionInStream", Kind::Enum(&POSITION), "LATEST", Yes, "where a new shard is read from"),
    writes(
        "initialPositionInStream",
        key(
            "initialPositionInStreamExtended",
            Kind::EpochSeconds,
            "none",
            Yes,
            "read from this time, in seconds since 1970",
        ),
    ),
    bean(
        HANDOFF,
        key(
            "isGracefulLeaseHandoffEnabled",
            Kind::BoxedBool,
            "true",
            Yes,
            "let a worker finish before its lease moves",
        ),
    ),
    bean(HANDOFF, key("gracefulLeaseHandoffTimeoutMillis", Kind::BoxedLong, "30000", Yes, "longest wait for it")),
    // coordinator
    key("parentShardPollIntervalMillis", Kind::Long, "10000", Yes, "period of the look at a parent shard's end"),
    key(
        "skipShardSyncAtWorkerInitializationIfLeasesExist",
        Kind::Bool,
        "false",
        Yes,
        "no shard list at start when leases exist",
    ),
    key("schedulerInitializationBackoffTimeMillis", Kind::Long, "1000", Yes, "wait between the 20 start attempts"),
    key("shardPrioritization", Kind::Impossible, "none", Idle, "no value can be given"),
    key(
        "clientVersionConfig",
        Kind::Enum(&VERSION),
        "CLIENT_VERSION_CONFIG_3X",
        Yes,
        "mode of a fleet that comes from 2.x",
    ),
    key("migrateAllEntitiesToLeaseTable", Kind::Bool, "false", Yes, "begins phase 2 of the one-table migration"),
    key("tableMigrationCompleteBakeTimeSeconds", Kind::Long, "86400", Yes, "used clamped to 3600..604800"),
    bean(
        STATE,
        key(
            "coordinatorStateTableName",
            Kind::Text,
            "<applicationName>-CoordinatorState",
            Yes,
            "table of fleets from 3.0 to 3.4",
        ),
    ),
    bean(STATE, key("coordinatorStateBillingMode", Kind::Enum(&BILLING), "PAY_PER_REQUEST", Idle, "its billing mode")),
    bean(STATE, key("coordinatorStateReadCapacity", Kind::Long, "0", Idle, "its read capacity")),
    bean(STATE, key("coordinatorStateWriteCapacity", Kind::Long, "0", Idle, "its write capacity")),
    bean(STATE, key("coordinatorStatePointInTimeRecoveryEnabled", Kind::BoxedBool, "false", Idle, "its recovery")),
    bean(STATE, key("coordinatorStateDeletionProtectionEnabled", Kind::BoxedBool, "false", Idle, "its protection")),
    bean(STATE, key("coordinatorStateTags", Kind::Tags, "none", Idle, "its tags")),
    // worker metrics, balancing
    bean(
        LOAD,
        key(
            "workerMetricsTableName",
            Kind::Text,
            "<applicationName>-WorkerMetricStats",
            Yes,
            "table of fleets from 3.0 to 3.4",
        ),
    ),
    bean(LOAD, key("workerMetricsBillingMode", Kind::Enum(&BILLING), "PAY_PER_REQUEST", Idle, "its billing mode")),
    bean(LOAD, key("workerMetricsReadCapacity", Kind::Long, "0", Idle, "its read capacity")),
    bean(LOAD, key("workerMetricsWriteCapacity", Kind::Long, "0", Idle, "its write capacity")),
    bean(LOAD, key("workerMetricsPointInTimeRecoveryEnabled", Kind::BoxedBool, "false", Idle, "its recovery")),
    bean(LOAD, key("workerMetricsDeletionProtectionEnabled", Kind::BoxedBool, "false", Idle, "its protection")),
    bean(LOAD, key("workerMetricsTags", Kind::Tags, "none", Idle, "its tags")),
    bean(
        BALANCE,
        key("inMemoryWorkerMetricsCaptureFrequencyMillis", Kind::Long, "1000", Yes, "period of load samples"),
    ),
    bean(BALANCE, key("workerMetricsReporterFreqInMillis", Kind::Long, "30000", Yes, "period of load reports")),
    bean(BALANCE, key("noOfPersistedMetricsPerWorkerMetrics", Kind::Int, "10", Yes, "load samples kept in a report")),
    bean(BALANCE, key("disableWorkerMetrics", Kind::BoxedBool, "false", Yes, "report no CPU, balance by throughput")),
    bean(
        BALANCE,
        key("maxThroughputPerHostKBps", Kind::Double, "1.7976931348623157E308", Yes, "throughput one host may take"),
    ),
    bean(BALANCE, key("dampeningPercentage", Kind::Int, "60", Yes, "share of an imbalance that is moved at once")),
    bean(BALANCE, key("reBalanceThresholdPercentage", Kind::Int, "10", Yes, "imbalance that is left alone")),
    bean(
        BALANCE,
        key("allowThroughputOvershoot", Kind::BoxedBool, "true", Yes, "take a lease that is a little too heavy"),
    ),
    bean(BALANCE, key("varianceBalancingFrequency", Kind::Int, "3", Yes, "assignment rounds between two balancings")),
    bean(BALANCE, key("workerMetricsEMAAlpha", Kind::Double, "0.5", Yes, "weight of the newest load sample")),
    bean(
        BALANCE,
        key(
            "staleWorkerMetricsEntryCleanupDuration",
            Kind::Duration,
            "P1D",
            NotYet,
            "age at which a load report is removed",
        ),
    ),
    // retrieval
    key("retrievalMode", Kind::Enum(&MODE), "DEFAULT", Yes, "FANOUT, POLLING, or polling if a polling key is set"),
    bean(POLLING, key("maxRecords", Kind::Int, "10000", Yes, "most records in an answer")),
    bean(
        POLLING,
        key("idleTimeBetweenReadsInMillis", Kind::Long, "1500", Yes, "pause between two reads, at least 200"),
    ),
    bean(
        POLLING,
        key(
            "millisBehindLatestThresholdForReducedTps",
            Kind::Long,
            "0 (off)",
            Yes,
            "read less often when this close to the tip",
        ),
    ),
    bean(POLLING, key("retryGetRecordsInSeconds", Kind::BoxedInt, "none", Idle, "selects polling, nothing else")),
    bean(POLLING, key("maxGetRecordsThreadPool", Kind::BoxedInt, "none", Idle, "selects polling, nothing else")),
    key("fanoutConfig.consumerName", Kind::Text, "applicationName", Yes, "name of the registered consumer"),
    key("fanoutConfig.consumerArn", Kind::Text, "none", Yes, "use this consumer, register none"),
    key("fanoutConfig.maxDescribeStreamSummaryRetries", Kind::Int, "10", Yes, "retries"),
    key("fanoutConfig.maxDescribeStreamConsumerRetries", Kind::Int, "10", Yes, "retries"),
    key("fanoutConfig.registerStreamConsumerRetries", Kind::Int, "10", Yes, "retries"),
    key("fanoutConfig.retryBackoffMillis", Kind::Long, "1000", Yes, "wait between them"),
    // lifecycle, processor, metrics
    key("taskBackoffTimeMillis", Kind::Long, "500", Yes, "wait before a failed step is tried again"),
    key("logWarningForTaskAfterMillis", Kind::BoxedLong, "none", NotYet, "warn about a step that takes longer"),
    key("callProcessRecordsEvenForEmptyRecordList", Kind::Bool, "false", Yes, "give the child empty lists too"),
    key("metricsLevel", Kind::Enum(&LEVEL), "DETAILED", NotYet, "how many metrics"),
    key("metricsBufferTimeMillis", Kind::Long, "10000", NotYet, "period of their upload"),
    key("metricsMaxQueueSize", Kind::Int, "10000", NotYet, "most metrics that wait for it"),
    key("metricsEnabledDimensions", Kind::Names, "ALL", NotYet, "dimensions they carry"),
];

/// Finds the key that `name` spells, directly or as `bean.name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    let spelled = |key: &&Key| {
        key.name == name
            || key
                .bean
                .is_some_and(|bean| name.strip_prefix(bean).and_then(|rest| rest.strip_prefix('.')) == Some(key.name))
    };
    KEYS.iter().find(spelled)
}

/// Keys that users of 1.x and of the Java API know and that the reference ignores; with the cure.
///
/// Source: CONFIGURATION section 7.
pub static OBSOLETE: [(&str, &str); 22] = [
    (
        "timestampAtInitialPositionInStream",
        "reading does NOT begin there; use initialPositionInStreamExtended with seconds since 1970",
    ),
    ("skipShardSyncAtStartupIfLeasesExist", "use skipShardSyncAtWorkerInitializationIfLeasesExist"),
    ("idleMillisBetweenCalls", "use idleTimeBetweenReadsInMillis"),
    ("maxRecordsCount", "use maxRecords"),
    ("timeoutSeconds", "use timeoutInSeconds"),
    ("commonClientConfig", "remove it"),
    ("kinesisClientConfig", "remove it"),
    ("dynamoDBClientConfig", "remove it"),
    ("cloudWatchClientConfig", "remove it"),
    ("userAgent", "remove it"),
    ("billingMode", "remove it: the lease table is always on demand"),
    ("namespace", "remove it: the metrics namespace is applicationName"),
    ("kinesisRequestTimeout", "remove it"),
    ("dataFetchingStrategy", "remove it: records are always prefetched"),
    ("maxPendingProcessRecordsInput", "remove it"),
    ("maxCacheByteSize", "remove it"),
    ("leaseCleanupIntervalMillis", "remove it"),
    ("shardSyncStrategy", "remove it"),
    ("syncWorkerThreads", "remove it"),
    ("leasesRecoveryAuditorExecutionFrequencyMillis", "remove it"),
    ("metricsBackend", "remove it: no key selects another back end"),
    ("consistentReads", "remove it"),
];
