//! What we print when we do not run the daemon. Texts only.

/// The reference's usage, which goes to standard output with every failure to start.
///
/// Source: CLI.md section 1, byte for byte.
pub const USAGE: &str = "\
Usage: amazon-kinesis-client MultiLangDaemon [options]
  Options:
    -l, --log-configuration
      File location of logback.xml to be override the default
    -p, --properties-file
      Properties file to be used with the KCL

";

/// The reference's last line of a failure to start.
pub const POINTER: &str = "For more information, visit: https://github.com/awslabs/amazon-kinesis-client";

/// The reference's words when it cannot read its arguments, which is before its own handling of errors.
pub const BEFORE_START: &str = "Exception in thread \"main\" com.beust.jcommander.ParameterException: ";

/// Our own help.
pub const HELP: &str = "\
Runs Kinesis MultiLang record processors without a JVM, in place of KCL's MultiLangDaemon.

Usage: multilangd [options] FILE
       multilangd [options] -p FILE
       multilangd [options of java] software.amazon.kinesis.multilang.MultiLangDaemon [options] FILE
       multilangd COMMAND

Options, in any order; a value is the next word; @FILE stands for the lines of FILE; -- ends the options:
  -p, --properties-file FILE    properties file of the daemon
  -l, --log-configuration FILE  logback.xml: levels, loggers, appenders and patterns are read from it
      --strict                  does what the Java daemon does where our default is safer
      --log-format FORMAT       java (default), human (default in a terminal) or json
      --log-level LEVEL         trace, debug, info, warn, error, off, or directives such as warn,multilangd=debug;
                                the variables KCL_LOG and RUST_LOG take the same
  -h, --help                    prints this
  -V, --version                 prints the version

Commands; `multilangd COMMAND --help` tells more:
";

/// One line about each command.
pub const COMMANDS: &str =
    "  check       prints the effective configuration of a properties file, its warnings or its errors
";

/// Those of the feature `local`.
#[cfg(feature = "local")]
pub const LOCAL_COMMANDS: &str =
    "  demo        shows records flow: embedded Kinesis and DynamoDB, a stream that is split and merged, a real child
  local       serves the embedded Kinesis and DynamoDB until it is stopped
  put         puts lines of standard input, or words, into a stream
";

/// How we stand in for `java`.
pub const AS_JAVA: &str = "
Called through a link named `java`, or with java's options before the class, it takes a Java command line: launchers
run it unmodified. -D flags for region, credentials, profiles, endpoints, proxies and logback are honoured, the class
path is where a relative properties file is looked for first, other classes are left to the real java (KCL_REAL_JAVA,
or the next `java` on PATH). A properties file named like a command or an option is ./NAME.
";
