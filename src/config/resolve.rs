//! From a file to a configuration: reads, applies, checks, and reports everything at once.

use std::path::Path;

use super::bean::{self, Bean, CLIENTS, Context};
use super::clients;
use super::core::{self, Names};
use super::dead_letters::{self, DeadLetters};
use super::effective;
use super::environment::Defaults;
use super::keys::{self, Honoured, Key, Kind};
use super::origin::{self, Setting};
use super::own::Own;
use super::report::{Report, Stage};
use super::resolved::{Daemon, Resolved};
use super::unknown::{self, OWN};
use super::{
    Compatibility, Config, Environment, Fault, LoadError, OnPoison, Warning, arn, order, properties, retries, values,
};

/// A usable configuration and what was odd on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the daemon runs on.
    pub config: Config,
    /// Every oddity, in the order in which it is found.
    pub warnings: Vec<Warning>,
    /// What the Java daemon would run on.
    pub resolved: Resolved,
    /// Each setting with its effective value and where it comes from.
    pub settings: Vec<Setting>,
}

/// Reads the file at `path`.
///
/// # Errors
/// All faults of the file at once, the one first that the Java daemon reports.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, LoadError> {
    let bytes = std::fs::read(path).map_err(|error| {
        let file = path.display();
        if error.kind() == std::io::ErrorKind::IsADirectory {
            return alone(format!("Error while reading properties file: {file} (Is a directory)"));
        }
        let what = "Error while reading properties file: Unable to find property file in classpath, or file system:";
        if error.kind() == std::io::ErrorKind::NotFound {
            return alone(format!(
                "{what} '{file}' (give the path of a file; jars of a class path are not looked into)"
            ));
        }
        alone(format!("{what} '{file}' ({error}; give the path of a readable file)"))
    })?;
    load_bytes(&bytes, path, environment)
}

/// As [`load`], for a file whose content is at hand; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(bytes: &[u8], path: &Path, environment: &Environment) -> Result<Loaded, LoadError> {
    let entries = properties::parse(bytes).map_err(|malformed| alone(malformed.to_string()))?;
    let mut report = Report::default();
    let own = Own::read(|key| value_of(&entries, key), environment, &mut report);
    let strict = own.compatibility == Compatibility::Strict;
    let defaults = environment.defaults().unwrap_or_else(|reason| {
        report.fault(Stage::Resolve, "AWS_CONFIG_FILE", format!("{reason}; correct the file"));
        Defaults::without_profile(environment)
    });
    if value_of(&entries, "executableName").is_none() {
        let java = "Must provide an executable name in the properties file, e.g. executableName = sampleapp.py";
        report.fault(Stage::Load, "executableName", java);
    }
    let bean = apply_all(&entries, &defaults, strict, &mut report);
    let names = required(&bean, &mut report);
    if let OnPoison::DeadLetter(DeadLetters::Stream(target)) = &own.on_poison
        && dead_letters::is_read(target, &names.stream, bean.text("streamArn").map(values::trim))
    {
        let key = dead_letters::STREAM;
        let message = format!("`{key} = {}`: the stream that is read; letters need one of their own", target.name);
        report.fault(Stage::Load, key, message);
    }
    let daemon = daemon(&entries, &mut report);
    let clients = clients::clients(&bean, &defaults, &mut report);
    let resolved = Resolved {
        daemon,
        multilang: core::multilang(&bean, &names),
        resolved: core::core(&bean, &names, &mut report),
        clients,
    };
    let retries = retries::read(&defaults, &mut report);
    let given = |key: &str| bean.fields.contains_key(key);
    let mut config =
        effective::config(&resolved, &bean, &own, given("shutdownGraceMillis"), (path, environment), &mut report);
    config.surroundings.retries = retries;
    let Report { mut faults, warnings } = report;
    // stable: within a stage the order of the reference; faults that it does not know come last
    faults.sort_by_key(|fault| (unknown::is_ours(fault.key.as_deref()), fault.stage));
    let settings = origin::settings(&entries, &bean, (&config, &resolved), &defaults);
    match faults.is_empty() {
        true => Ok(Loaded { config, warnings, resolved, settings }),
        false => Err(LoadError { faults, warnings }),
    }
}

fn alone(message: String) -> LoadError {
    let fault = Fault { stage: Stage::Load, key: None, message, java: None };
    LoadError { faults: vec![fault], warnings: Vec::new() }
}

fn value_of<'a>(entries: &'a [(String, String)], name: &str) -> Option<&'a str> {
    entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Applies every entry in the order of the reference, and names what is odd about the file as a whole.
fn apply_all(entries: &[(String, String)], defaults: &Defaults<'_>, strict: bool, report: &mut Report) -> Bean {
    let mut bean = Bean::default();
    let mut applied: Vec<(&str, &'static Key)> = Vec::new();
    let mut not_yet = Vec::new();
    let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    for index in order::walk(&keys) {
        let (name, text) = &entries[index];
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let Some(key) = keys::find(&bean::folded(name)) else {
            unknown::report(name, text, strict, report);
            continue;
        };
        warn_about_value(name, key, text, report);
        match key.honoured {
            Honoured::Yes => {}
            // no metrics are sent, which is what the user asks for
            Honoured::NotYet if key.name == "metricsLevel" && text.eq_ignore_ascii_case("NONE") => {}
            Honoured::NotYet => not_yet.push(name.as_str()),
            // fatal anyway, and a line of every sample file
            Honoured::NoEffectInReference if key.kind == Kind::Impossible || key.name == "processingLanguage" => {}
            Honoured::NoEffectInReference => {
                report.warn(
                    name,
                    format!("`{name} = {text}`: this key has no effect, with the Java daemon neither: {}", key.help),
                );
            }
        }
        applied.push((name, key));
        bean.spell(key, name);
        bean::apply(&mut bean, name, key, text, &mut Context { defaults, strict, report });
    }
    if !not_yet.is_empty() {
        not_yet.sort_unstable();
        let (names, verb) = (not_yet.join("`, `"), if not_yet.len() == 1 { "is" } else { "are" });
        report.warn(
            not_yet[0],
            format!("`{names}` {verb} known, but not honoured yet: this daemon does what it does without"),
        );
    }
    warn_about_aliases(&applied, report);
    bean
}

fn warn_about_value(name: &str, key: &Key, text: &str, report: &mut Report) {
    let keeps_blanks = key.kind == Kind::Text && key.name != "executableName";
    if keeps_blanks && !text.is_empty() && text.trim_end() != text {
        report.warn(name, format!("`{name} = {text}`: the blanks at the end belong to the value; remove them"));
    }
    if key.name == "cleanupLeasesUponShardCompletion" && values::boolean(text) != Some(true) {
        let message = format!(
            "`{name} = {text}`: the value has no effect, finished leases are always cleaned up; remove the line"
        );
        report.warn(name, message);
    }
    if key.kind == Kind::Uri && !text.contains("://") && text.contains(':') {
        report.warn(
            name,
            format!("`{name} = {text}`: this is taken as a URL without a host; write http://{text} or https://{text}"),
        );
    }
}

/// Two keys that write one setting: the last one applied wins, which is not the order of the file.
fn warn_about_aliases(applied: &[(&str, &'static Key)], report: &mut Report) {
    for (index, (first, key)) in applied.iter().enumerate() {
        let same = |other: &&(&str, &'static Key)| {
            other.1.field == key.field || is_region_pair(key, other.1) || is_region_pair(other.1, key)
        };
        let is_first = !applied[..index].iter().any(|other| same(&other));
        let rest: Vec<_> = applied[index + 1..].iter().filter(same).collect();
        if let (true, Some((winner, _))) = (is_first && key.kind != Kind::Credentials, rest.last()) {
            let others = rest.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("`, `");
            let message =
                format!("`{first}`, `{others}`: these keys write the same setting; `{winner}` wins; remove the others");
            report.warn(first, message);
        }
    }
}

fn is_region_pair(all: &Key, one: &Key) -> bool {
    let client = one.name.split('.').next().unwrap_or_default();
    all.name == "regionName" && one.kind == Kind::Region && CLIENTS.contains(&client)
}

/// Checks what must be there, in the order of the reference; what is missing becomes empty.
///
/// Source: daemon 3.5.1 `KinesisClientLibConfigurator.getConfiguration`.
fn required(bean: &Bean, report: &mut Report) -> Names {
    let application = bean.text("applicationName").unwrap_or_default().to_owned();
    if values::is_blank(&application) {
        report.fault(Stage::Load, "applicationName", "Application name is required: add `applicationName = NAME`");
    }
    let mut stream = bean.text("streamName").unwrap_or_default().to_owned();
    match bean.text("streamArn").filter(|arn| !values::trim(arn).is_empty()) {
        Some(arn) => match arn::stream_name(arn) {
            Ok(name) => stream = name,
            Err(java) => {
                let message =
                    format!("`streamArn = {arn}`: expected arn:aws:kinesis:REGION:ACCOUNT:stream/NAME; correct it");
                report.fault_java(Stage::Load, "streamArn", message, java);
            }
        },
        None if values::is_blank(&stream) => {
            let java = "Stream name or Stream Arn is required. Stream Arn takes precedence if both are passed in.";
            report.fault(Stage::Load, "streamName", format!("{java} Add `streamName = NAME`"));
        }
        None => {}
    }
    if bean.providers("kinesisCredentialsProvider").is_none() && !report.faults.iter().any(is_about_kinesis_credentials)
    {
        let java = "A basic set of AWS credentials must be provided";
        let message = format!("{java}: add `AwsCredentialsProvider = DefaultCredentialsProvider`");
        report.fault(Stage::Load, "AwsCredentialsProvider", message);
    }
    let worker = bean.text("workerIdentifier").map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    Names { application, stream, worker }
}

fn is_about_kinesis_credentials(fault: &Fault) -> bool {
    fault.key.as_deref().is_some_and(|key| {
        let key = bean::folded(key);
        key == "AwsCredentialsProvider" || key.starts_with("kinesisCredentialsProvider.")
    })
}

fn daemon(entries: &[(String, String)], report: &mut Report) -> Daemon {
    let threads = value_of(entries, "maxActiveThreads").unwrap_or("0");
    let pool = values::int(threads).unwrap_or_else(|| {
        let message = format!("`maxActiveThreads = {threads}`: expected a whole number without blanks; correct the value or remove the line");
        report.fault_java(Stage::Load, "maxActiveThreads", message, bean::not_a_number(threads));
        0
    });
    Daemon {
        command: values::command(value_of(entries, "executableName").unwrap_or_default()),
        thread_pool: if pool > 0 { format!("fixed:{pool}") } else { "cached".to_owned() },
    }
}
