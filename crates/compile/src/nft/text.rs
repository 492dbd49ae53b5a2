//! Rules and data as stable text: for tests, for `mainstay dump nft`, and as the input of the rules' version.
//!
//! The text reads like an nft listing, with registers shown where nft hides them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::expr::{
    Chain, Contents, Ct, Expression, Family, Field, HookPoint, MapWrite, Meta, Payload, Register, Reject, Rule,
    Ruleset, Set, Verdict,
};
use super::rules::describe;
use super::state::{Batch, Element, SetName, State};

/// The fixed part of the table.
pub fn ruleset(rules: &Ruleset) -> String {
    let mut out = String::new();
    for counter in &rules.counters {
        let _ = writeln!(out, "counter {counter}");
    }
    for set in &rules.sets {
        write_set(&mut out, set);
    }
    for chain in &rules.chains {
        write_chain(&mut out, chain);
    }
    out
}

/// Every data element, one per line, in order of set and key.
pub fn state(state: &State) -> String {
    let mut out = String::new();
    for (name, elements) in state {
        let set = describe(*name);
        for (key, value) in elements {
            let _ = writeln!(out, "{}", element(&set, key, value));
        }
    }
    out
}

/// One transaction: deletions, additions and flushes, one per line.
pub fn batch(batch: &Batch) -> String {
    let mut out = String::new();
    let mut write = |sign: char, elements: &[Element]| {
        for one in elements {
            let _ = writeln!(out, "{sign} {}", element(&describe(one.set), &one.key, &one.value));
        }
    };
    write('-', &batch.delete);
    write('+', &batch.add);
    for flush in &batch.flush {
        for mark in &flush.left {
            let _ = writeln!(out, "flush {mark:#x}");
        }
    }
    out
}

/// Where an element lives: its set and key.
pub fn place(name: SetName, key: &[u8]) -> String {
    element(&describe(name), key, &[])
}

fn element(set: &Set, key: &[u8], value: &[u8]) -> String {
    let mut out = format!("{} ", set.name);
    let end = set.key_len().min(key.len());
    out.push_str(&fields(&set.key, &key[..end]));
    if set.interval {
        let _ = write!(out, " - {}", fields(&set.key, &key[end..]));
    }
    if let Contents::Data(kinds) = &set.contents
        && !value.is_empty()
    {
        let _ = write!(out, " : {}", fields(kinds, value));
    }
    out
}

/// Fields joined by dots; bytes that do not fit the fields are shown as hex.
pub(super) fn fields(kinds: &[Field], bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut rest = bytes;
    for kind in kinds {
        let Some((part, after)) = rest.split_at_checked(kind.padded()) else { break };
        parts.push(field(*kind, part));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(hex(rest));
    }
    parts.join(" . ")
}

fn field(kind: Field, bytes: &[u8]) -> String {
    match (kind, bytes) {
        (Field::Ipv4, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_string(),
        (Field::Ipv6, _) => <[u8; 16]>::try_from(bytes).map_or_else(|_| hex(bytes), |b| Ipv6Addr::from(b).to_string()),
        (Field::Protocol, &[number, ..]) => protocol(number),
        (Field::Port, &[high, low, ..]) => u16::from_be_bytes([high, low]).to_string(),
        (Field::Interface, _) => String::from_utf8_lossy(bytes).trim_end_matches('\0').escape_default().to_string(),
        (Field::Word | Field::Mark, &[a, b, c, d]) => format!("{:#x}", u32::from_ne_bytes([a, b, c, d])),
        _ => hex(bytes),
    }
}

fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".into(),
        17 => "udp".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn write_set(out: &mut String, set: &Set) {
    let key = set.key.iter().map(|field| format!("{field:?}").to_lowercase()).collect::<Vec<_>>().join(" . ");
    let _ = write!(out, "set {} {{ {key}", set.name);
    if let Contents::Data(value) = &set.contents {
        let value = value.iter().map(|field| format!("{field:?}").to_lowercase()).collect::<Vec<_>>().join(" . ");
        let _ = write!(out, " : {value}");
    }
    if set.interval {
        out.push_str("; interval");
    }
    if let Some(size) = set.dynamic {
        let _ = write!(out, "; dynamic {size}");
    }
    if set.counter {
        out.push_str("; counter");
    }
    out.push_str(" }\n");
    if let Contents::Verdicts(verdicts) = &set.contents {
        for (key, to) in verdicts {
            let _ = writeln!(out, "    {key:#x} : {}", verdict(to));
        }
    }
}

fn write_chain(out: &mut String, chain: &Chain) {
    let _ = write!(out, "chain {}", chain.name);
    if let Some(hook) = chain.hook {
        let point = match hook.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        let _ = write!(out, " {} {point} {}", if hook.nat { "nat" } else { "filter" }, hook.priority);
    }
    out.push('\n');
    for one in &chain.rules {
        let _ = writeln!(out, "    {}", rule(one));
    }
}

fn rule(rule: &Rule) -> String {
    rule.iter().map(expression).collect::<Vec<_>>().join("; ")
}

fn register(register: Register) -> String {
    format!("r{}", register.0)
}

fn expression(expression: &Expression) -> String {
    use Expression as E;
    let r = |at: &Register| register(*at);
    match expression {
        E::Payload(field, to) => format!("{} = {}", r(to), payload(*field)),
        E::Meta(Meta::Priority, to) => format!("{} = priority", r(to)),
        E::Meta(Meta::Family, to) => format!("{} = nfproto", r(to)),
        E::Meta(Meta::Protocol, to) => format!("{} = l4proto", r(to)),
        E::Meta(Meta::InputInterface, to) => format!("{} = iifname", r(to)),
        E::SetPriority(from) => format!("priority = {}", r(from)),
        E::Ct(Ct::State, to) => format!("{} = ct state", r(to)),
        E::Ct(Ct::Status, to) => format!("{} = ct status", r(to)),
        E::Ct(Ct::Mark, to) => format!("{} = ct mark", r(to)),
        E::SetCtMark(from) => format!("ct mark = {}", r(from)),
        E::Bitwise { from, to, mask, xor } => format!("{} = ({} & {mask:#x}) ^ {xor:#x}", r(to), r(from)),
        E::Compare { from, equal, value } => format!("{} {} {}", r(from), if *equal { "==" } else { "!=" }, hex(value)),
        E::InSet { set, key, inverted } => format!("{} {}in @{set}", r(key), if *inverted { "not " } else { "" }),
        E::Map { map, key, to } => format!("{} = @{map}[{}..]", r(to), r(key)),
        E::VerdictMap { map, key } => format!("{} vmap @{map}", r(key)),
        E::Random { modulus, to } => format!("{} = random mod {modulus}", r(to)),
        E::InTurn { modulus, to } => format!("{} = inc mod {modulus}", r(to)),
        E::Hash { from, bytes, seed, modulus, to } => {
            format!("{} = jhash {}.. {bytes} bytes mod {modulus} seed {seed:#x}", r(to), r(from))
        }
        E::Tally { set, key, timeout } => format!("update @{set}[{}..] timeout {timeout}s counter", r(key)),
        E::Write { map, how: MapWrite::Update { timeout }, key, value } => {
            format!("update @{map}[{}..] = {} timeout {timeout}s", r(key), r(value))
        }
        E::Write { map, how: MapWrite::Delete, key, .. } => format!("delete @{map}[{}..]", r(key)),
        E::SourceIsLocal(_) => "saddr is local".into(),
        E::Dnat { family: Family::V4, address, port } => format!("dnat ip to {}:{}", r(address), r(port)),
        E::Dnat { family: Family::V6, address, port } => format!("dnat ip6 to {}:{}", r(address), r(port)),
        E::Masquerade => "masquerade fully-random".into(),
        E::Reject(Reject::TcpReset) => "reject with tcp reset".into(),
        E::Reject(Reject::PortUnreachable) => "reject with icmpx port-unreachable".into(),
        E::Counter(name) => format!("counter {name}"),
        E::NoTrack => "notrack".into(),
        E::LogFlow { group } => format!("log group {group}"),
        E::Verdict(to) => verdict(to),
    }
}

fn payload(field: Payload) -> &'static str {
    match field {
        Payload::Source(Family::V4) => "ip saddr",
        Payload::Source(Family::V6) => "ip6 saddr",
        Payload::Destination(Family::V4) => "ip daddr",
        Payload::Destination(Family::V6) => "ip6 daddr",
        Payload::SourcePort => "th sport",
        Payload::DestinationPort => "th dport",
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".into(),
        Verdict::Drop => "drop".into(),
        Verdict::Return => "return".into(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}
