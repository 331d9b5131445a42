//! Levels of loggers, by the names of the reference. Pure.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

use super::names;

/// The least bad that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(pub LevelFilter);

impl Threshold {
    /// Reads logback's words, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(match text.trim().to_ascii_uppercase().as_str() {
            "ALL" | "TRACE" => LevelFilter::TRACE,
            "DEBUG" => LevelFilter::DEBUG,
            "INFO" => LevelFilter::INFO,
            "WARN" | "WARNING" => LevelFilter::WARN,
            "ERROR" => LevelFilter::ERROR,
            "OFF" => LevelFilter::OFF,
            _ => return None,
        }))
    }

    /// Whether a line of this level passes.
    #[must_use]
    pub fn lets(self, level: Level) -> bool {
        level <= self.0
    }
}

/// The root's level and those of loggers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    root: Threshold,
    loggers: Vec<(String, Threshold)>,
}

impl Default for Levels {
    /// Source: logback's own default is DEBUG; the reference's configuration says INFO.
    fn default() -> Self {
        Self { root: Threshold(LevelFilter::INFO), loggers: Vec::new() }
    }
}

impl Levels {
    /// Sets the level of everything that no logger is named for.
    pub fn set_root(&mut self, level: Threshold) {
        self.root = level;
    }

    /// Sets the level of a logger and of all below it.
    pub fn set(&mut self, logger: &str, level: Threshold) {
        self.loggers.push((logger.to_owned(), level));
    }

    /// Whether an event is logged at all.
    #[must_use]
    pub fn let_pass(&self, metadata: &Metadata<'_>) -> bool {
        self.of(metadata.target()).lets(*metadata.level())
    }

    /// The level of a target: the longest name that it lies below counts. The libraries' own chatter stays one step
    /// below what the root says, unless they are named: their INFO is not the INFO of the reference's libraries.
    fn of(&self, target: &str) -> Threshold {
        let logger = names::logger(target);
        let named = self.loggers.iter().filter(|(name, _)| is_below(&logger, name));
        match named.max_by_key(|(name, _)| name.len()) {
            Some((_, level)) => *level,
            None if names::is_ours(target) => self.root,
            None if self.root.0 == LevelFilter::INFO => Threshold(LevelFilter::WARN),
            None => Threshold(self.root.0.min(LevelFilter::INFO)),
        }
    }

    /// The loudest level of all.
    #[must_use]
    pub fn loudest(&self) -> LevelFilter {
        self.loggers.iter().map(|(_, level)| level.0).chain([self.root.0]).max().unwrap_or(LevelFilter::OFF)
    }
}

/// Whether `logger` is `name` or lies below it.
#[must_use]
pub fn is_below(logger: &str, name: &str) -> bool {
    name == "ROOT" || logger.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_counts_and_libraries_are_quieter() {
        let mut levels = Levels::default();
        let table = |levels: &Levels, wanted: [LevelFilter; 4]| {
            let targets = ["multilangd::worker", "multilangd::consumer::task", "aws_config::x", "hyper::y"];
            assert_eq!(targets.map(|target| levels.of(target).0), wanted);
        };
        table(&levels, [LevelFilter::INFO, LevelFilter::INFO, LevelFilter::WARN, LevelFilter::WARN]);
        levels.set_root(Threshold(LevelFilter::ERROR));
        levels.set("software.amazon.kinesis", Threshold(LevelFilter::WARN));
        levels.set("software.amazon.kinesis.lifecycle", Threshold(LevelFilter::DEBUG));
        levels.set("io.netty", Threshold(LevelFilter::TRACE));
        table(&levels, [LevelFilter::WARN, LevelFilter::DEBUG, LevelFilter::ERROR, LevelFilter::TRACE]);
        levels.set("software.amazon.kin", Threshold(LevelFilter::TRACE));
        table(&levels, [LevelFilter::WARN, LevelFilter::DEBUG, LevelFilter::ERROR, LevelFilter::TRACE]);
        assert_eq!(levels.loudest(), LevelFilter::TRACE);
    }

    #[test]
    fn words_in_any_case_are_levels() {
        for (text, level) in [("warn", LevelFilter::WARN), ("ALL", LevelFilter::TRACE), (" Off ", LevelFilter::OFF)] {
            assert_eq!(Threshold::parse(text), Some(Threshold(level)), "{text}");
        }
        assert_eq!(Threshold::parse("loud"), None);
    }
}
