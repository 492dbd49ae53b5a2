//! Destination -> F, and F -> which endpoint set, masqueraded or not.

use super::super::expr::{Chain, Ct, Expression, Family, Meta, Register, Reject, Rule, Verdict};
use super::bits::{
    F_CLUSTER_IP, F_DIRECT, F_LOCAL, F_MASQUERADE, F_RANGES, NO_LOCAL_ENDPOINT, OUTSIDE_RANGES, SERVICE,
};
use super::rejects::tally;
use super::step::{
    BOTH, R0, R1, add_bits, chain, counter, destination, equals, give, goto, in_set, keep, map, named, only, priority,
    protocol_and_port, rule, set_priority, source, verdict_map, width, word,
};
use super::{DROPPED_LOCAL, DROPPED_RANGES, REFUSED};

/// `mark` is the conntrack mark that asks for masquerade.
pub(super) fn chains(mark: u32) -> Vec<Chain> {
    let family = |family| rule([&only(family), &[goto(named("services", family))]]);
    let mut chains = vec![chain("services", BOTH.map(family).into())];
    for family in BOTH {
        chains.extend([services(family), frontend(family), cluster_ip(family), cluster_ip_local(family)]);
        chains.push(external_local(family));
    }
    chains.extend([
        masquerade("cluster", mark),
        masquerade("local", mark),
        choose_from("cluster"),
        choose_from("local"),
    ]);
    chains.extend([
        refuse(),
        dropping("drop_local", DROPPED_LOCAL, NO_LOCAL_ENDPOINT),
        dropping("drop_ranges", DROPPED_RANGES, OUTSIDE_RANGES),
    ]);
    chains
}

/// Verdicts of a frontend chain by the flags in F; a combination that is not here is wrong data and falls through.
pub(super) fn by_flags(family: Family) -> Vec<(u32, Verdict)> {
    let goto = |chain: &str| Verdict::Goto(chain.into());
    vec![
        (F_MASQUERADE, goto("masq_cluster")),
        (F_LOCAL, goto(&named("external_local", family))),
        (F_CLUSTER_IP, goto(&named("cluster_ip", family))),
        (F_CLUSTER_IP | F_LOCAL, goto(&named("cluster_ip_local", family))),
        (F_CLUSTER_IP | F_MASQUERADE, goto("masq_cluster")),
        (F_CLUSTER_IP | F_LOCAL | F_MASQUERADE, goto("masq_local")),
        (F_CLUSTER_IP | F_DIRECT, goto("cluster")),
        (F_CLUSTER_IP | F_LOCAL | F_DIRECT, goto("local")),
    ]
}

fn services(family: Family) -> Chain {
    let address = width(family);
    let found = [set_priority(R0), goto(named("frontend", family))];
    chain(
        named("services", family),
        vec![
            // The cluster DNS answers on these addresses itself: neither translated nor refused.
            vec![destination(family, R0), in_set(named("dns_addrs", family), R0), give(Verdict::Accept)],
            rule([
                &[destination(family, R0)],
                &protocol_and_port(address),
                &[map(named("front", family), R0, R0)],
                &found,
            ]),
            rule([
                &[destination(family, R0), in_set(named("nodeport_addrs", family), R0)],
                &protocol_and_port(0),
                &[map(named("nodeport", family), R0, R0)],
                &found,
            ]),
            vec![destination(family, R0), in_set(named("service_cidrs", family), R0), goto("refuse")],
            vec![give(Verdict::Accept)],
        ],
    )
}

fn frontend(family: Family) -> Chain {
    let address = width(family);
    let outside = Expression::InSet { set: named("lb_allow", family), key: R0, inverted: true };
    chain(
        named("frontend", family),
        vec![
            rule([
                &[priority(R0), keep(R0, F_RANGES), equals(R0, word(F_RANGES)), destination(family, R0)],
                &protocol_and_port(address),
                &[source(family, Register(address + 2)), outside, goto("drop_ranges")],
            ]),
            vec![
                priority(R0),
                keep(R0, F_MASQUERADE | F_LOCAL | F_CLUSTER_IP | F_DIRECT),
                verdict_map(named("by_flags", family), R0),
            ],
        ],
    )
}

/// Pods are told by their address or by the interface on which they come in; one of the two sets is empty. What this
/// host sends itself comes in by none.
fn from_pods(family: Family, then: &str) -> [Rule; 2] {
    let interface = Expression::Meta(Meta::InputInterface, R0);
    [
        vec![source(family, R0), in_set(named("pods", family), R0), goto(then)],
        vec![interface, in_set("pod_interfaces", R0), goto(then)],
    ]
}

fn cluster_ip(family: Family) -> Chain {
    let [by_address, by_interface] = from_pods(family, "cluster");
    chain(named("cluster_ip", family), vec![by_address, by_interface, vec![goto("masq_cluster")]])
}

fn cluster_ip_local(family: Family) -> Chain {
    let [by_address, by_interface] = from_pods(family, "local");
    chain(named("cluster_ip_local", family), vec![by_address, by_interface, vec![goto("masq_local")]])
}

/// externalTrafficPolicy Local binds outside clients only: pods and the node itself use the whole cluster.
fn external_local(family: Family) -> Chain {
    let [by_address, by_interface] = from_pods(family, "cluster");
    let host = vec![Expression::SourceIsLocal(R0), goto("masq_cluster")];
    chain(named("external_local", family), vec![by_address, by_interface, host, vec![goto("local")]])
}

fn masquerade(policy: &str, mark: u32) -> Chain {
    let mark = vec![Expression::Ct(Ct::Mark, R0), add_bits(R0, mark), Expression::SetCtMark(R0)];
    chain(format!("masq_{policy}"), vec![mark, vec![goto(policy)]])
}

/// F -> W.
fn choose_from(policy: &str) -> Chain {
    let rule =
        vec![priority(R0), keep(R0, SERVICE), map(format!("set_{policy}"), R0, R1), set_priority(R1), goto("choose")];
    chain(policy, vec![rule])
}

fn refuse() -> Chain {
    let tcp = vec![Expression::Meta(Meta::Protocol, R0), equals(R0, vec![6]), Expression::Reject(Reject::TcpReset)];
    chain("refuse", vec![vec![counter(REFUSED)], tcp, vec![Expression::Reject(Reject::PortUnreachable)]])
}

fn dropping(name: &str, counted: &str, why: u32) -> Chain {
    chain(name, vec![tally(why), vec![counter(counted), give(Verdict::Drop)]])
}
