//! Turns packed slices into writes: EndpointSlice objects as JSON, with names that are the same after a restart.

use std::collections::BTreeSet;

use api::kinds::ENDPOINT_SLICE;
use api::object::ObjectKey;
use serde_json::{Map, Value, json};

use super::pack::{Contents, Draft};
use crate::balance;
use crate::snapshot::{Endpoint, Family, Meta, Protocol, Service, SlicePort, Snapshot};
use crate::workloads::hash;
use crate::write::{Target, Write};

/// A name has at most 63 characters here, so that it can also be a label value.
pub(super) const NAME_MAX: usize = 63;

/// The writes that a draft stands for: additions first, so that no prefix leaves an endpoint out.
pub(super) fn writes(snapshot: &Snapshot, service: &Service, draft: Draft) -> Vec<Write> {
    let mut given = BTreeSet::new();
    let mut writes = Vec::new();
    for contents in draft.create {
        let name = name(snapshot, service, contents.family, &mut given);
        let object = object(service, &name, None, contents);
        writes.push(Write::Create { kind: &ENDPOINT_SLICE, object, note: None });
    }
    let mut updates = draft.update;
    // Slices that grow come first: an endpoint that moved is then never absent in between.
    updates.sort_by_key(|(_, contents)| std::cmp::Reverse(contents.endpoints.len()));
    for (meta, contents) in updates {
        let object = object(service, &meta.key.name, Some(&meta), contents);
        writes.push(Write::Update { kind: &ENDPOINT_SLICE, object });
    }
    for meta in draft.delete {
        let target = Target { kind: &ENDPOINT_SLICE, key: meta.key, uid: meta.uid, revision: Some(meta.revision) };
        writes.push(Write::Delete { target, propagation: None, note: None });
    }
    writes
}

/// `<service>-<hash>`, derived from the Service and an ordinal, skipping names that are in use.
fn name(snapshot: &Snapshot, service: &Service, family: Family, given: &mut BTreeSet<String>) -> String {
    let mut ordinal = 0_u64;
    loop {
        let suffix = hash::text(&[&service.meta.key.to_string(), &service.meta.uid, &format!("{family:?} {ordinal}")]);
        let prefix: String = service.meta.key.name.chars().take(NAME_MAX - 1 - suffix.len()).collect();
        let name = format!("{prefix}-{suffix}");
        let key = ObjectKey::new(service.meta.key.namespace.clone(), name.as_str());
        if !snapshot.slices.contains_key(&key) && given.insert(name.clone()) {
            return name;
        }
        ordinal += 1;
    }
}

fn object(service: &Service, name: &str, stored: Option<&Meta>, contents: Contents) -> Value {
    let mut metadata = json!({
        "name": name,
        "namespace": service.meta.key.namespace,
        "generateName": format!("{}-", service.meta.key.name),
        "labels": super::labels(service),
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Service", "name": service.meta.key.name, "uid": service.meta.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    let weights = contents.endpoints.iter().filter_map(|one| Some((one.address, one.weight?))).collect();
    if let Some(text) = balance::weights_text(&weights) {
        metadata["annotations"] = json!({ balance::WEIGHTS: text });
    }
    if let Some(meta) = stored {
        metadata["resourceVersion"] = json!(meta.revision.to_string());
        metadata["uid"] = json!(meta.uid);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": address_type(contents.family),
        "endpoints": contents.endpoints.iter().map(|one| endpoint(service, one)).collect::<Vec<_>>(),
        "ports": contents.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

/// The wire name of a family.
pub(super) fn address_type(family: Family) -> &'static str {
    if family == Family::V4 { "IPv4" } else { "IPv6" }
}

/// The wire name of a protocol.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

/// A port of a slice or of Endpoints as JSON.
fn port(port: &SlicePort) -> Value {
    let mut object = json!({ "name": port.name, "protocol": protocol(port.protocol) });
    if let Some(number) = port.port {
        object["port"] = json!(number);
    }
    if let Some(application) = &port.app_protocol {
        object["appProtocol"] = json!(application);
    }
    object
}

fn endpoint(service: &Service, endpoint: &Endpoint) -> Value {
    let mut object = json!({
        "addresses": [endpoint.address.to_string()],
        "conditions": {
            "ready": endpoint.ready, "serving": endpoint.serving, "terminating": endpoint.terminating,
        },
    });
    let mut put = |name: &str, value: &Option<Box<str>>| {
        if let Some(value) = value {
            object[name] = json!(value);
        }
    };
    put("hostname", &endpoint.hostname);
    put("nodeName", &endpoint.node);
    put("zone", &endpoint.zone);
    if let (Some(pod), Some(uid)) = (&endpoint.pod, &endpoint.pod_uid) {
        object["targetRef"] =
            json!({ "kind": "Pod", "namespace": service.meta.key.namespace, "name": pod, "uid": uid });
    }
    let mut hints = Map::new();
    let named = |names: &[Box<str>]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
    if !endpoint.hint_zones.is_empty() {
        hints.insert("forZones".to_owned(), Value::from(named(&endpoint.hint_zones)));
    }
    if !endpoint.hint_nodes.is_empty() {
        hints.insert("forNodes".to_owned(), Value::from(named(&endpoint.hint_nodes)));
    }
    if !hints.is_empty() {
        object["hints"] = Value::Object(hints);
    }
    object
}
