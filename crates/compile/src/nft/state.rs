//! Contents of the maps and sets of our one table, byte for byte as netlink carries them.

use std::collections::BTreeMap;

use super::flows::Flush;

/// A map or set of the table that holds data (the static verdict maps are part of the rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    /// Pod ranges, intervals.
    Pods4,
    /// Pod ranges, intervals.
    Pods6,
    /// Names of interfaces on which pods come in, intervals.
    PodInterfaces,
    /// Ranges whose way out to others is masqueraded, intervals.
    Egress4,
    /// Ranges whose way out to others is masqueraded, intervals.
    Egress6,
    /// Service ranges, intervals.
    ServiceCidrs4,
    /// Service ranges, intervals.
    ServiceCidrs6,
    /// Local addresses that serve node ports.
    NodeportAddrs4,
    /// Local addresses that serve node ports.
    NodeportAddrs6,
    /// address . address of each local endpoint.
    Hairpin4,
    /// address . address of each local endpoint.
    Hairpin6,
    /// Local addresses of the cluster DNS: never tracked, never translated.
    DnsAddrs4,
    /// Local addresses of the cluster DNS: never tracked, never translated.
    DnsAddrs6,
    /// destination . protocol . port -> F.
    Front4,
    /// destination . protocol . port -> F.
    Front6,
    /// protocol . port -> F.
    Nodeport4,
    /// protocol . port -> F.
    Nodeport6,
    /// destination . protocol . port . source range.
    LbAllow4,
    /// destination . protocol . port . source range.
    LbAllow6,
    /// Service word -> W.
    SetCluster,
    /// Service word -> W.
    SetLocal,
    /// Service word with LOCAL bit -> the same with the code of an algorithm (10..0), for sets of pick class 63.
    Special,
    /// Service word with LOCAL bit . slot -> E.
    Slots,
    /// E -> conntrack mark.
    CtIds,
    /// E -> address . port.
    Ep4,
    /// E -> address . port.
    Ep6,
    /// E of endpoints that an affinity entry may still name.
    MembersCluster,
    /// E of endpoints that an affinity entry may still name.
    MembersLocal,
}

/// An element's key: fields padded to 4 bytes each, in order. In interval sets: start, then exclusive end
/// (for `LbAllow*`: KEY then KEY_END).
pub type Key = Box<[u8]>;
/// An element's value; empty in sets.
pub type Value = Box<[u8]>;

/// Contents of all sets and maps, ordered.
pub type State = BTreeMap<SetName, BTreeMap<Key, Value>>;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where it lives.
    pub set: SetName,
    /// Key.
    pub key: Key,
    /// Value; empty in sets and for deletions.
    pub value: Value,
}

/// One netlink transaction: deletions first, then additions; both in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Elements to delete (value empty).
    pub delete: Vec<Element>,
    /// Elements to add.
    pub add: Vec<Element>,
    /// UDP flows that must end once this batch is committed.
    pub flush: Vec<Flush>,
}
