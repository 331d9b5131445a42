//! Feature `local`: a real Kinesis and a real DynamoDB API on loopback, for the demo, the tests and
//! `multilangd local`. No account, no network.
//!
//! The daemon never uses anything of it: it talks to these two servers exactly as it talks to the service.

pub mod commands;
pub mod connect;
pub mod demo;
pub mod error;
pub mod faults;
pub mod put;
mod repair;
pub mod streams;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use error::LocalError;
pub use faults::{Fault, Faults};

/// PutRecords takes 5 MB of payload; base64 and the record frames come on top.
pub(crate) const LARGEST_REQUEST: usize = 20 << 20;
/// Open shards of all streams together; the emulator's own default of 10 is too few for a reshard test.
const SHARD_LIMIT: u32 = 1000;
/// How often records past the retention period are dropped.
const RETENTION_SWEEP_SECS: u64 = 60;
/// How long [`Backend::stop`] waits for requests under way.
const STOP_LIMIT: Duration = Duration::from_millis(500);

/// Where the backend listens, and how the Kinesis side behaves where tests want it to hurry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host name or address of both servers.
    pub host: String,
    /// Port of the Kinesis API; 0 takes any free one.
    pub kinesis_port: u16,
    /// Port of the DynamoDB API; 0 takes any free one.
    pub dynamodb_port: u16,
    /// How long a shard iterator stays valid; the service gives it five minutes.
    pub iterator_life: Duration,
    /// How long one SubscribeToShard lasts; five minutes in the service.
    pub subscription_life: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            kinesis_port: 0,
            dynamodb_port: 0,
            iterator_life: Duration::from_secs(300),
            subscription_life: Duration::from_secs(300),
        }
    }
}

/// Both servers, running in tasks of this value. Dropping it ends them at once.
#[derive(Debug)]
pub struct Backend {
    kinesis: SocketAddr,
    dynamodb: SocketAddr,
    faults: Faults,
    stop: CancellationToken,
    servers: JoinSet<()>,
}

impl Backend {
    /// Binds both ports and begins to serve. Nothing is kept on disk.
    ///
    /// # Errors
    /// A port is taken or the host is not of this machine; the in-memory database cannot be made.
    pub async fn start(options: Options) -> Result<Self, LocalError> {
        let kinesis_listener = bind("Kinesis", &options.host, options.kinesis_port).await?;
        let dynamodb_listener = bind("DynamoDB", &options.host, options.dynamodb_port).await?;
        let address = |listener: &TcpListener| listener.local_addr().map_err(LocalError::Serve);
        let (kinesis, dynamodb) = (address(&kinesis_listener)?, address(&dynamodb_listener)?);
        let database = dynoxide::Database::memory().map_err(|error| LocalError::Database(error.to_string()))?;
        let (faults, stop, mut servers) = (Faults::default(), CancellationToken::new(), JoinSet::new());

        let (app, store) = ferrokinesis::create_app(store_options(&options));
        let repair = repair::Repair::new(store, stop.clone());
        let app = app
            .layer(middleware::from_fn_with_state(repair, repair::repair))
            .layer(middleware::from_fn_with_state(faults.clone(), faults::inject))
            .layer(DefaultBodyLimit::max(LARGEST_REQUEST));
        let ended = stop.clone().cancelled_owned();
        servers.spawn(async move {
            // Without this a small answer may wait for the acknowledgement of the one before.
            let listener = kinesis_listener.tap_io(|connection| _ = connection.set_nodelay(true));
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(ended).await {
                tracing::error!(%error, "local kinesis ended");
            }
        });
        let ended = stop.clone().cancelled_owned();
        servers.spawn(async move {
            if let Err(error) = dynoxide::server::serve_with_shutdown(dynamodb_listener, database, ended).await {
                tracing::error!(%error, "local dynamodb ended");
            }
        });
        Ok(Self { kinesis, dynamodb, faults, stop, servers })
    }

    /// Endpoint of the Kinesis API.
    #[must_use]
    pub fn kinesis_url(&self) -> String {
        format!("http://{}", self.kinesis)
    }

    /// Endpoint of the DynamoDB API.
    #[must_use]
    pub fn dynamodb_url(&self) -> String {
        format!("http://{}", self.dynamodb)
    }

    /// The handle by which a test makes the Kinesis side fail.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Takes no more connections, gives requests under way half a second, then ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let drain = async { while self.servers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, drain).await.is_err() {
            self.servers.shutdown().await;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.cancel(); // open subscriptions live in the connections' own tasks
    }
}

async fn bind(service: &'static str, host: &str, port: u16) -> Result<TcpListener, LocalError> {
    TcpListener::bind((host, port)).await.map_err(|source| LocalError::bind(service, host, port, source))
}

fn store_options(options: &Options) -> ferrokinesis::store::StoreOptions {
    ferrokinesis::store::StoreOptions {
        create_stream_ms: 0,
        update_stream_ms: 0,
        delete_stream_ms: 0,
        shard_limit: SHARD_LIMIT,
        iterator_ttl_seconds: options.iterator_life.as_secs(),
        subscribe_to_shard_session_ms: u64::try_from(options.subscription_life.as_millis()).unwrap_or(u64::MAX),
        retention_check_interval_secs: RETENTION_SWEEP_SECS,
        ..Default::default()
    }
}
