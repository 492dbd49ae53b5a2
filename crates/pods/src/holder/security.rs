//! What a container may do: its rights, as the kubelet decided them, in; a process without any others out.
//!
//! The default, for a manifest that says nothing: a short list of capabilities, `no_new_privs`, a seccomp filter, masked
//! `/proc`, and (where the holder has user ids to give) a user namespace of the container's own, so that its root is
//! nobody on the host. Programs of the image `mainstay/host` expect to be root: inside they are, outside they are not,
//! and neither `/etc/shadow` nor another user's files can be read by it although the whole file system is shown.
//! A pod that says `hostUsers: true`, is privileged or asks for further capabilities (which mean something only over the
//! namespaces of the node) runs with the node's users. Sharing the node's network alone is no reason: in Kubernetes such a
//! pod sees its image only, here it would read every file of the node.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::{seccomp, user};

/// What a container keeps of root's powers: Docker's list without raw sockets, device nodes, file capabilities and audit
/// records. Without SYS_ADMIN, NET_ADMIN and SYS_PTRACE no pod can edit the node's network or enter another pod.
pub const KEPT: u64 = CapabilitySet::CHOWN.bits()
    | CapabilitySet::DAC_OVERRIDE.bits()
    | CapabilitySet::FSETID.bits()
    | CapabilitySet::FOWNER.bits()
    | CapabilitySet::SETGID.bits()
    | CapabilitySet::SETUID.bits()
    | CapabilitySet::SETPCAP.bits()
    | CapabilitySet::NET_BIND_SERVICE.bits()
    | CapabilitySet::SYS_CHROOT.bits()
    | CapabilitySet::KILL.bits();
/// Highest capability number that is tried; the kernel answers EINVAL for those it does not know.
const LAST_CAPABILITY: u32 = 63;

/// The rights of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// User inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Group that owns the volumes.
    pub fs_group: Option<u32>,
    /// Capabilities that may be had at all, one bit each.
    pub capabilities: u64,
    /// Programs cannot give more rights than their caller has.
    pub no_new_privileges: bool,
    /// System calls are filtered.
    pub seccomp: bool,
    /// Nothing is taken away, devices are shown.
    pub privileged: bool,
    /// No user namespace of its own where one could be avoided.
    pub host_users: bool,
    /// Shares the node's System V IPC and POSIX queues.
    pub host_ipc: bool,
    /// Every file system but volumes is read-only.
    pub read_only_root: bool,
    /// The delicate parts of `/proc` and `/sys` are hidden or read-only.
    pub masked: bool,
    /// Kernel settings of the container's namespaces: name with dots, value.
    pub sysctls: Vec<(String, String)>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            fs_group: None,
            capabilities: KEPT,
            no_new_privileges: true,
            seccomp: true,
            privileged: false,
            host_users: false,
            host_ipc: false,
            read_only_root: false,
            masked: true,
            sysctls: Vec::new(),
        }
    }
}

impl Security {
    /// What a privileged container has.
    pub fn privileged() -> Self {
        Self {
            capabilities: u64::MAX,
            no_new_privileges: false,
            seccomp: false,
            privileged: true,
            host_users: true,
            masked: false,
            ..Self::default()
        }
    }
}

/// Gives up every right that the container is not to have; the calling process is in the container's user namespace
/// already. The user is changed last: everything before it needs root's powers there.
pub(super) fn confine(security: &Security) -> io::Result<()> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    for number in (0..=LAST_CAPABILITY).filter(|number| security.capabilities & (1 << number) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("drop capabilities")(error.into())),
        }
    }
    if security.no_new_privileges {
        rustix::thread::set_no_new_privs(true)?;
    }
    if security.seccomp {
        seccomp::install(security.capabilities).map_err(failed("filter system calls"))?;
    }
    user::become_user(security)?;
    let has = rustix::thread::capabilities(None)?.permitted;
    let kept = CapabilitySet::from_bits_retain(security.capabilities) & has;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(|error| failed("drop capabilities")(error.into()))
}

/// Writes the kernel settings of the namespaces that the calling process is in.
pub(super) fn set_sysctls(sysctls: &[(String, String)]) -> io::Result<()> {
    for (name, value) in sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value)
            .map_err(|error| io::Error::new(error.kind(), format!("sysctl {name}={value}: {error}")))?;
    }
    Ok(())
}
