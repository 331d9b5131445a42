//! Runs every golden configuration case and compares it with what the Java daemon made of the same file.
//!
//! `GOLDEN_CONFIG_DIR` names the folder of cases; without it the copy in the repository is taken. The last line
//! is `golden: P/T`. The cases run in strict mode, which is the reference's behaviour.
//!
//! What is compared: outcome; of a failure the stage and that the reference's last message stands in our first
//! fault; else every value under `daemon`, `multilang`, `resolved` and `clients`; and that each warning of the
//! reference stands in one of ours. What is not: Java class names, the machine-dependent warning about the
//! operating range, the SDK's remarks about its profile files, settings that no key reaches (`INTERNAL`), arguments of credentials providers inside
//! messages, which we keep secret, and the object and region lists behind the SDK's messages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use multilangd::config::report::one_line;
use multilangd::config::{Environment, LoadError, Loaded, Stage, load};
use serde_json::Value;

/// Settings that no key reaches, by parent and name.
const INTERNAL: [(&str, &str); 42] = [
    ("resolved", "checkpointConfig"),
    ("coordinatorConfig", "maxInitializationAttempts"),
    ("coordinatorConfig", "shardConsumerDispatchPollIntervalMillis"),
    ("coordinatorConfig", "shardPrioritization"),
    ("coordinatorStateTableConfig", "type"),
    ("leaseManagementConfig", "billingMode"),
    ("leaseManagementConfig", "cacheMissWarningModulus"),
    ("leaseManagementConfig", "consistentReads"),
    ("leaseManagementConfig", "customShardDetectorProvider"),
    ("leaseManagementConfig", "dynamoDbLockBasedLeaderHeartbeatPeriodInMillis"),
    ("leaseManagementConfig", "dynamoDbLockBasedLeaderLeaseDurationInMillis"),
    ("leaseManagementConfig", "dynamoDbRequestTimeout"),
    ("leaseManagementConfig", "epsilonMillis"),
    ("leaseManagementConfig", "hierarchicalShardSyncer"),
    ("leaseManagementConfig", "leaseAssignmentStrategy"),
    ("leaseManagementConfig", "leaseCleanupConfig"),
    ("leaseManagementConfig", "leaseManagementFactory"),
    ("leaseManagementConfig", "leasesRecoveryAuditorExecutionFrequencyMillis"),
    ("leaseManagementConfig", "leasesRecoveryAuditorInconsistencyConfidenceThreshold"),
    ("leaseManagementConfig", "listShardsCacheAllowedAgeInSeconds"),
    ("leaseManagementConfig", "maxCacheMissesBeforeReload"),
    ("leaseManagementConfig", "streamIdOnboardingState"),
    ("leaseManagementConfig", "streamInfoMode"),
    ("leaseManagementConfig", "streamName"),
    ("leaseManagementConfig", "tags"),
    ("gracefulLeaseHandoffConfig", "type"),
    ("workerUtilizationAwareAssignmentConfig", "type"),
    ("workerUtilizationAwareAssignmentConfig", "workerMetricList"),
    ("workerMetricsTableConfig", "type"),
    ("lifecycleConfig", "readTimeoutsToIgnoreBeforeWarning"),
    ("metricsConfig", "metricsBackend"),
    ("metricsConfig", "metricsFactory"),
    ("metricsConfig", "openTelemetry"),
    ("metricsConfig", "publisherFlushBuffer"),
    ("retrievalConfig", "glueSchemaRegistryDeserializer"),
    ("retrievalConfig", "initialPositionInStreamExtended"),
    ("retrievalConfig", "listShardsBackoffTimeInMillis"),
    ("retrievalConfig", "maxListShardsRetryAttempts"),
    ("retrievalConfig", "retrievalFactory"),
    ("retrievalSpecificConfig", "dataFetcherProvider"),
    ("retrievalSpecificConfig", "kinesisRequestTimeout"),
    ("retrievalSpecificConfig", "maxPendingProcessRecordsInput"),
];

fn main() -> ExitCode {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let root = std::env::var_os("GOLDEN_CONFIG_DIR").map_or(default, PathBuf::from);
    let mut cases: Vec<PathBuf> = match std::fs::read_dir(&root) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => {
            println!("{}: {error}", root.display());
            Vec::new()
        }
    };
    cases.retain(|case| case.join("input.properties").is_file() && case.join("expected.json").is_file());
    cases.sort();
    let mut passed = 0;
    for case in &cases {
        let differences = run(case);
        passed += usize::from(differences.is_empty());
        for difference in differences {
            println!("{}: {difference}", case.file_name().unwrap_or_default().to_string_lossy());
        }
    }
    println!("golden: {passed}/{}", cases.len());
    if passed == cases.len() && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(case.join("expected.json")).unwrap_or_default();
    let expected: Value = match serde_json::from_str(&without_lone_surrogates(&without_bare_words(&text))) {
        Ok(expected) => expected,
        Err(error) => return vec![format!("expected.json: {error}")],
    };
    let outcome = load(&case.join("input.properties"), &environment(case));
    let mut differences = Vec::new();
    let said: Vec<String> = match &outcome {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(error) => error.warnings.iter().map(ToString::to_string).chain([error.to_string()]).collect(),
    };
    match (&outcome, expected["outcome"].as_str()) {
        (Ok(loaded), Some("ok")) => compare_values(&expected, loaded, &mut differences),
        (Err(error), Some("error")) => compare_failure(&expected, error, &mut differences),
        (Ok(_), _) => differences.push(format!("loads, but should fail with {}", last_message(&expected))),
        (Err(error), _) => differences.push(format!("fails, but should load: {error}")),
    }
    for warning in expected["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let text = warning.split_once(": ").map_or(warning, |(_, text)| text);
        let public = comparable(text);
        let foreign = text.contains("operating range metadata provider") || warning.contains("ProfileFileReader: ");
        if !foreign && !said.iter().any(|line| line.contains(&public)) {
            differences.push(format!("does not warn: {text}"));
        }
    }
    differences
}

/// The environment in which the cases were made, and the case's own variables.
fn environment(case: &Path) -> Environment {
    let mut environment =
        Environment::from_variables([("HOME", "/nonexistent"), ("AWS_EC2_METADATA_DISABLED", "true")]);
    environment.strict = true;
    let own = std::fs::read_to_string(case.join("env.json")).ok();
    let own: Option<Value> = own.and_then(|text| serde_json::from_str(&text).ok());
    let folder = case.canonicalize().unwrap_or_else(|_| case.to_owned());
    for (name, value) in own.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default().replace("{case}", &folder.to_string_lossy());
        environment.variables.insert(name.clone(), value);
    }
    environment
}

/// JSON has no `NaN` and no `Infinity`; the reference's dump writes them bare.
fn without_bare_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut line = line.to_owned();
        for word in ["-Infinity", "Infinity", "NaN"] {
            for end in ["", ","] {
                if let Some(start) = line.strip_suffix(&format!(": {word}{end}")) {
                    line = format!("{start}: \"{word}\"{end}");
                }
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// Half a surrogate pair, which Java's strings may hold and the dump writes, is U+FFFD to us.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
    };
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let (length, plain) = match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..)) => (12, text.get(at..at + 12)),
            (Some(_), _) => (6, Some("\u{fffd}")),
            (None, _) if c == '\\' => (2, text.get(at..at + 2)),
            (None, _) => (c.len_utf8(), text.get(at..at + c.len_utf8())),
        };
        out.push_str(plain.unwrap_or_default());
        at += length;
    }
    out
}

fn compare_failure(expected: &Value, error: &LoadError, differences: &mut Vec<String>) {
    let Some(first) = error.faults.first() else {
        differences.push("fails without a fault".to_owned());
        return;
    };
    let stage = match first.stage {
        Stage::Load => "load",
        Stage::Resolve => "resolve",
        Stage::Scheduler => "scheduler",
    };
    if expected["stage"].as_str() != Some(stage) {
        differences.push(format!("fails at stage {stage}, expected {}: {first}", expected["stage"]));
    }
    let message = comparable(&last_message(expected));
    if !first.to_string().contains(&message) {
        differences.push(format!("first fault `{first}` does not say `{message}`"));
    }
}

fn last_message(expected: &Value) -> String {
    let chain = expected["chain"].as_array().into_iter().flatten();
    let message = chain.last().and_then(|cause| cause["message"].as_str());
    message.unwrap_or_default().to_owned()
}

/// The part of a message that does not depend on objects, on the list of regions, or on secrets.
fn comparable(message: &str) -> String {
    let end = ["@<hash>", " Valid regions: ["].iter().filter_map(|mark| message.find(mark)).min();
    let message = &message[..end.unwrap_or(message.len())];
    if message.contains("nested key: ") {
        return one_line(message.split('=').next().unwrap_or_default());
    }
    let Some(members) = message.strip_prefix("Unable to construct any provider with name ") else {
        return one_line(message);
    };
    let first = members.split([',', '|']).map(str::trim).find(|name| !name.is_empty());
    first.map_or_else(String::new, |name| format!("Unable to construct any provider with name {}", one_line(name)))
}

fn compare_values(expected: &Value, loaded: &Loaded, differences: &mut Vec<String>) {
    let ours = match serde_json::to_value(&loaded.resolved) {
        Ok(ours) => ours,
        Err(error) => {
            differences.push(format!("no JSON: {error}"));
            return;
        }
    };
    for part in ["daemon", "multilang", "resolved", "clients"] {
        compare(part, part, &expected[part], &ours[part], differences);
    }
}

fn compare(path: &str, name: &str, expected: &Value, ours: &Value, differences: &mut Vec<String>) {
    if let (Some(expected), Some(ours)) = (expected.as_object(), ours.as_object()) {
        let only_ours = ours.keys().filter(|key| !expected.contains_key(*key));
        for key in expected.keys().chain(only_ours) {
            if INTERNAL.contains(&(name, key.as_str())) {
                continue;
            }
            let missing = Value::String("(absent)".to_owned());
            let (left, right) = (expected.get(key).unwrap_or(&missing), ours.get(key).unwrap_or(&missing));
            compare(&format!("{path}.{key}"), key, left, right, differences);
        }
        return;
    }
    let (mut expected, mut ours) = (scrubbed(expected), scrubbed(ours));
    if name == "metricsEnabledDimensions" {
        for list in [&mut expected, &mut ours] {
            if let Some(list) = list.as_array_mut() {
                list.sort_by_key(ToString::to_string);
            }
        }
    }
    let same_number = expected.as_f64().zip(ours.as_f64()).is_some_and(|(a, b)| a.to_bits() == b.to_bits());
    if expected != ours && !same_number {
        differences.push(format!("{path} is {ours}, expected {expected}"));
    }
}

fn scrubbed(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if is_uuid(text) => Value::String("<uuid>".to_owned()),
        Some(_) | None => value.clone(),
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}
