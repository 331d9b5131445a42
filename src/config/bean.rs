//! Applies the entries of a file, one after the other, as the reference fills its bean.
//!
//! Only what one entry alone tells is decided here: its type rule. What values mean together is for `resolved`.
//!
//! Source: CONFIGURATION sections 1 and 2; commons-beanutils 1.11 `BeanUtilsBean.setProperty`.

use std::collections::BTreeMap;

use super::credentials::{self, Chosen};
use super::environment::Defaults;
use super::keys::{self, Key, Kind, Words};
use super::lists::{self, Tag};
use super::report::{Report, Stage, shown};
use super::values::{self, NotADuration, trim};
use super::{region, uri};
use crate::types::{EpochMillis, InitialPosition};

/// A value after its type rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(i64),
    Real(f64),
    Flag(bool),
    Text(String),
    Tags(Vec<Tag>),
    Names(Vec<String>),
    Position(InitialPosition),
    Providers(Chosen),
}

/// The settings of a file, by the field that their key writes.
#[derive(Debug, Default)]
pub(super) struct Bean {
    pub(super) fields: BTreeMap<&'static str, Value>,
    /// How the key was spelled that wrote a field last.
    pub(super) spelled: BTreeMap<&'static str, String>,
}

/// What `regionName` writes.
const REGIONS: [&str; 3] = ["kinesisClient.region", "dynamoDbClient.region", "cloudWatchClient.region"];

impl Bean {
    /// Notes that the file sets `key`, spelled so.
    pub(super) fn spell(&mut self, key: &'static Key, name: &str) {
        let fields: &[&'static str] = if key.name == "regionName" { &REGIONS } else { &[key.field] };
        for field in fields {
            self.spelled.insert(field, name.to_owned());
        }
    }

    /// A number; 0 if unset.
    pub(super) fn number(&self, field: &str) -> i64 {
        self.boxed(field).unwrap_or_default()
    }

    /// A number of a boxed key.
    pub(super) fn boxed(&self, field: &str) -> Option<i64> {
        match self.fields.get(field) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number of a primitive key: 0 means unset.
    pub(super) fn number_or(&self, field: &str, default: i64) -> i64 {
        match self.number(field) {
            0 => default,
            number => number,
        }
    }

    pub(super) fn real_or(&self, field: &str, default: f64) -> f64 {
        match self.fields.get(field) {
            Some(Value::Real(real)) if real.to_bits() != 0 => *real,
            _ => default,
        }
    }

    /// A flag of a boxed key.
    pub(super) fn boxed_flag(&self, field: &str) -> Option<bool> {
        match self.fields.get(field) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn flag(&self, field: &str) -> bool {
        self.boxed_flag(field).unwrap_or_default()
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        match self.fields.get(field) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn tags(&self, field: &str) -> Vec<Tag> {
        match self.fields.get(field) {
            Some(Value::Tags(tags)) => tags.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn providers(&self, field: &str) -> Option<&Chosen> {
        match self.fields.get(field) {
            Some(Value::Providers(chosen)) => Some(chosen),
            _ => None,
        }
    }
}

/// Reads a key as the reference does: a credentials prefix in any case is folded, the rest keeps its case.
///
/// Source: daemon 3.5.1 `KinesisClientLibConfigurator.processKey`.
pub(super) fn folded(name: &str) -> String {
    const PREFIX: &str = "AwsCredentialsProvider";
    match (name.get(..PREFIX.len()), name.get(PREFIX.len()..)) {
        (Some(start), Some(rest)) if start.eq_ignore_ascii_case(PREFIX) => format!("{PREFIX}{rest}"),
        _ => name.to_owned(),
    }
}

/// The three clients whose builders are open to keys.
pub(super) const CLIENTS: [&str; 3] = ["kinesisClient", "dynamoDbClient", "cloudWatchClient"];

/// Applies one entry whose key is known; the caller has looked it up.
pub(super) fn apply(bean: &mut Bean, spelled: &str, key: &'static Key, text: &str, context: &mut Context<'_>) {
    if key.name == "regionName" {
        if values::is_blank(text) {
            return context.fatal(spelled, text, "the name of a region", "region must not be blank or empty.");
        }
        // converted twice on its way, hence encoded twice (case `region-trailing-blank`)
        let name = region::encode(&region::encode(text));
        for field in REGIONS {
            bean.fields.insert(field, Value::Text(name.clone()));
        }
        return;
    }
    if key.kind == Kind::Credentials {
        return apply_credentials(bean, spelled, key, text, context);
    }
    if let Some(value) = convert(spelled, key, text, context) {
        bean.fields.insert(key.field, value);
    }
}

/// What the conversions need besides the text.
pub(super) struct Context<'a> {
    pub(super) defaults: &'a Defaults<'a>,
    pub(super) strict: bool,
    pub(super) report: &'a mut Report,
}

impl Context<'_> {
    fn fatal(&mut self, key: &str, text: &str, expected: &str, java: impl Into<String>) {
        let message = format!("`{key} = {text}`: expected {expected}; correct the value or remove the line");
        self.report.fault_java(Stage::Load, key, message, java);
    }

    fn fell_back(&mut self, key: &str, text: &str, expected: &str, effective: &str) {
        let message =
            format!("`{key} = {text}`: expected {expected}; {effective} is used; correct the value or remove the line");
        self.report.warn(key, message);
    }
}

fn convert(spelled: &str, key: &Key, text: &str, context: &mut Context<'_>) -> Option<Value> {
    match key.kind {
        Kind::Int | Kind::Long | Kind::BoxedInt | Kind::BoxedLong => Some(number(spelled, key, text, context)),
        Kind::Double => {
            let real = values::double(trim(text));
            if real.is_none() {
                context.fell_back(spelled, text, "a number", &format!("the default {}", key.default));
            }
            Some(Value::Real(real.unwrap_or_default()))
        }
        Kind::Bool | Kind::BoxedBool => {
            let flag = values::boolean(text);
            if flag.is_none() {
                context.fell_back(spelled, text, "true or false, without blanks", "`false`");
            }
            Some(Value::Flag(flag.unwrap_or_default()))
        }
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Enum(words) => word(spelled, words, text, context),
        Kind::EpochSeconds => match values::long(text) {
            Some(seconds) => {
                Some(Value::Position(InitialPosition::AtTimestamp(EpochMillis(seconds.wrapping_mul(1_000)))))
            }
            None => {
                context.fatal(spelled, text, "whole seconds since 1970, without blanks", not_a_number(text));
                None
            }
        },
        Kind::Duration => duration(spelled, text, context),
        Kind::Region => region_name(spelled, text, context),
        Kind::Uri => endpoint(spelled, text, context),
        Kind::Tags => {
            let (tags, refused) = lists::tags(text);
            for piece in refused {
                let message = format!(
                    "`{spelled} = {text}`: Invalid tag {piece}, ignoring it (expected `key=value`, pairs separated by commas)"
                );
                context.report.warn(spelled, message);
            }
            Some(Value::Tags(tags))
        }
        Kind::Names => Some(Value::Names(lists::names(text))),
        Kind::Threads => None,     // looked at after everything else, as in the reference
        Kind::Credentials => None, // see `apply_credentials`
        Kind::Impossible => {
            let java = "Can't convert value '' to type interface software.amazon.kinesis.leases.ShardPrioritization";
            context.report.fault_java(
                Stage::Load,
                spelled,
                format!("`{spelled} = {text}`: no value can be given here; remove the line"),
                java,
            );
            None
        }
    }
}

fn region_name(spelled: &str, text: &str, context: &mut Context<'_>) -> Option<Value> {
    if values::is_blank(text) {
        context.fatal(spelled, text, "the name of a region", "region must not be blank or empty.");
        return None;
    }
    Some(Value::Text(region::encode(text)))
}

fn endpoint(spelled: &str, text: &str, context: &mut Context<'_>) -> Option<Value> {
    match uri::scheme(text) {
        Ok(_) => Some(Value::Text(text.to_owned())),
        Err(java) => {
            context.fatal(spelled, text, "a URL such as http://localhost:4566", java);
            None
        }
    }
}

pub(super) fn not_a_number(text: &str) -> String {
    format!("For input string: \"{text}\"")
}

fn number(spelled: &str, key: &Key, text: &str, context: &mut Context<'_>) -> Value {
    let narrow = matches!(key.kind, Kind::Int | Kind::BoxedInt);
    let boxed = matches!(key.kind, Kind::BoxedInt | Kind::BoxedLong);
    let parsed = if narrow { values::int(trim(text)) } else { values::long(trim(text)) };
    let effective = if boxed { "0".to_owned() } else { format!("the default {}", key.default) };
    if parsed.is_none() {
        let bits = if narrow { 32 } else { 64 };
        context.fell_back(
            spelled,
            text,
            &format!("a whole number of at most {bits} bits, without unit or separator"),
            &effective,
        );
    } else if parsed == Some(0) && !boxed && !key.default.starts_with('0') {
        context
            .report
            .warn(spelled, format!("`{spelled} = {text}`: 0 means unset here; {effective} is used; remove the line"));
    }
    Value::Number(parsed.unwrap_or_default())
}

fn word(spelled: &str, words: &Words, text: &str, context: &mut Context<'_>) -> Option<Value> {
    let upper = text.to_uppercase();
    if words.words.contains(&upper.as_str()) {
        return Some(match (words == &keys::POSITION, upper.as_str()) {
            (true, "LATEST") => Value::Position(InitialPosition::Latest),
            (true, _) => Value::Position(InitialPosition::TrimHorizon),
            (false, _) => Value::Text(upper),
        });
    }
    let java = if words == &keys::MODE && text.is_empty() {
        "The validated character sequence is empty".to_owned()
    } else if words == &keys::MODE {
        format!("Unknown retrieval type '{text}'. Available retrieval types: (FANOUT, POLLING, DEFAULT)")
    } else if words == &keys::POSITION && upper == "AT_TIMESTAMP" {
        "Invalid InitialPosition: AT_TIMESTAMP".to_owned()
    } else {
        format!("No enum constant {}.{upper}", words.class)
    };
    let hint = if words == &keys::POSITION { " (for a time use initialPositionInStreamExtended)" } else { "" };
    context.fatal(spelled, text, &format!("one of {}, without blanks{hint}", words.words.join(", ")), java);
    None
}

fn duration(spelled: &str, text: &str, context: &mut Context<'_>) -> Option<Value> {
    let java = match values::duration(trim(text)) {
        Ok(duration) => return Some(Value::Text(duration.to_string())),
        Err(NotADuration::Form) => "Text cannot be parsed to a Duration".to_owned(),
        Err(NotADuration::Overflow) => "Text cannot be parsed to a Duration: long overflow".to_owned(),
        Err(NotADuration::Negative) => format!("Negative values are not permitted for duration: {}", trim(text)),
    };
    context.fatal(spelled, text, "a duration such as PT15M or P1D, not negative", java);
    None
}

fn apply_credentials(bean: &mut Bean, spelled: &str, key: &'static Key, text: &str, context: &mut Context<'_>) {
    if bean.providers(key.field).is_some_and(|chosen| chosen.is_chain) {
        let message = format!("`{spelled}`: credentials for the same client are given twice; remove one of the keys");
        return context.report.fault_java(
            Stage::Load,
            spelled,
            message,
            "When a property handler is resolved further properties may not be set.",
        );
    }
    if key.name.ends_with(".class") {
        match credentials::decode_bean(text) {
            Ok(chosen) => drop(bean.fields.insert(key.field, Value::Providers(chosen))),
            Err((stage, java)) => {
                let text = shown(spelled, text);
                let message =
                    format!("`{spelled} = {text}`: no such credentials provider; write DefaultCredentialsProvider");
                context.report.fault_java(stage, spelled, message, java);
            }
        }
        return;
    }
    // a broken chain is not a missing one
    let broken = Chosen { providers: Vec::new(), is_chain: true };
    if credentials::has_nameless(text) {
        let message = format!("`{spelled}`: a provider has no name, only `|`; remove it or write its name");
        context.report.fault_java(Stage::Load, spelled, message, "Index 0 out of bounds for length 0");
        bean.fields.insert(key.field, Value::Providers(broken));
        return;
    }
    match credentials::decode(spelled, text, context.defaults, context.strict, context.report) {
        Some(chosen) => drop(bean.fields.insert(key.field, Value::Providers(chosen))),
        None => {
            let names = values::split(text, ',')
                .iter()
                .map(|member| member.split('|').next().unwrap_or_default().trim())
                .collect::<Vec<_>>();
            let message = format!(
                "`{spelled}`: none of the credentials providers ({}) can be used; write DefaultCredentialsProvider, or see the warnings for each",
                names.join(", "),
            );
            context.report.fault_java(Stage::Load, spelled, message, "No credential providers were specified.");
            bean.fields.insert(key.field, Value::Providers(broken));
        }
    }
}
