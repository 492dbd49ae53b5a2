//! MS1005 and MS1008: slices that others made. Port names that join no Service port, a label that is missing or misspelt,
//! no slice at all.

use std::collections::BTreeSet;

use api::object::ObjectKey;
use serde_json::{Value, json};

use super::addresses::endpoint_addresses;
use super::codes::{MS1005, MS1008};
use super::finding::{Finding, Fix, Severity, Subject, in_namespace};
use super::ports::protocol;
use super::{Case, Config, Facts, Index, limits, near};
use crate::endpoints::mirror::MIRROR;
use crate::endpoints::{CONTROLLER, MANAGED_BY, SERVICE_NAME};
use crate::snapshot::{Endpoint, EndpointSlice, Family, Meta, Protocol, Service, ServiceType, SlicePort, Snapshot};

/// Whether somebody else made this slice.
pub(super) fn hand_made(slice: &EndpointSlice) -> bool {
    !slice.meta.deleting && slice.meta.labels.get(MANAGED_BY).is_none_or(|manager| **manager != *CONTROLLER)
}

/// Slices of a Service, in order of name.
pub(super) fn slices_of<'a>(snapshot: &'a Snapshot, service: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> {
    let keys = snapshot.slices_of.get(service).into_iter().flat_map(|keys| keys.iter());
    keys.filter_map(|key| snapshot.slices.get(key)).map(|slice| &**slice)
}

/// What is wrong between a Service and the slices that others made for it.
pub(super) fn of_service(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let mut any = false;
    for slice in slices_of(case.snapshot, case.key()) {
        any = true;
        if hand_made(slice) {
            findings.extend(joins(case.service, slice));
        }
    }
    if !any && !case.selects() {
        findings.push(none(case));
    }
}

/// No selector, and nobody made a slice; perhaps one was made and its label forgotten.
fn none(case: &Case<'_>) -> Finding {
    let key = case.key();
    if let Some(slice) = forgotten(case.snapshot, key) {
        let name = &slice.meta.key.name;
        let what = match slice.meta.labels.get(SERVICE_NAME) {
            Some(other) => format!("has {SERVICE_NAME}={other}, and there is no such Service"),
            None => format!("has no label {SERVICE_NAME}"),
        };
        let summary = format!("endpointslice {name} {what}: no endpoints for {}", key.name);
        let subject = Subject::slice(&slice.meta.key);
        let patch = json!({ "metadata": { "labels": { SERVICE_NAME: key.name } } });
        let finding = Finding::new(&MS1005, Severity::Problem, subject.clone(), "metadata.labels", summary);
        return finding.fix(Fix::merge(subject, patch));
    }
    let summary = "the Service has no selector and nobody made an EndpointSlice for it".to_owned();
    let port = case.service.ports.first();
    let (name, number) = port.map_or_else(|| ("", 80), |port| (&*port.name, port.port));
    let protocol = port.map_or("TCP", |port| protocol(port.protocol));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": format!("{}-1", key.name), "namespace": key.namespace, "labels": { SERVICE_NAME: key.name } },
        "addressType": "IPv4", "ports": [{ "name": name, "port": number, "protocol": protocol }],
        "endpoints": [{ "addresses": ["192.0.2.1"] }],
    });
    let command = format!("echo '{slice}' | kubectl apply -f -   # with your addresses instead of 192.0.2.1");
    case.finding(&MS1008, Severity::Problem, "spec.selector", summary).fix(Fix::command(command))
}

/// A slice without Service that was probably meant for this one.
fn forgotten<'a>(snapshot: &'a Snapshot, service: &ObjectKey) -> Option<&'a EndpointSlice> {
    let first = ObjectKey::new(service.namespace.clone(), "");
    let slices = snapshot.slices.range(first..).take_while(|(key, _)| key.namespace == service.namespace);
    let orphan = |slice: &&EndpointSlice| {
        let owner = slice.meta.labels.get(SERVICE_NAME);
        let exists = |name: &str| snapshot.services.contains_key(&ObjectKey::new(service.namespace.clone(), name));
        let meant = || owner.is_some_and(|name| near::close(name, &service.name).is_some());
        let named = || slice.meta.key.name.starts_with(&*service.name);
        // The cheapest first: nearly every slice has its Service.
        hand_made(slice) && owner.is_none_or(|name| !exists(name)) && (named() || meant())
    };
    slices.take(limits::SLICES).map(|(_, slice)| &**slice).find(orphan)
}

/// Ports are joined by name and protocol: a slice port that finds no partner leads nowhere.
fn joins(service: &Service, slice: &EndpointSlice) -> Option<Finding> {
    let joined = |port: &&SlicePort| {
        service.ports.iter().any(|known| known.name == port.name && known.protocol == port.protocol)
    };
    let lost = slice.ports.iter().position(|port| !joined(&port))?;
    let port = slice.ports.get(lost)?;
    let same = service.ports.iter().filter(|known| known.protocol == port.protocol);
    let same: Vec<_> = same.collect();
    let free = |name: &str| !slice.ports.iter().any(|other| *other.name == *name && other.protocol == port.protocol);
    let meant = same.iter().find(|known| free(&known.name) && near::close(&known.name, &port.name).is_some());
    let meant = meant.or_else(|| same.iter().find(|known| free(&known.name)));
    let names: BTreeSet<_> = service.ports.iter().map(|known| quoted(&known.name)).collect();
    let names: Vec<_> = names.into_iter().collect();
    let severity = if slice.ports.iter().any(|port| joined(&port)) { Severity::Warning } else { Severity::Problem };
    let summary = format!(
        "port {} of endpointslice {} joins no port of svc {}: it has {}",
        quoted(&port.name),
        slice.meta.key.name,
        service.meta.key.name,
        names.join(", ")
    );
    let subject = Subject::slice(&slice.meta.key);
    let field = format!("ports[{lost}].name");
    let evidence = vec![format!(
        "slice ports and Service ports are joined by name and protocol; the slice has {}/{}",
        quoted(&port.name),
        protocol(port.protocol)
    )];
    let finding = Finding::new(&MS1005, severity, subject.clone(), &field, summary).evidence(evidence);
    if slice.meta.labels.get(MANAGED_BY).is_some_and(|manager| **manager == *MIRROR) {
        // The slice is made from Endpoints, and would be made so again.
        let key = &service.meta.key;
        return Some(finding.fix(Fix::command(format!(
            "kubectl edit endpoints {}{}",
            key.name,
            in_namespace(&key.namespace)
        ))));
    }
    let Some(meant) = meant else { return Some(finding) };
    let patch = json!([{ "op": "add", "path": format!("/ports/{lost}/name"), "value": meant.name }]);
    Some(finding.fix(Fix::json(subject, patch)))
}

fn quoted(name: &str) -> String {
    if name.is_empty() { "\"\" (unnamed)".to_owned() } else { format!("{name:?}") }
}

/// What is wrong with one slice, as it is or as it is proposed; `snapshot` need not hold it.
pub fn slice_findings(config: &Config, snapshot: &Snapshot, index: &Index, slice: &EndpointSlice) -> Vec<Finding> {
    if !hand_made(slice) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let subject = Subject::slice(&slice.meta.key);
    let namespace = &slice.meta.key.namespace;
    let label = slice.meta.labels.get(SERVICE_NAME);
    let service = label.and_then(|name| snapshot.services.get(&ObjectKey::new(namespace.clone(), name.clone())));
    match (label, service) {
        (_, Some(service)) => {
            let facts = Facts::default();
            findings.extend(joins(service, slice));
            endpoint_addresses(&Case { config, snapshot, index, facts: &facts, service }, slice, &mut findings);
        }
        (Some(name), None) => {
            let summary = format!("{SERVICE_NAME}={name}: there is no Service {name} in {namespace}");
            let mut finding = Finding::new(&MS1005, Severity::Warning, subject.clone(), "metadata.labels", summary);
            if let Some(meant) = nearest_service(snapshot, namespace, name) {
                finding.summary.push_str(&format!("; nearest: {meant}"));
                finding =
                    finding.fix(Fix::merge(subject, json!({ "metadata": { "labels": { SERVICE_NAME: meant } } })));
            }
            findings.push(finding);
        }
        (None, None) => {
            let key = slice.meta.labels.keys().find(|key| near::close(key, SERVICE_NAME).is_some());
            let hint = key.map_or_else(String::new, |key| format!(", but has {key}"));
            let name = &slice.meta.key.name;
            let summary = format!("the slice has no label {SERVICE_NAME}{hint}: no Service uses it");
            let mut finding = Finding::new(&MS1005, Severity::Problem, subject, "metadata.labels", summary);
            let meant = key.and_then(|key| slice.meta.labels.get(key));
            let meant = meant.map_or("NAME-OF-THE-SERVICE", |meant| &**meant);
            let command =
                format!("kubectl label endpointslice {name}{} {SERVICE_NAME}={meant}", in_namespace(namespace));
            finding = finding.fix(Fix::command(command));
            findings.push(finding);
        }
    }
    findings
}

fn nearest_service(snapshot: &Snapshot, namespace: &str, name: &str) -> Option<Box<str>> {
    let first = ObjectKey::new(namespace, "");
    let services = snapshot.services.range(first..).take_while(|(key, _)| *key.namespace == *namespace);
    let usable = services.filter(|(_, service)| service.service_type != ServiceType::ExternalName);
    let near = usable.take(limits::SLICES).filter_map(|(key, _)| Some((near::close(name, &key.name)?, key)));
    near.min().map(|(_, key)| key.name.clone())
}

/// What is wrong with Endpoints that somebody writes by hand: they are mirrored into slices, so they are judged as slices.
pub fn endpoints_findings(
    config: &Config,
    snapshot: &Snapshot,
    index: &Index,
    key: &ObjectKey,
    object: &Value,
) -> Vec<Finding> {
    let Some(service) = snapshot.services.get(key).filter(|service| service.selector.is_none()) else {
        return Vec::new();
    };
    let (facts, subject) = (Facts::default(), Subject { kind: "Endpoints", key: key.clone() });
    let mut findings = Vec::new();
    for (number, subset) in object["subsets"].as_array().into_iter().flatten().enumerate() {
        let slice = slice_of(key, subset);
        let case = Case { config, snapshot, index, facts: &facts, service };
        findings.extend(joins(service, &slice));
        endpoint_addresses(&case, &slice, &mut findings);
        for finding in findings.iter_mut().filter(|finding| finding.subject.kind == "EndpointSlice") {
            finding.summary = finding.summary.replacen("endpointslice ", "endpoints ", 1);
            finding.field = format!(
                "subsets[{number}].{}",
                finding.field.replacen("endpoints[", "addresses[", 1).replace(".addresses[0]", ".ip")
            );
            finding.subject = subject.clone();
            finding.fix =
                Some(Fix::command(format!("kubectl edit endpoints {}{}", key.name, in_namespace(&key.namespace))));
        }
    }
    findings
}

/// A subset as the slice that it is mirrored into. What cannot be read is left out: the API refuses it anyway.
fn slice_of(key: &ObjectKey, subset: &Value) -> EndpointSlice {
    let list = |member: &str| subset[member].as_array().cloned().unwrap_or_default();
    let endpoint = |address: &Value| {
        Some(Endpoint {
            address: address["ip"].as_str()?.parse().ok()?,
            ready: true,
            serving: true,
            terminating: false,
            node: address["nodeName"].as_str().map(Into::into),
            zone: None,
            hostname: None,
            pod: None,
            pod_uid: None,
            hint_zones: Vec::new(),
            hint_nodes: Vec::new(),
            weight: None,
        })
    };
    let port = |port: &Value| SlicePort {
        name: port["name"].as_str().unwrap_or_default().into(),
        protocol: match port["protocol"].as_str() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
        port: port["port"].as_u64().and_then(|port| u16::try_from(port).ok()),
        app_protocol: None,
    };
    EndpointSlice {
        meta: Meta { key: key.clone(), ..Meta::default() },
        family: Some(Family::V4),
        ports: list("ports").iter().map(port).collect(),
        endpoints: list("addresses").iter().filter_map(endpoint).collect(),
        owner_uid: None,
        trigger_time: None,
        weights_unread: None,
    }
}
