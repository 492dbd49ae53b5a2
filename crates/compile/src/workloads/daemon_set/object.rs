//! Turns a DaemonSet as JSON into what decisions read, and its status back into JSON.

use std::collections::BTreeMap;

use api::kinds::DAEMON_SET;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Selector;
use super::super::objects::{Meta, RawMeta};
use super::super::template::portion;
use crate::snapshot::Labels;
use crate::write::Target;

/// A DaemonSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonSet {
    /// Metadata.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec`.
    pub spec: Spec,
    /// Node selector of the template.
    pub node_selector: Labels,
    /// Status as stored.
    pub status: Status,
}

/// `spec` of a DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Selector.
    pub selector: Selector,
    /// Template of the pods.
    pub template: Value,
    /// How pods are replaced.
    pub update_strategy: UpdateStrategy,
    /// Old revisions to keep.
    pub revision_history_limit: Option<i64>,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: i64,
}

/// How pods are replaced.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: Box<str>,
    /// Limits of a rolling update.
    pub rolling_update: Rolling,
}

/// Limits of a rolling update: numbers or percentages.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rolling {
    /// How many nodes may be without an available pod.
    pub max_unavailable: Value,
    /// How many nodes may have an old and a new pod.
    pub max_surge: Value,
}

/// Status of a DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Nodes that should run a pod and have one.
    pub current_number_scheduled: i64,
    /// Nodes that have a pod and should not.
    pub number_misscheduled: i64,
    /// Nodes that should run a pod.
    pub desired_number_scheduled: i64,
    /// Nodes with a ready pod.
    pub number_ready: i64,
    /// Generation this status is about.
    pub observed_generation: i64,
    /// Nodes whose pod is of the present template.
    pub updated_number_scheduled: i64,
    /// Nodes whose pod is available.
    pub number_available: i64,
    /// Nodes that lack an available pod.
    pub number_unavailable: i64,
    /// How often a name derived from the template was taken.
    pub collision_count: Option<i64>,
    /// Conditions, kept as they are.
    pub conditions: Vec<Value>,
}

impl DaemonSet {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        let node_selector = Labels::deserialize(&raw.spec.template["spec"]["nodeSelector"]).unwrap_or_default();
        let (meta, annotations) = (raw.metadata.meta, raw.metadata.annotations);
        Ok(Self { meta, annotations, spec: raw.spec, node_selector, status: raw.status })
    }

    /// This DaemonSet as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&DAEMON_SET)
    }

    pub(super) fn rolling(&self) -> bool {
        &*self.spec.update_strategy.r#type != "OnDelete"
    }

    /// How many nodes of `desired` may have two pods.
    pub(super) fn max_surge(&self, desired: i64) -> i64 {
        if self.rolling() { portion(&self.spec.update_strategy.rolling_update.max_surge, desired, true) } else { 0 }
    }

    /// How many nodes of `desired` may be without an available pod. Never both this and the surge are zero.
    pub(super) fn max_unavailable(&self, desired: i64) -> i64 {
        if !self.rolling() {
            return 0;
        }
        let unavailable = portion(&self.spec.update_strategy.rolling_update.max_unavailable, desired, true);
        if unavailable == 0 && self.max_surge(desired) == 0 && desired > 0 { 1 } else { unavailable }
    }
}

impl Status {
    /// As Kubernetes prints it: some counts are left out when they are zero.
    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "currentNumberScheduled": self.current_number_scheduled, "numberMisscheduled": self.number_misscheduled,
            "desiredNumberScheduled": self.desired_number_scheduled, "numberReady": self.number_ready,
        });
        let counts = [
            ("observedGeneration", self.observed_generation),
            ("updatedNumberScheduled", self.updated_number_scheduled),
            ("numberAvailable", self.number_available),
            ("numberUnavailable", self.number_unavailable),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            json[name] = json!(count);
        }
        if let Some(count) = self.collision_count {
            json["collisionCount"] = json!(count);
        }
        if !self.conditions.is_empty() {
            json["conditions"] = json!(self.conditions);
        }
        json
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: RawMeta,
    spec: Spec,
    status: Status,
}
