//! Objects at the door: JSON as the API shows it in, our own small types out; what nobody reads is dropped here.

use std::borrow::Cow;
use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::{
    ContainerPort, Endpoint, EndpointSlice, Family, Labels, Meta, Namespace, Node, Pod, Protocol, Service, ServicePort,
    ServiceType, SlicePort, TargetPort,
};

type Text<'a> = Cow<'a, str>;
type Decoded<T> = Result<T, String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawObject<'a, Spec, Status> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(default)]
    labels: Labels,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Text<'a>>,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    owner_references: Vec<RawOwner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOwner {
    kind: Box<str>,
    uid: Box<str>,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawService {
    r#type: Option<Box<str>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<Box<str>>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<Box<str>>,
    ip_families: Vec<Box<str>>,
    external_name: Box<str>,
    ports: Vec<RawServicePort>,
    selector: Option<Labels>,
    session_affinity: Option<Box<str>>,
    session_affinity_config: Option<RawAffinity>,
    external_traffic_policy: Option<Box<str>>,
    internal_traffic_policy: Option<Box<str>>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<Box<str>>,
    load_balancer_source_ranges: Vec<Box<str>>,
    publish_not_ready_addresses: bool,
    traffic_distribution: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAffinity {
    #[serde(rename = "clientIP", default)]
    client_ip: RawClientIp,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClientIp {
    timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawServicePort {
    #[serde(default)]
    name: Box<str>,
    protocol: Option<Box<str>>,
    port: u16,
    target_port: Option<RawTarget>,
    #[serde(default)]
    node_port: u16,
    app_protocol: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTarget {
    Number(u16),
    Name(Box<str>),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawServiceStatus {
    load_balancer: RawLoadBalancer,
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawLoadBalancer {
    ingress: Vec<RawIngress>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawIngress {
    ip: Option<Box<str>>,
    ip_mode: Option<Box<str>>,
}

#[derive(Deserialize)]
struct RawCondition {
    r#type: Box<str>,
    status: Box<str>,
}

/// Session affinity lasts three hours unless said otherwise (Kubernetes' default).
const AFFINITY_SECONDS: u32 = 10_800;

pub(super) fn service(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Service> {
    let raw: RawObject<'_, RawService, RawServiceStatus> = parse(json)?;
    let other_proxy = raw.metadata.labels.contains_key("service.kubernetes.io/service-proxy-name");
    let (spec, status) = (raw.spec, raw.status);
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let service_type = match spec.r#type.as_deref() {
        None | Some("ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => return Err(format!("spec.type: {other:?} is not a type of Service")),
    };
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        spec.session_affinity_config.and_then(|config| config.client_ip.timeout_seconds).unwrap_or(AFFINITY_SECONDS)
    });
    let virtual_ips = status.load_balancer.ingress.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    let programmed = status.conditions.iter().find(|condition| &*condition.r#type == "Programmed");
    Ok(Service {
        service_type,
        cluster_ips: if headless { Vec::new() } else { addresses("spec.clusterIPs", &spec.cluster_ips)? },
        headless,
        families: families(&spec.ip_families)?,
        external_name: spec.external_name,
        ports: spec.ports.into_iter().map(service_port).collect::<Decoded<_>>()?,
        selector: spec.selector.filter(|selector| !selector.is_empty()),
        affinity_seconds: affinity,
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        load_balancer_ips: virtual_ips.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect(),
        external_ips: addresses("spec.externalIPs", &spec.external_ips)?,
        source_ranges: spec.load_balancer_source_ranges,
        publish_not_ready: spec.publish_not_ready_addresses,
        traffic_distribution: spec.traffic_distribution,
        other_proxy,
        programmed: programmed.map(|condition| &*condition.status == "True"),
        meta: meta(key, revision, raw.metadata),
    })
}

fn service_port(raw: RawServicePort) -> Decoded<ServicePort> {
    let target = match raw.target_port {
        Some(RawTarget::Number(0)) | None => TargetPort::Number(raw.port),
        Some(RawTarget::Number(number)) => TargetPort::Number(number),
        Some(RawTarget::Name(name)) => TargetPort::Name(name),
    };
    Ok(ServicePort {
        protocol: protocol("spec.ports[].protocol", raw.protocol.as_deref())?,
        name: raw.name,
        port: raw.port,
        target,
        node_port: raw.node_port,
        app_protocol: raw.app_protocol,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSlice<'a> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(borrow)]
    address_type: Text<'a>,
    #[serde(default)]
    ports: Option<Vec<RawSlicePort>>,
    #[serde(borrow, default)]
    endpoints: Option<Vec<RawEndpoint<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSlicePort {
    name: Option<Box<str>>,
    protocol: Option<Box<str>>,
    port: Option<u16>,
    app_protocol: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint<'a> {
    #[serde(borrow)]
    addresses: Vec<Text<'a>>,
    #[serde(default)]
    conditions: RawConditions,
    hostname: Option<Box<str>>,
    node_name: Option<Box<str>>,
    zone: Option<Box<str>>,
    target_ref: Option<RawReference>,
    #[serde(default)]
    hints: Option<RawHints>,
}

#[derive(Default, Deserialize)]
struct RawConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct RawReference {
    kind: Option<Box<str>>,
    name: Option<Box<str>>,
    uid: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHints {
    #[serde(default)]
    for_zones: Vec<RawName>,
    #[serde(default)]
    for_nodes: Vec<RawName>,
}

#[derive(Deserialize)]
struct RawName {
    name: Box<str>,
}

pub(super) fn slice(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<EndpointSlice> {
    let raw: RawSlice<'_> = parse(json)?;
    let family = match &*raw.address_type {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => return Err(format!("addressType: {other:?} is not IPv4, IPv6 or FQDN")),
    };
    let ports = raw.ports.unwrap_or_default().into_iter().map(slice_port).collect::<Decoded<_>>()?;
    let mut endpoints = Vec::new();
    for (index, endpoint) in raw.endpoints.unwrap_or_default().into_iter().enumerate().filter(|_| family.is_some()) {
        endpoints.extend(self::endpoint(index, endpoint)?);
    }
    let owner = raw.metadata.owner_references.iter().find(|owner| owner.controller && &*owner.kind == "Service");
    Ok(EndpointSlice {
        family,
        ports,
        endpoints,
        owner_uid: owner.map(|owner| owner.uid.clone()),
        trigger_time: raw.metadata.annotations.get("endpoints.kubernetes.io/last-change-trigger-time").cloned(),
        meta: meta(key, revision, raw.metadata),
    })
}

fn slice_port(raw: RawSlicePort) -> Decoded<SlicePort> {
    Ok(SlicePort {
        protocol: protocol("ports[].protocol", raw.protocol.as_deref())?,
        name: raw.name.unwrap_or_default(),
        port: raw.port.filter(|port| *port != 0),
        app_protocol: raw.app_protocol,
    })
}

fn endpoint(index: usize, raw: RawEndpoint<'_>) -> Decoded<Option<Endpoint>> {
    let Some(address) = raw.addresses.first() else { return Ok(None) };
    let address =
        address.parse().map_err(|_| format!("endpoints[{index}].addresses[0]: {address:?} is not an address"))?;
    let ready = raw.conditions.ready.unwrap_or(true);
    let pod = raw.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
    let (pod, pod_uid) = pod.map_or((None, None), |pod| (pod.name, pod.uid));
    let hints = raw.hints.unwrap_or_default();
    let names = |names: Vec<RawName>| names.into_iter().map(|name| name.name).collect();
    Ok(Some(Endpoint {
        address,
        ready,
        serving: raw.conditions.serving.unwrap_or(ready),
        terminating: raw.conditions.terminating.unwrap_or(false),
        node: raw.node_name,
        zone: raw.zone,
        hostname: raw.hostname,
        pod,
        pod_uid,
        hint_zones: names(hints.for_zones),
        hint_nodes: names(hints.for_nodes),
    }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    node_name: Option<Box<str>>,
    hostname: Option<Box<str>>,
    subdomain: Option<Box<str>>,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    ports: Vec<RawContainerPort>,
    restart_policy: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainerPort {
    #[serde(default)]
    name: Box<str>,
    protocol: Option<Box<str>>,
    container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Box<str>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawIp>,
    conditions: Vec<RawCondition>,
}

#[derive(Deserialize)]
struct RawIp {
    ip: Box<str>,
}

pub(super) fn pod(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Pod> {
    let raw: RawObject<'_, RawPod, RawPodStatus> = parse(json)?;
    let (spec, status) = (raw.spec, raw.status);
    let mut ips: Vec<Box<str>> = status.pod_ips.into_iter().map(|ip| ip.ip).collect();
    if ips.is_empty() {
        ips.extend(status.pod_ip);
    }
    // A restartable init container is a sidecar: it keeps running, so its ports count.
    let sidecars = spec.init_containers.into_iter().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.into_iter().chain(sidecars).flat_map(|container| container.ports);
    let named = ports.filter(|port| !port.name.is_empty()).map(|port| {
        let protocol = protocol("spec.containers[].ports[].protocol", port.protocol.as_deref())?;
        Ok(ContainerPort { name: port.name, protocol, port: port.container_port })
    });
    let ready = status.conditions.iter().any(|condition| &*condition.r#type == "Ready" && &*condition.status == "True");
    Ok(Pod {
        node: spec.node_name.filter(|node| !node.is_empty()),
        ips: addresses("status.podIPs", &ips)?,
        ready,
        finished: matches!(&*status.phase, "Succeeded" | "Failed"),
        hostname: spec.hostname.filter(|hostname| !hostname.is_empty()),
        subdomain: spec.subdomain.filter(|subdomain| !subdomain.is_empty()),
        ports: named.collect::<Decoded<_>>()?,
        meta: meta(key, revision, raw.metadata),
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeStatus {
    addresses: Vec<RawNodeAddress>,
}

#[derive(Deserialize)]
struct RawNodeAddress {
    r#type: Box<str>,
    address: Box<str>,
}

pub(super) fn node(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Node> {
    let raw: RawObject<'_, Nothing, RawNodeStatus> = parse(json)?;
    let internal = raw.status.addresses.iter().filter(|address| &*address.r#type == "InternalIP");
    Ok(Node {
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        zone: raw.metadata.labels.get("topology.kubernetes.io/zone").cloned(),
        meta: meta(key, revision, raw.metadata),
    })
}

pub(super) fn namespace(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Namespace> {
    let raw: RawObject<'_, Nothing, Nothing> = parse(json)?;
    Ok(Namespace { meta: meta(key, revision, raw.metadata) })
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Decoded<T> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn meta(key: &ObjectKey, revision: Revision, raw: RawMeta<'_>) -> Meta {
    Meta {
        key: key.clone(),
        uid: raw.uid.into(),
        revision,
        labels: raw.labels,
        deleting: raw.deletion_timestamp.is_some(),
    }
}

fn addresses(field: &str, texts: &[Box<str>]) -> Decoded<Vec<IpAddr>> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{field}: {text:?} is not an address"));
    texts.iter().map(|text| parse(text)).collect()
}

fn families(texts: &[Box<str>]) -> Decoded<Vec<Family>> {
    let parse = |text: &str| match text {
        "IPv4" => Ok(Family::V4),
        "IPv6" => Ok(Family::V6),
        other => Err(format!("spec.ipFamilies: {other:?} is not IPv4 or IPv6")),
    };
    texts.iter().map(|text| parse(text)).collect()
}

fn protocol(field: &str, text: Option<&str>) -> Decoded<Protocol> {
    match text {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!("{field}: {other:?} is not TCP, UDP or SCTP")),
    }
}
