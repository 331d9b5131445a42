//! Where poison records are written down (`multilangd.onPoison = deadLetter`): one target out of four. Pure.

use std::fmt;
use std::path::PathBuf;

use super::report::{Report, Stage};
use super::{arn, uri};

/// A file on this machine.
pub(super) const FILE: &str = "multilangd.deadLetterFile";
/// An SQS queue, by its URL.
pub(super) const QUEUE: &str = "multilangd.deadLetterQueue";
/// An S3 bucket, and the beginning of the objects' keys.
pub(super) const S3: &str = "multilangd.deadLetterS3";
/// A Kinesis stream, by name or ARN.
pub(super) const STREAM: &str = "multilangd.deadLetterStream";
/// All of them; a file names one.
pub(super) const KEYS: [&str; 4] = [FILE, QUEUE, S3, STREAM];

/// Bytes of an S3 key (Source: S3 API, object keys); what follows the prefix takes at most 250 of them.
const LONGEST_PREFIX: usize = 1024 - 250;

/// Where poison records are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// `multilangd.deadLetterFile`.
    File(PathBuf),
    /// `multilangd.deadLetterQueue`.
    Queue(Queue),
    /// `multilangd.deadLetterS3`.
    S3(S3Prefix),
    /// `multilangd.deadLetterStream`.
    Stream(LetterStream),
}

/// An SQS queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// As the file has it.
    pub url: String,
    /// Scheme and authority of the URL, where the service is.
    pub endpoint: String,
    /// As the host of the URL names it; not every host does.
    pub region: Option<String>,
}

impl Queue {
    /// Whether letters need a group and an identity, by which the queue leaves out repeats.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }
}

/// A bucket and the beginning of keys in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Prefix {
    /// The bucket.
    pub bucket: String,
    /// Empty, or ends in `/`.
    pub prefix: String,
}

/// A Kinesis stream that letters are put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterStream {
    /// Its name.
    pub name: String,
    /// Its ARN and the region in it, if the file has the ARN.
    pub arn: Option<(String, String)>,
}

impl fmt::Display for DeadLetters {
    /// Key and value, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.key(), self.value())
    }
}

impl DeadLetters {
    /// The key that names the target.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::File(_) => FILE,
            Self::Queue(_) => QUEUE,
            Self::S3(_) => S3,
            Self::Stream(_) => STREAM,
        }
    }

    /// The value of that key.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Queue(queue) => queue.url.clone(),
            Self::S3(S3Prefix { bucket, prefix }) => format!("s3://{bucket}/{prefix}"),
            Self::Stream(LetterStream { name, arn }) => arn.as_ref().map_or(name, |(arn, _)| arn).clone(),
        }
    }
}

/// Reads the one target that the file names. `None` after a fault.
pub(super) fn read(given: &[(&'static str, &str)], needed_by: &str, report: &mut Report) -> Option<DeadLetters> {
    let [(key, value)] = given else {
        let message = match given {
            [] => format!("`{needed_by}` needs a place for letters; give one of {}", KEYS.join(", ")),
            more => {
                let named: Vec<_> = more.iter().map(|(key, _)| format!("`{key}`")).collect();
                format!("{} are given, and letters go to one place; remove all but one", named.join(" and "))
            }
        };
        report.fault(Stage::Load, given.first().map_or(KEYS[0], |(key, _)| key), message);
        return None;
    };
    let target = match *key {
        QUEUE => queue(value).map(DeadLetters::Queue),
        S3 => s3(value).map(DeadLetters::S3),
        STREAM => stream(value).map(DeadLetters::Stream),
        _ if value.is_empty() => Err("the path of a file".to_owned()),
        _ => Ok(DeadLetters::File(value.into())),
    };
    target
        .map_err(|expected| {
            let message = format!("`{key} = {value}`: expected {expected}; correct the value");
            report.fault(Stage::Load, key, message);
        })
        .ok()
}

fn queue(url: &str) -> Result<Queue, String> {
    let expected = "the URL of a queue, as https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
    let scheme = uri::scheme(url).ok().flatten().filter(|scheme| matches!(scheme.as_str(), "http" | "https"));
    let rest = scheme.as_deref().and_then(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"));
    let parts = rest.and_then(|rest| rest.split_once('/'));
    let (Some(scheme), Some((authority, path))) = (scheme, parts) else { return Err(expected.to_owned()) };
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if authority.is_empty() || authority.contains('@') || stem.is_empty() || !stem.bytes().all(fits) {
        return Err(expected.to_owned());
    }
    let host = authority.split(':').next().unwrap_or_default();
    Ok(Queue { url: url.to_owned(), endpoint: format!("{scheme}://{authority}"), region: region_of(host) })
}

/// `sqs.REGION.…`, `sqs-fips.REGION.…`, `ENDPOINT.sqs.REGION.vpce.…`, `REGION.queue.…`.
fn region_of(host: &str) -> Option<String> {
    let labels: Vec<&str> = host.split('.').collect();
    let pairs = labels.windows(2).map(|two| (two[0], two[1]));
    let mut named = pairs.filter_map(|pair| match pair {
        ("sqs" | "sqs-fips", region) | (region, "queue") => Some(region),
        _ => None,
    });
    named.find(|label| label.contains('-') && label.ends_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

fn s3(url: &str) -> Result<S3Prefix, String> {
    let Some(rest) = url.strip_prefix("s3://") else { return Err("s3://BUCKET/PREFIX/".to_owned()) };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edges = |text: &str| text.starts_with(['-', '.']) || text.ends_with(['-', '.']);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) || edges(bucket) || bucket.contains("..") {
        return Err("a bucket of 3 to 63 small letters, digits, `-` and `.`, as s3://BUCKET/PREFIX/".to_owned());
    }
    if prefix.contains(char::is_control) {
        return Err("a prefix without control characters, which lists of keys cannot hold".to_owned());
    }
    let mut prefix = prefix.to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    let folders = prefix.strip_suffix('/').map(|whole| whole.split('/')).into_iter().flatten();
    if folders.into_iter().any(|folder| matches!(folder, "" | "." | "..")) {
        return Err("a prefix without empty parts and parts that are `.` or `..`".to_owned());
    }
    if prefix.len() > LONGEST_PREFIX {
        return Err(format!("a prefix of at most {LONGEST_PREFIX} bytes"));
    }
    Ok(S3Prefix { bucket: bucket.to_owned(), prefix })
}

fn stream(text: &str) -> Result<LetterStream, String> {
    if text.starts_with("arn:") {
        let name = arn::stream_name(text).map_err(|_| "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME".to_owned())?;
        let region = text.split(':').nth(3).unwrap_or_default().to_owned();
        return Ok(LetterStream { name, arn: Some((text.to_owned(), region)) });
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(fits) {
        return Err("the name of a stream (letters, digits, `_`, `.`, `-`), or its ARN".to_owned());
    }
    Ok(LetterStream { name: text.to_owned(), arn: None })
}

/// Whether letters would go into the stream that is read, where each would be poison again.
pub(super) fn is_read(target: &LetterStream, stream: &str, stream_arn: Option<&str>) -> bool {
    match (&target.arn, stream_arn) {
        (Some((arn, _)), Some(read)) => arn == read,
        (Some(_), None) => false, // the same name may be another region's or account's
        (None, _) => target.name == stream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_where_its_url_says() {
        let table = [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/dead", Some("eu-west-1"), false),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/dead.fifo", Some("us-gov-west-1"), true),
            ("https://vpce-1-x.sqs.us-east-2.vpce.amazonaws.com/1/dead", Some("us-east-2"), false),
            ("https://us-west-2.queue.amazonaws.com/1/dead", Some("us-west-2"), false),
            ("https://queue.amazonaws.com/1/dead", None, false),
            ("https://sqs.amazonaws.com/1/dead", None, false),
            ("http://localhost:4566/000000000000/dead_2.fifo", None, true),
        ];
        for (url, region, is_fifo) in table {
            let found = queue(url).unwrap();
            assert_eq!((found.region.as_deref(), found.is_fifo()), (region, is_fifo), "{url}");
            assert!(url.starts_with(&format!("{}/", found.endpoint)), "{url}: {}", found.endpoint);
        }
        for url in [
            "",
            "dead",
            "https://sqs.eu-west-1.amazonaws.com",
            "https://sqs.eu-west-1.amazonaws.com/",
            "https://sqs.eu-west-1.amazonaws.com/1/",
            "https:///1/dead",
            "ftp://host/1/dead",
            "https://user:secret@host/1/dead",
            "https://host/1/dead?x=y",
            "https://host/1/.fifo",
            "https://host/1/two words",
            "arn:aws:sqs:us-east-1:1:dead",
        ] {
            assert!(queue(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_prefix_is_a_folder() {
        let parsed = |url: &str| s3(url).map(|S3Prefix { bucket, prefix }| (bucket, prefix));
        let table = [
            ("s3://letters", "letters", ""),
            ("s3://letters/", "letters", ""),
            ("s3://my.letters-2/a/b", "my.letters-2", "a/b/"),
            ("s3://letters/app=orders/", "letters", "app=orders/"),
            ("s3://letters/a b+c~d:\u{fc}%20", "letters", "a b+c~d:\u{fc}%20/"),
        ];
        for (url, bucket, prefix) in table {
            assert_eq!(parsed(url), Ok((bucket.to_owned(), prefix.to_owned())), "{url}");
        }
        let long = format!("s3://letters/{}", "x".repeat(LONGEST_PREFIX));
        for url in [
            "letters/x",
            "s3://",
            "s3://ab/x",
            "s3://Letters/x",
            "s3://-letters/x",
            "s3://let..ters/x",
            "s3://letters/a\tb",
            "s3://letters/a\u{7f}",
            "s3://letters//",
            "s3://letters/a//b",
            "s3://letters/../b",
            &long,
        ] {
            assert!(parsed(url).is_err(), "{url}");
        }
    }

    #[test]
    fn letters_do_not_go_into_the_stream_that_is_read() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        let by_arn = stream(arn).unwrap();
        assert_eq!((by_arn.name.as_str(), by_arn.arn.clone().unwrap().1.as_str()), ("orders", "eu-west-1"));
        let by_name = stream("orders").unwrap();
        assert!(is_read(&by_name, "orders", None) && is_read(&by_name, "orders", Some(arn)));
        assert!(is_read(&by_arn, "orders", Some(arn)) && !is_read(&by_arn, "orders", None));
        assert!(!is_read(&by_name, "orders2", None));
        for text in ["", "two words", "arn:aws:sqs:eu-west-1:123456789012:stream/x", &"x".repeat(129)] {
            assert!(stream(text).is_err(), "{text}");
        }
    }
}
