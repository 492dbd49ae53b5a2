//! What one node should do for one Service: a Service and its slices in, frontends and endpoint sets out.
//!
//! Backend-neutral: nftables and eBPF are fed by the same table. Semantics: Kubernetes' proxy (KEP-752, KEP-1669,
//! KEP-2086, KEP-2433), as stated in the reference's section 3.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::object::ObjectKey;

use crate::allocate::Cidr;
use crate::balance::Algorithm;
use crate::snapshot::{Endpoint, EndpointSlice, Family, Protocol, Service, ServicePort, ServiceType, Snapshot};
use crate::topology::{Candidate, Here, cluster_set, local_set};

pub use self::config::{BadInterface, BadMarkBit, Config, IngressAddresses, Interface, LocalPods, MarkBit};

mod config;

/// Endpoints of one Service port beyond which the rest is not used: the kernel data numbers them in 12 bits.
pub const ENDPOINTS_MAX: usize = 4094;

/// Why part of a Service is not programmed. The rest of it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The Service.
    pub service: ObjectKey,
    /// What is wrong, and where.
    pub why: String,
}

/// A virtual address a Service port is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A cluster IP.
    Cluster(IpAddr),
    /// A load-balancer address, or one of `spec.externalIPs`.
    LoadBalancer(IpAddr),
    /// The node's own addresses.
    Node,
}

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Where.
    pub address: Address,
    /// Port there.
    pub port: u16,
    /// Traffic policy Local.
    pub local: bool,
    /// Sources that alone may use it (load-balancer addresses only); none: everybody.
    pub sources: Option<Vec<Cidr>>,
    /// Whose source gives way to the node's.
    pub masquerade: Masquerade,
}

/// Whose source gives way to the node's. A client that is its own endpoint is masqueraded in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// Everybody's: the endpoint may be on another node, which does not know the way back.
    Always,
    /// On cluster IPs, that of all but pods. On other addresses under policy Local, that of this host.
    UnlessPod,
    /// Nobody's.
    Never,
}

/// An endpoint that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

/// Which port of a Service, in which family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortKey {
    /// Family.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the Service.
    pub port: u16,
}

/// One port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Ways in.
    pub frontends: Vec<Frontend>,
    /// Endpoints under policy Cluster, sorted.
    pub cluster: Vec<Backend>,
    /// Endpoints under policy Local, sorted; none if no frontend has that policy.
    pub local: Option<Vec<Backend>>,
    /// Endpoints that still answer, chosen or not: their flows stay.
    pub serving: Vec<Backend>,
    /// ClientIP affinity with its timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// How one is chosen.
    pub algorithm: Algorithm,
    /// Seconds until an endpoint that became ready has its full share; 0: at once.
    pub slow_start: u32,
    /// Shares of new connections that are not 1.
    pub weights: BTreeMap<Backend, u16>,
}

/// Everything about one Service.
pub type ServiceEntry = BTreeMap<PortKey, PortEntry>;

/// Compiles one Service. A missing Service, a headless one, an alias or another proxy's gives an empty entry.
pub fn compile_service(snapshot: &Snapshot, key: &ObjectKey, config: &Config) -> (ServiceEntry, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut entry = ServiceEntry::new();
    let Some(service) = snapshot.services.get(key) else { return (entry, problems) };
    if service.headless || !config.is_ours(service) || service.service_type == ServiceType::ExternalName {
        return (entry, problems);
    }
    for address in &service.cluster_ips {
        if config.dns_addresses.contains(address) {
            continue;
        }
        let family = family_of(*address);
        let slices = slices(snapshot, key, family);
        for port in &service.ports {
            let port_key = PortKey { family, protocol: port.protocol, port: port.port };
            let compiled = compile_port(service, port, *address, &slices, snapshot, config, &mut problems);
            entry.insert(port_key, compiled);
        }
    }
    let unread = slices_of(snapshot, key).filter_map(|slice| Some((slice, slice.weights_unread.as_ref()?)));
    let unread = unread.map(|(slice, parts)| {
        let (name, annotation) = (&slice.meta.key.name, crate::balance::WEIGHTS);
        format!("annotation {annotation} of slice {name}: {parts:?} is not address=0..1000, so 1 counts: write it anew")
    });
    let wrong = service.balance.wrong.iter().map(|why| why.to_string()).chain(unread);
    problems.extend(wrong.map(|why| Problem { service: key.clone(), why }));
    problems.sort();
    problems.dedup();
    (entry, problems)
}

fn slices_of<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> {
    let keys = snapshot.slices_of.get(key).into_iter().flat_map(|keys| keys.iter());
    keys.filter_map(|key| snapshot.slices.get(key)).map(|slice| &**slice)
}

fn slices<'a>(snapshot: &'a Snapshot, key: &ObjectKey, family: Family) -> Vec<&'a EndpointSlice> {
    slices_of(snapshot, key)
        .filter(|slice| {
            slice.family == Some(family) && !slice.meta.labels.contains_key("service.kubernetes.io/headless")
        })
        .collect()
}

fn compile_port(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    slices: &[&EndpointSlice],
    snapshot: &Snapshot,
    config: &Config,
    problems: &mut Vec<Problem>,
) -> PortEntry {
    let node = snapshot.nodes.get(&ObjectKey::new("", config.node.clone()));
    let here = Here { node: &config.node, zone: node.and_then(|node| node.zone.as_deref()) };
    let candidates = candidates(service, port, slices, problems);
    let frontends = frontends(service, port, cluster_ip, (snapshot, config), problems);
    let pick = |indexes: Vec<usize>| {
        let mut backends: Vec<Backend> = indexes.into_iter().map(|index| backend(&candidates[index])).collect();
        backends.sort_unstable();
        backends
    };
    let local = frontends.iter().any(|frontend| frontend.local).then(|| pick(local_set(&candidates, here)));
    let mut serving: Vec<Backend> =
        candidates.iter().filter(|candidate| candidate.endpoint.serving).map(backend).collect();
    serving.sort_unstable();
    let cluster = pick(cluster_set(&candidates, here));
    let weight = |candidate: &Candidate<'_>| Some((backend(candidate), candidate.endpoint.weight?));
    PortEntry {
        frontends,
        cluster,
        local,
        serving,
        affinity_seconds: service.affinity_seconds,
        algorithm: service.balance.algorithm,
        slow_start: service.balance.slow_start,
        weights: candidates.iter().filter_map(weight).filter(|(_, weight)| *weight != 1).collect(),
    }
}

fn backend(candidate: &Candidate<'_>) -> Backend {
    Backend { address: candidate.address, port: candidate.port }
}

/// Endpoints of a port: slices are joined by port name and protocol, in the order of their names.
fn candidates<'a>(
    service: &Service,
    port: &ServicePort,
    slices: &[&'a EndpointSlice],
    problems: &mut Vec<Problem>,
) -> Vec<Candidate<'a>> {
    let mut found: BTreeMap<Backend, Candidate<'a>> = BTreeMap::new();
    for slice in slices {
        let joined = slice.ports.iter().filter(|own| own.name == port.name && own.protocol == port.protocol);
        for number in joined.filter_map(|own| own.port) {
            for endpoint in &slice.endpoints {
                let foreign = (Some(family_of(endpoint.address)) != slice.family).then_some("of another family");
                if let Some(class) = foreign.or_else(|| unusable(endpoint.address)) {
                    let why = format!("endpoint {} of slice {} is {class}: not used", endpoint.address, slice.meta.key);
                    problems.push(Problem { service: service.meta.key.clone(), why });
                    continue;
                }
                let candidate = Candidate { address: endpoint.address, port: number, endpoint };
                let key = backend(&candidate);
                if found.get(&key).is_none_or(|known| replaces(endpoint, known.endpoint)) {
                    found.insert(key, candidate);
                }
            }
        }
    }
    if found.len() > ENDPOINTS_MAX {
        let why = format!("port {} has {} endpoints: only the first {ENDPOINTS_MAX} are used", port.port, found.len());
        problems.push(Problem { service: service.meta.key.clone(), why });
    }
    found.into_values().take(ENDPOINTS_MAX).collect()
}

/// Whether the later of two endpoints with one address and port is meant: one that terminates never replaces another (the
/// address may belong to a new pod already), any other replaces an earlier one. Between two that both stay kube-proxy's
/// outcome is left open; here a ready one is not given up for one that is not.
fn replaces(later: &Endpoint, known: &Endpoint) -> bool {
    !later.terminating && (known.terminating || later.ready || !known.ready)
}

/// Addresses that would reach another host's or this host's own insides.
fn unusable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    match () {
        () if address.is_unspecified() => Some("unspecified"),
        () if address.is_loopback() => Some("a loopback address"),
        () if address.is_multicast() => Some("a multicast address"),
        () if link_local => Some("a link-local address"),
        () => None,
    }
}

fn frontends(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    world: (&Snapshot, &Config),
    problems: &mut Vec<Problem>,
) -> Vec<Frontend> {
    let family = family_of(cluster_ip);
    let config = world.1;
    let internal = match () {
        () if config.masquerade_all => Masquerade::Always,
        () if config.knows_pods(family) => Masquerade::UnlessPod,
        () => Masquerade::Never,
    };
    let local = service.external_local;
    let external = if local { Masquerade::UnlessPod } else { Masquerade::Always };
    let way = |address, port, sources| Frontend { address, port, local, sources, masquerade: external };
    let mut frontends = vec![Frontend {
        address: Address::Cluster(cluster_ip),
        port: port.port,
        local: service.internal_local,
        sources: None,
        masquerade: internal,
    }];
    let open = matches!(service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer);
    if open && port.node_port != 0 {
        frontends.push(way(Address::Node, port.node_port, None));
    }
    if service.service_type == ServiceType::LoadBalancer {
        let sources = sources(service, family, problems);
        for address in service.load_balancer_ips.iter().filter(|address| family_of(**address) == family) {
            if !is_its(service, *address, world, problems) {
                continue;
            }
            let sources = sources.as_ref().map(|sources| with_own(sources, *address, config));
            frontends.push(way(Address::LoadBalancer(*address), port.port, sources));
        }
    }
    for address in service.external_ips.iter().filter(|address| family_of(**address) == family) {
        let address = Address::LoadBalancer(*address);
        // The load balancer's own address keeps its source ranges.
        if frontends.iter().all(|frontend| frontend.address != address) {
            frontends.push(way(address, port.port, None));
        }
    }
    frontends
}

/// Whether a load-balancer address is programmed: unless all are, it comes from a pool and belongs to the Service. A
/// status may be written by others than us, and must not take anybody's traffic (CVE-2020-8554).
fn is_its(service: &Service, address: IpAddr, world: (&Snapshot, &Config), problems: &mut Vec<Problem>) -> bool {
    let (snapshot, Config { pools, ingress, .. }) = world;
    if *ingress == IngressAddresses::All {
        return true;
    }
    let class = service.load_balancer.class.as_deref();
    if !pools.serve(class) {
        // Another implementation's address: that implementation sees to its traffic.
        return false;
    }
    let why = if !pools.allow(address, class, &service.meta.key.namespace) {
        "is in no pool that this Service may use"
    } else if !snapshot.holders.holds(address, &service.meta.key) {
        "belongs to another Service"
    } else {
        return true;
    };
    let why = format!("status.loadBalancer.ingress: {address} {why}: not programmed");
    problems.push(Problem { service: service.meta.key.clone(), why });
    false
}

/// A node may use the Service if one of its addresses may; some of its packets carry the load balancer's own address.
fn with_own(sources: &[Cidr], address: IpAddr, config: &Config) -> Vec<Cidr> {
    let admitted = |own: &IpAddr| sources.iter().any(|range| range.contains(*own));
    if !config.node_port_addresses.iter().chain(&config.node_addresses).any(admitted) {
        return sources.to_vec();
    }
    let own = Cidr { network: address, prefix: if address.is_ipv4() { 32 } else { 128 } };
    outermost(&[sources, &[own]].concat())
}

/// Ranges of one family; a list without any of that family, or with everything, restricts nothing. What cannot be read
/// admits nobody: a typing error must not open a Service.
fn sources(service: &Service, family: Family, problems: &mut Vec<Problem>) -> Option<Vec<Cidr>> {
    let mut ranges = Vec::new();
    let mut unread = false;
    for text in &service.source_ranges {
        match Cidr::around(text) {
            Some(range) if family_of(range.network) == family => ranges.push(range),
            Some(_) => {}
            None => {
                let why = format!("spec.loadBalancerSourceRanges: {text:?} is not a range: it admits nobody");
                problems.push(Problem { service: service.meta.key.clone(), why });
                unread = true;
            }
        }
    }
    let restricted = (unread || !ranges.is_empty()) && ranges.iter().all(|range| range.prefix > 0);
    restricted.then(|| outermost(&ranges))
}

/// The ranges that lie in no other one, in order: sets of ranges refuse overlaps.
pub fn outermost(ranges: &[Cidr]) -> Vec<Cidr> {
    // In this order a range that holds another one comes right before what it holds.
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| (range.network, range.prefix));
    let mut kept: Vec<Cidr> = Vec::new();
    for range in sorted {
        if !kept.last().is_some_and(|wider| wider.contains(range.network)) {
            kept.push(range);
        }
    }
    kept
}

/// Where unknown addresses are refused: the configured Service ranges and those of ServiceCIDRs. One that overlaps a pod
/// range, or ends where addresses end, is left out: what it would refuse is not ours to refuse.
pub fn service_networks(snapshot: &Snapshot, config: &Config) -> Vec<Cidr> {
    let apart = |cidr: &Cidr| !config.pod_cidrs.iter().any(|pods| pods.covers(cidr) || cidr.covers(pods));
    let usable = |cidr: &&Cidr| !cidr.is_last() && apart(cidr);
    let added = snapshot.networks.values().flat_map(|network| &network.cidrs).filter(usable);
    config.service_cidrs.iter().chain(added).copied().collect()
}

/// Family of an address.
pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

#[cfg(test)]
mod tests;
