//! Where log lines go, which, and how they look. Secrets never come here: see `config::report::shown`.
//!
//! Default: the reference's pattern on standard output; colours in a terminal (Source: LOGGING.md).

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use tracing::warn;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

pub mod date;
pub mod format;
pub mod levels;
pub mod line;
pub mod logback;
#[cfg(test)]
mod logback_tests;
pub mod names;
pub mod output;
pub mod pattern;
pub mod setup;
pub mod stream;

use format::Format;
use output::Output;
use setup::{Log, Setup};

/// Our own variable and the one of the field; the first one that is there counts.
const VARIABLES: [&str; 2] = ["KCL_LOG", "RUST_LOG"];

/// What the command line says about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// A logback.xml; its appenders and levels replace the defaults.
    pub logback: Option<Logback>,
    /// `--log-format`: stronger than the file's patterns.
    pub format: Option<String>,
    /// `--log-level`: stronger than the file's levels and the variables.
    pub level: Option<String>,
}

/// A logback.xml, and whether it must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logback {
    /// Its path.
    pub path: PathBuf,
    /// `-l` was given: a missing or broken file ends the start. Otherwise it is a warning.
    pub required: bool,
}

/// Begins to log; does nothing more if logging has begun already.
///
/// # Errors
/// The message of the reference about a log configuration that is missing or broken, or one about a level or format
/// that is none.
pub fn start(
    choice: &Choice,
    variables: &BTreeMap<String, String>,
    properties: &BTreeMap<String, String>,
) -> Result<(), String> {
    let directives = directives(choice, variables)?;
    let own_format = choice.format.as_deref().map(own_format).transpose()?;
    let lookup = |name: &str| variables.get(name).or_else(|| properties.get(name)).cloned();
    let mut warnings = Vec::new();
    let mut setup = match &choice.logback {
        None => None,
        Some(file) => match read(&file.path, &lookup) {
            Ok((setup, said)) => {
                warnings = said;
                Some(setup)
            }
            Err(message) if file.required => return Err(message),
            Err(message) => {
                warnings.push(message);
                None
            }
        },
    };
    if let (Some(format), Some(setup)) = (&own_format, &mut setup) {
        for appender in &mut setup.appenders {
            appender.format = format.clone();
        }
    }
    install(setup, own_format, directives);
    for warning in warnings {
        warn!("log configuration: {warning}");
    }
    Ok(())
}

fn read(path: &Path, lookup: logback::Lookup<'_>) -> Result<(Setup, Vec<String>), String> {
    let failed = |what: &str| format!("Error while loading log configuration: {what}");
    let bytes = std::fs::read(path).map_err(|error| {
        // Source: CLI.md, outcomes: Java's words for the two usual cases
        let usual = [
            (std::io::ErrorKind::NotFound, "No such file or directory"),
            (std::io::ErrorKind::IsADirectory, "Is a directory"),
            (std::io::ErrorKind::PermissionDenied, "Permission denied"),
        ];
        let usual = usual.iter().find(|(kind, _)| *kind == error.kind());
        let why = usual.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned());
        failed(&format!("{} ({why})", path.display()))
    })?;
    let text = String::from_utf8_lossy(&bytes);
    logback::parse(&text, lookup).map_err(|why| failed(&format!("{} ({}: {why})", logback::BROKEN, path.display())))
}

fn own_format(name: &str) -> Result<Format, String> {
    match name {
        "java" => Ok(Format::Pattern(pattern::Pattern::default())),
        "json" => Ok(Format::Json),
        "human" => Ok(Format::Human { colours: std::io::stdout().is_terminal() }),
        other => Err(format!("`--log-format {other}`: expected java, human or json")),
    }
}

/// Directives of the option or of a variable; a bare level is ours, and the libraries stay quiet unless it is worse.
fn directives(choice: &Choice, variables: &BTreeMap<String, String>) -> Result<Option<Targets>, String> {
    let from_variable = || {
        let set = VARIABLES.iter().filter_map(|name| Some((*name, variables.get(*name)?)));
        set.into_iter().find(|(_, text)| !text.trim().is_empty())
    };
    let Some((name, text)) = choice.level.as_ref().map(|text| ("--log-level", text)).or_else(from_variable) else {
        return Ok(None);
    };
    match filter(text) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) if name == "--log-level" => {
            Err(format!("`--log-level {text}`: expected trace, debug, info, warn, error, off or directives ({error})"))
        }
        // a variable may be meant for somebody else
        Err(error) => {
            eprintln!("{name}={text} is not understood and left out: {error}");
            Ok(None)
        }
    }
}

/// What the directives do not speak of stays as it is: a variable for a child in Rust must not silence the daemon.
fn filter(text: &str) -> Result<Targets, String> {
    if let Some(level) = levels::Threshold::parse(text) {
        return Ok(Targets::new().with_default(level.0.min(LevelFilter::WARN)).with_target("multilangd", level.0));
    }
    let pieces = || text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
    let is_level = |piece: &str| piece.parse::<LevelFilter>().is_ok();
    let is_ours = |piece: &str| piece.starts_with("multilangd");
    if let Some(odd) = pieces().find(|piece| !piece.contains('=') && !is_level(piece) && !is_ours(piece)) {
        return Err(format!("`{odd}` is neither a level nor NAME=LEVEL"));
    }
    let asked: Targets = text.parse().map_err(|error| format!("{error}"))?;
    if pieces().any(is_level) {
        return Ok(asked);
    }
    let named = pieces().any(|piece| piece.split('=').next() == Some("multilangd"));
    let ours = if named { None } else { Some(("multilangd".to_owned(), LevelFilter::INFO)) };
    Ok(asked.with_default(LevelFilter::WARN).with_targets(ours))
}

/// What is logged when nobody says otherwise: ours at info, libraries only when something is odd.
///
/// `Targets` and not `EnvFilter`: the latter brings a regular expression engine, a megabyte of resident code.
fn usual() -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("multilangd", LevelFilter::INFO)
}

fn install(setup: Option<Setup>, format: Option<Format>, directives: Option<Targets>) {
    let from_file = setup.is_some();
    let setup = setup.unwrap_or_else(|| {
        let terminal = std::io::stdout().is_terminal();
        let usual = || match terminal {
            true => Format::Human { colours: true },
            false => Format::Pattern(pattern::Pattern::default()),
        };
        Setup::single(Output::Out, format.unwrap_or_else(usual))
    });
    let log = Log::new(setup.appenders, setup.routes);
    let _already_begun = match directives {
        None if from_file => {
            let (levels, loudest) = (setup.levels.clone(), setup.levels.loudest());
            let filter = filter_fn(move |metadata| metadata.is_span() || levels.let_pass(metadata));
            Registry::default().with(log.with_filter(filter.and(loudest))).try_init()
        }
        directives => {
            let filter = directives.unwrap_or_else(usual);
            // spans carry the shard, whatever the level of the lines
            let spans = filter_fn(|metadata| metadata.is_span() && names::is_ours(metadata.target()));
            Registry::default().with(log.with_filter(filter.or(spans))).try_init()
        }
    };
}

/// Logs to standard error, and only what is wrong, unless a variable says otherwise; for commands that have a picture
/// of their own to show.
pub fn start_quietly() {
    let text = VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    let filter =
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| Targets::new().with_default(LevelFilter::ERROR));
    let log = Setup::single(Output::Error, Format::Human { colours: std::io::stderr().is_terminal() });
    let log = Log::new(log.appenders, log.routes).with_filter(filter);
    let _already_begun = Registry::default().with(log).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(level: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let choice = Choice { level: level.map(str::to_owned), ..Choice::default() };
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        directives(&choice, &variables).map(|filter| filter.map(|filter| filter.to_string()))
    }

    #[test]
    fn the_option_beats_our_variable_which_beats_the_one_of_the_field() {
        let both = [("KCL_LOG", "debug"), ("RUST_LOG", "trace")];
        assert_eq!(shown(None, &[]), Ok(None));
        assert_eq!(shown(None, &both), Ok(Some("multilangd=debug,warn".to_owned())));
        assert_eq!(shown(Some("error"), &both), Ok(Some("multilangd=error,error".to_owned())));
        assert_eq!(
            shown(Some("warn,multilangd::consumer=trace"), &[]),
            Ok(Some("multilangd::consumer=trace,warn".to_owned()))
        );
        assert_eq!(
            shown(None, &[("KCL_LOG", " "), ("RUST_LOG", "trace")]),
            Ok(Some("multilangd=trace,warn".to_owned()))
        );
        assert_eq!(shown(None, &[("RUST_LOG", "=!=")]), Ok(None));
        assert!(shown(Some("=!="), &[]).unwrap_err().contains("expected trace"));
        let typo = shown(Some("inof"), &[]).unwrap_err();
        assert!(typo.contains("`inof` is neither a level nor NAME=LEVEL"), "{typo}");
        assert!(own_format("xml").unwrap_err().contains("java, human or json"));
    }
    #[test]
    fn directives_for_others_leave_our_lines_as_they_are() {
        for (text, wanted) in [
            ("my_child=debug", "multilangd=info,my_child=debug,warn"),
            ("multilangd::consumer=debug", "multilangd::consumer=debug,multilangd=info,warn"),
            ("multilangd=off", "multilangd=off,warn"),
            ("error,my_child=debug", "my_child=debug,error"),
        ] {
            assert_eq!(shown(None, &[("RUST_LOG", text)]), Ok(Some(wanted.to_owned())), "{text}");
        }
    }
}
