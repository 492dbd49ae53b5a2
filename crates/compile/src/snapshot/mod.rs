//! The snapshot: every object the compile steps read, in our own small types, at one revision, immutable.

mod build;
mod decode;
#[allow(clippy::borrowed_box, reason = "callers clone what they keep")]
mod labels;
pub mod load_balancer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use rpds::RedBlackTreeMapSync;

use crate::allocate::Cidr;

pub use build::{Builder, Problem};
pub use labels::Labels;

use crate::load_balancer::Holders;

/// Objects of one kind by key; cloning is cheap and shares structure.
pub type Table<T> = RedBlackTreeMapSync<ObjectKey, Arc<T>>;

/// All objects at one revision.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Everything up to this revision is in here.
    pub revision: Revision,
    /// Services.
    pub services: Table<Service>,
    /// EndpointSlices.
    pub slices: Table<EndpointSlice>,
    /// For each Service (by `kubernetes.io/service-name`), the keys of its slices in name order.
    pub slices_of: RedBlackTreeMapSync<ObjectKey, Arc<[ObjectKey]>>,
    /// Who holds which load-balancer address.
    pub holders: Holders,
    /// Pods.
    pub pods: Table<Pod>,
    /// Nodes.
    pub nodes: Table<Node>,
    /// Namespaces.
    pub namespaces: Table<Namespace>,
    /// ServiceCIDRs.
    pub networks: Table<Network>,
}

/// Keys that changed between two snapshots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Services that changed themselves or have a changed slice.
    pub services: BTreeSet<ObjectKey>,
    /// Pods that changed in a field that a [`Pod`] carries.
    pub pods: BTreeSet<ObjectKey>,
    /// Nodes that changed.
    pub nodes: BTreeSet<ObjectKey>,
    /// Namespaces that changed.
    pub namespaces: BTreeSet<ObjectKey>,
    /// ServiceCIDRs that changed.
    pub networks: BTreeSet<ObjectKey>,
}

impl Changes {
    /// Adds what `later` holds.
    pub fn merge(&mut self, later: &Changes) {
        self.services.extend(later.services.iter().cloned());
        self.pods.extend(later.pods.iter().cloned());
        self.nodes.extend(later.nodes.iter().cloned());
        self.namespaces.extend(later.namespaces.iter().cloned());
        self.networks.extend(later.networks.iter().cloned());
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.pods.is_empty()
            && self.nodes.is_empty()
            && self.namespaces.is_empty()
            && self.networks.is_empty()
    }
}

/// What every object has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id.
    pub uid: Box<str>,
    /// Revision of the last change.
    pub revision: Revision,
    /// Labels.
    pub labels: Labels,
    /// Whether deletion has begun.
    pub deleting: bool,
}

/// IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Cluster-internal address.
    #[default]
    ClusterIp,
    /// Also a port on every node.
    NodePort,
    /// Also an external address.
    LoadBalancer,
    /// An alias in DNS.
    ExternalName,
}

/// A port number or the name of a container port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetPort {
    /// Number.
    Number(u16),
    /// Name of a container port of the pod.
    Name(Box<str>),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// Name, empty if unnamed.
    pub name: Box<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the virtual addresses.
    pub port: u16,
    /// Port on the pods.
    pub target: TargetPort,
    /// Port on the nodes, 0 if none.
    pub node_port: u16,
    /// Application protocol.
    pub app_protocol: Option<Box<str>>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Metadata.
    pub meta: Meta,
    /// Type.
    pub service_type: ServiceType,
    /// Virtual addresses, primary first; empty for headless and ExternalName.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// Families in order, primary first.
    pub families: Vec<Family>,
    /// Alias target for ExternalName.
    pub external_name: Box<str>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Selector; none (or empty) means slices are made by others.
    pub selector: Option<Labels>,
    /// `sessionAffinity: ClientIP` with its timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// Load-balancer addresses with `ipMode: VIP`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// What it asks of a load balancer, and what it was given.
    pub load_balancer: load_balancer::LoadBalancer,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `loadBalancerSourceRanges`, as text.
    pub source_ranges: Vec<Box<str>>,
    /// Whether unready pods are published.
    pub publish_not_ready: bool,
    /// `trafficDistribution`.
    pub traffic_distribution: Option<Box<str>>,
    /// Annotation `service.kubernetes.io/topology-mode: Auto`: endpoints are meant for zones in proportion.
    pub topology_auto: bool,
    /// How an endpoint is chosen: annotations `mainstay.dev/balance` and others.
    pub balance: crate::balance::Balance,
    /// Label `service.kubernetes.io/service-proxy-name` is present: not ours to programme.
    pub other_proxy: bool,
    /// `status.conditions` of type `Programmed`: its status (`True` is true), if present.
    pub programmed: Option<bool>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Name, empty if unnamed.
    pub name: Box<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port number; none (all ports) is not programmed.
    pub port: Option<u16>,
    /// Application protocol.
    pub app_protocol: Option<Box<str>>,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// First address; the others have no meaning.
    pub address: IpAddr,
    /// Condition; absent counts as true.
    pub ready: bool,
    /// Condition; absent counts as true.
    pub serving: bool,
    /// Condition; absent counts as false.
    pub terminating: bool,
    /// Node it runs on.
    pub node: Option<Box<str>>,
    /// Zone it runs in.
    pub zone: Option<Box<str>>,
    /// Name within a headless Service.
    pub hostname: Option<Box<str>>,
    /// Name of the pod it refers to (same namespace).
    pub pod: Option<Box<str>>,
    /// Uid of the pod it refers to.
    pub pod_uid: Option<Box<str>>,
    /// Zones it should serve.
    pub hint_zones: Vec<Box<str>>,
    /// Nodes it should serve.
    pub hint_nodes: Vec<Box<str>>,
    /// Share of new connections (annotation `mainstay.dev/weights` of the slice); absent counts as 1.
    pub weight: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Metadata.
    pub meta: Meta,
    /// Family; none for FQDN slices, which are not programmed.
    pub family: Option<Family>,
    /// Ports.
    pub ports: Vec<SlicePort>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Uid of the owning Service (controller owner reference), if any.
    pub owner_uid: Option<Box<str>>,
    /// Value of the `endpoints.kubernetes.io/last-change-trigger-time` annotation, if any.
    pub trigger_time: Option<Box<str>>,
    /// What could not be read of the annotation `mainstay.dev/weights`.
    pub weights_unread: Option<Box<str>>,
}

/// A named port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Name.
    pub name: Box<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// A Pod, as far as Services care.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Metadata.
    pub meta: Meta,
    /// Node it is bound to.
    pub node: Option<Box<str>>,
    /// Addresses, one per family.
    pub ips: Vec<IpAddr>,
    /// Condition Ready.
    pub ready: bool,
    /// Phase Succeeded or Failed.
    pub finished: bool,
    /// `spec.hostname`.
    pub hostname: Option<Box<str>>,
    /// `spec.subdomain`.
    pub subdomain: Option<Box<str>>,
    /// Named ports of containers (and restartable init containers), in order.
    pub ports: Vec<ContainerPort>,
    /// What manages it, if anything: its controller's kind and name.
    pub owner: Option<Owner>,
    /// Annotation `mainstay.dev/weight`: its share of new connections.
    pub weight: Weight,
}

/// The share of new connections that a Pod asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// It does not say.
    #[default]
    Default,
    /// This one, 0 to 1000.
    Given(u16),
    /// It says something that is no weight: 1 counts.
    Unread,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Kind, for example `ReplicaSet`.
    pub kind: Box<str>,
    /// Name.
    pub name: Box<str>,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Metadata.
    pub meta: Meta,
    /// InternalIP addresses.
    pub addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// Condition Ready.
    pub ready: bool,
    /// Allocatable CPU in thousandths of a core, 0 if it does not say.
    pub cpu_milli: u64,
    /// Label `node-role.kubernetes.io/control-plane` (or `master`).
    pub control_plane: bool,
}

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// Metadata.
    pub meta: Meta,
}

/// A ServiceCIDR. One that is being deleted still counts: Services may hold addresses of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Metadata.
    pub meta: Meta,
    /// Its networks, at most one per family.
    pub cidrs: Vec<Cidr>,
}
