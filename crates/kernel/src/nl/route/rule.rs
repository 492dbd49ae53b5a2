//! Policy rules of the kernel's routing: which packets look into which table first. Read only.

use std::net::IpAddr;

use super::super::parse;
use super::{Result, Rtnetlink};

const GET_RULE: u16 = 34;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`.
const INVERT: u32 = 2;

/// One policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    let mark = number(FRA_FWMARK);
    let mask = number(FRA_FWMASK).unwrap_or(u32::MAX);
    Some(PolicyRule {
        v6: i32::from(*payload.first()?) == libc::AF_INET6,
        priority: number(FRA_PRIORITY).unwrap_or(0),
        mark: mark.map(|mark| (mark, mask)),
        destination: network(FRA_DST, *payload.get(1)?),
        source: network(FRA_SRC, *payload.get(2)?),
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
}
