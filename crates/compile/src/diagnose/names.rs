//! What a name leads to: aliases that cannot work (MS1303), an answer that is not the address (MS1302), headless ports
//! (MS1009).

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::object::ObjectKey;
use serde_json::json;

use super::codes::{MS1009, MS1302, MS1303};
use super::finding::{Finding, Fix, Severity, Subject};
use super::{Case, near};
use crate::snapshot::{ServiceType, TargetPort};

/// MS1303: an ExternalName that is an address, or a cluster name that nothing has.
pub(super) fn external_name(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if case.service.service_type != ServiceType::ExternalName {
        return;
    }
    let target = case.service.external_name.trim_end_matches('.').to_ascii_lowercase();
    let field = "spec.externalName";
    if let Ok(address) = target.parse::<IpAddr>() {
        let summary =
            format!("externalName {address} is an address; DNS answers it as a name, and no resolver finds it");
        let command = headless_instead(case, address);
        findings.push(case.finding(&MS1303, Severity::Problem, field, summary).fix(Fix::command(command)));
        return;
    }
    let Some(inner) = target.strip_suffix(&format!(".svc.{}", case.config.domain)) else { return };
    let mut labels = inner.rsplit('.');
    let (Some(namespace), Some(name)) = (labels.next(), labels.next()) else { return };
    let meant = ObjectKey::new(namespace, name);
    if meant == *case.key() {
        let summary = "externalName is this Service's own name: an endless alias".to_owned();
        findings.push(case.finding(&MS1303, Severity::Problem, field, summary));
        return;
    }
    if case.snapshot.services.contains_key(&meant) {
        let summary = format!("externalName leads to Service {meant}: its Host header and certificate name must match");
        findings.push(case.finding(&MS1303, Severity::Note, field, summary));
        return;
    }
    let services = case.snapshot.services.keys();
    let close = services
        .filter(|key| *key.namespace == *namespace)
        .filter_map(|key| Some((near::close(name, &key.name)?, key)));
    let nearest = close.min().map(|(_, key)| key.name.clone());
    let hint = nearest.as_ref().map_or_else(String::new, |name| format!("; nearest: {name}"));
    let summary = format!("externalName leads to Service {meant}, which does not exist{hint}");
    let mut finding = case.finding(&MS1303, Severity::Problem, field, summary);
    if let Some(name) = nearest {
        let patch = json!({ "spec": { "externalName": format!("{name}.{namespace}.svc.{}", case.config.domain) } });
        finding = finding.fix(Fix::merge(Subject::service(case.key()), patch));
    }
    findings.push(finding);
}

/// The name answers the address when the Service is headless and a slice holds it.
fn headless_instead(case: &Case<'_>, address: IpAddr) -> String {
    let key = case.key();
    let patch = json!({ "spec": { "type": "ClusterIP", "clusterIP": "None", "externalName": null } });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-1", key.name), "namespace": key.namespace,
            "labels": { crate::endpoints::SERVICE_NAME: key.name },
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address.to_string()] }],
    });
    let service = super::finding::target(&Subject::service(key));
    format!("kubectl patch {service} --type=merge -p '{patch}' && echo '{slice}' | kubectl apply -f -")
}

/// MS1302: what the name server says against what the Service has.
pub(super) fn answers(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Some(answers) = &case.facts.answers else { return };
    if case.service.headless {
        return;
    }
    let (said, has): (BTreeSet<_>, BTreeSet<_>) = (answers.iter().collect(), case.service.cluster_ips.iter().collect());
    if said != has {
        let list = |all: &BTreeSet<&IpAddr>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let summary = format!("DNS answers {}, the Service has {}", none_if_empty(list(&said)), list(&has));
        let command = "kubectl delete pod -n kube-system -l k8s-app=kube-dns";
        findings.push(case.finding(&MS1302, Severity::Problem, "spec.clusterIPs", summary).fix(Fix::command(command)));
    }
}

fn none_if_empty(list: String) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list }
}

/// MS1009: nothing translates ports of a headless Service.
pub(super) fn headless(case: &Case<'_>, findings: &mut Vec<Finding>) {
    if !case.service.headless {
        return;
    }
    let translated = case.service.ports.iter().find_map(|port| match port.target {
        TargetPort::Number(number) if number != port.port => Some((port.port, number)),
        _ => None,
    });
    if let Some((port, target)) = translated {
        let name = &case.key().name;
        let summary =
            format!("headless: nothing turns port {port} into {target}; clients must connect to {name}:{target}");
        findings.push(case.finding(&MS1009, Severity::Warning, "spec.ports", summary));
    }
}
