//! Services, ranges and what is taken in; addresses, families, ports and errors out. Small ranges are enumerated.

use std::collections::BTreeSet;

use api::field::FieldErrors;
use api::kind::Target;
use api::kinds::SERVICE;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod addresses;
mod bands;
mod families;
mod histories;
mod networks;
mod ports;

/// A small cluster with the whole pipeline of a write around `allocate`.
struct Cluster {
    ranges: Ranges,
    taken: Taken,
    seed: u64,
}

fn cluster(networks: &[&str], ports: std::ops::RangeInclusive<u16>) -> Cluster {
    let service = networks.iter().map(|text| text.parse().unwrap()).collect();
    Cluster { ranges: Ranges { service, node_ports: ports }, taken: Taken::default(), seed: 0 }
}

fn single() -> Cluster {
    cluster(&["10.96.0.0/16"], 30000..=32767)
}

fn dual() -> Cluster {
    cluster(&["10.96.0.0/16", "fd00:10:96::/112"], 30000..=32767)
}

impl Cluster {
    fn write(&mut self, name: &str, spec: Value, old: Option<&Value>, dry_run: bool) -> Result<Value, Status> {
        self.seed += 1;
        let mut new = json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        SERVICE.rules.default(&mut new);
        allocate(&mut new, old, &self.ranges, &self.taken, self.seed, dry_run)?;
        match old {
            None => SERVICE.rules.prepare_create(&mut new),
            Some(old) => SERVICE.rules.prepare_update(&mut new, old, Target::Main),
        }
        let errors: FieldErrors = SERVICE.rules.validate(&new, old, Target::Main);
        if !errors.is_empty() {
            return Err(invalid(&new, &errors));
        }
        if !dry_run {
            if let Some(old) = old {
                self.taken.remove(old);
            }
            self.taken.add(&new);
        }
        Ok(new)
    }

    fn create(&mut self, name: &str, spec: Value) -> Result<Value, Status> {
        self.write(name, spec, None, false)
    }

    fn update(&mut self, old: &Value, spec: Value) -> Result<Value, Status> {
        let name = old["metadata"]["name"].as_str().unwrap().to_owned();
        self.write(&name, spec, Some(old), false)
    }

    /// The update of a client that read, changed and wrote back; null removes.
    fn patch(&mut self, old: &Value, changes: Value) -> Result<Value, Status> {
        let mut spec = old["spec"].clone();
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.update(old, spec)
    }
}

/// A spec with one port, and these members.
fn spec(members: Value) -> Value {
    let mut spec = json!({ "ports": [{ "port": 80 }], "selector": { "app": "web" } });
    for (key, value) in members.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    spec
}

fn error(result: Result<Value, Status>) -> (u16, String) {
    let status = result.expect_err("the write must be refused");
    let text = status.message;
    let text = text.strip_prefix("Service \"web\" is invalid: ").map_or(text.clone(), str::to_owned);
    (status.code, text)
}

fn ips(service: &Value) -> Vec<&str> {
    service["spec"]["clusterIPs"].as_array().map_or(Vec::new(), |ips| ips.iter().filter_map(Value::as_str).collect())
}

fn node_ports(service: &Value) -> Vec<i64> {
    let ports = service["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
    ports.iter().map(|port| port["nodePort"].as_i64().unwrap_or(0)).collect()
}
