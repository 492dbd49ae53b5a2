//! Objects at the door: JSON as the API shows it in, our own small types out; what nobody reads is dropped here.

use std::borrow::Cow;
use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::{Family, Labels, Meta, Namespace, Network, Node, Protocol};

mod load_balancer;
mod pod;
mod service;
mod slice;

pub(super) use pod::pod;
pub(super) use service::service;
pub(super) use slice::slice;

type Text<'a> = Cow<'a, str>;
type Decoded<T> = Result<T, String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawObject<'a, Spec, Status> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(default)]
    labels: Labels,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Text<'a>>,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    owner_references: Vec<RawOwner>,
    #[serde(default)]
    finalizers: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOwner {
    kind: Box<str>,
    #[serde(default)]
    name: Box<str>,
    uid: Box<str>,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct RawCondition {
    r#type: Box<str>,
    status: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<Box<str>>,
    taints: Vec<RawTaint>,
}

#[derive(Deserialize)]
struct RawTaint {
    key: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeStatus {
    addresses: Vec<RawNodeAddress>,
    conditions: Vec<RawCondition>,
    allocatable: Labels,
}

#[derive(Deserialize)]
struct RawNodeAddress {
    r#type: Box<str>,
    address: Box<str>,
}

/// The taint with which the cluster autoscaler announces that it deletes a node.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

pub(super) fn node(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Node> {
    let raw: RawObject<'_, RawNodeSpec, RawNodeStatus> = parse(json)?;
    let internal = raw.status.addresses.iter().filter(|address| &*address.r#type == "InternalIP");
    let labels = &raw.metadata.labels;
    let roles = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
    let cpu = raw.status.allocatable.get("cpu").and_then(|cpu| api::quantity::nanos(cpu)).unwrap_or(0);
    Ok(Node {
        ready: is_ready(&raw.status.conditions),
        cpu_milli: u64::try_from(cpu / 1_000_000).unwrap_or(0),
        control_plane: roles.iter().any(|role| labels.contains_key(role)),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        zone: raw.metadata.labels.get("topology.kubernetes.io/zone").cloned(),
        pod_cidrs: raw.spec.pod_cidrs.iter().filter_map(|text| text.parse().ok()).collect(),
        leaving: raw.spec.taints.iter().any(|taint| &*taint.key == TO_BE_DELETED),
        meta: meta(key, revision, raw.metadata),
    })
}

/// Whether the condition Ready is True.
fn is_ready(conditions: &[RawCondition]) -> bool {
    conditions.iter().any(|condition| &*condition.r#type == "Ready" && &*condition.status == "True")
}

pub(super) fn namespace(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Namespace> {
    let raw: RawObject<'_, Nothing, Nothing> = parse(json)?;
    Ok(Namespace { meta: meta(key, revision, raw.metadata) })
}

#[derive(Default, Deserialize)]
struct RawNetworkSpec {
    #[serde(default)]
    cidrs: Vec<Box<str>>,
}

pub(super) fn network(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Network> {
    let raw: RawObject<'_, RawNetworkSpec, Nothing> = parse(json)?;
    let cidr = |text: &str| text.parse().map_err(|error| format!("spec.cidrs: {error}"));
    let cidrs = raw.spec.cidrs.iter().map(|text| cidr(text)).collect::<Decoded<_>>()?;
    Ok(Network { cidrs, meta: meta(key, revision, raw.metadata) })
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Decoded<T> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn meta(key: &ObjectKey, revision: Revision, raw: RawMeta<'_>) -> Meta {
    Meta {
        key: key.clone(),
        uid: raw.uid.into(),
        revision,
        labels: raw.labels,
        deleting: raw.deletion_timestamp.is_some(),
    }
}

fn addresses(field: &str, texts: &[Box<str>]) -> Decoded<Vec<IpAddr>> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{field}: {text:?} is not an address"));
    texts.iter().map(|text| parse(text)).collect()
}

fn families(texts: &[Box<str>]) -> Decoded<Vec<Family>> {
    let parse = |text: &str| match text {
        "IPv4" => Ok(Family::V4),
        "IPv6" => Ok(Family::V6),
        other => Err(format!("spec.ipFamilies: {other:?} is not IPv4 or IPv6")),
    };
    texts.iter().map(|text| parse(text)).collect()
}

fn protocol(field: &str, text: Option<&str>) -> Decoded<Protocol> {
    match text {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!("{field}: {other:?} is not TCP, UDP or SCTP")),
    }
}
