//! Everything known about the role in; the bodies that kube-proxy's paths have, and one of our own, out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::object::ObjectKey;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::health::{Health, Node};
use super::metrics::Metrics;
use super::{Latest, Settings};

/// What answers are made of.
pub(crate) struct Standing {
    node: String,
    server: String,
    late: Duration,
    shown: Value,
    latest: Latest,
    metrics: Arc<Metrics>,
    began: Timestamp,
}

/// An answer: status, content type, body.
pub(super) type Answer = (u16, &'static str, String);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Standing {
    pub(super) fn new(settings: &Settings, server: String, metrics: Arc<Metrics>, latest: Latest) -> Self {
        metrics.look_at(latest.clone(), &settings.node);
        let (node, shown) = (settings.node.clone(), settings.shown.clone());
        Self { node, server, late: settings.late, shown, latest, metrics, began: Timestamp::now() }
    }

    /// The paths of `--healthz-bind-address`.
    pub(super) fn health(&self, path: &str) -> Answer {
        let livez = match path {
            "/healthz" => false,
            "/livez" => true,
            _ => return missing("/healthz, /livez"),
        };
        let health = Health::of(&self.metrics.behind(), self.late, Instant::now());
        let node = if livez { None } else { Some(self.node()) };
        let (code, body) = health.answer(node, Timestamp::now(), self.link());
        self.metrics.answered(livez, code);
        (code, JSON, body)
    }

    /// The paths of `--metrics-bind-address`.
    pub(super) fn metrics(&self, path: &str) -> Answer {
        match path {
            "/metrics" => (200, METRICS, self.metrics.text()),
            "/healthz" => (200, TEXT, "ok".to_owned()),
            "/proxyMode" => (200, TEXT, "nftables".to_owned()),
            "/configz" => (200, JSON, json!({ "kubeproxy.config.k8s.io": self.shown }).to_string()),
            "/status" => (200, JSON, format!("{:#}\n", self.status())),
            _ => missing("/metrics, /healthz, /proxyMode, /configz, /status"),
        }
    }

    fn node(&self) -> Node {
        let snapshot = self.latest.borrow();
        match snapshot.nodes.get(&ObjectKey::new("", self.node.as_str())) {
            Some(node) if node.meta.deleting || node.leaving => Node::Leaving,
            Some(_) => Node::Stays,
            None => Node::Unknown,
        }
    }

    /// Whether the API is heard; how old the snapshot may be.
    fn link(&self) -> Value {
        self.metrics.link()
    }

    /// What `mainstay status` says of an instance, of this role.
    pub(crate) fn status(&self) -> Value {
        let snapshot = self.latest.borrow().clone();
        let behind = self.metrics.behind();
        let endpoints: usize = snapshot.slices.values().map(|slice| slice.endpoints.len()).sum();
        json!({
            "node": self.node, "server": self.server, "version": env!("CARGO_PKG_VERSION"), "since": self.began.to_string(),
            "api": self.link(),
            "snapshot": {
                "revision": snapshot.revision.0, "services": snapshot.services.size(),
                "slices": snapshot.slices.size(), "endpoints": endpoints,
            },
            "applied": {
                "revision": self.metrics.applied().0, "at": behind.updated.map(|at| at.to_string()),
                "behindSeconds": behind.since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            },
            "dataplane": self.metrics.totals(), "problems": self.metrics.problems(),
        })
    }
}

fn missing(known: &str) -> Answer {
    (404, TEXT, format!("there is nothing here; there is: {known}\n"))
}
