//! Turns decoded Endpoints, the older form of EndpointSlices, into defaulted, checked and printed ones.

use serde_json::Value;

use super::check::{invalid_each, protocol};
use super::print::{self, AGE, NAME, column};
use super::{address, read};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::names;

/// Rules of Endpoints.
pub(super) struct Endpoints;

impl Rules for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in read::list_mut(object, "/subsets") {
            for port in read::list_mut(subset, "/ports") {
                read::omit_empty(port, &["/name"]);
                read::put_zero(port, "/protocol", "TCP");
            }
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        // What was accepted once stays acceptable, so that stricter rules never block an unrelated change.
        if old.is_some_and(|old| read::same(new, old, "/subsets")) {
            return errors;
        }
        for (i, subset) in read::list(new, "/subsets").iter().enumerate() {
            validate_subset(&mut errors, subset, &format!("subsets[{i}]"));
        }
        errors
    }

    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        vec!["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()]
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Endpoints", "Addresses and ports that accept traffic, the first three."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![print::name(object), addresses(object).into(), print::age(object, now_seconds)]
    }
}

fn validate_subset(errors: &mut FieldErrors, subset: &Value, field: &str) {
    let lists = ["addresses", "notReadyAddresses"];
    if lists.iter().all(|list| read::list(subset, &format!("/{list}")).is_empty()) {
        errors.required(field, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in lists {
        for (i, entry) in read::list(subset, &format!("/{list}")).iter().enumerate() {
            validate_address(errors, entry, &format!("{field}.{list}[{i}]"));
        }
    }
    let ports = read::list(subset, "/ports");
    for (i, port) in ports.iter().enumerate() {
        let field = format!("{field}.ports[{i}]");
        match read::text(port, "/name") {
            "" if ports.len() > 1 => errors.required(format!("{field}.name"), ""),
            "" => {}
            name => invalid_each(errors, &format!("{field}.name"), name, names::dns1123_label(name)),
        }
        let number = read::int(port, "/port").unwrap_or(0);
        invalid_each(errors, &format!("{field}.port"), number, names::port_number(number));
        protocol(errors, &field, port);
        if let Some(name) = port.pointer("/appProtocol").and_then(Value::as_str) {
            invalid_each(errors, &format!("{field}.appProtocol"), name, names::qualified_name(name));
        }
    }
}

fn validate_address(errors: &mut FieldErrors, entry: &Value, field: &str) {
    let ip = read::text(entry, "/ip");
    address::check_ip(errors, &format!("{field}.ip"), ip, &[]);
    let hostname = read::text(entry, "/hostname");
    if !hostname.is_empty() {
        invalid_each(errors, &format!("{field}.hostname"), hostname, names::dns1123_label(hostname));
    }
    if let Some(node) = entry.pointer("/nodeName").and_then(Value::as_str) {
        invalid_each(errors, &format!("{field}.nodeName"), node, names::dns1123_subdomain(node));
    }
    address::check_endpoint_ip(errors, &format!("{field}.ip"), ip);
}

fn addresses(endpoints: &Value) -> String {
    let mut texts = Vec::new();
    for subset in read::list(endpoints, "/subsets") {
        let ips = || read::list(subset, "/addresses").iter().map(|entry| read::text(entry, "/ip"));
        let ports = read::list(subset, "/ports");
        if ports.is_empty() {
            texts.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let number = read::int(port, "/port").unwrap_or(0);
            let joined =
                |ip: &str| if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") };
            texts.extend(ips().map(joined));
        }
    }
    // Kubernetes prints nothing, not `<none>`, when there are subsets and none has a ready address.
    let none = if read::list(endpoints, "/subsets").is_empty() { "<none>" } else { "" };
    print::first_three(&texts, none)
}

#[cfg(test)]
mod tests;
