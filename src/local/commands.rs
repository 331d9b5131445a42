//! The commands `multilangd local` and `multilangd put`.

use std::io::{self, BufRead as _, Write as _, stdin, stdout};
use std::time::Duration;

use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connect;
use super::error::LocalError;
use super::put::{MOST_BYTES, MOST_RECORDS, Putter, Record, line, words};
use super::streams::{create_stream, wait_until_active};
use super::{Backend, Options};

/// Lines that came within this time go together; longer would show as lag when somebody types.
const GATHER: Duration = Duration::from_millis(100);
/// The service's limit of shards in the larger regions; more is a typing error.
const MOST_SHARDS: u16 = 500;

/// Arguments of `multilangd local`.
#[derive(Clone, Debug, clap::Args)]
pub struct LocalArgs {
    /// Port of the Kinesis API, 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 4567)]
    pub kinesis_port: u16,
    /// Port of the DynamoDB API, 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub dynamodb_port: u16,
    /// Stream to make at the start, such as words:4; may be given several times
    #[arg(long = "stream", value_name = "NAME:SHARDS")]
    pub streams: Vec<String>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
}

/// Arguments of `multilangd put`.
#[derive(Clone, Debug, clap::Args)]
pub struct PutArgs {
    /// Stream to write to
    #[arg(long, value_name = "NAME")]
    pub stream: String,
    /// Endpoint of the Kinesis API, such as http://127.0.0.1:4567; without it, the service of the region
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of the stream; without it, that of the environment or profile
    #[arg(long)]
    pub region: Option<String>,
    /// Write this many words instead of the lines of standard input
    #[arg(long, value_name = "N")]
    pub words: Option<usize>,
    /// Partition key of every record; without it, a random one a line, or the word itself
    #[arg(long, value_name = "KEY")]
    pub partition_key: Option<String>,
    /// Records a second at most
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
}

/// Serves both APIs until SIGTERM or SIGINT.
///
/// # Errors
/// A stream is not NAME:SHARDS, a port is taken, a stream cannot be made or standard output is closed.
pub async fn run_local(args: LocalArgs) -> Result<(), LocalError> {
    let streams = args.streams.iter().map(|text| parse_stream(text)).collect::<Result<Vec<_>, _>>()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(LocalError::Serve)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(LocalError::Serve)?;
    let options = Options {
        host: args.host,
        kinesis_port: args.kinesis_port,
        dynamodb_port: args.dynamodb_port,
        ..Options::default()
    };
    let backend = Backend::start(options).await?;
    let client = aws_sdk_kinesis::Client::new(&connect::local_config(&backend.kinesis_url()));
    for (name, shards) in streams {
        create_stream(&client, name, shards).await?;
    }
    print(&usage(&backend.kinesis_url(), &backend.dynamodb_url()))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    backend.stop().await;
    Ok(())
}

/// What `multilangd local` prints; scripts read the first two lines.
fn usage(kinesis: &str, dynamodb: &str) -> String {
    let region = connect::LOCAL_REGION;
    format!(
        "kinesis {kinesis}\n\
         dynamodb {dynamodb}\n\
         \n\
         any credentials, region {region}; data lives in memory; stop with Ctrl-C\n\
         AWS CLI          aws --endpoint-url {kinesis} --region {region} kinesis list-streams\n\
         boto3            boto3.client(\"kinesis\", endpoint_url=\"{kinesis}\", region_name=\"{region}\")\n\
         kcl.properties   kinesisEndpoint = {kinesis}\n\
         \x20                dynamoDBEndpoint = {dynamodb}\n\
         \x20                regionName = {region}\n"
    )
}

fn parse_stream(text: &str) -> Result<(&str, u16), LocalError> {
    let parse = || {
        let (name, shards) = text.split_once(':')?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let shards = shards.parse().ok().filter(|shards| (1..=MOST_SHARDS).contains(shards))?;
        ((1..=128).contains(&name.len()) && name.bytes().all(is_name)).then_some((name, shards))
    };
    parse().ok_or_else(|| LocalError::BadStream(text.to_owned()))
}

/// Writes words or the lines of standard input to a stream and prints how many went where.
///
/// # Errors
/// The endpoint does not answer, the stream is not there, there are no credentials, or records are refused.
pub async fn run_put(args: PutArgs) -> Result<(), LocalError> {
    if args.rate == Some(0) {
        let (value, expected) = ("0".to_owned(), "at least 1 record a second");
        return Err(LocalError::BadValue { option: "--rate", value, expected });
    }
    let client = connect::kinesis(args.endpoint.as_deref(), args.region.as_deref()).await?;
    let endpoint = args.endpoint.clone();
    let name_endpoint = |error: LocalError| error.at(endpoint.as_deref().unwrap_or("of the region's Kinesis"));
    wait_until_active(&client, &args.stream).await.map_err(&name_endpoint)?;
    let mut put = Put::new(Putter::new(client, args.stream.clone()), args.rate);
    let key = args.partition_key.as_deref();
    let done = match args.words {
        Some(count) => put_words(&mut put, count, key).await,
        None => put_lines(&mut put, key).await,
    };
    done.map_err(name_endpoint)?;
    print(&format!("put {} records into {} shards\n", put.records, put.shards.len()))
}

/// Puts at most so many records a second and counts.
struct Put {
    putter: Putter,
    rate: Option<u32>,
    begin: Instant,
    records: usize,
    shards: std::collections::BTreeSet<crate::types::ShardId>,
}

impl Put {
    fn new(putter: Putter, rate: Option<u32>) -> Self {
        Self { putter, rate, begin: Instant::now(), records: 0, shards: std::collections::BTreeSet::new() }
    }

    /// Records of one go: a tenth of a second's, so that a slow rate is even.
    fn most(&self) -> usize {
        let tenth = |rate: u32| usize::try_from(rate / 10).unwrap_or(usize::MAX);
        self.rate.map_or(MOST_RECORDS, |rate| tenth(rate).clamp(1, MOST_RECORDS))
    }

    async fn put(&mut self, records: Vec<Record>) -> Result<(), LocalError> {
        if let Some(rate) = self.rate {
            sleep_until(self.begin + Duration::from_secs_f64(self.records as f64 / f64::from(rate))).await;
        }
        let placed = self.putter.put(records).await?;
        self.records += placed.len();
        self.shards.extend(placed.into_iter().map(|place| place.shard));
        Ok(())
    }
}

async fn put_words(put: &mut Put, count: usize, key: Option<&str>) -> Result<(), LocalError> {
    let mut words = words(count).map(|(word, data)| (key.map_or(word, str::to_owned), data));
    loop {
        let batch: Vec<_> = words.by_ref().take(put.most()).collect();
        if batch.is_empty() {
            return Ok(());
        }
        put.put(batch).await?;
    }
}

/// Puts each line of standard input, without its line feed, until it ends.
async fn put_lines(put: &mut Put, key: Option<&str>) -> Result<(), LocalError> {
    let mut lines = stdin_lines()?;
    let record = |read: io::Result<Vec<u8>>| {
        let data = read.map_err(|error| LocalError::Stdio("input", error))?;
        Ok(line(Bytes::from(data), key))
    };
    while let Some(first) = lines.recv().await {
        let mut batch = vec![record(first)?];
        let mut bytes = batch[0].1.len();
        let until = Instant::now() + GATHER;
        while batch.len() < put.most() && bytes < MOST_BYTES {
            let Ok(Some(next)) = timeout_at(until, lines.recv()).await else { break };
            let next = record(next)?;
            bytes += next.1.len();
            batch.push(next);
        }
        put.put(batch).await?;
    }
    Ok(())
}

/// Lines of standard input, read by a thread of its own: a read cannot be cancelled, and the runtime would wait
/// for it when the command has already failed.
fn stdin_lines() -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, LocalError> {
    let (sender, lines) = mpsc::channel(MOST_RECORDS);
    let read = move || {
        for line in stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                break; // the command is over
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)
        .map_err(|error| LocalError::Stdio("input", error))?;
    Ok(lines)
}

fn print(text: &str) -> Result<(), LocalError> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| LocalError::Stdio("output", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_name_and_a_number_of_shards() {
        assert_eq!(parse_stream("words.v2_x-1:500").unwrap(), ("words.v2_x-1", 500));
        for bad in ["", "words", "words:", ":4", "words:0", "words:501", "words:-1", "wo rds:1", "a:b:1", "wörter:1"] {
            let message = parse_stream(bad).unwrap_err().to_string();
            assert!(message.contains(&format!("`{bad}`")), "{message}");
        }
    }

    #[test]
    fn scripts_read_the_endpoints_from_the_first_two_lines() {
        let text = usage("http://127.0.0.1:1", "http://127.0.0.1:2");
        let lines: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(lines, ["kinesis http://127.0.0.1:1", "dynamodb http://127.0.0.1:2"]);
    }
}
