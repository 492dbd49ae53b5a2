//! What a Service's JSON says about load balancers in, our own type out.

use serde::Deserialize;

use super::{Labels, protocol};
use crate::load_balancer::{ASKED, FINALIZER, SHARED};
use crate::snapshot::load_balancer::{Ingress, LoadBalancer};

/// Fields of `spec` that only load balancers read.
pub(super) struct RawSpec {
    pub(super) load_balancer_ip: Box<str>,
    pub(super) load_balancer_class: Option<Box<str>>,
    pub(super) every_family: bool,
    pub(super) health_check_node_port: u16,
}

/// An entry of `status.loadBalancer.ingress`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawIngress {
    ip: Option<Box<str>>,
    ip_mode: Option<Box<str>>,
    ports: Vec<RawPort>,
}

#[derive(Deserialize)]
struct RawPort {
    port: i64,
    protocol: Option<Box<str>>,
}

/// Puts it together. `annotations` and `finalizers` are those of the Service.
pub(super) fn load_balancer(
    spec: RawSpec,
    ingress: Vec<RawIngress>,
    annotations: &Labels,
    finalizers: &[Box<str>],
) -> LoadBalancer {
    let listed = annotations.get(ASKED).map_or("", |text| text.trim());
    let (asked_by_annotation, text) =
        (!listed.is_empty(), if listed.is_empty() { &spec.load_balancer_ip } else { listed });
    let asked = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    LoadBalancer {
        class: spec.load_balancer_class,
        asked: asked.map(Into::into).collect(),
        asked_by_annotation,
        share_key: annotations.get(SHARED).filter(|key| !key.is_empty()).cloned(),
        every_family: spec.every_family,
        finalizer: finalizers.iter().any(|finalizer| &**finalizer == FINALIZER),
        health_check_port: spec.health_check_node_port,
        ingress: ingress.into_iter().map(entry).collect(),
    }
}

fn entry(raw: RawIngress) -> Ingress {
    let port = |port: RawPort| Some((protocol("", port.protocol.as_deref()).ok()?, u16::try_from(port.port).ok()?));
    Ingress {
        address: raw.ip.and_then(|text| text.parse().ok()),
        proxy: raw.ip_mode.as_deref() == Some("Proxy"),
        ports: raw.ports.into_iter().filter_map(port).collect(),
    }
}
