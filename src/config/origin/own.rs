//! Our own keys in the list of settings.

use serde_json::json;

use super::{Defaults, Honoured, Origin, Setting};
use crate::config::Config;
use crate::config::dead_letters::{DeadLetters, FILE, QUEUE, S3, STREAM};
use crate::config::own::{
    BUFFER_BYTES, CHECKPOINT_AT_SHARD_END, CHILD_FAILURE, CHILD_RESTART_LIMIT, COMPATIBILITY, Compatibility, ON_POISON,
    OnPoison, PROTOCOL_LEVEL, ProtocolLevel, UNCHECKPOINTED_LATEST, WhenChildFails,
};

/// In the order of the documentation.
pub(super) fn settings(config: &Config, defaults: &Defaults<'_>, entries: &[(String, String)]) -> [Setting; 12] {
    let in_file = |name: &str| entries.iter().any(|(key, _)| key == name);
    let from = |name: &str| if in_file(name) { Origin::File(name.to_owned()) } else { Origin::Default };
    let flag = defaults.environment.strict;
    let level = match config.processing.protocol_level {
        ProtocolLevel::One => 1,
        ProtocolLevel::Two => 2,
        ProtocolLevel::Three => 3,
    };
    let (on_poison, letters) = match &config.processing.on_poison {
        OnPoison::Stop => ("stop", None),
        OnPoison::Skip => ("skip", None),
        OnPoison::DeadLetter(target) => ("deadLetter", Some(target)),
    };
    let letters = |key: &str| json!(letters.filter(|target| target.key() == key).map(DeadLetters::value));
    let origin = if flag { Origin::Environment("--strict".to_owned()) } else { from(COMPATIBILITY) };
    let compatibility = if config.compatibility == Compatibility::Strict { "strict" } else { "safe" };
    let when_child_fails = match config.processing.when_child_fails {
        WhenChildFails::Restart => "restart",
        WhenChildFails::Exit => "exit",
    };
    let setting = |key, value, help| Setting { key, value, origin: from(key), honoured: Honoured::Yes, help };
    let help = "strict does what the Java daemon does where our default is safer";
    [
        Setting { origin, ..setting(COMPATIBILITY, json!(compatibility), help) },
        setting(PROTOCOL_LEVEL, json!(level), "generation of child programs that is spoken to"),
        setting(
            CHECKPOINT_AT_SHARD_END,
            json!(config.processing.checkpoint_at_shard_end),
            "the end of a shard is stored for a child that cannot, once its last record is checkpointed",
        ),
        setting(
            CHILD_FAILURE,
            json!(when_child_fails),
            "a child that fails is followed by a fresh one (restart), or ends the daemon (exit)",
        ),
        setting(
            CHILD_RESTART_LIMIT,
            json!(config.processing.child_restart_limit),
            "failures of a shard in a row, without a checkpoint in between, that end the daemon",
        ),
        setting(
            UNCHECKPOINTED_LATEST,
            json!(if config.processing.resume_latest { "resume" } else { "newest" }),
            "a shard that began at LATEST and has no checkpoint begins where it did then (resume), or at the newest record",
        ),
        setting(
            ON_POISON,
            json!(on_poison),
            "a record that no child survives is left to fail (stop), or found and left out (skip, deadLetter)",
        ),
        setting(FILE, letters(FILE), "where deadLetter writes those records, a line of JSON each"),
        setting(QUEUE, letters(QUEUE), "or: URL of the SQS queue it sends them to"),
        setting(S3, letters(S3), "or: s3://BUCKET/PREFIX/ it puts them under, an object each"),
        setting(STREAM, letters(STREAM), "or: name or ARN of the Kinesis stream it puts them into"),
        setting(
            BUFFER_BYTES,
            json!(config.buffer_bytes),
            "bytes that all shards may hold together; unset: a quarter of the memory limit, 8 to 32 MiB",
        ),
    ]
}
