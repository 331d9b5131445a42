//! SigV4 of requests that differ in body, time and keys alone. Decides nothing about keys or time.
//!
//! The SDK's signer takes half of the time of a request apart and puts it together again; here what stays the same is put
//! together once. It counts only once it has given the SDK's own signature of the SDK's own request ([`Form::confirms`]).
//!
//! Source: AWS IAM user guide, "Create a signed AWS API request".

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const LAST: &str = "aws4_request";
pub(super) const AUTHORIZATION: &str = "authorization";
pub(super) const DATE: &str = "x-amz-date";
pub(super) const TOKEN: &str = "x-amz-security-token";
pub(super) const LENGTH: &str = "content-length";

/// A line of what is signed.
#[derive(Debug, PartialEq)]
enum Line {
    Fixed(String),
    Length,
    Date,
    Token,
}

/// What is the same in all requests of a route.
#[derive(Debug)]
pub(super) struct Form {
    region: String,
    service: String,
    /// Method, path, and no query.
    head: String,
    lines: Vec<Line>,
    /// Of the signed headers.
    names: String,
    /// The SDK's request from which this was learned.
    sample: Sample,
}

#[derive(Debug)]
struct Sample {
    key_id: String,
    date: String,
    body: Vec<u8>,
    authorization: String,
}

/// What is the same in all requests of a second.
pub(super) struct Seal {
    date: String,
    token: Option<String>,
    /// The key, which has taken in what comes before the hash of a request.
    begun: Hmac<Sha256>,
    /// The header's value up to the signature.
    header: String,
}

/// Whose keys.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
    pub(super) token: Option<&'a str>,
}

impl Form {
    /// From a signed request with this path; `None` if it is not signed in its headers, or in a way that is not known.
    pub(super) fn of(sent: &HttpRequest, path: &str) -> Option<Self> {
        let header = |name| sent.headers().get(name);
        let authorization = header(AUTHORIZATION)?;
        let mut parts = authorization.strip_prefix(ALGORITHM)?.trim_start().split(", ");
        let mut scope = parts.next()?.strip_prefix("Credential=")?.rsplitn(5, '/');
        let (last, service, region) = (scope.next()?, scope.next()?, scope.next()?);
        let (_day, key_id) = (scope.next()?, scope.next()?);
        let names = parts.next()?.strip_prefix("SignedHeaders=")?;
        let line = |name| match name {
            LENGTH => Some(Line::Length),
            DATE => Some(Line::Date),
            TOKEN => Some(Line::Token),
            "host" => Some(Line::Fixed(format!("host:{}\n", host(sent.uri())?))),
            name if name.starts_with("amz-sdk-") => None, // of one request, and not repeated
            name => Some(Line::Fixed(format!("{name}:{}\n", header(name)?.trim()))),
        };
        let sample = Sample {
            key_id: key_id.to_owned(),
            date: header(DATE)?.to_owned(),
            body: sent.body().bytes()?.to_vec(),
            authorization: authorization.to_owned(),
        };
        (last == LAST).then_some(())?;
        Some(Self {
            region: region.to_owned(),
            service: service.to_owned(),
            head: format!("{}\n{path}\n\n", sent.method()),
            lines: names.split(';').map(line).collect::<Option<_>>()?,
            names: names.to_owned(),
            sample,
        })
    }

    /// When the sample was signed, as its header says.
    pub(super) fn sample_date(&self) -> &str {
        &self.sample.date
    }

    /// Whether with these keys the sample gets the signature that it got from the SDK.
    pub(super) fn confirms(&self, keys: Keys<'_>) -> bool {
        let Sample { key_id, date, body, authorization } = &self.sample;
        let again = || self.seal(keys, date).map(|seal| seal.authorization(self, body));
        key_id == keys.id && again().as_deref() == Some(authorization)
    }

    /// For the requests of one moment, `date` as in the header; `None` if such keys need other headers.
    pub(super) fn seal(&self, keys: Keys<'_>, date: &str) -> Option<Seal> {
        let day = date.get(..8).filter(|_| keys.token.is_some() == self.lines.contains(&Line::Token))?;
        let Self { region, service, names, .. } = self;
        let mut key = format!("AWS4{}", keys.secret).into_bytes();
        for part in [day, region, service, LAST] {
            let mut hash = keyed(&key)?;
            hash.update(part.as_bytes());
            key = hash.finalize().into_bytes().to_vec();
        }
        let mut begun = keyed(&key)?;
        begun.update(format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/{LAST}\n").as_bytes());
        let scope = format!("{}/{day}/{region}/{service}/{LAST}", keys.id);
        let header = format!("{ALGORITHM} Credential={scope}, SignedHeaders={names}, Signature=");
        Some(Seal { date: date.to_owned(), token: keys.token.map(str::to_owned), begun, header })
    }
}

impl Seal {
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The header `authorization` of a request with this body.
    pub(super) fn authorization(&self, form: &Form, body: &[u8]) -> String {
        let mut request = Sha256::new();
        request.update(&form.head);
        for line in &form.lines {
            match line {
                Line::Fixed(line) => request.update(line),
                Line::Length => request.update(format!("{LENGTH}:{}\n", body.len())),
                Line::Date => pair(&mut request, DATE, &self.date),
                Line::Token => pair(&mut request, TOKEN, self.token().unwrap_or_default()),
            }
        }
        request.update("\n");
        request.update(&form.names);
        request.update("\n");
        request.update(hex(&Sha256::digest(body).into()));
        let mut hash = self.begun.clone();
        hash.update(&hex(&request.finalize().into()));
        let mut header = String::with_capacity(self.header.len() + 64);
        header.push_str(&self.header);
        header.extend(hex(&hash.finalize().into_bytes().into()).map(char::from));
        header
    }
}

fn pair(hash: &mut Sha256, name: &str, value: &str) {
    for part in [name, ":", value, "\n"] {
        hash.update(part);
    }
}

/// HMAC takes keys of any length, so this is never `None`.
fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(key).ok()
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

/// As HTTP clients write it: without the port that its scheme has anyway.
fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    let usual = if scheme == "https" { ":443" } else { ":80" };
    Some(host.strip_suffix(usual).unwrap_or(host))
}
