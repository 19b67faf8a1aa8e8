//! A planned container → the engine's create call. No I/O. A container can have nothing that is not written here: no
//! privileged mode, no host network, no devices, no host path but the agent's own configuration directories.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use supalove_proto::node::v1::{Capability, Limits, Security};

use super::containers::HeldLimits;
use super::labels;

const MIB: i64 = 1024 * 1024;

/// A container to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerPlan {
    pub project_ref: String,
    pub service: String,
    /// Generation it is created for.
    pub generation: u64,
    /// Hash over everything it is created from.
    pub hash: String,
    pub image: String,
    /// Arguments in place of the image's own.
    pub command: Option<Vec<String>>,
    /// "NAME=value".
    pub env: Vec<String>,
    /// Names on the network.
    pub aliases: Vec<String>,
    pub ports: Vec<PortPlan>,
    pub mounts: Vec<MountPlan>,
    pub limits: Limits,
    /// What it may do.
    pub security: Security,
    /// Empty = the image's.
    pub stop_signal: String,
    /// Seconds before a kill.
    pub stop_grace: i64,
    /// Bytes of /dev/shm; none = the engine's default.
    pub shm_bytes: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// In the container.
    pub container: u16,
    /// Address on the host.
    pub host_ip: IpAddr,
    /// Port on the host.
    pub host: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPlan {
    /// A named volume, by its full name.
    Volume {
        name: String,
        /// Path in the container.
        target: String,
        read_only: bool,
    },
    /// A directory or file of the agent's own; always read-only.
    Config {
        /// Path on the host.
        source: PathBuf,
        /// Path in the container.
        target: String,
    },
}

pub(super) fn body(fleet: &str, network: &str, plan: ContainerPlan) -> ContainerCreateBody {
    let mut marks = labels::project(fleet, &plan.project_ref);
    marks.insert(labels::SERVICE.into(), plan.service.clone());
    marks.insert(labels::GENERATION.into(), plan.generation.to_string());
    marks.insert(labels::SPEC_HASH.into(), plan.hash.clone());
    let endpoint = EndpointSettings { aliases: Some(plan.aliases.clone()), ..EndpointSettings::default() };
    ContainerCreateBody {
        hostname: Some(plan.service.clone()),
        user: not_empty(&plan.security.user),
        image: Some(plan.image.clone()),
        cmd: plan.command.clone(),
        env: Some(plan.env.clone()),
        exposed_ports: Some(plan.ports.iter().map(|port| format!("{}/tcp", port.container)).collect()),
        labels: Some(marks),
        stop_signal: not_empty(&plan.stop_signal),
        stop_timeout: Some(plan.stop_grace),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
        }),
        host_config: Some(host_config(network, plan)),
        ..ContainerCreateBody::default()
    }
}

/// The limits as the engine counts them.
pub fn held_limits(limits: &Limits) -> HeldLimits {
    let memory = i64::from(limits.memory_mib) * MIB;
    HeldLimits {
        memory,
        // Equal to memory: no swap on top.
        memory_swap: memory,
        nano_cpus: i64::from(limits.cpu_millis).min(cpu_millis_of_host()) * 1_000_000,
        pids: i64::from(limits.pids),
        left_to_agent: true,
    }
}

/// The engine refuses a container that may use more than its host has, and more has no effect.
fn cpu_millis_of_host() -> i64 {
    i64::from(crate::host::cpu_millis())
}

/// The engine never restarts a container: the agent does, in order and with back-off.
pub(super) fn left_to_agent() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}

pub(super) fn is_left_to_agent(policy: &RestartPolicy) -> bool {
    matches!(policy.name, None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO))
}

fn host_config(network: &str, plan: ContainerPlan) -> HostConfig {
    let limits = held_limits(&plan.limits);
    HostConfig {
        network_mode: Some(network.to_owned()),
        memory: Some(limits.memory),
        memory_swap: Some(limits.memory_swap),
        nano_cpus: Some(limits.nano_cpus),
        pids_limit: Some(limits.pids),
        ulimits: open_files(plan.limits.open_files),
        shm_size: plan.shm_bytes,
        restart_policy: Some(left_to_agent()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([("max-size".into(), "10m".into()), ("max-file".into(), "3".into())])),
        }),
        port_bindings: Some(port_bindings(&plan.ports)),
        mounts: Some(plan.mounts.into_iter().map(mount).collect()),
        tmpfs: Some(tmpfs(&plan.security)),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(plan.security.add_capabilities().filter_map(capability).map(Into::into).collect()),
        security_opt: (!plan.security.allow_new_privileges).then(|| vec!["no-new-privileges".into()]),
        readonly_rootfs: Some(plan.security.read_only_root),
        privileged: Some(false),
        ..HostConfig::default()
    }
}

fn mount(plan: MountPlan) -> Mount {
    match plan {
        MountPlan::Volume { name, target, read_only } => Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name),
            target: Some(target),
            read_only: Some(read_only),
            ..Mount::default()
        },
        MountPlan::Config { source, target } => Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_string_lossy().into_owned()),
            target: Some(target),
            read_only: Some(true),
            ..Mount::default()
        },
    }
}

fn tmpfs(security: &Security) -> HashMap<String, String> {
    security
        .tmpfs
        .iter()
        .map(|tmpfs| {
            let options = format!(
                "rw,noexec,nosuid,nodev,size={}m,mode={:o},uid={},gid={}",
                tmpfs.size_mib, tmpfs.mode, tmpfs.uid, tmpfs.gid
            );
            (tmpfs.path.clone(), options)
        })
        .collect()
}

fn port_bindings(ports: &[PortPlan]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let binding =
            PortBinding { host_ip: Some(port.host_ip.to_string()), host_port: Some(port.host.to_string()) };
        bindings.entry(format!("{}/tcp", port.container)).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn open_files(limit: u32) -> Option<Vec<ResourcesUlimits>> {
    (limit > 0).then(|| {
        vec![ResourcesUlimits {
            name: Some("nofile".into()),
            soft: Some(limit.into()),
            hard: Some(limit.into()),
        }]
    })
}

fn capability(capability: Capability) -> Option<&'static str> {
    match capability {
        Capability::Unspecified => None,
        Capability::Chown => Some("CHOWN"),
        Capability::Setuid => Some("SETUID"),
        Capability::Setgid => Some("SETGID"),
        Capability::Fowner => Some("FOWNER"),
        Capability::DacOverride => Some("DAC_OVERRIDE"),
        Capability::Kill => Some("KILL"),
        Capability::NetBindService => Some("NET_BIND_SERVICE"),
    }
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use supalove_proto::node::v1::Tmpfs;

    use super::*;

    fn plan() -> ContainerPlan {
        ContainerPlan {
            project_ref: "abcdefghijklmnopqrst".into(),
            service: "postgres".into(),
            generation: 3,
            hash: "h".into(),
            image: "i:1".into(),
            command: None,
            env: vec!["A=b".into()],
            aliases: vec!["db".into()],
            ports: vec![PortPlan { container: 5432, host_ip: [127, 0, 0, 1].into(), host: 5501 }],
            mounts: vec![MountPlan::Config { source: "/s".into(), target: "/t".into() }],
            limits: Limits { cpu_millis: 500, memory_mib: 64, pids: 50, open_files: 0 },
            security: Security {
                read_only_root: true,
                add_capabilities: vec![Capability::Chown.into()],
                tmpfs: vec![Tmpfs { path: "/tmp".into(), size_mib: 8, mode: 0o1777, uid: 1, gid: 2 }],
                ..Default::default()
            },
            stop_signal: "SIGINT".into(),
            stop_grace: 30,
            shm_bytes: None,
        }
    }

    #[test]
    fn a_container_is_closed_by_default() {
        let body = body("fleet", "net", plan());
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(host.cap_add, Some(vec!["CHOWN".into()]));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".into()]));
        assert_eq!((host.privileged, host.readonly_rootfs), (Some(false), Some(true)));
        assert_eq!((host.memory, host.memory_swap), (Some(64 * MIB), Some(64 * MIB)));
        assert_eq!(host.nano_cpus, Some(500_000_000));
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert_eq!(host.network_mode.as_deref(), Some("net"));
        assert!(host.binds.is_none() && host.devices.is_none() && host.pid_mode.is_none());
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
        assert_eq!(host.tmpfs.unwrap()["/tmp"], "rw,noexec,nosuid,nodev,size=8m,mode=1777,uid=1,gid=2");
        let binding = &host.port_bindings.unwrap()["5432/tcp"].clone().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(body.labels.unwrap()[labels::SPEC_HASH], "h");
    }

    #[test]
    fn an_exception_is_explicit() {
        let mut open = plan();
        open.security.allow_new_privileges = true;
        assert_eq!(body("f", "n", open).host_config.unwrap().security_opt, None);
    }
}
