//! Composition root: configuration, real seams, worker, signals, exit code.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::child::ascii::{AsciiLauncher, is_locale_ascii};
use crate::child::process::{Leash, ProcessLauncher};
use crate::child::{ChildLauncher, LaunchError};
use crate::clock::{Clock, SystemClock};
use crate::config::{
    Compatibility, Config, DeadLetters, Environment, LoadError, OnPoison, Origin, Retrieval, buffer_bytes_within, load,
};
use crate::consumer::Shared;
use crate::coordinator::Fleet;
use crate::coordinator::renew::chain;
use crate::coordinator::start::StartError;
use crate::host::machine::Machine;
use crate::host::memory;
use crate::lease::dynamodb::DynamoDbStore;
use crate::poison::file::{LetterFile, validate};
use crate::poison::target::Target;
use crate::progress::Progress;
use crate::retrieval::RecordSource;
use crate::retrieval::budget::Budget;
use crate::retrieval::fanout::FanOutSource;
use crate::retrieval::polling::{PollingSource, ReadLimits};
use crate::retrieval::prefetch::PrefetchLimits;
use crate::retrieval::registration::consumer_arn;
use crate::stream::StreamError;
use crate::stream::kinesis::Kinesis;
use crate::worker::{START_ATTEMPTS, Worker, WorkerError};

pub mod aws;
pub mod files;
pub mod footprint;
pub mod logging;
pub mod permissions;
pub mod signals;

use footprint::Footprint;

/// Threads that serve all shards; records go through as they are, so few are needed.
const MOST_THREADS: usize = 4;
/// Variable that takes the limits of reading away.
const READ_LIMITS: &str = "MULTILANGD_READ_LIMITS";
/// Between a signal and what it causes: whoever sends it writes that down, too, and in logs of milliseconds the cause
/// should stand before its effect at the children.
const SIGNAL_FIRST: Duration = Duration::from_millis(10);
/// How long the runtime may take to drop what still runs when the process ends.
const LAST_LIMIT: Duration = Duration::from_millis(200);

/// Runs the daemon of one properties file until a signal; returns the exit code of the process. The log has begun.
///
/// Exit codes are Java's: 143 after SIGTERM, 130 after SIGINT, 129 after SIGHUP, 1 after a failure.
///
/// # Errors
/// The file cannot be used; nothing was started.
pub fn run(file: &Path, environment: &Environment) -> Result<i32, LoadError> {
    let loaded = load(file, environment);
    let warnings = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(error) => &error.warnings,
    };
    for warning in warnings {
        warn!("{warning}");
    }
    let loaded = loaded?;
    for setting in loaded.settings.iter().filter(|setting| setting.origin != Origin::Default) {
        debug!(key = setting.key, value = %setting.value, origin = %setting.origin, "setting");
    }
    files::raise_limit();
    let daemon = |threads: Handle| daemon(loaded.config, threads);
    let code = threads().and_then(|shards| {
        // Leases have this thread for themselves: no renewal waits behind records, and where shards are idle none of the
        // others is woken for the answer.
        let leases = Builder::new_current_thread().enable_all().build()?;
        let code = leases.block_on(daemon(shards.handle().clone()));
        leases.shutdown_timeout(LAST_LIMIT);
        shards.shutdown_timeout(LAST_LIMIT);
        Ok(code)
    });
    Ok(code.unwrap_or_else(no_threads))
}

/// Runs `work` on threads of its own, and ends everything that is left of it.
pub fn block_on(work: impl Future<Output = i32>) -> i32 {
    let code = threads().map(|runtime| {
        let code = runtime.block_on(work);
        runtime.shutdown_timeout(LAST_LIMIT);
        code
    });
    code.unwrap_or_else(no_threads)
}

fn threads() -> std::io::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

#[expect(clippy::needless_pass_by_value, reason = "it ends here")]
fn no_threads(error: std::io::Error) -> i32 {
    eprintln!("the system gives us no threads: {error}");
    1
}

/// `threads` serve the shards.
async fn daemon(config: Config, threads: Handle) -> i32 {
    let mut signals = match signals::Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("signals cannot be awaited: {error}");
            return 1;
        }
    };
    let stop = CancellationToken::new();
    let compatibility = config.compatibility;
    let footprint = Arc::new(Footprint::default());
    let mut work = std::pin::pin!(async {
        tokio::select! {
            result = serve(config, footprint.clone(), stop.clone(), threads) => result,
            never = footprint.keep_small() => match never {},
        }
    });
    let signal = tokio::select! {
        result = &mut work => return finish(result, compatibility),
        signal = signals.next() => signal,
    };
    info!(%signal, "Process terminated, will initiate shutdown.");
    sleep(SIGNAL_FIRST).await;
    stop.cancel();
    tokio::select! {
        result = work => match result {
            Ok(()) => info!("Process shutdown is complete."),
            Err(error) => warn!(error = format!("{error:#}"), "Encountered an error during shutdown."),
        },
        again = signals.next(), if compatibility == Compatibility::Safe => warn!(signal = %again, "second signal, ending at once"),
    }
    signal.exit_code()
}

fn finish(result: anyhow::Result<()>, compatibility: Compatibility) -> i32 {
    let Err(error) = result else { return 0 };
    eprintln!("{}", one_line(&error));
    // Java leaves with 0 when its attempts to start are used up (Source: CLI.md section 1)
    let never_started = matches!(error.downcast_ref(), Some(StartError::Table(error)) if error.is_transient());
    i32::from(!(never_started && compatibility == Compatibility::Strict))
}

/// An error with its causes in one line, none said twice.
#[must_use]
pub fn one_line(error: &anyhow::Error) -> String {
    chain(error.as_ref())
}

/// Works on the stream until `stop`, on its shards in `threads`.
///
/// # Errors
/// It could not begin, or a child failed. Everything that was taken is given back.
async fn serve(
    config: Config,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    threads: Handle,
) -> anyhow::Result<()> {
    ProcessLauncher::new(config.command.clone()).validate()?;
    if let OnPoison::DeadLetter(target @ DeadLetters::File(path)) = &config.processing.on_poison {
        validate(path).with_context(|| format!("{target} cannot be written; correct the path or its rights"))?;
    }
    let clients = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        clients = aws::Clients::new(&config) => clients?,
    };
    serve_in(config, clients, progress, stop, threads).await
}

/// Works on the stream until `stop`, with clients of the caller's and in the caller's runtime.
///
/// # Errors
/// It could not begin, or a child failed. Everything that was taken is given back.
pub async fn serve_with(
    config: Config,
    clients: aws::Clients,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    serve_in(config, clients, progress, stop, Handle::current()).await
}

async fn serve_in(
    config: Config,
    clients: aws::Clients,
    progress: Arc<dyn Progress>,
    stop: CancellationToken,
    threads: Handle,
) -> anyhow::Result<()> {
    let place = place(config.dynamodb_endpoint.as_deref(), "dynamoDBEndpoint", &config);
    let table = config.table_name.clone();
    let worker = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        worker = build(config, clients, progress, threads) => worker?,
    };
    match worker.run(stop).await {
        Err(WorkerError::Start(error)) => {
            Err(error).with_context(|| format!("this worker cannot join the fleet of table `{table}` {place}"))
        }
        result => Ok(result?),
    }
}

async fn build(
    config: Config,
    clients: aws::Clients,
    progress: Arc<dyn Progress>,
    threads: Handle,
) -> anyhow::Result<Worker> {
    let launcher = launcher(&config)?;
    info!("Using workerId: {}", config.worker_id);
    let dead_letters = dead_letters(&config.processing.on_poison, &clients)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let listing = (config.coordination.list_shards_backoff, config.coordination.max_list_shards_retries);
    let kinesis = Kinesis::new(clients.kinesis, config.stream_name.clone(), clients.region);
    let kinesis = Arc::new(kinesis.with_list_shards_retries(listing.0, listing.1));
    let source = source(&config, &kinesis, &clock).await?;
    let store = Arc::new(DynamoDbStore::new(
        clients.dynamodb,
        config.table_name.clone(),
        config.application_name.clone(),
        config.table.clone(),
    ));
    let parent_poll = config.coordination.parent_poll_interval;
    let fleet = Fleet {
        leases: store.clone(),
        state: store.clone(),
        catalog: kinesis,
        clock: clock.clone(),
        host: Arc::new(Machine::new(&config.surroundings)),
        config: config.coordination,
        initial: config.initial_position,
        me: config.worker_id,
    };
    let consumers = Shared {
        leases: store,
        source,
        launcher,
        compatibility: config.compatibility,
        progress,
        parent_poll,
        application: config.application_name,
        stream: config.stream_name,
        clock: clock.clone(),
        read_ahead: PrefetchLimits::of(&config.retrieval, budget(config.buffer_bytes)),
        ended: Notify::new(),
        processing: config.processing.clone(),
        dead_letters,
    };
    let consumers = Arc::new(consumers);
    Ok(Worker { fleet, consumers, threads, grace: config.processing.shutdown_grace })
}

/// What keeps dead letters, where they are asked for.
fn dead_letters(on_poison: &OnPoison, clients: &aws::Clients) -> anyhow::Result<Option<Arc<dyn Target>>> {
    Ok(match (on_poison, &clients.dead_letters) {
        (OnPoison::Stop | OnPoison::Skip, _) => None,
        (OnPoison::DeadLetter(DeadLetters::File(path)), _) => Some(Arc::new(LetterFile::new(path.clone()))),
        (OnPoison::DeadLetter(_), Some(keeper)) => Some(keeper.clone()),
        (OnPoison::DeadLetter(target), None) => {
            bail!("{target} is not there in a demo; write dead letters to a file (multilangd.deadLetterFile)")
        }
    })
}

/// What all shards may keep in memory together.
fn budget(configured: Option<usize>) -> Arc<Budget> {
    let memory = memory::limit(Path::new("/"));
    let bytes = configured.unwrap_or_else(|| buffer_bytes_within(memory));
    debug!(bytes, ?memory, "bytes that all shards may hold together");
    Budget::new(bytes)
}

/// Java's children are not on a leash, and hear ASCII where the locale is no better.
fn launcher(config: &Config) -> Result<Arc<dyn ChildLauncher>, LaunchError> {
    let launcher = ProcessLauncher::new(config.command.clone());
    launcher.validate()?;
    if config.compatibility == Compatibility::Safe {
        return Ok(Arc::new(launcher));
    }
    let launcher = launcher.with_leash(Leash::Loose);
    if is_locale_ascii(|name| std::env::var(name).ok()) {
        return Ok(Arc::new(AsciiLauncher(launcher)));
    }
    Ok(Arc::new(launcher))
}

async fn source(
    config: &Config,
    kinesis: &Arc<Kinesis>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn RecordSource>> {
    reach(kinesis, config.coordination.initialization_backoff).await.with_context(|| {
        let place = place(config.kinesis_endpoint.as_deref(), "kinesisEndpoint", config);
        format!("stream `{}` cannot be read {place}", config.stream_name)
    })?;
    Ok(match &config.retrieval {
        Retrieval::Polling(polling) => {
            let limits = read_limits(std::env::var(READ_LIMITS).ok().as_deref());
            info!(idle = ?polling.idle, max_records = polling.max_records, "reading by polling (GetRecords)");
            Arc::new(
                PollingSource::new(kinesis.clone(), polling.clone(), config.initial_position, clock.clone())
                    .in_the_way_of(config.compatibility)
                    .with_limits(limits),
            )
        }
        Retrieval::FanOut(fan_out) => {
            info!(
                consumer = fan_out.consumer_name,
                "reading by enhanced fan-out, which AWS bills by consumer and shard; retrievalMode = POLLING turns it off"
            );
            let arn = consumer_arn(kinesis, fan_out).await?;
            Arc::new(
                FanOutSource::new(kinesis.clone(), arn, config.initial_position, clock.clone())
                    .in_the_way_of(config.compatibility),
            )
        }
    })
}

/// The service's limits, or none for measuring against a stand-in that has none. No key of the file, because nobody
/// who reads a real stream gains by it: the service would refuse what goes beyond.
fn read_limits(variable: Option<&str>) -> ReadLimits {
    match variable {
        Some("none") => {
            warn!("{READ_LIMITS} = none: shards are read without pauses; for measurements against a stand-in only");
            ReadLimits::NONE
        }
        Some(_) | None => ReadLimits::SERVICE,
    }
}

/// Where a service was looked for, for messages.
fn place(endpoint: Option<&str>, key: &str, config: &Config) -> String {
    match (endpoint, &config.region) {
        (Some(url), _) => format!("at `{url}`; check {key} in `{}`", config.source.display()),
        (None, Some(region)) => format!("in region `{region}`; check regionName in `{}`", config.source.display()),
        (None, None) => "in the region of this machine".to_owned(),
    }
}

/// Waits until the stream answers, as long as the worker's own start may take.
async fn reach(kinesis: &Kinesis, pause: Duration) -> Result<(), StreamError> {
    let deadline = Instant::now() + pause * START_ATTEMPTS;
    loop {
        match kinesis.describe_summary().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                warn!(error = %chain(&error), "the stream cannot be reached yet, trying on");
            }
            Err(error) => return Err(error),
        }
        sleep(pause).await;
    }
}
