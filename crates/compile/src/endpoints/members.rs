//! Turns the pods a Service selects into endpoints: which pods, with what conditions, ports, zones and hints.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Groups, Index};
use crate::snapshot::{Endpoint, Family, Pod, Service, SlicePort, Snapshot, TargetPort, Weight};

/// Pods that belong to a Service, and whether one was left out because its Node is unknown.
pub(super) fn select(snapshot: &Snapshot, index: &Index, service: &Service) -> (Vec<Arc<Pod>>, bool) {
    let mut node_missing = false;
    let mut pods = Vec::new();
    for key in index.pods_of(service) {
        let Some(pod) = snapshot.pods.get(&key) else { continue };
        let selected =
            service.selector.as_ref().is_some_and(|selector| super::index::matches(selector, &pod.meta.labels));
        if !selected || pod.finished || pod.ips.is_empty() {
            continue;
        }
        let node_known = pod.node.as_ref().is_none_or(|node| node_of(snapshot, node).is_some());
        if node_known || service.publish_not_ready {
            pods.push(pod.clone());
        } else {
            node_missing = true;
        }
    }
    (pods, node_missing)
}

/// Endpoints of one family, grouped by the ports that each pod resolves.
pub(super) fn groups(snapshot: &Snapshot, service: &Service, pods: &[Arc<Pod>], family: Family) -> Groups {
    let mut groups = Groups::new();
    for pod in pods {
        let Some(address) = pod.ips.iter().copied().find(|address| family_of(*address) == family) else { continue };
        let endpoint = endpoint(snapshot, service, pod, address);
        groups.entry(ports(service, pod)).or_default().push(endpoint);
    }
    groups
}

/// The ports of a Service as one pod resolves them. A name that no container declares leaves that port out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<SlicePort> {
    let resolve = |port: &crate::snapshot::ServicePort| match &port.target {
        TargetPort::Number(0) => Some(port.port),
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod
            .ports
            .iter()
            .find(|declared| declared.name == *name && declared.protocol == port.protocol)
            .map(|declared| declared.port),
    };
    let mut ports: Vec<SlicePort> = service
        .ports
        .iter()
        .filter_map(|port| {
            Some(SlicePort {
                name: port.name.clone(),
                protocol: port.protocol,
                port: Some(resolve(port)?),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports
}

/// The family of an address.
pub(super) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// `hostname` counts only for the headless-style name `<hostname>.<service>`, that is when the subdomain is the Service.
pub(super) fn hostname(service: &Service, pod: &Pod) -> Option<Box<str>> {
    let subdomain = pod.subdomain.as_ref()?;
    if *subdomain == service.meta.key.name { pod.hostname.clone().filter(|name| !name.is_empty()) } else { None }
}

fn node_of<'a>(snapshot: &'a Snapshot, node: &str) -> Option<&'a Arc<crate::snapshot::Node>> {
    snapshot.nodes.get(&api::object::ObjectKey::new("", node))
}

fn endpoint(snapshot: &Snapshot, service: &Service, pod: &Pod, address: IpAddr) -> Endpoint {
    let serving = pod.ready;
    let terminating = pod.meta.deleting;
    let ready = service.publish_not_ready || (serving && !terminating);
    let zone = pod.node.as_ref().and_then(|node| node_of(snapshot, node)).and_then(|node| node.zone.clone());
    let distribution = service.traffic_distribution.as_deref().unwrap_or_default();
    // In proportion to the CPU of the zones: decided for all endpoints together.
    let distribution = if service.topology_auto { "" } else { distribution };
    let by_zone = matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode");
    let hint_zones = if ready && by_zone { zone.iter().cloned().collect() } else { Vec::new() };
    // KEP-3015: hints by node come with hints by zone, so that readers that know only zones still keep traffic close.
    let by_node = ready && distribution == "PreferSameNode";
    let hint_nodes = if by_node { pod.node.iter().cloned().collect() } else { Vec::new() };
    Endpoint {
        address,
        ready,
        serving,
        terminating,
        node: pod.node.clone(),
        zone,
        hostname: hostname(service, pod),
        pod: Some(pod.meta.key.name.clone()),
        pod_uid: Some(pod.meta.uid.clone()),
        hint_zones,
        hint_nodes,
        weight: if let Weight::Given(weight) = pod.weight { Some(weight) } else { None },
    }
}
