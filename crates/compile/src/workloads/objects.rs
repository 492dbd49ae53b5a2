//! Turns workload objects as JSON into the few fields that decisions read.

use std::collections::BTreeMap;

use api::kind::Kind;
use api::kinds::{DEPLOYMENT, REPLICA_SET};
use api::object::{ObjectKey, Revision};
use serde::Deserialize;
use serde_json::{Value, json};

pub use super::pod::Pod;
use super::selector::Selector;
use crate::snapshot::Labels;
use crate::write::{Note, Target};

/// What every object has, as far as ownership goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: Box<str>,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: Box<str>,
    /// Unique id.
    pub uid: Box<str>,
    /// `resourceVersion`, as text.
    pub resource_version: Box<str>,
    /// Counts changes of the spec.
    pub generation: i64,
    /// When it was created.
    pub creation_timestamp: Box<str>,
    /// When its deletion began.
    pub deletion_timestamp: Option<Box<str>>,
    /// Labels.
    pub labels: Labels,
    /// Owners.
    pub owner_references: Vec<Owner>,
    /// What must be done before it can go.
    pub finalizers: Vec<Box<str>>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// `apiVersion` of the owner.
    pub api_version: Box<str>,
    /// Kind of the owner.
    pub kind: Box<str>,
    /// Name of the owner.
    pub name: Box<str>,
    /// Uid of the owner.
    pub uid: Box<str>,
    /// Whether it is the one managing owner.
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

impl Meta {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }

    /// Revision of the last change.
    pub fn revision(&self) -> Revision {
        Revision(self.resource_version.parse().unwrap_or(0))
    }

    /// Whether deletion has begun.
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The managing owner.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// This object as the target of a write.
    pub fn target(&self, kind: &'static Kind) -> Target {
        Target { kind, key: self.key(), uid: self.uid.clone(), revision: Some(self.revision()) }
    }

    /// A note about this object.
    pub fn note(&self, kind: &'static Kind, reason: &'static str, message: String) -> Note {
        Note { about: self.target(kind), reason, message, warning: false }
    }

    /// The owner reference that makes this object the controller of another.
    pub fn owner_reference(&self, kind: &'static Kind) -> Value {
        json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }
}

/// A condition of a status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason in CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// When it was last looked at with a new result.
    pub last_update_time: String,
    /// When `status` last changed.
    pub last_transition_time: String,
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaSet {
    /// Metadata.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Wanted pods.
    pub replicas: i64,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// Selector.
    pub selector: Selector,
    /// `spec.template`.
    pub template: Value,
    /// Status as stored.
    pub status: ReplicaSetStatus,
}

/// Status of a ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// Pods.
    pub replicas: i64,
    /// Pods that carry all labels of the template.
    pub fully_labeled_replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Pods ready for long enough.
    pub available_replicas: i64,
    /// Generation this status is about.
    pub observed_generation: i64,
}

impl ReplicaSet {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawReplicaSet = serde_json::from_slice(json)?;
        Ok(Self {
            meta: raw.metadata.meta,
            annotations: raw.metadata.annotations,
            replicas: raw.spec.replicas.unwrap_or(1),
            min_ready_seconds: raw.spec.min_ready_seconds,
            selector: raw.spec.selector,
            template: raw.spec.template,
            status: raw.status,
        })
    }

    /// This ReplicaSet as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&REPLICA_SET)
    }
}

/// A Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Metadata.
    pub meta: Meta,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Wanted pods.
    pub replicas: i64,
    /// `spec.selector`, decoded.
    pub selector: Selector,
    /// `spec.selector`, as written.
    pub selector_json: Value,
    /// `spec.template`.
    pub template: Value,
    /// Strategy Recreate instead of RollingUpdate.
    pub recreate: bool,
    /// `maxSurge`: number or percentage.
    pub max_surge: Value,
    /// `maxUnavailable`: number or percentage.
    pub max_unavailable: Value,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: i64,
    /// Old ReplicaSets to keep.
    pub revision_history_limit: i64,
    /// Whether changes of the template wait.
    pub paused: bool,
    /// Seconds without progress after which the rollout counts as failed; none for never.
    pub progress_deadline: Option<i64>,
    /// Status as stored.
    pub status: DeploymentStatus,
}

/// Status of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// Generation this status is about.
    pub observed_generation: i64,
    /// Pods of all ReplicaSets.
    pub replicas: i64,
    /// Pods of the newest template.
    pub updated_replicas: i64,
    /// Ready pods.
    pub ready_replicas: i64,
    /// Pods ready for long enough.
    pub available_replicas: i64,
    /// Pods still missing.
    pub unavailable_replicas: i64,
    /// How often a name derived from the template was taken.
    pub collision_count: Option<i64>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// `progressDeadlineSeconds` of this size means "never", as in Kubernetes.
const NEVER: i64 = 2_147_483_647;

impl Deployment {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: RawDeployment = serde_json::from_slice(json)?;
        let quarter = || json!("25%");
        let rolling = raw.spec.strategy.rolling_update.unwrap_or_default();
        Ok(Self {
            meta: raw.metadata.meta,
            annotations: raw.metadata.annotations,
            replicas: raw.spec.replicas.unwrap_or(1),
            selector: Selector::deserialize(&raw.spec.selector).unwrap_or_default(),
            selector_json: raw.spec.selector,
            template: raw.spec.template,
            recreate: raw.spec.strategy.r#type == "Recreate",
            max_surge: rolling.max_surge.unwrap_or_else(quarter),
            max_unavailable: rolling.max_unavailable.unwrap_or_else(quarter),
            min_ready_seconds: raw.spec.min_ready_seconds,
            revision_history_limit: raw.spec.revision_history_limit.unwrap_or(10),
            paused: raw.spec.paused,
            progress_deadline: raw.spec.progress_deadline_seconds.filter(|seconds| *seconds < NEVER),
            status: raw.status,
        })
    }

    /// This Deployment as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&DEPLOYMENT)
    }
}

/// Metadata with its annotations.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMeta {
    #[serde(flatten)]
    pub(super) meta: Meta,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawReplicaSet {
    metadata: RawMeta,
    spec: RawReplicaSetSpec,
    status: ReplicaSetStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawReplicaSetSpec {
    replicas: Option<i64>,
    min_ready_seconds: i64,
    selector: Selector,
    template: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawDeployment {
    metadata: RawMeta,
    spec: RawDeploymentSpec,
    status: DeploymentStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawDeploymentSpec {
    replicas: Option<i64>,
    selector: Value,
    template: Value,
    strategy: RawStrategy,
    min_ready_seconds: i64,
    revision_history_limit: Option<i64>,
    paused: bool,
    progress_deadline_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStrategy {
    r#type: String,
    rolling_update: Option<RawRolling>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRolling {
    max_surge: Option<Value>,
    max_unavailable: Option<Value>,
}
