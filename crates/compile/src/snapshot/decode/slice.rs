//! An EndpointSlice as JSON in, our own out.

use api::object::{ObjectKey, Revision};
use serde::Deserialize;

use super::{Decoded, RawMeta, Text, meta, parse, protocol};
use crate::balance;
use crate::snapshot::{Endpoint, EndpointSlice, Family, SlicePort};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSlice<'a> {
    #[serde(borrow)]
    metadata: RawMeta<'a>,
    #[serde(borrow)]
    address_type: Text<'a>,
    #[serde(default)]
    ports: Option<Vec<RawSlicePort>>,
    #[serde(borrow, default)]
    endpoints: Option<Vec<RawEndpoint<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSlicePort {
    name: Option<Box<str>>,
    protocol: Option<Box<str>>,
    port: Option<u16>,
    app_protocol: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint<'a> {
    #[serde(borrow)]
    addresses: Vec<Text<'a>>,
    #[serde(default)]
    conditions: RawConditions,
    hostname: Option<Box<str>>,
    node_name: Option<Box<str>>,
    zone: Option<Box<str>>,
    target_ref: Option<RawReference>,
    #[serde(default)]
    hints: Option<RawHints>,
}

#[derive(Default, Deserialize)]
struct RawConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct RawReference {
    kind: Option<Box<str>>,
    name: Option<Box<str>>,
    uid: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHints {
    #[serde(default)]
    for_zones: Vec<RawName>,
    #[serde(default)]
    for_nodes: Vec<RawName>,
}

#[derive(Deserialize)]
struct RawName {
    name: Box<str>,
}

pub(in crate::snapshot) fn slice(key: &ObjectKey, revision: Revision, json: &[u8]) -> Decoded<EndpointSlice> {
    let raw: RawSlice<'_> = parse(json)?;
    let family = match &*raw.address_type {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => return Err(format!("addressType: {other:?} is not IPv4, IPv6 or FQDN")),
    };
    let ports = raw.ports.unwrap_or_default().into_iter().map(slice_port).collect::<Decoded<_>>()?;
    let given = raw.endpoints.filter(|_| family.is_some()).unwrap_or_default();
    // No room to spare: there may be a million of them.
    let mut endpoints = Vec::with_capacity(given.len());
    for (index, endpoint) in given.into_iter().enumerate() {
        endpoints.extend(self::endpoint(index, endpoint)?);
    }
    let text = raw.metadata.annotations.get(balance::WEIGHTS).map_or("", |text| text);
    let (weights, unread) = balance::weights(text);
    if !weights.is_empty() {
        endpoints.iter_mut().for_each(|endpoint| endpoint.weight = weights.get(&endpoint.address).copied());
    }
    let weights_unread = (!unread.is_empty()).then(|| unread.join(",").into());
    let owner = raw.metadata.owner_references.iter().find(|owner| owner.controller && &*owner.kind == "Service");
    Ok(EndpointSlice {
        family,
        ports,
        endpoints,
        owner_uid: owner.map(|owner| owner.uid.clone()),
        weights_unread,
        trigger_time: raw.metadata.annotations.get("endpoints.kubernetes.io/last-change-trigger-time").cloned(),
        meta: meta(key, revision, raw.metadata),
    })
}

fn slice_port(raw: RawSlicePort) -> Decoded<SlicePort> {
    Ok(SlicePort {
        protocol: protocol("ports[].protocol", raw.protocol.as_deref())?,
        name: raw.name.unwrap_or_default(),
        port: raw.port.filter(|port| *port != 0),
        app_protocol: raw.app_protocol,
    })
}

fn endpoint(index: usize, raw: RawEndpoint<'_>) -> Decoded<Option<Endpoint>> {
    let Some(address) = raw.addresses.first() else { return Ok(None) };
    let address =
        address.parse().map_err(|_| format!("endpoints[{index}].addresses[0]: {address:?} is not an address"))?;
    let ready = raw.conditions.ready.unwrap_or(true);
    let pod = raw.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
    let (pod, pod_uid) = pod.map_or((None, None), |pod| (pod.name, pod.uid));
    let hints = raw.hints.unwrap_or_default();
    let names = |names: Vec<RawName>| names.into_iter().map(|name| name.name).collect();
    Ok(Some(Endpoint {
        address,
        ready,
        serving: raw.conditions.serving.unwrap_or(true),
        terminating: raw.conditions.terminating.unwrap_or(false),
        node: raw.node_name,
        zone: raw.zone,
        hostname: raw.hostname,
        pod,
        pod_uid,
        hint_zones: names(hints.for_zones),
        hint_nodes: names(hints.for_nodes),
        weight: None,
    }))
}
