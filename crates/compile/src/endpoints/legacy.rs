//! Turns a Service and its pods into the older Endpoints object: one family, ready and not ready addresses apart.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::kinds::ENDPOINTS;
use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

use super::repack::repack;
use super::{HEADLESS, Index, families, is_ours, members, reserved};
use crate::snapshot::{Pod, Service, SlicePort, Snapshot};
use crate::workloads::hash;
use crate::write::{Target, Write};

/// Most addresses in one Endpoints object; consumers of more read EndpointSlices.
pub const ADDRESSES_MAX: usize = 1_000;
/// Annotation that tells that addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Label that tells readers who made the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] for the objects made here.
const MANAGER: &str = "endpoint-controller";

/// What is remembered of a stored Endpoints object: enough to tell whether it says what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Revision of its last change.
    pub revision: Revision,
    digest: String,
    uid: Box<str>,
    made_here: bool,
}

/// An address with what it belongs to.
#[derive(Clone, Debug, PartialEq)]
struct Address {
    ready: bool,
    json: Value,
}

/// Ports and the addresses that have all of them.
type Subset = (Vec<SlicePort>, Vec<Address>);

impl Stored {
    /// Digest of an object as the API shows it.
    pub fn of(object: &Value, revision: Revision) -> Self {
        let metadata = &object["metadata"];
        let uid = metadata["uid"].as_str().unwrap_or_default().into();
        let made_here = metadata["labels"][MANAGED_BY].as_str() == Some(MANAGER);
        Self { revision, digest: digest(object), uid, made_here }
    }
}

/// The deletion of an Endpoints object that was made here for a Service that is gone, as when a write that was under way
/// crossed the Service's deletion. Objects that people made are theirs, and nothing is decided on a snapshot that is older
/// than the object: its Service may be in the next one.
pub fn leftover(snapshot: &Snapshot, key: &ObjectKey, stored: &Stored) -> Option<Write> {
    let decided = stored.made_here && stored.revision <= snapshot.revision && !snapshot.services.contains_key(key);
    decided.then(|| {
        let revision = Some(stored.revision);
        let target = Target { kind: &ENDPOINTS, key: key.clone(), uid: stored.uid.clone(), revision };
        Write::Delete { target, propagation: None, note: None }
    })
}

/// The write that brings the Endpoints object of `key` to what its pods ask for, if one is needed.
pub fn reconcile(snapshot: &Snapshot, index: &Index, key: &ObjectKey, stored: Option<&Stored>) -> Option<Write> {
    let service = snapshot.services.get(key).filter(|service| is_ours(service))?;
    let (pods, _) = members::select(snapshot, index, service);
    let mut object = object(service, &subsets(service, &pods));
    match stored {
        None => Some(Write::Create { kind: &ENDPOINTS, object, note: None }),
        Some(stored) if stored.digest == digest(&object) => None,
        Some(stored) => {
            object["metadata"]["resourceVersion"] = json!(stored.revision.to_string());
            Some(Write::Update { kind: &ENDPOINTS, object })
        }
    }
}

fn digest(object: &Value) -> String {
    let metadata = &object["metadata"];
    let subsets = object.get("subsets").filter(|subsets| subsets.as_array().is_some_and(|list| !list.is_empty()));
    let labels = metadata.get("labels");
    hash::value(&json!([labels, metadata["annotations"].get(OVER_CAPACITY), subsets]), 0)
}

/// Addresses by the ports that all of them resolve, and whether some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<Subset>, bool) {
    let family = families(service).first().copied();
    let mut all: BTreeMap<(IpAddr, &str), &Pod> = BTreeMap::new();
    // No port stands for a headless Service that has none.
    let mut by_port: BTreeMap<Option<SlicePort>, BTreeMap<(IpAddr, &str), bool>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.meta.deleting || service.publish_not_ready) {
        let address = pod.ips.iter().copied().find(|address| Some(members::family_of(*address)) == family);
        let Some(ip) = address else { continue };
        let mut ports: Vec<Option<SlicePort>> = members::ports(service, pod).into_iter().map(Some).collect();
        if service.headless && service.ports.is_empty() {
            ports.push(None);
        }
        all.insert((ip, &pod.meta.uid), pod);
        for port in ports {
            let ready = pod.ready || service.publish_not_ready;
            by_port.entry(port).or_default().insert((ip, &pod.meta.uid), ready);
        }
    }
    let address =
        |(id, ready): ((IpAddr, &str), bool)| Some(Address { ready, json: address_json(service, all.get(&id)?, id.0) });
    let subsets = repack(by_port).into_iter().map(|(ports, addresses)| {
        (ports.into_iter().flatten().collect(), addresses.into_iter().filter_map(address).collect())
    });
    let mut subsets: Vec<Subset> = subsets.collect();
    let truncated = truncate(&mut subsets);
    (subsets, truncated)
}

/// Keeps at most [`ADDRESSES_MAX`] addresses, ready ones first, spread over the subsets in proportion: each subset's part
/// is rounded up, so that the last one may get less.
fn truncate(subsets: &mut Vec<Subset>) -> bool {
    let count = |ready: bool| subsets.iter().flat_map(|(_, all)| all).filter(|one| one.ready == ready).count();
    let (ready, unready) = (count(true), count(false));
    if ready + unready <= ADDRESSES_MAX {
        return false;
    }
    let mut room = [ADDRESSES_MAX.min(ready), ADDRESSES_MAX.saturating_sub(ready)];
    let [all_ready, all_unready] = room;
    for (_, addresses) in subsets.iter_mut() {
        let (mut good, mut bad): (Vec<Address>, Vec<Address>) =
            std::mem::take(addresses).into_iter().partition(|address| address.ready);
        let parts = [(&mut good, all_ready, ready), (&mut bad, all_unready, unready)];
        for ((list, keep, of), room) in parts.into_iter().zip(&mut room) {
            let part = (list.len() * keep).div_ceil(of.max(1)).min(*room);
            list.truncate(part);
            *room -= part;
        }
        good.append(&mut bad);
        *addresses = good;
    }
    subsets.retain(|(_, addresses)| !addresses.is_empty());
    true
}

fn address_json(service: &Service, pod: &Pod, ip: IpAddr) -> Value {
    let mut address = json!({
        "ip": ip.to_string(),
        "targetRef": {
            "kind": "Pod", "namespace": pod.meta.key.namespace, "name": pod.meta.key.name, "uid": pod.meta.uid,
        },
    });
    if let Some(hostname) = members::hostname(service, pod) {
        address["hostname"] = json!(hostname);
    }
    if let Some(node) = &pod.node {
        address["nodeName"] = json!(node);
    }
    address
}

fn object(service: &Service, (subsets, truncated): &(Vec<Subset>, bool)) -> Value {
    let mut labels: BTreeMap<&str, &str> = service
        .meta
        .labels
        .iter()
        .filter(|(name, _)| !reserved(name))
        .map(|(name, value)| (&**name, &**value))
        .collect();
    labels.insert(MANAGED_BY, MANAGER);
    if service.headless {
        labels.insert(HEADLESS, "");
    }
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": { "name": service.meta.key.name, "namespace": service.meta.key.namespace, "labels": labels },
    });
    if *truncated {
        object["metadata"]["annotations"] = json!({ OVER_CAPACITY: "truncated" });
    }
    let list: Vec<Value> = subsets.iter().map(|(ports, addresses)| subset(ports, addresses)).collect();
    if !list.is_empty() {
        object["subsets"] = Value::Array(list);
    }
    object
}

fn subset(ports: &[SlicePort], addresses: &[Address]) -> Value {
    let mut subset = json!({});
    for (field, ready) in [("addresses", true), ("notReadyAddresses", false)] {
        let list: Vec<&Value> =
            addresses.iter().filter(|address| address.ready == ready).map(|address| &address.json).collect();
        if !list.is_empty() {
            subset[field] = json!(list);
        }
    }
    if !ports.is_empty() {
        subset["ports"] = ports.iter().map(port).collect();
    }
    subset
}

fn port(port: &SlicePort) -> Value {
    let mut object = json!({ "protocol": super::slice::protocol(port.protocol), "port": port.port });
    // Unlike in EndpointSlices, an empty name is left out here.
    if !port.name.is_empty() {
        object["name"] = json!(port.name);
    }
    if let Some(application) = &port.app_protocol {
        object["appProtocol"] = json!(application);
    }
    object
}
