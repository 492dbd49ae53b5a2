//! The table of kinds: one row per kind that the API serves, each with its rules in a module of its own.

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kind::{Column, Kind, Rules, Target};

/// Every kind, in the order discovery lists them.
pub static ALL: [&Kind; 13] = [
    &CONFIG_MAP,
    &ENDPOINTS,
    &EVENT,
    &NAMESPACE,
    &NODE,
    &POD,
    &SECRET,
    &SERVICE_ACCOUNT,
    &SERVICE,
    &DEPLOYMENT,
    &REPLICA_SET,
    &LEASE,
    &ENDPOINT_SLICE,
];

const CORE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    create_on_update: false,
    generation: false,
    rules: &Plain,
};

/// ConfigMap.
pub static CONFIG_MAP: Kind =
    Kind { kind: "ConfigMap", plural: "configmaps", singular: "configmap", short_names: &["cm"], ..CORE };
/// Endpoints, the older form of EndpointSlice.
pub static ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    create_on_update: true,
    ..CORE
};
/// Event of the core group.
pub static EVENT: Kind =
    Kind { kind: "Event", plural: "events", singular: "event", short_names: &["ev"], create_on_update: true, ..CORE };
/// Namespace.
pub static NAMESPACE: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    subresources: &["status", "finalize"],
    ..CORE
};
/// Node.
pub static NODE: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    subresources: &["status"],
    ..CORE
};
/// Pod.
pub static POD: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &["status", "log", "exec", "binding"],
    generation: true,
    ..CORE
};
/// Secret.
pub static SECRET: Kind = Kind { kind: "Secret", plural: "secrets", singular: "secret", ..CORE };
/// ServiceAccount.
pub static SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    ..CORE
};
/// Service.
pub static SERVICE: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &["status"],
    create_on_update: true,
    ..CORE
};
/// Deployment.
pub static DEPLOYMENT: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &["status", "scale"],
    generation: true,
    ..CORE
};
/// ReplicaSet.
pub static REPLICA_SET: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &["status", "scale"],
    generation: true,
    ..CORE
};
/// Lease.
pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    create_on_update: true,
    ..CORE
};
/// EndpointSlice.
pub static ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    generation: true,
    ..CORE
};

/// Rules of a kind without any: nothing defaulted, nothing refused.
struct Plain;

impl Rules for Plain {
    fn default(&self, _object: &mut Value) {}
    fn prepare_create(&self, _object: &mut Value) {}
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}
    fn validate(&self, _new: &Value, _old: Option<&Value>, _target: Target) -> FieldErrors {
        FieldErrors::default()
    }
    fn columns(&self) -> &'static [Column] {
        &[]
    }
    fn cells(&self, _object: &Value, _now_seconds: i64) -> Vec<Value> {
        Vec::new()
    }
}
