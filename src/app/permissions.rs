//! Tries the permissions that the daemon needs, by calls that change nothing.

use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::Select;
use tokio::time::timeout;

use super::aws::Clients;
use super::aws::letters::{Keeper, Look};
use crate::config::{Config, DeadLetters, OnPoison, Retrieval};
use crate::coordinator::renew::chain;
use crate::lease::dynamodb::DynamoDbStore;
use crate::lease::migration::MigrationStore;

/// Limit of one call.
const LIMIT: Duration = Duration::from_secs(15);
/// Index by which a worker finds its leases (Source: LEASES.md, `LeaseOwnerToLeaseKeyIndex`).
const OWNER_INDEX: &str = "LeaseOwnerToLeaseKeyIndex";

/// One call that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Action as a policy names it.
    pub action: &'static str,
    /// Stream, consumer or table.
    pub resource: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed.
    Allowed,
    /// It is allowed, and what it asked for is not there; says why that is no fault, and what it needs.
    Missing(&'static str),
    /// There is no call that would change nothing; says so, and when it is needed.
    NotTried(&'static str),
    /// It failed; one sentence with the cure.
    Failed(String),
}

impl Tried {
    /// Whether the daemon could not start because of it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }
}

/// Tries all that the configuration needs: stream, shards, consumer with fan-out, table and its index, and the tables
/// of KCL 3.0-3.4 where there are such.
pub async fn try_all(config: &Config, clients: &Clients) -> Vec<Tried> {
    let mut tried = stream(config, clients).await;
    tried.extend(table(config, clients).await);
    tried.extend(old_tables(config, clients).await);
    if let (OnPoison::DeadLetter(target), Some(keeper)) = (&config.processing.on_poison, &clients.dead_letters) {
        tried.push(dead_letters(target, keeper).await);
    }
    tried
}

/// A letter would stay, so the target is only looked at, which the daemon itself never does.
async fn dead_letters(target: &DeadLetters, keeper: &Keeper) -> Tried {
    let (action, resource) = (keeper.action(), format!("{} {}", keeper.kind(), target.value()));
    let verdict = match timeout(LIMIT, keeper.look()).await {
        Ok(Ok(Look::There)) => Verdict::NotTried("it is there; a call that is allowed would leave a letter"),
        Ok(Ok(Look::Untold)) => {
            Verdict::NotTried("it may not be looked at, and a call that is allowed would leave a letter")
        }
        Ok(Err(why)) => Verdict::Failed(format!("{target} cannot take dead letters: {why}")),
        Err(_) => Verdict::Failed(format!("{target}: no answer within {LIMIT:?}; check endpoint, proxy and network")),
    };
    Tried { action, resource, verdict }
}

async fn stream(config: &Config, clients: &Clients) -> Vec<Tried> {
    let stream = &config.stream_name;
    let named = format!("stream {stream}");
    let kinesis = &clients.kinesis;
    let summary = timeout(LIMIT, kinesis.describe_stream_summary().stream_name(stream).send()).await;
    let arn = summary
        .as_ref()
        .ok()
        .and_then(|answer| answer.as_ref().ok())
        .and_then(|answer| answer.stream_description_summary().map(|summary| summary.stream_arn().to_owned()));
    let shards = timeout(LIMIT, kinesis.list_shards().stream_name(stream).max_results(1).send()).await;
    let shard = shards
        .as_ref()
        .ok()
        .and_then(|answer| answer.as_ref().ok())
        .and_then(|answer| answer.shards().first().map(|shard| shard.shard_id().to_owned()));
    let mut tried = vec![
        verdict("kinesis:DescribeStreamSummary", &named, summary, None),
        verdict("kinesis:ListShards", &named, shards, None),
    ];
    match &config.retrieval {
        Retrieval::Polling(_) => {
            if let Some(shard) = shard {
                let latest = aws_sdk_kinesis::types::ShardIteratorType::Latest;
                let call = kinesis.get_shard_iterator().stream_name(stream).shard_id(shard).shard_iterator_type(latest);
                let iterator = timeout(LIMIT, call.send()).await;
                let text = iterator.as_ref().ok().and_then(|answer| answer.as_ref().ok());
                let text = text.and_then(|answer| answer.shard_iterator().map(str::to_owned));
                tried.push(verdict("kinesis:GetShardIterator", &named, iterator, None));
                if let Some(text) = text {
                    let records = timeout(LIMIT, kinesis.get_records().shard_iterator(text).limit(1).send()).await;
                    tried.push(verdict("kinesis:GetRecords", &named, records, None));
                }
            }
        }
        Retrieval::FanOut(fan_out) => {
            let call = kinesis.describe_stream_consumer();
            let (call, consumer) = match (&fan_out.consumer_arn, arn) {
                (Some(consumer), _) => (call.consumer_arn(consumer), consumer.clone()),
                (None, Some(arn)) => {
                    (call.stream_arn(arn).consumer_name(&fan_out.consumer_name), fan_out.consumer_name.clone())
                }
                // the stream's own failure says it all
                (None, None) => return tried,
            };
            let makes = "it will be registered, which needs kinesis:RegisterStreamConsumer";
            let missing = fan_out.consumer_arn.is_none().then_some(makes);
            let named = format!("consumer {consumer}");
            let answer = timeout(LIMIT, call.send()).await;
            tried.push(verdict("kinesis:DescribeStreamConsumer", &named, answer, missing));
            let verdict = Verdict::NotTried("a subscription would end the one of a worker that reads the shard");
            tried.push(Tried { action: "kinesis:SubscribeToShard", resource: named, verdict });
        }
    }
    tried
}

async fn table(config: &Config, clients: &Clients) -> Vec<Tried> {
    let table = &config.table_name;
    let named = format!("table {table}");
    let makes = "it will be made, which needs dynamodb:CreateTable and dynamodb:UpdateTable";
    let described = timeout(LIMIT, clients.dynamodb.describe_table().table_name(table).send()).await;
    let there =
        described.as_ref().ok().and_then(|answer| answer.as_ref().ok()).and_then(|answer| answer.table().cloned());
    let mut tried = vec![verdict("dynamodb:DescribeTable", &named, described, Some(makes))];
    let Some(there) = there else { return tried };
    let scan = clients.dynamodb.scan().table_name(table).limit(1).select(Select::Count);
    tried.push(verdict("dynamodb:Scan", &named, timeout(LIMIT, scan.send()).await, None));
    tried.extend(items(table, &named, clients).await);
    let has_index = there.global_secondary_indexes().iter().any(|index| index.index_name() == Some(OWNER_INDEX));
    if has_index {
        let query = clients
            .dynamodb
            .query()
            .table_name(table)
            .index_name(OWNER_INDEX)
            .limit(1)
            .select(Select::Count)
            .key_condition_expression("leaseOwner = :owner")
            .expression_attribute_values(
                ":owner",
                aws_sdk_dynamodb::types::AttributeValue::S(config.worker_id.as_str().to_owned()),
            );
        let answer = timeout(LIMIT, query.send()).await;
        tried.push(verdict("dynamodb:Query", &format!("index {OWNER_INDEX} of table {table}"), answer, None));
    } else {
        let verdict = Verdict::Missing("it will be made, which needs dynamodb:UpdateTable");
        let resource = format!("index {OWNER_INDEX} of table {table}");
        tried.push(Tried { action: "dynamodb:Query", resource, verdict });
    }
    tried
}

/// Of the old tables only the first is always looked for.
async fn old_tables(config: &Config, clients: &Clients) -> Vec<Tried> {
    let store = DynamoDbStore::new(
        clients.dynamodb.clone(),
        config.table_name.clone(),
        config.application_name.clone(),
        config.table.clone(),
    );
    let names = store.names();
    let none = "no fault: only applications made by KCL 3.0 to 3.4 have it";
    let call = clients.dynamodb.describe_table().table_name(&names.coordinator);
    let described = timeout(LIMIT, call.send()).await;
    let is_there = matches!(described, Ok(Ok(_)));
    let named = format!("table {}", names.coordinator);
    let mut tried = vec![verdict("dynamodb:DescribeTable", &named, described, Some(none))];
    if is_there {
        for name in [&names.coordinator, &names.metrics] {
            let scan = clients.dynamodb.scan().table_name(name).limit(1).select(Select::Count);
            let answer = timeout(LIMIT, scan.send()).await;
            tried.push(verdict("dynamodb:Scan", &format!("table {name}"), answer, Some(none)));
        }
    }
    tried
}

/// Reads a row that is not there, and asks for writes under a condition that no row meets, so that nothing is written.
async fn items(table: &str, named: &str, clients: &Clients) -> [Tried; 4] {
    const NEVER: &str = "attribute_exists(leaseKey) AND attribute_not_exists(leaseKey)";
    let key = || aws_sdk_dynamodb::types::AttributeValue::S("multilangd-check".to_owned());
    let dynamodb = &clients.dynamodb;
    let get = dynamodb.get_item().table_name(table).key("leaseKey", key());
    let put = dynamodb.put_item().table_name(table).item("leaseKey", key()).condition_expression(NEVER);
    let update = dynamodb.update_item().table_name(table).key("leaseKey", key()).condition_expression(NEVER);
    let delete = dynamodb.delete_item().table_name(table).key("leaseKey", key()).condition_expression(NEVER);
    [
        verdict("dynamodb:GetItem", named, timeout(LIMIT, get.send()).await, None),
        verdict("dynamodb:PutItem", named, timeout(LIMIT, put.send()).await, None),
        verdict("dynamodb:UpdateItem", named, timeout(LIMIT, update.send()).await, None),
        verdict("dynamodb:DeleteItem", named, timeout(LIMIT, delete.send()).await, None),
    ]
}

/// What a worker needs for metrics. No call is sure to change nothing: one with a metric is stored if it is allowed.
#[must_use]
pub fn metrics(application: &str) -> Tried {
    let verdict = Verdict::NotTried("metrics are not published yet; a call that is allowed would store one");
    Tried { action: "cloudwatch:PutMetricData", resource: format!("namespace {application}"), verdict }
}

type Answer<T, E> = Result<Result<T, SdkError<E>>, tokio::time::error::Elapsed>;

/// `makes`: what a missing thing means; without it, it is a failure.
fn verdict<T, E>(action: &'static str, resource: &str, answer: Answer<T, E>, makes: Option<&'static str>) -> Tried
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let failed = |why: String| Verdict::Failed(why);
    let verdict = match answer {
        Ok(Ok(_)) => Verdict::Allowed,
        Err(_) => {
            failed(format!("{action} on {resource}: no answer within {LIMIT:?}; check endpoint, proxy and network"))
        }
        Ok(Err(error)) => {
            let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
            let said = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
            match (code, makes) {
                // the policy let it through, as far as the condition
                ("ConditionalCheckFailedException", _) => Verdict::Allowed,
                ("ResourceNotFoundException", Some(makes)) => Verdict::Missing(makes),
                ("ResourceNotFoundException", None) => {
                    failed(format!("{resource} is not there; check its name, the region and the account"))
                }
                ("AccessDeniedException" | "AccessDenied", _) => failed(format!(
                    "{action} on {resource} is not allowed; allow the action {action} in the policy: {said}"
                )),
                ("", _) => failed(format!("{action} on {resource}: {}", chain(&error))),
                (code, _) => failed(format!("{action} on {resource}: {code}: {said}")),
            }
        }
    };
    Tried { action, resource: resource.to_owned(), verdict }
}
