//! Arguments of the drop-in launcher and of the commands of our own.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::app;

/// Runs Kinesis MultiLang record processors without a JVM, in place of KCL's MultiLangDaemon.
#[derive(Debug, Parser)]
#[command(name = "multilangd", version, about, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    /// Properties file to be used with the KCL
    #[arg(short, long, value_name = "FILE")]
    properties_file: Option<PathBuf>,

    /// logback.xml of the Java daemon; accepted so that start scripts keep working, RUST_LOG sets levels
    #[arg(short, long, value_name = "FILE")]
    log_configuration: Option<PathBuf>,

    /// Properties file, the form of KCL 1.x
    #[arg(value_name = "PROPERTIES")]
    positional: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
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
}

#[cfg(feature = "local")]
impl Command {
    fn run(self) -> i32 {
        use crate::local::{commands, demo};
        let code = |result: Result<(), crate::local::error::LocalError>| match result {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{}", app::one_line(&error.into()));
                1
            }
        };
        match self {
            Self::Demo(args) => app::block_on(demo::run(args)),
            Self::Local(args) => app::block_on(async { code(commands::run_local(args).await) }),
            Self::Put(args) => app::block_on(async { code(commands::run_put(args).await) }),
            Self::DemoChild => {
                i32::from(demo::child::speak(std::io::stdin().lock(), std::io::stdout().lock()).is_err())
            }
        }
    }
}

/// Runs the program; returns the exit code of the process.
#[must_use]
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _nowhere_else_to_say_it = error.print();
            return i32::from(error.use_stderr());
        }
    };
    #[cfg(feature = "local")]
    if let Some(command) = cli.command {
        return command.run();
    }
    match cli.properties_file.or(cli.positional).filter(|file| !file.as_os_str().is_empty()) {
        Some(file) => app::run(&file),
        None => {
            eprintln!("Properties file missing, please provide a properties file: multilangd --properties-file FILE");
            1
        }
    }
}
