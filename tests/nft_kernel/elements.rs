//! Services written by hand as the elements of our maps: what the compiler would produce, without the compiler.

use std::net::{IpAddr, SocketAddr};

use compile::nft::rules::pick_classes;
use compile::nft::state::{Batch, Element, SetName};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const MASQUERADE: u32 = 0x800;
pub(crate) const CLUSTER_IP: u32 = 0x200;
const TAG: u32 = 0xc000_0000;

/// One port of one Service in one family.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) number: u32,
    pub(crate) timeout_class: u32,
    /// (endpoint number, address).
    pub(crate) endpoints: Vec<(u32, SocketAddr)>,
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn port(port: u16) -> Vec<u8> {
    [port.to_be_bytes(), [0, 0]].concat()
}

fn protocol(number: u8) -> Vec<u8> {
    vec![number, 0, 0, 0]
}

fn word(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn family(address: IpAddr, four: SetName, six: SetName) -> SetName {
    if address.is_ipv4() { four } else { six }
}

pub(crate) fn element(set: SetName, key: Vec<u8>, value: Vec<u8>) -> Element {
    Element { set, key: key.into(), value: value.into() }
}

/// A cluster IP's port.
pub(crate) fn front(target: SocketAddr, transport: u8, service: u32, flags: u32) -> Element {
    let key = [octets(target.ip()), protocol(transport), port(target.port())].concat();
    element(family(target.ip(), SetName::Front4, SetName::Front6), key, word(TAG | service << 12 | flags))
}

/// A node port.
pub(crate) fn nodeport(v4: bool, number: u16, transport: u8, service: u32, flags: u32) -> Element {
    let set = if v4 { SetName::Nodeport4 } else { SetName::Nodeport6 };
    element(set, [protocol(transport), port(number)].concat(), word(TAG | service << 12 | flags))
}

/// An address that serves node ports.
pub(crate) fn nodeport_address(address: IpAddr) -> Element {
    let set = family(address, SetName::NodeportAddrs4, SetName::NodeportAddrs6);
    element(set, octets(address), Vec::new())
}

/// A local address of the cluster DNS.
pub(crate) fn dns_address(address: IpAddr) -> Element {
    element(family(address, SetName::DnsAddrs4, SetName::DnsAddrs6), octets(address), Vec::new())
}

/// An endpoint address that may reach itself through a Service.
pub(crate) fn hairpin(address: IpAddr) -> Element {
    let key = [octets(address), octets(address)].concat();
    element(family(address, SetName::Hairpin4, SetName::Hairpin6), key, Vec::new())
}

/// A range of pods (`pods`) or Services, first address and the first one after it.
pub(crate) fn range(pods: bool, start: &str, end: &str) -> Element {
    let [start, end]: [IpAddr; 2] = [start, end].map(|text| text.parse().unwrap());
    let set = match pods {
        true => family(start, SetName::Pods4, SetName::Pods6),
        false => family(start, SetName::ServiceCidrs4, SetName::ServiceCidrs6),
    };
    element(set, [octets(start), octets(end)].concat(), Vec::new())
}

/// Conntrack identity of an endpoint.
pub(crate) fn identity(service: u32, endpoint: u32) -> u32 {
    0x0040_0000 | service << 8 | endpoint
}

impl Service {
    fn endpoint(&self, number: u32) -> u32 {
        TAG | self.number << 12 | number
    }

    /// Every element but the frontends.
    pub(crate) fn elements(&self) -> Vec<Element> {
        let count = u32::try_from(self.endpoints.len()).unwrap();
        let class = match count {
            0 => 0,
            _ => 2 + pick_classes().iter().position(|class| *class >= count).unwrap() as u32,
        };
        let own = TAG | self.number << 12;
        let mut out = vec![element(SetName::SetCluster, word(own), word(own | self.timeout_class << 6 | class))];
        for (slot, (number, address)) in (0u32..).zip(&self.endpoints) {
            let name = word(self.endpoint(*number));
            out.push(element(SetName::Slots, [word(own), word(slot)].concat(), name.clone()));
            out.push(element(SetName::CtIds, name.clone(), word(identity(self.number, *number))));
            let set = family(address.ip(), SetName::Ep4, SetName::Ep6);
            out.push(element(set, name.clone(), [octets(address.ip()), port(address.port())].concat()));
            if self.timeout_class > 0 {
                out.push(element(SetName::MembersCluster, name, Vec::new()));
            }
        }
        out
    }

    /// The batch that makes `next` of this: everything out, everything in, at once.
    pub(crate) fn swap(&self, next: &Self) -> Batch {
        let gone = self.elements().into_iter().map(|one| Element { value: Box::default(), ..one });
        Batch { delete: gone.collect(), add: next.elements(), flush: Vec::new() }
    }
}

/// A batch that adds.
pub(crate) fn add(elements: impl IntoIterator<Item = Element>) -> Batch {
    Batch { delete: Vec::new(), add: elements.into_iter().collect(), flush: Vec::new() }
}

/// The ranges that every test uses.
pub(crate) fn ranges() -> Vec<Element> {
    vec![
        range(true, "10.244.0.0", "10.245.0.0"),
        range(true, "fd00:244::", "fd00:245::"),
        range(false, "10.96.0.0", "10.97.0.0"),
        range(false, "fd00:96::", "fd00:97::"),
    ]
}
