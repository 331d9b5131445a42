//! The tables of KCL 3.0-3.4 in DynamoDB, and the move out of them (LEASES.md section 10).
//!
//! What a process writes where is `place.rs`; when the leader moves what is the coordinator's business.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, TransactWriteItem};
use tokio::sync::watch;

use super::dynamodb::{DynamoDbStore, Scan};
use super::migration::{MigrationStore, Moved, TableMigration, TableMigrationRow, TableNames};
use super::place::{Layout, Table};
use super::row::attribute::text;
use super::row::migration::{self as codec, Mover, from_table, to_table};
use super::row::{self, Row, fleet};
use super::state::unusable;
use super::{LeaseStoreError, LockRow, write};
use crate::types::WorkerId;

/// Most items of one transaction's move: each is two writes. Source: KCL 3.5 `TRANSACTION_BATCH_SIZE`.
const BATCH: usize = 25;

impl DynamoDbStore {
    /// The rows of the old table of workers' load; none where there is no such table.
    pub(super) async fn old_loads(&self) -> Result<Vec<Row>, LeaseStoreError> {
        match self.scan(Table::OldMetrics, Scan::Whole).await {
            Ok(rows) => Ok(rows.into_iter().map(|row| from_table(Table::OldMetrics, row)).collect()),
            Err(LeaseStoreError::TableMissing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn movers(&self) -> Result<Vec<Mover>, LeaseStoreError> {
        let rows = self.scan(Table::OldCoordinator, Scan::Consistent).await?;
        let movers = rows.into_iter().map(|row| codec::mover(from_table(Table::OldCoordinator, row)));
        Ok(movers.filter(|mover| *mover != Mover::Stays).collect())
    }

    /// Sends all or nothing; `false` if a condition did not hold.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<bool, LeaseStoreError> {
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        match self.limited(call.send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled))
                    if canceled
                        .cancellation_reasons()
                        .iter()
                        .any(|why| why.code() == Some("ConditionalCheckFailed")) =>
                {
                    Ok(false)
                }
                _ => Err(self.refused_in(Table::OldCoordinator, "TransactWriteItems", &error)),
            },
        }
    }

    /// The lock of the old table is still the leader's.
    fn leads(&self, leader: &WorkerId) -> TransactWriteItem {
        let check = ConditionCheck::builder()
            .table_name(self.name(Table::OldCoordinator))
            .key(Table::OldCoordinator.key(), text(row::LOCK_KEY))
            .condition_expression("ownerName = :owner")
            .expression_attribute_values(":owner", text(leader.as_str()))
            .build()
            .expect("its required fields are set");
        TransactWriteItem::builder().condition_check(check).build()
    }

    /// The row becomes a new one of the lease table.
    fn put_in_lease_table(&self, row: Row) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(self.name(Table::Leases))
            .set_item(Some(row))
            .condition_expression("attribute_not_exists(leaseKey)")
            .build()
            .expect("its required fields are set");
        TransactWriteItem::builder().put(put).build()
    }

    fn delete_from_old_table(&self, row: &Row) -> TransactWriteItem {
        let key = row.get(row::KEY).cloned().unwrap_or_else(|| text(""));
        let delete = Delete::builder()
            .table_name(self.name(Table::OldCoordinator))
            .key(Table::OldCoordinator.key(), key)
            .build()
            .expect("its required fields are set");
        TransactWriteItem::builder().delete(delete).build()
    }
}

#[async_trait]
impl MigrationStore for DynamoDbStore {
    fn layout(&self) -> watch::Receiver<Layout> {
        self.layout.subscribe()
    }

    fn settle(&self, layout: Layout) {
        self.layout.send_if_modified(|now| std::mem::replace(now, layout) != layout);
    }

    fn names(&self) -> TableNames {
        let name = |table| self.name(table).to_owned();
        TableNames {
            leases: name(Table::Leases),
            coordinator: name(Table::OldCoordinator),
            metrics: name(Table::OldMetrics),
        }
    }

    async fn table_migration(&self) -> Result<Option<TableMigrationRow>, LeaseStoreError> {
        let row = self.item(Table::OldCoordinator, row::TABLE_MIGRATION_KEY, true).await?;
        row.as_ref().map(codec::table_migration).transpose().map_err(unusable)
    }

    async fn create_table_migration(&self, row: &TableMigrationRow) -> Result<bool, LeaseStoreError> {
        self.put_new(Table::OldCoordinator, codec::table_migration_row(row)).await
    }

    async fn change_table_migration(
        &self,
        from: TableMigration,
        row: &TableMigrationRow,
    ) -> Result<bool, LeaseStoreError> {
        self.update_plain(Table::OldCoordinator, write::change_table_migration(from, row)).await
    }

    async fn delete_table_migration(&self, seen: TableMigration) -> Result<bool, LeaseStoreError> {
        let table = Table::OldCoordinator;
        let call =
            self.client.delete_item().table_name(self.name(table)).key(table.key(), text(row::TABLE_MIGRATION_KEY));
        let call = call.condition_expression("tm = :seen");
        match self.limited(call.expression_attribute_values(":seen", text(codec::state_text(seen))).send()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(self.refused_in(table, "DeleteItem", &error)),
            },
        }
    }

    async fn lock_in_lease_table(&self) -> Result<Option<LockRow>, LeaseStoreError> {
        let row = self.item(Table::Leases, row::LOCK_KEY, true).await?;
        row.as_ref().map(fleet::lock).transpose().map_err(unusable)
    }

    async fn has_items_to_move(&self) -> Result<bool, LeaseStoreError> {
        Ok(!self.movers().await?.is_empty())
    }

    async fn move_items(&self, leader: &WorkerId) -> Result<Moved, LeaseStoreError> {
        let mut rows = Vec::new();
        for mover in self.movers().await? {
            match mover {
                Mover::Stays => {}
                Mover::Goes(row) => rows.push(row),
                Mover::Unknown(sentence) => return Ok(Moved::Not(sentence)),
            }
        }
        for batch in rows.chunks(BATCH) {
            let moves =
                batch.iter().flat_map(|row| [self.put_in_lease_table(row.clone()), self.delete_from_old_table(row)]);
            if !self.transact([self.leads(leader)].into_iter().chain(moves).collect()).await? {
                return Ok(Moved::Not("the lock changed hands, or the lease table has such rows already".to_owned()));
            }
        }
        if self.has_items_to_move().await? {
            return Ok(Moved::Not("somebody has written new rows meanwhile".to_owned()));
        }
        Ok(Moved::All(rows.len()))
    }

    async fn complete_table_migration(
        &self,
        row: &TableMigrationRow,
        leader: &WorkerId,
    ) -> Result<bool, LeaseStoreError> {
        let item = codec::table_migration_row(row);
        let old = Put::builder()
            .table_name(self.name(Table::OldCoordinator))
            .set_item(Some(to_table(Table::OldCoordinator, item.clone())))
            .condition_expression("tm = :expectedStatus")
            .expression_attribute_values(":expectedStatus", text(codec::state_text(TableMigration::Pending)))
            .build()
            .expect("its required fields are set");
        let old = TransactWriteItem::builder().put(old).build();
        self.transact(vec![self.leads(leader), self.put_in_lease_table(item), old]).await
    }
}
