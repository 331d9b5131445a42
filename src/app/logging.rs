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
