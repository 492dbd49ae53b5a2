//! What a node knows of itself and of its cluster, and the choices of a node on a cluster that others run.

use std::net::IpAddr;

use crate::allocate::Cidr;
use crate::load_balancer::Pools;
use crate::nft::rules::Options;
use crate::snapshot::{Family, Service};

use super::family_of;

/// What a node knows of itself and of the cluster. The default is an empty node of `mainstay up`.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name.
    pub node: Box<str>,
    /// Ranges of pods: sources in them are not masqueraded, unless [`LocalPods`] says otherwise.
    pub pod_cidrs: Vec<Cidr>,
    /// Ranges of Services: unknown addresses in them are refused.
    pub service_cidrs: Vec<Cidr>,
    /// Whether pods have a way out of the node: then it is masqueraded.
    pub egress: bool,
    /// Local addresses on which node ports are served; loopback addresses are left out (kube-proxy's nftables mode).
    pub node_port_addresses: Vec<IpAddr>,
    /// More addresses of this node: a source range that holds one admits the node.
    pub node_addresses: Vec<IpAddr>,
    /// Addresses of the cluster DNS: local to the node, never translated.
    pub dns_addresses: Vec<IpAddr>,
    /// Load-balancer addresses of our own.
    pub pools: Pools,
    /// Which addresses of `status.loadBalancer.ingress` are programmed.
    pub ingress: IngressAddresses,
    /// Which sources are pods.
    pub local_pods: LocalPods,
    /// Masquerade every connection to a cluster IP (kube-proxy's `--masquerade-all`).
    pub masquerade_all: bool,
    /// Which value of the label `service.kubernetes.io/service-proxy-name` is ours; none: Services without the label.
    pub service_proxy_name: Option<Box<str>>,
    /// Bit of the conntrack mark that asks for masquerade.
    pub mark: MarkBit,
    /// Drop TCP packets that connection tracking calls invalid. Off where `nf_conntrack_tcp_be_liberal` is on.
    pub drop_invalid: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: Box::default(),
            pod_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            egress: false,
            node_port_addresses: Vec::new(),
            node_addresses: Vec::new(),
            dns_addresses: Vec::new(),
            pools: Pools::default(),
            ingress: IngressAddresses::default(),
            local_pods: LocalPods::default(),
            masquerade_all: false,
            service_proxy_name: None,
            mark: MarkBit::default(),
            drop_invalid: true,
        }
    }
}

/// Label whose value names the proxy that a Service is for.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

impl Config {
    /// Whether a Service is for this proxy. A label that is present but empty still names another one.
    pub fn is_ours(&self, service: &Service) -> bool {
        service.meta.labels.get(PROXY_NAME).map(|name| &**name) == self.service_proxy_name.as_deref()
    }

    /// Whether pods can be told from other sources in this family.
    pub fn knows_pods(&self, family: Family) -> bool {
        match &self.local_pods {
            LocalPods::Ranges => self.pod_cidrs.iter().any(|range| family_of(range.network) == family),
            LocalPods::Interfaces(interfaces) => !interfaces.is_empty(),
            LocalPods::Nobody => false,
        }
    }

    /// The rules that fit.
    pub fn rules(&self, counters: bool) -> Options {
        Options { counters, mark: self.mark, drop_invalid: self.drop_invalid }
    }
}

/// Which addresses of `status.loadBalancer.ingress` are programmed. Those with `ipMode: Proxy` and names never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngressAddresses {
    /// Those of our pools, each for the Service that holds it: whoever may write a status cannot take traffic
    /// (CVE-2020-8554).
    #[default]
    OfPools,
    /// All of them, as the cluster's own controllers wrote them.
    All,
}

/// How packets of pods are told from others (kube-proxy's `--detect-local-mode`). A packet of a pod keeps its source
/// towards cluster IPs, and is not bound by externalTrafficPolicy Local.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalPods {
    /// By source: the pod ranges (ClusterCIDR, NodeCIDR). A family without a range has no pods that could be told.
    #[default]
    Ranges,
    /// By the interface on which they arrive (BridgeInterface, InterfaceNamePrefix).
    Interfaces(Vec<Interface>),
    /// Not at all: cluster IPs are not masqueraded, and policy Local binds pods too.
    Nobody,
}

/// The name of an interface, or how names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    text: Box<str>,
    prefix: bool,
}

/// A name that no interface can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface {name:?} cannot be watched for pods: a name has 1 to 15 bytes without '/', ':' and spaces (the kernel's \
     IFNAMSIZ); list the interfaces: ip -br link"
)]
pub struct BadInterface {
    name: String,
}

impl Interface {
    /// Bytes of a name in the kernel, the last one zero: `IFNAMSIZ` of linux/if.h.
    pub const BYTES: usize = 16;

    /// One interface.
    pub fn named(name: &str) -> Result<Self, BadInterface> {
        Self::new(name, false)
    }

    /// All whose names begin like this.
    pub fn starting_with(prefix: &str) -> Result<Self, BadInterface> {
        Self::new(prefix, true)
    }

    fn new(text: &str, prefix: bool) -> Result<Self, BadInterface> {
        let odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0;
        if text.is_empty() || text.len() >= Self::BYTES || text.bytes().any(odd) {
            return Err(BadInterface { name: text.into() });
        }
        Ok(Self { text: text.into(), prefix })
    }

    /// The names as bytes padded with zeros: the first one, and the one after the last.
    pub fn bounds(&self) -> ([u8; Self::BYTES], [u8; Self::BYTES]) {
        let mut first = [0; Self::BYTES];
        first[..self.text.len()].copy_from_slice(self.text.as_bytes());
        let mut end = first;
        // After an exact name comes the same one with a last byte of 1; after a prefix, the prefix plus one.
        let at = if self.prefix { self.text.len() - 1 } else { Self::BYTES - 1 };
        for byte in end[..=at].iter_mut().rev() {
            let (next, carry) = byte.overflowing_add(1);
            *byte = next;
            if !carry {
                break;
            }
        }
        (first, end)
    }
}

/// A bit of the conntrack mark, above those that hold an endpoint's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkBit(u8);

/// A bit that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bit {bit} of the conntrack mark cannot ask for masquerade: bits 0 to 22 hold the endpoint's identity, and there \
     are 32; choose one from 23 to 31 that nothing else on this node uses, for example 23"
)]
pub struct BadMarkBit {
    bit: u32,
}

impl MarkBit {
    /// A bit from 23 to 31.
    pub fn new(bit: u32) -> Result<Self, BadMarkBit> {
        match u8::try_from(bit) {
            Ok(small @ 23..=31) => Ok(Self(small)),
            _ => Err(BadMarkBit { bit }),
        }
    }

    /// The mark with only this bit.
    pub fn mask(self) -> u32 {
        1 << self.0
    }
}

impl Default for MarkBit {
    fn default() -> Self {
        Self(23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_above_the_identity_ask_for_masquerade() {
        assert_eq!(MarkBit::default().mask(), 0x0080_0000);
        assert_eq!(MarkBit::new(31).map(MarkBit::mask), Ok(0x8000_0000));
        for bit in [0, 14, 22, 32, 300] {
            let error = MarkBit::new(bit).unwrap_err().to_string();
            assert!(error.contains(&format!("bit {bit} ")) && error.contains("choose one from 23 to 31"), "{error}");
        }
    }

    #[test]
    fn interfaces_are_ranges_of_padded_names() {
        let inside = |interface: &Interface, name: &str| {
            let mut padded = [0; Interface::BYTES];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            let (first, end) = interface.bounds();
            first <= padded && padded < end
        };
        let bridge = Interface::named("cni0").unwrap();
        assert!(
            inside(&bridge, "cni0") && !inside(&bridge, "cni01") && !inside(&bridge, "cni") && !inside(&bridge, "")
        );
        let veths = Interface::starting_with("veth").unwrap();
        assert!(["veth", "veth0", "vethffffffffff"].iter().all(|name| inside(&veths, name)));
        assert!(["vet", "veti", "eth0", ""].iter().all(|name| !inside(&veths, name)));
        assert!(inside(&Interface::named("abcdefghijklmno").unwrap(), "abcdefghijklmno"));
        for name in ["", "a/b", "a b", "a:1", "sixteen-bytes-xx"] {
            assert!(Interface::named(name).unwrap_err().to_string().contains("ip -br link"), "{name:?}");
        }
    }

    #[test]
    fn pods_are_known_per_family() {
        let mut config = Config { pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()], ..Config::default() };
        assert!(config.knows_pods(Family::V4) && !config.knows_pods(Family::V6));
        config.local_pods = LocalPods::Interfaces(vec![Interface::named("cni0").unwrap()]);
        assert!(config.knows_pods(Family::V6));
        config.local_pods = LocalPods::Nobody;
        assert!(!config.knows_pods(Family::V4));
    }
}
