use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;

type Found = Result<Option<StreamConsumer>, StreamError>;

struct Script {
    summaries: Mutex<VecDeque<StreamError>>,
    finds: Mutex<VecDeque<Found>>,
    registers: Mutex<VecDeque<Found>>,
    calls: Mutex<Vec<&'static str>>,
}

impl Script {
    fn new(finds: impl IntoIterator<Item = Found>, registers: impl IntoIterator<Item = Found>) -> Self {
        Self {
            summaries: Mutex::default(),
            finds: Mutex::new(finds.into_iter().collect()),
            registers: Mutex::new(registers.into_iter().collect()),
            calls: Mutex::default(),
        }
    }

    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn asked(&self) -> String {
        self.calls.lock().unwrap().join(" ")
    }
}

#[async_trait]
impl ConsumerApi for Script {
    fn stream_name(&self) -> &'static str {
        "words"
    }

    async fn summary(&self) -> Result<StreamSummary, StreamError> {
        self.note("summary");
        let refused = self.summaries.lock().unwrap().pop_front();
        refused.map_or_else(|| Ok(StreamSummary { arn: "arn:stream".to_owned(), created_at: None }), Err)
    }

    async fn find(&self, stream_arn: &str, name: &str) -> Found {
        assert_eq!((stream_arn, name), ("arn:stream", "app"));
        self.note("find");
        self.finds.lock().unwrap().pop_front().unwrap()
    }

    async fn register(&self, stream_arn: &str, name: &str) -> Found {
        assert_eq!((stream_arn, name), ("arn:stream", "app"));
        self.note("register");
        self.registers.lock().unwrap().pop_front().unwrap()
    }
}

fn settings() -> FanOut {
    FanOut {
        consumer_arn: None,
        consumer_name: "app".to_owned(),
        max_describe_stream_summary_retries: 10,
        max_describe_stream_consumer_retries: 10,
        register_stream_consumer_retries: 10,
        retry_backoff: Duration::from_secs(1),
    }
}

fn consumer(status: ConsumerStatus) -> Found {
    Ok(Some(StreamConsumer { arn: "arn:consumer".to_owned(), status }))
}

fn limited(action: &'static str) -> StreamError {
    let reason = "LimitExceededException: slow down".to_owned();
    StreamError::Limited { action, stream: "words".to_owned(), reason }
}

#[tokio::test(start_paused = true)]
async fn a_given_arn_is_used_without_any_call() {
    let script = Script::new([], []);
    let settings = FanOut { consumer_arn: Some("arn:mine".to_owned()), ..settings() };
    assert_eq!(arn_from(&script, &settings).await.unwrap(), "arn:mine");
    assert_eq!(script.asked(), "");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_there_and_active_is_used() {
    let script = Script::new([consumer(ConsumerStatus::Active)], []);
    assert_eq!(arn_from(&script, &settings()).await.unwrap(), "arn:consumer");
    assert_eq!(script.asked(), "summary find");
}

#[tokio::test(start_paused = true)]
async fn a_missing_consumer_is_registered_and_waited_for() {
    let finds = [Ok(None), consumer(ConsumerStatus::Creating), consumer(ConsumerStatus::Active)];
    let script = Script::new(finds, [consumer(ConsumerStatus::Creating)]);
    assert_eq!(arn_from(&script, &settings()).await.unwrap(), "arn:consumer");
    assert_eq!(script.asked(), "summary find register find find");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_somebody_else_registers_meanwhile_is_used() {
    let script = Script::new([Ok(None), consumer(ConsumerStatus::Active)], [Ok(None)]);
    assert_eq!(arn_from(&script, &settings()).await.unwrap(), "arn:consumer");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_being_deleted_is_registered_again_once_it_is_gone() {
    let finds = [consumer(ConsumerStatus::Deleting), Ok(None)];
    let script = Script::new(finds, [consumer(ConsumerStatus::Active)]);
    assert_eq!(arn_from(&script, &settings()).await.unwrap(), "arn:consumer");
    assert_eq!(script.asked(), "summary find find register");
}

#[tokio::test(start_paused = true)]
async fn refusals_for_load_are_waited_out() {
    let script = Script::new(
        [Err(limited("DescribeStreamConsumer")), Ok(None)],
        [Err(limited(REGISTER)), Err(limited(REGISTER)), consumer(ConsumerStatus::Active)],
    );
    script.summaries.lock().unwrap().push_back(limited("DescribeStreamSummary"));
    let began = Instant::now();
    assert_eq!(arn_from(&script, &settings()).await.unwrap(), "arn:consumer");
    assert_eq!(script.asked(), "summary summary find find register register register");
    assert!(began.elapsed() >= Duration::from_millis(2_500), "0.5 + 0.5 + 0.5 + 1 s at least");
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_twenty_consumers_is_told_with_its_cures() {
    let script = Script::new([Ok(None)], (0..10).map(|_| Err(limited(REGISTER))));
    let error = arn_from(&script, &settings()).await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    for part in ["`words`", "LimitExceededException", "20", "fanoutConfig.consumerName", "retrievalMode=POLLING"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_does_not_get_ready_is_an_error_after_two_minutes() {
    let script = Script::new((0..200).map(|_| consumer(ConsumerStatus::Creating)), []);
    let began = Instant::now();
    let error = arn_from(&script, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("not ACTIVE"), "{error}");
    assert!((120..126).contains(&began.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn denied_access_is_not_tried_again_and_names_the_action() {
    let denied =
        StreamError::AccessDenied { action: REGISTER, stream: "words".to_owned(), source: "not authorized".into() };
    let script = Script::new([Ok(None)], [Err(denied)]);
    let error = arn_from(&script, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("kinesis:RegisterStreamConsumer"), "{error}");
    assert_eq!(script.asked(), "summary find register");
}
