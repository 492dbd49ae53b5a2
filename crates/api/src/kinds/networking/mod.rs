//! Turns decoded objects of `networking.k8s.io` into defaulted, checked and printed ones; a file per kind.

use crate::kind::Kind;

pub mod ingress;
mod ingress_backend;
pub mod ingress_class;
pub mod ip_address;
mod network_policy;
pub mod service_cidr;
#[cfg(test)]
mod tests;

const NETWORKING: Kind = Kind { group: "networking.k8s.io", generation: true, ..super::CORE };

/// Ingress.
pub static INGRESS: Kind = Kind {
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    subresources: &["status"],
    not_enforced: Some(
        "an Ingress is stored but not served yet: reach pods through a Service of type NodePort or LoadBalancer",
    ),
    rules: &ingress::Ingress,
    ..NETWORKING
};
/// IngressClass.
pub static INGRESS_CLASS: Kind = Kind {
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    rules: &ingress_class::IngressClass,
    ..NETWORKING
};
/// NetworkPolicy.
pub static NETWORK_POLICY: Kind = Kind {
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    not_enforced: Some("a NetworkPolicy is stored but not enforced yet: all traffic between pods stays allowed"),
    rules: &network_policy::NetworkPolicy,
    ..NETWORKING
};
/// ServiceCIDR: a network that Services get their addresses from.
pub static SERVICE_CIDR: Kind = Kind {
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    subresources: &["status"],
    generation: false,
    rules: &service_cidr::ServiceCidr,
    ..NETWORKING
};
/// IPAddress: who has an address of a Service network.
pub static IP_ADDRESS: Kind = Kind {
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    generation: false,
    rules: &ip_address::IpAddress,
    ..NETWORKING
};
