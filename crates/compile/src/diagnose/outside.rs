//! Ways in and how traffic is shared: Local policies (MS1102), taken node ports (MS1105), programming lag (MS1202), skew
//! (MS1203), exposure (MS1401), load balancers without address (MS1501).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Case;
use super::codes::{MS1102, MS1105, MS1202, MS1203, MS1401, MS1501};
use super::facts::Pending;
use super::finding::{Finding, Fix, Severity, Subject, target};
use super::ports::protocol;
use super::slices::slices_of;
use crate::snapshot::{Pod, ServiceType};

/// Ready endpoints by node; the empty name for those that name no node. From the selected pods, else from slices.
fn by_node(case: &Case<'_>, pods: &[Arc<Pod>]) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    if case.selects() {
        for pod in pods.iter().filter(|pod| (pod.ready && !pod.meta.deleting) || case.service.publish_not_ready) {
            *nodes.entry(pod.node.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
        }
    } else {
        for endpoint in slices_of(case.snapshot, case.key()).flat_map(|slice| &slice.endpoints).filter(|end| end.ready)
        {
            *nodes.entry(endpoint.node.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    nodes
}

fn external(case: &Case<'_>) -> bool {
    matches!(case.service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer)
}

/// MS1102: a Local policy drops what arrives at a node without endpoint.
pub(super) fn local(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    let policies = [
        (case.service.internal_local, "spec.internalTrafficPolicy", "internalTrafficPolicy", "from pods on"),
        (
            case.service.external_local && external(case),
            "spec.externalTrafficPolicy",
            "externalTrafficPolicy",
            "arriving at",
        ),
    ];
    let nodes = by_node(case, pods);
    // Without any endpoint, the policy is not what is wrong.
    if case.service.headless || nodes.is_empty() {
        return;
    }
    for (_, field, name, whence) in policies.into_iter().filter(|policy| policy.0) {
        let names = case.snapshot.nodes.keys().map(|key| &*key.name);
        let without: Vec<&str> = names.filter(|node| !nodes.contains_key(*node)).collect();
        let Some(first) = without.first() else { continue };
        let all = without.len() == case.snapshot.nodes.size();
        let severity = if all { Severity::Problem } else { Severity::Warning };
        let more = if without.len() > 1 { format!(" and {} more", without.len() - 1) } else { String::new() };
        let summary = format!("{name} Local: traffic {whence} node {first}{more} is dropped, no local endpoint");
        let evidence = nodes.iter().map(|(node, count)| {
            format!("{count} ready on {}", if node.is_empty() { "no node (endpoint without nodeName)" } else { node })
        });
        let fix = Fix::merge(Subject::service(case.key()), json!({ "spec": { name: "Cluster" } }));
        findings.push(case.finding(&MS1102, severity, field, summary).evidence(evidence).fix(fix));
    }
}

/// MS1105: a process of the node listens on a node port of the Service.
pub(super) fn node_ports(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(sockets) = &case.facts.node_sockets else { return };
    for (index, port) in case.service.ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
        let taken = sockets.iter().find(|socket| socket.port == port.node_port && socket.protocol == port.protocol);
        let Some(socket) = taken.filter(|socket| !socket.loopback()) else { continue };
        let (number, field) = (port.node_port, format!("spec.ports[{index}].nodePort"));
        let at = std::net::SocketAddr::new(socket.address, socket.port);
        let summary = format!(
            "nodePort {number}/{}: a process of the node listens on {at}, the Service takes its traffic",
            protocol(port.protocol)
        );
        let patch = json!([{ "op": "remove", "path": format!("/spec/ports/{index}/nodePort") }]);
        let fix = Fix::json(Subject::service(case.key()), patch);
        findings.push(case.finding(&MS1105, Severity::Warning, &field, summary).fix(fix));
    }
}

/// MS1202: the node has not applied the Service's last change.
pub(super) fn lag(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let (Some(applied), wanted) = (case.facts.applied, case.service.meta.revision) else { return };
    if case.service.other_proxy || applied >= wanted {
        return;
    }
    let summary = format!("the last change is revision {wanted}; the node has applied {applied}");
    let command = "mainstay status   # the sink that is behind, and its last problem";
    findings.push(case.finding(&MS1202, Severity::Warning, "status.conditions", summary).fix(Fix::command(command)));
}

/// MS1203: shares that are uneven by design.
pub(super) fn skew(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.service.headless {
        return;
    }
    let subject = || Subject::service(case.key());
    if let Some(seconds) = case.service.affinity_seconds {
        let summary =
            format!("sessionAffinity ClientIP keeps a client on one pod for {seconds} s: shares follow clients");
        let fix = Fix::merge(subject(), json!({ "spec": { "sessionAffinity": "None" } }));
        findings.push(case.finding(&MS1203, Severity::Note, "spec.sessionAffinity", summary).fix(fix));
    }
    if let Some(distribution) = &case.service.traffic_distribution {
        let summary =
            format!("trafficDistribution {distribution} prefers near endpoints: shares follow where clients are");
        findings.push(case.finding(&MS1203, Severity::Note, "spec.trafficDistribution", summary));
    }
}

/// MS1401: reachable from anywhere.
pub(super) fn exposure(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let ports: Vec<_> =
        case.service.ports.iter().filter(|port| port.node_port != 0).map(|port| port.node_port.to_string()).collect();
    let fix =
        Fix::merge(Subject::service(case.key()), json!({ "spec": { "loadBalancerSourceRanges": ["192.0.2.0/24"] } }));
    match case.service.service_type {
        ServiceType::LoadBalancer if case.service.source_ranges.is_empty() => {
            let summary = "open to everybody who reaches its address: no loadBalancerSourceRanges".to_owned();
            let finding = case.finding(&MS1401, Severity::Note, "spec.loadBalancerSourceRanges", summary);
            let hint = format!("{}   # with your own range", fix.command);
            findings.push(finding.fix(Fix::command(hint)));
        }
        ServiceType::NodePort => {
            let summary = format!("port {} is open on every node, to everybody who reaches one", ports.join(", "));
            let patch = format!(
                "kubectl patch {} --type=merge -p '{{\"spec\":{{\"type\":\"ClusterIP\"}}}}'",
                target(&Subject::service(case.key()))
            );
            let finding = case.finding(&MS1401, Severity::Note, "spec.type", summary);
            findings.push(finding.fix(Fix::command(format!("{patch}   # if only pods need it"))));
        }
        _ => {}
    }
}

/// MS1501: a load balancer that has no address, and why.
pub(super) fn balancer(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.service.service_type != ServiceType::LoadBalancer || !case.service.load_balancer_ips.is_empty() {
        return;
    }
    let Some(pending) = &case.facts.pending else { return };
    let node_port = "it is reachable by its node ports meanwhile".to_owned();
    let (field, why, command) = match pending {
        Pending::NoPool => (
            "spec.type",
            "no address pool: EXTERNAL-IP stays <pending>".to_owned(),
            "mainstay up --sandbox --lb-pool 192.0.2.0/28   # with a range of your own",
        ),
        Pending::Empty => (
            "spec.type",
            "every address of the pools is taken: EXTERNAL-IP stays <pending>".to_owned(),
            "mainstay up --sandbox --lb-pool 192.0.2.16/28   # a further range, or delete a Service",
        ),
        Pending::OtherClass(class) => (
            "spec.loadBalancerClass",
            format!("class {class:?} is for another load balancer, and none has answered"),
            "leave spec.loadBalancerClass out (it cannot be changed: delete the Service and create it again)",
        ),
        Pending::WrongFamily => (
            "spec.ipFamilies",
            "the pools have no address of the family asked for".to_owned(),
            "mainstay up --sandbox --lb-pool 2001:db8::/120   # a range of that family",
        ),
        Pending::Reported(message) => {
            ("spec.type", message.clone(), "kubectl get events --field-selector type=Warning")
        }
    };
    let finding = case.finding(&MS1501, Severity::Problem, field, why);
    findings.push(finding.evidence([node_port]).fix(Fix::command(command)));
}
