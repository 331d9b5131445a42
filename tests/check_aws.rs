//! `multilangd check --aws`: what is refused is named with the action of the policy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value as Json;

/// A service whose answers `answer` gives for the operation's name; returns its port.
fn service(answer: fn(&str) -> (u16, &'static str)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), answer)));
    port
}

fn serve(mut stream: TcpStream, answer: fn(&str) -> (u16, &'static str)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut operation, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() <= 2 {
            break;
        }
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.rsplit('.').next().unwrap_or_default().to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (code, body) = answer(&operation);
    let head = format!("HTTP/1.1 {code} x\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n");
    drop(write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()));
}

/// Exit code and what is printed.
fn checked(port: u16) -> (i32, Json) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("app.properties");
    let lines = format!(
        "executableName = sh\napplicationName = a\nstreamName = s\nregionName = us-east-1\nretrievalMode = POLLING\n\
         AwsCredentialsProvider = DefaultCredentialsProvider\n\
         kinesisEndpoint = http://127.0.0.1:{port}\ndynamoDBEndpoint = http://127.0.0.1:{port}\n"
    );
    std::fs::write(&file, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_multilangd"));
    command.args(["check", "--aws", "--format", "json"]).arg(&file).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y").env("AWS_MAX_ATTEMPTS", "1");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn what_is_refused_is_named_with_its_action() {
    let denied = |_: &str| (400, r#"{"__type":"AccessDeniedException","message":"User x may not"}"#);
    let (code, found) = checked(service(denied));
    let errors = found["errors"].as_array().unwrap();
    let actions: Vec<_> = errors.iter().map(|error| error["key"].as_str().unwrap()).collect();
    assert_eq!(code, 1);
    let tables = ["dynamodb:DescribeTable"; 2]; // the lease table, and that of KCL 3.0-3.4
    assert_eq!(actions, [["kinesis:DescribeStreamSummary", "kinesis:ListShards"], tables].concat());
    let message = errors[0]["message"].as_str().unwrap();
    assert!(
        message.contains("allow the action kinesis:DescribeStreamSummary in the policy: User x may not"),
        "{message}"
    );
}

#[test]
fn the_tables_of_kcl_3_0_are_tried_where_they_are() {
    let (_, found) = checked(service(|operation| match operation {
        "DescribeTable" => (200, r#"{"Table":{}}"#),
        "Scan" => (400, r#"{"__type":"AccessDeniedException","message":"User x may not"}"#),
        _ => (200, "{}"),
    }));
    let tried = found["aws"].as_array().unwrap().iter().filter(|tried| tried["action"] == "dynamodb:Scan");
    let tried: Vec<_> = tried.map(|tried| (tried["resource"].as_str().unwrap(), &tried["verdict"])).collect();
    assert_eq!(
        tried.iter().map(|(table, _)| *table).collect::<Vec<_>>(),
        ["table a", "table a-CoordinatorState", "table a-WorkerMetricStats"]
    );
    assert!(tried.iter().all(|(_, verdict)| *verdict == "failed"), "{tried:?}");
}

#[test]
fn a_table_that_is_not_there_is_no_error() {
    let (code, found) = checked(service(|operation| match operation {
        "ListShards" => (200, r#"{"Shards":[]}"#),
        "DescribeTable" => {
            (400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no"}"#)
        }
        _ => (
            200,
            r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:us-east-1:1:stream/s",
            "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,"EnhancedMonitoring":[],"OpenShardCount":1}}"#,
        ),
    }));
    assert_eq!((code, &found["errors"]), (0, &serde_json::json!([])), "{found}");
    let table =
        found["aws"].as_array().unwrap().iter().find(|tried| tried["action"] == "dynamodb:DescribeTable").unwrap();
    assert!(
        table["verdict"] == "missing" && table["note"].as_str().unwrap().contains("dynamodb:CreateTable"),
        "{table}"
    );
}

#[test]
fn writes_are_asked_for_under_a_condition_that_never_holds_and_what_is_not_tried_is_said() {
    let (code, found) = checked(service(|operation| match operation {
        "ListShards" => (200, r#"{"Shards":[]}"#),
        "DescribeTable" => (
            200,
            r#"{"Table":{"TableName":"a","TableStatus":"ACTIVE","GlobalSecondaryIndexes":
            [{"IndexName":"LeaseOwnerToLeaseKeyIndex"}]}}"#,
        ),
        "PutItem" | "UpdateItem" => {
            (400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no"}"#)
        }
        "DeleteItem" => (400, r#"{"__type":"AccessDeniedException","message":"User x may not"}"#),
        "GetItem" | "Scan" | "Query" => (200, "{}"),
        _ => (
            200,
            r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"arn:aws:kinesis:us-east-1:1:stream/s",
            "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,"EnhancedMonitoring":[],"OpenShardCount":1}}"#,
        ),
    }));
    let verdict = |action: &str| {
        let tried = found["aws"].as_array().unwrap().iter().find(|tried| tried["action"] == action).unwrap();
        tried["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(code, 1, "{found}");
    for action in ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"] {
        assert_eq!(verdict(action), "allowed", "{action}");
    }
    assert_eq!(verdict("dynamodb:DeleteItem"), "failed");
    assert_eq!(verdict("cloudwatch:PutMetricData"), "not tried");
}
