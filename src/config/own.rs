//! Keys of our own, all under `multilangd.`, which the Java daemon ignores silently: one file serves a mixed fleet.

use std::num::NonZeroU32;

use super::dead_letters::{self, DeadLetters};
use super::environment::Environment;
use super::report::{Report, Stage};
use super::values;

/// `safe` (default) or `strict`: whether we differ from Java where Java loses data, wedges or dies.
pub(super) const COMPATIBILITY: &str = "multilangd.compatibility";
/// `3` (default), `2` or `1`: which generation of child programs we speak to.
pub(super) const PROTOCOL_LEVEL: &str = "multilangd.protocolLevel";
/// `false` (default) or `true`: whether we store the end of a shard for a child that answered `shardEnded` without a
/// checkpoint, so that the shards that follow can begin. For libraries that cannot checkpoint there (the crate
/// kcl-async), or that only repeat a number which is stored already.
///
/// Only for a child that has checkpointed the last record it was given (or was given none): then the end claims
/// nothing that the child has not claimed itself, and no record can be lost by it. A child that is behind is started
/// again from its checkpoint, as without this key: its processor must checkpoint the last record of each batch.
pub(super) const CHECKPOINT_AT_SHARD_END: &str = "multilangd.checkpointAtShardEnd";

/// `restart` (default) or `exit`: what follows when a child dies, answers wrongly or is late.
pub(super) const CHILD_FAILURE: &str = "multilangd.childFailure";
/// How many failures of one shard's children in a row, without a checkpoint in between, end the daemon; 1 or more.
pub(super) const CHILD_RESTART_LIMIT: &str = "multilangd.childRestartLimit";
/// With the waits in between, about ten seconds of failures: a supervisor should hear of what does not pass by then.
const DEFAULT_RESTART_LIMIT: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

/// What follows when a child dies, answers wrongly or is late (`multilangd.childFailure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenChildFails {
    /// A fresh child begins at the last checkpoint; other shards run on.
    #[default]
    Restart,
    /// The daemon gives everything back and ends with exit code 1, as Java's does.
    Exit,
}

/// `stop` (default), `skip` or `deadLetter`: what becomes of a record that no child survives.
pub(super) const ON_POISON: &str = "multilangd.onPoison";

/// What becomes of a record that no child survives (`multilangd.onPoison`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnPoison {
    /// Its shard fails until the daemon gives up; nobody looks for it.
    #[default]
    Stop,
    /// It is looked for, named in the log, and left out.
    Skip,
    /// It is looked for, written down with its data, and left out.
    DeadLetter(DeadLetters),
}

/// `resume` (default) or `newest`: where a shard begins that began at LATEST and of which nothing is checkpointed.
pub(super) const UNCHECKPOINTED_LATEST: &str = "multilangd.uncheckpointedLatest";

/// Bytes that all shards of the process may keep together, read ahead and in work. Default: [`buffer_bytes_within`]
/// the memory limit of the process.
pub(super) const BUFFER_BYTES: &str = "multilangd.bufferBytes";

/// The default budget of a process that may use `memory` bytes (of one that does not know, the largest): a quarter of
/// it, because the program itself needs 15 MB and a batch is held beside it; at least 8 MiB, the read-ahead of one
/// Java shard; at most 32 MiB, two of the largest answers: more only helps children that are slower than reading, and
/// a shard that holds nothing may read however much is held.
#[must_use]
pub fn buffer_bytes_within(memory: Option<u64>) -> usize {
    let quarter = usize::try_from(memory.unwrap_or(u64::MAX) / 4).unwrap_or(usize::MAX);
    quarter.clamp(8 << 20, 32 << 20)
}

/// Which generation of child programs the daemon speaks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolLevel {
    /// KCL 1.x: `shutdown` with a reason instead of `shardEnded` and `leaseLost`; a checkpoint may name its place
    /// `checkpoint`.
    One,
    /// As documented for KCL 2.x: `shardEnded` and `shutdownRequested` carry a text field `checkpoint`, which Java
    /// never sends; a checkpoint may name its place `checkpoint`.
    Two,
    /// What the Java daemon 3.x says and understands.
    #[default]
    Three,
}

/// Whose way is taken where Java loses data, wedges or dies (`multilangd.compatibility`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Ours.
    #[default]
    Safe,
    /// Java's.
    Strict,
}

/// What our own keys say.
pub(super) struct Own {
    pub(super) compatibility: Compatibility,
    pub(super) protocol_level: ProtocolLevel,
    pub(super) checkpoint_at_shard_end: bool,
    pub(super) when_child_fails: WhenChildFails,
    pub(super) child_restart_limit: NonZeroU32,
    pub(super) on_poison: OnPoison,
    pub(super) buffer_bytes: Option<usize>,
    pub(super) resume_latest: bool,
}

impl Own {
    /// Reads them; `--strict` is stronger than the file.
    pub(super) fn read<'a>(
        value_of: impl Fn(&str) -> Option<&'a str>,
        environment: &Environment,
        report: &mut Report,
    ) -> Self {
        let value_of = |key| value_of(key).map(values::trim);
        let default = if environment.strict { Compatibility::Strict } else { Compatibility::Safe };
        let compatibility = match value_of(COMPATIBILITY) {
            None | Some("safe") => default,
            Some("strict") => Compatibility::Strict,
            Some(other) => {
                refuse(COMPATIBILITY, other, "safe or strict", report);
                default
            }
        };
        let protocol_level = match value_of(PROTOCOL_LEVEL) {
            None | Some("3") => ProtocolLevel::Three,
            Some("2") => ProtocolLevel::Two,
            Some("1") => ProtocolLevel::One,
            Some(other) => {
                refuse(PROTOCOL_LEVEL, other, "3, 2 or 1", report);
                ProtocolLevel::Three
            }
        };
        let checkpoint_at_shard_end = match value_of(CHECKPOINT_AT_SHARD_END) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                refuse(CHECKPOINT_AT_SHARD_END, other, "true or false", report);
                false
            }
        };
        let is_strict = compatibility == Compatibility::Strict;
        let when_child_fails = match value_of(CHILD_FAILURE) {
            Some("restart") if is_strict => {
                ignored_in_strict_mode(CHILD_FAILURE, "restart", "exit", report);
                WhenChildFails::Exit
            }
            None | Some("restart") if !is_strict => WhenChildFails::Restart,
            None | Some("exit") => WhenChildFails::Exit,
            Some(other) => {
                refuse(CHILD_FAILURE, other, "restart or exit", report);
                WhenChildFails::default()
            }
        };
        let resume_latest = resume_latest(value_of(UNCHECKPOINTED_LATEST), is_strict, report);
        let child_restart_limit = restart_limit(value_of(CHILD_RESTART_LIMIT), report);
        let targets: Vec<_> = dead_letters::KEYS.into_iter().filter_map(|key| Some((key, value_of(key)?))).collect();
        let on_poison = on_poison(value_of(ON_POISON), &targets, when_child_fails, report);
        let buffer_bytes = value_of(BUFFER_BYTES).and_then(|text| buffer_bytes(text, report));
        Self {
            compatibility,
            protocol_level,
            checkpoint_at_shard_end,
            when_child_fails,
            child_restart_limit,
            on_poison,
            buffer_bytes,
            resume_latest,
        }
    }
}

fn ignored_in_strict_mode(key: &'static str, given: &str, used: &str, report: &mut Report) {
    report.warn(key, format!("`{key} = {given}`: has no effect in strict mode, where `{used}` is used"));
}

fn resume_latest(given: Option<&str>, is_strict: bool, report: &mut Report) -> bool {
    match given {
        None => !is_strict,
        Some("resume") if is_strict => {
            ignored_in_strict_mode(UNCHECKPOINTED_LATEST, "resume", "newest", report);
            false
        }
        Some("resume") => true,
        Some("newest") => false,
        Some(other) => {
            refuse(UNCHECKPOINTED_LATEST, other, "resume or newest", report);
            true
        }
    }
}

fn restart_limit(given: Option<&str>, report: &mut Report) -> NonZeroU32 {
    match given.map(|text| (text, text.parse())) {
        None => DEFAULT_RESTART_LIMIT,
        Some((_, Ok(limit))) => limit,
        Some((text, Err(_))) => {
            refuse(CHILD_RESTART_LIMIT, text, "a number from 1 to 4294967295", report);
            DEFAULT_RESTART_LIMIT
        }
    }
}

fn buffer_bytes(text: &str, report: &mut Report) -> Option<usize> {
    let bytes = text.parse().ok().filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        refuse(BUFFER_BYTES, text, "a whole number of bytes above 0", report);
    }
    bytes
}

/// Poison is found by starting children again, so nobody looks for it where the first failure ends the daemon.
fn on_poison(
    poison: Option<&str>,
    targets: &[(&'static str, &str)],
    when_child_fails: WhenChildFails,
    report: &mut Report,
) -> OnPoison {
    let on_poison = match poison {
        None | Some("stop") => OnPoison::Stop,
        Some("skip") => OnPoison::Skip,
        Some("deadLetter") => {
            let target = dead_letters::read(targets, &format!("{ON_POISON} = deadLetter"), report);
            target.map_or(OnPoison::Stop, OnPoison::DeadLetter)
        }
        Some(other) => {
            refuse(ON_POISON, other, "stop, skip or deadLetter", report);
            OnPoison::Stop
        }
    };
    if poison != Some("deadLetter") {
        for (key, _) in targets {
            report.warn(key, format!("`{key}`: has no effect without `{ON_POISON} = deadLetter`"));
        }
    }
    if on_poison != OnPoison::Stop && when_child_fails == WhenChildFails::Exit {
        let message = format!("`{ON_POISON}`: has no effect where a child that fails ends the daemon; `stop` is used");
        report.warn(ON_POISON, message);
        return OnPoison::Stop;
    }
    on_poison
}

fn refuse(key: &'static str, value: &str, expected: &str, report: &mut Report) {
    let message = format!("`{key} = {value}`: expected {expected}; correct the value or remove the line");
    report.fault(Stage::Load, key, message);
}
