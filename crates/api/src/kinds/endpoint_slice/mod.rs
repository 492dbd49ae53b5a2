//! Turns a decoded EndpointSlice into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::print::{self, AGE, NAME, column};
use super::{address, read};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

mod validate;

/// Rules of EndpointSlices.
pub(super) struct EndpointSlice;

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        // Both lists are always shown, empty or not.
        read::put_missing(object, "/endpoints", json!([]));
        read::put_missing(object, "/ports", json!([]));
        for port in read::list_mut(object, "/ports") {
            read::put_missing(port, "/name", "");
            read::put_zero(port, "/protocol", "TCP");
        }
        // Kubernetes always shows conditions, if only as an empty object.
        for endpoint in read::list_mut(object, "/endpoints") {
            read::put_missing(endpoint, "/conditions", json!({}));
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        drop_topology(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _target: Target) {
        drop_topology(new);
    }

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        validate::validate(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let kind = read::text(new, "/addressType");
        if kind == "FQDN" && old.is_none() {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        if kind == "IPv4" {
            for (i, endpoint) in read::list(new, "/endpoints").iter().enumerate() {
                for (j, ip) in read::texts(endpoint, "/addresses").into_iter().enumerate() {
                    warnings.extend(address::ip_warnings(&format!("endpoints[{i}].addresses[{j}]"), ip));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("AddressType", "Family of the addresses."),
                column("Ports", "Ports of every endpoint, the first three."),
                column("Endpoints", "Addresses, ready or not, the first three."),
                AGE,
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let port = |port: &Value| match (read::int(port, "/port"), port.pointer("/name").and_then(Value::as_str)) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        };
        let ports: Vec<_> = read::list(object, "/ports").iter().map(port).collect();
        let endpoints = read::list(object, "/endpoints").iter();
        let addresses = endpoints.flat_map(|endpoint| read::texts(endpoint, "/addresses"));
        let addresses: Vec<_> = addresses.map(str::to_owned).collect();
        vec![
            print::name(object),
            read::text(object, "/addressType").into(),
            print::first_three(&ports, "<unset>").into(),
            print::first_three(&addresses, "<unset>").into(),
            print::age(object, now_seconds),
        ]
    }
}

/// `deprecatedTopology` belongs to v1beta1; the v1 API does not take it.
fn drop_topology(object: &mut Value) {
    for endpoint in read::list_mut(object, "/endpoints") {
        read::remove(endpoint, "/deprecatedTopology");
    }
}

#[cfg(test)]
mod tests;
