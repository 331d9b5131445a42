//! `multilangd demo`: a stream, a real child, a split and a merge, seen live, and checked.
//!
//! The daemon in it is the very one that talks to AWS; only the two endpoints are on loopback.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::app::aws::Clients;
use crate::app::signals::Signals;
use crate::app::{logging, one_line, serve_with};
use crate::config::{Config, Environment, load};
use crate::lease::dynamodb::DynamoDbStore;
use crate::lease::{Lease, LeaseStore};
use crate::local::connect::{LOCAL_REGION, local_config};
use crate::local::demo::ledger::{Ledger, Verdict};
use crate::local::demo::screen::Screen;
use crate::local::put::{Putter, words};
use crate::local::streams::{create_stream, merge_shards, open_shards, split_shard};
use crate::local::{Backend, Options};

pub mod child;
pub mod ledger;
pub mod screen;

/// Shards at the beginning.
const SHARDS: u16 = 4;
/// Words put at a time, and the time between two puts: some 200 a second.
const WORDS_AT_ONCE: usize = 20;
const PUT_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last records may take to the child, and to a checkpoint.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks at the lease table.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The sample that the demo runs when it is not given a command.
const SAMPLE: &str = include_str!("../../samples/wordcount.py");

/// Arguments of `multilangd demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How long records are put; the demo ends when they have all arrived
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,

    /// Your own processor instead of the sample, split at blanks like executableName
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,

    /// Your own properties file; its endpoints, region and credentials are those of the demo
    #[arg(short, long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
}

/// Runs the demo; returns the exit code of the process.
pub async fn run(args: DemoArgs) -> i32 {
    logging::start_quietly();
    match Box::pin(show(args)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {}", one_line(&error));
            1
        }
    }
}

/// What the demo needs while it runs; the folder with the sample goes when it goes.
struct Stage {
    backend: Backend,
    kinesis: aws_sdk_kinesis::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    folder: Folder,
}

/// A folder of our own under the system's folder for such things.
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("multilangd-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

async fn show(args: DemoArgs) -> anyhow::Result<i32> {
    let mut signals = Signals::new().context("signals cannot be awaited")?;
    let backend = Backend::start(Options::default()).await?;
    let stage = Stage {
        kinesis: aws_sdk_kinesis::Client::new(&local_config(&backend.kinesis_url())),
        dynamodb: aws_sdk_dynamodb::Client::new(&local_config(&backend.dynamodb_url())),
        backend,
        folder: Folder::make().context("the demo needs a folder for its sample child")?,
    };
    let config = configure(&args, &stage.folder.0)?;
    println!(
        "demo: Kinesis at {}, DynamoDB at {}, stream `{}` with {SHARDS} shards, child: {}",
        stage.backend.kinesis_url(),
        stage.backend.dynamodb_url(),
        config.stream_name,
        config.command.join(" ")
    );
    create_stream(&stage.kinesis, &config.stream_name, SHARDS).await?;
    let ledger = Arc::new(Ledger::default());
    let stop = CancellationToken::new();
    let clients = Clients {
        kinesis: stage.kinesis.clone(),
        dynamodb: stage.dynamodb.clone(),
        region: LOCAL_REGION.to_owned(),
        dead_letters: None,
    };
    let mut daemon = std::pin::pin!(serve_with(config.clone(), clients, ledger.clone(), stop.clone()));
    let course = Course { stage: &stage, config: &config, ledger: &ledger, seconds: args.seconds };
    let ended = tokio::select! {
        result = &mut daemon => {
            result?;
            bail!("the daemon ended by itself");
        }
        signal = signals.next() => Err(signal),
        result = course.run() => Ok(result?),
    };
    stop.cancel();
    daemon.await?;
    let leases = course.leases().await;
    stage.backend.stop().await;
    let verdict = match ended {
        Err(signal) => {
            println!("demo: stopped by {signal}");
            return Ok(signal.exit_code());
        }
        Ok(()) => ledger.verdict(&leases),
    };
    Ok(report(&verdict))
}

fn report(verdict: &Verdict) -> i32 {
    println!("{verdict}");
    i32::from(!verdict.is_good())
}

/// The daemon's configuration: the user's file or the demo's own, always with the demo's places.
fn configure(args: &DemoArgs, folder: &Path) -> anyhow::Result<Config> {
    let file = match &args.properties_file {
        Some(file) => file.clone(),
        None => {
            let file = folder.join("demo.properties");
            std::fs::write(&file, PROPERTIES).with_context(|| format!("`{}` cannot be written", file.display()))?;
            file
        }
    };
    let loaded = load(&file, &Environment::from_process())?;
    for warning in &loaded.warnings {
        eprintln!("demo: {warning}");
    }
    let mut config = loaded.config;
    match (&args.exec, &args.properties_file) {
        (Some(command), _) => {
            config.command = command.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
        }
        (None, Some(_)) => {}
        (None, None) => config.command = sample(folder)?,
    }
    if config.command.is_empty() {
        bail!("--exec ``: expected a command, for example --exec \"python3 my_processor.py\"");
    }
    Ok(config)
}

/// What the demo's daemon is told; the rest is default.
const PROPERTIES: &str = "\
executableName = sample
streamName = demo
applicationName = demo
AwsCredentialsProvider = DefaultCredentialsProvider
regionName = us-east-1
initialPositionInStream = TRIM_HORIZON
retrievalMode = POLLING
idleTimeBetweenReadsInMillis = 250
parentShardPollIntervalMillis = 1000
workerId = demo-worker
";

/// The Python sample where there is a Python, else the child that is built in.
fn sample(folder: &Path) -> anyhow::Result<Vec<String>> {
    let is_there = |folder: PathBuf| folder.join("python3").is_file();
    if std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(is_there)) {
        let file = folder.join("wordcount.py");
        std::fs::write(&file, SAMPLE).with_context(|| format!("`{}` cannot be written", file.display()))?;
        let mut command = vec!["python3".to_owned(), file.to_string_lossy().into_owned()];
        if std::io::stdout().is_terminal() {
            command.push("--quiet".to_owned()); // its lines would tear the picture
        }
        return Ok(command);
    }
    let own = std::env::current_exe().context("the path of this program is not known")?;
    Ok(vec![own.to_string_lossy().into_owned(), "demo-child".to_owned()])
}

/// What happens to the stream while the demo runs.
struct Course<'a> {
    stage: &'a Stage,
    config: &'a Config,
    ledger: &'a Ledger,
    seconds: u64,
}

impl Course<'_> {
    /// Puts words for the whole time, splits after a third, merges after two thirds, then waits for the last records.
    async fn run(&self) -> anyhow::Result<()> {
        let whole = Duration::from_secs(self.seconds);
        let begin = Instant::now();
        let at = |part: u32| begin + whole * part / 3;
        let mut screen = Screen::new();
        let feed = async { tokio::try_join!(self.put_until(at(3)), self.reshard(at(1), at(2))).map(|_| ()) };
        self.watch(&mut screen, begin, Box::pin(feed)).await??;
        screen.say("all records are put; waiting for the last ones to be checkpointed");
        let arrived = self.until_arrived(Instant::now() + DRAIN_LIMIT);
        self.watch(&mut screen, begin, arrived).await?;
        Ok(())
    }

    /// Shows the shards again and again while `work` runs.
    async fn watch<T>(&self, screen: &mut Screen, begin: Instant, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut work = std::pin::pin!(work);
        let mut tick = interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                result = &mut work => {
                    screen.show(begin.elapsed(), self.ledger, &self.leases().await);
                    return Ok(result);
                }
                _ = tick.tick() => screen.show(begin.elapsed(), self.ledger, &self.leases().await),
            }
        }
    }

    async fn leases(&self) -> Vec<Lease> {
        let table = (self.config.table_name.clone(), self.config.application_name.clone());
        let store = DynamoDbStore::new(self.stage.dynamodb.clone(), table.0, table.1, self.config.table.clone());
        store.list().await.map(|rows| rows.leases).unwrap_or_default() // no table yet
    }

    async fn put_until(&self, end: Instant) -> anyhow::Result<()> {
        let putter = Putter::new(self.stage.kinesis.clone(), self.config.stream_name.clone());
        let mut tick = interval(PUT_INTERVAL);
        while Instant::now() < end {
            tick.tick().await;
            let numbered = words(WORDS_AT_ONCE).map(|(word, data)| (format!("{word}-{}", fastrand::u16(..)), data));
            self.ledger.note_put(putter.put(numbered.collect()).await?);
        }
        Ok(())
    }

    async fn reshard(&self, split_at: Instant, merge_at: Instant) -> anyhow::Result<()> {
        let (client, stream) = (&self.stage.kinesis, self.config.stream_name.as_str());
        sleep_until(split_at).await;
        let shards = open_shards(client, stream).await?;
        let widest = shards.first().context("the stream has no open shard")?;
        self.ledger.note_event(format!("splitting {}", widest.id));
        split_shard(client, stream, widest).await?;
        sleep_until(merge_at).await;
        let shards = open_shards(client, stream).await?;
        let neighbours = shards.iter().rev().zip(shards.iter().rev().skip(1));
        let (right, left) = neighbours.into_iter().next().context("the stream has no two open shards")?;
        self.ledger.note_event(format!("merging {} and {}", left.id, right.id));
        merge_shards(client, stream, left, right).await?;
        Ok(())
    }

    async fn until_arrived(&self, limit: Instant) {
        while Instant::now() < limit && !self.ledger.verdict(&self.leases().await).is_good() {
            sleep_until(Instant::now() + LOOK_INTERVAL).await;
        }
    }
}
