//! From the whole command line and the environment to what is to be done. Pure.
//!
//! Who we are called decides: as `java`, or when the first word is one of the Java virtual machine, the words are a
//! Java command line; else they are the daemon's own words, or a command of ours.
//!
//! Source: CLI.md sections 1 and 3.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::arguments::{self, Asked, ReadFile, Words};
use super::java::{self, Line, Main};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Run the daemon.
    Daemon(Start),
    /// A command of our own; the words are for its own parser.
    Command,
    /// Help or version.
    Help(Help),
    /// `java -version`.
    JavaVersion(Stream),
    /// Another program than the daemon: a real `java` must run it.
    RealJava {
        /// What was asked for, for messages.
        what: String,
    },
    /// Nothing can be done.
    Refused(Refusal),
}

/// What help there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// How to call us.
    Usage,
    /// Our version.
    Version,
}

/// One of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// How the daemon is to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Its own words.
    pub words: Words,
    /// Class path entries that were named, unless the class path is none of our business.
    pub class_path: Vec<PathBuf>,
    /// `-Dname=value`, from the command line and from the variables of the virtual machine.
    pub system_properties: BTreeMap<String, String>,
    /// Options of the virtual machine that mean nothing here.
    pub without_meaning: Vec<String>,
}

/// Why nothing can be done, in the reference's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    message: String,
    usage: bool,
}

impl Refusal {
    /// Found by the parser of the words, before the reference's own handling of errors: no usage is shown.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: false }
    }

    /// Found later: the usage is shown on standard output.
    pub fn start(message: impl Into<String>) -> Self {
        Self { message: message.into(), usage: true }
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the usage goes with it.
    #[must_use]
    pub fn shows_usage(&self) -> bool {
        self.usage
    }
}

/// Words that begin a command of our own. A properties file of such a name is `./check`.
pub const COMMANDS: [&str; 6] = ["demo", "local", "put", "check", "demo-child", "help"];

/// Variables that carry options of the virtual machine, the later one stronger; the command line beats both.
///
/// Source: JDK 17 `java` manual and launcher.
const TOOL_OPTIONS: [&str; 2] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"];
/// Beats even the command line.
const LAST_OPTIONS: &str = "_JAVA_OPTIONS";

/// What the plan may know besides the words.
pub struct Surroundings<'a> {
    /// Environment variables.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Files.
    pub read: ReadFile<'a>,
}

/// Decides from the name of the program and the words behind it.
#[must_use]
pub fn plan(program: &OsStr, words: &[OsString], around: &Surroundings<'_>) -> Plan {
    if is_java(program) {
        return java_line(words, around, true);
    }
    let first = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    if COMMANDS.contains(&first) {
        return Plan::Command;
    }
    let begins = match first.strip_prefix('@') {
        // the words of such a file may be the daemon's or the virtual machine's
        Some(file) => (around.read)(Path::new(file)).is_ok_and(|content| {
            let inside = java::argument_file(&String::from_utf8_lossy(&content));
            inside.first().is_some_and(|word| java::begins_line(word))
        }),
        None => java::begins_line(first),
    };
    if begins {
        return java_line(words, around, false);
    }
    daemon(words, Line::default(), Vec::new(), around)
}

fn is_java(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("java"))
}

fn java_line(words: &[OsString], around: &Surroundings<'_>, called_java: bool) -> Plan {
    let line = match java::parse(words, around.read) {
        Ok(line) => line,
        Err(message) => return Plan::Refused(Refusal::parameter(message)),
    };
    match &line.main {
        Main::Class { name, rest } if java::MAIN_CLASSES.contains(&name.as_str()) => {
            let class_path = match &line.class_path {
                Some(given) => std::env::split_paths(given).collect(),
                None => (around.variable)("CLASSPATH")
                    .map(|given| std::env::split_paths(&given).collect())
                    .unwrap_or_default(),
            };
            let rest = rest.clone();
            daemon(&rest, line, class_path, around)
        }
        Main::Class { name, .. } => Plan::RealJava { what: format!("the class {name}") },
        Main::Version(stream) => Plan::JavaVersion(*stream),
        Main::Help if !called_java => Plan::Help(Help::Usage),
        Main::Help => Plan::RealJava { what: "java's own help".to_owned() },
        Main::Other(what) => Plan::RealJava { what: what.clone() },
        Main::Missing => Plan::RealJava { what: "no class at all".to_owned() },
    }
}

fn options_of(variable: &str, around: &Surroundings<'_>) -> Line {
    let text = (around.variable)(variable).map(|text| text.to_string_lossy().into_owned());
    java::options_only(&java::split_options(&text.unwrap_or_default()))
}

/// The system properties that variables alone give, for commands without a Java line.
#[must_use]
pub fn properties_of_variables(around: &Surroundings<'_>) -> BTreeMap<String, String> {
    let variables = TOOL_OPTIONS.iter().chain([&LAST_OPTIONS]);
    variables.flat_map(|variable| options_of(variable, around).system_properties).collect()
}

fn daemon(words: &[OsString], line: Line, class_path: Vec<PathBuf>, around: &Surroundings<'_>) -> Plan {
    let words = match arguments::parse(words, around.read) {
        Ok(Asked::Run(words)) => words,
        Ok(Asked::Help(help)) => return Plan::Help(help),
        Err(refusal) => return Plan::Refused(refusal),
    };
    let mut start = Start { words, class_path, ..Start::default() };
    let mut take = |options: Vec<String>, properties: BTreeMap<String, String>| {
        start.without_meaning.extend(options);
        start.system_properties.extend(properties);
    };
    for variable in TOOL_OPTIONS {
        let given = options_of(variable, around);
        take(given.without_meaning, given.system_properties);
    }
    take(line.without_meaning, line.system_properties);
    let last = options_of(LAST_OPTIONS, around);
    take(last.without_meaning, last.system_properties);
    Plan::Daemon(start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn planned(program: &str, line: &[&str], variables: &[(&str, &str)]) -> Plan {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        let read = |path: &Path| match path.to_str() {
            Some("jvm") => {
                Ok(b"-cp /a:/b # comment\n\"-Dk=v w\"\nsoftware.amazon.kinesis.multilang.MultiLangDaemon".to_vec())
            }
            Some("own") => Ok(b"-p\napp.properties".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        plan(OsStr::new(program), &words, &Surroundings { variable: &variable, read: &read })
    }

    fn start(program: &str, line: &[&str], variables: &[(&str, &str)]) -> Start {
        let plan = planned(program, line, variables);
        let Plan::Daemon(start) = plan else { panic!("{line:?}: {plan:?}") };
        start
    }

    const NEW: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";
    const OLD: &str = "com.amazonaws.services.kinesis.multilang.MultiLangDaemon";

    #[test]
    fn every_launcher_starts_the_daemon() {
        let table: [(&str, &[&str], &[&str]); 11] = [
            // Python 3.2.0, without and with a log configuration
            ("multilangd", &["-cp", "/x:/j/a.jar:/d", NEW, "--properties-file", "P"], &["/x", "/j/a.jar", "/d"]),
            ("./multilangd", &["-cp", "/d", NEW, "--properties-file", "P", "--log-configuration", "L"], &["/d"]),
            // Python 1.x, Haskell
            ("java", &["-cp", "/j/*:/d", OLD, "P"], &["/j/*", "/d"]),
            // Node
            ("/opt/bin/java", &["-cp", "/j/a.jar:/w:/d", NEW, "--properties-file", "P"], &["/j/a.jar", "/w", "/d"]),
            // Ruby
            ("java", &["-classpath", "/d", NEW, "--properties-file", "P"], &["/d"]),
            // Elixir
            ("java", &["-Dk=v", "-cp", "/d", OLD, "P"], &["/d"]),
            ("multilangd", &["-Xmx1g", "-server", "-ea:x", "--class-path=/d", NEW, "P"], &["/d"]),
            ("multilangd", &["-XX:+UseG1GC", "--add-opens", "java.base/x=ALL", "-cp", "/d", NEW, "-p", "P"], &["/d"]),
            ("multilangd", &["@jvm", "P"], &["/a", "/b"]),
            ("java", &["@jvm", "P"], &["/a", "/b"]),
            ("multilangd", &[NEW, "P"], &[]),
        ];
        for (program, line, class_path) in table {
            let start = start(program, line, &[]);
            assert_eq!(start.words.properties, "P", "{line:?}");
            assert_eq!(start.class_path, class_path.iter().map(PathBuf::from).collect::<Vec<_>>(), "{line:?}");
        }
    }

    #[test]
    fn the_whole_command_replaced_takes_the_daemons_own_words() {
        assert_eq!(start("multilangd", &["-p", "P"], &[("CLASSPATH", "/x")]).class_path, Vec::<PathBuf>::new());
        assert_eq!(start("multilangd", &["@own"], &[]).words.properties, "app.properties");
        assert!(matches!(planned("multilangd", &["check", "-p", "x"], &[]), Plan::Command));
        assert_eq!(planned("multilangd", &["--help"], &[]), Plan::Help(Help::Usage));
        assert_eq!(planned("multilangd", &["--version"], &[]), Plan::Help(Help::Version));
    }

    #[test]
    fn java_answers_for_its_version_and_leaves_other_programs_to_the_real_one() {
        assert_eq!(planned("java", &["-version"], &[]), Plan::JavaVersion(Stream::Error));
        assert_eq!(planned("multilangd", &["-version"], &[]), Plan::JavaVersion(Stream::Error));
        assert_eq!(planned("java", &["--version"], &[]), Plan::JavaVersion(Stream::Out));
        assert_eq!(planned("java", &["-Dx=1", "-version"], &[]), Plan::JavaVersion(Stream::Error));
        for line in [&["-cp", "/d", "org.example.Main"][..], &["-jar", "x.jar"], &["-m", "a/b"], &[], &["check"]] {
            assert!(matches!(planned("java", line, &[]), Plan::RealJava { .. }), "{line:?}");
        }
    }

    #[test]
    fn system_properties_come_from_the_line_and_from_the_variables_of_the_virtual_machine() {
        let variables = [
            ("JAVA_TOOL_OPTIONS", "-Da=tool -Dd=tool -Xmx1g"),
            ("JDK_JAVA_OPTIONS", "\"-Db=x y\" -Da=jdk"),
            ("_JAVA_OPTIONS", "-Dc=last"),
            ("CLASSPATH", "/from/variable"),
        ];
        let from_java = start("java", &["-Da=line", "-Dc=line", "-De", NEW, "P"], &variables);
        let wanted = [("a", "line"), ("b", "x y"), ("c", "last"), ("d", "tool"), ("e", "")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(from_java.system_properties, BTreeMap::from(wanted));
        assert_eq!(from_java.without_meaning, ["-Xmx1g"]);
        assert_eq!(from_java.class_path, [PathBuf::from("/from/variable")]);
        assert_eq!(start("multilangd", &["P"], &variables).system_properties["a"], "jdk");
    }

    proptest! {
        #[test]
        fn any_line_gives_a_plan(
            java in any::<bool>(),
            line in prop::collection::vec(
                prop_oneof![
                    "-cp|-D|-Dk=v|-X|@jvm|@|--|-jar|-version|--class-path=|-classpath|--add-opens|-p|check",
                    Just(NEW.to_owned()), ".{0,6}"], 0..8)
        ) {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            let options = line.join(" ");
            let _any = planned(if java { "java" } else { "multilangd" }, &words, &[("JAVA_TOOL_OPTIONS", &options)]);
        }
    }
}
