//! Where am I: decides from the tables, never from our own version, in which kind of fleet this worker starts.
//!
//! Source: COEXISTENCE.md section 1, LEASES.md section 9.

use tracing::{debug, info};

use crate::coordinator::Fleet;
use crate::lease::{ClientVersion, ClientVersionRow, LeaseStoreError};

/// Most entries of the history in item `Migration3.0` (Source: LEASES.md section 1.4).
const HISTORY: usize = 10;

/// Why this worker must not join.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tables could not be read or made.
    #[error(transparent)]
    Table(#[from] LeaseStoreError),
    /// The fleet keeps its rows in three tables.
    #[error(
        "table `{application}-CoordinatorState` exists, so this application was made by KCL 3.0 to 3.4 and keeps its \
         rows in three tables; this version of multilangd works with the single table of KCL 3.5 and new applications only"
    )]
    ThreeTables {
        /// `applicationName`.
        application: String,
    },
    /// The fleet works as 2.x.
    #[error(
        "item `Migration3.0` says {found:?}: the fleet works in 2.x mode, which this version of multilangd does not \
         know; finish the migration to 3.x with Java workers first"
    )]
    TwoX {
        /// What the item says.
        found: ClientVersion,
    },
}

/// Makes the table ready and joins the fleet as a worker of generation 3.x.
///
/// # Errors
/// Joining is not possible, or would do harm.
pub async fn prepare(fleet: &Fleet, application: &str) -> Result<(), StartError> {
    fleet.leases.prepare().await?;
    fleet.leases.prepare_index().await?;
    if fleet.state.has_legacy_tables().await? {
        return Err(StartError::ThreeTables { application: application.to_owned() });
    }
    // Losing a race against another worker that starts now is no failure: read again what it wrote.
    for _ in 0..3 {
        let now = fleet.clock.now();
        let found = fleet.state.client_version().await?;
        match found.as_ref().map(|row| row.version) {
            Some(ClientVersion::ThreeX) => {
                debug!("the fleet is of generation 3.x");
                return Ok(());
            }
            Some(found @ (ClientVersion::UpgradeFrom2x | ClientVersion::TwoX | ClientVersion::Init)) => {
                return Err(StartError::TwoX { found });
            }
            from @ (None | Some(ClientVersion::ThreeXWithRollback)) => {
                let mut history = vec![(from.unwrap_or(ClientVersion::Init), fleet.me.clone(), now)];
                if let Some(row) = found {
                    history[0] = (row.version, row.modified_by, row.modified_at);
                    history.extend(row.history);
                    history.truncate(HISTORY);
                }
                let modified_by = fleet.me.clone();
                let row = ClientVersionRow { version: ClientVersion::ThreeX, modified_by, modified_at: now, history };
                let written = match from {
                    None => fleet.state.create_client_version(&row).await?,
                    Some(from) => fleet.state.change_client_version(from, &row).await?,
                };
                if written {
                    info!("the application is of generation 3.x from now on");
                    return Ok(());
                }
            }
        }
    }
    Err(LeaseStoreError::Unusable("item `Migration3.0` changes faster than it can be read".to_owned()).into())
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
