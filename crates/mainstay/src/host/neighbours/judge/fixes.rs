//! Whose rules and at which hooks -> the lines that let pods' packets pass, in the way that the owner keeps.

use std::collections::BTreeSet;

use compile::allocate::Cidr;

use super::super::facts::{Backend, Facts, Hook, Ours};
use super::super::finding::Fix;
use super::super::read::TRUSTED_ZONE;
use super::blocked::{Owner, Place, family_name};

/// The mark of our rules in other people's chains.
const NOTE: &str = "mainstay";

/// The fixes, without doubles, in the order in which they are made.
pub(super) fn of(facts: &Facts, ours: &Ours, owner: Owner, places: &BTreeSet<&Place>) -> Vec<Fix> {
    let mut out: Vec<Fix> = Vec::new();
    for place in places {
        let Some(pods) = ours.pods_of(place.v6) else { continue };
        let fixes = match owner {
            Owner::Docker if place.hook == Hook::Forward => iptables(facts, place, "DOCKER-USER", pods),
            Owner::Docker | Owner::Iptables => iptables(facts, place, place.hook.chain(), pods),
            Owner::Ufw => ufw(place.hook, pods),
            Owner::Firewalld => firewalld(facts.trusted_zone_changed || !out.is_empty(), pods),
            Owner::Nftables => nftables(place, pods),
            Owner::KubeProxy | Owner::Nobody => Vec::new(),
        };
        for fix in fixes {
            if !out.iter().any(|other| other.make == fix.make) {
                out.push(fix);
            }
        }
    }
    out
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn script(text: String) -> Vec<String> {
    vec!["sh".to_owned(), "-c".to_owned(), text]
}

/// Packets of a hook are to or from pods: forwarded ones both.
fn ends(hook: Hook) -> &'static [(&'static str, &'static str)] {
    match hook {
        Hook::Input => &[("-s", "from")],
        Hook::Output => &[("-d", "to")],
        Hook::Forward => &[("-s", "from"), ("-d", "to")],
    }
}

fn iptables(facts: &Facts, place: &Place, chain: &str, pods: &Cidr) -> Vec<Fix> {
    let wanted = if place.legacy { Backend::Legacy } else { Backend::Nft };
    let base = if place.v6 { "ip6tables" } else { "iptables" };
    let program = match (facts.iptables, wanted) {
        (Some(default), wanted) if default == wanted => base.to_owned(),
        (_, Backend::Nft) => format!("{base}-nft"),
        (_, Backend::Legacy) => format!("{base}-legacy"),
    };
    let fix = |(option, word): &(&str, &str)| {
        let rule = format!("{chain} {option} {pods} -m comment --comment {NOTE} -j ACCEPT");
        Fix {
            what: format!("rule of {program} in {chain}: accept {word} {pods}"),
            make: words(&format!("{program} -w -I {rule}")),
            holds: words(&format!("{program} -w -C {rule}")),
            undo: words(&format!("{program} -w -D {rule}")),
        }
    };
    ends(place.hook).iter().map(fix).collect()
}

fn ufw(hook: Hook, pods: &Cidr) -> Vec<Fix> {
    let fix = |(_, word): &(&str, &str)| {
        let (route, direction) = match hook {
            Hook::Forward => ("route ", ""),
            Hook::Output => ("", "out "),
            Hook::Input => ("", ""),
        };
        let rule = format!("allow {direction}{word} {pods}");
        Fix {
            what: format!("rule of ufw: {route}{rule}"),
            make: words(&format!("ufw {route}prepend {rule}")),
            holds: script(format!("ufw show added | grep -qxF 'ufw {route}{rule}'")),
            undo: words(&format!("ufw {route}delete {rule}")),
        }
    };
    ends(hook).iter().map(fix).collect()
}

/// Both now and permanently: a reload forgets what is only now, a permanent source counts from the next reload on.
fn firewalld(zone_changed: bool, pods: &Cidr) -> Vec<Fix> {
    let source = |verb: &str| format!("--zone=trusted --{verb}-source={pods}");
    // firewalld may be stopped when we go; its files are changed then.
    let permanent = |verb: &str| {
        let rest = source(verb);
        format!("firewall-cmd -q --permanent {rest} 2>/dev/null || firewall-offline-cmd -q {rest}")
    };
    let mut undo = permanent("remove");
    if !zone_changed {
        // The file of the zone is there because of us: it goes unless somebody has put something else into it.
        undo = format!(
            "{{ {undo}; }} && {{ grep -qE '<(source|interface|service|port|protocol|rule|masquerade|icmp)' {TRUSTED_ZONE} || \
             {{ firewall-cmd -q --permanent --load-zone-defaults=trusted 2>/dev/null || true; \
             rm -f {TRUSTED_ZONE} {TRUSTED_ZONE}.old; }}; }}"
        );
    }
    vec![
        Fix {
            what: format!("source {pods} of firewalld's zone trusted, permanently"),
            make: words(&format!("firewall-cmd --permanent {}", source("add"))),
            holds: script(permanent("query")),
            undo: script(undo),
        },
        Fix {
            what: format!("source {pods} of firewalld's zone trusted"),
            make: words(&format!("firewall-cmd {}", source("add"))),
            holds: words(&format!("firewall-cmd -q {}", source("query"))),
            undo: words(&format!("firewall-cmd {}", source("remove"))),
        },
    ]
}

fn nftables(place: &Place, pods: &Cidr) -> Vec<Fix> {
    // The names go through a shell in two of the commands.
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter))
    };
    if !plain(&place.table) || !plain(&place.base) {
        return Vec::new();
    }
    let chain = format!("{} {} {}", family_name(place.family), place.table, place.base);
    let fix = |(option, word): &(&str, &str)| {
        let field = format!("{} {}addr", if place.v6 { "ip6" } else { "ip" }, if *option == "-s" { "s" } else { "d" });
        let rule = format!("{field} {pods} accept comment \"{NOTE}\"");
        let mut make = words(&format!("nft insert rule {chain} {field} {pods} accept comment"));
        make.push(format!("\"{NOTE}\""));
        Fix {
            what: format!("rule of nftables in {chain}: accept {word} {pods}"),
            make,
            holds: script(format!("nft list chain {chain} | grep -qF '{rule}'")),
            undo: script(format!(
                "nft -a list chain {chain} | sed -n 's|.*{rule} # handle \\([0-9]*\\)$|\\1|p' | while read -r handle; do \
                 nft delete rule {chain} handle \"$handle\"; done"
            )),
        }
    };
    ends(place.hook).iter().map(fix).collect()
}
