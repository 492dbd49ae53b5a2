//! A Service as JSON in, our own out.

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::load_balancer::{RawIngress, RawSpec, load_balancer};
use super::{Decoded, RawCondition, RawObject, addresses, families, meta, parse, protocol};
use crate::balance::Balance;
use crate::snapshot::{Labels, Service, ServicePort, ServiceType, TargetPort};

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
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Box<str>,
    load_balancer_class: Option<Box<str>>,
    ip_family_policy: Option<Box<str>>,
    health_check_node_port: u16,
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

/// Session affinity lasts three hours unless said otherwise (Kubernetes' default).
const AFFINITY_SECONDS: u32 = 10_800;

pub(in crate::snapshot) fn service(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Service> {
    let raw: RawObject<'_, RawService, RawServiceStatus> = parse(json)?;
    let other_proxy = raw.metadata.labels.contains_key("service.kubernetes.io/service-proxy-name");
    let topology_auto = topology_auto(&raw.metadata.annotations);
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
    let (annotations, finalizers) = (&raw.metadata.annotations, &raw.metadata.finalizers);
    let asked = RawSpec {
        load_balancer_ip: spec.load_balancer_ip,
        load_balancer_class: spec.load_balancer_class,
        every_family: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
        health_check_node_port: spec.health_check_node_port,
    };
    let load_balancer = load_balancer(asked, status.load_balancer.ingress, annotations, finalizers);
    let virtual_ips = load_balancer.ingress.iter().filter(|ingress| !ingress.proxy);
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
        load_balancer_ips: virtual_ips.filter_map(|ingress| ingress.address).collect(),
        load_balancer,
        external_ips: addresses("spec.externalIPs", &spec.external_ips)?,
        source_ranges: spec.load_balancer_source_ranges,
        publish_not_ready: spec.publish_not_ready_addresses,
        traffic_distribution: spec.traffic_distribution,
        topology_auto,
        balance: Balance::read(&raw.metadata.annotations),
        other_proxy,
        programmed: programmed.map(|condition| &*condition.status == "True"),
        meta: meta(key, revision, raw.metadata),
    })
}

/// The older name of the annotation counts first, as in Kubernetes.
fn topology_auto(annotations: &Labels) -> bool {
    let names = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
    let mode = names.iter().find_map(|name| annotations.get(name));
    mode.is_some_and(|mode| matches!(&**mode, "Auto" | "auto"))
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
