//! The lease table itself: describe, create, protect, wait, index (LEASES.md 1.1, 1.2).
//!
//! What exists is never asked for, so a policy without CreateTable and UpdateTable is enough then.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, KeySchemaElement,
    KeyType, PointInTimeRecoverySpecification, Projection, ProjectionType, ScalarAttributeType, TableDescription,
    TableStatus,
};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::LeaseStoreError;
use super::dynamodb::{DynamoDbStore, OWNER_INDEX};
use super::refusal::{self, Trouble};
use super::row;

/// Longest wait for a table. Source: LEASES.md 1.1.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// First wait between two looks. Java waits 10 s; a look harms nobody (LEASES.md section 6).
const FIRST_POLL: Duration = Duration::from_millis(200);
/// Longest wait between two looks.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Somebody else is making the same thing right now.
const IN_USE: &str = "ResourceInUseException";
/// One index at a time; seen when somebody else is adding one.
const LIMIT_EXCEEDED: &str = "LimitExceededException";
/// Backups of a table just made cannot be configured for some seconds.
const BACKUPS_NOT_YET: &str = "ContinuousBackupsUnavailableException";

/// Waits that grow from [`FIRST_POLL`] to [`LAST_POLL`] and end after [`READY_WITHIN`].
struct Patience {
    began: Instant,
    next: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { began: Instant::now(), next: FIRST_POLL }
    }

    /// Waits once more; `false` if the time is over.
    async fn wait(&mut self) -> bool {
        if self.began.elapsed() + self.next > READY_WITHIN {
            return false;
        }
        sleep(self.next).await;
        self.next = (self.next * 3 / 2).min(LAST_POLL);
        true
    }
}

impl DynamoDbStore {
    pub(super) async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        let mut patience = Patience::new();
        self.wait_until_ready(&mut patience).await?;
        if self.settings.point_in_time_recovery {
            self.enable_recovery(&mut patience).await?;
        }
        Ok(())
    }

    pub(super) async fn prepare_owner_index(&self) -> Result<(), LeaseStoreError> {
        let missing = || LeaseStoreError::TableMissing { table: self.table.clone() };
        let table = self.describe().await?.ok_or_else(missing)?;
        if !table.global_secondary_indexes().iter().any(|index| index.index_name() == Some(OWNER_INDEX)) {
            self.create_index().await?;
        }
        Ok(())
    }

    /// Looks until the table can be used; creates it whenever it is not there.
    async fn wait_until_ready(&self, patience: &mut Patience) -> Result<(), LeaseStoreError> {
        let mut asked = false;
        loop {
            let status = match self.describe().await? {
                None => {
                    self.create_table().await?; // each time: one look may be stale, another ask is harmless
                    if !std::mem::replace(&mut asked, true) {
                        continue;
                    }
                    "not visible yet"
                }
                Some(table) => {
                    self.check_key(&table)?;
                    match table.table_status() {
                        Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                        Some(TableStatus::Creating) | None => "CREATING",
                        Some(TableStatus::Deleting) => "DELETING", // gone soon, then made anew
                        Some(other) => return Err(self.unusable(&format!("is {}", other.as_str()))),
                    }
                }
            };
            if !patience.wait().await {
                let source = Trouble::new(format!("the table was not ready after {READY_WITHIN:?}, it is {status}"));
                return Err(LeaseStoreError::Service { action: "DescribeTable", table: self.table.clone(), source });
            }
        }
    }

    pub(super) async fn describe(&self) -> Result<Option<TableDescription>, LeaseStoreError> {
        match self.limited(self.client.describe_table().table_name(&self.table).send()).await {
            Ok(answer) => {
                let bytes = answer.table.as_ref().and_then(TableDescription::table_size_bytes);
                self.size.is(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0));
                Ok(answer.table)
            }
            Err(error) if refusal::code(&error) == Some(refusal::NOT_FOUND) => Ok(None),
            Err(error) => Err(self.refused("DescribeTable", &error)),
        }
    }

    fn unusable(&self, what: &str) -> LeaseStoreError {
        LeaseStoreError::Unusable(format!("table `{}` {what}, so it cannot hold leases", self.table))
    }

    fn check_key(&self, table: &TableDescription) -> Result<(), LeaseStoreError> {
        let kind = |name: &str| {
            let definition = table.attribute_definitions().iter().find(|defined| defined.attribute_name() == name);
            definition.map_or("?", |defined| defined.attribute_type().as_str())
        };
        let parts = table.key_schema().iter();
        let found: Vec<String> = parts
            .map(|part| format!("`{}` {} {}", part.attribute_name(), kind(part.attribute_name()), part.key_type()))
            .collect();
        let found = found.join(", ");
        let wanted = format!("`{}` S HASH", row::KEY);
        if found == wanted {
            return Ok(());
        }
        Err(self.unusable(&format!("has the key {found} instead of {wanted}")))
    }

    async fn create_table(&self) -> Result<(), LeaseStoreError> {
        let call = self.client.create_table().table_name(&self.table);
        let call = call
            .attribute_definitions(text_attribute(row::KEY))
            .key_schema(key_part(row::KEY, KeyType::Hash))
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(self.settings.deletion_protection);
        match self.limited(call.send()).await {
            Ok(_) => info!(table = %self.table, "lease table created"),
            Err(error) if refusal::code(&error) == Some(IN_USE) => {}
            Err(error) => return Err(self.refused("CreateTable", &error)),
        }
        Ok(())
    }

    /// Asked on every start. Source: LEASES.md 1.1.
    async fn enable_recovery(&self, patience: &mut Patience) -> Result<(), LeaseStoreError> {
        let wanted = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
        let wanted = wanted.expect("its one required field is set");
        loop {
            let call = self.client.update_continuous_backups().table_name(&self.table);
            let call = call.point_in_time_recovery_specification(wanted.clone());
            match self.limited(call.send()).await {
                Ok(_) => return Ok(()),
                Err(error) if refusal::code(&error) == Some(BACKUPS_NOT_YET) && patience.wait().await => {}
                Err(error) => return Err(self.refused("UpdateContinuousBackups", &error)),
            }
        }
    }

    /// Begins the index; somebody else doing it is as good. Source: LEASES.md 1.2, COEXISTENCE.md D15.
    async fn create_index(&self) -> Result<(), LeaseStoreError> {
        let index = CreateGlobalSecondaryIndexAction::builder()
            .index_name(OWNER_INDEX)
            .key_schema(key_part(row::OWNER, KeyType::Hash))
            .key_schema(key_part(row::KEY, KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .expect("its required fields are set");
        let call = self.client.update_table().table_name(&self.table);
        let call = call
            .attribute_definitions(text_attribute(row::OWNER))
            .attribute_definitions(text_attribute(row::KEY))
            .global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(index).build());
        match self.limited(call.send()).await {
            Ok(_) => info!(table = %self.table, index = OWNER_INDEX, "index is being created"),
            Err(error) => match refusal::code(&error) {
                Some(IN_USE | LIMIT_EXCEEDED) => {}
                Some(refusal::INVALID) if refusal::message(&error).contains("already exists") => {}
                _ => return Err(self.refused("UpdateTable", &error)),
            },
        }
        Ok(())
    }
}

fn text_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    definition.build().expect("both required fields are set")
}

fn key_part(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("both required fields are set")
}
