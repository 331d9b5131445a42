use std::fs;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::*;

/// A machine whose files lie under a folder of the test, and whose EC2 metadata nobody answers for.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in files {
        write(root.path(), file, text);
    }
    let machine =
        Machine { root: root.path().to_owned(), ecs_v3: None, ecs_v4: None, ec2: "http://127.0.0.1:1".to_owned() };
    (root, machine)
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Answers requests by their first line; keeps what was asked, headers and all.
struct Endpoint {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

async fn endpoint(answer: fn(&str) -> (u16, &'static str)) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut serving) = (asked.clone(), JoinSet::new());
    serving.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = socket.read(&mut bytes).await.unwrap();
            let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let (status, body) = answer(request.lines().next().unwrap_or_default());
            seen.lock().await.push(request);
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            socket.write_all(head.as_bytes()).await.unwrap();
        }
    });
    Endpoint { address, asked, _serving: serving }
}

const STATS: &str = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 150000000}, "system_cpu_usage": 200000000, "online_cpus": 8},
    "precpu_stats": {"cpu_usage": {"total_usage": 100000000}, "system_cpu_usage": 100000000, "online_cpus": 8}}"#;
const TASK: &str = r#"{"Limits": {"CPU": 8, "Memory": 128}, "Containers": [
    {"DockerId": "a", "Limits": {"CPU": 30}}, {"DockerId": "b", "Limits": {"CPU": 10}}]}"#;

#[tokio::test]
async fn a_container_of_ecs_is_measured_by_the_metadata_of_its_task() {
    let endpoint = endpoint(|line| match line {
        "GET /v4/x/stats HTTP/1.1" => (200, STATS),
        "GET /v4/x/task HTTP/1.1" => (200, TASK),
        "GET /v4/x HTTP/1.1" => (200, r#"{"DockerId": "a"}"#),
        _ => (404, ""),
    });
    let endpoint = endpoint.await;
    let (_root, mut machine) = machine(&[(KUBERNETES_TOKEN, "")]);
    machine.ecs_v4 = Some(format!("{}/v4/x", endpoint.address));
    let mut cpu = machine.find_cpu().await.unwrap();
    for _ in 0..2 {
        assert_eq!(cpu.percent().await, Ok(4.0 / 6.0 * 100.0), "4 cores of 6");
    }
    assert_eq!(endpoint.asked.lock().await.len(), 4, "task and container are asked once");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_named() {
    let endpoint = endpoint(|_| (500, "")).await;
    let (_root, mut machine) = machine(&[]);
    machine.ecs_v4 = Some(endpoint.address.clone());
    let NotMeasured(said) = machine.find_cpu().await.unwrap().percent().await.unwrap_err();
    assert_eq!(said, format!("`{}/stats` answers with status 500; expected 200", endpoint.address));
    machine.ecs_v4 = Some("http://127.0.0.1:1/v4".to_owned());
    let NotMeasured(said) = machine.find_cpu().await.unwrap().percent().await.unwrap_err();
    assert!(said.starts_with("`http://127.0.0.1:1/v4/stats` does not answer GET: "), "{said}");
    machine.ecs_v4 = Some("no address".to_owned());
    let NotMeasured(said) = machine.find_cpu().await.unwrap().percent().await.unwrap_err();
    assert!(said.starts_with("`no address/stats` does not answer GET: "), "{said}");
}

#[tokio::test]
async fn a_pod_is_measured_by_its_control_group() {
    let two = [
        (KUBERNETES_TOKEN, "x"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu"),
        (cgroup::CPU_MAX, "max 100000\n"),
        (cgroup::CPU_SET, "0-7\n"),
        (cgroup::CPU_STAT, "usage_usec 1000000\nuser_usec 1\n"),
    ];
    let one = [
        (KUBERNETES_TOKEN, "x"),
        (cgroup::QUOTA_V1, "20000\n"),
        (cgroup::PERIOD_V1, "10000\n"),
        (cgroup::CPU_USAGE_V1, "1000000000\n"),
    ];
    for (files, usage, later) in
        [(&two[..], cgroup::CPU_STAT, "usage_usec 100000000\n"), (&one[..], cgroup::CPU_USAGE_V1, "100000000000\n")]
    {
        let (root, machine) = machine(files);
        let mut cpu = machine.find_cpu().await.unwrap();
        assert_eq!(cpu.percent().await, Ok(0.0));
        write(root.path(), usage, later);
        assert_eq!(cpu.percent().await, Ok(100.0), "99 s of work since just now");
        fs::remove_file(root.path().join(usage)).unwrap();
        let NotMeasured(said) = cpu.percent().await.unwrap_err();
        assert!(said.contains(usage) && said.contains(" cannot be read: "), "{said}");
    }
}

#[tokio::test]
async fn an_instance_is_asked_for_its_document_with_a_token_and_measured_as_a_whole() {
    let endpoint = endpoint(|line| match line {
        "PUT /latest/api/token HTTP/1.1" => (200, "the-token\n"),
        "GET /latest/dynamic/instance-identity/document HTTP/1.1" => (200, "{}"),
        _ => (404, ""),
    });
    let endpoint = endpoint.await;
    let (root, mut machine) = machine(&[("proc/stat", "cpu  100 0 0 100 0 0\n")]);
    machine.ec2 = endpoint.address.clone();
    let mut cpu = machine.find_cpu().await.unwrap();
    assert_eq!(cpu.percent().await, Ok(0.0));
    write(root.path(), "proc/stat", "cpu  150 0 0 150 0 0\n");
    assert_eq!(cpu.percent().await, Ok(50.0));
    let asked = endpoint.asked.lock().await;
    assert!(asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 600\r\n"), "{}", asked[0]);
    assert!(asked[1].contains("x-aws-ec2-metadata-token: the-token\r\n"), "{}", asked[1]);
}

#[tokio::test]
async fn elsewhere_nothing_is_measured() {
    let refusing = endpoint(|_| (404, "")).await;
    let (_root, mut machine) = machine(&[("proc/stat", "cpu  1 1 1 1 1\n")]);
    assert!(machine.find_cpu().await.is_none(), "nobody answers");
    machine.ec2 = refusing.address.clone();
    assert!(machine.find_cpu().await.is_none(), "no document");
    machine.ecs_v3 = Some("http://127.0.0.1:1".to_owned());
    assert!(machine.find_cpu().await.is_none(), "ECS with an agent that is too old");
}
