//! The sets and maps of the table, and which of them hold compiled data.

use super::super::expr::{Contents, Family, Field, Set, Verdict};
use super::super::state::SetName;
use super::balance::by_algorithm;
use super::frontend::by_flags;
use super::ladder::{by_pick, by_timeout};
use super::rejects::{REJECTS, REJECTS_MAX};
use super::step::{BOTH, named};

/// Clients remembered per family; the oldest go first when it is full.
const AFFINITY_MAX: u32 = 262_144;

/// Every set that holds compiled data.
pub const ALL_SETS: [SetName; 28] = [
    SetName::Pods4,
    SetName::Pods6,
    SetName::PodInterfaces,
    SetName::Egress4,
    SetName::Egress6,
    SetName::ServiceCidrs4,
    SetName::ServiceCidrs6,
    SetName::NodeportAddrs4,
    SetName::NodeportAddrs6,
    SetName::Hairpin4,
    SetName::Hairpin6,
    SetName::DnsAddrs4,
    SetName::DnsAddrs6,
    SetName::Front4,
    SetName::Front6,
    SetName::Nodeport4,
    SetName::Nodeport6,
    SetName::LbAllow4,
    SetName::LbAllow6,
    SetName::SetCluster,
    SetName::SetLocal,
    SetName::Special,
    SetName::Slots,
    SetName::CtIds,
    SetName::Ep4,
    SetName::Ep6,
    SetName::MembersCluster,
    SetName::MembersLocal,
];

/// What a data set looks like (without its counter).
pub fn describe(name: SetName) -> Set {
    use Field::{Interface, Ipv4, Ipv6, Mark, Port, Protocol, Word};
    let set = |name: &str, key: &[Field]| plain(name, key, Contents::Members);
    let map = |name: &str, key: &[Field], value: &[Field]| plain(name, key, Contents::Data(value.to_vec()));
    let interval = |set: Set| Set { interval: true, ..set };
    match name {
        SetName::Pods4 => interval(set("pods4", &[Ipv4])),
        SetName::Pods6 => interval(set("pods6", &[Ipv6])),
        SetName::PodInterfaces => interval(set("pod_interfaces", &[Interface])),
        SetName::Egress4 => interval(set("egress4", &[Ipv4])),
        SetName::Egress6 => interval(set("egress6", &[Ipv6])),
        SetName::ServiceCidrs4 => interval(set("service_cidrs4", &[Ipv4])),
        SetName::ServiceCidrs6 => interval(set("service_cidrs6", &[Ipv6])),
        SetName::NodeportAddrs4 => set("nodeport_addrs4", &[Ipv4]),
        SetName::NodeportAddrs6 => set("nodeport_addrs6", &[Ipv6]),
        SetName::Hairpin4 => set("hairpin4", &[Ipv4, Ipv4]),
        SetName::Hairpin6 => set("hairpin6", &[Ipv6, Ipv6]),
        SetName::DnsAddrs4 => set("dns_addrs4", &[Ipv4]),
        SetName::DnsAddrs6 => set("dns_addrs6", &[Ipv6]),
        SetName::Front4 => map("front4", &[Ipv4, Protocol, Port], &[Word]),
        SetName::Front6 => map("front6", &[Ipv6, Protocol, Port], &[Word]),
        SetName::Nodeport4 => map("nodeport4", &[Protocol, Port], &[Word]),
        SetName::Nodeport6 => map("nodeport6", &[Protocol, Port], &[Word]),
        SetName::LbAllow4 => interval(set("lb_allow4", &[Ipv4, Protocol, Port, Ipv4])),
        SetName::LbAllow6 => interval(set("lb_allow6", &[Ipv6, Protocol, Port, Ipv6])),
        SetName::SetCluster => map("set_cluster", &[Word], &[Word]),
        SetName::SetLocal => map("set_local", &[Word], &[Word]),
        SetName::Special => map("special", &[Word], &[Word]),
        SetName::Slots => map("slots", &[Word, Mark], &[Word]),
        SetName::CtIds => map("ct_ids", &[Word], &[Mark]),
        SetName::Ep4 => map("ep4", &[Word], &[Ipv4, Port]),
        SetName::Ep6 => map("ep6", &[Word], &[Ipv6, Port]),
        SetName::MembersCluster => set("members_cluster", &[Word]),
        SetName::MembersLocal => set("members_local", &[Word]),
    }
}

/// Every set of the table.
pub(super) fn all(counters: bool) -> Vec<Set> {
    let counted = |name| match name {
        SetName::Front4 | SetName::Front6 | SetName::Nodeport4 | SetName::Nodeport6 => counters,
        SetName::Ep4 | SetName::Ep6 => counters,
        _ => false,
    };
    let mut sets: Vec<Set> = ALL_SETS.map(|name| Set { counter: counted(name), ..describe(name) }).into();
    for family in BOTH {
        let address = match family {
            Family::V4 => Field::Ipv4,
            Family::V6 => Field::Ipv6,
        };
        let client = [address, Field::Word];
        let affinity = plain(&named("affinity", family), &client, Contents::Data(vec![Field::Word]));
        sets.push(Set { dynamic: Some(AFFINITY_MAX), ..affinity });
        sets.push(verdicts(&named("by_flags", family), by_flags(family)));
    }
    sets.push(verdicts("stickiness", by_timeout()));
    sets.push(verdicts("pick", by_pick()));
    sets.push(verdicts("algorithm", by_algorithm()));
    let rejects = plain(REJECTS, &[Field::Word], Contents::Members);
    sets.push(Set { dynamic: Some(REJECTS_MAX), counter: true, ..rejects });
    sets
}

fn verdicts(name: &str, verdicts: Vec<(u32, Verdict)>) -> Set {
    plain(name, &[Field::Word], Contents::Verdicts(verdicts))
}

fn plain(name: &str, key: &[Field], contents: Contents) -> Set {
    Set { name: name.into(), key: key.to_vec(), contents, interval: false, dynamic: None, counter: false }
}
