//! Facts as hosts have them, findings with their lines.

use compile::diagnose::Severity;
use kernel::nl::rulesets::{INET, IP, IP6};

use super::super::facts::{Backend, Chain, Claim, Facts, Hook, Ours, PolicyRule, Resolver, Route};
use super::super::probe::{Culprit, Outcome, Trial, Way};
use super::*;

fn ours() -> Ours {
    Ours {
        pods: vec!["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/64".parse().unwrap()],
        services: vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()],
        dns: vec!["10.96.0.10".parse().unwrap()],
        node: vec!["10.244.0.1".parse().unwrap()],
        domain: "cluster.local".into(),
        own_table: false,
    }
}

fn chain(backend: Backend, family: u8, table: &str, name: &str, drops: bool) -> Chain {
    let hook = [Hook::Input, Hook::Forward, Hook::Output].into_iter().find(|hook| hook.chain() == name.to_uppercase());
    Chain { backend, family, table: table.into(), name: name.into(), hook, drops }
}

fn facts(backend: Backend, family: u8, table: &str, chains: &[&str]) -> Facts {
    let drops = |name: &str| name.eq_ignore_ascii_case("FORWARD");
    let chains = chains.iter().map(|name| chain(backend, family, table, name, drops(name))).collect();
    Facts { chains, iptables: Some(Backend::Nft), ..Facts::default() }
}

fn trial(way: Way, v6: bool, outcome: Outcome) -> Trial {
    Trial { way, tcp: true, v6, outcome }
}

fn dropped(family: u8, table: &str, chain: &str, base: &str) -> Outcome {
    let (table, chain, base) = (table.into(), chain.into(), base.into());
    let rule = (chain != base).then_some(9);
    Outcome::Dropped(Culprit { family, table, chain, base, rule })
}

fn only(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().unwrap()
}

#[test]
fn dockers_policy_is_mended_in_dockers_own_chain() {
    let facts = facts(Backend::Nft, IP, "filter", &["INPUT", "FORWARD", "DOCKER-USER"]);
    let end = || dropped(IP, "filter", "FORWARD", "FORWARD");
    let trials = [trial(Way::PodToPod, false, end()), trial(Way::PodOutside, false, end())];
    let finding = only(judge(&facts, &ours(), &trials));
    assert_eq!((finding.code.id, finding.severity), ("MS2001", Severity::Problem));
    assert_eq!(finding.evidence[0], "table ip filter, chain FORWARD: policy drop");
    assert_eq!(
        finding.lines(),
        [
            "iptables -w -I DOCKER-USER -s 10.244.0.0/16 -m comment --comment mainstay -j ACCEPT",
            "iptables -w -I DOCKER-USER -d 10.244.0.0/16 -m comment --comment mainstay -j ACCEPT"
        ]
    );
    assert!(finding.text().contains("undo: iptables -w -D DOCKER-USER -d"), "{}", finding.text());
    // Only the way out: the cluster is of use without it.
    let finding = only(judge(&facts, &ours(), &trials[1..]));
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn each_owner_is_told_by_its_chains_and_mended_in_its_way() {
    for (backend, family, table, chains, end, code, line) in [
        (
            Backend::Nft,
            IP,
            "filter",
            &["INPUT", "ufw-reject-input"][..],
            "INPUT",
            "MS2002",
            "ufw prepend allow from 10.244.0.0/16",
        ),
        (Backend::Nft, IP, "filter", &["INPUT"], "INPUT", "MS2004", "iptables -w -I INPUT -s 10.244.0.0/16"),
        (
            Backend::Nft,
            INET,
            "firewalld",
            &["filter_INPUT"],
            "filter_INPUT",
            "MS2003",
            "firewall-cmd --permanent --zone=trusted",
        ),
        (
            Backend::Nft,
            INET,
            "fence",
            &["in"],
            "in",
            "MS2005",
            "nft insert rule inet fence in ip saddr 10.244.0.0/16 accept comment",
        ),
        (Backend::Nft, IP, "filter", &["INPUT", "KUBE-FIREWALL"], "KUBE-FIREWALL", "MS2007", "kube-proxy --cleanup"),
    ] {
        let facts = facts(backend, family, table, chains);
        let outcome = dropped(family, table, end, chains[0]);
        let findings = judge(&facts, &ours(), &[trial(Way::PodToDns, false, outcome)]);
        let finding = findings.iter().find(|finding| finding.code.id == code);
        let finding = finding.unwrap_or_else(|| panic!("{code}: {findings:#?}"));
        assert!(finding.lines()[0].starts_with(line), "{:?}", finding.lines());
    }
    // Names that a shell would take for more are not pasted into one.
    let facts = facts(Backend::Nft, INET, "a;b", &["in"]);
    let finding = only(judge(&facts, &ours(), &[trial(Way::PodToDns, false, dropped(INET, "a;b", "in", "in"))]));
    assert!(finding.fixes.is_empty() && finding.advice.is_some());
}

#[test]
fn what_vanishes_is_blamed_on_legacy_rules_or_on_nobody() {
    let vanished = [trial(Way::PodToPod, true, Outcome::Vanished { seen: true })];
    let old = facts(Backend::Legacy, IP6, "filter", &["FORWARD"]);
    let finding = only(judge(&old, &ours(), &vanished));
    assert_eq!(finding.code.id, "MS2004");
    assert!(
        finding.lines()[0].starts_with("ip6tables-legacy -w -I FORWARD -s fd00:10:244::/64"),
        "{:?}",
        finding.lines()
    );
    let finding = only(judge(&Facts::default(), &ours(), &vanished));
    assert_eq!(finding.code.id, "MS2008");
    assert!(judge(&old, &ours(), &[trial(Way::PodToPod, true, Outcome::Arrived)]).is_empty());
    let untried = |way| [trial(way, true, Outcome::Untried("forwarding is off".into()))];
    assert_eq!(only(judge(&old, &ours(), &untried(Way::PodToPod))).code.id, "MS2004", "by its policy");
    assert!(judge(&old, &ours(), &untried(Way::PodToDns)).is_empty());
}

fn rule(priority: u32, table: u32) -> PolicyRule {
    PolicyRule { priority, table: Some(table), ..PolicyRule::default() }
}

#[test]
fn a_rule_for_packets_of_others_is_no_problem() {
    let default = |table, link: &str| Route { network: "0.0.0.0/0".parse().unwrap(), table, link: link.into() };
    let with = |rule: PolicyRule| {
        let rules = vec![self::rule(0, 255), rule, self::rule(32766, 254)];
        let routes = vec![default(100, "eth1"), default(254, "eth0")];
        let addresses = vec!["192.168.1.10".parse().unwrap(), "172.18.0.1".parse().unwrap()];
        let findings = judge(&Facts { rules, routes, addresses, ..Facts::default() }, &ours(), &[]);
        findings.first().map(|finding| (finding.code.id, finding.severity, finding.fixes.len()))
    };
    let problem = Some(("MS2006", Severity::Problem, 2));
    let note = Some(("MS2006", Severity::Note, 0));
    let base = || rule(100, 100);
    let from = |text: &str, bits| PolicyRule { source: Some((text.parse().unwrap(), bits)), ..base() };
    let iif = |link: &str| PolicyRule { incoming: Some(link.into()), ..base() };
    assert_eq!(with(base()), problem);
    assert_eq!(with(from("192.168.9.0", 24)), None, "somebody else's network");
    for (text, bits) in [("192.168.1.10", 32), ("10.244.0.1", 32), ("10.244.7.0", 24), ("172.18.0.0", 16)] {
        assert_eq!(with(from(text, bits)), problem, "{text}/{bits}");
    }
    assert_eq!(with(iif("lo")), problem, "programs of this host");
    assert_eq!(with(iif("eth0")), problem, "packets from the network to node ports");
    assert_eq!(with(iif("gone0")), note);
    assert_eq!(with(PolicyRule { outgoing: Some("eth1".into()), ..base() }), note);
    assert_eq!(with(PolicyRule { users: Some((1000, 1000)), ..base() }), note);
    assert_eq!(with(PolicyRule { ports: [None, Some((25, 25))], ..base() }), note);
    assert_eq!(with(PolicyRule { protocol: Some(47), ..base() }), note);
    assert_eq!(with(PolicyRule { protocol: Some(6), ..base() }), problem);
    assert_eq!(with(PolicyRule { users: Some((0, 9)), ..from("192.168.9.0", 24) }), None);
    // A way home for one user's packets is none for the others.
    let rules = vec![
        PolicyRule { destination: Some(("10.0.0.0".parse().unwrap(), 8)), users: Some((0, 9)), ..rule(50, 254) },
        base(),
        rule(32766, 254),
    ];
    let facts = Facts { rules, routes: vec![default(100, "eth1")], ..Facts::default() };
    assert_eq!(only(judge(&facts, &ours(), &[])).severity, Severity::Problem);
}

#[test]
fn a_vpn_is_harmless_unless_its_table_comes_first_and_covers_us() {
    let route = |network: &str, table| Route { network: network.parse().unwrap(), table, link: "wg0".into() };
    let not_marked = PolicyRule { mark: Some((0xca6c, u32::MAX)), inverted: true, ..rule(200, 51820) };
    let specific = PolicyRule { suppress: Some(0), ..rule(100, 254) };
    let base = || vec![rule(0, 255), rule(32766, 254)];
    let with = |more: Vec<PolicyRule>, routes: Vec<Route>| {
        let mut rules = [base(), more].concat();
        rules.sort_by_key(|rule| rule.priority);
        judge(&Facts { rules, routes, ..Facts::default() }, &ours(), &[])
    };
    let finding = only(with(vec![not_marked.clone(), specific], vec![route("0.0.0.0/0", 51820)]));
    assert_eq!((finding.code.id, finding.severity), ("MS2009", Severity::Note), "wg-quick asks main first");
    assert!(finding.evidence[0].contains("not fwmark 0xca6c/0xffffffff, WireGuard"), "{finding:?}");

    let findings = with(vec![not_marked], vec![route("0.0.0.0/0", 51820)]);
    assert_eq!(findings[0].code.id, "MS2006");
    assert_eq!(
        findings[0].lines(),
        [
            "ip rule add to 10.96.0.0/16 lookup main priority 199",
            "ip rule add to 10.244.0.0/16 lookup main priority 199"
        ]
    );
    let marked = PolicyRule { mark: Some((0x80000, 0xff0000)), ..rule(5210, 52) };
    assert_eq!(only(with(vec![marked], vec![route("0.0.0.0/0", 52)])).code.id, "MS2009");
    assert!(with(vec![rule(5270, 52)], vec![route("100.64.0.0/10", 52)]).is_empty());
    assert_eq!(only(with(vec![rule(5270, 52)], vec![route("10.0.0.0/8", 52)])).code.id, "MS2006");
}

#[test]
fn a_kube_proxy_matters_if_its_addresses_are_ours() {
    let claim = |network: &str| Claim { network: network.parse().unwrap(), place: "chain KUBE-SERVICES".into() };
    let with = |networks: &[&str]| {
        let base = facts(Backend::Nft, IP, "nat", &["KUBE-SERVICES"]);
        Facts { claims: networks.iter().map(|network| claim(network)).collect(), ..base }
    };
    let finding = only(judge(&with(&["10.43.0.1/32"]), &ours(), &[]));
    assert_eq!((finding.code.id, finding.severity), ("MS2013", Severity::Note));
    let finding = only(judge(&with(&["10.96.0.1/32", "10.96.0.10/32", "10.112.4.4/32"]), &ours(), &[]));
    assert_eq!((finding.code.id, finding.severity), ("MS2007", Severity::Problem));
    assert!(finding.lines()[0].starts_with("mainstay up --host --service-cidr 10.120.0.0/16,fd00:10:96::/112"));
}

#[test]
fn a_stub_is_noted_and_a_loop_without_another_resolver_warned_of() {
    let with = |servers: &[&str], uplinks: &[&str]| {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let resolver = Resolver { servers: parse(servers), uplinks: parse(uplinks) };
        judge(&Facts { resolver, ..Facts::default() }, &ours(), &[])
    };
    assert!(with(&["192.0.2.1"], &[]).is_empty());
    let finding = only(with(&["127.0.0.53"], &["192.0.2.1"]));
    assert_eq!(finding.severity, Severity::Note);
    assert!(finding.evidence[2].contains("Domains=~cluster.local"), "{finding:?}");
    assert_eq!(only(with(&["127.0.0.53"], &["10.96.0.10", "192.0.2.1"])).severity, Severity::Note);
    let finding = only(with(&["127.0.0.53"], &["10.96.0.10"]));
    assert_eq!((finding.severity, finding.code.id), (Severity::Warning, "MS2011"));
}
