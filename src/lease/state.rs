//! The fleet's other rows in DynamoDB: leader lock, client version, workers' load (LEASES.md 1.4, 4, 5, 9).
//!
//! Which table a row is in is the layout's business (`place.rs`): until a move is complete some are in the old tables.
//! The lock and the load use expressions, the client version the older parameters, as Java does.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;

use super::dynamodb::DynamoDbStore;
use super::migration::is_right_lock;
use super::place::{Layout, Table};
use super::refusal;
use super::row::attribute::{text, whole};
use super::row::migration::to_table;
use super::row::{self, Unreadable, fleet};
use super::{ClientVersion, ClientVersionRow, LeaseStoreError, LockRow, StateStore, WorkerRow, write};
use crate::types::WorkerId;

/// The lock is ours and unchanged. Source: DynamoDB lock client, captured.
const LOCK_IS_MINE: &str = "attribute_exists(#pk) AND #rvn = :rvn AND #on = :on";

pub(super) fn unusable(unreadable: Unreadable) -> LeaseStoreError {
    LeaseStoreError::Unusable(unreadable.reason)
}

#[async_trait]
impl StateStore for DynamoDbStore {
    async fn has_legacy_tables(&self) -> Result<bool, LeaseStoreError> {
        let table = Table::OldCoordinator;
        match self.limited(self.client.describe_table().table_name(self.name(table)).send()).await {
            Ok(_) => Ok(true),
            Err(error) if refusal::code(&error) == Some(refusal::NOT_FOUND) => Ok(false),
            Err(error) => Err(self.refused_in(table, "DescribeTable", &error)),
        }
    }

    async fn client_version(&self) -> Result<Option<ClientVersionRow>, LeaseStoreError> {
        for table in self.settled().items_read() {
            if let Some(row) = self.item(*table, row::CLIENT_VERSION_KEY, true).await? {
                return fleet::client_version(&row).map(Some).map_err(unusable);
            }
        }
        Ok(None)
    }

    async fn create_client_version(&self, row: &ClientVersionRow) -> Result<bool, LeaseStoreError> {
        self.put_new(self.settled().items_written(), fleet::client_version_row(row)).await
    }

    async fn change_client_version(
        &self,
        from: ClientVersion,
        row: &ClientVersionRow,
    ) -> Result<bool, LeaseStoreError> {
        // Where it is found, it is changed: while an application moves that need not be where it would be created.
        for table in self.settled().items_read() {
            if self.update_plain(*table, write::change_client_version(from, row)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn lock(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        let row = self.item(self.settled().lock(), row::LOCK_KEY, true).await?;
        row.as_ref().map(fleet::lock).transpose().map_err(unusable)
    }

    async fn take_lock(&self, row: &LockRow, seen: Option<&str>) -> Result<bool, LeaseStoreError> {
        let table = self.settled().lock();
        let call = self.client.put_item().table_name(self.name(table));
        let call = call.set_item(Some(to_table(table, fleet::lock_row(row))));
        let call = call.expression_attribute_names("#pk", table.key());
        let call = match seen {
            None => call.condition_expression("attribute_not_exists(#pk)"),
            Some(seen) => call
                .condition_expression("attribute_exists(#pk) AND #rvn = :rvn")
                .expression_attribute_names("#rvn", fleet::LOCK_VERSION)
                .expression_attribute_values(":rvn", text(seen)),
        };
        match self.limited(call.send()).await {
            Ok(_) => is_right_lock(self, table, row).await,
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "PutItem", &error)),
            },
        }
    }

    async fn beat_lock(&self, row: &LockRow, next: &str) -> Result<bool, LeaseStoreError> {
        let table = self.settled().lock();
        let call = self.client.update_item().table_name(self.name(table)).key(table.key(), text(row::LOCK_KEY));
        let call = call
            .update_expression("SET #ld = :ld, #rvn = :newRvn")
            .condition_expression(LOCK_IS_MINE)
            .expression_attribute_names("#pk", table.key())
            .expression_attribute_names("#rvn", fleet::LOCK_VERSION)
            .expression_attribute_names("#on", fleet::LOCK_OWNER)
            .expression_attribute_names("#ld", fleet::LOCK_DURATION)
            .expression_attribute_values(":rvn", text(row.version.as_str()))
            .expression_attribute_values(":on", text(row.owner.as_str()))
            .expression_attribute_values(":ld", fleet::lock_duration_value(row))
            .expression_attribute_values(":newRvn", text(next));
        match self.limited(call.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "UpdateItem", &error)),
            },
        }
    }

    async fn release_lock(&self, row: &LockRow) -> Result<bool, LeaseStoreError> {
        let table = self.settled().lock();
        let call = self.client.delete_item().table_name(self.name(table)).key(table.key(), text(row::LOCK_KEY));
        let call = call
            .condition_expression(LOCK_IS_MINE)
            .expression_attribute_names("#pk", table.key())
            .expression_attribute_names("#rvn", fleet::LOCK_VERSION)
            .expression_attribute_names("#on", fleet::LOCK_OWNER)
            .expression_attribute_values(":rvn", text(row.version.as_str()))
            .expression_attribute_values(":on", text(row.owner.as_str()));
        self.deleted(table, call).await
    }

    async fn put_worker(&self, row: &WorkerRow) -> Result<Option<i64>, LeaseStoreError> {
        let table = self.settled().loads_written();
        let call = self.client.update_item().table_name(self.name(table));
        let mut call = call.key(table.key(), text(row.worker.as_str()));
        let mut sets = Vec::new();
        for (name, value) in fleet::worker_attributes(row) {
            sets.push(format!("#AMZN_MAPPED_{name} = :AMZN_MAPPED_{name}")); // Java's own names, kept for comparison
            call = call.expression_attribute_names(format!("#AMZN_MAPPED_{name}"), name);
            call = call.expression_attribute_values(format!(":AMZN_MAPPED_{name}"), value);
        }
        let call = call.update_expression(format!("SET {}", sets.join(", ")));
        // Java asks for the row as it is now and does not look at it; the row as it was tells who wrote it last.
        let call = call.return_values(ReturnValue::AllOld);
        let answer = self.limited(call.send()).await.map_err(|error| self.refused_in(table, "UpdateItem", &error))?;
        Ok(answer.attributes().and_then(fleet::last_update))
    }

    async fn delete_worker(&self, worker: &WorkerId, seen: i64) -> Result<bool, LeaseStoreError> {
        for table in self.settled().loads() {
            let call = self.client.delete_item().table_name(self.name(*table)).key(table.key(), text(worker.as_str()));
            let call = call.condition_expression("lut = :l").expression_attribute_values(":l", whole(seen));
            match self.deleted(*table, call).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                // only KCL 3.0-3.4 makes it, after the coordinator table
                Err(LeaseStoreError::TableMissing { .. }) if *table == Table::OldMetrics => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl DynamoDbStore {
    fn settled(&self) -> Layout {
        *self.layout.borrow()
    }

    async fn deleted(
        &self,
        table: Table,
        call: aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder,
    ) -> Result<bool, LeaseStoreError> {
        match self.limited(call.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "DeleteItem", &error)),
            },
        }
    }
}
