//! What the daemon and a child say to each other, and how a line of the child is understood.
//!
//! Pure. A line is read as a Java daemon reads it: Jackson with default settings, an unknown field spoils the message.
//!
//! Source: PROTOCOL.md section 3; KCL 3.5.1 `GetNextMessageTask` and the classes of `multilang.messages`, run with
//! jackson-databind 2.21.

use std::borrow::Cow;

use crate::config::ProtocolLevel;
use crate::record::utf8::java_text;

mod lexer;

use lexer::{Lexer, NotJson, Value};

/// What the daemon tells a child to do and then awaits an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A new child learns its shard.
    Initialize,
    /// A batch.
    ProcessRecords,
    /// Another worker has the lease.
    LeaseLost,
    /// The shard is closed and everything was delivered.
    ShardEnded,
    /// Last chance for a checkpoint.
    ShutdownRequested,
}

impl Action {
    /// Its name in both directions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::ProcessRecords => "processRecords",
            Self::LeaseLost => "leaseLost",
            Self::ShardEnded => "shardEnded",
            Self::ShutdownRequested => "shutdownRequested",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// It is done with what it was told.
    Status {
        /// The action it answers.
        response_for: Option<String>,
    },
    /// It wants to checkpoint.
    Checkpoint {
        /// At this sequence number; without one, at the last place delivered.
        sequence: Option<String>,
        /// At this user record of an aggregate. May be negative, which is refused later.
        sub: Option<i64>,
    },
    /// A message that only a daemon sends; it means nothing from a child.
    Senseless(&'static str),
    /// JSON `null`: no message at all, where a Java daemon fails.
    Null,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON as Jackson reads it.
    #[error("not JSON: {0}")]
    NotJson(&'static str),
    /// JSON, but neither an object nor the array form of one.
    #[error("no JSON object")]
    NotAnObject,
    /// No `action`, or none that is known.
    #[error("no known `action`")]
    UnknownAction,
    /// A field that messages of this kind do not have.
    #[error("unknown field `{0}`")]
    UnknownField(String),
    /// A value that the field cannot hold.
    #[error("field `{0}` has a value of the wrong kind")]
    WrongValue(&'static str),
}

impl From<NotJson> for Unreadable {
    fn from(fault: NotJson) -> Self {
        Self::NotJson(fault.0)
    }
}

/// What a field of a message holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Whole,
    List,
}

/// A message class: its `action` and its fields.
struct Kind {
    action: &'static str,
    fields: &'static [(&'static str, Holds)],
}

/// Source: KCL 3.5.1 `multilang.messages`, the setters of each class in `Message`'s list of subtypes.
static KINDS: [Kind; 8] = [
    Kind { action: "status", fields: &[("responseFor", Holds::Text)] },
    Kind {
        action: "checkpoint",
        fields: &[("sequenceNumber", Holds::Text), ("subSequenceNumber", Holds::Whole), ("error", Holds::Text)],
    },
    Kind {
        action: "initialize",
        fields: &[("shardId", Holds::Text), ("sequenceNumber", Holds::Text), ("subSequenceNumber", Holds::Whole)],
    },
    Kind { action: "processRecords", fields: &[("records", Holds::List), ("millisBehindLatest", Holds::Whole)] },
    Kind { action: "shutdown", fields: &[("reason", Holds::Text)] },
    Kind { action: "leaseLost", fields: &[] },
    Kind { action: "shardEnded", fields: &[] },
    Kind { action: "shutdownRequested", fields: &[] },
];

/// Understands one line of a child, given without its line end.
///
/// Whatever follows the first JSON value of the line is ignored, as Jackson ignores it.
///
/// # Errors
/// Says why the line is no message; a child prints such lines at will.
pub fn parse(line: &[u8]) -> Result<FromChild, Unreadable> {
    parse_at(ProtocolLevel::Three, line)
}

/// [`parse`] for children of an older level: they may name a checkpoint's sequence number `checkpoint`
/// (Source: CLIENTS.md quirk 4).
///
/// # Errors
/// As [`parse`].
pub fn parse_at(level: ProtocolLevel, line: &[u8]) -> Result<FromChild, Unreadable> {
    let text = java_text(line);
    let mut lexer = Lexer::new(&text);
    match lexer.peek() {
        Some(b'{') => object(&mut lexer, level),
        Some(b'[') => wrapper(&mut lexer, level),
        _ => match lexer.value()? {
            Value::Null => Ok(FromChild::Null),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Array | Value::Object => {
                Err(Unreadable::NotAnObject)
            }
        },
    }
}

type Field<'a> = (Cow<'a, str>, Value<'a>);

/// Reads `{"action": KIND, ...}`, with the action anywhere.
fn object(lexer: &mut Lexer<'_>, level: ProtocolLevel) -> Result<FromChild, Unreadable> {
    let mut fields = fields(lexer)?;
    let is_action = |(name, value): &Field<'_>| {
        name == "action" && matches!(value, Value::Text(_) | Value::Number(_) | Value::Bool(_))
    };
    let place = fields.iter().position(is_action).ok_or(Unreadable::UnknownAction)?;
    let kind = kind_of(&fields.remove(place).1)?; // a second `action` stays, as an unknown field
    for (name, value) in fields.iter_mut().take(place) {
        // Jackson keeps fields that stand before `action` as values, not as text
        if matches!(value, Value::Number("-0")) && name != "action" {
            *value = Value::Number("0");
        }
    }
    message(kind, fields, level)
}

/// Reads `["KIND", {...}]`, which Jackson takes for a message too; with nothing behind the kind it makes a null of it,
/// and a text there is the answer of a status.
///
/// Source: jackson-databind 2.21 `AsArrayTypeDeserializer`, `StatusMessage(String)`; run.
fn wrapper(lexer: &mut Lexer<'_>, level: ProtocolLevel) -> Result<FromChild, Unreadable> {
    lexer.take(b'[');
    let kind = kind_of(&lexer.value()?)?;
    if lexer.take(b']') {
        return Ok(FromChild::Null);
    }
    if !lexer.take(b',') {
        return Err(Unreadable::NotJson("expected a comma or a closing bracket"));
    }
    let message = if lexer.peek() == Some(b'{') {
        message(kind, fields(lexer)?, level)?
    } else {
        match (kind.action, lexer.value()?) {
            ("status", Value::Text(text)) => FromChild::Status { response_for: Some(text.into_owned()) },
            _ => return Err(Unreadable::NotAnObject),
        }
    };
    if lexer.take(b']') { Ok(message) } else { Err(Unreadable::NotJson("expected a closing bracket")) }
}

fn fields<'a>(lexer: &mut Lexer<'a>) -> Result<Vec<Field<'a>>, Unreadable> {
    let mut fields = Vec::new();
    lexer.take(b'{');
    if lexer.take(b'}') {
        return Ok(fields);
    }
    loop {
        fields.push((lexer.name()?, lexer.value()?));
        if lexer.take(b'}') {
            return Ok(fields);
        }
        if !lexer.take(b',') {
            return Err(Unreadable::NotJson("expected a comma or a closing brace"));
        }
    }
}

fn kind_of(action: &Value<'_>) -> Result<&'static Kind, Unreadable> {
    let Value::Text(action) = action else { return Err(Unreadable::UnknownAction) };
    KINDS.iter().find(|kind| kind.action == action).ok_or(Unreadable::UnknownAction)
}

fn message(kind: &'static Kind, fields: Vec<Field<'_>>, level: ProtocolLevel) -> Result<FromChild, Unreadable> {
    let (mut response_for, mut sequence, mut sub) = (None, None, None);
    for (name, value) in fields {
        let old_name = level < ProtocolLevel::Three && kind.action == "checkpoint" && name == "checkpoint";
        let name = if old_name { Cow::Borrowed("sequenceNumber") } else { name };
        let Some((name, holds)) = kind.fields.iter().find(|(known, _)| name == *known) else {
            return Err(Unreadable::UnknownField(name.into_owned()));
        };
        match holds {
            Holds::List if matches!(value, Value::Null | Value::Array) => {}
            Holds::List => return Err(Unreadable::WrongValue(name)),
            Holds::Whole => sub = whole(&value).map_err(|()| Unreadable::WrongValue(name))?,
            Holds::Text => {
                let text = text(value).map_err(|()| Unreadable::WrongValue(name))?;
                match *name {
                    "responseFor" => response_for = text,
                    "sequenceNumber" => sequence = text,
                    _ => {}
                }
            }
        }
    }
    Ok(match kind.action {
        "status" => FromChild::Status { response_for },
        "checkpoint" => FromChild::Checkpoint { sequence, sub },
        senseless => FromChild::Senseless(senseless),
    })
}

/// A value as text; numbers keep the digits they were written with.
///
/// Source: jackson-databind 2.21 `StringDeserializer`.
fn text(value: Value<'_>) -> Result<Option<String>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.into_owned())),
        Value::Number(digits) => Ok(Some(digits.to_owned())),
        Value::Bool(word) => Ok(Some(word.to_string())),
        Value::Array | Value::Object => Err(()),
    }
}

/// A value as a 64-bit whole number; fractions are cut, texts are read.
///
/// Source: jackson-databind 2.21 `NumberDeserializers.LongDeserializer`.
fn whole(value: &Value<'_>) -> Result<Option<i64>, ()> {
    const MAX_TEXT: usize = 1000; // StreamReadConstraints.getMaxNumberLength
    match value {
        Value::Null => Ok(None),
        Value::Number(digits) if digits.contains(['.', 'e', 'E']) => cut(digits).map(Some),
        Value::Number(digits) => digits.parse().map(Some).map_err(drop),
        Value::Text(text) => match text.trim_matches(|c: char| c <= ' ') {
            "" | "null" => Ok(None),
            digits if digits.len() > MAX_TEXT => Err(()),
            digits => digits.parse().map(Some).map_err(drop),
        },
        Value::Bool(_) | Value::Array | Value::Object => Err(()),
    }
}

/// Source: jackson-core 2.21 `ParserBase.convertNumberToLong`: through a double, both bounds inclusive.
fn cut(digits: &str) -> Result<i64, ()> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0; // 2^63, what both bounds are as doubles
    let value: f64 = digits.parse().map_err(drop)?;
    if value.abs() > BOUND {
        return Err(());
    }
    #[expect(clippy::cast_possible_truncation, reason = "cutting is what the fact asks for; 2^63 becomes the maximum")]
    Ok(value as i64)
}

#[cfg(test)]
mod tests;
