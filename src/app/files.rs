//! How many files the process may have open: each shard needs a connection and three pipes to its child.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the limit of open files as far as the system lets everybody: most start a process with 1,024, and say 524,288
/// if they are asked. Children inherit it.
///
/// Source: OpenJDK 17 `os_linux.cpp`, `-XX:+MaxFDLimit`, which is on unless told otherwise.
pub fn raise_limit() {
    if let Err(error) = raise() {
        debug!(%error, "the limit of open files stays as it is");
    }
}

fn raise() -> Result<(), Errno> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum { Ok(()) } else { setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) }
}
