//! A Pod as JSON in, our own out.

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::{Decoded, RawCondition, RawObject, addresses, is_ready, meta, parse, protocol};
use crate::balance;
use crate::snapshot::{ContainerPort, Owner, Pod, Weight};

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

pub(in crate::snapshot) fn pod(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Pod> {
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
    let ready = is_ready(&status.conditions);
    let owner = raw.metadata.owner_references.iter().find(|owner| owner.controller);
    let weight = raw
        .metadata
        .annotations
        .get(balance::WEIGHT)
        .map_or(Weight::Default, |text| balance::weight(text).map_or(Weight::Unread, Weight::Given));
    Ok(Pod {
        owner: owner.map(|owner| Owner { kind: owner.kind.clone(), name: owner.name.clone() }),
        node: spec.node_name.filter(|node| !node.is_empty()),
        ips: addresses("status.podIPs", &ips)?,
        ready,
        finished: matches!(&*status.phase, "Succeeded" | "Failed"),
        hostname: spec.hostname.filter(|hostname| !hostname.is_empty()),
        subdomain: spec.subdomain.filter(|subdomain| !subdomain.is_empty()),
        ports: named.collect::<Decoded<_>>()?,
        weight,
        meta: meta(key, revision, raw.metadata),
    })
}
