//! Turns a Job as JSON into what decisions read, and its status back into JSON.

use std::collections::BTreeSet;

use api::kinds::JOB;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::objects::{Meta, RawMeta};
use super::super::{Now, Selector, time};
use crate::write::Target;

/// A Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Raw")]
pub struct Job {
    /// Metadata.
    pub meta: Meta,
    /// `spec`.
    pub spec: Spec,
    /// Status as stored.
    pub status: Status,
}

/// `spec` of a Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Most pods at the same time.
    pub parallelism: Option<i64>,
    /// Pods that must succeed; none for a work queue, of which one success is enough.
    pub completions: Option<i64>,
    /// Seconds after which the Job fails.
    pub active_deadline_seconds: Option<i64>,
    /// Failures after which the Job fails.
    pub backoff_limit: Option<i64>,
    /// Seconds after the end at which the Job is deleted.
    pub ttl_seconds_after_finished: Option<i64>,
    /// Whether it waits without pods.
    pub suspend: bool,
    /// `NonIndexed` or `Indexed`.
    pub completion_mode: Box<str>,
    /// `TerminatingOrFailed` or `Failed`: when a pod on its way out is replaced.
    pub pod_replacement_policy: Box<str>,
    /// When fewer successes than `completions` are enough.
    pub success_policy: Option<SuccessPolicy>,
    /// Who runs this Job, if not we.
    pub managed_by: Option<Box<str>>,
    /// Selector.
    pub selector: Selector,
    /// Template of the pods.
    pub template: Value,
}

/// Rules of which one is enough.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    /// The rules.
    pub rules: Vec<SuccessRule>,
}

/// Indexes that must succeed, or how many of them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRule {
    /// These indexes; all when it is not said.
    pub succeeded_indexes: Option<String>,
    /// So many of them; all of them when it is not said.
    pub succeeded_count: Option<i64>,
}

/// Status of a Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// When it was started or resumed.
    pub start_time: Option<String>,
    /// When it was complete.
    pub completion_time: Option<String>,
    /// Pods that run or wait to.
    pub active: i64,
    /// Pods that succeeded and are counted.
    pub succeeded: i64,
    /// Pods that failed and are counted.
    pub failed: i64,
    /// Active pods that are ready.
    pub ready: Option<i64>,
    /// Pods on their way out.
    pub terminating: Option<i64>,
    /// Indexes that succeeded.
    pub completed_indexes: String,
    /// Pods that ended and still carry the finalizer.
    pub uncounted_terminated_pods: Option<Uncounted>,
}

/// Uids of pods that ended and are not in the counters yet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    /// Those that succeeded.
    pub succeeded: BTreeSet<Box<str>>,
    /// Those that failed.
    pub failed: BTreeSet<Box<str>>,
}

/// A condition of a Job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When it was last looked at.
    pub last_probe_time: String,
    /// When `status` last changed.
    pub last_transition_time: String,
    /// Reason in CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl Job {
    /// From JSON as the API shows it.
    pub fn decode(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// This Job as a target of writes.
    pub fn target(&self) -> Target {
        self.meta.target(&JOB)
    }

    pub(super) fn indexed(&self) -> bool {
        &*self.spec.completion_mode == "Indexed"
    }

    /// Whether somebody else runs it.
    pub(super) fn foreign(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|manager| manager != "kubernetes.io/job-controller")
    }

    /// Whether a pod is replaced only after it has ended.
    pub(super) fn replaces_late(&self) -> bool {
        &*self.spec.pod_replacement_policy == "Failed"
    }
}

impl Status {
    /// The condition of a type that is True.
    pub(super) fn condition(&self, r#type: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.r#type == r#type && condition.status == "True")
    }

    /// When the Job ended, in Unix seconds.
    pub(super) fn finished_at(&self) -> Option<i64> {
        let end = self.condition("Complete").or_else(|| self.condition("Failed"))?;
        Some(time::seconds(&end.last_transition_time).unwrap_or(0))
    }

    /// Sets a condition; its time moves when its status changes.
    pub(super) fn put(&mut self, r#type: &str, value: &str, reason: &str, message: &str, now: &Now) {
        let fresh = Condition {
            r#type: r#type.to_owned(),
            status: value.to_owned(),
            last_probe_time: now.text.clone(),
            last_transition_time: now.text.clone(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        match self.conditions.iter_mut().find(|condition| condition.r#type == r#type) {
            Some(condition) if condition.status == value => {}
            Some(condition) => *condition = fresh,
            None => self.conditions.push(fresh),
        }
    }

    /// As Kubernetes prints it.
    pub(super) fn json(&self) -> Value {
        let mut json = json!({ "uncountedTerminatedPods": {} });
        for (name, count) in [("active", self.active), ("succeeded", self.succeeded), ("failed", self.failed)] {
            if count != 0 {
                json[name] = json!(count);
            }
        }
        for (name, count) in [("ready", self.ready), ("terminating", self.terminating)] {
            json[name] = json!(count.unwrap_or(0));
        }
        for (name, time) in [("startTime", &self.start_time), ("completionTime", &self.completion_time)] {
            if let Some(time) = time {
                json[name] = json!(time);
            }
        }
        if !self.completed_indexes.is_empty() {
            json["completedIndexes"] = json!(self.completed_indexes);
        }
        let uncounted = self.uncounted_terminated_pods.iter();
        for (name, uids) in uncounted.flat_map(|it| [("succeeded", &it.succeeded), ("failed", &it.failed)]) {
            if !uids.is_empty() {
                json["uncountedTerminatedPods"][name] = json!(uids);
            }
        }
        let conditions = self.conditions.iter().map(|condition| {
            json!({
                "type": condition.r#type, "status": condition.status, "reason": condition.reason,
                "message": condition.message, "lastProbeTime": condition.last_probe_time,
                "lastTransitionTime": condition.last_transition_time,
            })
        });
        let conditions: Vec<Value> = conditions.collect();
        if !conditions.is_empty() {
            json["conditions"] = json!(conditions);
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

impl From<Raw> for Job {
    fn from(raw: Raw) -> Self {
        Self { meta: raw.metadata.meta, spec: raw.spec, status: raw.status }
    }
}
