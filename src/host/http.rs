//! Plain HTTP to the metadata endpoints of this machine: never through a proxy, bounded in time and size.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use tokio::time::timeout;

use super::NotMeasured;

/// Largest answer that is taken, in bytes. A task of ten containers answers with some ten thousand.
const MOST_BYTES: usize = 1 << 20;

/// A client that keeps its connection.
#[derive(Debug)]
pub struct Http {
    connector: Connector,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Default for Http {
    fn default() -> Self {
        Self { connector: Connector::builder().proxy_config(ProxyConfig::disabled()).build_http() }
    }
}

impl Http {
    /// Sends one request without a body and waits for the whole answer, at most `limit`.
    ///
    /// # Errors
    /// The address cannot be used, nobody answered in time, or the answer is too large.
    pub async fn ask(
        &self,
        method: &str,
        address: &str,
        headers: &[(&'static str, &str)],
        limit: Duration,
    ) -> Result<Answer, NotMeasured> {
        let failed = |why: &dyn std::fmt::Display| NotMeasured(format!("`{address}` does not answer {method}: {why}"));
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_method(method).map_err(|error| failed(&error))?;
        request.set_uri(address).map_err(|error| failed(&error))?;
        for (name, value) in headers {
            request.headers_mut().try_insert(*name, (*value).to_owned()).map_err(|error| failed(&error))?;
        }
        let exchange = async {
            let response = self.connector.call(request).await.map_err(|error| failed(&chain(&error)))?;
            whole(response).await.map_err(|error| failed(&error))
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| Err(failed(&format!("nothing within {limit:?}"))))
    }

    /// Asks for something that must be there.
    ///
    /// # Errors
    /// As [`Http::ask`], or the status is not 200.
    pub async fn get(&self, address: &str, limit: Duration) -> Result<Vec<u8>, NotMeasured> {
        match self.ask("GET", address, &[], limit).await? {
            Answer { status: 200, body } => Ok(body),
            Answer { status, .. } => {
                Err(NotMeasured(format!("`{address}` answers with status {status}; expected 200")))
            }
        }
    }
}

async fn whole(response: HttpResponse) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let mut stream = ByteStream::new(response.into_body());
    let mut body = Vec::new();
    while let Some(piece) = stream.try_next().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&piece);
        if body.len() > MOST_BYTES {
            return Err(format!("more than {MOST_BYTES} bytes come"));
        }
    }
    Ok(Answer { status, body })
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
