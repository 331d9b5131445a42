//! Reads logback.xml: levels, loggers, appenders, patterns. Pure; what it does not know becomes a warning each.
//!
//! Source: LOGGING.md; logback 1.2 manual, chapters 3, 4 and 6.

use std::collections::BTreeMap;
use std::path::PathBuf;

use roxmltree::{Document, Node, ParsingOptions};

use super::format::Format;
use super::levels::{Levels, Threshold};
use super::output::{Output, Rolling};
use super::pattern::Pattern;
use super::setup::{Appender, Routes, Setup};

/// Looks a name up that the file does not define itself: environment, then system properties.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Elements that are left out in silence: they change how logback works, not what is logged.
const SILENT: [&str; 8] = [
    "statusListener",
    "jmxConfigurator",
    "shutdownHook",
    "contextName",
    "contextListener",
    "timestamp",
    "newRule",
    "turboFilter",
];

/// The reference's message when the document cannot be read.
pub const BROKEN: &str = "Problem parsing XML document. See previously reported errors.";

/// Reads a document; gives what to log where, and warnings.
///
/// # Errors
/// It is no XML; says where.
pub fn parse(text: &str, lookup: Lookup<'_>) -> Result<(Setup, Vec<String>), String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
    let mut reader = Reader { lookup, properties: BTreeMap::new(), warnings: Vec::new(), appenders: Vec::new() };
    let mut levels = Levels::default();
    let mut routes = Routes::default();
    let root = document.root_element();
    for node in elements(root).filter(|node| node.has_tag_name("property") || node.has_tag_name("variable")) {
        reader.property(node);
    }
    for node in elements(root).filter(|node| node.has_tag_name("appender")) {
        reader.appender(node);
    }
    for node in elements(root) {
        match node.tag_name().name() {
            "property" | "variable" | "appender" => {}
            "root" => {
                if let Some(level) = reader.level(node) {
                    levels.set_root(level);
                }
                routes.root = reader.references(node);
            }
            "logger" => reader.logger(node, &mut levels, &mut routes),
            silent if SILENT.contains(&silent) => {}
            unknown => reader.unknown(unknown, "configuration"),
        }
    }
    if routes.root.is_empty() && routes.loggers.iter().all(|(_, own, _)| own.is_empty()) {
        reader.warn(
            "no appender is attached to anything, so nothing is logged; add `<appender-ref>` to `<root>`".to_owned(),
        );
    }
    Ok((
        Setup { appenders: reader.appenders.into_iter().map(|(_, appender)| appender).collect(), routes, levels },
        reader.warnings,
    ))
}

fn elements<'a, 'input: 'a>(node: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(Node::is_element)
}

struct Reader<'a> {
    lookup: Lookup<'a>,
    properties: BTreeMap<String, String>,
    warnings: Vec<String>,
    appenders: Vec<(String, Appender)>,
}

impl Reader<'_> {
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn unknown(&mut self, element: &str, place: &str) {
        self.warn(format!("`<{element}>` in `<{place}>` is not understood and left out"));
    }

    fn property(&mut self, node: Node<'_, '_>) {
        match (node.attribute("name"), node.attribute("value")) {
            (Some(name), Some(value)) => {
                let value = self.substituted(value);
                self.properties.insert(name.to_owned(), value);
            }
            _ => self.warn(
                "`<property>` without name and value (a file or resource) is not understood and left out".to_owned(),
            ),
        }
    }

    /// Text with `${NAME:-default}` filled in; what is not defined becomes `NAME_IS_UNDEFINED`, as in logback.
    fn substituted(&self, text: &str) -> String {
        self.filled(text, 0)
    }

    fn filled(&self, text: &str, depth: usize) -> String {
        /// A property that refers to itself must end somewhere.
        const DEEPEST: usize = 10;
        let mut out = String::new();
        let mut rest = text;
        while let Some(begin) = rest.find("${").filter(|_| depth < DEEPEST) {
            out.push_str(&rest[..begin]);
            let inside = &rest[begin + 2..];
            let Some(end) = closing(inside) else {
                out.push_str(&rest[begin..]);
                return out;
            };
            let (name, default) = match inside[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&inside[..end], None),
            };
            let name = self.filled(name, depth + 1);
            let value = self.properties.get(&name).cloned().or_else(|| (self.lookup)(&name));
            let value = value.or_else(|| default.map(str::to_owned));
            out.push_str(&value.map_or_else(|| format!("{name}_IS_UNDEFINED"), |value| self.filled(&value, depth + 1)));
            rest = &inside[end + 1..];
        }
        out.push_str(rest);
        out
    }

    fn text(&self, node: Node<'_, '_>) -> String {
        self.substituted(node.text().unwrap_or_default().trim())
    }

    fn level(&mut self, node: Node<'_, '_>) -> Option<Threshold> {
        let text = self.substituted(node.attribute("level")?);
        let level = Threshold::parse(&text);
        // Source: logback `Level.toLevel`, which takes DEBUG for what it does not know; louder than anybody wants
        if level.is_none() && !matches!(text.to_ascii_uppercase().as_str(), "INHERITED" | "NULL") {
            self.warn(format!("`level=\"{text}\"`: expected TRACE, DEBUG, INFO, WARN, ERROR, OFF or ALL; left out"));
        }
        level
    }

    fn references(&mut self, node: Node<'_, '_>) -> Vec<usize> {
        let mut found = Vec::new();
        for child in elements(node) {
            let name = child.tag_name().name();
            if name != "appender-ref" {
                self.unknown(name, node.tag_name().name());
                continue;
            }
            let reference = self.substituted(child.attribute("ref").unwrap_or_default());
            match self.appenders.iter().position(|(name, _)| *name == reference) {
                Some(index) => found.push(index),
                None => self.warn(format!("`<appender-ref ref=\"{reference}\">`: there is no such appender")),
            }
        }
        found
    }

    fn logger(&mut self, node: Node<'_, '_>, levels: &mut Levels, routes: &mut Routes) {
        let name = self.substituted(node.attribute("name").unwrap_or_default());
        if let Some(level) = self.level(node) {
            levels.set(&name, level);
        }
        let additive = !node.attribute("additivity").is_some_and(|flag| flag.eq_ignore_ascii_case("false"));
        let own = self.references(node);
        if !own.is_empty() || !additive {
            routes.loggers.push((name, own, additive));
        }
    }

    fn appender(&mut self, node: Node<'_, '_>) {
        let name = self.substituted(node.attribute("name").unwrap_or_default());
        let class = self.substituted(node.attribute("class").unwrap_or_default());
        let short = class.rsplit('.').next().unwrap_or_default();
        match short {
            "ConsoleAppender" | "FileAppender" | "RollingFileAppender" => {
                let appender = self.plain_appender(node, short);
                self.appenders.push((name, appender));
            }
            // passes through to the one inside, which must stand before it
            "AsyncAppender" => {
                let inside = elements(node).find(|child| child.has_tag_name("appender-ref"));
                let inside = inside.and_then(|child| child.attribute("ref")).map(|text| self.substituted(text));
                match self.appenders.iter().find(|(name, _)| Some(name) == inside.as_ref()).cloned() {
                    Some((_, appender)) => self.appenders.push((name, appender)),
                    None => self
                        .warn(format!("appender `{name}`: an AsyncAppender without an appender before it is left out")),
                }
            }
            _ => self.warn(format!("appender `{name}`: the class `{class}` is not understood; it is left out")),
        }
    }

    fn plain_appender(&mut self, node: Node<'_, '_>, class: &str) -> Appender {
        let mut appender = Appender { output: Output::Out, format: Format::Pattern(Pattern::default()), least: None };
        let (mut file, mut append, mut rolling) = (None, true, Rolling::default());
        for child in elements(node) {
            match (child.tag_name().name(), class) {
                ("target", "ConsoleAppender") if self.text(child).eq_ignore_ascii_case("System.err") => {
                    appender.output = Output::Error;
                }
                ("target" | "withJansi", "ConsoleAppender") | ("immediateFlush" | "prudent" | "bufferSize", _) => {}
                ("file" | "File", "FileAppender" | "RollingFileAppender") => {
                    file = Some(PathBuf::from(self.text(child)))
                }
                ("append", "FileAppender" | "RollingFileAppender") => {
                    append = !self.text(child).eq_ignore_ascii_case("false");
                }
                ("encoder" | "layout", _) => {
                    if let Some(format) = self.encoder(child) {
                        appender.format = format;
                    }
                }
                ("filter", _) => self.filter(child, &mut appender),
                ("rollingPolicy" | "triggeringPolicy", "RollingFileAppender") => self.policy(child, &mut rolling),
                (unknown, _) => self.unknown(unknown, "appender"),
            }
        }
        match (class, file) {
            ("FileAppender", Some(path)) => appender.output = Output::File { path, append },
            ("RollingFileAppender", file) if file.is_some() || !rolling.pattern.is_empty() => {
                if rolling.pattern.is_empty() {
                    rolling.pattern = format!("{}.%i", file.as_deref().unwrap_or(std::path::Path::new("")).display());
                }
                appender.output = Output::Rolling(Rolling { file, ..rolling });
            }
            ("ConsoleAppender", _) => {}
            _ => self.warn("a file appender without `<file>`: standard output is used".to_owned()),
        }
        appender
    }

    fn encoder(&mut self, node: Node<'_, '_>) -> Option<Format> {
        let class = node.attribute("class").unwrap_or_default();
        if class.to_ascii_lowercase().contains("json") || class.ends_with("LogstashEncoder") {
            return Some(Format::Json);
        }
        let mut format = None;
        for child in elements(node) {
            match child.tag_name().name() {
                "pattern" => {
                    let text = self.text(child);
                    let (pattern, unknown) = Pattern::parse(&text);
                    for word in unknown {
                        self.warn(format!("`{word}` in the pattern `{text}` is not understood and left out"));
                    }
                    format = Some(Format::Pattern(pattern));
                }
                "layout" => format = self.encoder(child),
                "charset" | "outputPatternAsHeader" | "immediateFlush" => {}
                unknown => self.unknown(unknown, "encoder"),
            }
        }
        format
    }

    fn filter(&mut self, node: Node<'_, '_>, appender: &mut Appender) {
        let class = node.attribute("class").unwrap_or_default();
        let level = elements(node).find(|child| child.has_tag_name("level")).map(|child| self.text(child));
        match level.as_deref().and_then(Threshold::parse) {
            Some(level) if class.ends_with("ThresholdFilter") => appender.least = Some(level),
            _ => self.warn(format!("the filter `{class}` is not understood and left out")),
        }
    }

    fn policy(&mut self, node: Node<'_, '_>, rolling: &mut Rolling) {
        for child in elements(node) {
            match child.tag_name().name() {
                "fileNamePattern" | "FileNamePattern" => {
                    let text = self.text(child);
                    let plain = text.strip_suffix(".gz").or_else(|| text.strip_suffix(".zip")).unwrap_or(&text);
                    if plain != text {
                        self.warn(format!("`{text}`: old log files are not compressed"));
                    }
                    rolling.pattern = plain.to_owned();
                }
                "maxFileSize" => rolling.max_bytes = bytes(&self.text(child)),
                "maxHistory" | "maxIndex" => {
                    rolling.max_history = self.text(child).parse().ok().filter(|days| *days > 0)
                }
                "minIndex" | "cleanHistoryOnStart" | "totalSizeCap" => {}
                "timeBasedFileNamingAndTriggeringPolicy" => self.policy(child, rolling),
                unknown => self.unknown(unknown, "rollingPolicy"),
            }
        }
    }
}

/// Where the bracket that is open ends.
fn closing(inside: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, letter) in inside.char_indices() {
        match letter {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// `10MB`, `512 kb`, `1000`.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match lower.get(digits.len()..)?.trim() {
        "" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
