//! A stand-in for Kinesis that costs next to nothing, for measurements of a consumer: every shard holds the same
//! records, made while an answer is written. HTTP/1.1 and JSON; it knows what a polling worker asks, and subscriptions
//! to shards without records: an event every five seconds, and an end after five minutes, as of the service.
//!
//!   kinesis --port N [--stream bench] [--shards 1] [--records 1000000] [--size 1024] [--limit 10000]
//!           [--bytes 10485760] [--pause-ms 0] [--log FILE]
//!
//! `--records` a shard, `--limit` records and `--bytes` of data an answer at most; `--pause-ms` is slept before each
//! answer; each answer with records is written down in FILE: nanoseconds since 1970 when its last byte was handed to
//! the system, records.
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// Between two events of a shard without records. Source: RETRIEVAL.md section 2.
const EVENTS_EVERY: Duration = Duration::from_secs(5);
/// How many of them a subscription has.
const EVENTS: u32 = 60;

struct Stream {
    name: String,
    shards: u128,
    records: u64,
    size: u64,
    limit: u64,
    bytes: u64,
    pause: Duration,
    /// Base64 of a record's data.
    data: String,
    log: Option<Mutex<File>>,
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let all = three.iter().chain(&[0, 0]).take(3).fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        let digit = move |place: usize| if place > three.len() { '=' } else { char::from(DIGITS[all >> (18 - 6 * place) & 63]) };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// The text or number behind a name in a flat JSON object.
fn member<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let rest = body.split_once(&format!("\"{name}\":"))?.1.trim_start();
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next().map(str::trim),
    }
}

fn number(shard: u128, record: u64) -> String {
    format!("4968{shard:08}{record:044}")
}

/// Source: the event stream encoding of the AWS SDKs.
fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers {
        named.push(name.len() as u8);
        named.extend_from_slice(name.as_bytes());
        named.push(7); // a text
        named.extend_from_slice(&(value.len() as u16).to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| (bytes as u32).to_be_bytes();
    let mut frame = [length(16 + named.len() + payload.len()), length(named.len())].concat();
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame
}

/// CRC32.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ 0xedb8_8320 & (sum & 1).wrapping_neg())
    })
}

impl Stream {
    fn consumer(&self, part: &str) -> String {
        format!(
            r#"{{"{part}":{{"ConsumerName":"c","ConsumerARN":"arn:aws:kinesis:us-east-1:000000000000:stream/{0}/consumer/c:1","ConsumerStatus":"ACTIVE","ConsumerCreationTimestamp":1700000000,"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/{0}"}}}}"#,
            self.name
        )
    }

    /// Writes a subscription until its end.
    fn subscription(&self, body: &str, socket: &mut TcpStream) -> std::io::Result<()> {
        let shard = member(body, "ShardId").and_then(|id| id.strip_prefix("shardId-")?.parse().ok()).unwrap_or(0);
        let payload = format!(
            r#"{{"Records":[],"ContinuationSequenceNumber":"{}","MillisBehindLatest":0}}"#,
            number(shard, self.records)
        );
        let event = [(":event-type", "SubscribeToShardEvent"), (":content-type", "application/x-amz-json-1.1"), (":message-type", "event")];
        let event = frame(&event, &payload);
        let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
        chunk.extend_from_slice(&event);
        chunk.extend_from_slice(b"\r\n");
        write!(socket, "HTTP/1.1 200 X\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..EVENTS {
            socket.write_all(&chunk)?;
            std::thread::sleep(EVENTS_EVERY);
        }
        socket.write_all(b"0\r\n\r\n")
    }

    fn summary(&self) -> String {
        format!(
            r#"{{"StreamDescriptionSummary":{{"StreamName":"{0}","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/{0}","StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000,"EnhancedMonitoring":[],"OpenShardCount":{1}}}}}"#,
            self.name, self.shards
        )
    }

    fn list(&self) -> String {
        let part = u128::MAX / self.shards;
        let shard = |index: u128| {
            let end = if index + 1 == self.shards { u128::MAX } else { part * (index + 1) - 1 };
            format!(
                r#"{{"ShardId":"shardId-{index:012}","HashKeyRange":{{"StartingHashKey":"{}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"{}"}}}}"#,
                part * index,
                number(index, 0)
            )
        };
        format!(r#"{{"Shards":[{}]}}"#, (0..self.shards).map(shard).collect::<Vec<_>>().join(","))
    }

    fn iterator(&self, body: &str) -> Option<String> {
        let shard: u128 = member(body, "ShardId")?.strip_prefix("shardId-")?.parse().ok()?;
        let at = || member(body, "StartingSequenceNumber")?.get(12..)?.parse::<u64>().ok();
        let from = match member(body, "ShardIteratorType")? {
            "AT_SEQUENCE_NUMBER" => at()?.max(1),
            "AFTER_SEQUENCE_NUMBER" => at()? + 1,
            "LATEST" => self.records + 1,
            _ => 1,
        };
        Some(format!(r#"{{"ShardIterator":"{shard}:{from}"}}"#))
    }

    /// Writes an answer of GetRecords; how many records it has.
    fn records(&self, body: &str, out: &mut Vec<u8>) -> Option<u64> {
        let (shard, from) = member(body, "ShardIterator")?.split_once(':')?;
        let (shard, from): (u128, u64) = (shard.parse().ok()?, from.parse().ok()?);
        let asked = member(body, "Limit").and_then(|limit| limit.parse().ok()).unwrap_or(10_000);
        let most = self.limit.min(asked).min((self.bytes / self.size.max(1)).max(1));
        let end = (from + most).min(self.records + 1).max(from);
        let behind = if end > self.records { 0 } else { 1000 };
        let _ = write!(out, r#"{{"MillisBehindLatest":{behind},"NextShardIterator":"{shard}:{end}","Records":["#);
        for record in from..end {
            out.extend_from_slice(if record > from { b",{\"ApproximateArrivalTimestamp\":1.7E9,\"Data\":\"" } else { b"{\"ApproximateArrivalTimestamp\":1.7E9,\"Data\":\"" });
            out.extend_from_slice(self.data.as_bytes());
            let _ = write!(out, r#"","PartitionKey":"pk{record}","SequenceNumber":"{}"}}"#, number(shard, record));
        }
        out.extend_from_slice(b"]}");
        Some(end - from)
    }

    fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let mut input = BufReader::new(socket.try_clone()?);
        let (mut line, mut body, mut out) = (String::new(), Vec::new(), Vec::new());
        loop {
            let (mut length, mut target) = (0, String::new());
            loop {
                line.clear();
                if input.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let Some((name, value)) = line.split_once(':') else {
                    if line.trim().is_empty() { break } else { continue }
                };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    "x-amz-target" => target = value.trim().rsplit('.').next().unwrap_or("").to_owned(),
                    _ => {}
                }
            }
            body.resize(length, 0);
            input.read_exact(&mut body)?;
            let asked = String::from_utf8_lossy(&body);
            out.clear();
            if target == "SubscribeToShard" {
                self.subscription(&asked, &mut socket)?;
                continue;
            }
            let mut count = 0;
            let text = match target.as_str() {
                "DescribeStreamSummary" => Some(self.summary()),
                "ListShards" => Some(self.list()),
                "DescribeStreamConsumer" => Some(self.consumer("ConsumerDescription")),
                "RegisterStreamConsumer" => Some(self.consumer("Consumer")),
                "GetShardIterator" => self.iterator(&asked),
                "GetRecords" => self.records(&asked, &mut out).map(|records| {
                    count = records;
                    String::new()
                }),
                _ => None,
            };
            let status = if text.is_some() { 200 } else { 400 };
            let text = text.unwrap_or_else(|| r#"{"__type":"InvalidArgumentException"}"#.to_owned());
            out.extend_from_slice(text.as_bytes());
            if target == "GetRecords" {
                std::thread::sleep(self.pause);
            }
            write!(socket, "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n", out.len())?;
            socket.write_all(&out)?;
            if let Some(log) = self.log.as_ref().filter(|_| count > 0) {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
                writeln!(log.lock().expect("nobody panics"), "{now} {count}")?;
            }
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1)).cloned();
    let count = |name: &str, default: u64| given(name).map_or(default, |text| text.parse().expect("a number"));
    let size = count("--size", 1024);
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let data: Vec<u8> = (0..size)
        .map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .collect();
    let stream = Arc::new(Stream {
        name: given("--stream").unwrap_or_else(|| "bench".to_owned()),
        shards: count("--shards", 1).into(),
        records: count("--records", 1_000_000),
        size,
        limit: count("--limit", 10_000),
        bytes: count("--bytes", 10 << 20),
        pause: Duration::from_millis(count("--pause-ms", 0)),
        data: base64(&data),
        log: given("--log").map(|path| Mutex::new(File::create(path).expect("the log can be written"))),
    });
    let port = u16::try_from(count("--port", 0)).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for socket in listener.incoming().flatten() {
        let stream = Arc::clone(&stream);
        std::thread::spawn(move || stream.serve(socket));
    }
}
