//! The forms of a line: the reference's pattern, JSON, and colours for people.

use serde_json::{Map, Value as Json};
use tracing::Level;

use super::date::{self, Zone};
use super::line::{Line, Value};
use super::names::shortened;
use super::pattern::Pattern;

/// How lines look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// As logback writes them.
    Pattern(Pattern),
    /// One object a line.
    Json,
    /// For people.
    Human {
        /// Whether they have a terminal.
        colours: bool,
    },
}

impl Format {
    /// The line's text, its end included.
    #[must_use]
    pub fn render(&self, line: &Line) -> String {
        match self {
            Self::Pattern(pattern) => pattern.render(line),
            Self::Json => json(line),
            Self::Human { colours } => human(line, *colours),
        }
    }
}

/// Names of our own stand first; a field of an event cannot take their place.
fn json(line: &Line) -> String {
    let mut object = Map::new();
    for (name, value) in &line.fields {
        let value = match value {
            Value::Text(text) => Json::from(text.as_str()),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Flag(flag) => Json::from(*flag),
        };
        object.insert((*name).to_owned(), value);
    }
    let time = date::format("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", line.millis, Zone::Utc);
    let own = [
        ("timestamp", Json::from(time)),
        ("level", Json::from(line.level.as_str())),
        ("logger", Json::from(line.logger.as_str())),
        ("thread", Json::from(line.thread.as_str())),
        ("shard", line.shard.as_deref().map_or(Json::Null, Json::from)),
        ("message", Json::from(line.text.as_str())),
    ];
    object.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    format!("{}\n", Json::Object(object))
}

fn human(line: &Line, colours: bool) -> String {
    let colour = match line.level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    };
    let paint = |code: &str, text: &str| {
        if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let time = paint("2", &date::format("HH:mm:ss.SSS", line.millis, Zone::Local));
    let level = paint(colour, &format!("{:>5}", line.level.as_str()));
    let shard = line.shard.as_deref().map(|shard| format!("{} ", paint("36", shard))).unwrap_or_default();
    let logger = paint("2", &format!("{}:", shortened(&line.logger, 0)));
    format!("{time} {level} {logger} {shard}{}\n", line.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            millis: 1_795_256_682_621,
            level: Level::WARN,
            thread: "main".to_owned(),
            logger: "software.amazon.kinesis.coordinator.Scheduler".to_owned(),
            shard: Some("shardId-1".to_owned()),
            text: "could not \"start\"\nyet".to_owned(),
            fields: vec![("attempt", Value::Number(2.into())), ("level", Value::Text("mine".to_owned()))],
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = Format::Json.render(&line());
        assert_eq!(text.lines().count(), 1);
        let wanted = serde_json::json!({
            "timestamp": "2026-11-21T10:24:42.621Z", "level": "WARN", "thread": "main", "shard": "shardId-1",
            "logger": "software.amazon.kinesis.coordinator.Scheduler", "message": "could not \"start\"\nyet", "attempt": 2,
        });
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), wanted);
    }

    #[test]
    fn people_get_short_lines() {
        let text = Format::Human { colours: false }.render(&line());
        assert!(
            text.ends_with(" WARN Scheduler: shardId-1 could not \"start\"\\nyet (attempt=2, level=mine)\n"),
            "{text}"
        );
        assert!(Format::Human { colours: true }.render(&line()).contains("\u{1b}[33m WARN\u{1b}[0m"));
    }
}
