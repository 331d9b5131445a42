//! Whether this is an EC2 instance: asks its metadata service for the identity document.
//!
//! Source: KCL 3.x `Ec2Resource`, which neither looks at `AWS_EC2_METADATA_DISABLED` nor at another endpoint; a worker that
//! reported nothing where its Java peers report their CPU would be balanced apart from them (COEXISTENCE.md, point 8).

use std::time::Duration;

use super::http::{Answer, Http};

/// Where the metadata service of an instance is.
pub const ENDPOINT: &str = "http://169.254.169.254";
/// Limit of each of the two requests. Source: `EC2_INSTANCE_METADATA_TIMEOUT_MILLIS`.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the token may be used, in seconds.
const TOKEN_SECONDS: &str = "600";

/// Asks; an instance that has only the first version of the service, which knows no tokens, counts too.
pub async fn is_here(http: &Http, endpoint: &str) -> bool {
    let address = format!("{endpoint}/latest/api/token");
    let token = http.ask("PUT", &address, &[("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)], LIMIT).await;
    let token = match token {
        Ok(Answer { status: 200, body }) => String::from_utf8(body).ok(),
        Ok(_) | Err(_) => None,
    };
    let headers: Vec<_> = token.iter().map(|token| ("x-aws-ec2-metadata-token", token.trim())).collect();
    let address = format!("{endpoint}/latest/dynamic/instance-identity/document");
    http.ask("GET", &address, &headers, LIMIT).await.is_ok_and(|answer| answer.status == 200)
}
