//! How a conditional write goes to DynamoDB: the short way if there is one, else through the SDK.
//!
//! A renewal is the request that a worker sends most, so on the short way it is written here: the SDK's own value of a
//! request is a map of maps that is filled, copied and walked for a text of some hundred bytes.

use std::iter::once;

use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeAction, AttributeValue, AttributeValueUpdate, ExpectedAttributeValue, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use tokio::time::sleep;
use tracing::debug;

use super::dynamodb::DynamoDbStore;
use super::place::Table;
use super::row;
use super::row::attribute::{text, whole};
use super::write::{Change, Expect, RowWrite};
use crate::direct::Failed;

/// What the server shall answer to a write that took effect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    NewRow,
}

type Sent = Result<UpdateItemOutput, SdkError<UpdateItemError>>;

impl DynamoDbStore {
    /// Sends a write of a lease, and again as often as the SDK would. A write whose answer was lost may have taken effect,
    /// whoever sends it again: then its condition fails, and the row tells (`coordinator::renew::keeper`).
    pub(super) async fn sent(&self, write: RowWrite, answer: Answer) -> Sent {
        let way = self.direct.way().await;
        let short = way.and_then(|way| Some((way, body(&self.table, &write, answer).ok()?)));
        let Some((way, body)) = short else { return Box::pin(self.through_sdk(write, answer, None)).await };
        let Failed { error, again } = match way.ask(body, nothing_said).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let Some(wait) = again else { return Err(error) };
        debug!(%error, ?wait, "an update must be sent again");
        sleep(wait).await;
        let retries = way.retries().clone();
        let left = retries.max_attempts().saturating_sub(1).max(1);
        let fewer = Config::builder().retry_config(retries.with_max_attempts(left));
        Box::pin(self.through_sdk(write, answer, Some(fewer))).await
    }

    async fn through_sdk(
        &self,
        write: RowWrite,
        answer: Answer,
        other: Option<aws_sdk_dynamodb::config::Builder>,
    ) -> Sent {
        let mut call = self
            .update_call(Table::Leases, write)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if answer == Answer::NewRow {
            call = call.return_values(ReturnValue::AllNew);
        }
        let call = call.customize().interceptor(self.direct.learn());
        match other {
            Some(other) => call.config_override(other).send().await,
            None => call.send().await,
        }
    }

    /// The write as a request of the SDK that answers nothing.
    pub(super) fn update_call(&self, table: Table, write: RowWrite) -> UpdateItemFluentBuilder {
        let mut call = self.client.update_item().table_name(self.name(table)).key(table.key(), text(write.key));
        for (name, expect) in write.expected {
            let name = if name == row::KEY { table.key() } else { name };
            call = call.expected(name, expected(expect));
        }
        for (name, change) in write.changes {
            call = call.attribute_updates(name, changed(change));
        }
        call
    }
}

fn expected(expect: Expect) -> ExpectedAttributeValue {
    let builder = ExpectedAttributeValue::builder();
    match expect {
        Expect::Is(value) => builder.value(value),
        Expect::Exists(value) => builder.exists(true).value(value),
        Expect::Absent => builder.exists(false),
    }
    .build()
}

fn changed(change: Change) -> AttributeValueUpdate {
    let builder = AttributeValueUpdate::builder();
    match change {
        Change::Put(value) => builder.action(AttributeAction::Put).value(value),
        Change::Add(number) => builder.action(AttributeAction::Add).value(whole(number)),
        Change::Remove => builder.action(AttributeAction::Delete),
    }
    .build()
}

/// The answer to a write that asked for nothing; whatever says more is for the SDK's reader.
fn nothing_said(body: &[u8]) -> Option<UpdateItemOutput> {
    (body == b"{}").then(|| UpdateItemOutput::builder().build())
}

/// The same request as JSON.
///
/// # Errors
/// An attribute is of a kind that no write of ours has.
fn body(table: &str, write: &RowWrite, answer: Answer) -> Result<Vec<u8>, serde_json::Error> {
    let body = Body {
        table_name: table,
        key: Pairs(|| once((row::KEY, Value::S(&write.key)))),
        attribute_updates: Pairs(|| write.changes.iter().map(|(name, change)| (*name, change))),
        expected: Pairs(|| write.expected.iter().map(|(name, expect)| (*name, expect))),
        return_values: (answer == Answer::NewRow).then_some("ALL_NEW"),
        return_values_on_condition_check_failure: "ALL_OLD",
    };
    serde_json::to_vec(&body)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a, K: Serialize, U: Serialize, E: Serialize> {
    table_name: &'a str,
    key: K,
    attribute_updates: U,
    expected: E,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_values: Option<&'a str>,
    return_values_on_condition_check_failure: &'a str,
}

/// A map of JSON, of the pairs that this gives.
struct Pairs<F>(F);

impl<F, I, V> Serialize for Pairs<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'static str, V)>,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

/// An attribute's value.
#[derive(Serialize)]
enum Value<'a> {
    S(&'a str),
    N(&'a str),
    #[serde(rename = "SS")]
    Texts(&'a [String]),
}

fn value<E: serde::ser::Error>(value: &AttributeValue) -> Result<Value<'_>, E> {
    let text = value.as_s().map(|text| Value::S(text));
    let number = || value.as_n().map(|number| Value::N(number));
    let texts = |_| value.as_ss().map(|texts| Value::Texts(texts));
    text.or_else(|_| number())
        .or_else(texts)
        .map_err(|other| E::custom(format_args!("{other:?} is no value of a lease")))
}

impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Is(is) => map.serialize_entry("Value", &value(is)?)?,
            Self::Exists(is) => {
                map.serialize_entry("Value", &value(is)?)?;
                map.serialize_entry("Exists", &true)?;
            }
            Self::Absent => map.serialize_entry("Exists", &false)?,
        }
        map.end()
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let action = match self {
            Self::Put(put) => {
                map.serialize_entry("Value", &value(put)?)?;
                "PUT"
            }
            Self::Add(number) => {
                map.serialize_entry("Value", &Value::N(&number.to_string()))?;
                "ADD"
            }
            Self::Remove => "DELETE",
        };
        map.serialize_entry("Action", action)?;
        map.end()
    }
}
