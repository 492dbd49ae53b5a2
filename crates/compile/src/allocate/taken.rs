//! Turns the stored Services into what they hold: which Service has an address, which has a node port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::kinds::{address, ip_address, read, service};
use api::object::ObjectKey;
use serde_json::Value;

use super::networks::Network;

/// What is taken, and by whom. The caller keeps it up to date inside the write transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    addresses: BTreeMap<IpAddr, ObjectKey>,
    ports: BTreeMap<u16, ObjectKey>,
    /// Addresses that clients keep from Services by an IPAddress of their own, and whom they keep them for.
    claims: BTreeMap<IpAddr, String>,
    /// ServiceCIDRs by name.
    pub(super) networks: BTreeMap<Box<str>, Network>,
}

impl Taken {
    /// Notes what a stored Service holds. What another Service already holds stays with that one.
    pub fn add(&mut self, service: &Value) {
        let owner = owner(service);
        for address in addresses(service) {
            self.addresses.entry(address).or_insert_with(|| owner.clone());
        }
        for port in ports(service) {
            self.ports.entry(port).or_insert_with(|| owner.clone());
        }
    }

    /// Frees what a Service held, as it was stored.
    pub fn remove(&mut self, service: &Value) {
        let owner = owner(service);
        for address in addresses(service) {
            if self.addresses.get(&address) == Some(&owner) {
                self.addresses.remove(&address);
            }
        }
        for port in ports(service) {
            if self.ports.get(&port) == Some(&owner) {
                self.ports.remove(&port);
            }
        }
    }

    /// Notes a ServiceCIDR as it now is.
    pub fn put_network(&mut self, object: &Value) {
        self.networks.insert(read::text(object, "/metadata/name").into(), Network::of(object));
    }

    /// Forgets a ServiceCIDR.
    pub fn remove_network(&mut self, object: &Value) {
        self.networks.remove(read::text(object, "/metadata/name"));
    }

    /// Notes an IPAddress. One that only says what a Service holds changes nothing.
    pub fn claim(&mut self, object: &Value) {
        let Some(address) = address::parse_ip(read::text(object, "/metadata/name")) else { return };
        if self.addresses.get(&address) != ip_address::service(object).as_ref()
            || !self.addresses.contains_key(&address)
        {
            self.claims.insert(address, ip_address::parent_text(object));
        }
    }

    /// Forgets an IPAddress.
    pub fn unclaim(&mut self, object: &Value) {
        if let Some(address) = address::parse_ip(read::text(object, "/metadata/name")) {
            self.claims.remove(&address);
        }
    }

    /// The Service that has the address.
    pub fn service(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
    }

    /// Every address that a Service has, and which.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &ObjectKey)> {
        self.addresses.iter().map(|(address, service)| (*address, service))
    }

    /// Who has the address, in words: a Service as `namespace/name`, anything else with its resource.
    pub fn owner(&self, address: IpAddr) -> Option<String> {
        let service = self.addresses.get(&address).map(ToString::to_string);
        service.or_else(|| self.claims.get(&address).cloned())
    }

    /// Whether anybody has the address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address) || self.claims.contains_key(&address)
    }

    /// Who has the node port.
    pub fn port(&self, port: u16) -> Option<&ObjectKey> {
        self.ports.get(&port)
    }

    /// Number of addresses and of node ports that are taken.
    pub fn counts(&self) -> (usize, usize) {
        (self.addresses.len(), self.ports.len())
    }
}

fn owner(service: &Value) -> ObjectKey {
    ObjectKey::new(read::text(service, "/metadata/namespace"), read::text(service, "/metadata/name"))
}

/// Addresses that a stored Service holds.
pub fn addresses(service: &Value) -> Vec<IpAddr> {
    if !service::needs_cluster_ip(service) {
        return Vec::new();
    }
    read::texts(service, "/spec/clusterIPs").into_iter().filter_map(address::parse_ip).collect()
}

fn ports(service: &Value) -> Vec<u16> {
    let mut ports = Vec::new();
    if service::holds_node_ports(service) {
        ports = read::list(service, "/spec/ports").iter().filter_map(|port| read::int(port, "/nodePort")).collect();
    }
    if service::needs_health_check(service) {
        ports.extend(read::int(service, "/spec/healthCheckNodePort"));
    }
    ports.into_iter().filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0).collect()
}
