//! The rights and limits of a container: what its Pod says in, what the holder is told out. Pure but for `/etc/passwd`.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use rustix::thread::CapabilitySet;

use crate::cgroup::Limits;
use crate::holder::security::{KEPT, Security};

/// Kernel settings of a pod's own namespaces that harm nobody else; Kubernetes' list of safe ones.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
/// Names of the capabilities by number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The rights of a container whose image runs as `image_user`; the error is the message of `CreateContainerConfigError`.
/// `passwd` is the text of `/etc/passwd`.
pub(super) fn of(pod: &Pod, container: &Container, image_user: u32, passwd: &str) -> Result<Security, String> {
    let (no_spec, no_pod, no_own) = (PodSpec::default(), PodSecurityContext::default(), SecurityContext::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let whole = spec.security_context.as_ref().unwrap_or(&no_pod);
    let own = container.security_context.as_ref().unwrap_or(&no_own);
    let asked_user = own.run_as_user.or(whole.run_as_user);
    if own.run_as_non_root.or(whole.run_as_non_root) == Some(true) {
        let why = match (asked_user, image_user) {
            (Some(0), _) => "container's runAsUser breaks non-root policy",
            (None, 0) => "container has runAsNonRoot and image will run as root",
            _ => "",
        };
        if !why.is_empty() {
            return Err(format!("{why} (pod: \"{}\", container: {})", shown(pod), container.name));
        }
    }
    let uid = asked_user.map_or(Ok(image_user), |user| id("runAsUser", user))?;
    let gid = match own.run_as_group.or(whole.run_as_group) {
        Some(group) => id("runAsGroup", group)?,
        None if asked_user.is_none() => image_user,
        None => group_of(passwd, uid),
    };
    let groups = whole.supplemental_groups.iter().flatten().map(|group| id("supplementalGroups", *group));
    let privileged = own.privileged == Some(true);
    let capabilities = capabilities(own.capabilities.as_ref())?;
    let base = if privileged { Security::privileged() } else { Security::default() };
    let adds = capabilities & !KEPT != 0;
    let escalates = match own.allow_privilege_escalation {
        Some(allowed) => allowed,
        None => privileged || adds,
    };
    Ok(Security {
        uid,
        gid,
        groups: groups.collect::<Result<_, _>>()?,
        fs_group: whole.fs_group.map(|group| id("fsGroup", group)).transpose()?,
        capabilities: if privileged { base.capabilities } else { capabilities },
        no_new_privileges: !escalates,
        seccomp: !privileged && filtered(own.seccomp_profile.as_ref().or(whole.seccomp_profile.as_ref()))?,
        // Sharing the node's network or IPC is no reason: the node's files would be its root's.
        host_users: privileged || adds && uid == 0 || spec.host_users == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        read_only_root: own.read_only_root_filesystem == Some(true),
        masked: !privileged && own.proc_mount.as_deref() != Some("Unmasked"),
        sysctls: sysctls(whole)?,
        ..base
    })
}

/// Whether a container runs with the node's users, as far as its manifest tells.
pub(crate) fn has_node_users(spec: &PodSpec, container: &Container) -> bool {
    let own = container.security_context.as_ref();
    let whole = spec.security_context.as_ref();
    let user = own.and_then(|own| own.run_as_user).or(whole.and_then(|whole| whole.run_as_user));
    let asked = own.and_then(|own| own.capabilities.as_ref());
    let adds = capabilities(asked).is_ok_and(|capabilities| capabilities & !KEPT != 0);
    let privileged = own.is_some_and(|own| own.privileged == Some(true));
    privileged || adds && user.unwrap_or(0) == 0 || spec.host_users == Some(true)
}

fn id(field: &str, id: i64) -> Result<u32, String> {
    u32::try_from(id).map_err(|_| format!("{field}: {id} is no id: give a number from 0 to 2147483647"))
}

/// `NAME_NAMESPACE(UID)`, as the kubelet names pods in messages.
fn shown(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}_{}({})", text(&pod.metadata.name), text(&pod.metadata.namespace), text(&pod.metadata.uid))
}

/// The group that the host's list of users gives a user; 0 for one that is not there, as container runtimes do.
fn group_of(passwd: &str, uid: u32) -> u32 {
    let group = passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse::<u32>().ok()? == uid;
        found.then(|| fields.next()?.parse().ok()).flatten()
    });
    group.unwrap_or(0)
}

fn capabilities(asked: Option<&Capabilities>) -> Result<u64, String> {
    let none = Vec::new();
    let add = asked.and_then(|asked| asked.add.as_ref()).unwrap_or(&none);
    let drop = asked.and_then(|asked| asked.drop.as_ref()).unwrap_or(&none);
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut set = match (drop.iter().any(is_all), add.iter().any(is_all)) {
        (_, true) => CapabilitySet::all().bits(),
        (true, false) => 0,
        (false, false) => KEPT,
    };
    for name in add.iter().filter(|name| !is_all(name)) {
        set |= bit(name)?;
    }
    // With ALL dropped, what is added by name stays.
    for name in drop.iter().filter(|name| !is_all(name)) {
        set &= !bit(name)?;
    }
    Ok(set)
}

fn bit(name: &str) -> Result<u64, String> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let number = NAMES.iter().position(|known| *known == plain);
    let unknown = || format!("unknown capability \"{name}\": use a name such as NET_BIND_SERVICE (capabilities(7))");
    number.map(|number| 1 << number).ok_or_else(unknown)
}

/// Whether system calls are filtered. Without a profile they are, unlike in Kubernetes: programs of the host are run.
fn filtered(profile: Option<&SeccompProfile>) -> Result<bool, String> {
    match profile.map(|profile| profile.type_.as_str()) {
        None | Some("RuntimeDefault") => Ok(true),
        Some("Unconfined") => Ok(false),
        Some(other) => Err(format!(
            "seccompProfile.type {other} is not supported: profiles of the node are not read; use RuntimeDefault or Unconfined"
        )),
    }
}

fn sysctls(whole: &PodSecurityContext) -> Result<Vec<(String, String)>, String> {
    let one = |name: &str, value: &str| {
        let name = name.replace('/', ".");
        if SAFE_SYSCTLS.contains(&name.as_str()) {
            return Ok((name, value.to_owned()));
        }
        Err(format!("forbidden sysctl: \"{name}\" not allowlisted"))
    };
    whole.sysctls.iter().flatten().map(|sysctl| one(&sysctl.name, &sysctl.value)).collect()
}

/// The limits of a container.
pub(super) fn limits(container: &Container) -> Limits {
    let Some(resources) = &container.resources else { return Limits::default() };
    let nanos = |list: &Option<std::collections::BTreeMap<String, _>>, name: &str| {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = list.as_ref()?.get(name)?;
        u128::try_from(api::quantity::nanos(&quantity.0)?).ok()
    };
    // Rounded up: half a byte is a byte, and nothing asked for becomes nothing.
    let count = |nanos: u128, unit: u128| u64::try_from(nanos.div_ceil(unit)).unwrap_or(u64::MAX);
    let milli = |nanos| count(nanos, 1_000_000);
    let cpu = nanos(&resources.limits, "cpu").map(milli).filter(|cpu| *cpu > 0);
    Limits {
        memory: nanos(&resources.limits, "memory").map(|nanos| count(nanos, 1_000_000_000)).filter(|bytes| *bytes > 0),
        cpu,
        cpu_request: nanos(&resources.requests, "cpu").map(milli).or(cpu),
    }
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
