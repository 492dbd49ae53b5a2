//! Turns an Endpoints object that people keep for a Service without selector into EndpointSlices, the form that is routed.
//!
//! Slices that others made for the same Service are not touched: readers merge all of them. Once the Service has a
//! selector, or the object is gone or says that it is not for mirroring, the mirrored slices go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::kinds::{ENDPOINT_SLICE, ENDPOINTS, address};
use api::object::{ObjectKey, Revision};
use serde_json::{Map, Value, json};

use super::repack::repack;
use super::{MANAGED_BY, SERVICE_NAME};
use crate::snapshot::{Family, Service};
use crate::workloads::hash;
use crate::write::{Note, Target, Write};

/// Value of [`MANAGED_BY`] for mirrored slices.
pub const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
/// Most addresses that are mirrored of one subset.
pub const ADDRESSES_MAX: usize = 1_000;
/// Label that keeps an Endpoints object from being mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that were a lock once, not a list of addresses.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object alone.
const NOT_COPIED: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// What is remembered of a stored mirrored slice: enough to tell whether it says what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The Service it is for.
    pub service: ObjectKey,
    target: (ObjectKey, Box<str>, Revision),
    group: String,
    digest: String,
}

impl Mirrored {
    /// Of a slice as the API shows it; none if it is not a mirrored one.
    pub fn of(key: &ObjectKey, slice: &Value, revision: Revision) -> Option<Self> {
        let labels = &slice["metadata"]["labels"];
        let service = labels[SERVICE_NAME].as_str().filter(|_| labels[MANAGED_BY].as_str() == Some(MIRROR))?;
        let uid = slice["metadata"]["uid"].as_str().unwrap_or_default().into();
        Some(Self {
            service: ObjectKey::new(key.namespace.clone(), service),
            target: (key.clone(), uid, revision),
            group: group(slice),
            digest: digest(slice),
        })
    }
}

/// The writes that bring the mirrored slices of a Service to what its Endpoints object says. `is_free` tells whether a
/// name for a new slice is not in use.
pub fn reconcile(
    service: Option<&Service>,
    endpoints: Option<&Value>,
    stored: &[&Mirrored],
    is_free: impl Fn(&str) -> bool,
) -> Vec<Write> {
    let without_selector = |service: &Service| service.selector.as_ref().is_none_or(|selector| selector.is_empty());
    let source = endpoints.filter(|object| wanted(object) && service.is_some_and(without_selector));
    let (desired, notes) = source.map(desired).unwrap_or_default();
    let mut kept = BTreeMap::new();
    let mut gone = Vec::new();
    for slice in stored {
        if desired.contains_key(&slice.group) && !kept.contains_key(slice.group.as_str()) {
            kept.insert(slice.group.as_str(), *slice);
        } else {
            gone.push(*slice);
        }
    }
    let (mut creates, mut updates) = (Vec::new(), Vec::new());
    for (group, mut object) in desired {
        match kept.get(group.as_str()) {
            Some(slice) if slice.digest == digest(&object) => {}
            Some(slice) => {
                let (key, uid, revision) = &slice.target;
                object["metadata"]["name"] = json!(key.name);
                object["metadata"]["uid"] = json!(uid);
                object["metadata"]["resourceVersion"] = json!(revision.to_string());
                updates.push(Write::Update { kind: &ENDPOINT_SLICE, object });
            }
            None => {
                object["metadata"]["name"] = json!(name(&object, &group, &is_free));
                creates.push(Write::Create { kind: &ENDPOINT_SLICE, object, note: None });
            }
        }
    }
    let deletes = gone.into_iter().map(|slice| {
        let (key, uid, revision) = slice.target.clone();
        let target = Target { kind: &ENDPOINT_SLICE, key, uid, revision: Some(revision) };
        Write::Delete { target, propagation: None, note: None }
    });
    let writes: Vec<Write> = creates.into_iter().chain(updates).chain(deletes).collect();
    // What is left out is told when something changes, not each time somebody looks.
    let told = if writes.is_empty() { Vec::new() } else { notes };
    writes.into_iter().chain(told.into_iter().map(Write::Note)).collect()
}

fn wanted(endpoints: &Value) -> bool {
    let metadata = &endpoints["metadata"];
    let skipped = metadata["labels"][SKIP].as_str() == Some("true");
    !skipped && metadata["annotations"].get(LEADER).is_none() && metadata["deletionTimestamp"].is_null()
}

/// An address with its subset's ports taken away.
type Address = (IpAddr, String);

/// Slices by group, and what could not be mirrored.
fn desired(endpoints: &Value) -> (BTreeMap<String, Value>, Vec<Note>) {
    let mut all = BTreeMap::new();
    let mut invalid = 0;
    // Which addresses each port has, and whether they are ready there; unready wins.
    let mut by_port: BTreeMap<String, BTreeMap<Address, bool>> = BTreeMap::new();
    for subset in list(endpoints, "subsets") {
        let ports = list(subset, "ports");
        let ports: Vec<String> = if ports.is_empty() { vec![String::new()] } else { ports.iter().map(port).collect() };
        for (field, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for entry in list(subset, field) {
                let Some(ip) = entry["ip"].as_str().and_then(address::parse_ip) else {
                    invalid += 1;
                    continue;
                };
                let id = (ip, entry["targetRef"]["uid"].as_str().unwrap_or_default().to_owned());
                for port in &ports {
                    let is_ready = by_port.entry(port.clone()).or_default().entry(id.clone()).or_insert(ready);
                    *is_ready &= ready;
                }
                all.insert(id, entry);
            }
        }
    }
    let mut slices = BTreeMap::new();
    let mut skipped = 0;
    for (ports, mut addresses) in repack(by_port) {
        addresses.sort_by_key(|(address, ready)| (!ready, address.clone()));
        skipped += addresses.len().saturating_sub(ADDRESSES_MAX);
        for family in [Family::V4, Family::V6] {
            let mine =
                addresses.iter().take(ADDRESSES_MAX).filter(|((ip, _), _)| ip.is_ipv4() == (family == Family::V4));
            let list: Vec<Value> = mine.filter_map(|(id, ready)| Some(endpoint(all.get(id)?, id.0, *ready))).collect();
            if !list.is_empty() {
                let slice = slice(endpoints, family, &ports, list);
                slices.insert(group(&slice), slice);
            }
        }
    }
    (slices, notes(endpoints, invalid, skipped))
}

fn notes(endpoints: &Value, invalid: usize, skipped: usize) -> Vec<Note> {
    let text = |field: &str| endpoints["metadata"][field].as_str().unwrap_or_default();
    let key = ObjectKey::new(text("namespace"), text("name"));
    let note = |reason, message| Note {
        about: Target { kind: &ENDPOINTS, key: key.clone(), uid: text("uid").into(), revision: None },
        reason,
        message,
        warning: true,
    };
    let mut notes = Vec::new();
    if invalid > 0 {
        let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        notes.push(note("InvalidIPAddress", message));
    }
    if skipped > 0 {
        let message = format!(
            "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses \
             were skipped",
            skipped + invalid
        );
        notes.push(note("TooManyAddressesToMirror", message));
    }
    notes
}

/// A port as the slice shows it, as text: it is compared and sorted as such.
fn port(port: &Value) -> String {
    let mut object = json!({
        "name": port["name"].as_str().unwrap_or_default(), "port": port["port"],
        "protocol": port["protocol"].as_str().unwrap_or("TCP"),
    });
    if let Some(application) = port["appProtocol"].as_str() {
        object["appProtocol"] = json!(application);
    }
    object.to_string()
}

fn endpoint(entry: &Value, ip: IpAddr, ready: bool) -> Value {
    let mut endpoint = json!({ "addresses": [ip.to_string()], "conditions": { "ready": ready } });
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = entry.get(field).filter(|value| !value.is_null()) {
            endpoint[field] = value.clone();
        }
    }
    endpoint
}

fn slice(endpoints: &Value, family: Family, ports: &[String], list: Vec<Value>) -> Value {
    let metadata = &endpoints["metadata"];
    let mut labels = metadata["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), metadata["name"].clone());
    labels.insert(MANAGED_BY.to_owned(), json!(MIRROR));
    let ports: Vec<Value> = ports.iter().filter_map(|port| serde_json::from_str(port).ok()).collect();
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": metadata["namespace"],
            "generateName": format!("{}-", metadata["name"].as_str().unwrap_or_default()),
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Endpoints", "name": metadata["name"], "uid": metadata["uid"],
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": super::slice::address_type(family),
        "endpoints": list,
        "ports": ports,
    });
    let copied = annotations(endpoints);
    if !copied.is_empty() {
        object["metadata"]["annotations"] = Value::Object(copied);
    }
    object
}

fn annotations(object: &Value) -> Map<String, Value> {
    let mut annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    annotations
}

/// Family and ports: what all endpoints of one slice share.
fn group(slice: &Value) -> String {
    let ports: BTreeSet<String> = list(slice, "ports").iter().map(port).collect();
    json!([slice["addressType"], ports]).to_string()
}

/// Everything about a slice that mirroring decides.
fn digest(slice: &Value) -> String {
    let metadata = &slice["metadata"];
    let owners: Vec<&Value> = list(metadata, "ownerReferences").iter().map(|owner| &owner["uid"]).collect();
    let annotations = annotations(slice);
    hash::value(&json!([metadata["labels"], annotations, owners, list(slice, "endpoints"), group(slice)]), 0)
}

/// `<service>-<hash>`, the same after a restart.
fn name(slice: &Value, group: &str, is_free: impl Fn(&str) -> bool) -> String {
    let service = slice["metadata"]["labels"][SERVICE_NAME].as_str().unwrap_or_default();
    let owner = slice["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
    let mut ordinal = 0_u64;
    loop {
        let suffix = hash::text(&[owner, group, &ordinal.to_string()]);
        let prefix: String = service.chars().take(super::slice::NAME_MAX - 1 - suffix.len()).collect();
        let name = format!("{prefix}-{suffix}");
        if is_free(&name) {
            return name;
        }
        ordinal += 1;
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
