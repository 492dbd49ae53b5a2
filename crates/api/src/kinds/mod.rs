//! The table of kinds: one row per kind that the API serves, each with its rules in a module of its own.

use crate::kind::Kind;

pub mod address;
mod check;
mod classes;
mod config_map;
mod endpoint_slice;
mod endpoints;
mod event;
mod lease;
mod metadata;
mod namespace;
mod networking;
mod node;
mod pod;
mod print;
pub mod read;
#[cfg(test)]
mod recorded;
pub mod review;
mod secret;
pub mod service;
mod service_account;
mod workload;

pub use classes::{PRIORITY_CLASS, RUNTIME_CLASS, priority_class};
pub use metadata::validate_metadata;
pub use networking::{INGRESS, INGRESS_CLASS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR};
pub use networking::{ingress, ingress_class, ip_address, service_cidr};
pub use review::{is_review, served};

/// Every kind, in the order discovery lists them.
pub static ALL: &[&Kind] = &[
    &CONFIG_MAP,
    &ENDPOINTS,
    &EVENT,
    &NAMESPACE,
    &NODE,
    &POD,
    &REPLICATION_CONTROLLER,
    &SECRET,
    &SERVICE_ACCOUNT,
    &SERVICE,
    &CONTROLLER_REVISION,
    &DAEMON_SET,
    &DEPLOYMENT,
    &REPLICA_SET,
    &STATEFUL_SET,
    &JOB,
    &LEASE,
    &ENDPOINT_SLICE,
    &INGRESS_CLASS,
    &INGRESS,
    &IP_ADDRESS,
    &NETWORK_POLICY,
    &SERVICE_CIDR,
    &RUNTIME_CLASS,
    &PRIORITY_CLASS,
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
    not_enforced: None,
    rules: &service_account::ServiceAccount,
};

/// ConfigMap.
pub static CONFIG_MAP: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    rules: &config_map::ConfigMap,
    ..CORE
};
/// Endpoints, the older form of EndpointSlice.
pub static ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    create_on_update: true,
    rules: &endpoints::Endpoints,
    ..CORE
};
/// Event of the core group.
pub static EVENT: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    create_on_update: true,
    rules: &event::Event,
    ..CORE
};
/// Event of `events.k8s.io`: another name for [`EVENT`], whose table it shows.
pub static EVENTS_EVENT: Kind = Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    create_on_update: true,
    rules: &event::Event,
    ..CORE
};
/// Namespace.
pub static NAMESPACE: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    subresources: &["status", "finalize"],
    rules: &namespace::Namespace,
    ..CORE
};
/// Node.
pub static NODE: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    subresources: &["status", "proxy"],
    rules: &node::Node,
    ..CORE
};
/// Pod.
pub static POD: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    subresources: &["status", "log", "exec", "attach", "portforward", "binding", "eviction", "proxy"],
    generation: true,
    rules: &pod::Pod,
    ..CORE
};
/// ReplicationController, what there was before ReplicaSet.
pub static REPLICATION_CONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &["status"],
    generation: true,
    not_enforced: Some("a ReplicationController is stored but makes no pods: use a Deployment"),
    rules: &workload::ReplicationController,
    ..CORE
};
/// Secret.
pub static SECRET: Kind =
    Kind { kind: "Secret", plural: "secrets", singular: "secret", rules: &secret::Secret, ..CORE };
/// ServiceAccount.
pub static SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &["token"],
    rules: &service_account::ServiceAccount,
    ..CORE
};
/// Service.
pub static SERVICE: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &["status", "proxy"],
    create_on_update: true,
    rules: &service::Service,
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
    rules: &workload::Deployment,
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
    rules: &workload::ReplicaSet,
    ..CORE
};
/// StatefulSet.
pub static STATEFUL_SET: Kind = Kind {
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    rules: &workload::StatefulSet,
    ..DEPLOYMENT
};
/// DaemonSet.
pub static DAEMON_SET: Kind = Kind {
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    subresources: &["status"],
    rules: &workload::DaemonSet,
    ..DEPLOYMENT
};
/// ControllerRevision, one state of a StatefulSet or DaemonSet.
pub static CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    rules: &workload::ControllerRevision,
    ..CORE
};
/// Job.
pub static JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    subresources: &["status"],
    generation: true,
    rules: &workload::Job,
    ..CORE
};
/// Lease.
pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    create_on_update: true,
    rules: &lease::Lease,
    ..CORE
};
/// EndpointSlice.
pub static ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    generation: true,
    rules: &endpoint_slice::EndpointSlice,
    ..CORE
};

/// The kind served under a resource name, for example `("apps", "v1", "deployments")`.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| (kind.group, kind.version, kind.plural) == (group, version, plural))
}

/// The kind that a manifest names, for example `("apps/v1", "Deployment")`.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ALL.iter().copied().find(|known| (known.group, known.version, known.kind) == (group, version, kind))
}

#[cfg(test)]
mod tests;
