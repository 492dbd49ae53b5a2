//! Everything of the host that a sandbox could have touched: read from the kernel, compared line by line.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Links, addresses, routes, rules, mounts, cgroups, sysctls and the files that people fear for, a line each.
#[derive(Debug, PartialEq)]
pub(crate) struct Host(BTreeSet<String>);

impl Host {
    /// Looks at the host now.
    pub(crate) fn look() -> Self {
        let mut lines = BTreeSet::new();
        let mut add = |what: &str, line: &str| {
            lines.insert(format!("{what}: {line}"));
        };
        for line in read("/proc/net/dev").lines().skip(2) {
            add("link", line.split(':').next().unwrap_or_default().trim());
        }
        // The other columns count uses.
        for line in read("/proc/net/route").lines().skip(1) {
            add("route", &columns(line, &[0, 1, 2, 3, 6, 7]));
        }
        for line in read("/proc/net/ipv6_route").lines() {
            add("route6", &columns(line, &[0, 1, 2, 3, 4, 5, 8, 9]));
        }
        for (what, path) in [
            ("address", "/proc/net/fib_trie"),
            ("address6", "/proc/net/if_inet6"),
            ("mount", "/proc/self/mountinfo"),
            ("resolver", "/etc/resolv.conf"),
            ("name", "/etc/hosts"),
        ] {
            read(path).lines().for_each(|line| add(what, line));
        }
        let nft = Command::new("nft").args(["list", "ruleset"]).output();
        let nft = nft.expect("nft must be installed: sh scripts/test.sh does it");
        assert!(nft.status.success(), "nft list ruleset needs root: {}", String::from_utf8_lossy(&nft.stderr));
        String::from_utf8_lossy(&nft.stdout).lines().for_each(|line| add("nft", line));
        walk(Path::new("/sys/fs/cgroup"), &mut |path, directory| {
            // Cgroups named by a long number are of whoever runs commands or containers here, and come and go.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let numbered = name.len() >= 32 && name.chars().all(|digit| digit.is_ascii_hexdigit());
            // Instances of other tests have theirs; those of one's own are looked for by what it noted.
            let mainstays = path.iter().any(|part| part == "mainstay");
            if directory && !numbered && !mainstays {
                add("cgroup", &path.display().to_string());
            }
        });
        walk(Path::new("/proc/sys/net"), &mut |path, directory| {
            // How many flows there are is no setting.
            if !directory && !path.ends_with("nf_conntrack_count") {
                let value = fs::read_to_string(path).unwrap_or_else(|error| error.kind().to_string());
                add("sysctl", &format!("{} = {}", path.display(), value.trim()));
            }
        });
        for path in ["/run/netns", "/root/.kube/config"] {
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
            add("file", &format!("{path} {:?}", changed.ok()));
        }
        Self(lines)
    }

    /// Looks at the host whose network and mount namespaces a process is in. Control groups are everybody's on this
    /// machine: they are left out here. So are the files by which `mainstay ls` finds instances that are stopped.
    pub(crate) fn look_in(pid: u32) -> Self {
        let script = "exec 2>/dev/null; ip -o link | sed 's/^/link: /'; ip -o addr | sed 's/^/address: /'; \
                      ip route show table all | sed 's/^/route: /'; ip -6 route show table all | sed 's/^/route6: /'; \
                      ip rule | sed 's/^/rule: /'; ip -6 rule | sed 's/^/rule6: /'; nft -s list ruleset | sed 's/^/nft: /'; \
                      grep -rs '' /proc/sys/net | grep -v nf_conntrack_count | sed 's/^/sysctl: /'; \
                      grep -v ' nsfs ' /proc/self/mountinfo | sed 's/^/mount: /'; find /run -name '*.json' -prune -o -type f -print | sed 's/^/file: /'; \
                      sed 's/^/resolver: /' /etc/resolv.conf; sed 's/^/name: /' /etc/hosts";
        let target = pid.to_string();
        let output =
            Command::new("nsenter").args(["--target", &target, "--net", "--mount", "sh", "-c", script]).output();
        let output = output.expect("nsenter must be installed (util-linux)");
        let text = String::from_utf8_lossy(&output.stdout);
        // Lifetimes and cache entries count down by themselves.
        let lines = text.lines().map(|line| line.split(" valid_lft").next().unwrap_or(line).trim_end().to_owned());
        let host = Self(lines.collect());
        for what in ["link", "address", "route", "route6", "sysctl", "mount"] {
            assert!(host.count(what) > 0, "no {what} was found: the comparison would hold nothing");
        }
        host
    }

    /// How many lines of one sort there are.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.iter().filter(|line| line.starts_with(&format!("{what}: "))).count()
    }

    /// What came (+) and went (-) since `before`.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<String> {
        let came = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        came.chain(before.0.difference(&self.0).map(|line| format!("- {line}"))).collect()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn columns(line: &str, wanted: &[usize]) -> String {
    let fields: Vec<&str> = line.split_whitespace().collect();
    wanted.iter().filter_map(|index| fields.get(*index).copied()).collect::<Vec<_>>().join(" ")
}

/// Calls `visit` with every path below a directory, and whether it is a directory; follows no links.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path, bool)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&entry.path(), is_directory);
        if is_directory {
            walk(&entry.path(), visit);
        }
    }
}
