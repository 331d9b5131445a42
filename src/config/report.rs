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
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
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
        f.write_str(&self.message)
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
