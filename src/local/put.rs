//! Writes records to a stream, and tells where each one went.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use bytes::Bytes;

use super::error::LocalError;
use super::streams::failed;
use crate::backoff::Backoff;
use crate::types::{SequenceNumber, ShardId};

/// The service's limits of one PutRecords: records, and bytes of data and partition keys.
pub const MOST_RECORDS: usize = 500;
/// See [`MOST_RECORDS`].
pub const MOST_BYTES: usize = 5 << 20;
/// Refused entries are sent again this often in a row without one of them being taken.
const ATTEMPTS: u32 = 10;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// What the sample word putter of amazon_kclpy puts, and a few more so that every shard of four gets some.
const WORDS: [&str; 8] = ["cat", "dog", "bird", "lobster", "otter", "heron", "newt", "ibex"];

/// A record's partition key and data.
pub type Record = (String, Bytes);

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its shard.
    pub shard: ShardId,
    /// Its number there.
    pub sequence: SequenceNumber,
}

/// Writes to one stream.
#[derive(Clone, Debug)]
pub struct Putter {
    client: Client,
    stream: String,
}

impl Putter {
    /// Writes to `stream`, which need not exist yet.
    #[must_use]
    pub fn new(client: Client, stream: impl Into<String>) -> Self {
        Self { client, stream: stream.into() }
    }

    /// Stores all records and tells the place of each, in their order.
    ///
    /// Batches go one after the other, and one is complete before the next begins. Records refused within a
    /// batch are sent again, so those of one key keep their order unless the service refuses some of them.
    ///
    /// # Errors
    /// The service refuses a whole request, or takes none of the records ten times in a row. Records before
    /// that may have been stored.
    pub async fn put(&self, records: Vec<Record>) -> Result<Vec<Placed>, LocalError> {
        let mut placed = Vec::with_capacity(records.len());
        for batch in batches(records) {
            placed.extend(self.put_batch(batch).await?);
        }
        Ok(placed)
    }

    async fn put_batch(&self, batch: Vec<Record>) -> Result<Vec<Placed>, LocalError> {
        let mut placed: Vec<Option<Placed>> = vec![None; batch.len()];
        let mut left: Vec<usize> = (0..batch.len()).collect();
        let mut failures = 0;
        while !left.is_empty() {
            let code = match self.send(left.iter().map(|index| &batch[*index])).await {
                Ok(answer) => {
                    let before = left.len();
                    let code = settle(&mut left, &mut placed, answer.records());
                    if left.len() < before {
                        failures = 0;
                    }
                    code
                }
                Err(error) if is_throttled(&error) => "ProvisionedThroughputExceededException".to_owned(),
                Err(error) => return Err(failed("PutRecords", &self.stream, error)),
            };
            if left.is_empty() {
                break;
            }
            failures += 1;
            if failures == ATTEMPTS {
                let (stream, left) = (self.stream.clone(), left.len());
                return Err(LocalError::Refused { stream, left, attempts: ATTEMPTS, code });
            }
            tokio::time::sleep(BACKOFF.jittered(failures)).await;
        }
        Ok(placed.into_iter().flatten().collect())
    }

    async fn send<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<PutRecordsOutput, SdkError<PutRecordsError>> {
        let entry = |(key, data): &Record| {
            let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data.to_vec()));
            entry.build().expect("both required members are set")
        };
        let entries = records.map(entry).collect();
        self.client.put_records().stream_name(&self.stream).set_records(Some(entries)).send().await
    }
}

/// Notes the places of the entries that were taken, leaves the others in `left`; the last error code if any.
fn settle(left: &mut Vec<usize>, placed: &mut [Option<Placed>], answers: &[PutRecordsResultEntry]) -> String {
    let mut code = "no answer".to_owned();
    let mut answers = answers.iter();
    left.retain(|index| {
        let Some(answer) = answers.next() else { return true };
        let place = answer.shard_id().zip(answer.sequence_number().and_then(|number| number.parse().ok()));
        match place {
            Some((shard, sequence)) => placed[*index] = Some(Placed { shard: ShardId::new(shard), sequence }),
            None => answer.error_code().unwrap_or("no error code").clone_into(&mut code),
        }
        placed[*index].is_none()
    });
    code
}

fn is_throttled(error: &SdkError<PutRecordsError>) -> bool {
    let service = error.as_service_error();
    service.is_some_and(|error| {
        error.is_provisioned_throughput_exceeded_exception() || error.meta().code() == Some("ThrottlingException")
    })
}

/// Cuts records into requests within the service's limits; a record too large for any goes alone, to be refused.
fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record.0.len() + record.1.len();
        match batches.last_mut() {
            Some(batch) if batch.len() < MOST_RECORDS && bytes + size <= MOST_BYTES => {
                batch.push(record);
                bytes += size;
            }
            _ => {
                batches.push(vec![record]);
                bytes = size;
            }
        }
    }
    batches
}

/// `count` words, one a record, each its own partition key, as the sample word putter does it.
pub fn words(count: usize) -> impl Iterator<Item = Record> {
    WORDS.iter().cycle().take(count).map(|word| ((*word).to_owned(), Bytes::from_static(word.as_bytes())))
}

/// The record of one line; without a key of the caller's it gets a random one, which spreads lines over shards.
#[must_use]
pub fn line(data: Bytes, partition_key: Option<&str>) -> Record {
    let key = partition_key.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), str::to_owned);
    (key, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(records: &[usize]) -> Vec<usize> {
        let records = records.iter().map(|size| (String::new(), Bytes::from(vec![0; *size]))).collect();
        batches(records).iter().map(Vec::len).collect()
    }

    #[test]
    fn batches_stay_within_both_limits() {
        let megabyte = 1 << 20;
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 1001]), [500, 500, 1]);
        assert_eq!(sizes(&[megabyte; 11]), [5, 5, 1]);
        assert_eq!(sizes(&[megabyte, 6 * megabyte, 1]), [1, 1, 1]);
    }

    #[test]
    fn entries_that_were_refused_are_left_in_their_order() {
        let taken = |number: &str| PutRecordsResultEntry::builder().shard_id("s").sequence_number(number).build();
        let refused = || PutRecordsResultEntry::builder().error_code("InternalFailure").build();
        let (mut left, mut placed) = (vec![0, 1, 2, 3], vec![None; 4]);
        let code = settle(&mut left, &mut placed, &[taken("7"), refused(), taken("8"), refused()]);
        assert_eq!((left, code.as_str()), (vec![1, 3], "InternalFailure"));
        assert_eq!(placed.iter().flatten().map(|place| place.sequence.as_str()).collect::<Vec<_>>(), ["7", "8"]);
    }

    #[test]
    fn words_are_their_own_keys_and_differ() {
        let words: Vec<_> = words(9).collect();
        assert!(words.iter().all(|(key, data)| key.as_bytes() == data));
        assert_eq!((words.len(), words[0].0.as_str(), words[8].0.as_str()), (9, "cat", "cat"));
    }
}
