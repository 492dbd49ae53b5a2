//! What changed with some batches in, a verdict on each UDP flow out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::nft::flows::{Flush, Target};
use kernel::nl::conntrack::Flow;

use super::index::identity;
use super::places::Places;

/// Endpoints that may keep flows.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    identities: BTreeSet<u32>,
    addresses: BTreeSet<(IpAddr, u16)>,
}

/// Which flows through a frontend are looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Of whom they must be; an index into [`Judge::serving`], none if nobody holds the frontend.
    serving: Option<usize>,
    /// Only flows that carry no identity; the others were judged by it.
    pub(super) unidentified_only: bool,
    /// Nobody held it before, so that flows may be through it that were never translated.
    pub(super) opened: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) left: BTreeSet<u32>,
    pub(super) checks: BTreeMap<Target, Check>,
    serving: Vec<Serving>,
}

impl Judge {
    /// Takes the changes of batches in the order in which they were committed.
    pub(super) fn new(batches: &[Vec<Flush>]) -> Self {
        let mut judge = Self::default();
        for batch in batches {
            let first = judge.serving.len();
            for flush in batch {
                judge.left.extend(&flush.left);
                judge.serving.push(Serving {
                    identities: flush.serving.iter().map(|(_, identity)| *identity).collect(),
                    addresses: flush.serving.iter().map(|(backend, _)| (backend.address, backend.port)).collect(),
                });
            }
            let numbered = || (first..).zip(batch);
            for (number, flush) in numbered() {
                flush.frontends.iter().for_each(|target| judge.look(*target, Some(number), true, false));
            }
            for flush in batch {
                flush.closed.iter().for_each(|target| judge.look(*target, None, false, false));
            }
            // A frontend that goes from one Service to another in one batch is closed and opened: its new owner counts.
            for (number, flush) in numbered() {
                flush.opened.iter().for_each(|target| judge.look(*target, Some(number), false, true));
            }
        }
        judge
    }

    fn look(&mut self, target: Target, serving: Option<usize>, unidentified_only: bool, opened: bool) {
        let check = self.checks.entry(target).or_insert(Check { serving, unidentified_only, opened });
        check.serving = serving;
        check.unidentified_only &= unidentified_only;
        check.opened |= opened;
    }

    /// Whether an endpoint keeps its flows through a frontend.
    pub(super) fn keeps(&self, check: &Check, identity: u32) -> bool {
        let serving = check.serving.and_then(|number| self.serving.get(number));
        identity != 0 && serving.is_some_and(|serving| serving.identities.contains(&identity))
    }

    /// Whether a flow through a frontend leads to one that it should not lead to, or to nobody.
    pub(super) fn astray(&self, check: &Check, flow: &Flow) -> bool {
        let identity = identity(flow.mark);
        if identity != 0 {
            return !check.unidentified_only && !self.keeps(check, identity);
        }
        let leads_to = (flow.reply.source, flow.reply.source_port);
        let serving = check.serving.and_then(|number| self.serving.get(number));
        serving.is_none_or(|serving| !serving.addresses.contains(&leads_to))
    }

    /// Whether a flow must end.
    pub(super) fn condemns(&self, flow: &Flow, places: &Places) -> bool {
        if self.left.contains(&identity(flow.mark)) {
            return true;
        }
        let (address, port) = (flow.original.destination, flow.original.destination_port);
        let exact = Target { port, v4: address.is_ipv4(), address: Some(address) };
        let node_port = || self.checks.get(&Target { address: None, ..exact }).filter(|_| places.is_node(&address));
        self.checks.get(&exact).or_else(node_port).is_some_and(|check| self.astray(check, flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compile::service_table::Backend;
    use kernel::nl::conntrack::Tuple;

    const A: u32 = 0x40_0001;
    const B: u32 = 0x40_0002;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn flow(to: &str, port: u16, leads_to: &str, mark: u32) -> Flow {
        let tuple = |source, source_port, destination, destination_port| Tuple {
            source,
            destination,
            protocol: 17,
            source_port,
            destination_port,
        };
        let original = tuple(ip("10.0.0.9"), 999, ip(to), port);
        Flow { original, reply: tuple(ip(leads_to), 8080, ip("10.0.0.9"), 999), status: 0, mark, id: 1 }
    }

    fn target(address: Option<&str>, port: u16) -> Target {
        Target { port, v4: true, address: address.map(ip) }
    }

    fn serving(of: &[(&str, u32)]) -> Vec<(Backend, u32)> {
        of.iter().map(|(address, identity)| (Backend { address: ip(address), port: 8080 }, *identity)).collect()
    }

    #[test]
    fn an_endpoint_that_left_loses_its_flows_with_and_without_identity() {
        let vip = target(Some("10.96.0.1"), 80);
        let flush =
            Flush { left: vec![A], frontends: vec![vip], serving: serving(&[("10.1.0.2", B)]), ..Flush::default() };
        let judge = Judge::new(&[vec![flush]]);
        let places = Places::default();
        let condemned = |leads_to, mark| judge.condemns(&flow("10.96.0.1", 80, leads_to, mark), &places);
        assert!(condemned("10.1.0.1", A) && condemned("10.1.0.1", 0x80) && condemned("10.1.0.1", 0));
        assert!(!condemned("10.1.0.2", B) && !condemned("10.1.0.2", 0x80));
        assert!(!judge.condemns(&flow("10.96.0.2", 80, "10.1.0.1", 0x80), &places), "through another Service");
        assert!(!judge.condemns(&flow("10.96.0.1", 81, "10.1.0.1", 0), &places), "through another port");
    }

    #[test]
    fn a_frontend_that_changes_hands_keeps_only_its_new_owners_flows() {
        let vip = target(Some("203.0.113.1"), 80);
        let from =
            Flush { frontends: vec![vip], closed: vec![vip], serving: serving(&[("10.1.0.1", A)]), ..Flush::default() };
        let to =
            Flush { frontends: vec![vip], opened: vec![vip], serving: serving(&[("10.1.0.2", B)]), ..Flush::default() };
        for batch in [vec![from.clone(), to.clone()], vec![to.clone(), from.clone()]] {
            let judge = Judge::new(&[batch]);
            let condemned = |mark| judge.condemns(&flow("203.0.113.1", 80, "10.1.0.1", mark), &Places::default());
            assert!(condemned(A) && condemned(0) && !condemned(B));
        }
        let judge =
            Judge::new(&[vec![from.clone(), to.clone()], vec![Flush { closed: vec![vip], ..Flush::default() }]]);
        let after = flow("203.0.113.1", 80, "10.1.0.2", B);
        assert!(judge.condemns(&after, &Places::default()), "given up again in the next batch");
    }

    #[test]
    fn node_ports_are_those_of_the_nodes_addresses_only() {
        let closed = target(None, 30_080);
        let judge = Judge::new(&[vec![Flush { closed: vec![closed], ..Flush::default() }]]);
        let mut places = Places::default();
        places.add_node(ip("192.0.2.1"));
        assert!(judge.condemns(&flow("192.0.2.1", 30_080, "10.1.0.1", A), &places));
        let other = flow("10.96.0.7", 30_080, "10.1.0.1", A);
        assert!(!judge.condemns(&other, &places), "a cluster IP whose port has the number of the node port");
    }
}
