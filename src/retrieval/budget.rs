//! The bytes that all shards of a process may keep together: `multilangd.bufferBytes`.
//!
//! A shard that holds nothing comes first and waits at most [`FIRST_WAIT`], so children that do not answer cannot
//! starve other shards; the budget is exceeded by one answer a shard at most. Reading ahead is for what is left: a
//! shard may do it while it holds no more than is free, so somebody else always finds room (dynamic thresholds, as in
//! the shared buffers of switches). Whoever gives back decides who goes next; nobody polls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Longest wait of a shard that holds nothing. Longer than most batches take, shorter than the idle time; the service
/// lets a shard that is behind read ten times as much in one call as in a second.
pub const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The budget of one process.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    waiting: VecDeque<Waiter>,
}

/// A shard in the queue.
#[derive(Debug)]
struct Waiter {
    bytes: usize,
    held: Arc<AtomicUsize>,
    overdue_at: Instant,
    answer: oneshot::Sender<Grant>,
}

/// One shard's part of the budget.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    /// What its grants say together; changes only under the budget's lock.
    held: Arc<AtomicUsize>,
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Grant {
    budget: Arc<Budget>,
    held: Arc<AtomicUsize>,
    bytes: usize,
}

/// Whether a shard that holds `own` bytes may take `wanted` more. Pure.
fn admits(free: usize, own: usize, wanted: usize, is_overdue: bool) -> bool {
    if own == 0 { wanted <= free || is_overdue } else { wanted <= free && own <= free }
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// Opens the account of one shard.
    #[must_use]
    pub fn account(self: &Arc<Self>) -> Account {
        Account { budget: Arc::clone(self), held: Arc::default() }
    }

    /// Bytes taken now; may be above the limit, see the module.
    #[must_use]
    pub fn used(&self) -> usize {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(self: &Arc<Self>, state: &mut State, held: &Arc<AtomicUsize>, bytes: usize) -> Grant {
        state.used += bytes;
        held.fetch_add(bytes, Ordering::Relaxed);
        Grant { budget: Arc::clone(self), held: Arc::clone(held), bytes }
    }

    /// Changes a grant of `held`, and lets go on whoever may.
    fn change(self: &Arc<Self>, held: &AtomicUsize, from: usize, to: usize) {
        let mut state = self.lock();
        state.used = state.used + to - from;
        held.fetch_add(to, Ordering::Relaxed);
        held.fetch_sub(from, Ordering::Relaxed);
        if to < from {
            self.serve(state);
        }
    }

    /// Serves those that hold nothing, in their order; then, if none of them is left, those that read ahead.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut unheard = Vec::new();
        let now = Instant::now();
        state.waiting.retain(|waiter| !waiter.answer.is_closed());
        for is_first in [true, false] {
            let mut index = 0;
            while let Some(waiter) = state.waiting.get(index) {
                let own = waiter.held.load(Ordering::Relaxed);
                let is_its_kind = (own == 0) == is_first;
                if is_its_kind && admits(self.free(&state), own, waiter.bytes, waiter.overdue_at <= now) {
                    let Some(waiter) = state.waiting.remove(index) else { break };
                    let grant = self.grant(&mut state, &waiter.held, waiter.bytes);
                    unheard.extend(waiter.answer.send(grant).err());
                } else if is_its_kind && is_first {
                    return drop(state);
                } else {
                    index += 1;
                }
            }
        }
        drop(state); // before `unheard`: a grant that nobody waits for any more takes the lock to give back
    }

    fn free(&self, state: &State) -> usize {
        self.limit.saturating_sub(state.used)
    }
}

impl Account {
    /// Size of the whole budget in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.budget.limit
    }

    /// Waits for its turn and takes `bytes`. Cancel-safe.
    pub async fn take(&self, bytes: usize) -> Grant {
        let overdue_at = Instant::now() + FIRST_WAIT;
        let mut granted = match self.ask(bytes, overdue_at) {
            Ok(grant) => return grant,
            Err(granted) => granted,
        };
        let in_time = tokio::select! {
            biased;
            answer = &mut granted => Some(answer),
            () = sleep_until(overdue_at) => None,
        };
        let answer = match in_time {
            Some(answer) => answer,
            None => {
                self.budget.serve(self.budget.lock()); // it may hold nothing already; else its last grant serves it
                granted.await
            }
        };
        // the queue answers whoever waits, so there is always an answer
        answer.unwrap_or_else(|_| self.budget.grant(&mut self.budget.lock(), &self.held, bytes))
    }

    /// Takes at once, or queues.
    fn ask(&self, bytes: usize, overdue_at: Instant) -> Result<Grant, oneshot::Receiver<Grant>> {
        let mut state = self.budget.lock();
        let own = self.held.load(Ordering::Relaxed);
        let is_empty = |other: &Waiter| !other.answer.is_closed() && other.held.load(Ordering::Relaxed) == 0;
        let is_turn = !state.waiting.iter().any(is_empty);
        if is_turn && admits(self.budget.free(&state), own, bytes, false) {
            return Ok(self.budget.grant(&mut state, &self.held, bytes));
        }
        let (answer, granted) = oneshot::channel();
        state.waiting.push_back(Waiter { bytes, held: Arc::clone(&self.held), overdue_at, answer });
        Err(granted)
    }
}

impl Grant {
    /// Says how many bytes it really is.
    pub fn correct(&mut self, bytes: usize) {
        self.budget.change(&self.held, self.bytes, bytes);
        self.bytes = bytes;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.change(&self.held, self.bytes, 0);
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
