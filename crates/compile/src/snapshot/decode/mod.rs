//! Objects at the door: JSON as the API shows it in, our own small types out; what nobody reads is dropped here.

use std::borrow::Cow;
use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::{Family, Labels, Meta, Namespace, Node, Protocol};

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
struct RawNodeStatus {
    addresses: Vec<RawNodeAddress>,
}

#[derive(Deserialize)]
struct RawNodeAddress {
    r#type: Box<str>,
    address: Box<str>,
}

pub(super) fn node(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Node> {
    let raw: RawObject<'_, Nothing, RawNodeStatus> = parse(json)?;
    let internal = raw.status.addresses.iter().filter(|address| &*address.r#type == "InternalIP");
    Ok(Node {
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        zone: raw.metadata.labels.get("topology.kubernetes.io/zone").cloned(),
        meta: meta(key, revision, raw.metadata),
    })
}

pub(super) fn namespace(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<Namespace> {
    let raw: RawObject<'_, Nothing, Nothing> = parse(json)?;
    Ok(Namespace { meta: meta(key, revision, raw.metadata) })
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
