//! Commands of our own: check, demo, local, put.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::check;
#[cfg(feature = "local")]
use crate::app;

/// Commands beside the daemon.
#[derive(Debug, Parser)]
#[command(name = "multilangd", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the effective configuration of a properties file, its warnings or its errors
    Check(check::CheckArgs),
    /// Shows records flow: embedded Kinesis and DynamoDB, a stream that is split and merged, a real child
    #[cfg(feature = "local")]
    Demo(crate::local::demo::DemoArgs),
    /// Serves the embedded Kinesis and DynamoDB until it is stopped
    #[cfg(feature = "local")]
    Local(crate::local::commands::LocalArgs),
    /// Puts lines of standard input, or words, into a stream
    #[cfg(feature = "local")]
    Put(crate::local::commands::PutArgs),
    /// The demo's child where there is no Python
    #[cfg(feature = "local")]
    #[command(hide = true)]
    DemoChild,
    /// As --help
    #[command(hide = true)]
    Help,
}

/// Runs the command that `words` name; returns the exit code of the process.
#[must_use]
pub fn run(words: &[OsString]) -> i32 {
    let program = OsString::from("multilangd");
    match Cli::try_parse_from(std::iter::once(&program).chain(words)) {
        Ok(cli) => cli.command.run(),
        Err(error) => {
            let _nowhere_else_to_say_it = error.print();
            i32::from(error.use_stderr())
        }
    }
}

impl Command {
    fn run(self) -> i32 {
        #[cfg(feature = "local")]
        use crate::local::{commands, demo};
        #[cfg(feature = "local")]
        let code = |result: Result<(), crate::local::error::LocalError>| match result {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{}", app::one_line(&error.into()));
                1
            }
        };
        match self {
            Self::Check(args) => check::run(&args),
            Self::Help => super::say(&super::help()),
            #[cfg(feature = "local")]
            Self::Demo(args) => app::block_on(demo::run(args)),
            #[cfg(feature = "local")]
            Self::Local(args) => app::block_on(async { code(commands::run_local(args).await) }),
            #[cfg(feature = "local")]
            Self::Put(args) => app::block_on(async { code(commands::run_put(args).await) }),
            #[cfg(feature = "local")]
            Self::DemoChild => {
                i32::from(demo::child::speak(std::io::stdin().lock(), std::io::stdout().lock()).is_err())
            }
        }
    }
}
