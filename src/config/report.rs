//! What is wrong with a file, and what is odd about it.

use std::fmt;

/// When Java would have found a fault.
///
/// Source: CONFIGURATION section 1; the names are those of the golden cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Reading, values, required keys.
    Load,
    /// Clients and core configuration.
    Resolve,
    /// Constructors of the worker.
    Scheduler,
}

/// One thing that keeps the daemon from starting; one line, the cure included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When Java would have found it.
    pub stage: Stage,
    /// The key at fault, if it is one.
    pub key: Option<String>,
    /// Names key, value, what was expected and what to do.
    pub message: String,
    /// What the Java daemon says about it, if that is not already in `message`.
    pub java: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.message))?;
        match &self.java {
            Some(java) => write!(f, " (Java: {})", one_line(java)),
            None => Ok(()),
        }
    }
}

/// One thing that works, though perhaps not as its author meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key, if it is one.
    pub key: Option<String>,
    /// Names key, value, effective value and cure.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.message))
    }
}

/// The file cannot be used; holds every fault, the one that Java reports first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// At least one.
    pub faults: Vec<Fault>,
    /// What was odd besides.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Control characters as escapes, so that a value cannot break a line of the log.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The value of a key as it may be shown: whatever may hold a secret is cut.
#[must_use]
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let key = key.to_ascii_lowercase();
    if key.contains("credential") {
        return value.split('|').next().unwrap_or_default();
    }
    let secret = ["secret", "password", "token", "accesskey", "externalid"].iter().any(|word| key.contains(word));
    if secret { "…" } else { value }
}

/// Faults and warnings of one load, in the order in which they are found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Warning>,
}

impl Report {
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push(Warning { key: Some(key.to_owned()), message: message.into() });
    }

    pub(super) fn fault(&mut self, stage: Stage, key: &str, message: impl Into<String>) {
        self.faults.push(Fault { stage, key: Some(key.to_owned()), message: message.into(), java: None });
    }

    pub(super) fn fault_java(&mut self, stage: Stage, key: &str, message: impl Into<String>, java: impl Into<String>) {
        let (key, message, java) = (Some(key.to_owned()), message.into(), Some(java.into()));
        self.faults.push(Fault { stage, key, message, java });
    }
}
