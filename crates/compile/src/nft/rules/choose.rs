//! W -> E (remembered or fresh), E -> translation.

use super::super::expr::{Chain, Ct, Expression, Family, MapWrite, Meta, Register, Rule, Verdict};
use super::FLOW_LOG_GROUP;
use super::bits::{SERVICE, W_LOCAL, W_PICK, W_TIMEOUT};
use super::ladder::{TIMEOUTS, sticky_name};
use super::step::{
    BOTH, R0, R1, add_bits, chain, equals, give, goto, in_set, jump, keep, map, named, only, priority, rule,
    set_priority, source, verdict_map, width, word,
};

pub(super) fn chains(masquerade: u32) -> Vec<Chain> {
    let mut chains = vec![
        choose(),
        recall("recall", "cluster", Some("recall_local")),
        recall("recall_local", "local", None),
        check("cluster"),
        check("local"),
        forget(),
        translate(masquerade),
        chain("identify", vec![identity(None)]),
        chain("identify_masq", vec![identity(Some(masquerade))]),
    ];
    chains.extend(TIMEOUTS.map(sticky));
    chains
}

fn pick() -> Rule {
    vec![priority(R0), keep(R0, W_PICK), verdict_map("pick", R0)]
}

fn choose() -> Chain {
    let stickiness = vec![priority(R0), keep(R0, W_TIMEOUT), verdict_map("stickiness", R0)];
    chain("choose", vec![stickiness, pick(), vec![goto("translate")]])
}

/// Client address and Service word into the registers of an affinity key; returns the register after it.
fn client(family: Family) -> (Vec<Expression>, Register) {
    let second = Register(width(family));
    let steps = rule([&only(family), &[source(family, R0), priority(second), keep(second, SERVICE)]]);
    (steps, Register(width(family) + 1))
}

/// Leaves E: the remembered one if it is still eligible, else a fresh one.
fn recall(name: &str, policy: &str, local: Option<&str>) -> Chain {
    let remembered = |family| {
        let (key, value) = client(family);
        let found = [map(named("affinity", family), R0, value), set_priority(value), goto(format!("check_{policy}"))];
        rule([&key, &found])
    };
    let mut rules: Vec<Rule> = Vec::new();
    if let Some(local) = local {
        rules.push(vec![priority(R0), keep(R0, W_LOCAL), equals(R0, word(W_LOCAL)), goto(local)]);
    }
    rules.extend(BOTH.map(remembered));
    rules.push(pick());
    chain(name, rules)
}

/// The remembered endpoint may be gone. The stale entry is deleted first, because an update never replaces a value.
fn check(policy: &str) -> Chain {
    let eligible = vec![priority(R0), in_set(format!("members_{policy}"), R0), give(Verdict::Return)];
    let set = vec![priority(R0), keep(R0, SERVICE), map(format!("set_{policy}"), R0, R1), set_priority(R1)];
    chain(format!("check_{policy}"), vec![eligible, vec![jump("forget")], set, pick()])
}

fn write(family: Family, how: MapWrite) -> Rule {
    let (key, value) = client(family);
    let map = named("affinity", family);
    rule([&key, &[priority(value), Expression::Write { map, how, key: R0, value }]])
}

fn forget() -> Chain {
    chain("forget", BOTH.map(|family| write(family, MapWrite::Delete)).into())
}

/// One chain per class of timeout, never one per Service: a rule's timeout is a constant.
fn sticky(timeout: u32) -> Chain {
    let [four, six] = BOTH.map(|family| write(family, MapWrite::Update { timeout }));
    chain(sticky_name(timeout), vec![vec![jump("recall")], four, six, vec![goto("translate")]])
}

fn translate(masquerade: u32) -> Chain {
    let mark_is = |mark: u32, then: &str| vec![Expression::Ct(Ct::Mark, R0), equals(R0, word(mark)), jump(then)];
    let to_endpoint = |family| {
        let port = Register(1 + width(family));
        let endpoint = [priority(R0), map(named("ep", family), R0, R1), Expression::Dnat { family, address: R1, port }];
        rule([&only(family), &endpoint])
    };
    let [four, six] = BOTH.map(to_endpoint);
    // Where another owner's bits are in the mark, it stays as it is: such flows are found by their tuple instead.
    let masqueraded = mark_is(masquerade, "identify_masq");
    chain("translate", vec![masqueraded, mark_is(0, "identify"), told(), four, six])
}

/// UDP flows must end with their endpoint, so who ends them is told of each: one message per flow, none for TCP.
fn told() -> Rule {
    vec![Expression::Meta(Meta::Protocol, R0), equals(R0, vec![17]), Expression::LogFlow { group: FLOW_LOG_GROUP }]
}

fn identity(masquerade: Option<u32>) -> Rule {
    let mut rule = vec![priority(R0), map("ct_ids", R0, R1)];
    rule.extend(masquerade.map(|bit| add_bits(R1, bit)));
    rule.push(Expression::SetCtMark(R1));
    rule
}
