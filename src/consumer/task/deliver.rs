//! From a batch to messages for the child.

use tracing::{error, warn};

use super::ShardTask;
use crate::config::Compatibility;
use crate::consumer::ChildFailure;
use crate::coordinator::renew::Standing;
use crate::record::Record;
use crate::record::deaggregate::{Fault, Opening, Reason, drop_done};
use crate::retrieval::Batch;

/// Memory of the user records that are out of their aggregates at once, in bytes: some 20,000, which come as several
/// messages if there are more of them in an answer.
const MOST_OPENED: usize = 4 << 20;

/// What became of a batch.
pub(super) enum Delivery {
    /// The child is done with it, or there was nothing in it for the child.
    Done,
    /// It was kept back, so this consumer must not go on to the next one, whatever becomes of the lease.
    LeaseTooOld,
    /// It holds an aggregate that stops a Java daemon.
    Damaged(Fault),
}

impl ShardTask<'_> {
    /// Gives one batch to the child, if there is anything in it for the child.
    pub(super) async fn deliver(&mut self, batch: &mut Batch) -> Result<Delivery, ChildFailure> {
        let filtered = !self.shared.processing.skip_shard_sync_if_leases_exist;
        let range = self.lease.hash_range.filter(|_| filtered);
        let most = match self.shared.compatibility {
            Compatibility::Safe => MOST_OPENED,
            Compatibility::Strict => usize::MAX,
        };
        let mut opening = Opening::new(std::mem::take(&mut batch.records), range, most);
        let mut is_told = false;
        loop {
            let records = match self.prepare(&mut opening) {
                Ok(Some(records)) => records,
                Ok(None) => break,
                Err(fault) => return Ok(Delivery::Damaged(fault)),
            };
            if !records.is_empty() {
                is_told = true;
                if let Delivery::LeaseTooOld = self.give_all(&records, batch.millis_behind_latest).await? {
                    return Ok(Delivery::LeaseTooOld);
                }
            }
        }
        if is_told {
            return Ok(Delivery::Done);
        }
        if self.shared.processing.call_for_empty_lists && batch.end.is_none() {
            return self.give_all(&[], batch.millis_behind_latest).await;
        }
        self.shared.progress.delivered(self.held.shard(), &[], batch.millis_behind_latest);
        Ok(Delivery::Done)
    }

    /// Gives these to the child, in one message unless poison is looked for.
    async fn give_all(&mut self, mut rest: &[Record], behind: Option<i64>) -> Result<Delivery, ChildFailure> {
        loop {
            if self.held.standing() == Standing::Lost && self.shared.compatibility == Compatibility::Safe {
                return Ok(Delivery::LeaseTooOld);
            }
            let (now, later) = rest.split_at(if rest.is_empty() { 0 } else { self.hunt.portion(rest) });
            self.give(now, behind).await?;
            rest = later;
            if rest.is_empty() {
                return Ok(Delivery::Done);
            }
        }
    }

    /// Gives these to the child in one message, and raises the bound of its checkpoints to the last of them.
    async fn give(&mut self, records: &[Record], behind: Option<i64>) -> Result<(), ChildFailure> {
        let bytes: usize = records.iter().map(Record::data_len).sum();
        match (records.last().map(Record::place), &mut self.talk) {
            (Some(Ok(place)), Some(talk)) => talk.checkpointer().delivered(place),
            (Some(Err(error)), _) => warn!(shard = %self.held.shard(), %error, "record cannot be checkpointed"),
            (Some(Ok(_)) | None, _) => {}
        }
        self.hunt.give(records);
        if let Some(talk) = &mut self.talk {
            talk.deliver(records, behind, &*self.shared.progress).await?;
        }
        self.hunt.answered();
        self.held.count_bytes(bytes as u64);
        self.shared.progress.delivered(self.held.shard(), records, behind);
        Ok(())
    }

    /// The next part of a batch, its aggregates opened, without what is done or set aside.
    ///
    /// # Errors
    /// An aggregate is damaged in a way that stops a Java daemon, and Java's way is wanted.
    fn prepare(&mut self, opening: &mut Opening) -> Result<Option<Vec<Record>>, Fault> {
        let mut faults = Vec::new();
        let Some(mut records) = opening.next(&mut faults) else { return Ok(None) };
        for fault in faults {
            let is_fatal = !matches!(fault.reason, Reason::OffTheRing);
            if is_fatal && self.shared.compatibility == Compatibility::Strict {
                return Err(fault);
            }
            error!(shard = %self.held.shard(), %fault, "aggregated record is damaged, going on with what could be read");
        }
        if let Some(talk) = &mut self.talk {
            drop_done(&mut records, talk.checkpointer().last());
        }
        let last = records.last().filter(|last| self.hunt.is_set_aside(last)).and_then(|last| last.place().ok());
        self.left_out = last.or(self.left_out.take());
        records.retain(|record| !self.hunt.is_set_aside(record));
        Ok(Some(records))
    }
}
