//! A service that keeps to the rules of SubscribeToShard: five minutes at most, one subscription of a consumer to a
//! shard, where a later one takes over, and none for five seconds after one was opened.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::retrieval::api::{EventFeed, ShardApi};
use crate::retrieval::script::{event, throttled};
use crate::stream::fetch::{Answer, Dated, Event, FetchError, IteratorStart};
use crate::types::ShardId;

const LIFE: Duration = Duration::from_secs(300);
const HOLD: Duration = Duration::from_secs(5);

/// One shard with a record each tenth of a second, whose sequence numbers count from 1.
pub(super) struct Service {
    pub(super) began: Instant,
    /// Time that anything takes to it, or from it.
    way: Duration,
    /// Whether the nth call is refused for load.
    refuses: fn(usize) -> bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<Duration>,
    /// When the last subscription was opened, and how it is told to end.
    last: Option<(Instant, watch::Sender<Option<Instant>>)>,
}

pub(super) const PACE: Duration = Duration::from_millis(100);

impl Service {
    pub(super) fn new(way: Duration, refuses: fn(usize) -> bool) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), way, refuses, state: Mutex::default() })
    }

    pub(super) fn put_at(&self, number: u32) -> Instant {
        self.began + PACE * number
    }

    /// When it was asked for subscriptions, since its beginning.
    pub(super) fn calls(&self) -> Vec<Duration> {
        self.state.lock().unwrap().calls.clone()
    }

    fn accept(&self, start: &IteratorStart) -> Result<Feed, FetchError> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap();
        let is_hasty = state.calls.last().is_some_and(|call| now - (self.began + *call) < Duration::from_secs(1));
        state.calls.push(now - self.began);
        if is_hasty || (self.refuses)(state.calls.len()) {
            return Err(throttled());
        }
        if state.last.as_ref().is_some_and(|(opened, _)| now - *opened < HOLD) {
            return Err(FetchError::Busy("ResourceInUseException".to_owned()));
        }
        let (displace, displaced) = watch::channel(None);
        if let Some((_, former)) = state.last.replace((now, displace)) {
            former.send_replace(Some(now));
        }
        let next = match start {
            IteratorStart::TrimHorizon => 1,
            IteratorStart::After(number) => number.to_string().parse::<u32>().unwrap() + 1,
            IteratorStart::At(number) => number.to_string().parse().unwrap(),
            IteratorStart::Latest | IteratorStart::AtTimestamp(_) => panic!("{start:?} is not played"),
        };
        Ok(Feed { began: self.began, way: self.way, opened: now, displaced, next })
    }
}

#[async_trait]
impl ShardApi for Service {
    async fn iterator(&self, _: &ShardId, _: &IteratorStart) -> Result<Dated<String>, FetchError> {
        Err(FetchError::transient("GetShardIterator", "not played"))
    }

    async fn records(&self, _: &str, _: i32) -> Result<Answer, FetchError> {
        Err(FetchError::transient("GetRecords", "not played"))
    }

    async fn subscribe(
        &self,
        _: &str,
        _: &ShardId,
        start: &IteratorStart,
    ) -> Result<Dated<Box<dyn EventFeed>>, FetchError> {
        sleep(self.way).await;
        let answer = self.accept(start);
        sleep(self.way).await;
        Ok(Dated { given: Box::new(answer?), date: None })
    }
}

struct Feed {
    began: Instant,
    way: Duration,
    opened: Instant,
    displaced: watch::Receiver<Option<Instant>>,
    next: u32,
}

#[async_trait]
impl EventFeed for Feed {
    async fn next(&mut self) -> Result<Option<Event>, FetchError> {
        let sent = (self.began + PACE * self.next).max(self.opened);
        let of_age = self.opened + LIFE;
        let mut displaced = self.displaced.clone();
        let displacement = async {
            let at = displaced.wait_for(Option::is_some).await.map(|at| at.unwrap_or(of_age));
            match at {
                Ok(at) => at,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            at = displacement => {
                if at <= sent {
                    sleep_until(at + self.way).await;
                    return Err(FetchError::Busy("ResourceInUseException".to_owned()));
                }
                sleep_until(sent + self.way).await;
            }
            () = sleep_until(sent + self.way) => {}
        }
        if of_age <= sent {
            return Ok(None);
        }
        let number = self.next.to_string();
        self.next += 1;
        Ok(Some(event(&[&number], &number)))
    }
}
