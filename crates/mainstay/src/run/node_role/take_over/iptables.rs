//! What `iptables-save` prints in, what `iptables-restore --noflush` needs to remove kube-proxy's chains out.
//!
//! Only chains that kube-proxy makes are named; the kubelet's (KUBE-FIREWALL, KUBE-MARK-DROP, KUBE-KUBELET-CANARY) stay.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The programs, by backend and family; what is not installed has no rules.
const PROGRAMS: [&str; 4] = ["iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"];
/// Chains of kube-proxy's iptables and ipvs modes.
const CHAINS: [&str; 15] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-FIREWALL-PROXY",
    "KUBE-PROXY-NODEPORTS",
];
/// How the chains of a Service or an endpoint begin.
const PREFIXES: [&str; 5] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];

fn is_theirs(chain: &str) -> bool {
    CHAINS.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// The input of `iptables-restore --noflush` that removes the chains and what jumps to them; none if there are none. Each
/// table is one transaction.
fn removal(saved: &str) -> Option<String> {
    let mut script = String::new();
    let mut table: Vec<&str> = Vec::new();
    for line in saved.lines() {
        if line.starts_with('*') {
            table.clear();
        }
        table.push(line);
        if line == "COMMIT" {
            script.push_str(&of_table(&table));
            table.clear();
        }
    }
    (!script.is_empty()).then_some(script)
}

fn of_table(lines: &[&str]) -> String {
    let name = |line: &str| line.strip_prefix(':').and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let chains: BTreeSet<String> =
        lines.iter().filter_map(|line| name(line)).filter(|chain| is_theirs(chain)).collect();
    let Some(head) = lines.first().filter(|_| !chains.is_empty()) else { return String::new() };
    let jumps = lines.iter().filter_map(|line| line.strip_prefix("-A ")).filter(|rule| {
        let mut words = rule.split(' ');
        let from = words.next().unwrap_or_default();
        let mut target = words.skip_while(|word| !["-j", "-g"].contains(word)).skip(1);
        !chains.contains(from) && target.next().is_some_and(|target| chains.contains(target))
    });
    let mut text = format!("{head}\n");
    jumps.for_each(|rule| text.push_str(&format!("-D {rule}\n")));
    chains.iter().for_each(|chain| text.push_str(&format!("-F {chain}\n")));
    chains.iter().for_each(|chain| text.push_str(&format!("-X {chain}\n")));
    text.push_str("COMMIT\n");
    text
}

/// What there is to remove, in words.
pub(super) fn find() -> Vec<String> {
    PROGRAMS
        .into_iter()
        .filter(|program| saved(program).is_some_and(|text| removal(&text).is_some()))
        .map(words)
        .collect()
}

fn words(program: &str) -> String {
    format!("chains of {program}")
}

fn saved(program: &str) -> Option<String> {
    let output = Command::new(format!("{program}-save")).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes them; what was removed, in words.
pub(super) fn remove() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for program in PROGRAMS {
        let Some(script) = saved(program).and_then(|text| removal(&text)) else { continue };
        let restore = format!("{program}-restore");
        let mut child = Command::new(&restore)
            .args(["--noflush", "--wait", "5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {restore}"))?;
        child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()))?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{restore}: {}", said.lines().next().unwrap_or("it failed without a word"));
        }
        removed.push(words(program));
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kube_proxy_made_is_removed() {
        let saved = "\
# Generated
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
COMMIT
";
        let expected = "\
*nat
-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-F KUBE-SERVICES
-F KUBE-SVC-ABC
-X KUBE-SERVICES
-X KUBE-SVC-ABC
COMMIT
";
        assert_eq!(removal(saved).as_deref(), Some(expected));
        assert_eq!(removal("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"), None);
    }
}
