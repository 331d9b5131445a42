//! Letters into an S3 bucket, an object each. A letter that comes again takes the place of the first.

use std::sync::{Arc, Mutex, PoisonError};

use md5::Digest as _;

use super::signed::{Answer, Ask, Service, Signed, configured_endpoint};
use super::{Look, Means, unknown};
use crate::config::dead_letters::S3Prefix;
use crate::poison::letter::Letter;

const PUT: Service = Service { id: "S3", signing_name: "s3", operation: "PutObject" };
/// Characters of a path that stand for themselves (Source: SigV4, canonical URI).
const UNRESERVED: &[u8] = b"-_.~/";

/// One bucket.
#[derive(Debug)]
pub struct S3 {
    to: S3Prefix,
    means: Means,
    /// Where the bucket is, as far as S3 has told.
    place: Mutex<Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    region: String,
    /// Empty, or `/BUCKET`.
    path: String,
    service: Signed,
}

impl Place {
    fn new(bucket: &str, region: &str, means: &Means) -> Self {
        let (endpoint, path) = match configured_endpoint(PUT, means) {
            Some(endpoint) => (endpoint, format!("/{bucket}")),
            None => {
                let fips = means.base.use_fips().unwrap_or_default();
                address(bucket, region, fips, means.base.use_dual_stack().unwrap_or_default())
            }
        };
        Self { region: region.to_owned(), path, service: Signed::new(PUT, &endpoint, region, means) }
    }
}

impl S3 {
    pub(super) fn new(to: &S3Prefix, means: &Means) -> Self {
        let home = Place::new(&to.bucket, &means.region, means);
        Self { to: to.clone(), means: means.clone(), place: Mutex::new(Arc::new(home)) }
    }

    /// # Errors
    /// One sentence.
    pub(super) async fn store(&self, letter: &Letter<'_>) -> Result<(), String> {
        let body = letter.line();
        let key = encoded(&format!("/{}{}.json", self.to.prefix, letter.name()));
        // a bucket with object lock asks for it, and it tells S3 of bytes that were changed on the way
        let digest = base64_simd::STANDARD.encode_to_string(md5::Md5::digest(&body));
        let headers = vec![("content-type", "application/json".to_owned()), ("content-md5", digest)];
        let answer = self.ask("PUT", &key, &headers, &body).await?;
        // a proxy's page comes with 200, too
        if answer.is_success() && answer.has_etag { Ok(()) } else { Err(refusal(&answer)) }
    }

    /// Whether the bucket is there. A policy that lets letters in need not let this through.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn look(&self) -> Result<Look, String> {
        let answer = self.ask("HEAD", "", &[], &[]).await?;
        match answer.status {
            _ if answer.is_success() => Ok(Look::There),
            403 => Ok(Look::Untold),
            404 => Err(format!("bucket {} is not there; check its name", self.to.bucket)),
            status => Err(format!("S3 answered {status}")),
        }
    }

    async fn ask(
        &self,
        method: &'static str,
        key: &str,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let ask = |place: &Place| {
            let whole = format!("{}{key}", place.path);
            let path = if whole.is_empty() { "/".to_owned() } else { whole };
            Ask { method, path, headers: headers.to_vec(), body: body.to_vec() }
        };
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = place.service.send(ask(&place)).await?;
        let region = match region_in(&answer) {
            None if matches!(answer.status, 301 | 302 | 307) => {
                let path = if place.path.is_empty() { "/".to_owned() } else { place.path.clone() };
                let look = Ask { method: "HEAD", path, headers: Vec::new(), body: Vec::new() };
                place.service.send(look).await?.bucket_region
            }
            region => region,
        };
        match region {
            Some(region) if !answer.is_success() && region != place.region => {
                let place = Arc::new(Place::new(&self.to.bucket, &region, &self.means));
                *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place.clone();
                place.service.send(ask(&place)).await
            }
            Some(_) | None => Ok(answer),
        }
    }
}

/// Where S3 says that the bucket is: redirections have a header, a signature for another region is refused with an element.
///
/// Source: botocore `S3RegionRedirectorv2.get_bucket_region`, which asks for the bucket's head where neither is there.
fn region_in(answer: &Answer) -> Option<String> {
    let told =
        |element: &str| Some(text_in(&answer.body, [element])).map(|[text]| text).filter(|text| !text.is_empty());
    answer.bucket_region.clone().or_else(|| told("Region").filter(|_| answer.status == 400))
}

fn refusal(answer: &Answer) -> String {
    let [code, said] = text_in(&answer.body, ["Code", "Message"]);
    let cure = match code.as_str() {
        "" => return unknown("S3", answer.status, "AWS_ENDPOINT_URL_S3"),
        "AccessDenied" => "; allow s3:PutObject in the policy",
        "NoSuchBucket" => "; check the bucket's name",
        _ => "",
    };
    format!("S3 answered {} {code}: {said}{cure}", answer.status)
}

/// What these elements say; empty where they are not there (Source: S3 API, error responses).
fn text_in<const COUNT: usize>(xml: &[u8], names: [&str; COUNT]) -> [String; COUNT] {
    let text = String::from_utf8_lossy(xml);
    let document = roxmltree::Document::parse(&text).ok();
    names.map(|name| {
        let found = document.iter().flat_map(|document| document.descendants()).find(|node| node.has_tag_name(name));
        found.and_then(|node| node.text()).unwrap_or_default().to_owned()
    })
}

/// Endpoint, and the beginning of paths: empty where the bucket is part of the host, which a certificate does not cover
/// for names with dots.
fn address(bucket: &str, region: &str, fips: bool, dual_stack: bool) -> (String, String) {
    let fips = if fips { "-fips" } else { "" };
    let dual_stack = if dual_stack { ".dualstack" } else { "" };
    let host = format!("s3{fips}{dual_stack}.{region}.{}", domain(region));
    match bucket.contains('.') {
        true => (format!("https://{host}"), format!("/{bucket}")),
        false => (format!("https://{bucket}.{host}"), String::new()),
    }
}

/// Source: the SDK's table of partitions, `dnsSuffix`.
fn domain(region: &str) -> &'static str {
    const DOMAINS: [(&str, &str); 6] = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    DOMAINS.iter().find(|(begin, _)| region.starts_with(begin)).map_or("amazonaws.com", |(_, domain)| domain)
}

fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_part_of_the_host_unless_its_name_has_dots() {
        let table = [
            (("letters", "eu-west-1", false, false), ("https://letters.s3.eu-west-1.amazonaws.com", "")),
            (("my.letters", "eu-west-1", false, false), ("https://s3.eu-west-1.amazonaws.com", "/my.letters")),
            (
                ("letters", "us-gov-west-1", true, true),
                ("https://letters.s3-fips.dualstack.us-gov-west-1.amazonaws.com", ""),
            ),
            (("letters", "cn-north-1", false, false), ("https://letters.s3.cn-north-1.amazonaws.com.cn", "")),
            (("letters", "us-isob-east-1", false, false), ("https://letters.s3.us-isob-east-1.sc2s.sgov.gov", "")),
            (("letters", "eusc-de-east-1", false, false), ("https://letters.s3.eusc-de-east-1.amazonaws.eu", "")),
        ];
        for ((bucket, region, fips, dual_stack), (endpoint, path)) in table {
            assert_eq!(address(bucket, region, fips, dual_stack), (endpoint.to_owned(), path.to_owned()));
        }
    }

    #[test]
    fn a_key_is_encoded_as_signatures_have_it() {
        assert_eq!(encoded("/app=orders/it's(1)/a-b_c.d~.json"), "/app%3Dorders/it%27s%281%29/a-b_c.d~.json");
    }

    #[test]
    fn a_refusal_is_read_and_no_xml_is_no_reason() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>no &amp; no</Message></Error>";
        let refused = |body: &str| {
            refusal(&Answer { status: 403, bucket_region: None, has_etag: true, body: body.as_bytes().to_vec() })
        };
        assert_eq!(refused(xml), "S3 answered 403 AccessDenied: no & no; allow s3:PutObject in the policy");
        assert_eq!(refused("<html>"), "the answer 403 is not S3's; check AWS_ENDPOINT_URL_S3 and what stands between");
    }

    #[test]
    fn the_region_is_in_a_header_or_in_the_refusal_of_a_signature() {
        let body = |code: &str| format!("<Error><Code>{code}</Code><Region>eu-west-1</Region></Error>").into_bytes();
        let told = |status, header: Option<&str>, body| {
            region_in(&Answer { status, bucket_region: header.map(str::to_owned), has_etag: false, body })
        };
        assert_eq!(told(301, Some("eu-west-1"), Vec::new()).as_deref(), Some("eu-west-1"));
        assert_eq!(told(400, None, body("AuthorizationHeaderMalformed")).as_deref(), Some("eu-west-1"));
        assert_eq!(told(307, None, b"<Error><Code>TemporaryRedirect</Code></Error>".to_vec()), None);
        assert_eq!(told(403, None, body("AccessDenied")), None);
    }
}
