//! Reads the facts of the calling thread's network namespace: netlink dumps, `iptables-legacy-save`, files.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use compile::allocate::Cidr;
use kernel::nl::route::Rtnetlink;
use kernel::nl::rulesets::{self, IP, IP6};
use kernel::nl::{Protocol, Socket};

use super::facts::{Backend, Chain, Claim, Facts, Hook, Resolver, Route};
use super::guard::is_own;

/// Resolvers that systemd-resolved asks, in the form of a resolv.conf.
pub(crate) const RESOLVED_UPLINKS: &str = "/run/systemd/resolve/resolv.conf";
/// The administrator's version of firewalld's zone `trusted`.
pub(crate) const TRUSTED_ZONE: &str = "/etc/firewalld/zones/trusted.xml";
/// Sets of the tables named kube-proxy that hold Service addresses.
const PROXY_SETS: [&str; 3] = ["cluster-ips", "service-ips", "no-endpoint-services"];

/// Reads everything. What cannot be read is said in the facts and counts as absent.
pub(crate) fn facts() -> Facts {
    let mut facts = Facts::default();
    let mut unread = Vec::new();
    if let Err(error) = nf_tables(&mut facts) {
        unread.push(format!("rules of nf_tables: {error}"));
    }
    if let Err(error) = routing(&mut facts) {
        unread.push(format!("routes: {error}"));
    }
    for (family, list, save) in [
        (IP, "/proc/net/ip_tables_names", "iptables-legacy-save"),
        (IP6, "/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        if !std::fs::read_to_string(list).unwrap_or_default().lines().any(|table| table == "filter") {
            continue;
        }
        match saved(save) {
            Some(text) => {
                let (chains, claims) = legacy(family, &text);
                facts.chains.extend(chains);
                facts.claims.extend(claims);
            }
            None => {
                unread.push(format!("rules of iptables-legacy are loaded, and {save} is not there to show them"));
                // That they are there must not be lost.
                facts.chains.extend(Hook::of(2).map(|hook| chain(family, hook.chain(), Some(hook), false)));
            }
        }
    }
    facts.resolver = resolver();
    facts.iptables = default_iptables();
    facts.trusted_zone_changed = std::path::Path::new(TRUSTED_ZONE).exists();
    facts.rp_filter = (rp_filter("all"), rp_filter("default"));
    facts.unread = unread;
    facts
}

/// A number that is another one as soon as somebody else changes his chains or rules.
pub(crate) fn fingerprint(socket: &mut Socket) -> kernel::nl::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for chain in rulesets::chains(socket)?.iter().filter(|chain| !is_own(&chain.table.name)) {
        (&chain.table.name, chain.table.family, &chain.name, chain.hook, chain.drops).hash(&mut hasher);
    }
    for rule in rulesets::rules(socket)?.iter().filter(|rule| !is_own(&rule.table.name)) {
        (&rule.table.name, rule.table.family, &rule.chain, rule.handle).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The same of the policy rules of routing.
pub(crate) fn routing_fingerprint() -> kernel::nl::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for rule in Rtnetlink::open()?.policy_rules()? {
        rule.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn nf_tables(facts: &mut Facts) -> kernel::nl::Result<()> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let tables = rulesets::tables(&mut socket)?;
    for found in rulesets::chains(&mut socket)? {
        facts.chains.push(Chain {
            backend: Backend::Nft,
            family: found.table.family,
            table: found.table.name,
            name: found.name,
            hook: found.hook.and_then(|(number, _)| Hook::of(number)),
            drops: found.drops,
        });
    }
    for rule in rulesets::rules(&mut socket)? {
        let place = || format!("table {}, chain {}", rule.table.name, rule.chain);
        let proxy = rule.table.name == "kube-proxy" || rule.chain.starts_with("KUBE-SERVICES");
        if let Some((address, prefix)) = rule.destination.filter(|_| proxy) {
            facts.claims.extend(claim(address, prefix, place()));
        }
        // The whole range, whose unknown addresses are refused.
        if let Some(set) =
            rule.destination_set.as_ref().filter(|set| rule.table.name == "kube-proxy" && set.starts_with("__"))
        {
            facts.claims.extend(addresses(&mut socket, &rule.table, set, &place())?);
        }
    }
    for table in tables.iter().filter(|table| table.name == "kube-proxy") {
        for set in PROXY_SETS {
            facts.claims.extend(addresses(&mut socket, table, set, &format!("table kube-proxy, set {set}"))?);
        }
    }
    facts.tables = tables.into_iter().map(|table| (table.family, table.name)).collect();
    Ok(())
}

/// The addresses with which the keys of a set begin.
fn addresses(socket: &mut Socket, table: &rulesets::Table, set: &str, place: &str) -> kernel::nl::Result<Vec<Claim>> {
    let (width, bits) = if table.family == IP6 { (16, 128) } else { (4, 32) };
    let keys = rulesets::keys(socket, table, set)?;
    let address = |key: &Vec<u8>| key.get(..width).and_then(kernel::nl::parse::address);
    Ok(keys.iter().filter_map(address).filter_map(|address| claim(address, bits, place.to_owned())).collect())
}

fn claim(address: IpAddr, prefix: u8, place: String) -> Option<Claim> {
    let network = format!("{address}/{prefix}").parse().ok()?;
    Some(Claim { network, place })
}

fn routing(facts: &mut Facts) -> kernel::nl::Result<()> {
    let mut netlink = Rtnetlink::open()?;
    let links = netlink.links()?;
    facts.rules = netlink.policy_rules()?;
    facts.addresses = netlink.addresses()?.into_iter().map(|held| held.address).collect();
    for route in netlink.routes()? {
        let network: Option<Cidr> = format!("{}/{}", route.destination, route.prefix_len).parse().ok();
        let link = links.iter().find(|link| Some(link.index) == route.index).map(|link| link.name.clone());
        facts.routes.extend(network.map(|network| Route {
            network,
            table: route.table,
            link: link.unwrap_or_default(),
        }));
    }
    facts.links = links.into_iter().map(|link| link.name).collect();
    Ok(())
}

fn chain(family: u8, name: &str, hook: Option<Hook>, drops: bool) -> Chain {
    let (backend, table) = (Backend::Legacy, "filter".to_owned());
    Chain { backend, family, table, name: name.to_owned(), hook, drops }
}

/// Chains of the table `filter` and the Service addresses of a kube-proxy, from the text of `iptables-save`.
fn legacy(family: u8, text: &str) -> (Vec<Chain>, Vec<Claim>) {
    let (mut chains, mut claims) = (Vec::new(), Vec::new());
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rest) = line.strip_prefix(':').filter(|_| table == "filter") {
            let mut words = rest.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if name.is_empty() {
                continue;
            }
            let hook = [Hook::Input, Hook::Forward, Hook::Output].into_iter().find(|hook| hook.chain() == name);
            chains.push(chain(family, name, hook, policy == "DROP"));
        } else if let Some(rest) = line.strip_prefix("-A KUBE-SERVICES ") {
            let words: Vec<&str> = rest.split(' ').collect();
            let after = words.iter().position(|word| *word == "-d").and_then(|at| words.get(at + 1));
            let network = after.and_then(|text| text.parse().ok());
            claims.extend(network.map(|network| Claim { network, place: "chain KUBE-SERVICES".to_owned() }));
        }
    }
    (chains, claims)
}

/// The output of a program, if it is there and succeeds.
fn saved(program: &str) -> Option<String> {
    let output = Command::new(program).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Which rules the program `iptables` changes.
fn default_iptables() -> Option<Backend> {
    let output = Command::new("iptables").arg("-V").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(if text.contains("nf_tables") { Backend::Nft } else { Backend::Legacy })
}

/// The resolv.conf of pods that use the host's resolvers: never a stub on the host's own loopback, which is another one in
/// a pod.
pub(crate) fn resolv_conf_for_pods() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = dns::parse_resolv_conf(&text);
    if !servers.is_empty() && servers.iter().all(|server| server.ip().is_loopback()) {
        return std::fs::read_to_string(RESOLVED_UPLINKS).unwrap_or(text);
    }
    text
}

fn resolver() -> Resolver {
    let servers = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        dns::parse_resolv_conf(&text).into_iter().map(|server| server.ip()).collect()
    };
    Resolver { servers: servers("/etc/resolv.conf"), uplinks: servers(RESOLVED_UPLINKS) }
}

fn rp_filter(which: &str) -> String {
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{which}/rp_filter")).unwrap_or_default();
    value.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_rules_give_chains_policies_and_service_addresses() {
        let text = "*nat\n:FORWARD DROP [0:0]\n-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment \"x y\" -j KUBE-SVC-A\n\
            COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [1:2]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n:\n*\n";
        let (chains, claims) = legacy(IP, text);
        let found: Vec<_> = chains.iter().map(|chain| (chain.name.as_str(), chain.hook, chain.drops)).collect();
        let input = ("INPUT", Some(Hook::Input), false);
        assert_eq!(found, [input, ("FORWARD", Some(Hook::Forward), true), ("DOCKER-USER", None, false)]);
        assert_eq!(claims, [Claim { network: "10.96.0.1/32".parse().unwrap(), place: "chain KUBE-SERVICES".into() }]);
    }
}
