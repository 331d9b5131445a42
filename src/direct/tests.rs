//! The short way beside the SDK's, over a service on loopback: same answers, same errors, same signature.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Builder, Region};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_kinesis::operation::RequestId;
use aws_sdk_kinesis::operation::get_records::{GetRecords, GetRecordsError, GetRecordsOutput};
use aws_smithy_async::time::StaticTimeSource;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_types::byte_stream::ByteStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

const GOOD: &str = r#"{"NextShardIterator":"next","MillisBehindLatest":7,"Records":[]}"#;
/// As the SDK writes it.
const QUESTION: &[u8] = br#"{"ShardIterator":"it","Limit":9}"#;

type Fault = SdkError<GetRecordsError, HttpResponse>;

/// What the service does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Say(u16, &'static str, &'static str), // status, more headers, body
    Cut,
    Deaf,
}

const WELL: Act = Act::Say(200, "", GOOD);

#[derive(Clone, Default)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Script {
    fn plan(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }

    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            self.connections.fetch_add(1, Ordering::Relaxed);
            connections.spawn(self.clone().talk(connection));
        }
    }

    async fn talk(self, mut connection: TcpStream) {
        while let Ok(head) = request(&mut connection).await {
            self.heads.lock().unwrap().push(head);
            let act = self.acts.lock().unwrap().pop_front().unwrap_or(WELL);
            match act {
                Act::Say(status, headers, body) => {
                    let length = body.len();
                    let said = format!(
                        "HTTP/1.1 {status} x\r\n{headers}x-amzn-RequestId: id-7\r\nContent-Length: {length}\r\n\r\n{body}"
                    );
                    connection.write_all(said.as_bytes()).await.unwrap();
                }
                Act::Cut => return connection.write_all(b"HTTP/1.1 200 x\r\nContent-Le").await.unwrap(),
                Act::Deaf => std::future::pending().await,
            }
        }
    }
}

/// Reads one request of HTTP/1.1; its head and, behind that, its body.
async fn request(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut body = vec![0; header(&text, "content-length").unwrap().parse().unwrap()];
    connection.read_exact(&mut body).await?;
    Ok(text + &String::from_utf8_lossy(&body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|f| f.1)
}

/// A client with its short way, and the service it asks.
struct World {
    client: Client,
    direct: Arc<Direct>,
    script: Script,
    _tasks: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        Self::with(|config| {
            config.credentials_provider(Credentials::new("key", "secret", Some("token".into()), None, "t"))
        })
        .await
    }

    async fn with(set: impl FnOnce(Builder) -> Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (script, mut tasks) = (Script::default(), JoinSet::new());
        tasks.spawn(script.clone().serve(listener));
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().read_timeout(Duration::from_millis(300)).build())
            .endpoint_url(url);
        let client = Client::from_conf(set(config).build());
        Self { client, direct: Direct::new(&GetRecords::new()), script, _tasks: tasks }
    }

    async fn through_sdk(&self) -> Result<GetRecordsOutput, Fault> {
        let call = self.client.get_records().shard_iterator("it").limit(9).customize();
        call.interceptor(self.direct.learn()).send().await
    }

    /// A request on the short way, which must be known.
    async fn short(&self) -> Result<GetRecordsOutput, Fault> {
        let way = self.direct.way().await.expect("the way is known");
        let read = |_: &[u8]| None; // by the SDK's own reader
        way.ask(QUESTION.to_vec(), read).await.map_err(|failed: Failed<_>| {
            assert!(failed.again.is_none(), "retries are off");
            failed.error
        })
    }

    async fn opened(&self) -> Result<Vec<u8>, Fault> {
        let way = self.direct.way().await.expect("the way is known");
        let answer = way.open(QUESTION.to_vec()).await?;
        Ok(ByteStream::new(answer.into_body()).collect().await.unwrap().to_vec())
    }
}

/// All that anybody looks at in an error.
fn told(error: &Fault) -> (String, Option<String>, Option<String>, Option<String>, String) {
    let kind = format!("{error:?}").split('(').next().unwrap().to_owned();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let id = error.as_service_error().and_then(|error| error.request_id().map(str::to_owned));
    let causes = DisplayErrorContext(error).to_string();
    // what is printed of the answer itself has the headers in no fixed order
    let causes = causes.split(" (").next().unwrap().to_owned();
    (kind, owned(error.code()), owned(error.message()), id, causes)
}

#[tokio::test]
async fn errors_are_those_of_the_sdk() {
    let body = |text| Act::Say(400, "", text);
    let table = [
        body(r#"{"__type":"ExpiredIteratorException","message":"too old"}"#),
        body(r#"{"__type":"ProvisionedThroughputExceededException","message":"slow down"}"#),
        body(r#"{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","Message":"no such shard"}"#),
        body(r#"{"__type":"KMSThrottlingException"}"#),
        body(r#"{"__type":"ExpiredTokenException","message":"The security token is expired"}"#),
        body(r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#),
        body(r#"{"__type":"AccessDeniedException","message":"User x may not"}"#),
        Act::Say(400, "x-amzn-ErrorType: LimitExceededException:http://x/\r\n", "{}"),
        Act::Say(500, "", r#"{"__type":"InternalFailure"}"#),
        Act::Say(500, "Content-Type: text/html\r\n", "<html>Bad gateway</html>"),
        Act::Say(503, "", ""),
        Act::Say(301, "Location: http://elsewhere/\r\n", ""),
        Act::Cut,
        Act::Deaf,
    ];
    for act in table {
        let world = World::new().await;
        world.script.plan([act, WELL, act, WELL, act]);
        let wanted = told(&world.through_sdk().await.unwrap_err());
        assert!(world.direct.route().is_none(), "{act:?}: a refused request gives no route");
        world.through_sdk().await.unwrap();
        assert_eq!(told(&world.short().await.unwrap_err()), wanted, "{act:?}");
        assert!(world.direct.route().is_none(), "{act:?}: the SDK is asked next");
        world.through_sdk().await.unwrap();
        assert_eq!(told(&world.opened().await.unwrap_err()), wanted, "{act:?}");
    }
}

#[tokio::test]
async fn a_good_answer_is_the_same_on_both_ways() {
    let world = World::new().await;
    let wanted = world.through_sdk().await.unwrap();
    assert_eq!(world.short().await.unwrap(), wanted);
    assert_eq!(world.opened().await.unwrap(), GOOD.as_bytes());
    assert_eq!(world.script.heads().len(), 3);
    assert_eq!(world.script.connections.load(Ordering::Relaxed), 1, "one pool for both ways");
}

#[tokio::test]
async fn an_answer_that_is_understood_at_once_is_not_read_again_and_any_other_is() {
    let world = World::new().await;
    world.script.plan([WELL, WELL, WELL, Act::Say(400, "", GOOD)]);
    world.through_sdk().await.unwrap();
    let mine = GetRecordsOutput::builder().millis_behind_latest(1).set_records(Some(Vec::new())).build().unwrap();
    let ask = async |read: fn(&[u8]) -> bool| {
        let way = world.direct.way().await.expect("the way is known");
        let asked = way.ask(QUESTION.to_vec(), |body| read(body).then(|| mine.clone())).await;
        asked.map(|answer: GetRecordsOutput| answer.millis_behind_latest()).map_err(
            |failed: Failed<GetRecordsError>| {
                assert_eq!(failed.error.raw_response().map(|answer| answer.status().as_u16()), Some(400), "{failed:?}");
            },
        )
    };
    assert_eq!(ask(|body| body == GOOD.as_bytes()).await, Ok(Some(1)));
    assert_eq!(ask(|body| body == b"{}").await, Ok(Some(7)));
    assert_eq!(ask(|_| true).await, Err(()), "what is refused is no answer");
}

#[tokio::test]
async fn successes_on_the_short_way_make_up_for_failures_as_those_of_the_sdk_do() {
    let bucket = TokenBucket::new(500);
    let retries = RetryConfig::standard().with_max_attempts(2);
    let partition = RetryPartition::custom("this test").token_bucket(bucket.clone()).build();
    let world = World::with(|config| {
        let keys = Credentials::new("key", "secret", None, None, "t");
        config.credentials_provider(keys).retry_config(retries).retry_partition(partition)
    })
    .await;
    world.through_sdk().await.unwrap();
    for read in [true, false] {
        world.script.plan([Act::Say(503, "", "")]);
        let way = world.direct.way().await.unwrap();
        let failed = way.ask::<GetRecordsOutput, GetRecordsError>(QUESTION.to_vec(), |_| None).await.unwrap_err();
        assert!(failed.again.is_some() && !bucket.is_full(), "a try costs");
        world.direct.know(Arc::clone(&way.route));
        let answer = || GetRecordsOutput::builder().set_records(Some(Vec::new())).build().unwrap();
        let way = world.direct.way().await.unwrap();
        way.ask::<_, GetRecordsError>(QUESTION.to_vec(), |_| read.then(answer)).await.unwrap();
        assert!(bucket.is_full(), "a success gives back, read at once: {read}");
    }
}

#[tokio::test]
async fn a_request_is_the_same_on_both_ways_and_so_is_its_signature() {
    let at = StaticTimeSource::from_secs(1_704_067_200);
    let keys = Credentials::new("key", "secret", Some("token".into()), None, "t");
    let world = World::with(|config| config.credentials_provider(keys).time_source(at)).await;
    world.through_sdk().await.unwrap();
    world.short().await.unwrap();
    let sorted = |head: &String| {
        // what the SDK tells of its attempts, unsigned
        let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("amz-sdk-")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let heads = world.script.heads();
    assert_eq!(sorted(&heads[0]), sorted(&heads[1]));
    let signature = header(&heads[1], "authorization").unwrap();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=key/20240101/us-east-1/kinesis/"), "{signature}");
}

/// Gives other keys each time they are asked for, those of the first two times the same and all about to expire.
#[derive(Debug, Default)]
struct Fleeting(AtomicUsize);

impl ProvideCredentials for Fleeting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let key = format!("key-{}", self.0.fetch_add(1, Ordering::Relaxed).max(1));
        #[expect(clippy::disallowed_methods, reason = "the SDK's cache looks at the real clock")]
        let soon = SystemTime::now() + Duration::from_secs(1);
        future::ProvideCredentials::ready(Ok(Credentials::new(key, "secret", None, Some(soon), "t")))
    }
}

async fn a_second_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn credentials_that_expire_are_replaced_on_the_short_way() {
    let world = World::with(|config| config.credentials_provider(Fleeting::default())).await;
    world.through_sdk().await.unwrap();
    world.short().await.unwrap();
    for _ in 0..2 {
        a_second_passes().await;
        world.short().await.unwrap();
    }
    let heads = world.script.heads();
    let keys: Vec<_> =
        heads.iter().map(|head| header(head, "authorization").unwrap().split(['=', '/']).nth(1)).collect();
    assert_eq!(keys, [Some("key-1"), Some("key-1"), Some("key-2"), Some("key-3")]);
}

#[tokio::test]
async fn keys_that_do_not_give_the_signature_of_the_sdk_are_not_used() {
    let world = World::with(|config| config.credentials_provider(Fleeting(AtomicUsize::new(5)))).await;
    world.through_sdk().await.unwrap();
    assert!(world.direct.way().await.is_none(), "other keys by now");
    assert!(world.direct.route().is_none(), "the SDK is asked again");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_on_both_ways_by_the_refusals_of_both() {
    const REFUSED: &str = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    let world = World::new().await;
    world.script.plan([
        Act::Say(400, "Date: Wed, 01 Jan 2031 12:00:00 GMT\r\n", REFUSED),
        Act::Say(200, "Date: Wed, 01 Jan 2031 12:00:00 GMT\r\n", GOOD),
        Act::Say(200, "Date: Wed, 01 Jan 2031 12:00:00 GMT\r\n", GOOD),
        Act::Say(400, "Date: Thu, 01 Jan 2032 12:00:00 GMT\r\n", REFUSED),
    ]);
    world.through_sdk().await.unwrap_err();
    world.through_sdk().await.unwrap();
    world.short().await.unwrap();
    world.short().await.unwrap_err();
    world.through_sdk().await.unwrap();
    let heads = world.script.heads();
    let days: Vec<_> = heads.iter().skip(1).map(|head| &header(head, "x-amz-date").unwrap()[..8]).collect();
    assert_eq!(days, ["20310101", "20310101", "20310101", "20320101"]);
}

#[tokio::test]
async fn a_connection_that_nobody_answers_on_is_not_used_again() {
    let world = World::new().await;
    world.script.plan([WELL, Act::Deaf, WELL]);
    world.through_sdk().await.unwrap();
    world.short().await.unwrap_err();
    world.through_sdk().await.unwrap();
    assert_eq!(world.script.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_not_signed_as_we_know_it_gives_no_route() {
    let world = World::with(Builder::allow_no_auth).await;
    world.through_sdk().await.unwrap();
    assert!(world.direct.route().is_none());
    let adaptive = |config: Builder| config.retry_config(RetryConfig::adaptive());
    let world =
        World::with(|config| adaptive(config).credentials_provider(Credentials::new("k", "s", None, None, "t"))).await;
    world.through_sdk().await.unwrap();
    assert!(world.direct.route().is_none(), "a limiter of the client's own must see every request");
}

#[tokio::test]
async fn a_route_is_asked_for_again_after_a_while() {
    let world = World::new().await;
    world.through_sdk().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(GOOD_FOR - Duration::from_secs(1)).await;
    assert!(world.direct.route().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.direct.route().is_none());
}
