//! Which figure the Java worker would take on this machine. Pure.

/// What can be seen without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// `ECS_CONTAINER_METADATA_URI` is set and not empty.
    pub ecs_v3: bool,
    /// `ECS_CONTAINER_METADATA_URI_V4`, if set and not empty.
    pub ecs_v4: Option<String>,
    /// The token of a Kubernetes service account is there.
    pub kubernetes_token: bool,
    /// `/sys/fs/cgroup/cgroup.controllers` is there: version 2.
    pub cgroup_v2: bool,
    /// `/sys/fs/cgroup/memory` or `/sys/fs/cgroup/cpu` is there.
    pub cgroup_v1: bool,
    /// `/proc` is there.
    pub proc: bool,
}

/// Where the figure comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// The metadata of an ECS task at this address.
    Ecs(String),
    /// The control group of a container in Kubernetes, version 2.
    CgroupV2,
    /// The same, version 1.
    CgroupV1,
    /// All cores of the machine, if it is an EC2 instance, which somebody must be asked; else nothing.
    ProcStatOnEc2,
    /// Nothing is measured.
    Nothing,
}

/// Decides by the signs: ECS before Kubernetes before EC2, and the first platform that is recognised settles it even if
/// nothing can be measured there.
///
/// Source: KCL 3.x `WorkerMetricsSelector.create`, `EcsResource`, `EksResource`, `Ec2Resource`, `OperatingRangeDataProvider`.
#[must_use]
pub fn gauge(signs: &Signs) -> Gauge {
    match signs {
        Signs { ecs_v4: Some(address), .. } => Gauge::Ecs(address.clone()),
        Signs { ecs_v3: true, .. } => Gauge::Nothing,
        Signs { kubernetes_token: true, cgroup_v2: true, .. } => Gauge::CgroupV2,
        Signs { kubernetes_token: true, cgroup_v1: true, .. } => Gauge::CgroupV1,
        Signs { kubernetes_token: true, .. } | Signs { proc: false, .. } => Gauge::Nothing,
        Signs { proc: true, .. } => Gauge::ProcStatOnEc2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_platform_that_is_recognised_settles_it() {
        let all = || Signs {
            ecs_v3: true,
            ecs_v4: Some("http://169.254.170.2/v4/x".to_owned()),
            kubernetes_token: true,
            cgroup_v2: true,
            cgroup_v1: true,
            proc: true,
        };
        let outside = || Signs { ecs_v3: false, ecs_v4: None, kubernetes_token: false, ..all() };
        let table = [
            (all(), Gauge::Ecs("http://169.254.170.2/v4/x".to_owned())),
            (Signs { ecs_v3: false, ..all() }, Gauge::Ecs("http://169.254.170.2/v4/x".to_owned())),
            (Signs { ecs_v4: None, ..all() }, Gauge::Nothing), // an old agent: Java stops looking
            (Signs { kubernetes_token: true, ..outside() }, Gauge::CgroupV2),
            (Signs { kubernetes_token: true, cgroup_v2: false, ..outside() }, Gauge::CgroupV1),
            (Signs { kubernetes_token: true, cgroup_v2: false, cgroup_v1: false, ..outside() }, Gauge::Nothing),
            (outside(), Gauge::ProcStatOnEc2),
            (Signs { proc: false, ..outside() }, Gauge::Nothing),
        ];
        for (signs, wanted) in table {
            assert_eq!(gauge(&signs), wanted, "{signs:?}");
        }
    }
}
