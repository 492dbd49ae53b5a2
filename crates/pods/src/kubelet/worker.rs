//! One Pod: its object, ends of its containers and probe verdicts in; containers started and the status written out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::POD;
use api::object::ObjectKey;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Node;
use super::container::{Ended, Slot, State};
use super::events::Recorder;
use super::probe::{Verdict, Which};
use super::status;
use crate::holder::message::ContainerRecord;

/// Verdicts that wait to be handled.
const VERDICTS: usize = 16;
/// How often a conflicting status write is tried again.
const WRITES: usize = 8;
/// When a status that could not be written is tried again.
const WRITE_RETRY_MS: i64 = 1000;
/// How long a failed set-up waits.
const RETRY: Duration = Duration::from_secs(5);

/// Runs one Pod to its end.
pub(super) struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) pod: Arc<Pod>,
    pub(super) pods: watch::Receiver<Option<Arc<Pod>>>,
    pub(super) addresses: Vec<IpAddr>,
    /// How many holders had ended when the Pod's network was set up.
    pub(super) set_up_at: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) events: Recorder,
    pub(super) verdicts: mpsc::Sender<Verdict>,
    pub(super) incoming: mpsc::Receiver<Verdict>,
    pub(super) probes: std::collections::BTreeMap<String, (JoinSet<()>, watch::Sender<bool>)>,
    pub(super) finished: bool,
}

/// Namespace and name.
pub(super) fn key_of(pod: &Pod) -> ObjectKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectKey::new(text(&pod.metadata.namespace), text(&pod.metadata.name))
}

/// Addresses that the status holds.
pub(super) fn addresses_of(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    ips.filter_map(|ip| ip.ip.parse().ok()).collect()
}

/// Whether every container has ended for good.
pub(super) fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn slots_of(pod: &Pod) -> Vec<Slot> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| Slot::new(container.clone(), true));
    let main = spec.containers.iter().map(|container| Slot::new(container.clone(), false));
    let mut slots: Vec<_> = init.chain(main).collect();
    for slot in &mut slots {
        slot.restore(pod);
    }
    slots
}

pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Worker {
    pub(super) fn new(node: Arc<Node>, pod: Arc<Pod>, pods: watch::Receiver<Option<Arc<Pod>>>) -> Self {
        let (verdicts, incoming) = mpsc::channel(VERDICTS);
        Self {
            key: key_of(&pod),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            events: Recorder::new(node.access.clone(), &node.config.node_name),
            slots: slots_of(&pod),
            addresses: Vec::new(),
            set_up_at: 0,
            probes: std::collections::BTreeMap::new(),
            finished: false,
            verdicts,
            incoming,
            node,
            pod,
            pods,
        }
    }

    /// Runs the Pod until it is gone from the API.
    pub(super) async fn run(mut self) {
        if !self.current() {
            return self.clean_up().await;
        }
        let mut records = self.node.records.clone();
        self.adopt();
        let done = finished(&self.pod);
        while !done && self.addresses.is_empty() && self.pod.metadata.deletion_timestamp.is_none() {
            match self.set_up().await {
                Ok(()) => break,
                Err(why) => self.event("Warning", None, "FailedCreatePodSandBox", &why).await,
            }
            let _ = tokio::time::timeout(RETRY, self.pods.changed()).await;
            if !self.current() {
                return self.clean_up().await;
            }
        }
        loop {
            if !self.current() {
                return self.clean_up().await;
            }
            if self.pod.metadata.deletion_timestamp.is_some() {
                return self.terminate().await;
            }
            records.borrow_and_update();
            let mut next = if done { None } else { self.act().await };
            if !done && !self.publish().await {
                next = Some(now_ms() + WRITE_RETRY_MS);
            }
            let pause = next.map_or(Duration::from_secs(3600), |at_ms| {
                Duration::from_millis(u64::try_from(at_ms - now_ms()).unwrap_or(0).saturating_add(1))
            });
            tokio::select! {
                changed = self.pods.changed() => if changed.is_err() { return },
                _ = records.changed() => {}
                Some(verdict) = self.incoming.recv() => self.verdict(verdict).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes the newest object; false once it is gone.
    pub(super) fn current(&mut self) -> bool {
        match self.pods.borrow_and_update().clone() {
            Some(pod) => {
                self.pod = pod;
                true
            }
            None => false,
        }
    }

    pub(super) fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.node.directory.join(&self.uid)
    }

    pub(super) fn restart_policy(&self) -> String {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.clone()).unwrap_or_else(|| "Always".to_owned())
    }

    pub(super) async fn event(&mut self, kind: &str, container: Option<&str>, reason: &str, message: &str) {
        self.events.record(&self.pod, kind, container, reason, message).await;
    }

    /// Matches what the status said with what the holder has: a container that it no longer knows died with its sandbox.
    fn adopt(&mut self) {
        let records = self.node.records.borrow().clone();
        let policy = self.restart_policy();
        for slot in &mut self.slots {
            let known = records.get(&(self.uid.clone(), slot.spec.name.clone()));
            // One that the status calls waiting was started and perhaps ended after the status was last written.
            let waiting = matches!(slot.state, State::Waiting { .. });
            let newer = |record: &&ContainerRecord| {
                record.ended.is_none() || record.attempt > slot.attempt || (record.attempt == slot.attempt && waiting)
            };
            if let Some(record) = known.filter(newer) {
                slot.found_running(record.attempt, record.started_ms);
            } else if let State::Running { since_ms } = slot.state
                && known.is_none()
            {
                let ended = Ended {
                    code: 137,
                    reason: "ContainerStatusUnknown".to_owned(),
                    message: "the container ended together with its sandbox".to_owned(),
                    started_ms: since_ms,
                    ended_ms: now_ms(),
                    attempt: slot.attempt,
                };
                slot.end(ended, &policy);
            }
        }
    }

    /// Notes ends, starts what is due; when to look again.
    async fn act(&mut self) -> Option<i64> {
        self.note_ends().await;
        let policy = self.restart_policy();
        let mut next: Option<i64> = None;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            match &slot.state {
                State::Waiting { until_ms, .. } if *until_ms <= now_ms() => self.start(index).await,
                State::Ended(_) if slot.init && !slot.succeeded() && policy == "Never" => return None,
                _ => {}
            }
            let slot = &self.slots[index];
            if let State::Waiting { until_ms, .. } = slot.state {
                next = Some(next.map_or(until_ms, |next| next.min(until_ms)));
            }
            self.probe(index);
            let slot = &self.slots[index];
            if slot.init && !(slot.succeeded() || (slot.sidecar() && slot.started)) {
                // The next ones wait for this init container.
                break;
            }
        }
        next
    }

    /// Takes over ends that the holder reports.
    pub(super) async fn note_ends(&mut self) {
        let records = self.node.records.borrow().clone();
        let policy =
            if self.pod.metadata.deletion_timestamp.is_some() { "Never".to_owned() } else { self.restart_policy() };
        let mut backing_off = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.running()) {
            let key = (self.uid.clone(), slot.spec.name.clone());
            let Some(record) = records.get(&key).filter(|record| record.attempt == slot.attempt) else { continue };
            let Some(end) = record.ended else { continue };
            self.probes.remove(&slot.spec.name);
            let ended = Ended::of(end, record.started_ms, slot.attempt);
            slot.end(ended, &policy);
            if matches!(slot.state, State::Waiting { reason: "CrashLoopBackOff", .. }) {
                backing_off.push(slot.spec.name.clone());
            }
        }
        for name in backing_off {
            let message = format!(
                "Back-off restarting failed container {name} in pod {}_{}({})",
                self.key.name, self.key.namespace, self.uid
            );
            self.event("Warning", Some(&name), "BackOff", &message).await;
        }
    }

    /// Handles a probe's verdict.
    async fn verdict(&mut self, verdict: Verdict) {
        let Some(index) = self.slots.iter().position(|slot| slot.spec.name == verdict.container) else { return };
        if self.slots[index].attempt != verdict.attempt || !self.slots[index].running() {
            return;
        }
        let which = match verdict.which {
            Which::Startup => "Startup",
            Which::Liveness => "Liveness",
            Which::Readiness => "Readiness",
        };
        if let Some(output) = &verdict.failure {
            let message = format!("{which} probe failed: {output}");
            self.event("Warning", Some(&verdict.container), "Unhealthy", &message).await;
        }
        match (verdict.which, verdict.changed) {
            (Which::Readiness, Some(good)) => self.slots[index].ready = good,
            (Which::Startup, Some(true)) => self.note_started(index),
            (Which::Startup | Which::Liveness, Some(false)) => {
                let name = verdict.container.clone();
                let which = which.to_lowercase();
                let message = format!("Container {name} failed {which} probe, will be restarted");
                self.event("Normal", Some(&name), "Killing", &message).await;
                self.kill(index).await;
            }
            _ => {}
        }
    }

    /// A container counts as started: its other probes begin; without a readiness probe it is ready.
    pub(super) fn note_started(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.started = true;
        slot.ready |= slot.spec.readiness_probe.is_none();
        if let Some((_, started)) = self.probes.get(&slot.spec.name) {
            started.send_replace(true);
        }
    }

    /// Writes the status if it changed, over whatever else has changed in the object; false if it has to be tried again.
    pub(super) async fn publish(&mut self) -> bool {
        for _ in 0..WRITES {
            let object = match self.node.access.get(&POD, &self.key).await {
                Ok(object) => object,
                Err(status) => return status.code == 404,
            };
            let Ok(mut json) = serde_json::from_slice::<Value>(&object.json) else { return false };
            if json["metadata"]["uid"] != self.uid.as_str() {
                return true;
            }
            let spec = self.spec();
            let gates = spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone());
            let policy = self.restart_policy();
            let input = status::Input {
                uid: &self.uid,
                slots: &self.slots,
                addresses: &self.addresses,
                node_addresses: &self.node.host_addresses(),
                restart_policy: &policy,
                generation: self.pod.metadata.generation,
                finished: self.finished,
                now_ms: now_ms(),
                readiness_gates: gates.collect(),
            };
            let new = status::status(&input, &json["status"]);
            if new == json["status"] {
                return true;
            }
            json["status"] = new;
            match self.node.access.update_status(&POD, json).await {
                Ok(_) => return true,
                Err(status) if status.code == 409 => {}
                Err(status) => {
                    tracing::warn!(pod = %self.key, %status, "pod status not written");
                    return false;
                }
            }
        }
        false
    }
}
