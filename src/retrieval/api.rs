//! The calls that readers make: the seam under polling and fan-out. Kinesis, a stream in memory and scripts of
//! tests stand behind it.

use async_trait::async_trait;

use crate::stream::fetch::{Answer, Dated, Event, FetchError, IteratorStart};
use crate::stream::kinesis::{Kinesis, Subscription};
use crate::stream::memory::MemoryStream;
use crate::types::ShardId;

/// One attempt each, without pace, limit or retry.
#[async_trait]
pub(crate) trait ShardApi: Send + Sync + 'static {
    /// GetShardIterator.
    async fn iterator(&self, shard: &ShardId, start: &IteratorStart) -> Result<Dated<String>, FetchError>;
    /// GetRecords.
    async fn records(&self, iterator: &str, limit: i32) -> Result<Answer, FetchError>;
    /// SubscribeToShard.
    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError>;
}

/// An open subscription.
#[async_trait]
pub(crate) trait EventFeed: Send {
    /// Waits for the next event; `None` once the service has ended the subscription. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Event>, FetchError>;
}

#[async_trait]
impl ShardApi for Kinesis {
    async fn iterator(&self, shard: &ShardId, start: &IteratorStart) -> Result<Dated<String>, FetchError> {
        self.get_shard_iterator(shard, start).await
    }

    async fn records(&self, iterator: &str, limit: i32) -> Result<Answer, FetchError> {
        self.get_records(iterator, limit).await
    }

    async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError> {
        let Dated { given, date } = self.subscribe_to_shard(consumer_arn, shard, start).await?;
        Ok(Dated { given: Box::new(given), date })
    }
}

#[async_trait]
impl EventFeed for Subscription {
    async fn next(&mut self) -> Result<Option<Event>, FetchError> {
        Self::next(self).await
    }
}

#[async_trait]
impl ShardApi for MemoryStream {
    async fn iterator(&self, shard: &ShardId, start: &IteratorStart) -> Result<Dated<String>, FetchError> {
        Ok(Dated { given: format!("{shard}:{}", self.begin(shard, start)?), date: None })
    }

    async fn records(&self, iterator: &str, limit: i32) -> Result<Answer, FetchError> {
        let invalid = || FetchError::InvalidIterator(iterator.to_owned());
        let (shard, from) = iterator.rsplit_once(':').ok_or_else(invalid)?;
        let from = from.parse().map_err(|_| invalid())?;
        let answer = self.read(&ShardId::new(shard), from, usize::try_from(limit).unwrap_or(0))?;
        let next_iterator = answer.next_iterator.map(|index| format!("{shard}:{index}"));
        Ok(Answer { next_iterator, ..answer })
    }

    async fn subscribe(
        &self,
        _: &str,
        _: &ShardId,
        _: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError> {
        Err(FetchError::transient("SubscribeToShard", "a stream in memory takes no subscriptions"))
    }
}
