//! Dead letters into services: the whole program on the embedded backend, with stand-ins of SQS and S3 that speak HTTP.
#![cfg(all(feature = "local", unix))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "dead_letters/service.rs"]
mod service;

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use multilangd::lease::LeaseStore;
use multilangd::lease::dynamodb::DynamoDbStore;
use multilangd::local::connect::local_config;
use multilangd::local::put::{Placed, Putter};
use multilangd::local::streams::{create_stream, open_shards};
use multilangd::local::{Backend, Options};
use multilangd::types::{Checkpoint, ExtendedSequenceNumber};
use serde_json::Value as Json;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use service::{Asked, Service};

const PATIENCE: Duration = Duration::from_secs(120);

/// Dies of records whose data begins with `poison`, writes down all others that it was given, and checkpoints them.
const CHILD: &str = r#"
while IFS= read -r line; do
  action=${line#*'"action":"'}; action=${action%%'"'*}
  case "$action" in
    processRecords)
      case "$line" in *'"cG9pc29u'*) echo 'I cannot eat this' >&2; exit 7;; esac
      printf '%s\n' "$line" >> "$DELIVERED"
      printf '{"action":"checkpoint"}\n'; IFS= read -r reply;;
    shardEnded|shutdownRequested) printf '{"action":"checkpoint"}\n'; IFS= read -r reply;;
  esac
  printf '{"action":"status","responseFor":"%s"}\n' "$action"
done
"#;

struct Ground {
    backend: Backend,
    kinesis: aws_sdk_kinesis::Client,
    store: DynamoDbStore,
    folder: tempfile::TempDir,
    put: Vec<Placed>,
}

impl Ground {
    /// A stream of two shards. In the first: a good record, the poison, a good one; in the other as many good ones.
    async fn new(poison: &[u8]) -> Self {
        let backend = Backend::start(Options::default()).await.unwrap();
        let kinesis = aws_sdk_kinesis::Client::new(&local_config(&backend.kinesis_url()));
        let dynamodb = aws_sdk_dynamodb::Client::new(&local_config(&backend.dynamodb_url()));
        let store = DynamoDbStore::new(dynamodb, "app".into(), "app".into(), Default::default());
        create_stream(&kinesis, "orders", 2).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("child.sh"), CHILD).unwrap();
        let records = [("a", &b"one"[..]), ("b", b"two"), ("a", poison), ("b", b"four"), ("a", b"five"), ("b", b"six")];
        let records = records.map(|(key, data)| (key.to_owned(), Bytes::copy_from_slice(data)));
        let put = Putter::new(kinesis.clone(), "orders").put(records.to_vec()).await.unwrap();
        assert_ne!(put[0].shard, put[1].shard, "the keys must lie in different shards");
        Self { backend, kinesis, store, folder, put }
    }

    fn poison(&self) -> &Placed {
        &self.put[2]
    }

    /// `orders/SHARD/NUMBER`.
    fn name(&self) -> String {
        format!("orders/{}/{}", self.poison().shard, self.poison().sequence)
    }

    fn delivered(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("delivered")).unwrap_or_default()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Writes the properties file, with this line.
    fn configure(&self, line: &str) -> PathBuf {
        let file = self.folder.path().join("app.properties");
        let text = format!(
            "executableName = sh {}\nstreamName = orders\napplicationName = app\nregionName = us-east-1\n\
             AwsCredentialsProvider = DefaultCredentialsProvider\ninitialPositionInStream = TRIM_HORIZON\n\
             retrievalMode = POLLING\nidleTimeBetweenReadsInMillis = 200\nfailoverTimeMillis = 3000\nworkerId = w\n\
             kinesisEndpoint = {}\ndynamoDBEndpoint = {}\n\
             multilangd.childRestartLimit = 2\nmultilangd.onPoison = deadLetter\n{line}\n",
            self.folder.path().join("child.sh").display(),
            self.backend.kinesis_url(),
            self.backend.dynamodb_url(),
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The program, with credentials and these variables only.
    fn command(&self, variables: &[(&str, String)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multilangd"));
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).kill_on_drop(true);
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").env("AWS_MAX_ATTEMPTS", "1");
        command.env("DELIVERED", self.folder.path().join("delivered"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn start(&self, line: &str, variables: &[(&str, String)]) -> Daemon {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.command(variables);
        command.arg("--properties-file").arg(self.configure(line));
        Daemon(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    async fn checkpoint(&self, shard: &Placed) -> Option<Checkpoint> {
        let leases = self.store.list().await.unwrap_or_default().leases;
        leases.into_iter().find(|lease| lease.shard == shard.shard).map(|lease| lease.checkpoint)
    }

    async fn is_behind(&self, last: &Placed) -> bool {
        let at = Checkpoint::At(ExtendedSequenceNumber::new(last.sequence.clone(), 0));
        self.checkpoint(last).await.is_some_and(|stored| stored >= at)
    }

    async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !done().await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("gave up waiting until {what}: {}", self.log()));
    }

    /// Both shards are checkpointed to their ends, and all but the poison was delivered.
    async fn until_all_is_done(&self) {
        self.until("shards are done", async || {
            self.is_behind(&self.put[4]).await && self.is_behind(&self.put[5]).await
        })
        .await;
        let delivered = self.delivered();
        for (index, placed) in self.put.iter().enumerate() {
            assert_eq!(delivered.contains(placed.sequence.as_str()), index != 2, "record {index}: {delivered}");
        }
    }

    /// The letter is what a letter is.
    fn assert_letter(&self, letter: &Json, data: &[u8]) {
        let placed = self.poison();
        assert_eq!((&letter["stream"], &letter["partitionKey"]), (&"orders".into(), &"a".into()));
        assert_eq!(letter["shard"], placed.shard.as_str());
        assert_eq!(letter["sequenceNumber"], placed.sequence.as_str());
        assert_eq!((&letter["attempts"], &letter["subSequenceNumber"]), (&2.into(), &0.into()));
        assert!(letter["error"].as_str().unwrap().contains("I cannot eat this"), "{letter}");
        assert!(letter["time"].as_i64().unwrap() > 1_600_000_000_000, "{letter}");
        assert_eq!(decoded(letter), data);
    }
}

fn decoded(letter: &Json) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(letter["data"].as_str().unwrap()).unwrap()
}

struct Daemon(Child);

impl Daemon {
    async fn stop(mut self) -> ExitStatus {
        let pid = self.0.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        timeout(PATIENCE, self.0.wait()).await.expect("the daemon does not stop").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_gets_the_letter_in_parts_that_it_takes_and_the_shard_waits_for_them() {
    let poison = [&b"poison"[..], &vec![b'x'; 400_000]].concat();
    let ground = Ground::new(&poison).await;
    let sqs = Service::start(|number, asked| match number {
        0 => (503, "", String::new()),
        1 => (400, "", r#"{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"User x may not"}"#.to_owned()),
        2 => {
            assert_eq!(asked.header("x-amz-target"), "AmazonSQS.SendMessage");
            (200, "", r#"{"MessageId":"m"}"#.to_owned())
        }
        3 => (500, "", "{}".to_owned()),
        _ => (200, "", r#"{"MessageId":"m"}"#.to_owned()),
    });
    let url = format!("{}/123456789012/dead.fifo", sqs.url());
    let daemon = ground.start(&format!("multilangd.deadLetterQueue = {url}"), &[]);
    ground.until("the queue is asked", async || !sqs.asked().is_empty()).await;
    ground.until("the other shard goes on", async || ground.is_behind(&ground.put[5]).await).await;
    ground.until_all_is_done().await;
    let asked = sqs.asked();
    // two refused, one part taken and the next refused, then all three
    assert_eq!(asked.len(), 7);
    let (mut data, parts) = (Vec::new(), parts_of(&asked));
    for (index, asked) in asked.iter().enumerate() {
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/"));
        assert_eq!(asked.signed_for(), "us-east-1 sqs");
        let message = asked.json();
        assert_eq!(
            (&message["QueueUrl"], &message["MessageGroupId"]),
            (&url.clone().into(), &ground.poison().shard.as_str().into())
        );
        let body = message["MessageBody"].as_str().unwrap();
        assert!(body.len() <= 262_144, "{}", body.len());
        let letter: Json = serde_json::from_str(body).unwrap();
        let part = usize::try_from(letter["part"].as_u64().unwrap()).unwrap();
        assert_eq!((part, &letter["parts"]), ([1, 1, 1, 2, 1, 2, 3][index], &3.into()));
        assert_eq!(message["MessageDeduplicationId"], identity_of(part, &parts), "a repeat is known");
        if index > 3 {
            data.extend(decoded(&letter));
        }
    }
    assert_eq!(data, poison);
    assert_eq!(daemon.stop().await.code(), Some(143));
    let log = ground.log();
    assert_eq!(log.matches("dead letter cannot be stored").count(), 1, "one line for one episode: {log}");
    assert!(log.contains("SQS, or what stands before it, answered 503 without a reason"), "{log}");
    assert_eq!(log.matches("poison record is set aside as a dead letter").count(), 1, "{log}");
}

/// Part and identity of every message.
fn parts_of(asked: &[Asked]) -> Vec<(usize, Json)> {
    let part = |message: &Json| {
        let letter: Json = serde_json::from_str(message["MessageBody"].as_str().unwrap()).unwrap();
        usize::try_from(letter["part"].as_u64().unwrap()).unwrap()
    };
    asked.iter().map(Asked::json).map(|message| (part(&message), message["MessageDeduplicationId"].clone())).collect()
}

/// The first identity of a part; no other part may have it.
fn identity_of(part: usize, parts: &[(usize, Json)]) -> Json {
    let found = parts.iter().find(|(number, _)| *number == part).unwrap().1.clone();
    assert!(parts.iter().all(|(number, identity)| *number == part || *identity != found));
    found
}

const ETAG: &str = "etag: \"1\"\r\n";

/// A bucket that lies in another region, and denies the first letter there.
fn bucket() -> (Service, Arc<Mutex<Vec<Asked>>>) {
    let objects: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let kept = objects.clone();
    let service = Service::start(move |number, asked| {
        if asked.signed_for() != "eu-west-1 s3" {
            let moved = "x-amz-bucket-region: eu-west-1\r\n";
            return (301, moved, "<Error><Code>PermanentRedirect</Code><Message>there</Message></Error>".to_owned());
        }
        if number == 1 {
            return (403, "", "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>".to_owned());
        }
        kept.lock().unwrap().push(asked.clone());
        (200, ETAG, String::new())
    });
    (service, objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_gets_an_object_named_after_the_record() {
    let ground = Ground::new(b"poison").await;
    let (s3, objects) = bucket();
    let daemon = ground.start("multilangd.deadLetterS3 = s3://letters/app=1", &[("AWS_ENDPOINT_URL_S3", s3.url())]);
    ground.until_all_is_done().await;
    assert_eq!(daemon.stop().await.code(), Some(143));
    let objects = objects.lock().unwrap().clone();
    assert_eq!(objects.len(), 1);
    let asked = &objects[0];
    assert_eq!((asked.method.as_str(), &asked.path), ("PUT", &format!("/letters/app%3D1/{}.json", ground.name())));
    assert_eq!(asked.header("x-amz-content-sha256").len(), 64, "S3 wants the body's hash as a header");
    assert_eq!(asked.header("content-md5").len(), 24);
    ground.assert_letter(&asked.json(), b"poison");
    let log = ground.log();
    assert!(log.contains("S3 answered 403 AccessDenied: Access Denied; allow s3:PutObject in the policy"), "{log}");
    // the way to the bucket's region is asked for once
    assert_eq!(
        s3.asked().iter().map(Asked::signed_for).collect::<Vec<_>>(),
        ["us-east-1 s3", "eu-west-1 s3", "eu-west-1 s3"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_killed_between_letter_and_checkpoint_writes_the_letter_again() {
    let ground = Ground::new(b"poison").await;
    let (stored, hears) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (stored, released) = (Mutex::new(stored), Mutex::new(released));
    let s3 = Service::start(move |number, _| {
        if number == 0 {
            // it is stored; nobody hears of it
            stored.lock().unwrap().send(()).unwrap();
            let _the_test_goes_on = released.lock().unwrap().recv();
        }
        (200, ETAG, String::new())
    });
    let variables = [("AWS_ENDPOINT_URL_S3", s3.url())];
    let mut first = ground.start("multilangd.deadLetterS3 = s3://letters", &variables);
    tokio::task::spawn_blocking(move || hears.recv_timeout(PATIENCE)).await.unwrap().unwrap();
    first.0.kill().await.unwrap();
    drop(release);
    assert!(!ground.is_behind(ground.poison()).await, "the record was passed before its letter was known to be stored");
    let second = ground.start("multilangd.deadLetterS3 = s3://letters", &variables);
    ground.until_all_is_done().await;
    assert_eq!(second.stop().await.code(), Some(143));
    let asked = s3.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].path, format!("/letters/{}.json", ground.name()));
    assert_eq!(asked[1].path, asked[0].path, "the second takes the place of the first");
    ground.assert_letter(&asked[1].json(), b"poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_the_letter_as_a_record_once_it_is_there() {
    let ground = Ground::new(b"poison").await;
    let daemon = ground.start("multilangd.deadLetterStream = letters", &[]);
    ground.until("the stream is missed", async || ground.log().contains("dead letter cannot be stored")).await;
    assert!(!ground.is_behind(ground.poison()).await);
    create_stream(&ground.kinesis, "letters", 1).await.unwrap();
    ground.until_all_is_done().await;
    assert_eq!(daemon.stop().await.code(), Some(143));
    let shard = open_shards(&ground.kinesis, "letters").await.unwrap().remove(0).id;
    let oldest = aws_sdk_kinesis::types::ShardIteratorType::TrimHorizon;
    let call = ground.kinesis.get_shard_iterator().stream_name("letters").shard_id(shard.as_str());
    let begin = call.shard_iterator_type(oldest).send().await.unwrap().shard_iterator;
    let found = ground.kinesis.get_records().set_shard_iterator(begin).send().await.unwrap();
    let [record] = found.records() else { panic!("{found:?}") };
    assert_eq!(record.partition_key(), Some(ground.poison().shard.as_str()));
    ground.assert_letter(&serde_json::from_slice(record.data().as_ref()).unwrap(), b"poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_full_keeps_its_whole_lines_and_the_daemon_ends_with_a_sentence() {
    let poison = [&b"poison"[..], &vec![b'x'; 150_000]].concat();
    let ground = Ground::new(&poison).await;
    let file = ground.folder.path().join("dead.jsonl");
    let before = format!("{}\n", "x".repeat(90_000));
    std::fs::write(&file, &before).unwrap();
    let command = ground.command(&[]);
    let program = command.as_std().get_program().to_owned();
    // 100 KB, or 200 where the shell counts in kilobytes
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 200 && exec \"$@\"", "sh"]).arg(program).arg("--properties-file");
    limited.arg(ground.configure(&format!("multilangd.deadLetterFile = {}", file.display())));
    let variables = command.as_std().get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    limited.env_clear().envs(variables).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, limited.output()).await.expect("the daemon does not end").unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let sentence = format!("could not be written to multilangd.deadLetterFile `{}`: File too large", file.display());
    assert!(told.lines().last().unwrap().contains(&sentence), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    assert!(!ground.is_behind(ground.poison()).await);
    // there is room again
    let second = ground.start(&format!("multilangd.deadLetterFile = {}", file.display()), &[]);
    ground.until_all_is_done().await;
    assert_eq!(second.stop().await.code(), Some(143));
    let text = std::fs::read_to_string(&file).unwrap();
    ground.assert_letter(&serde_json::from_str(text.strip_prefix(&before).unwrap()).unwrap(), &poison);
}

/// `check --aws` with this target; exit code and the rows about it.
async fn checked(line: &str, variables: &[(&str, String)]) -> (bool, Vec<Json>) {
    let ground = Ground::new(b"poison").await;
    let mut command = ground.command(variables);
    command.args(["check", "--aws", "--format", "json"]).arg(ground.configure(line));
    let output = command.output().await.unwrap();
    let found: Json = serde_json::from_slice(&output.stdout).unwrap();
    let letters = ["sqs:SendMessage", "s3:PutObject", "kinesis:PutRecord"];
    let tried = found["aws"].as_array().unwrap().iter().filter(|tried| letters.iter().any(|a| tried["action"] == *a));
    (output.status.success(), tried.cloned().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_whether_the_target_of_letters_can_be_reached() {
    let there = Service::start(|_, _| (200, "", r#"{"Attributes":{"QueueArn":"q"}}"#.to_owned()));
    let line = format!("multilangd.deadLetterQueue = {}/1/dead", there.url());
    let (fine, tried) = checked(&line, &[]).await;
    assert!(
        fine && tried[0]["verdict"] == "not tried" && tried[0]["note"].as_str().unwrap().contains("it is there"),
        "{tried:?}"
    );
    assert_eq!(there.asked().len(), 1, "nothing was sent");
    assert_eq!(there.asked()[0].header("x-amz-target"), "AmazonSQS.GetQueueAttributes");

    let silent = Service::start(|_, _| (403, "", String::new()));
    let (fine, tried) =
        checked("multilangd.deadLetterS3 = s3://letters", &[("AWS_ENDPOINT_URL_S3", silent.url())]).await;
    assert!(fine && tried[0]["note"].as_str().unwrap().contains("may not be looked at"), "{tried:?}");
    assert_eq!((silent.asked()[0].method.as_str(), silent.asked()[0].path.as_str()), ("HEAD", "/letters"));

    let gone = Service::start(|_, _| (404, "", String::new()));
    let (fine, tried) = checked("multilangd.deadLetterS3 = s3://letters", &[("AWS_ENDPOINT_URL_S3", gone.url())]).await;
    assert!(!fine && tried[0]["verdict"] == "failed", "{tried:?}");
    assert!(tried[0]["note"].as_str().unwrap().contains("bucket letters is not there; check its name"), "{tried:?}");

    let (fine, tried) = checked("multilangd.deadLetterStream = letters", &[]).await;
    assert!(!fine && tried[0]["verdict"] == "failed" && tried[0]["action"] == "kinesis:PutRecord", "{tried:?}");
}
