//! Why namespaces were refused: the failing step and the host's settings in, a cause and a command that helps out.

use std::fs;
use std::io;

use super::Error;

/// The settings of the host that explain a refusal.
#[derive(Default)]
struct Host {
    apparmor_restricts: bool,
    userns_clone_off: bool,
    seccomp_filter: bool,
    limits: Vec<(String, String)>,
    program: String,
}

/// Explains a refusal at `step` (`clone`, `uid_map` or `mount`).
pub(super) fn refused(step: &str, error: &io::Error) -> Error {
    Error::Refused(explain(step, error, &observe()))
}

fn observe() -> Host {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let names = ["user", "net", "mnt", "pid", "uts", "ipc"].map(|name| format!("user.max_{name}_namespaces"));
    let limits = names.into_iter().map(|name| {
        let value = read(&format!("/proc/sys/{}", name.replace('.', "/")));
        (name, value)
    });
    Host {
        apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
        userns_clone_off: read("/proc/sys/kernel/unprivileged_userns_clone") == "0",
        seccomp_filter: read("/proc/self/status").lines().any(|line| line == "Seccomp:\t2"),
        limits: limits.collect(),
        program: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
    }
}

fn explain(step: &str, error: &io::Error, host: &Host) -> String {
    let head = format!("user namespaces are refused at {step} ({error})");
    let code = error.raw_os_error();
    let (why, next) = if host.apparmor_restricts {
        let profile = format!(
            "abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile mainstay {} flags=(unconfined) {{ userns, }}\\n",
            host.program
        );
        (
            "Ubuntu's AppArmor denies them to programs without a profile",
            format!(
                "printf '{profile}' | sudo tee /etc/apparmor.d/mainstay && sudo apparmor_parser -r /etc/apparmor.d/mainstay; \
                 or: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or run with sudo"
            ),
        )
    } else if host.userns_clone_off {
        ("kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned())
    } else if code == Some(libc::ENOSPC) {
        let all: Vec<_> = host.limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let zero =
            host.limits.iter().find(|(_, value)| value == "0").map_or("user.max_user_namespaces", |(name, _)| name);
        return format!("{head}: a limit is 0 or used up: {}; raise it: sudo sysctl -w {zero}=15000", all.join(" "));
    } else if host.seccomp_filter {
        (
            "the seccomp filter of a container forbids them",
            "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined (on AppArmor hosts also \
             --security-opt apparmor=unconfined)"
                .to_owned(),
        )
    } else if code == Some(libc::EINVAL) {
        (
            "the kernel has no user namespaces, or the program already runs several threads",
            "check CONFIG_USER_NS".to_owned(),
        )
    } else {
        (
            "the program runs in a chroot, or its own user or group is not mapped",
            "run it outside of the chroot, or with sudo".to_owned(),
        )
    };
    format!("{head}: {why}; try: {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { program: "/usr/bin/mainstay".into(), ..Host::default() }
    }

    fn eperm() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }

    #[test]
    fn apparmor_comes_with_a_profile_for_this_program() {
        let text = explain("mount", &eperm(), &Host { apparmor_restricts: true, ..host() });
        assert!(text.contains("profile mainstay /usr/bin/mainstay flags=(unconfined)"), "{text}");
    }

    #[test]
    fn a_used_up_limit_names_the_one_that_is_zero() {
        let limits =
            vec![("user.max_user_namespaces".into(), "9".into()), ("user.max_net_namespaces".into(), "0".into())];
        let text = explain("clone", &io::Error::from_raw_os_error(libc::ENOSPC), &Host { limits, ..host() });
        assert!(text.ends_with("sudo sysctl -w user.max_net_namespaces=15000"), "{text}");
    }

    #[test]
    fn each_cause_has_its_own_remedy() {
        let seccomp = explain("clone", &eperm(), &Host { seccomp_filter: true, ..host() });
        let debian = explain("clone", &eperm(), &Host { userns_clone_off: true, ..host() });
        let chroot = explain("clone", &eperm(), &host());
        assert!(seccomp.contains("seccomp=unconfined") && debian.contains("unprivileged_userns_clone=1"));
        assert!(chroot.contains("chroot"));
    }
}
