//! What the tests share: JSON as DynamoDB speaks it, and a connection that records requests and answers by script.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use multilangd::config::TableSettings;
use multilangd::lease::Lease;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::lease::row::Row;
use multilangd::types::{Checkpoint, ShardId, WorkerId};
use serde_json::{Value, json};

/// A connection that keeps what was sent and answers from a list, then with `{}`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Tape>>);

#[derive(Debug, Default)]
struct Tape {
    sent: Vec<(String, Value)>,
    /// How many of all requests have the SDK's headers about its attempts.
    through_sdk: usize,
    answers: VecDeque<(u16, Value)>,
}

impl Recorder {
    /// Answers the next request without an answer yet.
    pub(crate) fn answer(&self, status: u16, body: Value) {
        self.0.lock().unwrap().answers.push_back((status, body));
    }

    /// Answers with an error of the service.
    pub(crate) fn refuse(&self, code: &str, message: &str) {
        let body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message});
        self.answer(if code == "InternalServerError" { 500 } else { 400 }, body);
    }

    /// Operation and body of everything sent since the last call.
    pub(crate) fn sent(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.0.lock().unwrap().sent)
    }

    /// How many requests went through all of the SDK since the last call.
    pub(crate) fn through_sdk(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().through_sdk)
    }

    pub(crate) fn store(&self, settings: TableSettings) -> DynamoDbStore {
        self.store_trying(RetryConfig::disabled(), settings)
    }

    pub(crate) fn store_trying(&self, retries: RetryConfig, settings: TableSettings) -> DynamoDbStore {
        let config = config().retry_config(retries).http_client(self.clone()).build();
        DynamoDbStore::new(aws_sdk_dynamodb::Client::from_conf(config), "app".into(), "app".into(), settings)
    }
}

impl HttpConnector for Recorder {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request.headers().get("x-amz-target").unwrap().split('.').nth(1).unwrap().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut tape = self.0.lock().unwrap();
        tape.sent.push((operation, body));
        tape.through_sdk += usize::from(request.headers().contains_key("amz-sdk-request"));
        let (status, body) = tape.answers.pop_front().unwrap_or((200, json!({})));
        let answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()));
        HttpConnectorFuture::ready(Ok(answer))
    }
}

impl HttpClient for Recorder {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// A configuration without anything of this machine, that tries once.
pub(crate) fn config() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
}

/// A row from DynamoDB's JSON.
pub(crate) fn row(json: &Value) -> Row {
    json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "SS" => AttributeValue::Ss(value.as_array().unwrap().iter().map(|s| s.as_str().unwrap().into()).collect()),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(row(value)),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        other => panic!("no test needs type {other}"),
    }
}

/// DynamoDB's JSON of a row.
pub(crate) fn json_of(row: &Row) -> Value {
    Value::Object(row.iter().map(|(name, value)| (name.clone(), json_of_attribute(value))).collect())
}

fn json_of_attribute(value: &AttributeValue) -> Value {
    if let Ok(text) = value.as_s() {
        json!({"S": text})
    } else if let Ok(number) = value.as_n() {
        json!({"N": number})
    } else if let Ok(set) = value.as_ss() {
        json!({"SS": set})
    } else if let Ok(list) = value.as_l() {
        json!({"L": list.iter().map(json_of_attribute).collect::<Vec<_>>()})
    } else {
        json!({"M": json_of(value.as_m().unwrap())})
    }
}

/// The same JSON with numbers written one way and sets in order, so that equal things compare equal.
pub(crate) fn canonical(json: &Value) -> Value {
    match json {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("N", Value::String(digits)) => (name.clone(), number(digits)),
                ("SS", Value::Array(set)) => {
                    let set: BTreeSet<&str> = set.iter().map(|member| member.as_str().unwrap()).collect();
                    (name.clone(), json!(set))
                }
                (_, value) => (name.clone(), canonical(value)),
            })
            .collect(),
        Value::Array(list) => list.iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json.clone(),
    }
}

fn number(digits: &str) -> Value {
    digits.parse::<i64>().map_or_else(|_| json!(digits.parse::<f64>().unwrap()), |whole| json!(whole as f64))
}

pub(crate) fn shard(number: u32) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

/// A lease that nobody owns.
pub(crate) fn free(number: u32) -> Lease {
    Lease::new(shard(number), Checkpoint::TrimHorizon)
}
