//! A packet in; out comes an answer of the zone, or what to ask others for first.

use std::net::IpAddr;

use compile::zone::{Answer, Location, NEGATIVE_TTL, QueryType, TTL, Zone};

use crate::forward::Outcome;
use crate::limits;
use crate::wire::query::{Query, Refusal};
use crate::wire::reply::{self, Owner, Reply, Section, write_name};
use crate::wire::{HEADER, IN, rcode, rtype};

/// What to do next with a packet.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send what is in the buffer.
    Send,
    /// Say nothing.
    Drop,
    /// Ask others, then [`complete`].
    Forward(Pending),
}

/// A question for others.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The question in lower case.
    pub(crate) key: Box<[u8]>,
    /// Aliases of the zone that led there, in wire format.
    chain: Vec<Vec<u8>>,
}

/// Bytes an answer may have.
fn limit(query: &Query<'_>, tcp: bool) -> usize {
    match query.edns {
        _ if tcp => limits::MESSAGE,
        Some(edns) => edns.size.clamp(limits::UDP_ANSWER_PLAIN, limits::UDP_ANSWER),
        None => limits::UDP_ANSWER_PLAIN,
    }
}

/// Answers `packet` into `out` from `zone`. `turn` rotates answers with several records.
pub(crate) fn answer(zone: Option<&Zone>, packet: &[u8], tcp: bool, turn: usize, out: &mut Vec<u8>) -> Next {
    let query = match Query::parse(packet) {
        Ok(query) => query,
        Err(Refusal::Drop) => return Next::Drop,
        Err(Refusal::Code(code)) => {
            reply::refuse(out, packet, code);
            return Next::Send;
        }
    };
    let mut reply = Reply::new(out, &query, limit(&query, tcp));
    let refused = match (query.edns, query.rtype, query.class) {
        // BADVERS (RFC 6891 6.1.3).
        (Some(edns), ..) if edns.version != 0 => Some(16),
        (_, rtype::AXFR | rtype::IXFR, _) => Some(u16::from(rcode::REFUSED)),
        (_, _, class) if class != IN => Some(u16::from(rcode::REFUSED)),
        _ => None,
    };
    if let Some(code) = refused {
        reply.finish(code, !tcp);
        return Next::Send;
    }
    let Some(zone) = zone else {
        reply.explain("the name server has no zone yet; ask again in a moment");
        reply.finish(rcode::SERVFAIL.into(), !tcp);
        return Next::Send;
    };
    from_zone(zone, &query, reply, tcp, turn)
}

fn from_zone(zone: &Zone, query: &Query<'_>, mut reply: Reply<'_>, tcp: bool, turn: usize) -> Next {
    let kind = query_type(zone, query);
    let (mut name, mut chain) = (query.name(), Vec::new());
    let found = loop {
        match zone.lookup(name, kind) {
            Answer::Alias(target) => {
                let mut wire = Vec::new();
                if !write_name(&mut wire, target) || chain.len() == limits::ALIASES {
                    reply.explain("an ExternalName is not a name, or leads around in a circle");
                    reply.finish(rcode::SERVFAIL.into(), !tcp);
                    return Next::Send;
                }
                chain.push(wire);
                name = target;
                if kind == QueryType::Cname {
                    break None;
                }
            }
            other => break Some(other),
        }
    };
    if let Some(Answer::Elsewhere) = found {
        let mut key = match chain.last() {
            None => return Next::Forward(Pending { key: query.key(), chain }),
            Some(last) => last.clone(),
        };
        key.extend_from_slice(&query.question()[query.question().len() - 4..]);
        return Next::Forward(Pending { key: key.into(), chain });
    }
    reply.authoritative();
    let owner = aliases(&mut reply, &chain);
    let code = match found {
        Some(found) => records(zone, &mut reply, &found, name, owner, turn),
        None => rcode::NOERROR,
    };
    if code == rcode::NXDOMAIN {
        tracing::debug!(target: "dns", name, "no such name");
    }
    reply.finish(code.into(), !tcp);
    Next::Send
}

/// The type to look up. ANY gets one of the sets that exist, which is enough of an answer (RFC 8482 4.1).
fn query_type(zone: &Zone, query: &Query<'_>) -> QueryType {
    match query.rtype {
        rtype::A => QueryType::A,
        rtype::AAAA => QueryType::Aaaa,
        rtype::SRV => QueryType::Srv,
        rtype::PTR => QueryType::Ptr,
        rtype::CNAME => QueryType::Cname,
        rtype::TXT => QueryType::Txt,
        rtype::SOA => QueryType::Soa,
        rtype::NS => QueryType::Ns,
        rtype::ANY => {
            let all = [QueryType::A, QueryType::Aaaa, QueryType::Ptr, QueryType::Txt, QueryType::Soa, QueryType::Srv];
            let exists = |kind: &QueryType| !matches!(zone.lookup(query.name(), *kind), Answer::NoData);
            all.into_iter().find(exists).unwrap_or(QueryType::Other)
        }
        _ => QueryType::Other,
    }
}

/// Writes the aliases; gives the place of the name that the last one leads to.
fn aliases(reply: &mut Reply<'_>, chain: &[Vec<u8>]) -> usize {
    let mut owner = HEADER;
    for target in chain {
        // A pointer, type, class, TTL and length stand before the data.
        let next = reply.position() + 12;
        if reply.record(Section::Answer, Owner(owner), rtype::CNAME, TTL, |out| out.extend_from_slice(target)) {
            owner = next;
        }
    }
    owner
}

/// Writes what the zone found about `name`, which stands at `owner`; gives the response code.
fn records(zone: &Zone, reply: &mut Reply<'_>, found: &Answer<'_>, name: &str, owner: usize, turn: usize) -> u8 {
    let at = Owner(owner);
    match found {
        Answer::V4(list) => rotated(list.len(), turn, |i| reply.address(Section::Answer, at, TTL, IpAddr::V4(list[i]))),
        Answer::V6(list) => rotated(list.len(), turn, |i| reply.address(Section::Answer, at, TTL, IpAddr::V6(list[i]))),
        Answer::Address(address) => {
            reply.address(Section::Answer, at, TTL, *address);
        }
        Answer::Locations(list) => locations(reply, list, at, turn),
        Answer::Names(names) => {
            for name in names {
                let mut wire = Vec::new();
                if write_name(&mut wire, name) {
                    reply.record(Section::Answer, at, rtype::PTR, TTL, |out| out.extend_from_slice(&wire));
                }
            }
        }
        Answer::Text(text) => {
            reply.record(Section::Answer, at, rtype::TXT, TTL, |out| {
                out.push(text.len() as u8);
                out.extend_from_slice(text.as_bytes());
            });
        }
        Answer::Authority => authority(zone, reply, Section::Answer, name, owner),
        Answer::NameServer => name_server(zone, reply, at),
        Answer::NoName | Answer::NoData => authority(zone, reply, Section::Authority, name, owner),
        // Both were followed before.
        Answer::Alias(_) | Answer::Elsewhere => {}
    }
    if *found == Answer::NoName { rcode::NXDOMAIN } else { rcode::NOERROR }
}

/// Calls `write` for each index from a start that moves with `turn`, until it says that nothing more fits.
fn rotated(count: usize, turn: usize, mut write: impl FnMut(usize) -> bool) {
    for step in 0..count {
        if !write((turn + step) % count) {
            return;
        }
    }
}

fn locations(reply: &mut Reply<'_>, list: &[Location], at: Owner, turn: usize) {
    let mut written = Vec::new();
    rotated(list.len(), turn, |i| {
        let location = &list[i];
        let mut target = Vec::new();
        if !write_name(&mut target, &location.target) {
            return true;
        }
        // The data begins with priority, weight and port.
        written.push((reply.position() + 12 + 6, i));
        reply.record(Section::Answer, at, rtype::SRV, TTL, |out| {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&location.weight.to_be_bytes());
            out.extend_from_slice(&location.port.to_be_bytes());
            // RFC 2782: the target is not compressed.
            out.extend_from_slice(&target);
        })
    });
    if reply.truncated() {
        return;
    }
    let mut named: Option<&str> = None;
    // A pointer reaches the first 16 KiB.
    for (place, i) in written.into_iter().take_while(|(place, _)| *place < 0x4000) {
        if named == Some(&list[i].target) {
            continue;
        }
        named = Some(&list[i].target);
        for address in &list[i].addresses {
            if !reply.address(Section::Additional, Owner(place), TTL, *address) {
                return;
            }
        }
    }
}

/// Writes the SOA record of the zone that `name` (which stands at `owner` in full) is in.
fn authority(zone: &Zone, reply: &mut Reply<'_>, section: Section, name: &str, owner: usize) {
    let labels = if name.is_empty() { 0 } else { name.split('.').count() };
    let above = labels.saturating_sub(zone.apex_labels(name));
    let apex = owner + name.split('.').take(above).map(|label| label.len() + 1).sum::<usize>();
    let ttl = if section == Section::Answer { TTL } else { NEGATIVE_TTL };
    let serial = zone.revision().0 as u32;
    reply.record(section, Owner(apex), rtype::SOA, ttl, |out| {
        write_name(out, &zone.server_name());
        write_name(out, &format!("hostmaster.{}", zone.config().domain));
        for number in [serial, 7200, 1800, 86_400, NEGATIVE_TTL] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    });
}

fn name_server(zone: &Zone, reply: &mut Reply<'_>, at: Owner) {
    let server = reply.position() + 12;
    reply.record(Section::Answer, at, rtype::NS, TTL, |out| {
        write_name(out, &zone.server_name());
    });
    for address in &zone.config().servers {
        reply.address(Section::Additional, Owner(server), TTL, *address);
    }
}

/// Answers `packet` into `out` with what others said about `pending`.
pub(crate) fn complete(packet: &[u8], tcp: bool, pending: &Pending, outcome: &Outcome, out: &mut Vec<u8>) {
    let Ok(query) = Query::parse(packet) else { return };
    let most = limit(&query, tcp);
    let mut reply = Reply::new(out, &query, most);
    let owner = aliases(&mut reply, &pending.chain);
    if !pending.chain.is_empty() {
        reply.authoritative();
    }
    let kept = match outcome {
        Ok(kept) => kept,
        Err(why) => {
            reply.explain(why);
            return reply.finish(rcode::SERVFAIL.into(), !tcp);
        }
    };
    let age = u32::try_from(kept.at.elapsed().as_secs()).unwrap_or(u32::MAX);
    let upstream = &kept.answer;
    if !pending.chain.is_empty() {
        let first = pending.key.len() - 4;
        for record in upstream.answers() {
            let data = match record.kind {
                rtype::CNAME => upstream.name(record.at).unwrap_or_default(),
                rtype::A | rtype::AAAA => record.data.to_vec(),
                _ => continue,
            };
            let ttl = record.ttl.saturating_sub(age);
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&data);
            if record.owner.eq_ignore_ascii_case(&pending.key[..first]) {
                reply.record(Section::Answer, Owner(owner), record.kind, ttl, write);
            } else {
                reply.record_named(Section::Answer, &record.owner, record.kind, ttl, write);
            }
        }
        return reply.finish(upstream.code().into(), !tcp);
    }
    let room = if query.edns.is_some() { 11 } else { 0 };
    if upstream.message.len() + room > most || upstream.end != query.end {
        return reply.cut(upstream.code().into());
    }
    reply.copy(&upstream.message, &upstream.ttls, age);
    reply.finish(upstream.code().into(), !tcp);
}
