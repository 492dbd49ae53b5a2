//! Turns a Pod as JSON into the few fields that workloads and the scheduler read.

use api::kinds::POD;
use serde::Deserialize;
use serde_json::Value;

use super::objects::{Meta, RawMeta};
use super::{Now, placement};
use crate::snapshot::Labels;
use crate::write::Target;

/// A Pod, as far as workloads and the scheduler care.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Metadata.
    pub meta: Meta,
    /// Node it is bound to.
    pub node: Option<Box<str>>,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// `spec.schedulerName`; empty counts as the default scheduler.
    pub scheduler: Box<str>,
    /// Phase.
    pub phase: Box<str>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Since when it is ready, in Unix seconds.
    pub ready_since: Option<i64>,
    /// Restarts of its containers.
    pub restarts: i64,
    /// Annotation `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i64,
    /// The only node it may run on, as a DaemonSet says it (`matchFields` of the node affinity).
    pub only_node: Option<Box<str>>,
    /// It may run on a node that takes no other new pods.
    pub tolerates_unschedulable: bool,
    /// Annotation `batch.kubernetes.io/job-completion-index`.
    pub completion_index: Option<i64>,
    /// When its last container ended, in Unix seconds.
    pub finished_at: Option<i64>,
}

impl Pod {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawPod = serde_json::from_slice(json)?;
        let ready = raw.status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let is_ready = ready.is_some_and(|condition| condition.status == "True");
        let annotation = |name: &str| raw.metadata.annotations.get(name).and_then(|text| text.parse::<i64>().ok());
        let ends = raw.status.container_statuses.iter().filter_map(|status| status.state.terminated.as_ref());
        Ok(Self {
            only_node: placement::only_node(&raw.spec.affinity),
            tolerates_unschedulable: placement::tolerates_unschedulable(&raw.spec.tolerations),
            completion_index: annotation("batch.kubernetes.io/job-completion-index"),
            finished_at: ends.filter_map(|end| super::time::seconds(&end.finished_at)).max(),
            deletion_cost: annotation("controller.kubernetes.io/pod-deletion-cost").unwrap_or(0),
            node: raw.spec.node_name.filter(|node| !node.is_empty()),
            node_selector: raw.spec.node_selector,
            scheduler: raw.spec.scheduler_name,
            phase: raw.status.phase,
            ready: is_ready,
            ready_since: ready.filter(|_| is_ready).and_then(|ready| super::time::seconds(&ready.last_transition_time)),
            restarts: raw.status.container_statuses.iter().map(|status| status.restart_count).sum(),
            meta: raw.metadata.meta,
        })
    }

    /// Neither finished nor on its way out.
    pub fn active(&self) -> bool {
        !self.meta.deleting() && !self.finished()
    }

    /// Seconds until it counts as available: 0 for now, none when it is not ready.
    pub fn available_in(&self, min_ready_seconds: i64, now: &Now) -> Option<i64> {
        if !self.ready {
            None
        } else if min_ready_seconds <= 0 {
            Some(0)
        } else {
            self.ready_since.map(|since| since.saturating_add(min_ready_seconds).saturating_sub(now.seconds).max(0))
        }
    }

    /// Phase Succeeded or Failed.
    pub fn finished(&self) -> bool {
        matches!(&*self.phase, "Succeeded" | "Failed")
    }

    /// The pod as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&POD)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPod {
    metadata: RawMeta,
    spec: RawPodSpec,
    status: RawPodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    node_name: Option<Box<str>>,
    node_selector: Labels,
    scheduler_name: Box<str>,
    affinity: Value,
    tolerations: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Box<str>,
    conditions: Vec<RawPodCondition>,
    container_statuses: Vec<RawContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodCondition {
    r#type: String,
    status: String,
    last_transition_time: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    restart_count: i64,
    state: RawContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawContainerState {
    terminated: Option<RawTerminated>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawTerminated {
    finished_at: String,
}
