//! What a dataplane holds and what it should do in, whether it does so out: packets through the interpreter against the
//! reference, and what clients are remembered for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;
use compile::nft::interpret::{Interpreter, Memory, Packet, Verdict};
use compile::nft::state::{SetName, State};
use compile::nft::words::ServiceId;
use compile::service_table::{Backend, Config, compile_service};
use compile::snapshot::{Protocol, Service, ServiceType, Snapshot};

use super::reference::Reference;
use super::world::{config, ip};

/// xorshift64*: a history is its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// A packet for each address and port of every Service, from a pod and from outside.
pub(crate) fn packets(snapshot: &Snapshot, random: &mut Random) -> Vec<Packet> {
    let config = config();
    let mut packets = Vec::new();
    for service in snapshot.services.values() {
        for port in &service.ports {
            let balanced = service.service_type == ServiceType::LoadBalancer;
            let external: &[IpAddr] = if balanced { &service.load_balancer_ips } else { &[] };
            let node = random.one(&config.node_port_addresses);
            for destination in service.cluster_ips.iter().chain(external).copied().chain([node]) {
                let sources = match destination {
                    IpAddr::V4(_) => ["10.244.0.1", "203.0.113.7"],
                    IpAddr::V6(_) => ["fd24::1", "2001:db8:9::9"],
                };
                let at_node = config.node_port_addresses.contains(&destination);
                packets.push(Packet {
                    source: ip(random.one(&sources)),
                    destination,
                    protocol: port.protocol,
                    port: if at_node { port.node_port } else { port.port },
                    source_is_host: false,
                });
            }
        }
    }
    packets
}

/// All verdicts that the data allows: every draw of the choice is tried.
pub(crate) fn verdicts(rules: &Interpreter, state: &State, packet: &Packet) -> BTreeSet<Verdict> {
    let (mut among, mut drawn) = (1, 0);
    let mut verdicts = BTreeSet::new();
    while drawn < among {
        verdicts.insert(rules.interpret(state, packet, &mut |bound| {
            among = among.max(bound);
            drawn
        }));
        drawn += 1;
    }
    verdicts
}

/// Endpoints among verdicts.
pub(crate) fn backends(verdicts: &BTreeSet<Verdict>) -> BTreeSet<Backend> {
    verdicts.iter().filter_map(backend).collect()
}

fn backend(verdict: &Verdict) -> Option<Backend> {
    if let Verdict::Translate { backend, .. } = verdict { Some(*backend) } else { None }
}

fn served(verdicts: &BTreeSet<Verdict>) -> bool {
    !verdicts.is_empty() && verdicts.iter().all(|verdict| backend(verdict).is_some())
}

/// What snapshots allow for one packet, from the last confirmed one to the one that is being applied.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub(crate) packet: Packet,
    backends: BTreeSet<Backend>,
    always_served: bool,
}

impl Allowed {
    pub(crate) fn by(snapshot: &Snapshot, config: &Config, packet: Packet) -> Self {
        let verdicts = Reference { snapshot, config }.verdicts(&packet);
        Self { packet, backends: backends(&verdicts), always_served: served(&verdicts) }
    }

    /// On the way from one snapshot to the next a packet may meet any Service that wants its address in either, with the
    /// endpoints that this Service has in either.
    pub(crate) fn between(&mut self, before: &Snapshot, after: &Snapshot, config: &Config) {
        let other = Self::by(before, config, self.packet);
        self.always_served &= other.always_served;
        self.backends.extend(other.backends);
        let services: BTreeSet<_> =
            [before, after].iter().flat_map(|snapshot| wanting(snapshot, &self.packet)).collect();
        for (snapshot, key) in
            [before, after].iter().flat_map(|snapshot| services.iter().map(move |key| (snapshot, key)))
        {
            let (entry, _) = compile_service(snapshot, key, config);
            let ports = entry.iter().filter(|(port, _)| port.protocol == self.packet.protocol);
            self.backends.extend(ports.flat_map(|(_, port)| port.cluster.iter().chain(port.local.iter().flatten())));
        }
    }

    /// At any moment: nobody is sent where no snapshot says so, and nobody fails who could be served throughout.
    pub(crate) fn holds(&self, rules: &Interpreter, state: &State) -> Result<(), String> {
        let now = verdicts(rules, state, &self.packet);
        if let Some(strange) = backends(&now).iter().find(|backend| !self.backends.contains(backend)) {
            return Err(format!("{:?} goes to {strange:?}, which no snapshot allows", self.packet));
        }
        if self.always_served && !served(&now) {
            return Err(format!("{:?} gets {now:?} although there is an endpoint all the time", self.packet));
        }
        Ok(())
    }
}

/// Services that want the address or node port of a packet.
fn wanting(snapshot: &Snapshot, packet: &Packet) -> Vec<ObjectKey> {
    let wants = |service: &Service| {
        let address = service.cluster_ips.iter().chain(&service.load_balancer_ips).any(|ip| *ip == packet.destination);
        address || service.ports.iter().any(|port| port.node_port == packet.port)
    };
    snapshot.services.iter().filter(|(_, service)| wants(service)).map(|(key, _)| key.clone()).collect()
}

/// What clients met, to be met again.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    memory: Memory,
    /// Where each client was sent last, by the Service port, whose addresses share what is remembered.
    met: BTreeMap<(IpAddr, ServiceId), Backend>,
    /// How often a client came back to an endpoint that it had to come back to.
    pub(crate) kept: usize,
}

impl Clients {
    /// The kernel's memory is gone, or what it names.
    pub(crate) fn forget(&mut self) {
        *self = Self { kept: self.kept, ..Self::default() };
    }

    /// Every client comes once more. Who is remembered and whose endpoint was there all the time must meet it again.
    pub(crate) fn come(
        &mut self,
        rules: &Interpreter,
        state: &State,
        stayed: &[Allowed],
        random: &mut Random,
    ) -> Result<(), String> {
        let mut met: BTreeMap<(IpAddr, ServiceId), Backend> = BTreeMap::new();
        for Allowed { packet, always_served, .. } in stayed {
            let Some(id) = service(state, packet).filter(|id| remembers(state, *id)) else { continue };
            let draw = &mut |bound: u32| random.below(bound as usize) as u32;
            let verdict = rules.remembering(state, packet, draw, &mut self.memory);
            let Some(now) = backend(&verdict) else { continue };
            let client = (packet.source, id);
            let before = met.get(&client).or_else(|| self.met.get(&client).filter(|_| *always_served)).copied();
            let possible = backends(&verdicts(rules, state, packet));
            if let Some(before) = before.filter(|before| possible.contains(before)) {
                if before != now {
                    return Err(format!("{packet:?} went to {before:?} and now to {now:?}"));
                }
                self.kept += 1;
            }
            met.insert(client, now);
        }
        self.met = met;
        Ok(())
    }
}

fn remembers(state: &State, id: ServiceId) -> bool {
    let members = [SetName::MembersCluster, SetName::MembersLocal].into_iter().filter_map(|set| state.get(&set));
    members
        .flat_map(|members| members.keys())
        .filter_map(|key| compile::nft::words::word(key))
        .any(|word| ServiceId::of(word) == Some(id))
}

/// The Service port whose frontend a packet meets.
pub(crate) fn service(state: &State, packet: &Packet) -> Option<ServiceId> {
    let protocol = match packet.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    let transport = [&[protocol, 0, 0, 0][..], &packet.port.to_be_bytes(), &[0, 0]].concat();
    let (front, node_port, octets) = match packet.destination {
        IpAddr::V4(address) => (SetName::Front4, SetName::Nodeport4, address.octets().to_vec()),
        IpAddr::V6(address) => (SetName::Front6, SetName::Nodeport6, address.octets().to_vec()),
    };
    let at_node = config().node_port_addresses.contains(&packet.destination);
    let by_address = state.get(&front).and_then(|fronts| fronts.get(&*[octets, transport.clone()].concat()));
    let by_port = state.get(&node_port).and_then(|ports| ports.get(&*transport)).filter(|_| at_node);
    by_address.or(by_port).and_then(|word| compile::nft::words::word(word)).and_then(ServiceId::of)
}
