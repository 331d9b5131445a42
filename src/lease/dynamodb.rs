//! The lease table in DynamoDB: one request an operation, with Java's conditions (LEASES.md section 2).
//!
//! Decides nothing: who may take what is the caller's business, what a write demands stands in `write.rs`.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItem, UpdateItemError};
use aws_sdk_dynamodb::types::{AttributeValue, ExpectedAttributeValue};
use futures_util::future::{try_join, try_join_all};
use tokio::sync::watch;
use tracing::debug;

use super::place::{Layout, Table};
use super::refusal::{self, Trouble, refusal};
use super::row::attribute::text;
use super::row::migration::{from_table, to_table};
use super::row::{self, Row};
use super::segments::{self, Size};
use super::update::Answer;
use super::write::{self, RowWrite};
use super::{CheckpointWrite, FleetRows, HandoffKnown, Lease, LeaseStore, LeaseStoreError, Written};
use crate::config::TableSettings;
use crate::direct::Direct;
use crate::types::{EpochMillis, HashKeyRange, LeaseCounter, ShardId, WorkerId};

/// Name of the index over `leaseOwner`. Source: LEASES.md 1.2.
pub const OWNER_INDEX: &str = "LeaseOwnerToLeaseKeyIndex";
/// Longest wait for one answer unless told otherwise. Source: LEASES.md section 2, "timeout per call 60 s".
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the size of the table, while a scan waits for it.
const SIZE_LIMIT: Duration = Duration::from_secs(2);

/// The tables of one application in DynamoDB; cheap to clone.
#[derive(Clone, Debug)]
pub struct DynamoDbStore {
    pub(super) client: Client,
    /// The short way of UpdateItem.
    pub(super) direct: Arc<Direct>,
    pub(super) table: String,
    pub(super) old_coordinator: String,
    pub(super) old_metrics: String,
    pub(super) layout: Arc<watch::Sender<Layout>>,
    pub(super) settings: TableSettings,
    pub(super) size: Arc<Size>,
    pub(super) call_timeout: Duration,
}

/// How much of a table is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// All of it.
    Whole,
    /// All of it, with every write that came before.
    Consistent,
    /// A segment, of so many.
    Segment(i32, i32),
}

impl DynamoDbStore {
    /// Uses `client` for table `table` of `application`; every call may take [`CALL_TIMEOUT`].
    #[must_use]
    pub fn new(client: Client, table: String, application: String, settings: TableSettings) -> Self {
        let call_timeout = CALL_TIMEOUT;
        let named = |given: &Option<String>, end| given.clone().unwrap_or_else(|| format!("{application}-{end}"));
        Self {
            client: limit(&client, call_timeout),
            direct: Direct::new(&UpdateItem::new()),
            table,
            old_coordinator: named(&settings.coordinator_table, "CoordinatorState"),
            old_metrics: named(&settings.metrics_table, "WorkerMetricStats"),
            layout: Arc::new(watch::Sender::new(Layout::OneTable)),
            settings,
            size: Arc::default(),
            call_timeout,
        }
    }

    /// The same store whose calls give up after `call_timeout`, all tries of the SDK included.
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        let direct = Direct::new(&UpdateItem::new());
        Self { client: limit(&self.client, call_timeout), direct, call_timeout, ..self }
    }

    /// The client in use, with the call timeout set.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for one answer, but not longer than the limit, whatever the SDK does.
    pub(super) async fn limited<T, E>(
        &self,
        call: impl Future<Output = Result<T, SdkError<E>>> + Send,
    ) -> Result<T, SdkError<E>> {
        match tokio::time::timeout(self.call_timeout, Box::pin(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(SdkError::timeout_error(Trouble::no_answer(self.call_timeout))),
        }
    }

    /// What a table is called.
    pub(super) fn name(&self, table: Table) -> &str {
        match table {
            Table::Leases => &self.table,
            Table::OldCoordinator => &self.old_coordinator,
            Table::OldMetrics => &self.old_metrics,
        }
    }

    pub(super) fn refused<E>(&self, action: &'static str, error: &SdkError<E>) -> LeaseStoreError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.refused_in(Table::Leases, action, error)
    }

    pub(super) fn refused_in<E>(&self, table: Table, action: &'static str, error: &SdkError<E>) -> LeaseStoreError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        refusal(action, self.name(table), self.call_timeout, error)
    }

    /// Reads one row by its key, as it would be in the lease table.
    pub(super) async fn item(&self, table: Table, key: &str, consistent: bool) -> Result<Option<Row>, LeaseStoreError> {
        let call = self.client.get_item().table_name(self.name(table)).key(table.key(), text(key));
        match self.limited(call.consistent_read(consistent).send()).await {
            Ok(answer) => Ok(answer.item.filter(|item| !item.is_empty()).map(|row| from_table(table, row))),
            Err(error) => Err(self.refused_in(table, "GetItem", &error)),
        }
    }

    /// Puts a row unless its key exists; says whether it did.
    pub(super) async fn put_new(&self, table: Table, row: Row) -> Result<bool, LeaseStoreError> {
        let absent = ExpectedAttributeValue::builder().exists(false).build();
        let call = self.client.put_item().table_name(self.name(table)).set_item(Some(to_table(table, row)));
        match self.limited(call.expected(table.key(), absent).send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "PutItem", &error)),
            },
        }
    }

    /// Sends a conditional update of a row that is not a lease; says whether the condition held.
    pub(super) async fn update_plain(&self, table: Table, write: RowWrite) -> Result<bool, LeaseStoreError> {
        match self.limited(self.update_call(table, write).send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "UpdateItem", &error)),
            },
        }
    }

    /// Sends a conditional update of a lease. When the condition fails the server is asked for the row as it was:
    /// Java asks so for renewals and assignments only, but it is an answer, not a demand, and saves a stale read.
    async fn update(&self, write: RowWrite, answer: Answer) -> Result<Written<Option<Row>>, LeaseStoreError> {
        match self.limited(self.sent(write, answer)).await {
            Ok(answer) => Ok(Written::Yes(answer.attributes)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Written::No(failed.item().and_then(|row| row::lease(row).ok()).map(Box::new)))
                }
                _ => Err(self.refused("UpdateItem", &error)),
            },
        }
    }

    async fn move_counter(&self, write: RowWrite) -> Result<Written, LeaseStoreError> {
        Ok(match self.update(write, Answer::Nothing).await? {
            Written::Yes(_) => Written::Yes(()),
            Written::No(old) => Written::No(old),
        })
    }

    async fn change_owner(&self, write: RowWrite) -> Result<Written<Lease>, LeaseStoreError> {
        Ok(match self.update(write, Answer::NewRow).await? {
            Written::Yes(row) => Written::Yes(readable(&row.unwrap_or_default())?),
            Written::No(old) => Written::No(old),
        })
    }

    /// All pages of one segment. No `Limit`: pages as large as the service gives. Source: LEASES.md section 2.
    pub(super) async fn scan(&self, table: Table, kind: Scan) -> Result<Vec<Row>, LeaseStoreError> {
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let call = self.client.scan().table_name(self.name(table)).set_exclusive_start_key(from);
            let call = match kind {
                Scan::Whole => call,
                Scan::Consistent => call.consistent_read(true),
                Scan::Segment(segment, of) => call.segment(segment).total_segments(of),
            };
            let page = self.limited(call.send()).await.map_err(|error| self.refused_in(table, "Scan", &error))?;
            rows.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(rows);
            }
        }
    }

    /// As many as the table's size asks for. That it cannot be asked for is no error: the scan will tell what is wrong.
    async fn automatic_segments(&self) -> u32 {
        if self.size.must_ask() && !matches!(tokio::time::timeout(SIZE_LIMIT, self.describe()).await, Ok(Ok(Some(_)))) {
            debug!(table = %self.table, "the size of the lease table is not known; scanning as before");
        }
        self.size.segments()
    }

    async fn list_lease_table(&self) -> Result<FleetRows, LeaseStoreError> {
        let segments = match self.settings.scan_segments {
            Some(segments) => segments.clamp(1, segments::MOST),
            None => self.automatic_segments().await,
        }
        .cast_signed();
        if segments == 1 {
            return Ok(row::collect(&self.scan(Table::Leases, Scan::Whole).await?));
        }
        let part = |segment| self.scan(Table::Leases, Scan::Segment(segment, segments));
        Ok(row::collect(try_join_all((0..segments).map(part)).await?.iter().flatten()))
    }
}

fn limit(client: &Client, call_timeout: Duration) -> Client {
    let config = client.config();
    let timeouts = config.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    let timeouts = timeouts.operation_timeout(call_timeout).build();
    Client::from_conf(config.to_builder().timeout_config(timeouts).build())
}

pub(super) fn readable(row: &Row) -> Result<Lease, LeaseStoreError> {
    row::lease(row).map_err(|unreadable| LeaseStoreError::Unusable(unreadable.reason))
}

#[async_trait]
impl LeaseStore for DynamoDbStore {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.prepare_table().await
    }

    async fn prepare_index(&self) -> Result<(), LeaseStoreError> {
        self.prepare_owner_index().await
    }

    async fn list(&self) -> Result<FleetRows, LeaseStoreError> {
        if !self.layout.borrow().loads().contains(&Table::OldMetrics) {
            return self.list_lease_table().await;
        }
        let (mut found, old) = try_join(self.list_lease_table(), self.old_loads()).await?;
        let unreadable = &mut found.unreadable;
        let mut readable = Vec::new();
        for row in old {
            match row::fleet::worker(&row) {
                Ok(worker) => readable.push(worker),
                Err(error) => unreadable.push((error.key, error.reason)),
            }
        }
        found.add_old(readable);
        found.lock = None; // the lock that counts is in an old table, too; this one is a remainder
        Ok(found)
    }

    async fn get(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError> {
        self.item(Table::Leases, shard.as_str(), false).await?.as_ref().map(readable).transpose()
    }

    async fn get_now(&self, shard: &ShardId) -> Result<Option<Lease>, LeaseStoreError> {
        self.item(Table::Leases, shard.as_str(), true).await?.as_ref().map(readable).transpose()
    }

    async fn create(&self, lease: &Lease) -> Result<bool, LeaseStoreError> {
        self.put_new(Table::Leases, row::lease_row(lease)).await
    }

    async fn renew(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        throughput_kbps: Option<f64>,
        handoff: HandoffKnown,
    ) -> Result<Written, LeaseStoreError> {
        self.move_counter(write::renew(shard, seen, throughput_kbps, handoff)).await
    }

    async fn checkpoint(&self, write: &CheckpointWrite) -> Result<Written<Option<Lease>>, LeaseStoreError> {
        Ok(match self.update(write::checkpoint(write), Answer::NewRow).await? {
            Written::Yes(row) => Written::Yes(row.and_then(|row| row::lease(&row).ok())),
            Written::No(old) => Written::No(old),
        })
    }

    async fn take(&self, seen: &Lease, me: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(write::take(seen, me)).await
    }

    async fn assign(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(write::assign(seen, to)).await
    }

    async fn begin_handoff(&self, seen: &Lease, to: &WorkerId) -> Result<Written<Lease>, LeaseStoreError> {
        match write::begin_handoff(seen, to) {
            Some(write) => self.change_owner(write).await,
            None => Ok(Written::No(Some(Box::new(seen.clone())))),
        }
    }

    async fn evict(&self, seen: &Lease) -> Result<Written<Lease>, LeaseStoreError> {
        self.change_owner(write::evict(seen)).await
    }

    async fn note_children(&self, shard: &ShardId, children: &BTreeSet<ShardId>) -> Result<bool, LeaseStoreError> {
        match write::note_children(shard, children) {
            Some(write) => self.update_plain(Table::Leases, write).await,
            None => Ok(self.item(Table::Leases, shard.as_str(), false).await?.is_some()),
        }
    }

    async fn note_latest(
        &self,
        shard: &ShardId,
        seen: LeaseCounter,
        since: EpochMillis,
    ) -> Result<bool, LeaseStoreError> {
        self.update_plain(Table::Leases, write::note_latest(shard, seen, since)).await
    }

    async fn fill_hash_range(&self, shard: &ShardId, range: HashKeyRange) -> Result<bool, LeaseStoreError> {
        self.update_plain(Table::Leases, write::fill_hash_range(shard, range)).await
    }

    async fn delete(&self, shard: &ShardId) -> Result<(), LeaseStoreError> {
        let call = self.client.delete_item().table_name(&self.table).key(row::KEY, text(shard.as_str()));
        self.limited(call.send()).await.map_err(|error| self.refused("DeleteItem", &error))?;
        Ok(())
    }

    async fn owned_by(&self, worker: &WorkerId) -> Result<Vec<ShardId>, LeaseStoreError> {
        let mut shards = Vec::new();
        let mut from = None;
        loop {
            let call = self.client.query().table_name(&self.table).index_name(OWNER_INDEX);
            let call = call.key_condition_expression("leaseOwner = :leaseOwner");
            let call = call.expression_attribute_values(":leaseOwner", text(worker.as_str()));
            let answer = self.limited(call.set_exclusive_start_key(from).send()).await;
            let page = answer.map_err(|error| self.index_refused(&error))?;
            let keys = page.items.iter().flatten().filter_map(|item| item.get(row::KEY));
            shards.extend(keys.filter_map(|key| AttributeValue::as_s(key).ok()).map(|key| ShardId::new(key.as_str())));
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(shards);
            }
        }
    }
}

impl DynamoDbStore {
    /// An index that is missing or being built is a ValidationException or a ResourceNotFoundException that names it.
    fn index_refused<E>(&self, error: &SdkError<E>) -> LeaseStoreError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let about_index = refusal::message(error).to_ascii_lowercase().contains("index");
        match refusal::code(error) {
            Some(refusal::INVALID | refusal::NOT_FOUND) if about_index => {
                LeaseStoreError::IndexMissing { table: self.table.clone(), index: OWNER_INDEX.to_owned() }
            }
            _ => self.refused("Query", error),
        }
    }
}
