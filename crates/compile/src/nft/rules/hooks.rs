//! Base chains: where packets enter our rules, the second look-up after a commit, and the source translation.

use super::super::expr::{Chain, Ct, Expression, Family, HookPoint, Meta, Payload, Register, Rule, Verdict};
use super::bits::{STATE_INVALID, STATUS_DNAT, TAG};
use super::step::{
    BOTH, R0, R1, base, chain, counter, destination, equals, flow_has, give, goto, in_set, jump, keep, map, named,
    only, priority, protocol_and_port, rule, set_priority, source, width, word,
};
use super::{DROPPED_INVALID, RETRIED, UNSETTLED};

/// Before connection tracking (-200), so that `notrack` still works.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// UDP and TCP.
const DNS_PROTOCOLS: [u8; 2] = [17, 6];
const DNS_PORT: u16 = 53;

/// `mark` is the conntrack mark that asks for masquerade.
pub(super) fn chains(mark: u32, drop_invalid: bool) -> Vec<Chain> {
    let enter = || vec![vec![jump("services")], vec![goto("again")]];
    let mut chains = vec![
        base("raw_prerouting", false, HookPoint::Prerouting, RAW, untracked()),
        base("raw_output", false, HookPoint::Output, RAW, untracked()),
        dns("dns_query", Payload::Destination),
        dns("dns_answer", Payload::Source),
        base("prerouting", true, HookPoint::Prerouting, DSTNAT, enter()),
        base("output", true, HookPoint::Output, DSTNAT, enter()),
        again(),
        base("postrouting", true, HookPoint::Postrouting, SRCNAT, postrouting(mark)),
    ];
    if drop_invalid {
        let invalid = |then: &str| vec![[&flow_has(Ct::State, STATE_INVALID)[..], &[jump(then)]].concat()];
        chains.extend([
            base("forward", false, HookPoint::Forward, FILTER, invalid("drop_invalid")),
            base("input", false, HookPoint::Input, FILTER, invalid("invalid_here")),
            invalid_here(),
            chain("drop_invalid", vec![vec![counter(DROPPED_INVALID), give(Verdict::Drop)]]),
        ]);
    }
    chains
}

/// Every packet passes here, so the port is asked first: other traffic pays for two comparisons.
fn untracked() -> Vec<Rule> {
    let port =
        |port, then: &str| vec![Expression::Payload(port, R0), equals(R0, DNS_PORT.to_be_bytes().to_vec()), jump(then)];
    vec![port(Payload::DestinationPort, "dns_query"), port(Payload::SourcePort, "dns_answer")]
}

/// Queries to the cluster DNS and their answers stay out of connection tracking: the addresses are local to the node,
/// nothing is translated, and a table full of one-packet flows is the usual way in which cluster DNS breaks.
fn dns(name: &str, address: fn(Family) -> Payload) -> Chain {
    let rules = DNS_PROTOCOLS.into_iter().flat_map(|protocol| {
        BOTH.map(|family| {
            rule([
                &only(family),
                &[Expression::Meta(Meta::Protocol, R0), equals(R0, vec![protocol])],
                &[
                    Expression::Payload(address(family), R0),
                    in_set(named("dns_addrs", family), R0),
                    Expression::NoTrack,
                ],
            ])
        })
    });
    chain(name, rules.collect())
}

/// Twice more, then silence: wrong data must not leak an untranslated packet.
fn again() -> Chain {
    chain(
        "again",
        vec![
            vec![counter(RETRIED), jump("services")],
            vec![jump("services")],
            vec![counter(UNSETTLED), give(Verdict::Drop)],
        ],
    )
}

fn postrouting(mark: u32) -> Vec<Rule> {
    let masquerade = [Expression::Masquerade];
    let hairpin = |family: Family| {
        let second = Register(width(family));
        rule([
            &only(family),
            &[source(family, R0), destination(family, second), in_set(named("hairpin", family), R0)],
            &masquerade,
        ])
    };
    let egress = |family: Family| {
        let beyond = Expression::InSet { set: named("egress", family), key: R0, inverted: true };
        rule([
            &only(family),
            &[source(family, R0), in_set(named("egress", family), R0), destination(family, R0), beyond],
            &masquerade,
        ])
    };
    vec![
        // The scratch word must not leave the host; a priority without our tag is somebody else's.
        vec![
            priority(R0),
            keep(R0, TAG),
            equals(R0, word(TAG)),
            Expression::Bitwise { from: R0, to: R1, mask: 0, xor: 0 },
            set_priority(R1),
        ],
        // What leaves the cluster must carry an address that others can answer; translated or not.
        egress(Family::V4),
        egress(Family::V6),
        vec![Expression::Ct(Ct::Status, R0), keep(R0, STATUS_DNAT), equals(R0, word(0)), give(Verdict::Accept)],
        rule([&flow_has(Ct::Mark, mark), &masquerade]),
        hairpin(Family::V4),
        hairpin(Family::V6),
    ]
}

/// A packet that connection tracking calls invalid (beyond the window, say) is not translated. Passed on, a pod's answer
/// would reach the client from an address that it never talked to; delivered here, a client's segment for a node port or
/// a masqueraded pod's answer would meet no socket. Either way somebody resets a good connection. Forwarded ones are all
/// dropped, as kube-proxy does; of those for this host, only what would have been translated.
fn invalid_here() -> Chain {
    let per_family = |family| {
        let address = width(family);
        [
            rule([&only(family), &[source(family, R0), in_set(named("pods", family), R0), goto("drop_invalid")]]),
            rule([
                &only(family),
                &[destination(family, R0), in_set(named("nodeport_addrs", family), R0)],
                &protocol_and_port(0),
                &[map(named("nodeport", family), R0, R0), goto("drop_invalid")],
            ]),
            rule([
                &only(family),
                &[destination(family, R0)],
                &protocol_and_port(address),
                &[map(named("front", family), R0, R0), goto("drop_invalid")],
            ]),
        ]
    };
    chain("invalid_here", BOTH.into_iter().flat_map(per_family).collect())
}
