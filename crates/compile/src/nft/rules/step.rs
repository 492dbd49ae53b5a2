//! Short forms for the steps that the rules are made of.

use super::super::expr::{Chain, Ct, Expression, Family, Hook, HookPoint, Meta, Payload, Register, Rule, Verdict};

pub(super) const R0: Register = Register(0);
pub(super) const R1: Register = Register(1);
pub(super) const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// Registers that an address takes.
pub(super) fn width(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
    }
}

/// `name4` or `name6`.
pub(super) fn named(name: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{name}4"),
        Family::V6 => format!("{name}6"),
    }
}

pub(super) fn chain(name: impl Into<String>, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: None, rules }
}

pub(super) fn base(name: &str, nat: bool, point: HookPoint, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), hook: Some(Hook { nat, point, priority }), rules }
}

pub(super) fn goto(chain: impl Into<String>) -> Expression {
    Expression::Verdict(Verdict::Goto(chain.into()))
}

pub(super) fn jump(chain: impl Into<String>) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.into()))
}

pub(super) fn give(verdict: Verdict) -> Expression {
    Expression::Verdict(verdict)
}

pub(super) fn counter(name: &str) -> Expression {
    Expression::Counter(name.into())
}

pub(super) fn source(family: Family, to: Register) -> Expression {
    Expression::Payload(Payload::Source(family), to)
}

pub(super) fn destination(family: Family, to: Register) -> Expression {
    Expression::Payload(Payload::Destination(family), to)
}

pub(super) fn priority(to: Register) -> Expression {
    Expression::Meta(Meta::Priority, to)
}

pub(super) fn set_priority(from: Register) -> Expression {
    Expression::SetPriority(from)
}

/// `register &= mask`.
pub(super) fn keep(register: Register, mask: u32) -> Expression {
    Expression::Bitwise { from: register, to: register, mask, xor: 0 }
}

/// `register |= bits`.
pub(super) fn add_bits(register: Register, bits: u32) -> Expression {
    Expression::Bitwise { from: register, to: register, mask: !bits, xor: bits }
}

pub(super) fn word(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

pub(super) fn equals(from: Register, value: Vec<u8>) -> Expression {
    Expression::Compare { from, equal: true, value }
}

pub(super) fn in_set(set: impl Into<String>, key: Register) -> Expression {
    Expression::InSet { set: set.into(), key, inverted: false }
}

pub(super) fn map(map: impl Into<String>, key: Register, to: Register) -> Expression {
    Expression::Map { map: map.into(), key, to }
}

pub(super) fn verdict_map(map: impl Into<String>, key: Register) -> Expression {
    Expression::VerdictMap { map: map.into(), key }
}

/// Goes on only for packets of the family; rules of chains that both families walk need it before they read addresses.
pub(super) fn only(family: Family) -> [Expression; 2] {
    // NFPROTO_IPV4 and NFPROTO_IPV6.
    let number = match family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    [Expression::Meta(Meta::Family, R0), equals(R0, vec![number])]
}

/// Transport protocol and destination port into two registers.
pub(super) fn protocol_and_port(to: u8) -> [Expression; 2] {
    [Expression::Meta(Meta::Protocol, Register(to)), Expression::Payload(Payload::DestinationPort, Register(to + 1))]
}

/// Goes on only if the flow's bits under the mask are all set.
pub(super) fn flow_has(what: Ct, bits: u32) -> [Expression; 3] {
    [Expression::Ct(what, R0), keep(R0, bits), equals(R0, word(bits))]
}

/// Joins parts of a rule.
pub(super) fn rule<const N: usize>(parts: [&[Expression]; N]) -> Rule {
    parts.concat()
}
