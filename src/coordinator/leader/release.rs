//! Gives the lock back: for a while if this worker cannot lead, for good when it leaves.

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::{LeaderLock, REQUEST_LIMIT};
use crate::coordinator::LEAVING_RETRY;
use crate::coordinator::renew::chain;
use crate::lease::LeaseStoreError;

impl LeaderLock {
    /// Leaves the lock to the others for a while. If it cannot be released it expires.
    pub(super) async fn resign(&mut self) {
        warn!("this worker leads and cannot, so it leaves the leader lock to others for a while");
        match timeout(REQUEST_LIMIT, self.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %chain(&error), "the leader lock could not be given back; it expires"),
            Err(_) => warn!("giving the leader lock back took too long; it expires by itself"),
        }
        self.mine = None;
        self.resigned = Some(Instant::now());
        self.check_own_age();
    }

    /// Deletes the lock if we lead as far as we know. What fails here is left to [`LeaderLock::release`].
    pub async fn step_down(&mut self) {
        let Some((row, _)) = &self.mine else { return };
        match self.fleet.state.release_lock(row).await {
            Ok(released) => {
                debug!(released, "leader lock given back");
                self.released = released;
            }
            Err(error) => debug!(error = %chain(&error), "the leader lock could not be given back, trying again later"),
        }
    }

    /// Deletes the lock if it is ours, so that the next leader need not wait for it to expire; tries on while that
    /// can help, so the caller sets the limit.
    pub async fn release(&mut self) {
        let mut failures = 0;
        while !self.released
            && let Err(error) = self.try_release().await
        {
            failures += 1;
            if !error.is_transient() {
                warn!(error = %chain(&error), "the leader lock could not be given back; it expires by itself");
                return;
            }
            sleep(LEAVING_RETRY.jittered(failures)).await;
        }
    }

    async fn try_release(&mut self) -> Result<(), LeaseStoreError> {
        if let Some((row, _)) = &self.mine
            && self.fleet.state.release_lock(row).await?
        {
            debug!("leader lock given back");
            return Ok(());
        }
        // Not as we know it: a take or a beat that seemed to fail, or was cut short, may have come through.
        if let Some(found) = self.fleet.state.lock().await?.filter(|found| self.is_ours(found)) {
            let released = self.fleet.state.release_lock(&found).await?;
            debug!(released, "leader lock given back");
        }
        Ok(())
    }
}
