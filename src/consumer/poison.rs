//! Sets a poison record aside: first its trace, then the shard goes on without it.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::error;

use crate::backoff::Backoff;
use crate::config::OnPoison;
use crate::consumer::{Failure, Shared};
use crate::poison::letter::Letter;
use crate::poison::target::{NotStored, Target};
use crate::record::Record;
use crate::types::ShardId;

/// Between two tries of a letter; a minute is little beside the life of a record in its stream.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Between two lines about a letter that is tried again: the reason may be another by then.
const REMIND: Duration = Duration::from_secs(600);

/// What became of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// It lasts; the record may be left out.
    Lasts,
    /// The shard was called for before it did; the record must not be left out.
    CutShort,
}

/// Returns when the trace is where it lasts, however often that has to be tried, or when `called` does.
///
/// # Errors
/// It is not, and trying again is of no use.
pub(super) async fn trace(
    shared: &Shared,
    shard: &ShardId,
    record: &Record,
    (attempts, cause): (NonZeroU32, &str),
    called: impl Future<Output = ()>,
) -> Result<Trace, Failure> {
    let (sequence, sub, key) = (record.sequence.as_str(), record.sub, record.partition_key.as_str());
    let OnPoison::DeadLetter(named) = &shared.processing.on_poison else {
        error!(%shard, sequence, sub, partition_key = key, arrival = record.arrival_millis, %attempts, error = cause,
            "poison record is left out: no child survives it (multilangd.onPoison = skip)");
        return Ok(Trace::Lasts);
    };
    let failed = |source| {
        let (shard, place) = (shard.clone(), format!("{sequence}.{sub}"));
        Failure::NoDeadLetter { shard, place, target: named.to_string(), source }
    };
    let Some(target) = &shared.dead_letters else {
        return Err(failed(std::io::Error::other("nobody keeps letters; this is a bug, please report it")));
    };
    let (time, application, stream) = (shared.clock.now(), shared.application.as_str(), shared.stream.as_str());
    let letter = Letter { time, application, stream, shard, record, attempts, error: cause };
    let stored = tokio::select! {
        biased;
        stored = store(&**target, &letter, named) => stored,
        () = called => return Ok(Trace::CutShort),
    };
    match stored {
        Ok(tries) => {
            error!(%shard, sequence, sub, partition_key = key, %attempts, target = %named, tries, error = cause,
                "poison record is set aside as a dead letter: no child survives it");
            Ok(Trace::Lasts)
        }
        Err(source) => Err(failed(source)),
    }
}

/// Stores the letter; how many tries that took. A line tells that it has to be tried again, and one each ten minutes.
async fn store(
    target: &dyn Target,
    letter: &Letter<'_>,
    named: &impl std::fmt::Display,
) -> Result<u32, std::io::Error> {
    let (mut tries, mut told) = (1, None::<Instant>);
    loop {
        match target.store(letter).await {
            Ok(()) => return Ok(tries),
            Err(NotStored::ForGood(error)) => return Err(error),
            Err(NotStored::Yet(error)) if told.is_none_or(|told| told.elapsed() >= REMIND) => {
                let Letter { shard, record, .. } = letter;
                told = Some(Instant::now());
                error!(%shard, sequence = record.sequence.as_str(), target = %named, tries, error,
                    "dead letter cannot be stored; this shard tries on and waits for it, others run on");
            }
            Err(NotStored::Yet(error)) => {
                tracing::debug!(shard = %letter.shard, tries, error, "dead letter still not stored")
            }
        }
        sleep(RETRY.jittered(tries)).await;
        tries = tries.saturating_add(1);
    }
}
