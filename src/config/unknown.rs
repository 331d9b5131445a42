//! Keys that are not in the table: ignored with a warning, fatal as in the reference, or a typo in one of ours.

use super::bean::CLIENTS;
use super::dead_letters;
use super::keys::{self, KEYS, Key, Kind};
use super::leaf;
use super::own;
use super::report::{Report, Stage, shown};

const NO_DIMENSIONS: &str =
    "Cannot invoke \"java.util.Set.toArray(Object[])\" because \"this.metricsEnabledDimensions\" is null";
/// Our own prefix; the Java daemon ignores such keys silently.
pub(super) const OWN_PREFIX: &str = "multilangd.";
/// Our own keys.
pub(super) const OWN: [&str; 12] = [
    own::COMPATIBILITY,
    own::PROTOCOL_LEVEL,
    own::CHECKPOINT_AT_SHARD_END,
    own::CHILD_FAILURE,
    own::CHILD_RESTART_LIMIT,
    own::UNCHECKPOINTED_LATEST,
    own::ON_POISON,
    dead_letters::FILE,
    dead_letters::QUEUE,
    dead_letters::S3,
    dead_letters::STREAM,
    own::BUFFER_BYTES,
];

const BEAN: &str = "'class software.amazon.kinesis.multilang.config.MultiLangDaemonConfiguration'";

/// Whether a fault is about one of our own keys.
pub(super) fn is_ours(key: Option<&str>) -> bool {
    key.is_some_and(|key| key.starts_with(OWN_PREFIX) || OWN.contains(&key) || near_own(key).is_some())
}

/// Reports a key that [`keys::find`] does not know.
pub(super) fn report(name: &str, text: &str, strict: bool, report: &mut Report) {
    let value = shown(name, text);
    if let Some(java) = subscript_fault(name) {
        let message = format!("`{name}`: brackets have no meaning in a key; remove them");
        return report.fault_java(Stage::Load, name, message, java);
    }
    if name.starts_with("metricsEnabledDimensions.") {
        let message = format!("`{name}`: the key has no parts; remove the line");
        return report.fault_java(Stage::Load, name, message, NO_DIMENSIONS);
    }
    if let Some((stage, java)) = leaf::fault(name, text) {
        let message =
            format!("`{name} = {value}`: this setting of the client cannot be given in a file; remove the line");
        return report.fault_java(stage, name, message, java);
    }
    let bean = name.split_once("CredentialsProvider.");
    if bean.is_some_and(|(client, leaf)| matches!(client, "kinesis" | "dynamoDB" | "cloudWatch") && leaf != "class") {
        let java = "Unable to to introspect or handle software.amazon.awssdk.auth.credentials.AwsCredentialsProvider \
                    as it doesn't have a builder or create method.";
        return report.fault_java(
            Stage::Load,
            name,
            format!("`{name}`: only `.class` can be given; remove the line"),
            java,
        );
    }
    if let Some(own) = near_own(name) {
        let message = format!("`{name}`: no such key; did you mean `{own}`?");
        if name.starts_with(OWN_PREFIX) || !strict {
            return report.fault(Stage::Load, name, message);
        }
        return report.warn(name, message);
    }
    if name.starts_with(OWN_PREFIX) {
        let message = format!("`{name} = {value}`: no such key; known are {}; remove the line", OWN.join(", "));
        return report.fault(Stage::Load, name, message);
    }
    if let Some((_, cure)) = keys::OBSOLETE.iter().find(|(old, _)| *old == name) {
        return report.warn(name, format!("`{name} = {value}`: this key has no effect any more; {cure}"));
    }
    let cure = nearest(name).map_or_else(|| "remove the line".to_owned(), |key| format!("did you mean `{key}`?"));
    report.warn(name, format!("`{name} = {value}`: unknown key, ignored; {cure}"));
}

/// Whether `name` is one of ours, mistyped.
fn near_own(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    OWN.into_iter().find(|own| name != *own && distance(&lower, own) <= 2)
}

/// Java's complaint about brackets in a key, where it has one.
///
/// Source: commons-beanutils 1.11 `DefaultResolver`, `PropertyUtilsBean`.
fn subscript_fault(name: &str) -> Option<String> {
    let open = name.find(['[', '('])?;
    let (closing, rest) = if name.as_bytes()[open] == b'[' { (']', true) } else { (')', false) };
    let Some(close) = name[open..].find(closing).map(|at| open + at) else {
        return Some("Missing End Delimiter".to_owned());
    };
    let (property, inside) = (&name[..open], &name[open + 1..close]);
    let is_client =
        CLIENTS.iter().any(|client| property.strip_prefix(client).is_some_and(|rest| rest.starts_with('.')));
    if rest && inside.is_empty() {
        return Some("No Index Value".to_owned());
    }
    if rest && super::values::int(inside).is_none() {
        return Some(format!("Invalid index value '{inside}'"));
    }
    let known = keys::find(&super::bean::folded(property));
    let inside_of_it = rest && name[close + 1..].starts_with('.');
    if inside_of_it && (is_client || known.is_some_and(has_no_getter)) {
        return None; // Java does not get hold of the bean and leaves the entry out
    }
    if inside_of_it
        && KEYS.iter().any(|key| {
            key.name.split('.').next() == Some(property) && key.name != property || key.bean == Some(property)
        })
        && !is_client
    {
        return Some(format!("Property '{property}' is not indexed on bean class {BEAN}"));
    }
    if property == "metricsEnabledDimensions" {
        return Some(
            "Cannot invoke \"java.util.Set.toArray(Object[])\" because \"this.metricsEnabledDimensions\" is null"
                .to_owned(),
        );
    }
    if is_client {
        let java = if rest {
            "Requested get for an array, but existing value isn't an array"
        } else {
            "Map access isn't supported"
        };
        return Some(java.to_owned());
    }
    known
        .filter(|key| rest && !matches!(key.name, "executableName" | "processingLanguage" | "maxActiveThreads"))
        .map(not_indexed)
}

/// Keys of a bean that can be written and not read.
fn has_no_getter(key: &Key) -> bool {
    matches!(key.name, "workerId" | "regionName") || matches!(key.kind, Kind::Credentials | Kind::Uri)
}

fn not_indexed(key: &Key) -> String {
    let name = key.name.strip_prefix("Aws").map_or_else(|| key.name.to_owned(), |rest| format!("aws{rest}"));
    match key.kind {
        Kind::Credentials | Kind::Uri => no_getter(&name),
        _ if has_no_getter(key) => no_getter(&name),
        Kind::Int | Kind::Long | Kind::Double | Kind::Bool => {
            format!("Property '{name}' is not indexed on bean class {BEAN}")
        }
        _ if name == "retrievalMode" => format!("Property '{name}' is not indexed on bean class {BEAN}"),
        Kind::BoxedInt
        | Kind::BoxedLong
        | Kind::BoxedBool
        | Kind::Text
        | Kind::Enum(_)
        | Kind::EpochSeconds
        | Kind::Duration
        | Kind::Region
        | Kind::Tags
        | Kind::Names
        | Kind::Threads
        | Kind::Impossible => "Cannot invoke \"Object.getClass()\" because \"array\" is null".to_owned(),
    }
}

fn no_getter(name: &str) -> String {
    format!("Property '{name}' has no getter method on bean class {BEAN}")
}

/// The known key that `name` probably stands for.
fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit('.').next().unwrap_or(&lower);
    let rated = KEYS.iter().map(|key| {
        let known = key.name.to_ascii_lowercase();
        (distance(&lower, &known).min(distance(last, &known)), key.name)
    });
    let (cost, key) = rated.min()?;
    let allowed = (lower.len() / 5).clamp(1, 3);
    (cost <= allowed).then_some(key)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_names_the_key_that_was_meant() {
        let table = [
            ("failovertimemillis", Some("failoverTimeMillis")),
            ("MaxRecords", Some("maxRecords")),
            ("fanOutConfig.consumerName", Some("fanoutConfig.consumerName")),
            ("dynamoDbEndpoint", Some("dynamoDBEndpoint")),
            ("AwsCredentialsProviderDynamodb", Some("AwsCredentialsProviderDynamoDB")),
            ("foo", None),
            ("log4j.rootLogger", None),
        ];
        for (typed, meant) in table {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn a_near_miss_of_an_own_key_is_found_with_and_without_the_prefix() {
        for typed in ["multilangd.compatability", "multilang.compatibility", "Multilangd.Compatibility"] {
            assert_eq!(near_own(typed), Some("multilangd.compatibility"), "{typed}");
        }
        assert_eq!(near_own("multilangd.compatibility"), None);
    }
}
