//! The machine as it is: files and metadata endpoints, read for the pure readers beside this file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{debug, info};

use super::core_time::CoreTime;
use super::ecs::{self, Container, Stats, Task};
use super::http::Http;
use super::platform::{Gauge, Signs, gauge};
use super::proc_stat::ProcStat;
use super::{Cpu, Host, NotMeasured, cgroup, ec2, proc_stat};
use crate::config::Surroundings;

/// Where Kubernetes puts the token of a pod's service account. Source: KCL 3.x `EksResource`.
const KUBERNETES_TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";
/// Only the beginning of a file counts, and the first line of none is longer.
const BEGINNING: u64 = 4096;
/// Limit of one request to the metadata of an ECS task.
const ECS_LIMIT: Duration = Duration::from_secs(2);

/// This machine.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
    ecs_v3: Option<String>,
    ecs_v4: Option<String>,
    ec2: String,
}

impl Machine {
    /// The machine that we run on.
    #[must_use]
    pub fn new(around: &Surroundings) -> Self {
        let (ecs_v3, ecs_v4) = (around.ecs_metadata_v3.clone(), around.ecs_metadata_v4.clone());
        Self { root: PathBuf::from("/"), ecs_v3, ecs_v4, ec2: ec2::ENDPOINT.to_owned() }
    }

    fn signs(&self) -> Signs {
        let exists = |path: &str| self.root.join(path).exists();
        Signs {
            ecs_v3: self.ecs_v3.is_some(),
            ecs_v4: self.ecs_v4.clone(),
            kubernetes_token: exists(KUBERNETES_TOKEN),
            cgroup_v2: exists("sys/fs/cgroup/cgroup.controllers"),
            cgroup_v1: exists("sys/fs/cgroup/memory") || exists("sys/fs/cgroup/cpu"),
            proc: exists("proc"),
        }
    }
}

#[async_trait]
impl Host for Machine {
    async fn find_cpu(&self) -> Option<Box<dyn Cpu>> {
        let files = Files { root: self.root.clone(), began: Instant::now() };
        let (name, cpu): (_, Box<dyn Cpu>) = match gauge(&self.signs()) {
            Gauge::Nothing => return None,
            Gauge::Ecs(address) => ("ECS", Box::new(EcsTask { http: Http::default(), address, cores: None })),
            Gauge::CgroupV2 => {
                ("Kubernetes, cgroup v2", Box::new(CgroupV2 { files, cores: None, time: CoreTime::default() }))
            }
            Gauge::CgroupV1 => {
                ("Kubernetes, cgroup v1", Box::new(CgroupV1 { files, cores: None, time: CoreTime::default() }))
            }
            Gauge::ProcStatOnEc2 if ec2::is_here(&Http::default(), &self.ec2).await => {
                ("EC2", Box::new(Instance { files, stat: ProcStat::default() }))
            }
            Gauge::ProcStatOnEc2 => {
                debug!("no EC2 instance: its metadata service does not answer");
                return None;
            }
        };
        info!(platform = name, "the share of the CPU in use is reported to the fleet");
        Some(cpu)
    }
}

/// Files of the kernel. They are made when they are read, so reading does not wait for a disk.
#[derive(Debug)]
struct Files {
    root: PathBuf,
    began: Instant,
}

impl Files {
    fn read(&self, file: &str) -> Result<String, NotMeasured> {
        let path = self.root.join(file);
        beginning(&path).map_err(|error| NotMeasured(format!("`{}` cannot be read: {error}", path.display())))
    }
}

fn beginning(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BEGINNING).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The CPU of a container in Kubernetes. The limit is read once, as Java does.
struct CgroupV2 {
    files: Files,
    cores: Option<f64>,
    time: CoreTime,
}

#[async_trait]
impl Cpu for CgroupV2 {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        let cores = match self.cores {
            Some(cores) => cores,
            None => match cgroup::cpu_max(&self.files.read(cgroup::CPU_MAX)?)? {
                Some(cores) => cores,
                None => cgroup::cpu_set(cgroup::CPU_SET, &self.files.read(cgroup::CPU_SET)?)?,
            },
        };
        self.cores = Some(cores);
        let used = cgroup::cpu_stat(&self.files.read(cgroup::CPU_STAT)?)?;
        self.time.percent(used, self.files.began.elapsed(), cores)
    }
}

/// The same with the older control groups.
struct CgroupV1 {
    files: Files,
    cores: Option<f64>,
    time: CoreTime,
}

#[async_trait]
impl Cpu for CgroupV1 {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        let cores = match self.cores {
            Some(cores) => cores,
            None => {
                let (quota, period) = (self.files.read(cgroup::QUOTA_V1)?, self.files.read(cgroup::PERIOD_V1)?);
                match cgroup::quota_v1(&quota, &period)? {
                    Some(cores) => cores,
                    None => cgroup::cpu_set(cgroup::CPU_SET_V1, &self.files.read(cgroup::CPU_SET_V1)?)?,
                }
            }
        };
        self.cores = Some(cores);
        let used = cgroup::cpu_usage_v1(&self.files.read(cgroup::CPU_USAGE_V1)?)?;
        self.time.percent(used, self.files.began.elapsed(), cores)
    }
}

/// All cores of an EC2 instance.
struct Instance {
    files: Files,
    stat: ProcStat,
}

#[async_trait]
impl Cpu for Instance {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        self.stat.percent(&self.files.read(proc_stat::FILE)?)
    }
}

/// A container of an ECS task. Cores of the machine and of the container are asked once, as Java does.
struct EcsTask {
    http: Http,
    address: String,
    cores: Option<(f64, f64)>,
}

impl EcsTask {
    async fn get(&self, path: &str) -> Result<Vec<u8>, NotMeasured> {
        self.http.get(&format!("{}{path}", self.address), ECS_LIMIT).await
    }
}

#[async_trait]
impl Cpu for EcsTask {
    async fn percent(&mut self) -> Result<f64, NotMeasured> {
        let stats: Stats = ecs::read("/stats", &self.get("/stats").await?)?;
        let (cores, limit) = match self.cores {
            Some(cores) => cores,
            None => {
                let cores = stats.cores()?;
                let task: Task = ecs::read("/task", &self.get("/task").await?)?;
                let me: Container = ecs::read("the container", &self.get("").await?)?;
                (cores, ecs::limit(&task, &me, cores))
            }
        };
        self.cores = Some((cores, limit));
        stats.percent(cores, limit)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
