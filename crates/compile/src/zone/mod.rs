//! The DNS zone: a snapshot in, an immutable answerer for every name of the cluster domain out.
//!
//! Names and answers follow the Kubernetes DNS specification 1.1.0; where it is silent, CoreDNS. The zone is kept
//! incrementally: an update touches the changed Services, pods and namespaces only. What is asked for rarely (endpoint
//! names, SRV, PTR) is not stored but read from the snapshot that the zone holds.

mod build;
mod endpoint;
mod lookup;
mod reverse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use rpds::RedBlackTreeMapSync;

use crate::allocate::Cidr;
use crate::snapshot::Snapshot;

pub use build::ZoneBuilder;

/// What the zone needs to know beside the snapshot.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// Cluster domain, lower case, without final dot: `cluster.local`.
    pub domain: Box<str>,
    /// Service and pod ranges: PTR questions about them are ours, all others are forwarded.
    pub reverse: Vec<Cidr>,
    /// Addresses of the name server itself.
    pub servers: Vec<IpAddr>,
}

/// Seconds an answer may be kept. CoreDNS' default; the node itself never answers from a cache.
pub const TTL: u32 = 5;
/// Seconds that "no such name" may be kept: none, so that a Service is found as soon as it exists.
pub const NEGATIVE_TTL: u32 = 0;
/// `dns-version` of the specification.
pub const DNS_VERSION: &str = "1.1.0";

/// The zone at one revision.
#[derive(Clone, Debug)]
pub struct Zone {
    config: Arc<ZoneConfig>,
    snapshot: Arc<Snapshot>,
    spaces: RedBlackTreeMapSync<Box<str>, Arc<Space>>,
    cluster_ips: Index,
    endpoints: Index,
    pods: Index,
}

/// Objects by address; a set of pairs, so that one more costs the logarithm of all.
type Index = RedBlackTreeMapSync<(IpAddr, ObjectKey), ()>;

/// One namespace of the zone.
#[derive(Clone, Debug, Default, PartialEq)]
struct Space {
    exists: bool,
    services: RedBlackTreeMapSync<Box<str>, Arc<Entry>>,
}

/// One Service of the zone.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    kind: EntryKind,
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
}

#[derive(Clone, Debug, PartialEq)]
enum EntryKind {
    /// Has virtual addresses.
    Cluster,
    /// Resolves to its ready endpoints.
    Headless,
    /// An alias.
    External(Box<str>),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Service location.
    Srv,
    /// Name of an address.
    Ptr,
    /// Alias.
    Cname,
    /// Text.
    Txt,
    /// Start of authority.
    Soa,
    /// Name servers.
    Ns,
    /// Anything else: a name that exists has no data of it.
    Other,
}

/// A service location, with the addresses of its target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Share among the locations: 100 / n, at least 1.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Name of the host.
    pub target: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The zone's word on a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<'zone> {
    /// Not a name of ours: ask others.
    Elsewhere,
    /// The name does not exist.
    NoName,
    /// The name exists, but has nothing of the type asked for.
    NoData,
    /// IPv4 addresses.
    V4(&'zone [Ipv4Addr]),
    /// IPv6 addresses.
    V6(&'zone [Ipv6Addr]),
    /// One address, synthesised from a name.
    Address(IpAddr),
    /// The name is an alias of this one (lower case, no final dot).
    Alias(&'zone str),
    /// Locations.
    Locations(Vec<Location>),
    /// Names of an address.
    Names(Vec<String>),
    /// A text.
    Text(&'static str),
    /// The zone's own SOA record.
    Authority,
    /// The zone's own NS record.
    NameServer,
}

impl Zone {
    /// Everything up to this revision is answered.
    pub fn revision(&self) -> Revision {
        self.snapshot.revision
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    /// How many of the last labels of `name` are the zone it belongs to: the owner of the SOA record that goes with a
    /// negative answer. Zero for names that are not ours.
    pub fn apex_labels(&self, name: &str) -> usize {
        match lookup::below(name, &self.config.domain) {
            Some(_) => self.config.domain.split('.').count(),
            None => self.reverse_apex(name),
        }
    }

    /// Host name of the name server, for SOA and NS: `ns.dns.<domain>`.
    pub fn server_name(&self) -> String {
        format!("ns.dns.{}", self.config.domain)
    }

    /// Every Service with its addresses or alias, one line each, in order of name: for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (namespace, space) in &self.spaces {
            for (service, entry) in &space.services {
                let what = match &entry.kind {
                    EntryKind::External(target) => format!("CNAME {target}"),
                    _ => {
                        let v4 = entry.v4.iter().map(Ipv4Addr::to_string);
                        v4.chain(entry.v6.iter().map(Ipv6Addr::to_string)).collect::<Vec<_>>().join(" ")
                    }
                };
                out.push_str(&format!("{service}.{namespace}.svc.{} {what}\n", self.config.domain));
            }
        }
        out
    }
}

/// Equality of what is answered; the revision does not count.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.spaces == other.spaces
            && self.cluster_ips == other.cluster_ips
            && self.endpoints == other.endpoints
            && self.pods == other.pods
    }
}
