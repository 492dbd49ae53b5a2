//! Packets that did not arrive -> whose rules they met, one finding per neighbour.

use std::collections::{BTreeMap, BTreeSet};

use compile::diagnose::host_codes::{MS2001, MS2002, MS2003, MS2004, MS2005, MS2007, MS2008};
use compile::diagnose::{Code, Severity};
use kernel::nl::rulesets::{INET, IP, IP6};

use super::super::facts::{Backend, Facts, Hook, Ours};
use super::super::finding::Finding;
use super::super::probe::{Culprit, Outcome, Trial, Way};
use super::fixes;

/// The table by which firewalld closes everything while it reloads.
pub(crate) const RELOADING: &str = "firewalld_policy_drop";

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Docker,
    Ufw,
    Firewalld,
    KubeProxy,
    Iptables,
    Nftables,
    Nobody,
}

impl Owner {
    fn code(self) -> &'static Code {
        match self {
            Self::Docker => &MS2001,
            Self::Ufw => &MS2002,
            Self::Firewalld => &MS2003,
            Self::Iptables => &MS2004,
            Self::Nftables => &MS2005,
            Self::KubeProxy => &MS2007,
            Self::Nobody => &MS2008,
        }
    }

    fn does(self) -> &'static str {
        match self {
            Self::Docker => "Docker has set the policy of FORWARD to drop",
            Self::Ufw => "ufw drops",
            Self::Firewalld => "firewalld rejects",
            Self::Iptables => "iptables drops",
            Self::Nftables => "a table of nftables drops",
            Self::KubeProxy => "rules of a kube-proxy drop",
            Self::Nobody => "nobody that we know drops, and yet packets vanish on",
        }
    }
}

/// Where a way ended, as far as known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) owner: Owner,
    pub(super) legacy: bool,
    pub(super) v6: bool,
    pub(super) hook: Hook,
    /// Family, table and base chain; empty for nobody.
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) base: String,
    /// In words.
    pub(super) words: String,
}

/// One finding per owner; native tables have one each.
pub(super) fn findings(facts: &Facts, ours: &Ours, trials: &[Trial], routed_away: bool) -> Vec<Finding> {
    let mut groups: BTreeMap<(Owner, String), Vec<(Place, &Trial)>> = BTreeMap::new();
    for trial in trials {
        let Some(place) = place(facts, trial) else { continue };
        // What a policy rule leads elsewhere has its own finding.
        if place.owner == Owner::Nobody && routed_away {
            continue;
        }
        let table = if place.owner == Owner::Nftables { place.table.clone() } else { String::new() };
        groups.entry((place.owner, table)).or_default().push((place, trial));
    }
    groups.into_iter().map(|((owner, _), stopped)| finding(facts, ours, owner, &stopped)).collect()
}

fn finding(facts: &Facts, ours: &Ours, owner: Owner, stopped: &[(Place, &Trial)]) -> Finding {
    let essential = stopped.iter().any(|(_, trial)| trial.way.essential());
    let tried = stopped.iter().any(|(_, trial)| !matches!(trial.outcome, Outcome::Untried(_)));
    let mut evidence: Vec<String> = Vec::new();
    for (place, _) in stopped {
        if !place.words.is_empty() && !evidence.contains(&place.words) {
            evidence.push(place.words.clone());
        }
    }
    evidence.push(if tried {
        "packets from a throw-away namespace ended there".to_owned()
    } else {
        "by its policy; no packet was sent".to_owned()
    });
    if owner == Owner::Nobody {
        let (all, default) = &facts.rp_filter;
        evidence.push(format!("net.ipv4.conf: all.rp_filter = {all}, default.rp_filter = {default}"));
        evidence.extend(facts.unread.iter().cloned());
    }
    let places: BTreeSet<&Place> = stopped.iter().map(|(place, _)| place).collect();
    let fixes = fixes::of(facts, ours, owner, &places);
    let advice = fixes.is_empty().then(|| advice(owner).to_owned());
    Finding {
        code: owner.code(),
        severity: if essential { Severity::Problem } else { Severity::Warning },
        summary: format!("{} {}", owner.does(), ways(stopped.iter().map(|(_, trial)| *trial))),
        evidence,
        fixes,
        advice,
    }
}

fn advice(owner: Owner) -> &'static str {
    match owner {
        Owner::KubeProxy => {
            "kube-proxy --cleanup    (if it is gone and left its rules; else: --pod-cidr, --service-cidr)"
        }
        Owner::Nobody => "sysctl -w net.ipv4.conf.all.rp_filter=2    (if it is 1), then: mainstay doctor host",
        _ => "mainstay doctor host    (as root, where the rule can be read)",
    }
}

/// `pod -> pod (IPv4, IPv6), pod -> outside (IPv4)`.
fn ways<'a>(trials: impl Iterator<Item = &'a Trial>) -> String {
    let mut families: BTreeMap<Way, BTreeSet<&str>> = BTreeMap::new();
    for trial in trials {
        families.entry(trial.way).or_default().insert(if trial.v6 { "IPv6" } else { "IPv4" });
    }
    let one = |(way, families): (Way, BTreeSet<&str>)| {
        format!("{} ({})", way.text(), families.into_iter().collect::<Vec<_>>().join(", "))
    };
    families.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Where a way ended; none if it is open, or nothing is known of it.
fn place(facts: &Facts, trial: &Trial) -> Option<Place> {
    let hook = trial.way.hook();
    match &trial.outcome {
        Outcome::Arrived => None,
        Outcome::Dropped(culprit) => Some(dropped(facts, trial, culprit)),
        Outcome::Vanished { .. } => {
            let old = facts.chains.iter().filter(|chain| chain.backend == Backend::Legacy && chain.sees(trial.v6));
            let base = old.filter(|chain| chain.hook == Some(hook)).max_by_key(|chain| chain.drops);
            Some(match base {
                Some(base) => {
                    let policy = if base.drops { "policy drop" } else { "a rule of it, or of a chain behind it" };
                    let words = format!("iptables-legacy, table filter, chain {}: {policy}", base.name);
                    Place {
                        words,
                        legacy: true,
                        ..at(facts, trial, Backend::Legacy, base.family, "filter", &base.name, &base.name)
                    }
                }
                None => Place { owner: Owner::Nobody, ..at(facts, trial, Backend::Nft, 0, "", "", "") },
            })
        }
        Outcome::Untried(_) => {
            let closed = |chain: &&super::super::facts::Chain| {
                chain.hook == Some(hook) && chain.drops && chain.sees(trial.v6) && trial.way != Way::PodOutside
            };
            let base = facts.chains.iter().find(closed)?;
            let words = policy_words(base.family, &base.table, &base.name);
            let place = at(facts, trial, base.backend, base.family, &base.table, &base.name, &base.name);
            Some(Place { words, legacy: base.backend == Backend::Legacy, ..place })
        }
    }
}

fn dropped(facts: &Facts, trial: &Trial, culprit: &Culprit) -> Place {
    let Culprit { family, table, chain, base, rule } = culprit;
    let words = match rule {
        None => policy_words(*family, table, chain),
        Some(handle) => {
            let way = if chain == base { String::new() } else { format!(" (by way of {base})") };
            format!("table {} {table}, chain {chain}{way}: the rule with handle {handle}", family_name(*family))
        }
    };
    Place { words, ..at(facts, trial, Backend::Nft, *family, table, chain, base) }
}

fn policy_words(family: u8, table: &str, chain: &str) -> String {
    format!("table {} {table}, chain {chain}: policy drop", family_name(family))
}

fn at(facts: &Facts, trial: &Trial, backend: Backend, family: u8, table: &str, chain: &str, base: &str) -> Place {
    Place {
        owner: owner(facts, backend, family, table, chain),
        legacy: false,
        v6: trial.v6,
        hook: trial.way.hook(),
        family,
        table: table.to_owned(),
        base: base.to_owned(),
        words: String::new(),
    }
}

/// Whose a chain is, by its name or by what else is in its table.
fn owner(facts: &Facts, backend: Backend, family: u8, table: &str, chain: &str) -> Owner {
    let has = |prefix: &str| facts.has_chain(backend, family, table, prefix);
    // While it reloads, it has a second table that drops everything.
    if table == "firewalld" || table == RELOADING {
        return Owner::Firewalld;
    }
    if table == "kube-proxy" || chain.starts_with("KUBE-") {
        return Owner::KubeProxy;
    }
    if !is_iptables(facts, backend, family, table) {
        return Owner::Nftables;
    }
    if has("ufw") {
        return Owner::Ufw;
    }
    if has("INPUT_ZONES") || has("FORWARD_ZONES") {
        return Owner::Firewalld;
    }
    let forwards = chain == "FORWARD" || chain.starts_with("DOCKER");
    if forwards && has("DOCKER-USER") {
        return Owner::Docker;
    }
    Owner::Iptables
}

/// Whether a table is one that the program iptables keeps: its own names, in capitals.
fn is_iptables(facts: &Facts, backend: Backend, family: u8, table: &str) -> bool {
    let known = ["filter", "nat", "mangle", "raw", "security"].contains(&table) && matches!(family, IP | IP6);
    let builtin = |hook: Hook| facts.has_chain(backend, family, table, hook.chain());
    backend == Backend::Legacy
        || known
            && (builtin(Hook::Input)
                || builtin(Hook::Forward)
                || builtin(Hook::Output)
                || has_routing(facts, family, table))
}

fn has_routing(facts: &Facts, family: u8, table: &str) -> bool {
    facts.has_chain(Backend::Nft, family, table, "PREROUTING")
        || facts.has_chain(Backend::Nft, family, table, "POSTROUTING")
}

/// As nft prints it.
pub(super) fn family_name(family: u8) -> &'static str {
    match family {
        INET => "inet",
        IP => "ip",
        IP6 => "ip6",
        5 => "netdev",
        7 => "bridge",
        _ => "arp",
    }
}
