//! Why namespaces were refused: the failing step and the host's settings in, a cause and the lines that help out.

mod host;

use std::io;

use super::Error;
use host::{Host, Surroundings};

/// Explains a refusal at `step` (`clone`, `uid_map` or `mount`).
pub(super) fn refused(step: &str, error: &io::Error) -> Error {
    Error::Refused(explain(step, error, &Host::observe()))
}

/// One line that says what was refused and why, then the lines that help.
fn explain(step: &str, error: &io::Error, host: &Host) -> String {
    let (why, next) = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EUSERS) => limit(host),
        Some(libc::EINVAL | libc::ENOSYS) => kernel(host),
        _ if host.no_user_namespaces => kernel(host),
        _ if host.unmapped => (
            "the own user or group has no number in this user namespace".to_owned(),
            "Run it as a user that is mapped here: see /proc/self/uid_map and /proc/self/gid_map".to_owned(),
        ),
        _ if contained(step, host) => container(step, host),
        _ if host.userns_clone_off => (
            "kernel.unprivileged_userns_clone is 0: only root may make them".to_owned(),
            "Allow them:        sudo sysctl -w kernel.unprivileged_userns_clone=1\n\
             After each boot:   echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-mainstay.conf\n\
             Or run as root:    sudo mainstay up --sandbox"
                .to_owned(),
        ),
        _ if host.chroot => (
            "the program runs in a chroot, and the kernel makes no user namespace there".to_owned(),
            "Run it outside of the chroot, or enter the directory with: sudo systemd-nspawn -D DIR, or sudo unshare --mount with \
             pivot_root\nOr run it as root with CAP_SYS_ADMIN: then no user namespace is needed"
                .to_owned(),
        ),
        _ if host.apparmor_restricts => apparmor(host),
        _ if host.seccomp_filter => (
            "a seccomp filter forbids them".to_owned(),
            "Run it without the filter: in a container that is --security-opt seccomp=unconfined, in a systemd unit remove \
             RestrictNamespaces= and SystemCallFilter="
                .to_owned(),
        ),
        _ => (
            "the kernel or a security module of this host forbids them, or the program runs in a chroot".to_owned(),
            "See what it logged:  sudo dmesg | tail\nOr run as root:      sudo mainstay up --sandbox".to_owned(),
        ),
    };
    format!("namespaces are refused at {step} ({error}): {why}.\n{next}")
}

/// Whether it is the container that refuses: it filters system calls, hides files or confines by a profile. One that does
/// none of these refuses nothing.
fn contained(step: &str, host: &Host) -> bool {
    let holds = host.seccomp_filter || host.apparmor_profile.is_some() || step.starts_with("mount proc");
    host.surroundings != Surroundings::Host && holds
}

/// A limit is used up: the one that is 0 is the likeliest.
fn limit(host: &Host) -> (String, String) {
    let all: Vec<_> = host.limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let zero = host.limits.iter().find(|(_, value)| value == "0");
    let name = zero.map_or("user.max_user_namespaces", |(name, _)| name);
    let why = match zero {
        Some(_) => format!("{name} is 0"),
        None => format!("a limit is used up, here or in an outer user namespace (now {})", all.join(" ")),
    };
    let next = format!(
        "Raise it:          sudo sysctl -w {name}=15000\nAfter each boot:   echo {name}=15000 | sudo tee /etc/sysctl.d/60-mainstay.conf"
    );
    let outer = match host.surroundings {
        Surroundings::Host => String::new(),
        _ => "\nIn a container type this on its host".to_owned(),
    };
    (why, next + &outer)
}

fn kernel(host: &Host) -> (String, String) {
    let why = if host.no_user_namespaces {
        "this kernel was built without user namespaces (CONFIG_USER_NS)"
    } else {
        "this kernel lacks one of the namespaces, or the program already runs several threads"
    };
    let next = "Look:              zgrep -E 'CONFIG_(USER|NET|PID|UTS|IPC)_NS' /proc/config.gz /boot/config-$(uname -r)\n\
                Or run as root:    sudo mainstay up --sandbox";
    (why.to_owned(), next.to_owned())
}

/// What a container needs to be started with.
fn container(step: &str, host: &Host) -> (String, String) {
    let cause = if step.starts_with("mount proc") {
        "the container hides parts of /proc, so that no fresh one may be mounted for pods"
    } else if host.seccomp_filter {
        "the container's seccomp filter forbids them"
    } else {
        "the container may not make them"
    };
    let confined =
        host.apparmor_profile.as_ref().map(|name| format!(" (and its AppArmor profile {name})")).unwrap_or_default();
    let apparmor = if host.apparmor_profile.is_some() || host.apparmor_restricts {
        " --security-opt apparmor=unconfined"
    } else {
        ""
    };
    let run = |program: &str, options: &str| {
        format!(
            "Start the container with: {program} run {options}{apparmor} ...\nOr with all rights:       {program} run --privileged ..."
        )
    };
    let next = match host.surroundings {
        Surroundings::Podman => run("podman", "--security-opt seccomp=unconfined --security-opt unmask=ALL"),
        Surroundings::Lxc => "Allow nesting, on the container's host: lxc config set NAME security.nesting true (incus config set NAME ...; with \
                              plain LXC lxc.include = /usr/share/lxc/config/nesting.conf), then restart the container"
            .to_owned(),
        Surroundings::Nspawn => "Start the container with: systemd-nspawn --system-call-filter=@known --capability=all ...".to_owned(),
        Surroundings::Kubernetes => "Give the pod's container this securityContext:\n  seccompProfile: {type: Unconfined}\n  \
                                     appArmorProfile: {type: Unconfined}\n  procMount: Unmasked   # needs hostUsers: false\n\
                                     Or all rights: securityContext: {privileged: true}"
            .to_owned(),
        _ => run("docker", "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"),
    };
    (format!("{cause}{confined}"), next)
}

/// Ubuntu's rule, with a profile to paste.
fn apparmor(host: &Host) -> (String, String) {
    let plain = host.program.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    let path = if plain { host.program.clone() } else { format!("\"{}\"", host.program) };
    let next = format!(
        "Allow them to this program by a profile (paste all of it):\n\
         sudo tee /etc/apparmor.d/mainstay <<'END'\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile mainstay {path} flags=(unconfined) {{\n  userns,\n  include if exists <local/mainstay>\n}}\n\
         END\n\
         sudo apparmor_parser -r /etc/apparmor.d/mainstay\n\
         Or to every program:  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n\
         Or run as root:       sudo mainstay up --sandbox"
    );
    ("Ubuntu's AppArmor takes their rights from programs without a profile".to_owned(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host { program: "/usr/bin/mainstay".into(), ..Host::default() }
    }

    fn told(code: i32, host: &Host) -> String {
        explain("clone", &io::Error::from_raw_os_error(code), host)
    }

    #[test]
    fn apparmor_comes_with_a_profile_for_this_program() {
        let text = told(libc::EPERM, &Host { apparmor_restricts: true, ..host() });
        assert!(text.contains("\nprofile mainstay /usr/bin/mainstay flags=(unconfined) {\n  userns,\n"), "{text}");
        let spaced = Host { apparmor_restricts: true, program: "/home/a b/mainstay".into(), ..host() };
        assert!(told(libc::EACCES, &spaced).contains("profile mainstay \"/home/a b/mainstay\" flags"), "quoted");
    }

    #[test]
    fn a_used_up_limit_names_the_one_that_is_zero() {
        let limits = |net: &str| {
            vec![("user.max_user_namespaces".into(), "9".into()), ("user.max_net_namespaces".into(), net.into())]
        };
        let text = told(libc::ENOSPC, &Host { limits: limits("0"), ..host() });
        assert!(
            text.contains(
                "user.max_net_namespaces is 0.\nRaise it:          sudo sysctl -w user.max_net_namespaces=15000"
            ),
            "{text}"
        );
        let text = told(libc::ENOSPC, &Host { limits: limits("7"), surroundings: Surroundings::Lxc, ..host() });
        assert!(text.contains("(now user.max_user_namespaces=9 user.max_net_namespaces=7)"), "{text}");
        assert!(text.ends_with("on its host"), "{text}");
    }

    #[test]
    fn each_cause_has_its_own_remedy() {
        let inside = |surroundings| Host { seccomp_filter: true, surroundings, ..host() };
        let confined = Host { apparmor_profile: Some("docker-default".into()), ..inside(Surroundings::Docker) };
        for (code, host, expected) in [
            (libc::EPERM, Host { seccomp_filter: true, ..host() }, "RestrictNamespaces="),
            (
                libc::EPERM,
                Host { userns_clone_off: true, ..host() },
                "sudo sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            (libc::EPERM, Host { chroot: true, ..host() }, "outside of the chroot"),
            (libc::EPERM, Host { unmapped: true, ..host() }, "/proc/self/uid_map"),
            (libc::EPERM, host(), "sudo dmesg"),
            (
                libc::EPERM,
                inside(Surroundings::Docker),
                "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined ...",
            ),
            (libc::EPERM, confined, "--security-opt apparmor=unconfined ..."),
            (
                libc::EPERM,
                inside(Surroundings::Podman),
                "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL",
            ),
            (libc::EPERM, inside(Surroundings::Lxc), "security.nesting true"),
            (libc::EPERM, inside(Surroundings::Nspawn), "systemd-nspawn"),
            (libc::EPERM, inside(Surroundings::Kubernetes), "seccompProfile: {type: Unconfined}"),
            (libc::EINVAL, host(), "CONFIG_(USER|NET"),
            (libc::EINVAL, Host { no_user_namespaces: true, ..host() }, "built without user namespaces"),
            (libc::EPERM, Host { no_user_namespaces: true, ..host() }, "built without user namespaces"),
        ] {
            let text = told(code, &host);
            assert!(text.contains(expected), "{expected}: {text}");
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            assert!(
                first.starts_with("namespaces are refused at clone (") && first.ends_with('.') && !rest.is_empty(),
                "{text}"
            );
        }
    }
}
