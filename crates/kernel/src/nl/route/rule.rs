//! Policy rules of the kernel's routing: which packets look into which table first. Read only.

use std::net::IpAddr;

use super::super::parse;
use super::{Result, Rtnetlink};

const GET_RULE: u16 = 34;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_OIFNAME: u16 = 17;
const FRA_UID_RANGE: u16 = 20;
const FRA_IP_PROTO: u16 = 22;
const FRA_SPORT_RANGE: u16 = 23;
const FRA_DPORT_RANGE: u16 = 24;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

/// One policy rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyRule {
    /// Whether it is one of IPv6.
    pub v6: bool,
    /// Lower is asked first.
    pub priority: u32,
    /// Packet mark and mask that it asks for.
    pub mark: Option<(u32, u32)>,
    /// Source that it asks for.
    pub source: Option<(IpAddr, u8)>,
    /// Destination that it asks for.
    pub destination: Option<(IpAddr, u8)>,
    /// Name of the link by which packets come in; `lo`: those of this host.
    pub incoming: Option<String>,
    /// Name of the link to which a program has bound its socket.
    pub outgoing: Option<String>,
    /// First and last user whose sockets it asks for.
    pub users: Option<(u32, u32)>,
    /// Protocol number.
    pub protocol: Option<u8>,
    /// First and last source port, then those of the destination.
    pub ports: [Option<(u16, u16)>; 2],
    /// True if it means every packet but those.
    pub inverted: bool,
    /// The table; none if it refuses.
    pub table: Option<u32>,
    /// Routes of that table with at most so many bits are passed over.
    pub suppress: Option<u32>,
}

impl Rtnetlink {
    /// Every policy rule, both families, in the order in which they are asked.
    pub fn policy_rules(&mut self) -> Result<Vec<PolicyRule>> {
        let mut out = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let mut fixed = [0; 12];
            fixed[0] = family;
            let replies = self.dump("list policy rules", GET_RULE, &fixed)?;
            out.extend(replies.iter().filter_map(|reply| rule(&reply.payload)));
        }
        out.sort_by_key(|rule| (rule.v6, rule.priority));
        Ok(out)
    }
}

/// struct fib_rule_hdr: family, destination and source bits, tos, table, two unused, action, flags.
fn rule(payload: &[u8]) -> Option<PolicyRule> {
    let attributes = payload.get(12..)?;
    let find = |kind| parse::find(attributes, kind);
    let number = |kind| find(kind).and_then(parse::host32);
    let network = |kind, bits: u8| find(kind).and_then(parse::address).map(|address| (address, bits));
    let name = |kind| find(kind).map(parse::text);
    let users = |value: &[u8]| Some((parse::host32(value)?, parse::host32(value.get(4..)?)?));
    let ports = |value: &[u8]| Some((parse::host16(value)?, parse::host16(value.get(2..)?)?));
    let mark = number(FRA_FWMARK);
    let mask = number(FRA_FWMASK).unwrap_or(u32::MAX);
    Some(PolicyRule {
        v6: i32::from(*payload.first()?) == libc::AF_INET6,
        priority: number(FRA_PRIORITY).unwrap_or(0),
        mark: mark.map(|mark| (mark, mask)),
        destination: network(FRA_DST, *payload.get(1)?),
        source: network(FRA_SRC, *payload.get(2)?),
        incoming: name(FRA_IIFNAME),
        outgoing: name(FRA_OIFNAME),
        users: find(FRA_UID_RANGE).and_then(users),
        protocol: find(FRA_IP_PROTO).and_then(|value| value.first().copied()),
        ports: [FRA_SPORT_RANGE, FRA_DPORT_RANGE].map(|kind| find(kind).and_then(ports)),
        inverted: parse::host32(payload.get(8..)?)? & INVERT != 0,
        table: (*payload.get(7)? == TO_TABLE)
            .then(|| number(FRA_TABLE).unwrap_or(u32::from(payload.get(4).copied().unwrap_or(0)))),
        suppress: number(FRA_SUPPRESS_PREFIXLEN).filter(|bits| *bits != u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_the_rules_for_its_local_and_main_tables() {
        let rules = Rtnetlink::open().unwrap().policy_rules().unwrap();
        let v4: Vec<_> = rules.iter().filter(|rule| !rule.v6).collect();
        assert_eq!((v4[0].priority, v4[0].table), (0, Some(255)));
        assert!(v4.iter().any(|rule| rule.table == Some(254) && rule.mark.is_none()));
        assert_eq!(rule(&[2, 0]), None, "a cut header is no rule");
    }

    #[test]
    fn everything_that_a_rule_asks_for_is_read() {
        let words =
            "from 192.0.2.0/24 iif lo oif one uidrange 5-7 ipproto tcp sport 10-20 dport 443 lookup 77 priority 9";
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                crate::namespace::new_net().unwrap_or_else(|error| panic!("{error}: run the tests as root"));
                let ip = std::process::Command::new("ip").args(["rule", "add"]).args(words.split(' ')).status();
                assert!(ip.expect("ip must be installed (iproute2)").success());
                let rules = Rtnetlink::open().unwrap().policy_rules().unwrap();
                let added = rules.into_iter().find(|rule| rule.table == Some(77)).unwrap();
                let expected = PolicyRule {
                    priority: 9,
                    source: Some(("192.0.2.0".parse().unwrap(), 24)),
                    incoming: Some("lo".into()),
                    outgoing: Some("one".into()),
                    users: Some((5, 7)),
                    protocol: Some(6),
                    ports: [Some((10, 20)), Some((443, 443))],
                    table: Some(77),
                    ..PolicyRule::default()
                };
                assert_eq!(added, expected);
            });
            thread.join().unwrap();
        });
    }
}
