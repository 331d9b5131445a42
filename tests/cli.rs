//! The built program, called as users and launchers call it: exit codes, streams, texts.
//!
//! The rows of the outcomes table are those of the Java daemon 3.5.1, run with its jars.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

const USAGE: &str = "\
Usage: amazon-kinesis-client MultiLangDaemon [options]
  Options:
    -l, --log-configuration
      File location of logback.xml to be override the default
    -p, --properties-file
      Properties file to be used with the KCL

";
const POINTER: &str = "For more information, visit: https://github.com/awslabs/amazon-kinesis-client";
const CLASS: &str = "software.amazon.kinesis.multilang.MultiLangDaemon";
const OLD_CLASS: &str = "com.amazonaws.services.kinesis.multilang.MultiLangDaemon";

/// A folder with a few files; the program runs in it.
struct World {
    home: TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl World {
    fn new() -> Self {
        let world = Self { home: TempDir::new().unwrap() };
        // it is refused: that shows that it was found and read
        world.write("app.properties", "executableName = app.py\nstreamName = s\nregionName = us-east-1\n");
        world.write("sub/sub.properties", "executableName = app.py\nstreamName = s\nregionName = us-east-1\n");
        world.write("broken.xml", "<configuration><root");
        world.write("good.xml", "<configuration><root level=\"WARN\"/></configuration>");
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn script(&self, name: &str, content: &str) {
        self.write(name, content);
        std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.home.path()).env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(Path::new(env!("CARGO_BIN_EXE_multilangd"))).args(words).output().unwrap())
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

#[test]
fn failures_to_start_have_the_codes_streams_and_texts_of_the_reference() {
    let world = World::new();
    let missing = "Properties file missing, please provide a properties file";
    let not_found = |name: &str| {
        format!(
            "Error while reading properties file: Unable to find property file in classpath, or file system: '{name}'"
        )
    };
    let table: Vec<(&[&str], String)> = vec![
        (&[], missing.to_owned()),
        (&[""], missing.to_owned()),
        (&["-p", ""], missing.to_owned()),
        (&["-l", "nowhere.xml"], missing.to_owned()),
        (&["a", "b"], "Expected a single argument, but found multiple arguments.  Arguments: a, b".to_owned()),
        (&["nope"], not_found("nope")),
        (&["-p", "nope"], not_found("nope")),
        (&["--properties-file=nope"], not_found("--properties-file=nope")),
        (&["-p", "--help"], not_found("--help")),
        (&["-p", "."], "Error while reading properties file: . (Is a directory)".to_owned()),
        // the log configuration is looked at first
        (
            &["-l", "nowhere.xml", "-p", "nope"],
            "Error while loading log configuration: nowhere.xml (No such file or directory)".to_owned(),
        ),
        (
            &["-l", "broken.xml", "-p", "nope"],
            "Error while loading log configuration: Problem parsing XML document. See previously reported errors."
                .to_owned(),
        ),
        (&["app.properties"], "Application name is required".to_owned()),
        (&["-p", "app.properties", "-l", "good.xml"], "Application name is required".to_owned()),
    ];
    for (words, message) in table {
        let ran = world.run(words);
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.out.ends_with(USAGE), "{words:?}: {}", ran.out);
        assert!(ran.err.starts_with(&message), "{words:?}: {}", ran.err);
        assert_eq!(ran.err.lines().last(), Some(POINTER), "{words:?}");
    }
}

#[test]
fn words_that_cannot_be_read_fail_before_everything_else() {
    let world = World::new();
    let table: [(&[&str], &str); 4] = [
        (&["-p"], "Expected a value after parameter -p"),
        (&["-p", "a", "-p", "b"], "Can only specify option -p once."),
        (&["-l", "a", "-l", "b"], "Can only specify option -l once."),
        (&["@nowhere"], "Could not read file nowhere: "),
    ];
    for (words, message) in table {
        let ran = world.run(words);
        let begin = format!("Exception in thread \"main\" com.beust.jcommander.ParameterException: {message}");
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{words:?}");
        assert!(ran.err.starts_with(&begin), "{words:?}: {}", ran.err);
    }
}

#[test]
fn the_option_wins_over_the_positional_word_with_a_warning_in_javas_form() {
    let world = World::new();
    let ran = world.run(&["other.properties", "-p", "app.properties"]);
    assert!(ran.err.contains("Application name is required"), "{}", ran.err);
    let line = ran.out.lines().next().unwrap();
    let (time, rest) = line.split_at(23);
    assert_eq!(
        rest,
        " [main] WARN  s.a.k.multilang.MultiLangDaemon [NONE] - Overriding the properties file with the \
         --properties-file option "
    );
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00 00:00:00,000");
}

#[test]
fn help_and_version_are_answered() {
    let world = World::new();
    for words in [&["--help"][..], &["-h"], &["help"], &["-p", "x", "--help"]] {
        let ran = world.run(words);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words:?}");
        for word in ["--properties-file", "--log-configuration", "--strict", "--log-format", "check", "KCL_REAL_JAVA"] {
            assert!(ran.out.contains(word), "{words:?}: no {word}");
        }
        assert!(ran.out.contains("\n  check  "), "{words:?}: commands stand below each other");
    }
    assert_eq!(world.run(&["--version"]).out, format!("multilangd {}\n", env!("CARGO_PKG_VERSION")));
    let check = world.run(&["check", "--help"]);
    assert!(check.code == 0 && check.out.contains("--aws"), "{}", check.out);
}

#[test]
fn a_java_command_line_runs_the_daemon_and_finds_the_file_on_the_class_path() {
    let world = World::new();
    symlink(env!("CARGO_BIN_EXE_multilangd"), world.at("java")).unwrap();
    let (java, ours) = (world.at("java"), PathBuf::from(env!("CARGO_BIN_EXE_multilangd")));
    let table: [(&Path, &[&str]); 7] = [
        (&java, &["-cp", "no.jar:lib/*:sub", CLASS, "--properties-file", "sub.properties"]),
        (&java, &["-classpath", "sub", OLD_CLASS, "sub.properties"]),
        (&ours, &["-cp", "sub", OLD_CLASS, "sub.properties"]),
        (&ours, &["-Xmx64m", "-Dx=y", "--class-path=sub", CLASS, "-p", "./sub.properties"]),
        (&ours, &["@jvm", "-p", "sub.properties"]),
        (&ours, &[CLASS, "@own"]),
        (&java, &[CLASS, "sub/sub.properties"]),
    ];
    world.write("jvm", "-cp sub\n-ea\nsoftware.amazon.kinesis.multilang.MultiLangDaemon");
    world.write("own", "-p\nsub/sub.properties\n");
    for (program, words) in table {
        let ran = Ran::of(world.command(program).args(words).output().unwrap());
        assert!(ran.err.starts_with("Application name is required"), "{words:?}: {}", ran.err);
        assert_eq!(ran.code, 1);
    }
    let from_variable = world.command(&java).args([CLASS, "sub.properties"]).env("CLASSPATH", "sub").output().unwrap();
    assert!(Ran::of(from_variable).err.starts_with("Application name is required"));
    for (words, on_stdout) in [(["-version"], false), (["--version"], true)] {
        let ran = Ran::of(world.command(&java).args(words).output().unwrap());
        assert_eq!((ran.code, ran.out.is_empty()), (0, !on_stdout), "{words:?}");
    }
}

#[test]
fn other_classes_are_left_to_the_real_java() {
    let world = World::new();
    std::fs::create_dir(world.at("ours")).unwrap();
    symlink(env!("CARGO_BIN_EXE_multilangd"), world.at("ours/java")).unwrap();
    world.script("real/java", "#!/bin/sh\necho real \"$@\"\nexit 7\n");
    let path = |names: &[&str]| std::env::join_paths(names.iter().map(|name| world.at(name))).unwrap();
    let words = ["-cp", "x", "org.example.Main", "a b"];
    let run = |path_variable, real: Option<PathBuf>| {
        let mut command = world.command(&world.at("ours/java"));
        command.args(words).env("PATH", path_variable);
        command.envs(real.map(|real| ("KCL_REAL_JAVA", real)));
        Ran::of(command.output().unwrap())
    };
    for ran in [run(path(&["ours", "real"]), None), run(path(&["ours"]), Some(world.at("real/java")))] {
        assert_eq!((ran.code, ran.out.as_str()), (7, "real -cp x org.example.Main a b\n"));
    }
    let ran = run(path(&["ours"]), None);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the class org.example.Main") && ran.err.contains("KCL_REAL_JAVA"), "{}", ran.err);
    let leads_back = run(path(&["ours"]), Some(world.at("ours/java")));
    assert!(leads_back.code == 1 && leads_back.err.contains("leads back to itself"), "{}", leads_back.err);
}

#[test]
fn a_java_key_store_stops_with_the_cure() {
    let world = World::new();
    let ran = world.run(&["-Djavax.net.ssl.trustStore=/x.jks", CLASS, "app.properties"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("/x.jks") && ran.err.contains("AWS_CA_BUNDLE"), "{}", ran.err);
    let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_multilangd")));
    let ran = Ran::of(
        command.arg("app.properties").env("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/y.jks").output().unwrap(),
    );
    assert!(ran.err.contains("/y.jks"), "{}", ran.err);
}

#[test]
fn the_log_goes_where_logback_says() {
    let world = World::new();
    world.write(
        "file.xml",
        r#"<configuration><include file="x"/>
        <appender name="F" class="ch.qos.logback.core.FileAppender"><file>${NAME:-kcl}.log</file>
        <encoder><pattern>%-5level %logger{0} %msg%n</pattern></encoder></appender>
        <root level="INFO"><appender-ref ref="F"/></root></configuration>"#,
    );
    let words = ["x", "-p", "app.properties"];
    let line = "WARN  MultiLangDaemon Overriding the properties file";
    world.run(&[&words[..], &["-l", "file.xml"]].concat());
    let log = std::fs::read_to_string(world.at("kcl.log")).unwrap();
    assert!(log.contains(line) && log.contains("`<include>`"), "{log}");
    let ran = world.run(&[&["-Dlogback.configurationFile=file.xml", "-DNAME=other", CLASS], &words[..]].concat());
    assert!(std::fs::read_to_string(world.at("other.log")).unwrap().contains(line), "{}", ran.err);
    let json = world.run(&[&words[..], &["--log-format", "json"]].concat());
    let first: Json = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "WARN");
    let quiet = world.run(&[&words[..], &["--log-level", "error"]].concat());
    assert_eq!(quiet.out, USAGE);
    for wrong in [["--log-level", "=!="], ["--log-format", "xml"]] {
        let ran = world.run(&[&words[..], &wrong].concat());
        assert!(ran.code == 1 && ran.err.contains(wrong[0]), "{}", ran.err);
    }
    // a file that only the environment names is no reason to stop
    let ran = world.run(&[&["-Dlogback.configurationFile=gone.xml", CLASS], &words[..]].concat());
    assert!(ran.out.contains("gone.xml") && ran.err.starts_with("Application name"), "{}", ran.out);
}

/// As under a Java virtual machine, which does so too: a thousand shards need more files than most limits allow.
#[cfg(target_os = "linux")]
#[test]
fn the_limit_of_open_files_is_raised_as_far_as_the_system_allows() {
    let nobody_answers = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody_answers.local_addr().unwrap());
    let world = World::new();
    let file = format!(
        "executableName = sh\napplicationName = app\nstreamName = s\nregionName = us-east-1\n\
         AwsCredentialsProvider = DefaultCredentialsProvider\nkinesisEndpoint = {endpoint}\ndynamoDBEndpoint = {endpoint}\n"
    );
    world.write("waits.properties", &file);
    let script = "ulimit -Sn 64 && ulimit -Hn 128 && exec \"$0\" waits.properties";
    let mut command = world.command(Path::new("sh"));
    command.args(["-c", script, env!("CARGO_BIN_EXE_multilangd")]);
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
    let mut daemon = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    nobody_answers.accept().unwrap(); // it has begun its work
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let of_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(of_files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["128", "128"]);
}

#[test]
fn check_prints_values_origins_warnings_and_errors() {
    let world = World::new();
    let whole = "executableName = sh\napplicationName = app\nstreamName = s\nfailoverTimeMilis = 5\nmaxRecords = 7\n\
                 AwsCredentialsProvider = StsAssumeRoleCredentialsProvider|arn:x|me|externalId=hush|endpointRegion=us-east-1\n";
    world.write("whole.properties", whole);
    let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_multilangd")));
    command.args(["check", "-p", "whole.properties", "--format", "json"]).env("AWS_REGION", "eu-west-1");
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(!ran.out.contains("hush"), "a secret is shown");
    let found: Json = serde_json::from_str(&ran.out).unwrap();
    let setting = |key: &str| {
        let settings = found["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap();
        (setting["value"].to_string(), setting["origin"].as_str().unwrap().to_owned())
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(setting("maxRecords"), is("7", "file"));
    assert_eq!(setting("failoverTimeMillis"), is("10000", "default"));
    assert_eq!(setting("regionName"), is("\"eu-west-1\"", "environment"));
    assert!(found["ok"] == true && found["errors"] == serde_json::json!([]));
    assert!(found["warnings"].to_string().contains("did you mean `failoverTimeMillis`?"), "{}", found["warnings"]);

    let text = world.run(&["check", "app.properties"]);
    assert_eq!(text.code, 1);
    for error in ["Application name is required", "A basic set of AWS credentials must be provided"] {
        assert!(text.err.contains(error), "{}", text.err);
    }
    world.write("noprogram.properties", &whole.replace("= sh\n", "= no-such-program\nregionName = us-east-1\n"));
    let ran = world.run(&["check", "noprogram.properties", "--format", "json"]);
    let found: Json = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == 1 && found["errors"].to_string().contains("no-such-program"), "{}", ran.out);
}
