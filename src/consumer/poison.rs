//! Sets a poison record aside: first its trace, then the shard goes on without it.

use std::num::NonZeroU32;

use tracing::error;

use crate::config::OnPoison;
use crate::consumer::{Failure, Shared};
use crate::poison::letter::{Letter, append};
use crate::record::Record;
use crate::types::ShardId;

/// Returns when the trace is where it lasts.
///
/// # Errors
/// It is not; the record must not be left out.
pub(super) async fn trace(
    shared: &Shared,
    shard: &ShardId,
    record: &Record,
    attempts: NonZeroU32,
    cause: &str,
) -> Result<(), Failure> {
    let (sequence, sub, key) = (record.sequence.as_str(), record.sub, record.partition_key.as_str());
    match &shared.processing.on_poison {
        OnPoison::Stop | OnPoison::Skip => {
            error!(%shard, sequence, sub, partition_key = key, arrival = record.arrival_millis, %attempts, error = cause,
                "poison record is left out: no child survives it (multilangd.onPoison = skip)");
        }
        OnPoison::DeadLetter { file } => {
            let (time, stream) = (shared.clock.now(), shared.stream.as_str());
            let letter = Letter { time, stream, shard, record, attempts, error: cause };
            if let Err(source) = append(file, letter.line()).await {
                let place = format!("{sequence}.{sub}");
                return Err(Failure::NoDeadLetter { shard: shard.clone(), place, file: file.clone(), source });
            }
            error!(%shard, sequence, sub, partition_key = key, %attempts, file = %file.display(), error = cause,
                "poison record is set aside in the dead-letter file: no child survives it");
        }
    }
    Ok(())
}
