//! MS1004: the port of the pods. A name that no pod declares, another protocol, a number on which nobody listens.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::object::ObjectKey;
use serde_json::json;

use super::codes::MS1004;
use super::facts::Socket;
use super::finding::{Finding, Fix, Severity, Subject};
use super::select::count;
use super::{Case, near};
use crate::snapshot::{ContainerPort, Pod, Protocol, ServicePort, TargetPort};

/// Looks at every port of the Service.
pub(super) fn targets(case: &Case<'_>, pods: &[Arc<Pod>], findings: &mut Vec<Finding>) {
    if !case.selects() {
        return;
    }
    for (index, port) in case.service.ports.iter().enumerate() {
        let found = match &port.target {
            TargetPort::Name(name) => named(case, index, port, name, pods),
            TargetPort::Number(number) => listened(case, index, port, *number, pods),
        };
        findings.extend(found);
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn field(index: usize) -> String {
    format!("spec.ports[{index}].targetPort")
}

/// A patch of one member of a Service port.
fn replace(case: &Case<'_>, index: usize, member: &str, value: serde_json::Value) -> Fix {
    let patch = json!([{ "op": "replace", "path": format!("/spec/ports/{index}/{member}"), "value": value }]);
    Fix::json(Subject::service(case.key()), patch)
}

/// A port by name.
fn named(case: &Case<'_>, index: usize, port: &ServicePort, name: &str, pods: &[Arc<Pod>]) -> Option<Finding> {
    let declares = |pod: &Pod, same: bool| {
        pod.ports.iter().any(|declared| *declared.name == *name && (declared.protocol == port.protocol) == same)
    };
    let without: Vec<&Arc<Pod>> = pods.iter().filter(|pod| !declares(pod, true)).collect();
    let first = without.first()?;
    let severity = if without.len() == pods.len() { Severity::Problem } else { Severity::Warning };
    let of = if severity == Severity::Problem {
        "no matched pod".to_owned()
    } else {
        format!("{} of {} pods", without.len(), pods.len())
    };
    let evidence = without.iter().map(|pod| format!("pod {} declares {}", pod.meta.key.name, declared(&pod.ports)));
    if declares(first, false) {
        let other = first.ports.iter().find(|declared| *declared.name == *name)?;
        let (ours, theirs) = (protocol(port.protocol), protocol(other.protocol));
        let summary = format!("targetPort {name:?} is {ours} here, the pods declare it as {theirs}");
        let finding = case.finding(&MS1004, severity, &format!("spec.ports[{index}].protocol"), summary);
        return Some(finding.evidence(evidence).fix(replace(case, index, "protocol", theirs.into())));
    }
    let candidates: BTreeSet<&ContainerPort> =
        first.ports.iter().filter(|declared| declared.protocol == port.protocol).collect();
    let nearest = candidates.iter().filter_map(|known| Some((near::close(name, &known.name)?, *known))).min();
    let meant =
        nearest.map(|(_, known)| known).or_else(|| (candidates.len() == 1).then(|| candidates.first().copied())?);
    let declares = if severity == Severity::Problem { "declares" } else { "do not declare" };
    let hint = meant.map_or_else(String::new, |known| format!("; nearest: {} ({})", known.name, known.port));
    let summary = format!("targetPort {name:?}: {of} {declares} a port of this name{hint}");
    let mut finding = case.finding(&MS1004, severity, &field(index), summary).evidence(evidence);
    let listening = || only_listener(case, port.protocol, pods);
    if let Some(value) = meant.map(|known| (&*known.name).into()).or_else(|| listening().map(Into::into)) {
        finding = finding.fix(replace(case, index, "targetPort", value));
    }
    Some(finding)
}

fn declared(ports: &[ContainerPort]) -> String {
    let each = ports.iter().map(|port| format!("{} {}/{}", port.name, port.port, protocol(port.protocol)));
    let each: Vec<_> = each.collect();
    if each.is_empty() { "no named port".to_owned() } else { each.join(", ") }
}

/// What a pod is known to listen on; none if nobody looked, or if the pod shares the node's network.
fn sockets<'a>(case: &Case<'a>, key: &ObjectKey) -> Option<&'a Vec<Socket>> {
    let facts = case.facts.pods.get(key).filter(|facts| !facts.host_network)?;
    facts.listening.as_ref()
}

/// The one port that the pods listen on, if there is exactly one.
fn only_listener(case: &Case<'_>, protocol: Protocol, pods: &[Arc<Pod>]) -> Option<u16> {
    let open = |socket: &&Socket| socket.protocol == protocol && !socket.loopback();
    let listening = pods.iter().filter_map(|pod| sockets(case, &pod.meta.key)).flatten().filter(open);
    let ports: BTreeSet<u16> = listening.map(|socket| socket.port).collect();
    if ports.len() == 1 { ports.first().copied() } else { None }
}

/// A port by number: does somebody listen there, in every pod that is ready and was looked at?
fn listened(case: &Case<'_>, index: usize, port: &ServicePort, number: u16, pods: &[Arc<Pod>]) -> Option<Finding> {
    if port.protocol == Protocol::Sctp {
        return None;
    }
    let looked: Vec<(&Arc<Pod>, &Vec<Socket>)> =
        pods.iter().filter(|pod| pod.ready).filter_map(|pod| Some((pod, sockets(case, &pod.meta.key)?))).collect();
    let open = |socket: &Socket| socket.protocol == port.protocol && socket.port == number;
    let deaf: Vec<_> = looked.iter().filter(|(_, all)| !all.iter().any(|one| open(one) && !one.loopback())).collect();
    let (_, first) = deaf.first()?;
    let severity = if deaf.len() == looked.len() { Severity::Problem } else { Severity::Warning };
    let what = format!("{number}/{}", protocol(port.protocol));
    let evidence = deaf.iter().map(|(pod, all)| format!("pod {} listens on {}", pod.meta.key.name, listening(all)));
    let loopback = first.iter().find(|socket| open(socket));
    let other = first.iter().any(|one| one.port == number && one.protocol != port.protocol);
    let only = only_listener(case, port.protocol, pods);
    let (summary, fix) = match (loopback, other, only) {
        (Some(socket), ..) => {
            let at = std::net::SocketAddr::new(socket.address, number);
            let summary = format!("targetPort {what}: the process listens on {at} only, which no other pod can reach");
            (
                summary,
                Some(Fix::command("make the process listen on all addresses (0.0.0.0 or ::) instead of loopback")),
            )
        }
        (None, true, _) => {
            let theirs = if port.protocol == Protocol::Tcp { "UDP" } else { "TCP" };
            let summary = format!("targetPort {what}: nobody listens there; {number}/{theirs} is listened to");
            (summary, Some(replace(case, index, "protocol", theirs.into())))
        }
        (None, false, Some(only)) => {
            let summary = format!("targetPort {what}: nobody listens there; the pods listen on {only}");
            (summary, Some(replace(case, index, "targetPort", only.into())))
        }
        (None, false, None) => {
            (format!("targetPort {what}: {} of {} listens there", none_of(&deaf, &looked), count(looked.len())), None)
        }
    };
    let mut finding = case.finding(&MS1004, severity, &field(index), summary).evidence(evidence);
    finding.fix = fix;
    Some(finding)
}

fn none_of<A, B>(deaf: &[A], looked: &[B]) -> String {
    if deaf.len() == looked.len() { "none".to_owned() } else { format!("only {}", looked.len() - deaf.len()) }
}

/// Listening sockets as text.
pub(super) fn listening(all: &[Socket]) -> String {
    let sorted: BTreeSet<&Socket> = all.iter().collect();
    let each: Vec<_> = sorted
        .iter()
        .map(|socket| {
            format!("{}/{}", std::net::SocketAddr::new(socket.address, socket.port), protocol(socket.protocol))
        })
        .collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}
