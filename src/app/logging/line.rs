//! One line of the log: who says what about which shard, before it has a form.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::names;
use crate::clock::{Clock, SystemClock};
use crate::config::report::one_line;

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since 1970.
    pub millis: i64,
    /// How bad.
    pub level: Level,
    /// Name of the thread.
    pub thread: String,
    /// Full name of the logger.
    pub logger: String,
    /// The shard that it is about, of its own or of the spans around it.
    pub shard: Option<String>,
    /// The constant text.
    pub text: String,
    /// The fields in their order, without the shard.
    pub fields: Vec<(&'static str, Value)>,
}

/// A field's value; numbers and flags stay what they are, for JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(serde_json::Number),
    /// A flag.
    Flag(bool),
}

impl Eq for Value {}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// The last field in a message, whatever its place: a sentence, often a long one.
const ERROR: &str = "error";

impl Line {
    /// Makes the line of an event.
    pub fn of<S: Subscriber + for<'a> LookupSpan<'a>>(event: &Event<'_>, context: &Context<'_, S>) -> Self {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let around = || {
            let mut spans = context.event_scope(event)?;
            spans.find_map(|span| span.extensions().get::<ShardOf>().map(|shard| shard.0.clone()))
        };
        let thread = std::thread::current();
        Self {
            millis: SystemClock.now().0,
            level: *event.metadata().level(),
            thread: thread.name().unwrap_or("unnamed").to_owned(),
            logger: names::logger(event.metadata().target()),
            shard: fields.shard.or_else(around),
            text: fields.text,
            fields: fields.others,
        }
    }

    /// What stands before this line where so many others are missing.
    #[must_use]
    pub fn telling_of_lost(&self, lines: u64) -> Self {
        Self {
            level: Level::WARN,
            shard: None,
            text: "lines of this log are lost: nobody has read it for a while".to_owned(),
            fields: vec![("lines", Value::Number(lines.into()))],
            ..self.clone()
        }
    }

    /// Text and fields in one line: `lease renewal failed (attempt=3): the table throttles`.
    #[must_use]
    pub fn message(&self) -> String {
        let mut message = one_line(&self.text);
        let (errors, others): (Vec<_>, Vec<_>) = self.fields.iter().partition(|(name, _)| *name == ERROR);
        for (index, (name, value)) in others.iter().enumerate() {
            let value = one_line(&value.to_string());
            let begin = if index == 0 { " (" } else { ", " };
            let _infallible = write!(message, "{begin}{name}={value}");
        }
        if !others.is_empty() {
            message.push(')');
        }
        for (_, error) in errors {
            let _infallible = write!(message, ": {}", one_line(&error.to_string()));
        }
        message
    }
}

/// The shard of a span, kept with it.
pub struct ShardOf(String);

/// Notes the shard of a new span.
pub fn note_span<S: Subscriber + for<'a> LookupSpan<'a>>(
    attributes: &span::Attributes<'_>,
    id: &span::Id,
    context: &Context<'_, S>,
) {
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    if let (Some(shard), Some(span)) = (fields.shard, context.span(id)) {
        span.extensions_mut().insert(ShardOf(shard));
    }
}

#[derive(Default)]
struct Fields {
    text: String,
    shard: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.text = value.to_string(),
            "shard" => self.shard = Some(one_line(&value.to_string())),
            name if name.starts_with("log.") => {} // where a line of another logging crate comes from
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, Value::Text(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, Value::Text(value.to_owned()));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Number(value.into()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Number(value.into()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Flag(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_text_and_the_error_comes_last() {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut line = Line {
            millis: 0,
            level: Level::WARN,
            thread: "main".to_owned(),
            logger: "x".to_owned(),
            shard: None,
            text: "lease renewal failed".to_owned(),
            fields: vec![
                ("error", text("no\nanswer")),
                ("attempt", Value::Number(3.into())),
                ("last", Value::Flag(true)),
            ],
        };
        assert_eq!(line.message(), "lease renewal failed (attempt=3, last=true): no\\nanswer");
        line.fields.clear();
        assert_eq!(line.message(), "lease renewal failed");
    }
}
