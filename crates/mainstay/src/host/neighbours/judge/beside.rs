//! Neighbours that do not eat packets by rule: kube-proxies, container networks, marks, resolvers, another Mainstay.

use compile::allocate::Cidr;
use compile::diagnose::host_codes::{MS2007, MS2009, MS2010, MS2011, MS2012, MS2013};
use compile::diagnose::{Code, Severity};
use kernel::nl::rulesets::INET;

use super::super::facts::{Backend, Facts, Ours, overlap};
use super::super::finding::Finding;

/// Marks by mask, and whose they are by custom.
const MARKS: [(u32, u32, &str); 4] = [
    (0x0008_0000, 0x00ff_0000, "Tailscale"),
    (0x0000_ca6c, u32::MAX, "WireGuard (wg-quick)"),
    (0x0000_0200, 0x0000_0f00, "Cilium"),
    (0x0000_4000, 0x0000_4000, "kube-proxy"),
];
/// Service ranges to propose.
const FREE: [&str; 4] = ["10.112.0.0/16", "10.120.0.0/16", "172.28.0.0/16", "192.168.128.0/18"];
/// Places named in one finding.
const EVIDENCE_MAX: usize = 3;

pub(super) fn findings(facts: &Facts, ours: &Ours) -> Vec<Finding> {
    let all =
        [kube_proxy(facts, ours), containers(facts), marks(facts), resolver(facts, ours), other_mainstay(facts, ours)];
    all.into_iter().flatten().collect()
}

fn note(code: &'static Code, summary: String, evidence: Vec<String>) -> Finding {
    Finding { code, severity: Severity::Note, summary, evidence, fixes: Vec::new(), advice: None }
}

fn kube_proxy(facts: &Facts, ours: &Ours) -> Option<Finding> {
    let legacy =
        |chain: &&super::super::facts::Chain| chain.name.starts_with("KUBE-") && chain.backend == Backend::Legacy;
    let has = |name: &str| facts.chains.iter().any(|chain| chain.name == name || chain.table == name);
    if !has("KUBE-SERVICES")
        && !has("kube-proxy")
        && facts.claims.is_empty()
        && !facts.chains.iter().any(|c| legacy(&c))
    {
        return None;
    }
    let clash = |network: &Cidr| ours.services.iter().any(|range| overlap(range, network));
    let claims: Vec<_> = facts.claims.iter().filter(|claim| clash(&claim.network)).collect();
    if claims.is_empty() {
        let summary =
            "a kube-proxy, or what it left, is beside us; its Service addresses are others, its node ports may not be";
        return Some(note(&MS2013, summary.to_owned(), vec!["chains KUBE-* or a table kube-proxy".to_owned()]));
    }
    let mut evidence: Vec<String> = Vec::new();
    for claim in claims.iter().take(EVIDENCE_MAX) {
        evidence.push(format!("{} in {}", claim.network, claim.place));
    }
    if claims.len() > EVIDENCE_MAX {
        evidence.push(format!("and {} more", claims.len() - EVIDENCE_MAX));
    }
    let is_free = |range: &&&str| {
        let Ok(range) = range.parse::<Cidr>() else { return false };
        let taken =
            facts.claims.iter().map(|claim| &claim.network).chain(facts.routes.iter().map(|route| &route.network));
        !taken.filter(|network| network.prefix > 0).chain(&ours.pods).any(|network| overlap(network, &range))
    };
    let free = FREE.iter().find(is_free).unwrap_or(&"CIDR");
    let six =
        ours.services.iter().find(|range| range.network.is_ipv6()).map(|range| format!(",{range}")).unwrap_or_default();
    let advice =
        format!("mainstay up --host --service-cidr {free}{six}    (or, if kube-proxy is gone: kube-proxy --cleanup)");
    let range = ours.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(Finding {
        code: &MS2007,
        severity: Severity::Problem,
        summary: format!("another kube-proxy has Services in our range {range}: it takes or refuses their packets"),
        evidence,
        fixes: Vec::new(),
        advice: Some(advice),
    })
}

fn containers(facts: &Facts) -> Option<Finding> {
    let engine = |link: &String| {
        let begins = ["docker", "br-", "podman", "cni-podman", "virbr", "lxcbr", "lxdbr"];
        begins.iter().any(|begin| link.starts_with(begin))
    };
    let found: Vec<&String> = facts.links.iter().filter(|link| engine(link)).collect();
    if found.is_empty() {
        return None;
    }
    let routes = |link: &str| {
        let own =
            facts.routes.iter().filter(|route| route.link == link && route.network.prefix > 0 && route.table == 254);
        own.map(|route| route.network.to_string()).collect::<Vec<_>>().join(", ")
    };
    let evidence =
        found.iter().map(|link| format!("{link}: {}", routes(link)).trim_end_matches(": ").to_owned()).collect();
    Some(note(&MS2010, "networks of another container engine are here; they go on as they are".to_owned(), evidence))
}

fn marks(facts: &Facts) -> Option<Finding> {
    let whose = |mark: u32, mask: u32| {
        let known = MARKS.iter().find(|(value, bits, _)| mark & bits == *value && (mask == *bits || *bits == u32::MAX));
        known.map_or("a program that we do not know", |(_, _, name)| name)
    };
    let line = |(rule, (mark, mask)): (&super::super::facts::PolicyRule, (u32, u32))| {
        let not = if rule.inverted { "not " } else { "" };
        let family = if rule.v6 { "IPv6" } else { "IPv4" };
        format!("{family} rule {}: {not}fwmark {mark:#x}/{mask:#x}, {}", rule.priority, whose(mark, mask))
    };
    let evidence: Vec<String> = facts.rules.iter().filter_map(|rule| Some((rule, rule.mark?))).map(line).collect();
    let summary = "packet marks steer routing here; Mainstay neither reads nor writes them".to_owned();
    (!evidence.is_empty()).then(|| note(&MS2009, summary, evidence))
}

fn resolver(facts: &Facts, ours: &Ours) -> Option<Finding> {
    let resolver = &facts.resolver;
    let servers = resolver.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let stub = !resolver.servers.is_empty() && resolver.servers.iter().all(|server| server.is_loopback());
    let looped = resolver.servers.iter().chain(&resolver.uplinks).any(|server| ours.dns.contains(server));
    if !stub && !looped {
        return None;
    }
    let mut evidence = vec![format!("/etc/resolv.conf: {servers}")];
    if !resolver.uplinks.is_empty() {
        let uplinks = resolver.uplinks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        evidence.push(format!("{}: {uplinks}", super::super::read::RESOLVED_UPLINKS));
    }
    let elsewhere = |server: &&std::net::IpAddr| !ours.dns.contains(server) && !server.is_loopback();
    let others = resolver.servers.iter().chain(&resolver.uplinks).filter(elsewhere).count();
    if looped && others == 0 {
        return Some(Finding {
            code: &MS2011,
            severity: Severity::Warning,
            summary: "the host's only resolver is the cluster DNS, which would ask itself: other names do not resolve"
                .to_owned(),
            evidence,
            fixes: Vec::new(),
            advice: Some(
                "name another resolver in /etc/resolv.conf, or give systemd-resolved one: DNS= in a file of \
                          /etc/systemd/resolved.conf.d"
                    .to_owned(),
            ),
        });
    }
    let dns = ours.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut finding = note(
        &MS2011,
        if looped {
            "the host asks the cluster DNS, too; the cluster DNS asks the other resolvers, never itself".to_owned()
        } else {
            "the host resolves names through a stub of its own; the cluster DNS asks it, pods are given its real resolvers".to_owned()
        },
        evidence,
    );
    if !looped {
        finding.evidence.push(format!(
            "for cluster names on the host itself, if you want them: mkdir -p /etc/systemd/resolved.conf.d && printf \
             '[Resolve]\\nDNS={dns}\\nDomains=~{}\\n' > /etc/systemd/resolved.conf.d/mainstay.conf && systemctl restart systemd-resolved",
            ours.domain
        ));
    }
    Some(finding)
}

fn other_mainstay(facts: &Facts, ours: &Ours) -> Option<Finding> {
    let there = facts.tables.iter().any(|(family, name)| *family == INET && name == compile::nft::rules::TABLE);
    (there && !ours.own_table).then(|| Finding {
        code: &MS2012,
        severity: Severity::Warning,
        summary: "a table inet mainstay is here that this instance did not make; it will be replaced".to_owned(),
        evidence: vec!["table inet mainstay".to_owned()],
        fixes: Vec::new(),
        advice: Some("mainstay down --data-dir DIR    (DIR of the other instance; if there is none: nft delete table inet mainstay)".to_owned()),
    })
}
