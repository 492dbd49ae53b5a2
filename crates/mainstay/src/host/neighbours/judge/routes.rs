//! Policy rules and routes -> cluster addresses that would leave by another link.

use std::collections::BTreeSet;

use compile::allocate::Cidr;
use compile::diagnose::Severity;
use compile::diagnose::host_codes::MS2006;

use super::super::facts::{Facts, Ours, PolicyRule, Route, overlap};
use super::super::finding::{Finding, Fix};

/// The routing tables `main` and `local`.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// One finding per family at most.
pub(super) fn findings(facts: &Facts, ours: &Ours) -> Vec<Finding> {
    [false, true].into_iter().filter_map(|v6| family(facts, ours, v6)).collect()
}

fn family(facts: &Facts, ours: &Ours, v6: bool) -> Option<Finding> {
    let rules: Vec<&PolicyRule> = facts.rules.iter().filter(|rule| rule.v6 == v6).collect();
    // As soon as main is asked for anything but its default route, pods and Services are found.
    let main = rules.iter().find(|rule| rule.table == Some(MAIN) && plain(rule)).map_or(u32::MAX, |rule| rule.priority);
    let ranges: Vec<&Cidr> =
        ours.pods.iter().chain(&ours.services).filter(|cidr| cidr.network.is_ipv6() == v6).collect();
    let mut evidence = Vec::new();
    let mut first = u32::MAX;
    let mut covered: BTreeSet<&Cidr> = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule.priority < main && asks_for_unmarked(rule)) {
        let Some(table) = rule.table.filter(|table| ![MAIN, LOCAL].contains(table)) else { continue };
        for range in &ranges {
            if rules.iter().any(|earlier| earlier.priority < rule.priority && leads_home(earlier, range)) {
                continue;
            }
            let Some(route) = facts.routes.iter().find(|route| leads(route, rule, table, range)) else { continue };
            first = first.min(rule.priority);
            covered.insert(range);
            evidence.push(format!(
                "rule {}: lookup {table}, which has {} over {}: it covers {range}",
                rule.priority, route.network, route.link
            ));
        }
    }
    let taken = |priority: u32| rules.iter().any(|rule| rule.priority == priority);
    let priority = (1..first).rev().find(|priority| !taken(*priority));
    let fixes: Vec<Fix> =
        covered.iter().zip(std::iter::repeat(priority)).filter_map(|(range, at)| fix(range, at?)).collect();
    (!evidence.is_empty()).then(|| Finding {
        code: &MS2006,
        severity: Severity::Problem,
        summary: format!(
            "a policy rule leads {} elsewhere",
            covered.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
        ),
        evidence,
        advice: fixes.is_empty().then(|| "choose other ranges: --pod-cidr, --service-cidr".to_owned()),
        fixes,
    })
}

/// Whether it is asked for every packet.
fn plain(rule: &PolicyRule) -> bool {
    rule.mark.is_none() && rule.source.is_none() && rule.destination.is_none() && !rule.inverted
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
    let others = rule.mark.is_none() && rule.source.is_none() && !rule.inverted && rule.suppress.is_none();
    rule.table == Some(MAIN) && others && rule.destination.is_some_and(covers)
}

fn leads(route: &Route, rule: &PolicyRule, table: u32, range: &Cidr) -> bool {
    let asked = |network: Option<(std::net::IpAddr, u8)>| {
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
