//! What Kubernetes' documents say about a packet: snapshot and packet in, allowed verdicts out. Written from the
//! semantics reference, section 3, not from the compile steps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;
use compile::balance::Algorithm;
use compile::nft::interpret::{Packet, Verdict};
use compile::service_table::{Backend, Config, LocalPods};
use compile::snapshot::{Endpoint, Family, Service, ServicePort, ServiceType, Snapshot};

/// How a packet met a Service.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Cluster,
    LoadBalancer,
    NodePort,
}

pub(crate) struct Reference<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) config: &'a Config,
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

impl<'a> Reference<'a> {
    /// Every verdict that may be given.
    pub(crate) fn verdicts(&self, packet: &Packet) -> BTreeSet<Verdict> {
        self.verdicts_on(packet, &[0; 16])
    }

    /// The same for a packet that arrives on an interface, whose name is padded with zeros.
    pub(crate) fn verdicts_on(&self, packet: &Packet, interface: &[u8; 16]) -> BTreeSet<Verdict> {
        if self.config.dns_addresses.contains(&packet.destination) {
            return [Verdict::Pass].into();
        }
        if let Some((service, port, way)) = self.meet(packet) {
            return self.served(packet, interface, service, port, way);
        }
        let pools = self.config.pools.list.iter().flat_map(|pool| &pool.ranges);
        let ours = self.config.service_cidrs.iter().any(|range| range.contains(packet.destination))
            || pools.into_iter().any(|range| range.contains(packet.destination));
        [if ours { Verdict::Refuse } else { Verdict::Pass }].into()
    }

    /// The Service and port that a packet is for. Addresses come before node ports; of several Services that name the
    /// same, the first by name has it; a load-balancer address must be from a pool, and has whoever came first.
    fn meet(&self, packet: &Packet) -> Option<(&'a Service, &'a ServicePort, Way)> {
        let by_address = |service: &'a Service, port: &'a ServicePort| {
            let cluster = service.cluster_ips.contains(&packet.destination);
            let external = service.service_type == ServiceType::LoadBalancer
                && service.load_balancer_ips.contains(&packet.destination)
                && self.config.pools.allow(packet.destination, None, &service.meta.key.namespace)
                && self.snapshot.holders.holds(packet.destination, &service.meta.key);
            let way = if cluster { Way::Cluster } else { Way::LoadBalancer };
            (port.port == packet.port && (cluster || external)).then_some((service, port, way))
        };
        let by_node_port = |service: &'a Service, port: &'a ServicePort| {
            let open = matches!(service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer);
            let here = self.config.node_port_addresses.contains(&packet.destination);
            (open && here && port.node_port != 0 && port.node_port == packet.port).then_some((
                service,
                port,
                Way::NodePort,
            ))
        };
        let candidates = || self.candidates(packet);
        // Nobody takes a cluster IP from its Service by naming it.
        let met = || candidates().filter_map(|(service, port)| by_address(service, port));
        met()
            .find(|(_, _, way)| *way == Way::Cluster)
            .or_else(|| met().next())
            .or_else(|| candidates().find_map(|(service, port)| by_node_port(service, port)))
    }

    /// Service ports of the packet's family and protocol: a Service without a cluster IP of a family has nothing in it.
    fn candidates(&self, packet: &Packet) -> impl Iterator<Item = (&'a Service, &'a ServicePort)> {
        let wanted = family(packet.destination);
        let protocol = packet.protocol;
        let dns = &self.config.dns_addresses;
        let in_family = move |service: &&Service| {
            service.cluster_ips.iter().any(|address| family(*address) == wanted && !dns.contains(address))
        };
        let services = self.snapshot.services.values().map(|service| &**service);
        services.filter(|service| self.programs(service)).filter(in_family).flat_map(move |service| {
            let ports = service.ports.iter().filter(move |port| port.protocol == protocol);
            ports.map(move |port| (service, port))
        })
    }

    fn programs(&self, service: &Service) -> bool {
        !service.headless && !service.other_proxy && service.service_type != ServiceType::ExternalName
    }

    fn served(
        &self,
        packet: &Packet,
        interface: &[u8; 16],
        service: &Service,
        port: &ServicePort,
        way: Way,
    ) -> BTreeSet<Verdict> {
        if way == Way::LoadBalancer && !self.admits(service, packet.source) {
            return [Verdict::Drop].into();
        }
        let (local, masquerade) = self.policy(packet, interface, service, way);
        let endpoints = self.endpoints(service, port, family(packet.destination));
        let cluster = self.cluster_set(&endpoints);
        let mut used = if local { self.local_set(&endpoints) } else { cluster.clone() };
        // Weight 0 is for nobody new, unless nobody would be left.
        if used.iter().any(|backend| endpoints[backend].weight != Some(0)) {
            used.retain(|backend| endpoints[backend].weight != Some(0));
        }
        if used.is_empty() {
            let elsewhere = local && !cluster.is_empty();
            return [if elsewhere { Verdict::Drop } else { Verdict::Refuse }].into();
        }
        let translate = |backend: Backend| {
            let hairpin = backend.address == packet.source && self.is_here(packet.source);
            Verdict::Translate { backend, masquerade: masquerade || hairpin }
        };
        used.into_iter().map(translate).collect()
    }

    /// Whether the local endpoints are meant, and whether every source is masqueraded.
    fn policy(&self, packet: &Packet, interface: &[u8; 16], service: &Service, way: Way) -> (bool, bool) {
        let pod = self.is_pod(packet, interface);
        let nobody = self.config.local_pods == LocalPods::Nobody;
        match way {
            Way::Cluster => (service.internal_local, self.config.masquerade_all || !(pod || nobody)),
            _ if !service.external_local => (false, true),
            _ if pod => (false, false),
            _ => (!packet.source_is_host, packet.source_is_host),
        }
    }

    /// Whether the sender is a pod, by its address or by where it comes in.
    fn is_pod(&self, packet: &Packet, interface: &[u8; 16]) -> bool {
        match &self.config.local_pods {
            LocalPods::Ranges => self.config.pod_cidrs.iter().any(|range| range.contains(packet.source)),
            LocalPods::Interfaces(all) => {
                !packet.source_is_host
                    && all.iter().map(|one| one.bounds()).any(|(from, to)| from <= *interface && *interface < to)
            }
            LocalPods::Nobody => false,
        }
    }

    /// Of a packet that meets a Service: whether the local endpoints are meant, whether the source is masqueraded
    /// whichever endpoint it is, and for how many seconds a client stays with its endpoint.
    pub(crate) fn asked(&self, packet: &Packet, interface: &[u8; 16]) -> Option<(bool, bool, Option<u32>)> {
        let (service, _, way) = self.meet(packet)?;
        let (local, masquerade) = self.policy(packet, interface, service, way);
        Some((local, masquerade, service.affinity_seconds))
    }

    /// Whether endpoints of the Service that a packet meets have hints of zones, and of nodes.
    pub(crate) fn hints(&self, packet: &Packet) -> (bool, bool) {
        let Some((service, port, _)) = self.meet(packet) else { return (false, false) };
        let all = self.endpoints(service, port, family(packet.destination));
        let any = |hints: &dyn Fn(&Endpoint) -> bool| all.values().any(|endpoint| hints(endpoint));
        (any(&|endpoint| !endpoint.hint_zones.is_empty()), any(&|endpoint| !endpoint.hint_nodes.is_empty()))
    }

    /// Whether source ranges let a packet in; true where none apply.
    pub(crate) fn admitted(&self, packet: &Packet) -> bool {
        self.meet(packet)
            .is_none_or(|(service, _, way)| way != Way::LoadBalancer || self.admits(service, packet.source))
    }

    /// `loadBalancerSourceRanges`, per family.
    fn admits(&self, service: &Service, source: IpAddr) -> bool {
        let ranges = service.source_ranges.iter().map(|text| {
            let (network, prefix) = text.split_once('/').unwrap();
            (network.parse::<IpAddr>().unwrap(), prefix.parse::<u32>().unwrap())
        });
        let mut own = ranges.filter(|(network, _)| family(*network) == family(source)).peekable();
        own.peek().is_none() || own.any(|(network, prefix)| top(network, prefix) == top(source, prefix))
    }

    fn is_here(&self, address: IpAddr) -> bool {
        let mut pods = self.snapshot.pods.values();
        pods.any(|pod| pod.node.as_deref() == Some(&*self.config.node) && pod.ips.contains(&address))
    }

    fn endpoints(&self, service: &Service, port: &ServicePort, wanted: Family) -> BTreeMap<Backend, &'a Endpoint> {
        let mut found: BTreeMap<Backend, &Endpoint> = BTreeMap::new();
        let owner = |labels: &compile::snapshot::Labels| {
            labels.get("kubernetes.io/service-name").is_some_and(|name| **name == *service.meta.key.name)
        };
        // The map is in name order.
        for slice in self.snapshot.slices.values().filter(|slice| owner(&slice.meta.labels)) {
            if slice.family != Some(wanted) || slice.meta.key.namespace != service.meta.key.namespace {
                continue;
            }
            for own in slice.ports.iter().filter(|own| own.name == port.name && own.protocol == port.protocol) {
                for endpoint in slice.endpoints.iter().filter(|endpoint| usable(endpoint.address, wanted)) {
                    let backend = Backend { address: endpoint.address, port: own.port.unwrap() };
                    // A terminating one replaces nothing; nobody gives up a ready one for one that is not.
                    let known = found.get(&backend);
                    let first = known.is_none_or(|known| known.terminating || endpoint.ready || !known.ready);
                    if known.is_none() || (first && !endpoint.terminating) {
                        found.insert(backend, endpoint);
                    }
                }
            }
        }
        found
    }

    fn cluster_set(&self, all: &BTreeMap<Backend, &Endpoint>) -> BTreeSet<Backend> {
        let only = |wanted: &dyn Fn(&Endpoint) -> bool| -> BTreeSet<Backend> {
            all.iter().filter(|(_, endpoint)| wanted(endpoint)).map(|(backend, _)| *backend).collect()
        };
        let ready = only(&|endpoint| endpoint.ready);
        if ready.is_empty() {
            return only(&|endpoint| endpoint.serving && endpoint.terminating);
        }
        let node = self.snapshot.nodes.get(&ObjectKey::new("", self.config.node.clone()));
        let zone = node.and_then(|node| node.zone.clone());
        let missing = |hints: &dyn Fn(&Endpoint) -> usize| all.values().any(|e| e.ready && hints(e) == 0);
        let same_node = only(&|endpoint| endpoint.ready && endpoint.hint_nodes.contains(&self.config.node));
        if !missing(&|endpoint| endpoint.hint_nodes.len()) && !same_node.is_empty() {
            return same_node;
        }
        let Some(zone) = zone else { return ready };
        let same_zone = only(&|endpoint| endpoint.ready && endpoint.hint_zones.contains(&zone));
        if missing(&|endpoint| endpoint.hint_zones.len()) || same_zone.is_empty() { ready } else { same_zone }
    }

    fn local_set(&self, all: &BTreeMap<Backend, &Endpoint>) -> BTreeSet<Backend> {
        let here: Vec<_> =
            all.iter().filter(|(_, endpoint)| endpoint.node.as_deref() == Some(&*self.config.node)).collect();
        let ready: BTreeSet<Backend> = here.iter().filter(|(_, e)| e.ready).map(|(backend, _)| **backend).collect();
        if !ready.is_empty() {
            return ready;
        }
        here.into_iter().filter(|(_, e)| e.serving && e.terminating).map(|(backend, _)| *backend).collect()
    }

    /// Whether these are all the verdicts that may be given, or one of them where the algorithm leaves no choice.
    pub(crate) fn agrees(&self, packet: &Packet, verdicts: &BTreeSet<Verdict>) -> Result<(), String> {
        let allowed = self.verdicts(packet);
        let fixed = self.fixed_choice(packet) && allowed.len() > 1;
        let agrees = if fixed { verdicts.len() == 1 && verdicts.is_subset(&allowed) } else { *verdicts == allowed };
        if agrees { Ok(()) } else { Err(format!("{packet:?}: {verdicts:?}, allowed {allowed:?}")) }
    }

    /// Whether the client of a packet always gets the same endpoint.
    pub(crate) fn fixed_choice(&self, packet: &Packet) -> bool {
        let hashed = |service: &Service| matches!(service.balance.algorithm, Algorithm::ConsistentHash(_));
        self.meet(packet).is_some_and(|(service, ..)| hashed(service))
    }

    /// Endpoints that a flow may still be with: UDP flows to all others must end. None if no Service is met.
    pub(crate) fn serving(&self, packet: &Packet) -> Option<BTreeSet<Backend>> {
        let (service, port, _) = self.meet(packet)?;
        let all = self.endpoints(service, port, family(packet.destination));
        Some(all.into_iter().filter(|(_, endpoint)| endpoint.serving).map(|(backend, _)| backend).collect())
    }
}

/// The first bits of an address.
fn top(address: IpAddr, bits: u32) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    if bits == 0 { 0 } else { value >> (width - bits) }
}

/// Addresses of the slice's family that a packet may be sent to.
fn usable(address: IpAddr, wanted: Family) -> bool {
    let text = address.to_string();
    let own = ["127.", "169.254.", "fe80:"].iter().any(|prefix| text.starts_with(prefix)) || text == "::1";
    family(address) == wanted && !own
}
