//! Requests go through the proxy that the environment names; a proxy of our own writes down what it is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Answers every request with 502 and remembers its first line.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let lines = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
                lines.lock().unwrap().push(line.trim_end().to_owned());
                drop(stream.write_all(b"HTTP/1.1 502 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
            }
        });
        Self { port, asked }
    }
}

/// Runs `check --aws` with these lines and variables; gives what the proxy was asked for.
fn asked(lines: &str, variables: impl Fn(u16) -> Vec<(&'static str, String)>) -> Vec<String> {
    let proxy = Proxy::start();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("app.properties");
    let base = "executableName = sh\napplicationName = a\nstreamName = s\nregionName = us-east-1\n\
                AwsCredentialsProvider = DefaultCredentialsProvider\nretrievalMode = POLLING\n";
    std::fs::write(&file, format!("{base}{lines}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_multilangd"));
    command.args(["check", "--aws"]).arg(&file).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").env("AWS_MAX_ATTEMPTS", "1");
    command.envs(variables(proxy.port));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let mut asked = proxy.asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    asked
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[test]
fn the_proxy_of_http_covers_https_endpoints() {
    let wanted = [
        "CONNECT dynamodb.us-east-1.amazonaws.com:443 HTTP/1.1",
        "CONNECT kinesis.us-east-1.amazonaws.com:443 HTTP/1.1",
    ];
    assert_eq!(asked("", |port| vec![("HTTP_PROXY", url(port))]), wanted);
    assert_eq!(asked("", |port| vec![("https_proxy", url(port))]), wanted);
    let flags = |port| vec![("JAVA_TOOL_OPTIONS", format!("-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={port}"))];
    assert_eq!(asked("", flags), wanted);
}

#[test]
fn exceptions_are_asked_directly() {
    let lines = "kinesisEndpoint = http://kinesis.test:9\ndynamoDBEndpoint = http://127.0.0.1:9\n";
    let variables = |port| vec![("HTTP_PROXY", url(port)), ("NO_PROXY", "127.0.0.1".to_owned())];
    assert_eq!(asked(lines, variables), ["POST http://kinesis.test:9/ HTTP/1.1"]);
}
