//! Region and endpoints from the shared AWS files, as far as loading a configuration needs them.
//!
//! Credentials are not read here.
//!
//! Source: AWS SDK for Java 2.41 `ProfileFileReader`, checked against it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Environment;

type Section = BTreeMap<String, String>;

/// The properties of the profile in use.
#[derive(Debug, Default)]
pub(super) struct Profile {
    properties: Section,
    services: Section,
}

impl Profile {
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub(super) fn endpoint(&self, service: &str) -> Option<&str> {
        let own = self.services.get(&format!("{service}.endpoint_url")).map(String::as_str);
        own.or_else(|| self.property("endpoint_url"))
    }
}

/// Reads both files; one that is not there is empty.
pub(super) fn load(environment: &Environment) -> Result<Profile, String> {
    let name = environment.profile_name();
    let config = sections(environment, ("aws.configFile", "AWS_CONFIG_FILE"), "config")?;
    let credentials =
        sections(environment, ("aws.sharedCredentialsFile", "AWS_SHARED_CREDENTIALS_FILE"), "credentials")?;
    let mut properties = Section::new();
    let own = format!("profile {name}");
    let chosen = config.get(&own).or_else(|| config.get(name).filter(|_| name == "default"));
    for section in chosen.into_iter().chain(credentials.get(name)) {
        properties.extend(section.clone());
    }
    let services = properties.get("services").and_then(|name| config.get(&format!("services {name}"))).cloned();
    Ok(Profile { properties, services: services.unwrap_or_default() })
}

/// A system property is stronger than its variable.
fn sections(
    environment: &Environment,
    (property, variable): (&str, &str),
    file: &str,
) -> Result<BTreeMap<String, Section>, String> {
    let home = environment.variable("HOME").or_else(|| environment.variable("USERPROFILE"));
    let property = environment.system_properties.get(property).map(String::as_str);
    let path = match property.or_else(|| environment.variable(variable)) {
        Some(path) => path
            .strip_prefix("~/")
            .zip(home)
            .map_or_else(|| PathBuf::from(path), |(rest, home)| PathBuf::from(home).join(rest)),
        None => match home {
            Some(home) => PathBuf::from(home).join(".aws").join(file),
            None => return Ok(BTreeMap::new()),
        },
    };
    let Ok(bytes) = std::fs::read(&path) else { return Ok(BTreeMap::new()) };
    parse(&String::from_utf8_lossy(&bytes)).map_err(|reason| format!("{reason} of {}", path.display()))
}

/// Cuts a file into sections, their names with single blanks.
fn parse(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let (mut section, mut property) = (None, String::new());
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let Some((name, _)) = header.split_once(']') else {
                return Err(format!("Section definition must end with brackets on line {}", index + 1));
            };
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            sections.entry(name.clone()).or_default();
            section = Some(name);
            continue;
        }
        let nested = line.starts_with([' ', '\t']);
        let Some((name, value)) = line.split_once('=') else {
            if nested {
                continue; // goes on with a value that nobody here needs
            }
            return Err(format!("Expected an '=' sign defining a property on line {}", index + 1));
        };
        let Some(section) = section.as_ref().and_then(|name| sections.get_mut(name)) else { continue };
        let name = if nested { format!("{property}.{}", name.trim()) } else { name.trim().to_owned() };
        if !nested {
            property.clone_from(&name);
        }
        section.insert(name, without_comment(value).trim().to_owned());
    }
    Ok(sections)
}

fn without_comment(value: &str) -> &str {
    let ends = [" #", "\t#", " ;", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    &value[..ends.unwrap_or(value.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_properties_comments_and_nested_properties_are_told_apart() {
        let text = "# c\n[ profile   a ]\nregion = eu-west-1 # here\nservices=s\n[services s]\nkinesis =\n  endpoint_url = http://k\n";
        let sections = parse(text).unwrap();
        assert_eq!(sections["profile a"]["region"], "eu-west-1");
        assert_eq!(sections["services s"]["kinesis.endpoint_url"], "http://k");
    }

    #[test]
    fn a_line_without_equals_sign_is_refused_as_the_sdk_does() {
        let refused = parse("[default]\nregion = x\nbad line\n").unwrap_err();
        assert_eq!(refused, "Expected an '=' sign defining a property on line 3");
    }
}
