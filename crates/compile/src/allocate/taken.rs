//! Turns the stored Services into what they hold: which Service has an address, which has a node port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::kinds::{address, read, service};
use api::object::ObjectKey;
use serde_json::Value;

/// What is taken, and by whom. The caller keeps it up to date inside the write transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    addresses: BTreeMap<IpAddr, ObjectKey>,
    ports: BTreeMap<u16, ObjectKey>,
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

    /// Who has the address.
    pub fn address(&self, address: IpAddr) -> Option<&ObjectKey> {
        self.addresses.get(&address)
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

fn addresses(service: &Value) -> Vec<IpAddr> {
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
