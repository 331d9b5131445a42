//! What the daemon was started with besides the file: a snapshot, so that loading is a function of its input.

use std::collections::BTreeMap;

/// Environment variables and `-D` system properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// System properties (`-Dname=value`), when started in the place of `java`.
    pub system_properties: BTreeMap<String, String>,
}

impl Environment {
    /// Takes the variables of this process; those that are no UTF-8 are left out.
    #[must_use]
    pub fn from_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { variables: variables.collect(), system_properties: BTreeMap::new() }
    }

    /// Takes these variables and nothing else.
    #[must_use]
    pub fn from_variables<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: variables.collect(), system_properties: BTreeMap::new() }
    }

    /// The value of a variable, if it is there and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
