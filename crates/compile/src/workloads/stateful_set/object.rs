//! Turns a StatefulSet as JSON into what decisions read, and its status back into JSON.

use std::collections::BTreeMap;

use api::kinds::STATEFUL_SET;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Selector;
use super::super::objects::{Meta, RawMeta};
use crate::write::Target;

/// A StatefulSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatefulSet {
    /// Metadata.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec`.
    pub spec: Spec,
    /// Status as stored.
    pub status: Status,
}

/// `spec` of a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Wanted pods; one when it is not said.
    pub replicas: Option<i64>,
    /// Selector.
    pub selector: Selector,
    /// Template of the pods.
    pub template: Value,
    /// Service that gives the pods their names.
    pub service_name: Box<str>,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: Box<str>,
    /// How pods are replaced.
    pub update_strategy: UpdateStrategy,
    /// Old revisions to keep.
    pub revision_history_limit: Option<i64>,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// Numbers of the pods.
    pub ordinals: Ordinals,
    /// Volumes that every pod has for itself.
    pub volume_claim_templates: Vec<Claim>,
}

/// How pods are replaced.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: Box<str>,
    /// Limits of a rolling update.
    pub rolling_update: Option<Rolling>,
}

/// Limits of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rolling {
    /// Pods with a lower number keep the old template.
    pub partition: i64,
    /// How many pods may be unavailable: number or percentage; one when it is not said.
    pub max_unavailable: Option<Value>,
}

/// Numbers of the pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// Number of the first pod.
    pub start: i64,
}

/// A volume claim, of which only the name matters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Metadata.
    pub metadata: ClaimMeta,
}

/// Metadata of a volume claim.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClaimMeta {
    /// Name of the volume.
    pub name: Box<str>,
}

/// Status of a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Generation this status is about.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Pods ready for long enough.
    pub available_replicas: i64,
    /// Pods of `current_revision`.
    pub current_replicas: i64,
    /// Pods of `update_revision`.
    pub updated_replicas: i64,
    /// Revision before the present rollout.
    pub current_revision: String,
    /// Revision of the present template.
    pub update_revision: String,
    /// How often a name derived from the template was taken.
    pub collision_count: Option<i64>,
    /// Conditions, kept as they are.
    pub conditions: Vec<Value>,
}

impl StatefulSet {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        let (meta, annotations) = (raw.metadata.meta, raw.metadata.annotations);
        Ok(Self { meta, annotations, spec: raw.spec, status: raw.status })
    }

    /// This StatefulSet as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&STATEFUL_SET)
    }

    /// Wanted pods.
    pub fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1).max(0)
    }

    /// Name of the pod with a number.
    pub fn pod_name(&self, ordinal: i64) -> String {
        format!("{}-{ordinal}", self.meta.name)
    }

    /// Number of the pod with a name; none if no pod of this set is called so.
    pub fn ordinal(&self, name: &str) -> Option<i64> {
        let digits = name.strip_prefix(&*self.meta.name)?.strip_prefix('-')?;
        let plain = digits == "0" || !digits.starts_with('0');
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()) && plain;
        if number { digits.parse().ok() } else { None }
    }

    pub(super) fn one_by_one(&self) -> bool {
        &*self.spec.pod_management_policy != "Parallel"
    }

    pub(super) fn rolling(&self) -> bool {
        &*self.spec.update_strategy.r#type != "OnDelete"
    }

    pub(super) fn partition(&self) -> i64 {
        self.spec.update_strategy.rolling_update.as_ref().map_or(0, |rolling| rolling.partition)
    }
}

impl Status {
    /// As Kubernetes prints it: zero counts are left out, except `replicas` and `availableReplicas`.
    pub(super) fn json(&self) -> Value {
        let mut json = json!({ "replicas": self.replicas, "availableReplicas": self.available_replicas });
        let counts = [
            ("observedGeneration", self.observed_generation),
            ("readyReplicas", self.ready_replicas),
            ("currentReplicas", self.current_replicas),
            ("updatedReplicas", self.updated_replicas),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            json[name] = json!(count);
        }
        for (name, text) in [("currentRevision", &self.current_revision), ("updateRevision", &self.update_revision)] {
            if !text.is_empty() {
                json[name] = json!(text);
            }
        }
        json["collisionCount"] = json!(self.collision_count.unwrap_or(0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        let set = StatefulSet { meta: Meta { name: "web".into(), ..Meta::default() }, ..StatefulSet::default() };
        assert_eq!((set.pod_name(7), set.ordinal("web-7")), ("web-7".to_owned(), Some(7)));
        assert_eq!(set.ordinal("web-0"), Some(0));
        for other in ["web", "web-", "web-x", "web--1", "web-01", "webs-1", "web-1-2", "web-99999999999999999999", "we"]
        {
            assert_eq!(set.ordinal(other), None, "{other}");
        }
    }
}
