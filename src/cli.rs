//! The command line: the daemon's own words, a Java command line in its place, and commands of our own.
//!
//! [`plan`] decides, this file does. Where we differ from the reference: `-h`, `--help`, `--version` are answered
//! (there they are names of properties files), a first word that is a command of ours is one, `--strict`,
//! `--log-format` and `--log-level` are options, and a failure to start prints no stack trace.
//!
//! Source: CLI.md.

use std::ffi::OsString;
use std::io::Write as _;

use tracing::{debug, warn};

use crate::app::{self, logging};
use crate::config::Environment;

pub mod arguments;
pub mod check;
pub mod commands;
pub mod find;
pub mod java;
pub mod plan;
pub mod real_java;
pub mod texts;

use plan::{Help, Plan, Refusal, Start, Stream, Surroundings};

/// Runs the program; returns the exit code of the process.
#[must_use]
pub fn main() -> i32 {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let around = Surroundings { variable: &|name| std::env::var_os(name), read: &|path| std::fs::read(path) };
    match plan::plan(&program, &words, &around) {
        Plan::Daemon(start) => daemon(start),
        Plan::Command => commands::run(&words),
        Plan::Help(Help::Usage) => say(&help()),
        Plan::Help(Help::Version) => say(&format!("multilangd {}\n", env!("CARGO_PKG_VERSION"))),
        Plan::JavaVersion(stream) => java_version(stream),
        Plan::RealJava { what } => {
            eprintln!("{}", real_java::exec(&what, &words));
            1
        }
        Plan::Refused(refusal) => refuse(&refusal),
    }
}

/// Prints to standard output. That it is closed is nobody's failure.
fn say(text: &str) -> i32 {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    0
}

/// The whole help.
#[must_use]
pub fn help() -> String {
    let mut help = [texts::HELP, texts::COMMANDS].concat();
    #[cfg(feature = "local")]
    help.push_str(texts::LOCAL_COMMANDS);
    help.push_str(texts::AS_JAVA);
    help
}

/// Launchers ask for it before anything else, and want exit code 0.
///
/// Source: CLI.md section 2, Haskell.
fn java_version(stream: Stream) -> i32 {
    let text = format!(
        "multilangd {} in the place of java: runs the KCL MultiLangDaemon, without a Java virtual machine\n",
        env!("CARGO_PKG_VERSION")
    );
    match stream {
        Stream::Out => say(&text),
        Stream::Error => {
            eprint!("{text}");
            0
        }
    }
}

/// Tells why nothing is started. Streams and texts are the reference's, without its stack trace.
///
/// Source: CLI.md, outcomes.
fn refuse(refusal: &Refusal) -> i32 {
    if refusal.shows_usage() {
        say(texts::USAGE);
        eprintln!("{}\n{}", refusal.message(), texts::POINTER);
    } else {
        eprintln!("{}{}", texts::BEFORE_START, refusal.message());
    }
    1
}

/// The order of the reference: words, name of the file, log configuration, properties, everything else.
fn daemon(start: Start) -> i32 {
    let environment = environment(&start);
    if let Err(refusal) = usable(&start) {
        return refuse(&refusal);
    }
    let log = log_choice(&start);
    if let Err(message) = logging::start(&log, &environment.variables, &environment.system_properties) {
        return refuse(&Refusal::start(message));
    }
    if start.words.overridden {
        warn!("Overriding the properties file with the --properties-file option");
    }
    for option in &start.without_meaning {
        // what stands behind may be the licence of an agent
        let option = option.split('=').next().unwrap_or_default();
        debug!(option, "this option of the Java virtual machine has no meaning here");
    }
    for name in start.system_properties.keys().filter(|name| !is_honoured(name)) {
        debug!(name, "this system property has no meaning here");
    }
    let file = find::properties_file(&start.words.properties, &start.class_path);
    match app::run(&file, &environment) {
        Ok(code) => code,
        Err(error) => refuse(&Refusal::start(error.to_string())),
    }
}

/// What the configuration is loaded with.
fn environment(start: &Start) -> Environment {
    Environment {
        system_properties: start.system_properties.clone(),
        strict: start.words.strict,
        ..Environment::from_process()
    }
}

/// Refuses what would silently not be as it was meant.
fn usable(start: &Start) -> Result<(), Refusal> {
    const TRUST_STORE: &str = "javax.net.ssl.trustStore";
    match start.system_properties.get(TRUST_STORE) {
        Some(store) if !store.is_empty() => Err(Refusal::start(format!(
            "-D{TRUST_STORE}={store}: a Java key store cannot be read; give the certificate authorities as a PEM file \
             in AWS_CA_BUNDLE (or SSL_CERT_FILE) and remove the flag"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// `-l`, else `-Dlogback.configurationFile`, else a logback.xml on the class path.
///
/// Source: LOGGING.md, selecting a configuration.
fn log_choice(start: &Start) -> logging::Choice {
    let words = &start.words;
    let given = words.log_configuration.as_ref().map(|file| (file.into(), true));
    let property = || start.system_properties.get("logback.configurationFile").filter(|file| !file.is_empty());
    let found = given
        .or_else(|| {
            property().map(|file| {
                (find::properties_file(file.strip_prefix("file:").unwrap_or(file).as_ref(), &start.class_path), false)
            })
        })
        .or_else(|| find::logback(&start.class_path).map(|file| (file, false)));
    let logback = found.map(|(path, required)| logging::Logback { path, required });
    logging::Choice { logback, format: words.log_format.clone(), level: words.log_level.clone() }
}

/// Whether a system property changes what we do.
///
/// Source: CLI.md section 4.
fn is_honoured(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "aws.region",
        "aws.accessKeyId",
        "aws.secretAccessKey",
        "aws.sessionToken",
        "aws.profile",
        "aws.configFile",
        "aws.sharedCredentialsFile",
        "aws.disableEc2Metadata",
        "logback.configurationFile",
        "http.nonProxyHosts",
        "http.proxyHost",
        "https.proxyHost",
    ];
    NAMES.contains(&name)
        || name.starts_with("aws.endpointUrl")
        || name.ends_with(".proxyPort")
        || name.ends_with(".proxyUser")
        || name.ends_with(".proxyPassword")
}
