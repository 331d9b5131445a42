//! Performs the move from three tables into one while we lead, and follows it while others do.
//!
//! Runs only in an application whose move is not complete, and ends when it is. What to do is `migration.rs`.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Fleet;
use super::leader::Leadership;
use super::migration::{Duty, Situation, Survey, duty};
use super::renew::chain;
use crate::lease::LeaseStoreError;
use crate::lease::migration::{Moved, TableMigration, TableMigrationRow, leave_old_tables};
use crate::lease::place::Layout;

/// Time between two looks at the item while nothing else asks for one (Source: LEASES.md section 5: peers look at the
/// lock, and with it at the item, every 30 s).
const LOOK: Duration = Duration::from_secs(30);
/// Limit of one step, a move of all items included; what it leaves undone the next one does.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// The task.
pub struct Migrator {
    fleet: Fleet,
    leader: watch::Receiver<Leadership>,
    survey: watch::Receiver<Option<Survey>>,
    leading_since: Option<Instant>,
    /// Said last, so that it is not said again and again.
    said: String,
}

impl Migrator {
    /// Learns of the fleet through `survey`, which only the leader's looks fill.
    #[must_use]
    pub fn new(fleet: Fleet, leader: watch::Receiver<Leadership>, survey: watch::Receiver<Option<Survey>>) -> Self {
        Self { fleet, leader, survey, leading_since: None, said: String::new() }
    }

    /// Runs until the move is complete, or until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut layout = self.fleet.state.layout();
        while *layout.borrow_and_update() != Layout::OneTable {
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                step = timeout(STEP_LIMIT, self.step()) => step,
            };
            match step {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.say(format!("failed: {}", chain(&error))),
                Err(_) => self.say(format!("took more than {STEP_LIMIT:?}")),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.survey.changed() => if changed.is_err() { return },
                changed = self.leader.changed() => if changed.is_err() { return },
                changed = layout.changed() => if changed.is_err() { return },
                () = sleep(LOOK) => {}
            }
        }
        info!("the application is in one table, the old tables are not used any more");
    }

    fn say(&mut self, trouble: String) {
        if self.said != trouble {
            warn!(trouble, "the move into one table does not go on, trying on");
            self.said = trouble;
        }
    }

    async fn step(&mut self) -> Result<(), LeaseStoreError> {
        let item = self.fleet.state.table_migration().await?;
        if *self.leader.borrow_and_update() != Leadership::Mine {
            self.leading_since = None;
            if item.is_some_and(|item| item.state == TableMigration::Complete) {
                self.leave().await;
            }
            return Ok(());
        }
        let since = *self.leading_since.get_or_insert_with(Instant::now);
        // Leases of the dead count as living until their counters were watched for so long.
        let enough = since + self.fleet.config.failover_time;
        let outdated = self.fleet.config.lease_assignment_interval * 2 + LOOK;
        let survey = self.survey.borrow_and_update().clone();
        let survey = survey.filter(|survey| survey.taken > enough && survey.taken.elapsed() < outdated);
        let settings = self.fleet.config.table_migration;
        let moving = item.as_ref().is_some_and(|item| item.state == TableMigration::Pending);
        let items_left = moving && settings.to_lease_table && self.fleet.state.has_items_to_move().await?;
        let now = self.fleet.clock.now();
        let todo = duty(Situation { item: item.as_ref(), survey: survey.as_ref(), items_left, settings, now });
        self.perform(todo, item).await
    }

    async fn perform(&mut self, duty: Duty, item: Option<TableMigrationRow>) -> Result<(), LeaseStoreError> {
        let (state, me, now) = (&self.fleet.state, &self.fleet.me, self.fleet.clock.now());
        match (duty, item) {
            (Duty::Nothing, _) => {}
            (Duty::Leave, _) => self.leave().await,
            (Duty::Create(next), _) => {
                let written = state.create_table_migration(&TableMigrationRow::first(next, me, now)).await?;
                info!(?next, written, "item `TableMigration3.5` created");
            }
            (Duty::Delete, Some(item)) => {
                let written = state.delete_table_migration(item.state).await?;
                info!(was = ?item.state, written, "a worker does not understand one table: item `TableMigration3.5` deleted");
            }
            (Duty::Change(next), Some(item)) => self.change(&item, next).await?,
            (Duty::MoveItems, Some(item)) => match state.move_items(me).await? {
                Moved::All(items) => {
                    info!(items, "coordinator items are in the lease table");
                    self.change(&item, TableMigration::Pending).await?;
                }
                Moved::Not(why) => self.say(format!("coordinator items cannot be moved: {why}")),
            },
            (Duty::Complete, Some(item)) => {
                let row = item.advanced(TableMigration::Complete, me, now);
                if state.complete_table_migration(&row, me).await? {
                    info!("the move into one table is complete");
                    self.leave().await;
                } else {
                    self.say("COMPLETE was refused: the lock or the item changed".to_owned());
                }
            }
            (Duty::Delete | Duty::Change(_) | Duty::MoveItems | Duty::Complete, None) => {}
        }
        Ok(())
    }

    async fn change(&self, item: &TableMigrationRow, next: TableMigration) -> Result<(), LeaseStoreError> {
        let row = item.advanced(next, &self.fleet.me, self.fleet.clock.now());
        let written = self.fleet.state.change_table_migration(item.state, &row).await?;
        info!(was = ?item.state, ?next, written, "item `TableMigration3.5` changed");
        Ok(())
    }

    async fn leave(&self) {
        if let Err(error) = leave_old_tables(self.fleet.state.as_ref(), &self.fleet.me).await {
            warn!(error = %chain(&error), "the lock of the old table could not be given back; nobody waits for it");
        }
    }
}

#[cfg(test)]
#[path = "migrator_tests.rs"]
mod tests;
