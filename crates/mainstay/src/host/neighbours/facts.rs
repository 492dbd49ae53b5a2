//! What a host says of itself, as data: chains and rules of every firewall, policy rules, routes, resolvers.

use std::net::IpAddr;

use compile::allocate::Cidr;
use kernel::nl::rulesets::{INET, IP, IP6};

use crate::config::Network;

/// Where packets pass a chain; the numbers are those of netfilter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
}

impl Hook {
    /// By the number of `NF_INET_*`.
    pub(crate) fn of(number: u32) -> Option<Self> {
        [(1, Self::Input), (2, Self::Forward), (3, Self::Output)]
            .into_iter()
            .find(|one| one.0 == number)
            .map(|one| one.1)
    }

    /// The chain that iptables attaches there.
    pub(crate) fn chain(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
        }
    }
}

/// Which program's rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// nf_tables: native rules, or those of iptables-nft.
    Nft,
    /// The old iptables of the kernel.
    Legacy,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Whose.
    pub(crate) backend: Backend,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    /// Its table.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// Where packets enter it; none if only other chains lead there.
    pub(crate) hook: Option<Hook>,
    /// Drops what no rule decides.
    pub(crate) drops: bool,
}

impl Chain {
    /// Whether packets of this family pass it.
    pub(crate) fn sees(&self, v6: bool) -> bool {
        self.family == INET || self.family == if v6 { IP6 } else { IP }
    }
}

/// An address or network that somebody's rules name as a Service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What.
    pub(crate) network: Cidr,
    /// Where it is written.
    pub(crate) place: String,
}

/// A policy rule of routing.
pub(crate) use kernel::nl::route::PolicyRule;

/// A route, with the name of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Destination.
    pub(crate) network: Cidr,
    /// Routing table.
    pub(crate) table: u32,
    /// Name of the link; empty if there is none.
    pub(crate) link: String,
}

/// The host's resolvers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// Servers of /etc/resolv.conf.
    pub(crate) servers: Vec<IpAddr>,
    /// Servers that systemd-resolved asks.
    pub(crate) uplinks: Vec<IpAddr>,
}

/// Everything that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Chains of all firewalls.
    pub(crate) chains: Vec<Chain>,
    /// Names of all tables of nf_tables, with their families.
    pub(crate) tables: Vec<(u8, String)>,
    /// Service addresses in the rules of kube-proxies.
    pub(crate) claims: Vec<Claim>,
    /// Policy rules in the order in which they are asked.
    pub(crate) rules: Vec<PolicyRule>,
    /// Routes of all tables.
    pub(crate) routes: Vec<Route>,
    /// Addresses of this host.
    pub(crate) addresses: Vec<IpAddr>,
    /// Names of links.
    pub(crate) links: Vec<String>,
    /// Resolvers.
    pub(crate) resolver: Resolver,
    /// Values of net.ipv4.conf.{all,default}.rp_filter.
    pub(crate) rp_filter: (String, String),
    /// Which rules the program `iptables` changes; none: it is not installed.
    pub(crate) iptables: Option<Backend>,
    /// firewalld's zone `trusted` is not as it was delivered.
    pub(crate) trusted_zone_changed: bool,
    /// What could not be read, and why.
    pub(crate) unread: Vec<String>,
}

/// Our own ranges and addresses, as far as neighbours matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    /// Ranges of pods, one per family.
    pub(crate) pods: Vec<Cidr>,
    /// Ranges of Services.
    pub(crate) services: Vec<Cidr>,
    /// Addresses of the cluster DNS.
    pub(crate) dns: Vec<IpAddr>,
    /// Addresses of the node in the pod ranges.
    pub(crate) node: Vec<IpAddr>,
    /// Cluster domain.
    pub(crate) domain: String,
    /// The table `inet mainstay` is this instance's.
    pub(crate) own_table: bool,
}

impl Ours {
    /// Of the settings of an instance.
    pub(crate) fn of(network: &Network, domain: &str, own_table: bool) -> Self {
        Self {
            pods: network.pod_cidrs.clone(),
            services: network.service_cidrs.clone(),
            dns: network.dns_addresses.clone(),
            node: network.node_addresses.clone(),
            domain: domain.to_owned(),
            own_table,
        }
    }

    /// The pod range of a family.
    pub(crate) fn pods_of(&self, v6: bool) -> Option<&Cidr> {
        self.pods.iter().find(|cidr| cidr.network.is_ipv6() == v6)
    }
}

impl Facts {
    /// Whether a table of this family holds a chain whose name begins so.
    pub(crate) fn has_chain(&self, backend: Backend, family: u8, table: &str, prefix: &str) -> bool {
        let is_it = |chain: &&Chain| chain.backend == backend && chain.family == family && chain.table == table;
        self.chains.iter().filter(is_it).any(|chain| chain.name.starts_with(prefix))
    }
}

/// Whether two networks share an address.
pub(crate) fn overlap(one: &Cidr, other: &Cidr) -> bool {
    one.contains(other.network) || other.contains(one.network)
}
