//! Where letters last: the seam between who sets a record aside and what keeps it.

use std::io;

use async_trait::async_trait;

use super::letter::Letter;

/// Keeps letters: a file, or a service.
#[async_trait]
pub trait Target: Send + Sync {
    /// Stores the letter, and returns when it lasts. The same letter may come again, whole or in part, after a failure or
    /// the end of the process.
    ///
    /// # Errors
    /// It is not known to last.
    async fn store(&self, letter: &Letter<'_>) -> Result<(), NotStored>;
}

/// Why a letter does not last.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// The service is away, or refuses until somebody allows it: to be tried again.
    #[error("{0}")]
    Yet(String),
    /// The machine's own disk does not take it, and a supervisor should hear of that.
    #[error(transparent)]
    ForGood(io::Error),
}
