//! Where log lines go, and which.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Level of everything that `RUST_LOG` does not name: ours at info, libraries only when something is odd.
const DEFAULT: &str = "warn,multilangd=info";

/// Begins to log to standard output, as the Java daemon does (Source: LOGGING.md); `RUST_LOG` sets levels.
///
/// Does nothing if logging has begun already.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let terminal = std::io::stdout().is_terminal();
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stdout);
    let _already_begun = logger.try_init();
}

/// Logs to standard error, and only what is wrong, unless `RUST_LOG` says otherwise; for commands that have a picture
/// of their own to show.
pub fn start_quietly() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let terminal = std::io::stderr().is_terminal();
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr);
    let _already_begun = logger.try_init();
}
