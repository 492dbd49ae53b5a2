//! A Service in, what is to be observed around it out: its pods as the API shows them, what they listen on, why they are
//! not ready, why a load balancer waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::kinds;
use api::object::ObjectKey;
use compile::diagnose::{self, Facts, Pending, PodFacts, Socket};
use compile::load_balancer::missing;
use compile::snapshot::{Pod, Protocol, Service, ServiceType, Snapshot};
use contract::access::{Access, Scope};
use contract::streams::Listening;
use serde_json::Value;

use super::{Advisor, PODS};

/// Seconds that a pod without readiness probe may take until it listens.
const SETTLES: i64 = 2;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// While a client waits for its write, and in the background.
    Write,
    /// Everything, because somebody asked.
    Explain,
}

impl Advisor {
    /// Observes.
    pub(super) fn gather(&self, snapshot: &Snapshot, service: &Service, depth: Depth) -> Facts {
        let pods = {
            let state = self.state();
            diagnose::selected(snapshot, &state.index, service)
        };
        let mut facts = Facts::default();
        for pod in pods.iter().take(PODS) {
            if let Some(known) = self.pod(pod, depth) {
                facts.pods.insert(pod.meta.key.clone(), known);
            }
        }
        if service.service_type == ServiceType::LoadBalancer && service.load_balancer_ips.is_empty() {
            facts.pending = missing(service, snapshot, &self.pools).map(Pending::from);
        }
        if service.ports.iter().any(|port| port.node_port != 0) {
            facts.node_sockets = self.streams.listening(None).map(sockets);
        }
        if depth == Depth::Explain {
            facts.applied = Some(self.applied.node());
            let key = &service.meta.key;
            facts.answers = (self.lookup)(&format!("{}.{}.svc.{}", key.name, key.namespace, self.config.domain));
        }
        facts
    }

    /// Adds the last words of failed probes; costs one walk through the Events of the namespace.
    pub(super) async fn probe_errors(&self, namespace: &str, facts: &mut Facts) {
        if !facts.pods.values().any(|pod| pod.unready.is_some()) {
            return;
        }
        let scope = Scope { namespace: namespace.to_owned(), fields: "reason=Unhealthy".into(), ..Scope::default() };
        let Ok(events) = self.api.list(&kinds::EVENT, &scope).await else { return };
        let mut last: BTreeMap<String, (String, String)> = BTreeMap::new();
        for event in &events.items {
            let Ok(event) = serde_json::from_slice::<Value>(&event.json) else { continue };
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (pod, when) = (text("/involvedObject/name"), text("/lastTimestamp"));
            if last.get(&pod).is_none_or(|(known, _)| *known <= when) {
                last.insert(pod, (when, text("/message")));
            }
        }
        for (key, known) in facts.pods.iter_mut().filter(|(_, known)| known.unready.is_some()) {
            let Some((_, message)) = last.get(&*key.name) else { continue };
            if let Some(object) = self.object(&kinds::POD, key) {
                known.unready = diagnose::facts::pod(&object, Some(message)).unready;
            }
        }
    }

    /// An object as the API shows it.
    pub(super) fn object(&self, kind: &'static api::kind::Kind, key: &ObjectKey) -> Option<Value> {
        serde_json::from_slice(&self.api.read(kind, key).ok()?.json).ok()
    }

    fn pod(&self, pod: &Arc<Pod>, depth: Depth) -> Option<PodFacts> {
        let object = self.object(&kinds::POD, &pod.meta.key)?;
        let mut facts = diagnose::facts::pod(&object, None);
        if pod.ready && (depth == Depth::Explain || facts.readiness_probe || settled(&object)) {
            facts.listening = self.streams.listening(Some(&pod.meta.key)).map(sockets);
        }
        Some(facts)
    }
}

/// Whether a pod has been ready for a while.
fn settled(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let since = ready.and_then(|ready| ready["lastTransitionTime"].as_str()?.parse::<jiff::Timestamp>().ok());
    since.is_some_and(|since| jiff::Timestamp::now().as_second() - since.as_second() >= SETTLES)
}

pub(super) fn sockets(all: Vec<Listening>) -> Vec<Socket> {
    let socket = |one: Listening| Socket {
        protocol: if one.udp { Protocol::Udp } else { Protocol::Tcp },
        address: one.at.ip(),
        port: one.at.port(),
    };
    all.into_iter().map(socket).collect()
}
