//! Events about Pods: what happened in, Event objects (repeated ones counted) out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::kinds::EVENT;
use contract::access::Access;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::container::time;

/// Most different Events that one pod's recorder remembers for counting.
const REMEMBERED: usize = 64;

/// Records Events of one Pod.
pub(super) struct Recorder {
    access: Arc<dyn Access>,
    node: String,
    seen: BTreeMap<(String, String), Value>,
}

impl Recorder {
    pub(super) fn new(access: Arc<dyn Access>, node: &str) -> Self {
        Self { access, node: node.to_owned(), seen: BTreeMap::new() }
    }

    /// Records one Event. A failure to write it is logged only: nothing depends on Events.
    pub(super) async fn record(&mut self, pod: &Pod, kind: &str, container: Option<&str>, reason: &str, message: &str) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let now = time(now_ms);
        let key = (reason.to_owned(), message.to_owned());
        let event = match self.seen.get(&key) {
            Some(known) => {
                let mut event = known.clone();
                event["count"] = (known["count"].as_i64().unwrap_or(1) + 1).into();
                event["lastTimestamp"] = now.into();
                event
            }
            None => self.new_event(pod, kind, container, reason, message, &now),
        };
        if self.seen.len() >= REMEMBERED {
            self.seen.pop_first();
        }
        self.seen.insert(key, event.clone());
        // Events may be replaced without having been created: a PUT creates them (and counts up after an expiry).
        if let Err(status) = self.access.update(&EVENT, event).await {
            tracing::debug!(%status, reason, "event not written");
        }
    }

    fn new_event(
        &self,
        pod: &Pod,
        kind: &str,
        container: Option<&str>,
        reason: &str,
        message: &str,
        now: &str,
    ) -> Value {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let mut involved = json!({
            "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": pod.metadata.namespace,
            "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version,
        });
        if let Some(container) = container {
            involved["fieldPath"] = format!("spec.containers{{{container}}}").into();
        }
        let unique = jiff::Timestamp::now().as_nanosecond();
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": format!("{name}.{unique:x}"), "namespace": pod.metadata.namespace },
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "source": { "component": "kubelet", "host": self.node },
            "reportingComponent": "kubelet", "reportingInstance": self.node,
        })
    }
}
