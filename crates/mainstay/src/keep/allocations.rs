//! Stored objects in, what contradicts itself out: addresses and ports given twice, IPAddresses without their Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::kinds::{address, ip_address};
use api::object::ObjectKey;
use compile::allocate::held_addresses;
use serde_json::Value;
use store::Record;

const SERVICES: &str = "services";
const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";

/// Looks at objects one by one; knows at the end what contradicts what.
#[derive(Default)]
pub(super) struct Allocations {
    /// Objects of each table.
    pub(super) counts: BTreeMap<String, usize>,
    /// What is wrong so far, one line each.
    pub(super) wrong: Vec<String>,
    addresses: BTreeMap<IpAddr, ObjectKey>,
    /// By protocol and number.
    node_ports: BTreeMap<(String, u64), ObjectKey>,
    /// Which Service an IPAddress says it belongs to.
    claims: BTreeMap<IpAddr, Option<ObjectKey>>,
}

impl Allocations {
    /// Looks at one object.
    pub(super) fn look(&mut self, table: &str, record: &Record) {
        *self.counts.entry(table.to_owned()).or_default() += 1;
        let object: Value = match serde_json::from_slice(&record.body.bytes()) {
            Ok(object) => object,
            Err(error) => return self.wrong.push(format!("{table} {} is not JSON: {error}", record.key)),
        };
        self.identity(table, record, &object);
        match table {
            SERVICES => self.service(&record.key, &object),
            IP_ADDRESSES => self.claim(&record.key, &object),
            _ => {}
        }
    }

    fn identity(&mut self, table: &str, record: &Record, object: &Value) {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(text("namespace"), text("name"));
        if key != record.key {
            self.wrong.push(format!("{table} {} calls itself {key:?}", record.key));
        }
        if text("resourceVersion") != record.revision.to_string() {
            let said = text("resourceVersion");
            self.wrong.push(format!("{table} {key} says resourceVersion {said:?} at revision {}", record.revision));
        }
    }

    fn service(&mut self, key: &ObjectKey, object: &Value) {
        for address in held_addresses(object) {
            if let Some(other) = self.addresses.insert(address, key.clone()) {
                self.wrong.push(format!("Services {other} and {key} both have the address {address}"));
            }
        }
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        let node_ports = ports.filter_map(|port| {
            Some((port["protocol"].as_str().unwrap_or("TCP").to_owned(), port["nodePort"].as_u64()?))
        });
        let health = object["spec"]["healthCheckNodePort"].as_u64().map(|port| ("TCP".to_owned(), port));
        for (protocol, port) in node_ports.chain(health).filter(|(_, port)| *port > 0) {
            if let Some(other) = self.node_ports.insert((protocol.clone(), port), key.clone()) {
                self.wrong.push(format!("Services {other} and {key} both have the node port {port}/{protocol}"));
            }
        }
    }

    fn claim(&mut self, key: &ObjectKey, object: &Value) {
        match address::parse_ip(&key.name) {
            Some(address) => {
                let service = ip_address::service(object).filter(|_| ip_address::is_managed(object));
                self.claims.insert(address, service);
            }
            None => self.wrong.push(format!("IPAddress {key} is not named after an address")),
        }
    }

    /// What the whole says that no object alone does. Directories older than IPAddresses have none, and get them at the
    /// next start.
    pub(super) fn finish(mut self) -> Self {
        if self.claims.is_empty() {
            return self;
        }
        for (address, service) in &self.addresses {
            match self.claims.get(address) {
                None => self.wrong.push(format!("Service {service} has the address {address}, which has no IPAddress")),
                Some(Some(claimed)) if claimed != service => self.wrong.push(format!(
                    "IPAddress {address} belongs to Service {claimed}, but Service {service} has that address"
                )),
                Some(_) => {}
            }
        }
        for (address, claimed) in &self.claims {
            if let Some(service) = claimed
                && !self.addresses.contains_key(address)
            {
                self.wrong.push(format!("IPAddress {address} belongs to Service {service}, which does not have it"));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use api::object::Revision;
    use serde_json::json;

    use super::*;

    fn look(objects: &[(&str, Value)]) -> Vec<String> {
        let mut allocations = Allocations::default();
        for (table, object) in objects {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let key = ObjectKey::new(text("namespace"), text("name"));
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = "5".into();
            let body = bytes::Bytes::from(object.to_string()).into();
            allocations.look(table, &Record { key, revision: Revision(5), created: Revision(5), body });
        }
        allocations.finish().wrong
    }

    fn service(name: &str, address: &str, node_port: u64, protocol: &str) -> (&'static str, Value) {
        let ports = json!([{ "port": 80, "protocol": protocol, "nodePort": node_port }]);
        let metadata = json!({ "name": name, "namespace": "perf" });
        let spec = json!({ "type": "NodePort", "clusterIP": address, "clusterIPs": [address], "ports": ports });
        (SERVICES, json!({ "metadata": metadata, "spec": spec }))
    }

    fn claim(address: &str, service: &str) -> (&'static str, Value) {
        let key = ObjectKey::new("perf", service);
        (IP_ADDRESSES, ip_address::of_service(address.parse().unwrap(), &key))
    }

    #[test]
    fn what_fits_together_is_no_finding() {
        let objects = [
            service("ham", "10.96.0.7", 30001, "TCP"),
            service("eggs", "fd00::7", 30001, "UDP"),
            claim("10.96.0.7", "ham"),
            claim("fd00::7", "eggs"),
        ];
        assert_eq!(look(&objects), Vec::<String>::new());
        assert_eq!(look(&objects[..2]), Vec::<String>::new(), "older than IPAddresses");
    }

    #[test]
    fn every_contradiction_names_both_sides() {
        let objects = [
            service("ham", "10.96.0.7", 30001, "TCP"),
            service("eggs", "10.96.0.7", 30001, "TCP"),
            service("bacon", "10.96.0.8", 30002, "TCP"),
            claim("10.96.0.7", "ham"),
            claim("10.96.0.9", "spam"),
        ];
        let wrong = look(&objects);
        for expected in [
            "Services perf/ham and perf/eggs both have the address 10.96.0.7",
            "Services perf/ham and perf/eggs both have the node port 30001/TCP",
            "IPAddress 10.96.0.7 belongs to Service perf/ham, but Service perf/eggs has that address",
            "Service perf/bacon has the address 10.96.0.8, which has no IPAddress",
            "IPAddress 10.96.0.9 belongs to Service perf/spam, which does not have it",
        ] {
            assert!(wrong.iter().any(|line| line == expected), "{expected}: {wrong:#?}");
        }
        assert_eq!(wrong.len(), 5, "{wrong:#?}");
    }

    #[test]
    fn objects_say_who_they_are() {
        let mut allocations = Allocations::default();
        let record = |body: &'static str| Record {
            key: ObjectKey::new("perf", "ham"),
            revision: Revision(5),
            created: Revision(5),
            body: bytes::Bytes::from_static(body.as_bytes()).into(),
        };
        allocations.look("pods", &record("{"));
        allocations.look("pods", &record(r#"{"metadata":{"namespace":"perf","name":"eggs","resourceVersion":"4"}}"#));
        assert_eq!(allocations.wrong.len(), 3, "{:#?}", allocations.wrong);
    }
}
