//! Base chains: where packets enter our rules, the second look-up after a commit, and the source translation.

use super::super::expr::{Chain, Ct, Expression, Family, HookPoint, Meta, Payload, Register, Rule, Verdict};
use super::bits::{CT_MASQUERADE, STATE_INVALID, STATUS_DNAT, TAG};
use super::step::{
    BOTH, R0, R1, base, chain, counter, destination, equals, flow_has, give, goto, in_set, jump, keep, named, only,
    priority, rule, set_priority, source, width, word,
};
use super::{RETRIED, UNSETTLED};

/// Before connection tracking (-200), so that `notrack` still works.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// UDP and TCP.
const DNS_PROTOCOLS: [u8; 2] = [17, 6];
const DNS_PORT: u16 = 53;

pub(super) fn chains() -> Vec<Chain> {
    let enter = || vec![vec![jump("services")], vec![goto("again")]];
    vec![
        base("raw_prerouting", false, HookPoint::Prerouting, RAW, untracked()),
        base("raw_output", false, HookPoint::Output, RAW, untracked()),
        dns("dns_query", Payload::Destination),
        dns("dns_answer", Payload::Source),
        base("prerouting", true, HookPoint::Prerouting, DSTNAT, enter()),
        base("output", true, HookPoint::Output, DSTNAT, enter()),
        again(),
        base("postrouting", true, HookPoint::Postrouting, SRCNAT, postrouting()),
        base(
            "forward",
            false,
            HookPoint::Forward,
            FILTER,
            vec![[&flow_has(Ct::State, STATE_INVALID)[..], &[jump("invalid")]].concat()],
        ),
        invalid(),
    ]
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

fn postrouting() -> Vec<Rule> {
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
        rule([&flow_has(Ct::Mark, CT_MASQUERADE), &masquerade]),
        hairpin(Family::V4),
        hairpin(Family::V6),
    ]
}

/// A packet that conntrack calls invalid would leave untranslated and make the client reset a good connection.
fn invalid() -> Chain {
    let from_pods =
        |family| rule([&only(family), &[source(family, R0), in_set(named("pods", family), R0), give(Verdict::Drop)]]);
    chain("invalid", BOTH.map(from_pods).into())
}
