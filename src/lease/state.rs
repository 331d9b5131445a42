//! The fleet's other rows in DynamoDB: leader lock, client version, workers' load (LEASES.md 1.4, 4, 5, 9).
//!
//! The lock and the load use expressions, the client version the older parameters, as Java does.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;

use super::dynamodb::DynamoDbStore;
use super::refusal::{self, refusal};
use super::row::attribute::{text, whole};
use super::row::{self, Unreadable, fleet};
use super::{ClientVersion, ClientVersionRow, LeaseStoreError, LockRow, StateStore, WorkerRow, write};
use crate::types::WorkerId;

/// What the old coordinator table is called, after the application's name. Source: LEASES.md section 1.
const LEGACY_SUFFIX: &str = "-CoordinatorState";
/// The lock is ours and unchanged. Source: DynamoDB lock client, captured.
const LOCK_IS_MINE: &str = "attribute_exists(#pk) AND #rvn = :rvn AND #on = :on";

fn unusable(unreadable: Unreadable) -> LeaseStoreError {
    LeaseStoreError::Unusable(unreadable.reason)
}

#[async_trait]
impl StateStore for DynamoDbStore {
    async fn has_legacy_tables(&self) -> Result<bool, LeaseStoreError> {
        let table = format!("{}{LEGACY_SUFFIX}", self.application);
        match self.limited(self.client.describe_table().table_name(&table).send()).await {
            Ok(_) => Ok(true),
            Err(error) if refusal::code(&error) == Some(refusal::NOT_FOUND) => Ok(false),
            Err(error) => Err(refusal("DescribeTable", &table, self.call_timeout, &error)),
        }
    }

    async fn client_version(&self) -> Result<Option<ClientVersionRow>, LeaseStoreError> {
        let row = self.item(row::CLIENT_VERSION_KEY, true).await?;
        row.as_ref().map(fleet::client_version).transpose().map_err(unusable)
    }

    async fn create_client_version(&self, row: &ClientVersionRow) -> Result<bool, LeaseStoreError> {
        self.put_new(fleet::client_version_row(row)).await
    }

    async fn change_client_version(
        &self,
        from: ClientVersion,
        row: &ClientVersionRow,
    ) -> Result<bool, LeaseStoreError> {
        self.update_plain(write::change_client_version(from, row)).await
    }

    async fn lock(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        let row = self.item(row::LOCK_KEY, true).await?;
        row.as_ref().map(fleet::lock).transpose().map_err(unusable)
    }

    async fn take_lock(&self, row: &LockRow, seen: Option<&str>) -> Result<bool, LeaseStoreError> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(fleet::lock_row(row)));
        let call = call.expression_attribute_names("#pk", row::KEY);
        let call = match seen {
            None => call.condition_expression("attribute_not_exists(#pk)"),
            Some(seen) => call
                .condition_expression("attribute_exists(#pk) AND #rvn = :rvn")
                .expression_attribute_names("#rvn", fleet::LOCK_VERSION)
                .expression_attribute_values(":rvn", text(seen)),
        };
        match self.limited(call.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused("PutItem", &error)),
            },
        }
    }

    async fn beat_lock(&self, row: &LockRow, next: &str) -> Result<bool, LeaseStoreError> {
        let call = self.client.update_item().table_name(&self.table).key(row::KEY, text(row::LOCK_KEY));
        let call = call
            .update_expression("SET #ld = :ld, #rvn = :newRvn")
            .condition_expression(LOCK_IS_MINE)
            .expression_attribute_names("#pk", row::KEY)
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
                _ => Err(self.refused("UpdateItem", &error)),
            },
        }
    }

    async fn release_lock(&self, row: &LockRow) -> Result<bool, LeaseStoreError> {
        let call = self.client.delete_item().table_name(&self.table).key(row::KEY, text(row::LOCK_KEY));
        let call = call
            .condition_expression(LOCK_IS_MINE)
            .expression_attribute_names("#pk", row::KEY)
            .expression_attribute_names("#rvn", fleet::LOCK_VERSION)
            .expression_attribute_names("#on", fleet::LOCK_OWNER)
            .expression_attribute_values(":rvn", text(row.version.as_str()))
            .expression_attribute_values(":on", text(row.owner.as_str()));
        self.deleted(call).await
    }

    async fn put_worker(&self, row: &WorkerRow) -> Result<Option<i64>, LeaseStoreError> {
        let mut call = self.client.update_item().table_name(&self.table).key(row::KEY, text(row.worker.as_str()));
        let mut sets = Vec::new();
        for (name, value) in fleet::worker_attributes(row) {
            sets.push(format!("#AMZN_MAPPED_{name} = :AMZN_MAPPED_{name}")); // Java's own names, kept for comparison
            call = call.expression_attribute_names(format!("#AMZN_MAPPED_{name}"), name);
            call = call.expression_attribute_values(format!(":AMZN_MAPPED_{name}"), value);
        }
        let call = call.update_expression(format!("SET {}", sets.join(", ")));
        // Java asks for the row as it is now and does not look at it; the row as it was tells who wrote it last.
        let call = call.return_values(ReturnValue::AllOld);
        let answer = self.limited(call.send()).await.map_err(|error| self.refused("UpdateItem", &error))?;
        Ok(answer.attributes().and_then(fleet::last_update))
    }

    async fn delete_worker(&self, worker: &WorkerId, seen: i64) -> Result<bool, LeaseStoreError> {
        let call = self.client.delete_item().table_name(&self.table).key(row::KEY, text(worker.as_str()));
        let call = call.condition_expression("lut = :l").expression_attribute_values(":l", whole(seen));
        self.deleted(call).await
    }
}

impl DynamoDbStore {
    async fn deleted(
        &self,
        call: aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder,
    ) -> Result<bool, LeaseStoreError> {
        match self.limited(call.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused("DeleteItem", &error)),
            },
        }
    }
}
