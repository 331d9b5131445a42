//! Where am I: decides from the tables, never from our own version, in which kind of fleet this worker starts.
//!
//! Source: COEXISTENCE.md section 1, LEASES.md section 9.

use crate::coordinator::Fleet;
use crate::coordinator::version::join::join;
use crate::coordinator::version::reports_load;
use crate::lease::{ClientVersion, LeaseStoreError};

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
    /// The item that says how the fleet works says what it never says.
    #[error(
        "item `Migration3.0` says `CLIENT_VERSION_INIT`, which no worker writes; delete the item, or let it say what \
         the other workers work as"
    )]
    NoSuchVersion,
}

/// Makes the table ready and joins the fleet; returns how this worker works.
///
/// The index is asked for where it is used, and not waited for.
///
/// # Errors
/// Joining is not possible, or would do harm.
pub async fn prepare(fleet: &Fleet, application: &str) -> Result<ClientVersion, StartError> {
    fleet.leases.prepare().await?;
    if fleet.state.has_legacy_tables().await? {
        return Err(StartError::ThreeTables { application: application.to_owned() });
    }
    let version = join(fleet).await?;
    if reports_load(version) {
        fleet.leases.prepare_index().await?;
    }
    Ok(version)
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
