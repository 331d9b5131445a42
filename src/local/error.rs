//! What can go wrong in local mode; every message is the sentence a user reads.

use std::io;

/// A failure of the local backend or of the commands around it. None is worth retrying as it stands.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Somebody else listens there.
    #[error(
        "{service} port {port} on `{host}` is already in use: expected a free port; stop the program that has it or choose another, 0 takes any"
    )]
    PortInUse {
        /// Whose port.
        service: &'static str,
        /// Host asked for.
        host: String,
        /// Port asked for.
        port: u16,
    },
    /// The address is not ours, or not allowed.
    #[error(
        "{service} cannot listen on `{host}` port {port}: expected an address of this machine and a port you may open, such as 127.0.0.1 and 4567; correct --host or the port"
    )]
    Bind {
        /// Whose port.
        service: &'static str,
        /// Host asked for.
        host: String,
        /// Port asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A listener that was bound failed.
    #[error("the local servers could not be started")]
    Serve(#[source] io::Error),
    /// The in-memory database could not be made.
    #[error("the local DynamoDB could not be started: {0}")]
    Database(String),
    /// `--stream` was not NAME:SHARDS.
    #[error(
        "--stream `{0}` is not a stream: expected NAME:SHARDS with a name of 1 to 128 letters, digits, `_`, `.` or `-` and 1 to 500 shards, such as words:4; correct it"
    )]
    BadStream(String),
    /// An option's value cannot be used.
    #[error("{option} `{value}` is not usable: expected {expected}; correct it")]
    BadValue {
        /// The option, with its dashes.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// Neither `--region` nor the environment names a region.
    #[error("no region is set: expected a name such as us-east-1; pass --region or set AWS_REGION")]
    NoRegion,
    /// Nothing to sign the request with.
    #[error(
        "no AWS credentials were found: expected them in the environment, a profile or a role; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass --endpoint http://127.0.0.1:4567 for a local backend"
    )]
    NoCredentials(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answers there.
    #[error(
        "nothing answers at endpoint `{endpoint}`: expected a Kinesis API; start one with `multilangd local` or correct --endpoint"
    )]
    Unreachable {
        /// The endpoint asked.
        endpoint: String,
        /// What the client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream is not there.
    #[error("stream `{0}` does not exist: expected the name of an existing stream; create it or correct --stream")]
    NoSuchStream(String),
    /// The service refused or failed.
    #[error(
        "{operation} on stream `{stream}` failed ({reason}): expected success; correct what it names and try again"
    )]
    Service {
        /// API operation.
        operation: &'static str,
        /// Stream asked for.
        stream: String,
        /// Code and message of the service.
        reason: String,
    },
    /// The stream did not become ACTIVE in time.
    #[error(
        "stream `{stream}` is not ACTIVE after {seconds} s: expected that within this time; look at its status and try again"
    )]
    NotActive {
        /// The stream.
        stream: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Records were refused for too long.
    #[error(
        "{left} records for stream `{stream}` were refused {attempts} times in a row, last with `{code}`: expected the stream to take them; add shards or lower --rate"
    )]
    Refused {
        /// The stream.
        stream: String,
        /// Records not stored.
        left: usize,
        /// Attempts without one stored record.
        attempts: u32,
        /// The last error code.
        code: String,
    },
    /// Standard input or output failed.
    #[error("standard {0} cannot be used: expected it to stay open; check what it is connected to")]
    Stdio(&'static str, #[source] io::Error),
}

impl LocalError {
    /// Tells a port that is taken from an address that cannot be had.
    pub(crate) fn bind(service: &'static str, host: &str, port: u16, source: io::Error) -> Self {
        let host = host.to_owned();
        if source.kind() == io::ErrorKind::AddrInUse {
            return Self::PortInUse { service, host, port };
        }
        Self::Bind { service, host, port, source }
    }

    /// Names the endpoint that did not answer, which the client itself does not tell.
    #[must_use]
    pub(crate) fn at(mut self, text: &str) -> Self {
        if let Self::Unreachable { endpoint, .. } = &mut self {
            text.clone_into(endpoint);
        }
        self
    }
}
