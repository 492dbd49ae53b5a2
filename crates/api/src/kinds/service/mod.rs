//! Turns a decoded Service into a defaulted, checked and printed one. Cluster addresses and node ports come from `compile::allocate`.
//!
//! Order of a write: `default`, then `compile::allocate::allocate`, then `prepare_create` or `prepare_update`, then `validate`.
//! `prepare_update` compares whole specs, so what allocation restores must be in place before it.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::read;

mod cluster_ips;
mod columns;
mod defaults;
mod ports;
mod update;
mod validate;
mod warnings;

pub use cluster_ips::validate_cluster_ips;
pub use update::carry_over;

/// Rules of Services.
pub(super) struct Service;

impl Rules for Service {
    fn default(&self, object: &mut Value) {
        defaults::default(object);
    }
    fn prepare_create(&self, object: &mut Value) {
        update::prepare_create(object);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        update::prepare_update(new, old, target);
    }
    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        validate::validate(new, old, target)
    }
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::warnings(new)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        columns::cells(object, now_seconds)
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        match field {
            "spec.clusterIP" => Some(read::text(object, "/spec/clusterIP").to_owned()),
            "spec.type" => Some(read::text(object, "/spec/type").to_owned()),
            _ => None,
        }
    }
}

/// Whether the Service has a type that carries cluster addresses.
pub fn needs_cluster_ip(service: &Value) -> bool {
    service_type(service) != "ExternalName"
}

/// Whether node ports are allocated for the Service: NodePort, or LoadBalancer unless switched off.
pub fn allocates_node_ports(service: &Value) -> bool {
    let allocate = service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool);
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => allocate.unwrap_or(true),
        _ => false,
    }
}

/// Whether the Service may hold node ports.
pub fn holds_node_ports(service: &Value) -> bool {
    matches!(service_type(service), "NodePort" | "LoadBalancer")
}

/// Whether load balancers must be told which nodes have local endpoints.
pub fn needs_health_check(service: &Value) -> bool {
    service_type(service) == "LoadBalancer" && read::text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Whether the Service is reachable from outside: by node port, load balancer or external address.
pub fn externally_accessible(service: &Value) -> bool {
    holds_node_ports(service)
        || service_type(service) == "ClusterIP" && !read::list(service, "/spec/externalIPs").is_empty()
}

/// Whether `None` is the Service's one cluster address.
pub fn is_headless(service: &Value) -> bool {
    read::texts(service, "/spec/clusterIPs") == ["None"]
}

/// `spec.type`.
pub fn service_type(service: &Value) -> &str {
    read::text(service, "/spec/type")
}

#[cfg(test)]
mod tests;
