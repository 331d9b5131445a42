//! Where am I: decides from the tables, never from our own version, in which kind of fleet this worker starts.
//!
//! Source: COEXISTENCE.md section 1, LEASES.md section 9.

use crate::coordinator::Fleet;
use crate::coordinator::layout::LayoutError;
use crate::coordinator::locate::locate;
use crate::coordinator::version::join::join;
use crate::coordinator::version::reports_load;
use crate::lease::{ClientVersion, LeaseStoreError};

/// Why this worker must not join.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tables could not be read or made.
    #[error(transparent)]
    Table(#[from] LeaseStoreError),
    /// The tables contradict each other or the configuration.
    #[error(transparent)]
    Layout(#[from] LayoutError),
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
pub async fn prepare(fleet: &Fleet) -> Result<ClientVersion, StartError> {
    fleet.leases.prepare().await?;
    locate(fleet).await?;
    let version = join(fleet).await?;
    if reports_load(version) {
        fleet.leases.prepare_index().await?;
    }
    Ok(version)
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
