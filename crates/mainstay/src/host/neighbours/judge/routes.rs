//! Policy rules and routes -> cluster addresses that would leave by another link.

use std::collections::BTreeSet;
use std::net::IpAddr;

use compile::allocate::Cidr;
use compile::diagnose::Severity;
use compile::diagnose::host_codes::MS2006;

use super::super::facts::{Facts, Ours, PolicyRule, Route, overlap};
use super::super::finding::{Finding, Fix};

/// The routing tables `main` and `local`.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;
/// Protocols of Services: TCP, UDP and SCTP.
const CARRIED: [u8; 3] = [6, 17, 132];

/// Which of our packets a rule is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    /// Some that matter: of pods, of this host, or from the network.
    Ours,
    /// Those of one user, one program or a link of others.
    Few,
    /// None.
    Not,
}

/// At most a problem and a note per family.
pub(super) fn findings(facts: &Facts, ours: &Ours) -> Vec<Finding> {
    [false, true].into_iter().flat_map(|v6| family(facts, ours, v6)).collect()
}

fn family(facts: &Facts, ours: &Ours, v6: bool) -> Vec<Finding> {
    let rules: Vec<&PolicyRule> = facts.rules.iter().filter(|rule| rule.v6 == v6).collect();
    // As soon as main is asked for anything but its default route, pods and Services are found.
    let main = rules.iter().find(|rule| rule.table == Some(MAIN) && plain(rule)).map_or(u32::MAX, |rule| rule.priority);
    let ranges: Vec<&Cidr> =
        ours.pods.iter().chain(&ours.services).filter(|cidr| cidr.network.is_ipv6() == v6).collect();
    let (mut evidence, mut notes) = (Vec::new(), Vec::new());
    let mut first = u32::MAX;
    let mut covered: BTreeSet<&Cidr> = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule.priority < main && asks_for_unmarked(rule)) {
        let Some(table) = rule.table.filter(|table| ![MAIN, LOCAL].contains(table)) else { continue };
        let asked = asked(facts, ours, rule);
        for range in ranges.iter().filter(|_| asked != Asked::Not) {
            if rules.iter().any(|earlier| earlier.priority < rule.priority && leads_home(earlier, range)) {
                continue;
            }
            let Some(route) = facts.routes.iter().find(|route| leads(route, rule, table, range)) else { continue };
            let line = format!(
                "rule {}: {}lookup {table}, which has {} over {}: it covers {range}",
                rule.priority,
                condition(rule),
                route.network,
                route.link
            );
            if asked == Asked::Few {
                notes.push(line);
                continue;
            }
            first = first.min(rule.priority);
            covered.insert(range);
            evidence.push(line);
        }
    }
    let taken = |priority: u32| rules.iter().any(|rule| rule.priority == priority);
    let priority = (1..first).rev().find(|priority| !taken(*priority));
    let fixes: Vec<Fix> =
        covered.iter().zip(std::iter::repeat(priority)).filter_map(|(range, at)| fix(range, at?)).collect();
    let advice = fixes.is_empty().then(|| "choose other ranges: --pod-cidr, --service-cidr".to_owned());
    let away = covered.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let finding = |severity, summary, evidence, fixes, advice| Finding {
        code: &MS2006,
        severity,
        summary,
        evidence,
        fixes,
        advice,
    };
    let problem = (!evidence.is_empty()).then(|| {
        let summary = format!("a policy rule leads {away} elsewhere");
        finding(Severity::Problem, summary, evidence, fixes, advice)
    });
    let note = (!notes.is_empty()).then(|| {
        let summary = "a policy rule leads some packets to cluster addresses elsewhere: those of others only";
        finding(Severity::Note, summary.to_owned(), notes, Vec::new(), None)
    });
    problem.into_iter().chain(note).collect()
}

/// Whether it is asked for every packet.
fn plain(rule: &PolicyRule) -> bool {
    let narrow = narrow(rule) || rule.incoming.is_some() || rule.protocol.is_some();
    rule.mark.is_none() && rule.source.is_none() && rule.destination.is_none() && !rule.inverted && !narrow
}

/// Whether it is asked only for sockets of one user or link, or for some ports.
fn narrow(rule: &PolicyRule) -> bool {
    rule.outgoing.is_some() || rule.users.is_some() || rule.ports.iter().any(Option::is_some)
}

fn asked(facts: &Facts, ours: &Ours, rule: &PolicyRule) -> Asked {
    if rule.inverted {
        // Every packet but some.
        return Asked::Ours;
    }
    let by_source = rule.source.map_or(Asked::Ours, |source| from(facts, ours, source));
    let by_link = rule.incoming.as_deref().map_or(Asked::Ours, |link| match link {
        "lo" => Asked::Ours,
        link if facts.routes.iter().any(|route| route.link == link && route.table != LOCAL) => Asked::Ours,
        _ => Asked::Few,
    });
    let carried = rule.protocol.is_none_or(|protocol| CARRIED.contains(&protocol));
    let by_rest = if narrow(rule) || !carried { Asked::Few } else { Asked::Ours };
    by_source.max(by_link).max(by_rest)
}

/// Packets from a network matter if pods, the node or this host are in it.
fn from(facts: &Facts, ours: &Ours, (address, bits): (IpAddr, u8)) -> Asked {
    let Ok(network) = format!("{address}/{bits}").parse::<Cidr>() else { return Asked::Ours };
    let mut own = ours.node.iter().chain(&facts.addresses);
    let matters = ours.pods.iter().any(|pods| overlap(pods, &network)) || own.any(|own| network.contains(*own));
    if matters { Asked::Ours } else { Asked::Not }
}

/// What a rule asks for, as `ip rule` shows it, with a space behind.
fn condition(rule: &PolicyRule) -> String {
    let mut out = String::new();
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!("{word} {value} "));
        }
    };
    add("from", rule.source.map(|(address, bits)| format!("{address}/{bits}")));
    add("iif", rule.incoming.clone());
    add("oif", rule.outgoing.clone());
    add("uidrange", rule.users.map(|(first, last)| format!("{first}-{last}")));
    add("ipproto", rule.protocol.map(|number| number.to_string()));
    for (word, ports) in ["sport", "dport"].into_iter().zip(rule.ports) {
        add(word, ports.map(|(first, last)| format!("{first}-{last}")));
    }
    out
}

/// Whether packets without a mark are among those that it is asked for.
fn asks_for_unmarked(rule: &PolicyRule) -> bool {
    match rule.mark {
        Some((mark, mask)) => (mark & mask == 0) != rule.inverted,
        None => !rule.inverted,
    }
}

/// Whether it sends all of a range to the main table.
fn leads_home(rule: &PolicyRule, range: &Cidr) -> bool {
    let covers =
        |(address, bits)| format!("{address}/{bits}").parse::<Cidr>().is_ok_and(|network| network.covers(range));
    let all = PolicyRule { destination: None, ..rule.clone() };
    rule.table == Some(MAIN) && plain(&all) && rule.suppress.is_none() && rule.destination.is_some_and(covers)
}

fn leads(route: &Route, rule: &PolicyRule, table: u32, range: &Cidr) -> bool {
    let asked = |network: Option<(IpAddr, u8)>| {
        network.is_none_or(|(address, bits)| {
            format!("{address}/{bits}").parse::<Cidr>().is_ok_and(|network| overlap(&network, range))
        })
    };
    route.table == table
        && rule.suppress.is_none_or(|bits| u32::from(route.network.prefix) > bits)
        && route.network.network.is_ipv6() == range.network.is_ipv6()
        && overlap(&route.network, range)
        && asked(rule.destination)
}

fn fix(range: &Cidr, priority: u32) -> Option<Fix> {
    let ip = if range.network.is_ipv6() { "ip -6" } else { "ip" };
    let rule = format!("to {range} lookup main");
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Some(Fix {
        what: format!("policy rule of routing: {rule}"),
        make: words(format!("{ip} rule add {rule} priority {priority}")),
        holds: vec!["sh".into(), "-c".into(), format!("{ip} rule show | grep -qE '^{priority}:.*{rule}'")],
        undo: words(format!("{ip} rule delete {rule} priority {priority}")),
    })
}
