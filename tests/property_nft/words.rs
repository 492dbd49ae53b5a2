//! What the kernel holds -> what it means for a packet, by the documented layout of the words and not by our own code.

use std::net::IpAddr;

use compile::nft::interpret::Packet;
use compile::nft::state::{SetName, State};
use compile::service_table::Backend;

pub(crate) fn word(bytes: &[u8]) -> u32 {
    bytes.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The words of the Service that a packet meets, by their documented layout.
pub(crate) struct Words<'a> {
    state: &'a State,
    service: u32,
}

impl<'a> Words<'a> {
    pub(crate) fn new(state: &'a State, packet: &Packet) -> Option<Self> {
        let protocol = [6, 17, 132][packet.protocol as usize];
        let transport = [&[protocol, 0, 0, 0][..], &packet.port.to_be_bytes(), &[0, 0]].concat();
        let (fronts, node_ports, own) = match packet.destination {
            IpAddr::V4(_) => (SetName::Front4, SetName::Nodeport4, SetName::NodeportAddrs4),
            IpAddr::V6(_) => (SetName::Front6, SetName::Nodeport6, SetName::NodeportAddrs6),
        };
        let at_node = state.get(&own).is_some_and(|held| held.contains_key(&*octets(packet.destination)));
        let key = [octets(packet.destination), transport.clone()].concat();
        let by_address = state.get(&fronts).and_then(|held| held.get(&*key));
        let found = by_address.or_else(|| state.get(&node_ports).filter(|_| at_node)?.get(&*transport))?;
        Some(Self { state, service: word(found) & 0xffff_f000 })
    }

    /// The first half of the keys of its slots.
    pub(crate) fn head(&self, local: bool) -> u32 {
        self.service | if local { 0x800 } else { 0 }
    }

    /// Endpoint words in order of slots.
    pub(crate) fn slots(&self, local: bool) -> Vec<u32> {
        let head = self.head(local);
        let slot = |slot: u32| {
            let key = [head.to_ne_bytes(), slot.to_ne_bytes()].concat();
            self.state.get(&SetName::Slots)?.get(&*key).map(|value| word(value))
        };
        (0..).map_while(slot).collect()
    }

    /// Address and port of an endpoint.
    pub(crate) fn backend(&self, endpoint: u32) -> Option<Backend> {
        let held = |set: SetName| self.state.get(&set)?.get(&endpoint.to_ne_bytes()[..]);
        let value = held(SetName::Ep4).or_else(|| held(SetName::Ep6))?;
        let (address, port) = value.split_at(value.len() - 4);
        let address = match <[u8; 4]>::try_from(address) {
            Ok(four) => IpAddr::from(four),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        };
        Some(Backend { address, port: u16::from_be_bytes([port[0], port[1]]) })
    }

    /// The endpoint of this address and port, among all that the Service has.
    pub(crate) fn endpoint(&self, backend: Backend) -> Option<u32> {
        let own = self.state.get(&SetName::CtIds).into_iter().flatten().map(|(key, _)| word(key));
        own.filter(|endpoint| endpoint & 0xffff_f000 == self.service)
            .find(|endpoint| self.backend(*endpoint) == Some(backend))
    }

    /// What a flow to it carries in its mark.
    pub(crate) fn identity(&self, endpoint: u32) -> u32 {
        self.state
            .get(&SetName::CtIds)
            .and_then(|held| held.get(&endpoint.to_ne_bytes()[..]))
            .map_or(0, |value| word(value))
    }

    /// Key of a client's memory.
    pub(crate) fn client(&self, source: IpAddr) -> Vec<u8> {
        [octets(source), self.service.to_ne_bytes().to_vec()].concat()
    }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}
