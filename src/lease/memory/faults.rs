//! A script of what goes wrong between a worker and the table, for simulations: lost requests, lost replies, delays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// One method of the two traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    Prepare,
    PrepareIndex,
    List,
    Get,
    GetNow,
    Create,
    Renew,
    Checkpoint,
    Take,
    Assign,
    BeginHandoff,
    Evict,
    NoteChildren,
    NoteLatest,
    FillHashRange,
    Delete,
    OwnedBy,
    HasLegacyTables,
    ClientVersion,
    CreateClientVersion,
    ChangeClientVersion,
    Lock,
    TakeLock,
    BeatLock,
    ReleaseLock,
    PutWorker,
    DeleteWorker,
    TableMigration,
    CreateTableMigration,
    ChangeTableMigration,
    DeleteTableMigration,
    ItemsToMove,
    MoveItems,
    CompleteTableMigration,
}

impl Operation {
    /// The DynamoDB operation behind it, for messages.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Prepare | Self::PrepareIndex | Self::HasLegacyTables => "DescribeTable",
            Self::List | Self::ItemsToMove => "Scan",
            Self::Get | Self::GetNow | Self::ClientVersion | Self::Lock | Self::TableMigration => "GetItem",
            Self::Create | Self::CreateClientVersion | Self::TakeLock | Self::CreateTableMigration => "PutItem",
            Self::MoveItems | Self::CompleteTableMigration => "TransactWriteItems",
            Self::OwnedBy => "Query",
            Self::Delete | Self::ReleaseLock | Self::DeleteWorker | Self::DeleteTableMigration => "DeleteItem",
            Self::Renew
            | Self::Checkpoint
            | Self::Take
            | Self::Assign
            | Self::BeginHandoff
            | Self::Evict
            | Self::NoteChildren
            | Self::NoteLatest
            | Self::FillHashRange
            | Self::ChangeClientVersion
            | Self::ChangeTableMigration
            | Self::BeatLock
            | Self::PutWorker => "UpdateItem",
        }
    }

    /// Whether it is a read that is not asked to be consistent (Source: LEASES.md section 2).
    pub(super) fn may_be_stale(self) -> bool {
        matches!(self, Self::List | Self::Get | Self::OwnedBy)
    }
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and had no effect.
    LostRequest,
    /// It has its effect and fails all the same.
    LostReply,
    /// The first reply is lost and the SDK asks again: the effect is tried twice, the second answer comes back.
    SentTwice,
    /// Its answer is from the past: that of so long ago, 30 s at most. Only reads that DynamoDB may answer so are.
    Stale(Duration),
    /// The worker dies in it. It is never answered, and [`Faults::death`] tells whoever must end the worker.
    Death {
        /// Whether it still has its effect.
        done: bool,
    },
    /// It is refused for load, without effect.
    Throttled,
    /// It takes this long to arrive, and this long to be answered.
    Slow {
        /// Before the effect.
        before: Duration,
        /// After the effect.
        after: Duration,
    },
}

/// The script of one worker's connection; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
    death: CancellationToken,
}

#[derive(Debug, Default)]
struct Script {
    next: BTreeMap<Operation, VecDeque<Fault>>,
    cut: Option<Duration>,
    calls: BTreeMap<Operation, usize>,
}

/// What a call must do, as drawn from the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    Nothing,
    Fault(Fault),
    /// The connection is cut: wait, then fail without effect.
    Cut(Duration),
}

impl Faults {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next `times` calls of `operation` that have no fault yet meet `fault`.
    pub fn next(&self, operation: Operation, times: usize, fault: Fault) {
        self.script().next.entry(operation).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// Cuts the connection: every call fails without effect after `timeout`, until [`Faults::heal`].
    pub fn cut(&self, timeout: Duration) {
        self.script().cut = Some(timeout);
    }

    /// Mends a cut connection and forgets all faults to come.
    pub fn heal(&self) {
        let mut script = self.script();
        script.cut = None;
        script.next.clear();
    }

    /// Cancelled when a [`Fault::Death`] was met.
    #[must_use]
    pub fn death(&self) -> &CancellationToken {
        &self.death
    }

    pub(super) fn die(&self) {
        self.death.cancel();
    }

    /// How often `operation` was called so far.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> usize {
        self.script().calls.get(&operation).copied().unwrap_or(0)
    }

    /// How often each operation was called so far.
    #[must_use]
    pub fn all_calls(&self) -> BTreeMap<Operation, usize> {
        self.script().calls.clone()
    }

    pub(super) fn draw(&self, operation: Operation) -> Drawn {
        let mut script = self.script();
        *script.calls.entry(operation).or_default() += 1;
        if let Some(timeout) = script.cut {
            return Drawn::Cut(timeout);
        }
        let fault = script.next.get_mut(&operation).and_then(VecDeque::pop_front);
        fault.map_or(Drawn::Nothing, Drawn::Fault)
    }
}
