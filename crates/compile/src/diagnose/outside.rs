//! Ways in and how traffic is shared: Local policies (MS1102), taken node ports (MS1105), programming lag (MS1202), skew
//! (MS1203), exposure (MS1401), load balancers without address (MS1501).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::Case;
use super::codes::{MS1102, MS1105, MS1202, MS1203, MS1401, MS1501};
use super::facts::Socket;
use super::finding::{Finding, Fix, Severity, Subject, target};
use super::ports::protocol;
use super::slices::slices_of;
use crate::load_balancer::{self, Problem};
use crate::snapshot::{Pod, ServiceType};

/// Node ports that are given to Services that name none.
const GIVEN_NODE_PORTS: std::ops::RangeInclusive<u16> = 30_086..=32_767;

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
        let finding = case.finding(&MS1105, Severity::Warning, &field, summary);
        // A number that is only left out stays: the server keeps what a Service has.
        findings.push(match free_node_port(case, sockets) {
            Some(free) => {
                let patch =
                    json!([{ "op": "replace", "path": format!("/spec/ports/{index}/nodePort"), "value": free }]);
                finding.fix(Fix::json(Subject::service(case.key()), patch))
            }
            None => finding,
        });
    }
}

/// A node port that neither a Service nor a process of the node has, from the part of the range that is given by itself.
fn free_node_port(case: &Case<'_>, sockets: &[Socket]) -> Option<u16> {
    let services = case.snapshot.services.values();
    let mut taken: BTreeSet<u16> =
        services.flat_map(|service| service.ports.iter().map(|port| port.node_port)).collect();
    taken.extend(case.snapshot.services.values().map(|service| service.load_balancer.health_check_port));
    taken.extend(sockets.iter().map(|socket| socket.port));
    let mut given = GIVEN_NODE_PORTS;
    given.find(|port| !taken.contains(port))
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

/// MS1501: a load balancer that lacks an address, and why: in the words of the decision itself.
pub(super) fn balancer(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(problem) = load_balancer::problem(case.snapshot, case.service, &case.config.pools) else { return };
    let said = problem.to_string();
    let (why, advice) = said.split_once(". ").unwrap_or((&said, "kubectl get events --field-selector type=Warning"));
    let field = match problem {
        Problem::OtherClass(_) => "spec.loadBalancerClass",
        Problem::NoFamily(_) | Problem::WrongFamily(_) => "spec.ipFamilies",
        _ => "spec.type",
    };
    let some = !case.service.load_balancer.ingress.is_empty();
    let severity = if some { Severity::Warning } else { Severity::Problem };
    let ports = case.service.ports.iter().filter(|port| port.node_port != 0).map(|port| port.node_port.to_string());
    let ports = ports.collect::<Vec<_>>().join(", ");
    let meanwhile = (!ports.is_empty()).then(|| format!("meanwhile it is reachable on every node at port {ports}"));
    let finding = case.finding(&MS1501, severity, field, why.to_owned());
    findings.push(finding.evidence(meanwhile).fix(Fix::command(advice)));
}
