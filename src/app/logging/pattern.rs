//! Patterns of logback: `%d [%thread] %-5level %logger{36} [%mdc{ShardId:-NONE}] - %msg %n`.
//!
//! Source: LOGGING.md; logback 1.2 manual, chapter 6.

use std::fmt::Write as _;

use super::date::{self, Zone};
use super::line::Line;
use super::names::shortened;

/// The reference's own pattern.
///
/// Source: LOGGING.md, `logback.xml` in the daemon's jar.
pub const DEFAULT: &str = "%d [%thread] %-5level %logger{36} [%mdc{ShardId:-NONE}] - %msg %n";

/// A pattern, cut into its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<(Piece, Width)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Date(String, Zone),
    Thread,
    Level,
    Logger(Option<usize>),
    Message,
    /// The shard; else this.
    Shard(String),
    /// Known, and always empty or constant here.
    Nothing(String),
    NewLine,
    Group(Vec<(Piece, Width)>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Width {
    least: usize,
    most: Option<usize>,
    left: bool,
    /// What is too long loses its end, not its beginning.
    keep_begin: bool,
}

impl Pattern {
    /// Reads a pattern; gives also the words that mean nothing here, which are left out of the line.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let letters: Vec<char> = text.chars().collect();
        let mut reader = Reader { letters: &letters, at: 0, unknown: Vec::new() };
        let pieces = reader.pieces(0);
        (Self { pieces }, reader.unknown)
    }

    /// The line's text. Exactly what the pattern says: without `%n` there is no line end.
    #[must_use]
    pub fn render(&self, line: &Line) -> String {
        let mut text = String::with_capacity(160);
        render(&self.pieces, line, &mut text);
        text
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::parse(DEFAULT).0
    }
}

/// Groups deeper than this are text: nobody nests so far, and a broken file must not end us.
const DEEPEST: usize = 8;

struct Reader<'a> {
    letters: &'a [char],
    at: usize,
    unknown: Vec<String>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.get(self.at).copied();
        self.at += usize::from(letter.is_some());
        letter
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.letters.get(self.at).copied().filter(|letter| wanted(*letter)).inspect(|_| self.at += 1)
    }

    /// Reads to the end, or to the bracket that closes the group.
    fn pieces(&mut self, depth: usize) -> Vec<(Piece, Width)> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(letter) = self.next() {
            match letter {
                ')' if depth > 0 => break,
                '\\' => text.extend(self.next().map(|escaped| match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                })),
                '%' => {
                    if !text.is_empty() {
                        pieces.push((Piece::Text(std::mem::take(&mut text)), Width::default()));
                    }
                    pieces.extend(self.conversion(depth));
                }
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            pieces.push((Piece::Text(text), Width::default()));
        }
        pieces
    }

    fn conversion(&mut self, depth: usize) -> Option<(Piece, Width)> {
        let width = self.width();
        if depth < DEEPEST && self.next_if(|c| c == '(').is_some() {
            return Some((Piece::Group(self.pieces(depth + 1)), width));
        }
        let mut word = String::new();
        while let Some(letter) = self.next_if(|c| c.is_ascii_alphanumeric()) {
            word.push(letter);
        }
        // of `%msgx` only `msg` is known to nobody; logback takes the whole word, and so do we
        if is_style(&word) && depth < DEEPEST && self.next_if(|c| c == '(').is_some() {
            return Some((Piece::Group(self.pieces(depth + 1)), width));
        }
        let option = self.option();
        let piece = piece(&word, option.as_deref());
        if piece.is_none() {
            self.unknown.push(format!("%{word}"));
        }
        Some((piece?, width))
    }

    fn number(&mut self) -> Option<usize> {
        let mut digits = String::new();
        while let Some(digit) = self.next_if(|c| c.is_ascii_digit()) {
            digits.push(digit);
        }
        // wider than this nobody can read
        digits.parse().ok().map(|number: usize| number.min(1_000))
    }

    fn width(&mut self) -> Width {
        let left = self.next_if(|c| c == '-').is_some();
        let least = self.number().unwrap_or_default();
        let (mut most, mut keep_begin) = (None, false);
        if self.next_if(|c| c == '.').is_some() {
            keep_begin = self.next_if(|c| c == '-').is_some();
            most = self.number();
        }
        Width { least, most, left, keep_begin }
    }

    fn option(&mut self) -> Option<String> {
        self.next_if(|c| c == '{')?;
        let mut option = String::new();
        while let Some(letter) = self.next_if(|c| c != '}') {
            option.push(letter);
        }
        let _closed = self.next();
        Some(option)
    }
}

/// Colours are dropped, what they colour stays.
fn is_style(word: &str) -> bool {
    const COLOURS: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    let plain = word.strip_prefix("bold").map(str::to_ascii_lowercase);
    word == "highlight" || word == "gray" || COLOURS.contains(&plain.as_deref().unwrap_or(word))
}

fn piece(word: &str, option: Option<&str>) -> Option<Piece> {
    Some(match word {
        "d" | "date" => date_piece(option),
        "t" | "thread" => Piece::Thread,
        "level" | "le" | "p" => Piece::Level,
        "logger" | "lo" | "c" | "C" | "class" => Piece::Logger(option.and_then(|width| width.trim().parse().ok())),
        "msg" | "m" | "message" => Piece::Message,
        "n" => Piece::NewLine,
        "mdc" | "X" => match option.map(|option| option.split_once(":-").unwrap_or((option, ""))) {
            Some(("ShardId", other)) => Piece::Shard(other.to_owned()),
            Some((_, other)) => Piece::Nothing(other.to_owned()),
            None => Piece::Nothing(String::new()),
        },
        "ex" | "exception" | "throwable" | "xEx" | "xException" | "xThrowable" | "rEx" | "rootException" | "nopex"
        | "nopexception" | "marker" | "caller" | "F" | "file" | "M" | "method" | "L" | "line" | "contextName"
        | "cn" => Piece::Nothing(String::new()),
        _ => return None,
    })
}

fn date_piece(option: Option<&str>) -> Piece {
    let (pattern, zone) = option.map_or(("", None), |option| match option.rsplit_once(',') {
        // a comma may belong to the pattern: `HH:mm:ss,SSS`
        Some((pattern, zone)) if !zone.trim().is_empty() && !zone.trim().starts_with('S') => {
            (pattern, Some(zone.trim()))
        }
        Some(_) | None => (option, None),
    });
    let pattern = match pattern.trim().trim_matches('"') {
        "" | "ISO8601" => date::DEFAULT,
        other => other,
    };
    let zone = if matches!(zone, Some("UTC" | "GMT" | "Z")) { Zone::Utc } else { Zone::Local };
    Piece::Date(pattern.to_owned(), zone)
}

fn render(pieces: &[(Piece, Width)], line: &Line, text: &mut String) {
    for (piece, width) in pieces {
        if *width == Width::default() {
            write_piece(piece, line, text);
            continue;
        }
        let mut own = String::new();
        write_piece(piece, line, &mut own);
        text.push_str(&fitted(own, *width));
    }
}

fn write_piece(piece: &Piece, line: &Line, text: &mut String) {
    match piece {
        Piece::Text(constant) | Piece::Nothing(constant) => text.push_str(constant),
        Piece::Date(pattern, zone) => text.push_str(&date::format(pattern, line.millis, *zone)),
        Piece::Thread => text.push_str(&line.thread),
        Piece::Level => drop(write!(text, "{}", line.level)),
        Piece::Logger(None) => text.push_str(&line.logger),
        Piece::Logger(Some(width)) => text.push_str(&shortened(&line.logger, *width)),
        Piece::Message => text.push_str(&line.message()),
        Piece::Shard(none) => text.push_str(line.shard.as_deref().unwrap_or(none)),
        Piece::NewLine => text.push('\n'),
        Piece::Group(inside) => render(inside, line, text),
    }
}

fn fitted(text: String, width: Width) -> String {
    let length = text.chars().count();
    let text = match width.most {
        Some(most) if length > most && width.keep_begin => text.chars().take(most).collect(),
        Some(most) if length > most => text.chars().skip(length - most).collect(),
        Some(_) | None => text,
    };
    let least = width.least;
    if width.left { format!("{text:<least$}") } else { format!("{text:>least$}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::app::logging::line::Value;

    fn line(shard: Option<&str>) -> Line {
        Line {
            millis: 1_795_256_682_621,
            level: tracing::Level::INFO,
            thread: "main".to_owned(),
            logger: "software.amazon.kinesis.multilang.MultiLangDaemonConfig".to_owned(),
            shard: shard.map(str::to_owned),
            text: "Using a cached thread pool.".to_owned(),
            fields: vec![],
        }
    }

    fn rendered(pattern: &str, line: &Line) -> String {
        let (pattern, unknown) = Pattern::parse(pattern);
        assert_eq!(unknown, Vec::<String>::new());
        pattern.render(line)
    }

    #[test]
    fn the_references_pattern_gives_the_references_line() {
        let utc = DEFAULT.replace("%d", "%d{ISO8601, UTC}");
        // Source: LOGGING.md, a line as it was seen
        let seen = "2026-11-21 10:24:42,621 [main] INFO  s.a.k.m.MultiLangDaemonConfig [NONE] - Using a cached thread pool. \n";
        assert_eq!(rendered(&utc, &line(None)), seen);
        assert!(rendered(&utc, &line(Some("shardId-000000000000"))).contains(" [shardId-000000000000] - "));
    }

    #[test]
    fn words_widths_and_colours_are_understood() {
        let mut said = line(None);
        said.fields.push(("count", Value::Number(2.into())));
        let table = [
            (
                "%highlight(%-5level) %cyan(%c{0}) %m%n",
                "INFO  MultiLangDaemonConfig Using a cached thread pool. (count=2)\n",
            ),
            ("[%6p|%-6le|%.2level|%.-2level]", "[  INFO|INFO  |FO|IN]"),
            ("%-20([%thread]) %date{HH:mm:ss,SSS, UTC}", "[main]               10:24:42,621"),
            ("%X{other:-none}%X{ShardId}%ex \\(a\\)%t", "none (a)main"),
            ("%boldRed(%t)%nopex", "main"),
        ];
        for (pattern, text) in table {
            assert_eq!(rendered(pattern, &said), text, "{pattern}");
        }
    }

    #[test]
    fn unknown_words_are_told_and_left_out() {
        let (pattern, unknown) = Pattern::parse("%relative %t");
        assert_eq!((pattern.render(&line(None)).as_str(), unknown), (" main", vec!["%relative".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern(text in "(%|%-5|\\(|\\)|\\{|\\}|level|d\\{|.){0,12}") {
            let (pattern, _) = Pattern::parse(&text);
            let _any = pattern.render(&line(None));
        }
    }
}
