//! The host as far as it explains why namespaces are refused: files of /proc in, facts out.

use std::fs;
use std::path::Path;

/// Where this program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// On a host, as far as can be seen.
    #[default]
    Host,
    /// In a container of Docker, or of something that looks like it.
    Docker,
    /// In a container of podman.
    Podman,
    /// In a container of LXC, LXD or Incus.
    Lxc,
    /// In a container of systemd-nspawn.
    Nspawn,
    /// In a pod of a cluster.
    Kubernetes,
}

/// The settings of the host that explain a refusal.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// AppArmor takes the rights of user namespaces from programs without a profile (Ubuntu).
    pub(super) apparmor_restricts: bool,
    /// The AppArmor profile that holds this process, if one does.
    pub(super) apparmor_profile: Option<String>,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's own switch).
    pub(super) userns_clone_off: bool,
    /// A seccomp filter holds this process.
    pub(super) seccomp_filter: bool,
    /// The kernel was built without user namespaces.
    pub(super) no_user_namespaces: bool,
    /// The root directory is not that of the mount namespace.
    pub(super) chroot: bool,
    /// The own user or group has no number in this user namespace.
    pub(super) unmapped: bool,
    /// Limits of namespaces: name of the sysctl and value.
    pub(super) limits: Vec<(String, String)>,
    /// In what this program runs.
    pub(super) surroundings: Surroundings,
    /// Path of this program.
    pub(super) program: String,
}

impl Host {
    /// Looks around.
    pub(super) fn observe() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let names = ["user", "net", "mnt", "pid", "uts", "ipc"].map(|name| format!("user.max_{name}_namespaces"));
        let limits = names.into_iter().map(|name| {
            let value = read(&format!("/proc/sys/{}", name.replace('.', "/")));
            (name, value)
        });
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self {
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            apparmor_profile: profile(&read("/proc/self/attr/apparmor/current"))
                .or_else(|| profile(&read("/proc/self/attr/current"))),
            userns_clone_off: read("/proc/sys/kernel/unprivileged_userns_clone") == "0",
            seccomp_filter: read("/proc/self/status").lines().any(|line| line == "Seccomp:\t2"),
            no_user_namespaces: Path::new("/proc/self").exists() && !Path::new("/proc/self/ns/user").exists(),
            chroot: !root_is_a_mount(&read("/proc/self/mountinfo")),
            unmapped: [("uid", user), ("gid", group)].into_iter().any(|(map, id)| {
                // A map that cannot be read proves nothing; an empty one does.
                fs::read_to_string(format!("/proc/self/{map}_map")).is_ok_and(|map| !maps(&map, id))
            }),
            limits: limits.collect(),
            surroundings: surroundings(&read("/proc/1/environ"), &read("/run/systemd/container"), |path| {
                Path::new(path).exists()
            }),
            program: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }
}

/// The AppArmor profile in `/proc/self/attr/current`: `docker-default (enforce)`.
fn profile(text: &str) -> Option<String> {
    let name = text.trim_end_matches('\0').split(" (").next().unwrap_or_default();
    (!name.is_empty() && name != "unconfined" && text.contains("(enforce)")).then(|| name.to_owned())
}

/// Whether the root directory is a mount: in a chroot to a plain directory no line of mountinfo has the mount point `/`.
fn root_is_a_mount(mountinfo: &str) -> bool {
    mountinfo.is_empty() || mountinfo.lines().any(|line| line.split(' ').nth(4) == Some("/"))
}

/// Whether an id has a number in an id map (inside, outside, count).
fn maps(map: &str, id: u32) -> bool {
    let covers = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first..first + count).contains(&id.into()))
    };
    map.lines().any(|line| covers(line) == Some(true))
}

/// What kind of container this is: by the environment of the first process, or by the files that container programs leave.
fn surroundings(environ: &str, systemd: &str, exists: impl Fn(&str) -> bool) -> Surroundings {
    let told = environ.split('\0').find_map(|entry| entry.strip_prefix("container=")).unwrap_or(systemd);
    match told {
        "lxc" | "lxc-libvirt" => Surroundings::Lxc,
        "systemd-nspawn" => Surroundings::Nspawn,
        _ if exists("/dev/lxd/sock") || exists("/dev/incus/sock") => Surroundings::Lxc,
        _ if exists("/var/run/secrets/kubernetes.io") => Surroundings::Kubernetes,
        "podman" => Surroundings::Podman,
        _ if exists("/run/.containerenv") => Surroundings::Podman,
        "docker" => Surroundings::Docker,
        _ if exists("/.dockerenv") => Surroundings::Docker,
        _ => Surroundings::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_out_of_proc() {
        assert_eq!(profile("docker-default (enforce)\n"), Some("docker-default".to_owned()));
        assert_eq!(profile("unconfined\n"), None);
        assert_eq!(profile("/usr/bin/x (complain)"), None);
        assert!(root_is_a_mount("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw"));
        assert!(!root_is_a_mount("23 22 0:5 / /proc rw - proc proc rw"));
        assert!(maps("         0       1000          1\n", 0) && !maps("0 1000 1", 1) && maps("0 0 4294967295", 65534));
        assert!(!maps("", 0), "nobody has a number in an empty map");
    }

    #[test]
    fn containers_are_told_apart() {
        let at = |environ: &str, files: &[&str]| surroundings(environ, "", |path| files.contains(&path));
        assert_eq!(at("PATH=/bin\0container=lxc\0", &[]), Surroundings::Lxc);
        assert_eq!(at("container=systemd-nspawn", &[]), Surroundings::Nspawn);
        assert_eq!(at("container=podman", &["/run/.containerenv"]), Surroundings::Podman);
        assert_eq!(at("", &["/.dockerenv"]), Surroundings::Docker);
        assert_eq!(at("", &["/.dockerenv", "/var/run/secrets/kubernetes.io"]), Surroundings::Kubernetes);
        assert_eq!(at("HOME=/", &[]), Surroundings::Host);
        assert_eq!(surroundings("", "lxc", |_| false), Surroundings::Lxc);
    }
}
