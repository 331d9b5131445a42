//! Names of loggers: our modules under the names that the reference's lines carry, which is what people filter by.
//!
//! Source: class names of KCL 3.5.1 and of daemon 3.5.1; LOGGING.md.

/// Our modules and the reference's class that logs the like; the first prefix that fits counts.
const CLASSES: [(&str, &str); 28] = [
    ("multilangd::app::aws", "software.amazon.kinesis.multilang.MultiLangDaemonConfig"),
    ("multilangd::app", "software.amazon.kinesis.multilang.MultiLangDaemon"),
    ("multilangd::cli", "software.amazon.kinesis.multilang.MultiLangDaemon"),
    ("multilangd::config", "software.amazon.kinesis.multilang.config.KinesisClientLibConfigurator"),
    ("multilangd::worker", "software.amazon.kinesis.coordinator.Scheduler"),
    ("multilangd::coordinator::leader", "software.amazon.kinesis.coordinator.DynamoDBLockBasedLeaderDecider"),
    ("multilangd::coordinator::renew", "software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRenewer"),
    ("multilangd::coordinator::held", "software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseCoordinator"),
    ("multilangd::coordinator::discover", "software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseDiscoverer"),
    ("multilangd::coordinator::sync", "software.amazon.kinesis.leases.HierarchicalShardSyncer"),
    ("multilangd::coordinator::tree", "software.amazon.kinesis.leases.HierarchicalShardSyncer"),
    ("multilangd::coordinator::cleanup", "software.amazon.kinesis.leases.LeaseCleanupManager"),
    ("multilangd::coordinator::start", "software.amazon.kinesis.coordinator.migration.MigrationStateMachineImpl"),
    ("multilangd::coordinator::stats", "software.amazon.kinesis.worker.metricstats.WorkerMetricStatsReporter"),
    ("multilangd::coordinator", "software.amazon.kinesis.coordinator.assignment.LeaseAssignmentManager"),
    ("multilangd::lease", "software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRefresher"),
    ("multilangd::stream", "software.amazon.kinesis.leases.KinesisShardDetector"),
    ("multilangd::consumer::parent", "software.amazon.kinesis.lifecycle.BlockOnParentShardTask"),
    ("multilangd::consumer::end", "software.amazon.kinesis.lifecycle.ShutdownTask"),
    ("multilangd::consumer::talk", "software.amazon.kinesis.multilang.MultiLangProtocol"),
    ("multilangd::consumer", "software.amazon.kinesis.lifecycle.ShardConsumer"),
    ("multilangd::child::process", "software.amazon.kinesis.multilang.LineReaderTask"),
    ("multilangd::child", "software.amazon.kinesis.multilang.MultiLangShardRecordProcessor"),
    ("multilangd::retrieval::registration", "software.amazon.kinesis.retrieval.fanout.FanOutConsumerRegistration"),
    ("multilangd::retrieval::fanout", "software.amazon.kinesis.retrieval.fanout.FanOutRecordsPublisher"),
    ("multilangd::retrieval", "software.amazon.kinesis.retrieval.polling.PrefetchRecordsPublisher"),
    ("multilangd::checkpoint", "software.amazon.kinesis.checkpoint.ShardRecordProcessorCheckpointer"),
    ("multilangd::record", "software.amazon.kinesis.retrieval.AggregatorUtil"),
];

/// The libraries below us, as the reference's users know theirs.
const LIBRARIES: [(&str, &str); 7] = [
    ("aws_", "software.amazon.awssdk"),
    ("hyper_rustls", "io.netty"),
    ("rustls", "io.netty"),
    ("hyper", "io.netty"),
    ("h2", "io.netty"),
    ("tower", "io.netty"),
    ("tokio", "io.netty"),
];

/// The logger's full name for the target of an event.
#[must_use]
pub fn logger(target: &str) -> String {
    let is_inside =
        |module: &str| target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if let Some((_, class)) = CLASSES.iter().find(|(module, _)| is_inside(module)) {
        return (*class).to_owned();
    }
    let dotted = target.replace("::", ".");
    match LIBRARIES.iter().find(|(begin, _)| target.starts_with(begin)) {
        Some((_, name)) => format!("{name}.{dotted}"),
        None => dotted,
    }
}

/// Whether an event is one of ours; libraries are quieter by default.
#[must_use]
pub fn is_ours(target: &str) -> bool {
    target.strip_prefix("multilangd").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Shortens a name to `width` characters by cutting packages to their first letter, from the left.
///
/// Source: logback 1.2 `TargetLengthBasedClassNameAbbreviator`; with 0, `ClassNameOnlyAbbreviator`.
#[must_use]
pub fn shortened(name: &str, width: usize) -> String {
    if width == 0 {
        return name.rsplit('.').next().unwrap_or_default().to_owned();
    }
    if name.len() < width {
        return name.to_owned();
    }
    let mut to_trim = i64::try_from(name.len()).unwrap_or(i64::MAX) - i64::try_from(width).unwrap_or(i64::MAX);
    let parts: Vec<&str> = name.split('.').collect();
    let mut short = String::with_capacity(name.len());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            short.push('.');
        }
        let is_last = index + 1 == parts.len();
        let keep = if is_last || to_trim <= 0 { part.len() } else { part.chars().next().map_or(0, char::len_utf8) };
        to_trim -= i64::try_from(part.len() - keep).unwrap_or_default();
        short.push_str(&part[..keep]);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_the_reference_shortens_them() {
        let table = [
            // seen in its log
            ("software.amazon.kinesis.multilang.MultiLangDaemonConfig", 36, "s.a.k.m.MultiLangDaemonConfig"),
            ("software.amazon.kinesis.multilang.MultiLangDaemon", 36, "s.a.k.multilang.MultiLangDaemon"),
            ("software.amazon.kinesis.coordinator.Scheduler", 36, "s.a.kinesis.coordinator.Scheduler"),
            (
                "software.amazon.kinesis.multilang.config.KinesisClientLibConfigurator",
                36,
                "s.a.k.m.c.KinesisClientLibConfigurator",
            ),
            ("software.amazon.kinesis.coordinator.Scheduler", 0, "Scheduler"),
            ("multilangd.x", 36, "multilangd.x"),
            ("a..b", 1, "a..b"),
        ];
        for (name, width, short) in table {
            assert_eq!(shortened(name, width), short, "{name} {width}");
        }
    }

    #[test]
    fn modules_carry_the_names_of_the_references_classes() {
        let table = [
            ("multilangd::worker", "software.amazon.kinesis.coordinator.Scheduler"),
            ("multilangd::consumer::task", "software.amazon.kinesis.lifecycle.ShardConsumer"),
            ("multilangd::workers", "multilangd.workers"),
            ("aws_config::imds", "software.amazon.awssdk.aws_config.imds"),
            ("somebody", "somebody"),
        ];
        for (target, name) in table {
            assert_eq!(logger(target), name);
        }
        assert!(is_ours("multilangd::app") && !is_ours("multilangdx"));
    }
}
