//! MS1007: endpoints that are no place to send traffic to: loopback, link-local, another Service's address, a node's.

use std::net::IpAddr;

use super::Case;
use super::codes::MS1007;
use super::finding::{Finding, Fix, Severity, Subject};
use super::slices::{hand_made, slices_of};
use crate::snapshot::EndpointSlice;

/// Every hand-made slice of the Service.
pub(super) fn endpoints(case: &Case<'_>, findings: &mut Vec<Finding>) {
    for slice in slices_of(case.snapshot, case.key()).filter(|slice| hand_made(slice)) {
        endpoint_addresses(case, slice, findings);
    }
}

/// Endpoints of one slice. At most one finding per slice: the first wrong address, the others as evidence.
pub(super) fn endpoint_addresses(case: &Case<'_>, slice: &EndpointSlice, findings: &mut Vec<Finding>) {
    // The Service of the API itself is served at the node's addresses.
    if &*case.key().namespace == "default" && &*case.key().name == "kubernetes" {
        return;
    }
    let wrong: Vec<_> = slice
        .endpoints
        .iter()
        .enumerate()
        .filter_map(|(index, endpoint)| {
            let (severity, why) = judge(case, endpoint.address)?;
            Some((severity, index, endpoint.address, why))
        })
        .collect();
    let Some((severity, index, address, why)) = wrong.iter().min_by_key(|(severity, index, ..)| (*severity, *index))
    else {
        return;
    };
    let subject = Subject::slice(&slice.meta.key);
    let field = format!("endpoints[{index}].addresses[0]");
    let summary = format!("endpoint {address} of endpointslice {} is {why}", slice.meta.key.name);
    let evidence = wrong.iter().map(|(_, index, address, why)| format!("endpoints[{index}] {address} is {why}"));
    let patch = serde_json::json!([{ "op": "remove", "path": format!("/endpoints/{index}") }]);
    findings.push(
        Finding::new(&MS1007, *severity, subject.clone(), &field, summary)
            .evidence(evidence)
            .fix(Fix::json(subject, patch)),
    );
}

fn judge(case: &Case<'_>, address: IpAddr) -> Option<(Severity, String)> {
    let plain = address.to_canonical();
    let link_local = match plain {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if plain.is_loopback() {
        return Some((Severity::Problem, "a loopback address: each pod's own".to_owned()));
    }
    if plain.is_unspecified() || plain.is_multicast() {
        return Some((Severity::Problem, "no address of one machine".to_owned()));
    }
    if link_local {
        return Some((Severity::Problem, "link-local (cloud metadata lives there)".to_owned()));
    }
    if let Some(owner) = case.index.owner_of(plain) {
        let own =
            if owner == case.key() { "its own address".to_owned() } else { format!("the address of Service {owner}") };
        return Some((Severity::Problem, format!("{own}; an endpoint cannot be a Service")));
    }
    if case.config.service_cidrs.iter().any(|cidr| cidr.contains(plain)) {
        return Some((Severity::Problem, "in the Service range, where no machine is".to_owned()));
    }
    let node = case.snapshot.nodes.values().find(|node| node.addresses.contains(&plain))?;
    Some((
        Severity::Note,
        format!("an address of node {}: the Service leads out of the pod network", node.meta.key.name),
    ))
}
