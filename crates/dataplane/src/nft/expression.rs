//! Expressions of a rule -> the kernel's attributes (numbers of linux/netfilter/nf_tables.h).

use compile::nft::expr::{Ct, Expression, Family, MapWrite, Meta, Payload, Register, Reject, Rule, Verdict};
use kernel::nl::message::Writer;
use kernel::nl::nftables::write_verdict;

const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
/// `NFT_REG_VERDICT`.
const VERDICT_REGISTER: u32 = 0;
/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;

/// Writes a rule's expressions.
pub(super) fn write_rule(w: &mut Writer, rule: &Rule) {
    for one in rule {
        write(w, one);
    }
}

/// The kernel's code of a verdict and the chain that it names (empty if none).
pub(super) fn verdict(verdict: &Verdict) -> (i32, &str) {
    match verdict {
        Verdict::Drop => (0, ""),
        Verdict::Accept => (1, ""),
        Verdict::Return => (RETURN, ""),
        Verdict::Jump(chain) => (JUMP, chain),
        Verdict::Goto(chain) => (GOTO, chain),
    }
}

fn number(register: Register) -> u32 {
    FIRST_REGISTER + u32::from(register.0)
}

fn expression(w: &mut Writer, name: &str, data: impl FnOnce(&mut Writer)) {
    w.nest(1, |w| {
        w.string(1, name);
        w.nest(2, data);
    });
}

fn data(w: &mut Writer, kind: u16, bytes: &[u8]) {
    w.nest(kind, |w| w.attribute(1, bytes));
}

fn write(w: &mut Writer, one: &Expression) {
    match one {
        Expression::Payload(field, to) => payload(w, *field, *to),
        Expression::Meta(what, to) => {
            let key = match what {
                Meta::Priority => 2,
                Meta::InputInterface => 6,
                Meta::Family => 15,
                Meta::Protocol => 16,
            };
            fields(w, "meta", &[(1, number(*to)), (2, key)]);
        }
        Expression::SetPriority(from) => fields(w, "meta", &[(2, 2), (3, number(*from))]),
        Expression::Ct(what, to) => {
            let key = match what {
                Ct::State => 0,
                Ct::Status => 2,
                Ct::Mark => 3,
            };
            fields(w, "ct", &[(1, number(*to)), (2, key)]);
        }
        Expression::SetCtMark(from) => fields(w, "ct", &[(2, 3), (4, number(*from))]),
        Expression::Bitwise { from, to, mask, xor } => expression(w, "bitwise", |w| {
            w.be32(1, number(*from));
            w.be32(2, number(*to));
            w.be32(3, 4);
            data(w, 4, &mask.to_ne_bytes());
            data(w, 5, &xor.to_ne_bytes());
        }),
        Expression::Compare { from, equal, value } => expression(w, "cmp", |w| {
            w.be32(1, number(*from));
            w.be32(2, u32::from(!equal));
            data(w, 3, value);
        }),
        Expression::InSet { set, key, inverted } => lookup(w, set, *key, None, *inverted),
        Expression::Map { map, key, to } => lookup(w, map, *key, Some(number(*to)), false),
        Expression::VerdictMap { map, key } => lookup(w, map, *key, Some(VERDICT_REGISTER), false),
        // Type 1 is random.
        Expression::Random { modulus, to } => fields(w, "numgen", &[(1, number(*to)), (2, *modulus), (3, 1)]),
        // Type 0 counts.
        Expression::InTurn { modulus, to } => fields(w, "numgen", &[(1, number(*to)), (2, *modulus), (3, 0)]),
        // Type 0 is jhash.
        Expression::Hash { from, bytes, seed, modulus, to } => {
            let (from, to, bytes) = (number(*from), number(*to), u32::from(*bytes));
            fields(w, "hash", &[(1, from), (2, to), (3, bytes), (4, *modulus), (5, *seed), (7, 0)]);
        }
        Expression::Tally { set, key, timeout } => tally(w, set, *key, *timeout),
        Expression::Write { map, how, key, value } => write_map(w, map, *how, *key, *value),
        Expression::SourceIsLocal(scratch) => source_is_local(w, *scratch),
        Expression::Dnat { family, address, port } => {
            // Type 1 is destination; families are NFPROTO_IPV4 and NFPROTO_IPV6.
            let family = if *family == Family::V4 { 2 } else { 10 };
            fields(w, "nat", &[(1, 1), (2, family), (3, number(*address)), (5, number(*port))]);
        }
        // NF_NAT_RANGE_PROTO_RANDOM_FULLY.
        Expression::Masquerade => fields(w, "masq", &[(1, 1 << 4)]),
        Expression::Reject(how) => reject(w, *how),
        Expression::Counter(name) => expression(w, "objref", |w| {
            w.be32(1, 1);
            w.string(2, name);
        }),
        Expression::LogFlow { group } => expression(w, "log", |w| w.attribute(1, &group.to_be_bytes())),
        Expression::NoTrack => expression(w, "notrack", |_| ()),
        Expression::Verdict(to) => immediate(w, to),
    }
}

/// An expression whose data is numbers only.
fn fields(w: &mut Writer, name: &str, fields: &[(u16, u32)]) {
    expression(w, name, |w| fields.iter().for_each(|(kind, value)| w.be32(*kind, *value)));
}

fn payload(w: &mut Writer, field: Payload, to: Register) {
    /// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
    const NETWORK: u32 = 1;
    const TRANSPORT: u32 = 2;
    let (base, offset, length) = match field {
        Payload::Source(Family::V4) => (NETWORK, 12, 4),
        Payload::Destination(Family::V4) => (NETWORK, 16, 4),
        Payload::Source(Family::V6) => (NETWORK, 8, 16),
        Payload::Destination(Family::V6) => (NETWORK, 24, 16),
        Payload::SourcePort => (TRANSPORT, 0, 2),
        Payload::DestinationPort => (TRANSPORT, 2, 2),
    };
    fields(w, "payload", &[(1, number(to)), (2, base), (3, offset), (4, length)]);
}

fn lookup(w: &mut Writer, set: &str, key: Register, to: Option<u32>, inverted: bool) {
    expression(w, "lookup", |w| {
        w.string(1, set);
        w.be32(2, number(key));
        if let Some(to) = to {
            w.be32(3, to);
        }
        if inverted {
            w.be32(5, 1);
        }
    });
}

fn write_map(w: &mut Writer, map: &str, how: MapWrite, key: Register, value: Register) {
    let (operation, timeout) = match how {
        MapWrite::Update { timeout } => (1, Some(timeout)),
        MapWrite::Delete => (2, None),
    };
    expression(w, "dynset", |w| {
        w.string(1, map);
        w.be32(3, operation);
        w.be32(4, number(key));
        w.be32(5, number(value));
        if let Some(seconds) = timeout {
            w.be64(6, u64::from(seconds) * 1000);
        }
    });
}

/// Adds or refreshes an element; the counter is the one that the set gives each of its elements.
fn tally(w: &mut Writer, set: &str, key: Register, timeout: u32) {
    const UPDATE: u32 = 1;
    expression(w, "dynset", |w| {
        w.string(1, set);
        w.be32(3, UPDATE);
        w.be32(4, number(key));
        w.be64(6, u64::from(timeout) * 1000);
    });
}

fn source_is_local(w: &mut Writer, scratch: Register) {
    /// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_SADDR` and `RTN_LOCAL`.
    const ADDRESS_TYPE: u32 = 3;
    const SOURCE: u32 = 1;
    const LOCAL: u32 = 2;
    fields(w, "fib", &[(1, number(scratch)), (2, ADDRESS_TYPE), (3, SOURCE)]);
    write(w, &Expression::Compare { from: scratch, equal: true, value: LOCAL.to_ne_bytes().to_vec() });
}

fn reject(w: &mut Writer, how: Reject) {
    // Types: 1 TCP reset, 2 ICMP of either family; ICMP code 1 is port unreachable.
    let (kind, code) = match how {
        Reject::TcpReset => (1, 0),
        Reject::PortUnreachable => (2, 1),
    };
    expression(w, "reject", |w| {
        w.be32(1, kind);
        w.attribute(2, &[code]);
    });
}

fn immediate(w: &mut Writer, to: &Verdict) {
    let (code, chain) = verdict(to);
    expression(w, "immediate", |w| {
        w.be32(1, VERDICT_REGISTER);
        w.nest(2, |w| write_verdict(w, code, chain));
    });
}
