//! Table tests, one for each quirk; the golden cases hold the values themselves.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::types::EpochMillis;

const BASE: &str = "executableName = app.py\nstreamName = stream1\napplicationName = app1\n\
                    AwsCredentialsProvider = DefaultCredentialsProvider\nregionName = us-east-1\n";

fn outcome(text: &str, strict: bool) -> Result<Loaded, LoadError> {
    let mut environment = Environment::from_variables([("AWS_EC2_METADATA_DISABLED", "true")]);
    environment.strict = strict;
    load_bytes(text.as_bytes(), Path::new("app.properties"), &environment)
}

fn with(lines: &str) -> Loaded {
    outcome(&format!("{BASE}{lines}\n"), false).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

fn refused(lines: &str) -> LoadError {
    outcome(&format!("{BASE}{lines}\n"), false).expect_err(lines)
}

fn warnings(lines: &str) -> Vec<String> {
    with(lines).warnings.iter().map(ToString::to_string).collect()
}

fn fault_keys(error: &LoadError) -> Vec<&str> {
    error.faults.iter().filter_map(|fault| fault.key.as_deref()).collect()
}

#[test]
fn a_plain_file_gives_the_defaults_and_no_warning() {
    let Loaded { config, warnings, .. } = with("");
    assert_eq!(warnings, []);
    assert_eq!(config.command, ["app.py"]);
    assert_eq!((config.table_name.as_str(), config.region.as_deref()), ("app1", Some("us-east-1")));
    assert_eq!(config.coordination.failover_time, Duration::from_secs(10));
    assert_eq!(config.coordination.lease_assignment_interval, Duration::from_secs(20));
    assert_eq!(config.initial_position, InitialPosition::Latest);
    assert!(matches!(config.retrieval, Retrieval::FanOut(FanOut { ref consumer_name, .. }) if consumer_name == "app1"));
    assert_eq!(config.credentials.dynamodb, [CredentialsProvider::Default]);
    assert_eq!(config.compatibility, Compatibility::Safe);
}

#[test]
fn all_faults_are_reported_at_once_and_the_first_is_javas() {
    let error =
        outcome("metricsLevel = LOUD\nmaxRecords = 20000\nmaxActiveThreads = x\nworkerId =\n", false).unwrap_err();
    let keys = fault_keys(&error);
    assert_eq!(keys[0], "executableName");
    for key in [
        "metricsLevel",
        "applicationName",
        "streamName",
        "AwsCredentialsProvider",
        "maxActiveThreads",
        "regionName",
        "maxRecords",
        "workerId",
    ] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!(error.to_string().lines().count(), error.faults.len());
}

#[test]
fn a_value_cannot_break_a_line_of_a_message() {
    let error = refused("streamArn = a\\nb");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
fn equal_to_the_default_of_the_type_means_unset() {
    let table = [
        ("failoverTimeMillis=0", 10_000),
        ("failoverTimeMillis=abc", 10_000),
        ("failoverTimeMillis=", 10_000),
        ("failoverTimeMillis=+7", 7),
    ];
    for (line, millis) in table {
        assert_eq!(with(line).config.coordination.failover_time, Duration::from_millis(millis), "{line}");
    }
}

#[test]
fn a_boxed_key_takes_false_from_a_blank_value() {
    for line in [
        "isGracefulLeaseHandoffEnabled =",
        "isGracefulLeaseHandoffEnabled = maybe",
        "isGracefulLeaseHandoffEnabled = no",
    ] {
        assert!(!with(line).config.coordination.graceful_handoff, "{line}");
    }
    assert!(warnings("isGracefulLeaseHandoffEnabled =")[0].contains("`false` is used"));
    assert_eq!(warnings("isGracefulLeaseHandoffEnabled = no"), [""; 0]);
}

#[test]
fn a_primitive_bool_is_not_trimmed() {
    assert!(with("callProcessRecordsEvenForEmptyRecordList = YES").config.processing.call_for_empty_lists);
    assert!(!with("callProcessRecordsEvenForEmptyRecordList = true ").config.processing.call_for_empty_lists);
}

#[test]
fn a_polling_key_selects_polling_unless_it_counts_as_unset() {
    let polls = |line| matches!(with(line).config.retrieval, Retrieval::Polling(_));
    let table = [
        ("maxRecords = 5", true),
        ("pollingConfig.maxRecords = 5", true),
        ("maxRecords = 0", false),
        ("maxRecords = abc", false),
        ("retryGetRecordsInSeconds = abc", true), // boxed: 0 is a value
        ("retrievalMode = polling", true),
        ("retrievalMode = FanOut\nmaxRecords = 5", false),
    ];
    for (line, polling) in table {
        assert_eq!(polls(line), polling, "{line}");
    }
}

#[test]
fn an_epoch_position_is_seconds() {
    let position = with("initialPositionInStreamExtended = 5").config.initial_position;
    assert_eq!(position, InitialPosition::AtTimestamp(EpochMillis(5_000)));
}

#[test]
fn the_grace_of_a_stop_is_ours_only_when_the_file_is_silent() {
    let grace = |lines, strict| outcome(&format!("{BASE}{lines}\n"), strict).unwrap().config.processing.shutdown_grace;
    assert_eq!(grace("", false), SAFE_GRACE);
    assert_eq!(grace("", true), Duration::ZERO);
    assert_eq!(grace("shutdownGraceMillis = 0", false), Duration::ZERO);
    assert_eq!(grace("shutdownGraceMillis = 3000", false), Duration::from_secs(3));
}

#[test]
fn a_negative_number_is_the_default_and_nothing_at_all_in_strict_mode() {
    for (strict, seconds) in [(false, 10), (true, 0)] {
        let loaded = outcome(&format!("{BASE}failoverTimeMillis = -5\n"), strict).unwrap();
        assert_eq!(loaded.config.coordination.failover_time, Duration::from_secs(seconds), "strict: {strict}");
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    }
}

#[test]
fn strict_comes_from_the_file_or_the_command_line() {
    assert_eq!(with("multilangd.compatibility = strict").config.compatibility, Compatibility::Strict);
    assert_eq!(with("multilangd.compatibility = safe").config.compatibility, Compatibility::Safe);
    assert_eq!(outcome(BASE, true).unwrap().config.compatibility, Compatibility::Strict);
    assert_eq!(fault_keys(&refused("multilangd.compatibility = lax")), ["multilangd.compatibility"]);
}

#[test]
fn the_protocol_level_is_three_unless_the_file_says_otherwise() {
    let level = |line: &str| with(line).config.processing.protocol_level;
    assert_eq!(level(""), ProtocolLevel::Three);
    assert_eq!(level("multilangd.protocolLevel = 2"), ProtocolLevel::Two);
    assert_eq!(level("multilangd.protocolLevel = 1 "), ProtocolLevel::One);
    assert_eq!(fault_keys(&refused("multilangd.protocolLevel = 4")), ["multilangd.protocolLevel"]);
}

#[test]
fn the_end_of_a_shard_is_left_to_the_child_unless_the_file_says_otherwise() {
    let ours = |line: &str| with(line).config.processing.checkpoint_at_shard_end;
    assert!(!ours(""));
    assert!(!ours("multilangd.checkpointAtShardEnd = false"));
    assert!(ours("multilangd.checkpointAtShardEnd = true "));
    assert_eq!(fault_keys(&refused("multilangd.checkpointAtShardEnd = yes")), ["multilangd.checkpointAtShardEnd"]);
}

#[test]
fn a_child_that_fails_is_started_again_unless_the_file_or_strict_mode_says_otherwise() {
    let when =
        |lines: &str, strict| outcome(&format!("{BASE}{lines}\n"), strict).unwrap().config.processing.when_child_fails;
    let table = [
        ("", false, WhenChildFails::Restart),
        ("multilangd.childFailure = restart ", false, WhenChildFails::Restart),
        ("multilangd.childFailure = exit", false, WhenChildFails::Exit),
        ("multilangd.compatibility = strict", false, WhenChildFails::Exit),
        ("", true, WhenChildFails::Exit),
        ("multilangd.childFailure = restart", true, WhenChildFails::Exit),
    ];
    for (lines, strict, expected) in table {
        assert_eq!(when(lines, strict), expected, "{lines} {strict}");
    }
    let said = warnings("multilangd.compatibility = strict\nmultilangd.childFailure = restart");
    assert!(said.iter().any(|said| said.contains("`multilangd.childFailure = restart`: has no effect")), "{said:?}");
    assert_eq!(fault_keys(&refused("multilangd.childFailure = ignore")), ["multilangd.childFailure"]);
}

#[test]
fn a_shard_of_latest_goes_on_where_it_began_unless_the_file_or_strict_mode_says_otherwise() {
    let resumes =
        |lines: &str, strict| outcome(&format!("{BASE}{lines}\n"), strict).unwrap().config.processing.resume_latest;
    let table = [
        ("", false, true),
        ("multilangd.uncheckpointedLatest = resume ", false, true),
        ("multilangd.uncheckpointedLatest = newest", false, false),
        ("", true, false),
        ("multilangd.uncheckpointedLatest = resume", true, false),
    ];
    for (lines, strict, expected) in table {
        assert_eq!(resumes(lines, strict), expected, "{lines} {strict}");
    }
    let said = warnings("multilangd.compatibility = strict\nmultilangd.uncheckpointedLatest = resume");
    assert!(
        said.iter().any(|said| said.contains("`multilangd.uncheckpointedLatest = resume`: has no effect")),
        "{said:?}"
    );
    let refused = refused("multilangd.uncheckpointedLatest = oldest");
    assert_eq!(fault_keys(&refused), ["multilangd.uncheckpointedLatest"]);
}

#[test]
fn the_limit_of_restarts_is_a_number_above_zero() {
    let limit = |line: &str| with(line).config.processing.child_restart_limit.get();
    assert_eq!((limit(""), limit("multilangd.childRestartLimit = 12 ")), (5, 12));
    for value in ["0", "-1", "five", "", "99999999999"] {
        let fault = &refused(&format!("multilangd.childRestartLimit = {value}")).faults[0];
        let expected = format!("`multilangd.childRestartLimit = {value}`: expected a number from 1");
        assert!(fault.message.starts_with(&expected), "{fault}");
    }
}

#[test]
fn poison_is_looked_for_only_where_the_file_says_so_and_children_are_started_again() {
    let policy = |lines: &str| with(lines).config.processing.on_poison;
    let letters = "multilangd.onPoison = deadLetter\nmultilangd.deadLetterFile = /tmp/dead.jsonl";
    assert_eq!(policy(""), OnPoison::Stop);
    assert_eq!(policy("multilangd.onPoison = stop"), OnPoison::Stop);
    assert_eq!(policy("multilangd.onPoison = skip"), OnPoison::Skip);
    assert_eq!(policy(letters), OnPoison::DeadLetter(DeadLetters::File("/tmp/dead.jsonl".into())));
    assert_eq!(policy(&format!("{letters}\nmultilangd.childFailure = exit")), OnPoison::Stop);
    let fault = &refused("multilangd.onPoison = sqs").faults[0];
    assert!(fault.message.contains("expected stop, skip or deadLetter"), "{fault}");
    for (lines, told) in [
        ("multilangd.deadLetterFile = x", "has no effect without `multilangd.onPoison = deadLetter`"),
        ("multilangd.deadLetterS3 = s3://abc", "`multilangd.deadLetterS3`: has no effect without"),
        ("multilangd.onPoison = skip\nmultilangd.childFailure = exit", "has no effect where a child that fails ends"),
    ] {
        assert!(warnings(lines).iter().any(|said| said.contains(told)), "{lines}: {:?}", warnings(lines));
    }
}

#[test]
fn letters_go_to_the_one_place_that_the_file_names() {
    let letters = |line: &str| format!("multilangd.onPoison = deadLetter\n{line}");
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/letters";
    for (key, value) in [
        ("multilangd.deadLetterFile", "/tmp/dead.jsonl"),
        ("multilangd.deadLetterQueue", "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo"),
        ("multilangd.deadLetterS3", "s3://bucket/poison/"),
        ("multilangd.deadLetterStream", "letters"),
        ("multilangd.deadLetterStream", arn),
    ] {
        let loaded = with(&letters(&format!("{key} = {value}")));
        let OnPoison::DeadLetter(target) = loaded.config.processing.on_poison else { panic!("{key}") };
        assert_eq!((target.key(), target.value().as_str()), (key, value));
        assert_eq!(loaded.warnings, []);
        let shown = loaded.settings.iter().filter(|setting| setting.key.starts_with("multilangd.deadLetter"));
        let shown: Vec<_> = shown.filter(|setting| !setting.value.is_null()).collect();
        assert!(shown.len() == 1 && shown[0].key == key && shown[0].value == value, "{shown:?}");
    }
    let both = "multilangd.deadLetterFile = x\nmultilangd.deadLetterS3 = s3://bucket";
    let many =
        "`multilangd.deadLetterFile` and `multilangd.deadLetterS3` are given, and letters go to one place; remove all";
    for (lines, told) in [
        ("", "needs a place for letters; give one of multilangd.deadLetterFile, multilangd.deadLetterQueue,"),
        (both, many),
        ("multilangd.deadLetterFile =", "expected the path of a file"),
        ("multilangd.deadLetterQueue = dead", "`multilangd.deadLetterQueue = dead`: expected the URL of a queue"),
        ("multilangd.deadLetterS3 = bucket", "expected s3://BUCKET/PREFIX/"),
        ("multilangd.deadLetterStream = a b", "expected the name of a stream"),
        ("multilangd.deadLetterStream = stream1", "the stream that is read; letters need one of their own"),
    ] {
        let faults = refused(&letters(lines)).faults;
        assert!(faults.len() == 1 && faults[0].message.contains(told), "{lines}: {faults:?}");
    }
}

#[test]
fn the_byte_budget_follows_the_memory_limit_unless_the_file_says_otherwise() {
    let bytes = |line: &str| with(line).config.buffer_bytes;
    assert_eq!(bytes(""), None);
    assert_eq!(bytes("multilangd.bufferBytes = 1048576 "), Some(1_048_576));
    for wrong in ["0", "-1", "32MB", ""] {
        let line = format!("multilangd.bufferBytes = {wrong}");
        assert_eq!(fault_keys(&refused(&line)), ["multilangd.bufferBytes"], "{line}");
    }
    let mib = 1 << 20;
    let table = [(None, 32), (Some(16), 8), (Some(64), 16), (Some(128), 32), (Some(1 << 20), 32)];
    for (limit, budget) in table {
        assert_eq!(buffer_bytes_within(limit.map(|limit| limit << 20)), budget * mib, "{limit:?}");
    }
}

#[test]
fn only_an_idle_time_that_nobody_set_follows_arrivals() {
    let follows = |loaded: Loaded| match loaded.config.retrieval {
        Retrieval::Polling(polling) => polling.follows_arrivals,
        Retrieval::FanOut(_) => panic!("no polling"),
    };
    assert!(follows(with("retrievalMode = POLLING")));
    assert!(follows(with("maxRecords = 100")));
    assert!(!follows(with("idleTimeBetweenReadsInMillis = 1500")));
    assert!(!follows(with("retrievalMode = POLLING\nmultilangd.compatibility = strict")));
}

#[test]
fn an_unknown_or_mistyped_own_key_is_refused() {
    for line in ["multilangd.compatability = strict", "multilangd.foo = 1", "Multilangd.compatibility = strict"] {
        assert_eq!(refused(line).faults.len(), 1, "{line}");
    }
}

#[test]
fn a_worker_id_that_could_be_another_row_is_refused_in_safe_mode_only() {
    for worker in ["Leader", "Migration3.0", "TableMigration3.5", "shardId-000000000001", "caf\\u00e9", "a\\nb"] {
        let line = format!("workerId = {worker}");
        assert_eq!(fault_keys(&refused(&line)), ["workerId"], "{worker}");
        assert!(outcome(&format!("{BASE}{line}\n"), true).is_ok(), "{worker}");
    }
}

#[test]
fn the_cpu_is_sampled_as_the_file_says() {
    let sampling = |lines: &str| outcome(&format!("{BASE}{lines}"), false).unwrap().config.coordination.cpu_sampling;
    let every_second = CpuSampling { every: Duration::from_secs(1), kept: NonZeroUsize::new(10).unwrap() };
    assert_eq!(sampling(""), Some(every_second));
    let other = "inMemoryWorkerMetricsCaptureFrequencyMillis = 500\nnoOfPersistedMetricsPerWorkerMetrics = 3\n";
    let half = CpuSampling { every: Duration::from_millis(500), kept: NonZeroUsize::new(3).unwrap() };
    assert_eq!(sampling(other), Some(half));
    assert_eq!(sampling("disableWorkerMetrics = true\n"), None);
    for line in ["inMemoryWorkerMetricsCaptureFrequencyMillis = -5", "noOfPersistedMetricsPerWorkerMetrics = -1"] {
        assert_eq!(sampling(&format!("{line}\n")), Some(every_second), "{line}");
        let said = warnings(line);
        assert!(said.iter().any(|said| said.contains(line) && said.contains("expected 1 or more")), "{line}: {said:?}");
    }
}

#[test]
fn names_of_the_first_sdk_are_taken_unless_strict() {
    let table = [
        ("DefaultAWSCredentialsProviderChain", vec![CredentialsProvider::Default]),
        (
            "com.amazonaws.auth.profile.ProfileCredentialsProvider|dev",
            vec![CredentialsProvider::Profile(Some("dev".to_owned()))],
        ),
        (
            "EC2ContainerCredentialsProviderWrapper",
            vec![CredentialsProvider::Container, CredentialsProvider::InstanceProfile],
        ),
        // the name of KCL 2.0 to 2.6
        (
            "software.amazon.kinesis.multilang.auth.KclSTSAssumeRoleSessionCredentialsProvider|arn:r|s|endpointRegion=eu-west-1",
            vec![CredentialsProvider::AssumeRole {
                role_arn: "arn:r".to_owned(),
                session_name: "s".to_owned(),
                external_id: None,
                region: Some("eu-west-1".to_owned()),
                endpoint: None,
            }],
        ),
        // what works with the reference keeps its identity
        (
            "com.amazonaws.auth.profile.ProfileCredentialsProvider,EnvironmentVariableCredentialsProvider",
            vec![CredentialsProvider::Environment],
        ),
    ];
    for (value, providers) in table {
        let text = BASE.replace("DefaultCredentialsProvider", value);
        let loaded = outcome(&text, false).unwrap();
        assert_eq!(loaded.config.credentials.kinesis, providers, "{value}");
        assert!(!loaded.warnings.is_empty(), "{value}");
        assert_eq!(outcome(&text, true).is_ok(), value.contains(','), "{value}");
    }
}

#[test]
fn a_provider_without_a_name_is_refused_even_beside_a_good_one() {
    let error =
        outcome(&BASE.replace("DefaultCredentialsProvider", "DefaultCredentialsProvider,|"), false).unwrap_err();
    assert!(error.faults[0].to_string().contains("a provider has no name"), "{error}");
    let error = refused("dynamoDBCredentialsProvider.class = ProfileCredentialsProvider|dev\n");
    assert_eq!(fault_keys(&error), ["dynamoDBCredentialsProvider.class"], "bars mean nothing there");
}

#[test]
fn no_message_shows_the_arguments_of_a_credentials_provider() {
    let values = [
        "StaticCredentialsProvider|AKID|S3CRET",
        "StsAssumeRoleCredentialsProvider|a|b|externalId=S3CRET=x",
        "NoSuch|S3CRET",
    ];
    for value in values {
        let error = outcome(&BASE.replace("DefaultCredentialsProvider", value), false).unwrap_err();
        let said = format!("{error}{:?}{:?}", error.warnings, error.faults);
        assert!(!said.contains("S3CRET"), "{said}");
    }
    for line in
        ["kinesisCredentialsProvider.class = A|S3CRET", "awsSecretKey = S3CRET", "AwsCredentialsProviderX = A|S3CRET"]
    {
        let said = format!("{:?}", outcome(&format!("{BASE}{line}\n"), false));
        assert!(!said.contains("S3CRET"), "{said}");
    }
}

#[test]
fn what_java_swallows_is_said() {
    let table = [
        ("failovertimemillis = 5", "did you mean `failoverTimeMillis`?"),
        ("foo = bar", "unknown key, ignored"),
        ("timestampAtInitialPositionInStream = 1", "initialPositionInStreamExtended"),
        ("failoverTimeMillis = 10s", "the default 10000 is used"),
        ("failoverTimeMillis = -1", "10000 is used"),
        ("cleanupLeasesUponShardCompletion = false", "no effect"),
        ("validateSequenceNumberBeforeCheckpointing = true", "no effect"),
        ("tableName = t ", "blanks at the end"),
        ("workerId = a\nworkerIdentifier = b", "write the same setting"),
        ("kinesisClient.region = eu-west-1", "write the same setting"),
        ("timeoutInSeconds = abc", "no limit is used"),
        ("kinesisEndpoint = localhost:4566", "http://localhost:4566"),
        ("maxRecords = 5", "defaulting to polling"),
        ("idleTimeBetweenReadsInMillis = 5", "Defaulting to minimum 200"),
        ("workerMetricsTags = a", "Invalid tag a, ignoring it"),
    ];
    for (line, part) in table {
        let said = warnings(line);
        assert!(said.iter().any(|warning| warning.contains(part)), "{line}: {said:?}");
    }
}

#[test]
fn keys_not_honoured_yet_are_named_in_one_line() {
    let said = warnings("metricsLevel = SUMMARY\nmetricsBufferTimeMillis = 5\nkinesisClient.fipsEnabled = true");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        ["metricsLevel", "metricsBufferTimeMillis", "kinesisClient.fipsEnabled"]
            .iter()
            .all(|key| said[0].contains(key))
    );
}

#[test]
fn how_load_is_weighed_comes_from_the_file() {
    let balancing = |lines: &str| with(lines).config.coordination.balancing;
    assert_eq!(balancing(""), Balancing::default());
    let given = "reBalanceThresholdPercentage = 5\ndampeningPercentage = 80\nallowThroughputOvershoot = false\n\
        maxThroughputPerHostKBps = 2048.5\nworkerMetricsEMAAlpha = 0.25\nvarianceBalancingFrequency = 1";
    let expected = Balancing {
        threshold_percentage: 5,
        dampening_percentage: 80,
        allow_overshoot: false,
        max_throughput_per_host_kbps: 2048.5,
        ema_alpha: 0.25,
        frequency: 1,
    };
    assert_eq!(balancing(given), expected);
    assert_eq!(warnings(given), Vec::<String>::new(), "all of them are honoured");
}

#[test]
fn weights_that_mean_nothing_are_replaced_and_said() {
    for line in ["workerMetricsEMAAlpha = 1.5", "workerMetricsEMAAlpha = NaN", "maxThroughputPerHostKBps = -1"] {
        assert_eq!(with(line).config.coordination.balancing, Balancing::default(), "{line}");
        assert!(warnings(line).iter().any(|warning| warning.contains("is used; correct it")), "{line}");
    }
}

#[test]
fn no_metrics_wanted_is_no_matter_for_a_warning() {
    assert_eq!(warnings("metricsLevel = none"), Vec::<String>::new());
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/app.properties"), &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("'/nonexistent/app.properties'"), "{error}");
}

#[test]
fn the_region_may_come_from_instance_metadata_only_if_that_is_not_switched_off() {
    let text = BASE.replace("regionName = us-east-1\n", "");
    let loaded = load_bytes(text.as_bytes(), Path::new("f"), &Environment::default()).unwrap();
    assert_eq!(loaded.config.region, None);
    assert_eq!(fault_keys(&outcome(&text, false).unwrap_err()), ["regionName"]);
    let environment = Environment::from_variables([("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "x")]);
    let loaded = load_bytes(text.as_bytes(), Path::new("f"), &environment).unwrap();
    assert_eq!(loaded.config.region.as_deref(), Some("eu-west-1"));
}

#[test]
fn every_key_is_found_under_each_of_its_names() {
    for key in &keys::KEYS {
        assert_eq!(keys::find(key.name), Some(key));
        if let Some(bean) = key.bean {
            assert_eq!(keys::find(&format!("{bean}.{}", key.name)), Some(key));
        }
        assert!(!key.help.is_empty() && !key.default.is_empty(), "{}", key.name);
    }
}

fn entries(text: &[u8]) -> Vec<(String, String)> {
    properties::parse(text).unwrap()
}

#[test]
fn the_reader_keeps_javas_corners() {
    let table: [(&[u8], &str, &str); 16] = [
        (b"a = = x", "a", "= x"),
        (b"a b ", "a", "b "),
        (b"a\x85\xe9=\x80", "a\u{85}\u{e9}", "\u{80}"), // Latin-1, not windows-1252
        (b"\xef\xbb\xbfa=b", "\u{ef}\u{bb}\u{bf}a", "b"),
        (b"a=b\rc=d", "a", "b"),
        (b"a=b\\\r\n  c", "a", "bc"),
        (b"a=b\\", "a", "b"),
        (b"a=b\\\n", "a", "b"),
        (b"a=b\\\n\xa0c", "a", "b\u{a0}c"), // a no-break blank is no blank
        (b"a=b\\\n#c", "a", "b#c"),
        (b"\\\n#c\na=b", "a", "b"), // nothing but a continuation mark: the comment counts
        (b"a=b\\ \nc=d", "a", "b "),
        (b"a=\\ud83d\\ude00", "a", "\u{1f600}"),
        (b"a\\ b\\==c", "a b=", "c"),
        (b"a=\x00", "a", "\0"),
        (b"\\", "", ""),
    ];
    for (text, key, value) in table {
        assert_eq!(entries(text)[0], (key.to_owned(), value.to_owned()), "{}", text.escape_ascii());
    }
    assert_eq!(entries(b"a=1\nb=2\na=3"), [("a".to_owned(), "3".to_owned()), ("b".to_owned(), "2".to_owned())]);
    assert_eq!(entries(b"\\\r\n"), []);
    for broken in [&b"a=\\u12"[..], b"a=\\u12g4", b"\\u=1"] {
        assert!(properties::parse(broken).is_err(), "{}", broken.escape_ascii());
    }
    assert_eq!(properties::parse(b"a=1\n# c\n\nb=\\u1").unwrap_err().line, 4);
}

#[test]
fn entries_are_walked_in_the_order_of_javas_hash_table() {
    let last = |keys: &[&str], a: &str, b: &str| {
        let order = order::walk(keys);
        let place = |name: &str| order.iter().position(|index| keys[*index] == name);
        if place(a) > place(b) { a.to_owned() } else { b.to_owned() }
    };
    // CONFIGURATION section 3: size of the table, then who wins
    let table = [(2, "workerIdentifier"), (13, "workerIdentifier"), (25, "workerId"), (50, "workerId")];
    for (count, winner) in table {
        let filler: Vec<String> = (2..count).map(|index| format!("x{index}")).collect();
        let mut keys = vec!["workerId", "workerIdentifier"];
        keys.extend(filler.iter().map(String::as_str));
        assert_eq!(last(&keys, "workerId", "workerIdentifier"), winner, "{count}");
    }
}

#[test]
fn durations_are_read_and_written_as_java_does() {
    use values::NotADuration::{Form, Negative, Overflow};
    let table = [
        ("P1D", Ok("PT24H")),
        ("pt15m", Ok("PT15M")),
        ("p1dt2h3.5s", Ok("PT26H3.5S")),
        ("-P-1D", Ok("PT24H")),
        ("PT1M-1S", Ok("PT59S")),
        ("PT1,5S", Ok("PT1.5S")),
        ("PT0S", Ok("PT0S")),
        ("15m", Err(Form)),
        ("PT", Err(Form)),
        ("P1DT", Err(Form)),
        ("PT.5S", Err(Form)),
        ("PT1M1H", Err(Form)),
        ("PT-0.5S", Err(Negative)),
        ("P106751991167301D", Err(Overflow)),
    ];
    for (text, expected) in table {
        assert_eq!(values::duration(text).map(|duration| duration.to_string()), expected.map(str::to_owned), "{text}");
    }
}

#[test]
fn floating_point_numbers_take_javas_forms() {
    let table = [
        ("1e3", Some(1e3)),
        (".9", Some(0.9)),
        ("0.75d", Some(0.75)),
        ("0x1p-2", Some(0.25)),
        ("1e400", Some(f64::INFINITY)),
        ("inf", None),
        ("0x1", None),
        ("1_0", None),
        ("d", None),
        (".", None),
    ];
    for (text, expected) in table {
        assert_eq!(values::double(text), expected, "{text}");
    }
    assert!(values::double("NaN").is_some_and(f64::is_nan));
}

#[test]
fn dimensions_are_cut_by_the_tokenizer() {
    let table: [(&str, &[&str]); 8] = [
        ("C_D", &["C", "D"]),
        ("a.b,a-b", &["a-b", "a.b"]),
        ("a/x,b", &["a"]),
        ("{\"a b\",c}", &["a b", "c"]),
        ("'a\\101'", &["aA"]),
        ("\"\"", &[""]),
        ("é", &["é"]),
        ("", &[]),
    ];
    for (text, names) in table {
        assert_eq!(lists::names(text), names, "{text}");
    }
}

/// Bytes that make every rule of the format meet every other.
fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "a", "key", " ", "\t", "\u{c}", "\n", "\r", "\r\n", "=", ":", "#", "!", "\\", "\\\n", "\\\r\n", "\\u0041",
        "\\u00e9", "\\t", "\\=", "x1",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn loading_any_bytes_gives_a_configuration_or_faults(bytes: Vec<u8>, strict: bool) {
        let environment = Environment { strict, ..Environment::default() };
        let with_base = [BASE.as_bytes(), &bytes].concat();
        for text in [&bytes, &with_base] {
            if let Err(error) = load_bytes(text, Path::new("f"), &environment) {
                prop_assert!(!error.faults.is_empty());
            }
        }
    }

    #[test]
    fn any_value_of_any_key_gives_a_configuration_or_faults(index in 0..keys::KEYS.len(), value in "\\PC{0,20}") {
        let escaped: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let text = format!("{BASE}{}={escaped}\n", keys::KEYS[index].name);
        if let Err(error) = outcome(&text, false) {
            prop_assert_eq!(error.to_string().lines().count(), error.faults.len());
        }
    }

    #[test]
    fn the_walk_visits_every_entry_once(keys in prop::collection::btree_set("[a-zA-Z.]{1,12}", 0..200)) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut order = order::walk(&keys);
        order.sort_unstable();
        prop_assert_eq!(order, (0..keys.len()).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_global_rejects: 100_000, ..ProptestConfig::default() })]
    #[test]
    fn a_second_reader_of_the_format_agrees(bytes in awkward_bytes()) {
        // the crate ends otherwise in two corners: a mark of continuation at the end of the file or on a line of
        // its own, and the place of a comment after it
        let text = String::from_utf8_lossy(&bytes);
        prop_assume!(!text.split(['\n', '\r']).any(|line| line.trim_matches([' ', '\t', '\u{c}']).chars().all(|c| c == '\\') && line.contains('\\')));
        prop_assume!(!text.trim_end_matches(['\n', '\r', ' ', '\t', '\u{c}']).ends_with('\\'));
        let Ok(second) = java_properties::read(&bytes[..]) else { return Ok(()) };
        let ours: std::collections::HashMap<String, String> = entries(&bytes).into_iter().collect();
        prop_assert_eq!(ours, second);
    }
}
