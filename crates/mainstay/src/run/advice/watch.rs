//! Snapshots and workloads in, the state that answers come from out; a second, slower look at what changed observes pods
//! and tells Events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, MutexGuard};
use std::time::{Duration, Instant};

use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use compile::diagnose::{self, Facts, Severity, Workload};
use compile::snapshot::{Changes, Service, Snapshot};
use contract::access::{Access, Object};
use controller::{Feed, Follower, Subscription, follow};
use serde_json::Value;

use super::gather::Depth;
use super::{Advisor, told};

/// What makes pods.
static WORKLOADS: LazyLock<Vec<&'static Kind>> = LazyLock::new(|| {
    let makes = ["deployments", "statefulsets", "daemonsets", "replicasets"];
    kinds::ALL.iter().copied().filter(|kind| kind.group == "apps" && makes.contains(&kind.plural)).collect()
});

/// How often Services are looked at again that may have a problem which no object shows.
const SWEEP: Duration = Duration::from_secs(1);
/// How long after a change a Service is looked at closely: a passing state is no news.
const SETTLED: Duration = Duration::from_secs(2);
/// How long after a look that found something the next one comes; twice as long each time.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest such pause.
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Services that one sweep looks at.
const PER_SWEEP: usize = 50;

/// Starts the tasks; they live as long as the runtime.
pub(super) fn start(advisor: &Arc<Advisor>, feed: &Feed) {
    let access: Arc<dyn Access> = Arc::new(advisor.api.clone());
    tokio::spawn(follow(access, &WORKLOADS, Templates { advisor: advisor.clone() }));
    tokio::spawn(take_all(advisor.clone(), feed.subscribe()));
    tokio::spawn(look_again(advisor.clone()));
}

/// Services to look at closely: when, and how long after that once more if something is wrong.
pub(super) type Due = BTreeMap<ObjectKey, (Instant, Duration)>;

async fn take_all(advisor: Arc<Advisor>, mut subscription: Subscription) {
    while let Some((snapshot, changes)) = subscription.next().await {
        let touched = advisor.take(&snapshot, &changes);
        advisor.recorder.slices(&snapshot, &touched);
        let at = Instant::now() + SETTLED;
        advisor.due().extend(touched.into_iter().map(|key| (key, (at, AGAIN))));
    }
}

/// Ends with the runtime only.
async fn look_again(advisor: Arc<Advisor>) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        sweep.tick().await;
        for (key, pause) in advisor.take_due() {
            let snapshot = advisor.state().snapshot.clone();
            let Some(service) = snapshot.services.get(&key).cloned() else { continue };
            if advisor.observe(&snapshot, &service).await {
                // A change that came meanwhile is looked at sooner.
                let next = (Instant::now() + pause, (pause * 2).min(AGAIN_MOST));
                advisor.due().entry(key).or_insert(next);
            }
        }
    }
}

impl Advisor {
    /// Takes a snapshot in; the Services that were judged anew.
    fn take(&self, snapshot: &Arc<Snapshot>, changes: &Changes) -> BTreeSet<ObjectKey> {
        let touched = {
            let mut state = self.state();
            let before = std::mem::replace(&mut state.snapshot, snapshot.clone());
            state.index.update(&before, snapshot, changes)
        };
        for key in &touched {
            self.judge(snapshot, key);
        }
        self.seen.send_modify(|seen| seen.snapshot = seen.snapshot.max(snapshot.revision));
        touched
    }

    /// Keeps the word of one Service. What was observed of it still counts until it is observed again.
    fn judge(&self, snapshot: &Snapshot, key: &ObjectKey) {
        let Some(service) = snapshot.services.get(key) else {
            let mut state = self.state();
            state.words.remove(key);
            state.observed.remove(key);
            return;
        };
        let facts = Facts { brief: true, ..self.state().observed.get(key).cloned().unwrap_or_default() };
        self.keep(key, diagnose::word(&self.diagnose(snapshot, service, &facts)));
    }

    fn keep(&self, key: &ObjectKey, word: Option<&'static str>) {
        let mut state = self.state();
        match word {
            Some(word) => state.words.insert(key.clone(), word),
            None => state.words.remove(key),
        };
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Takes out what is due now, a bounded number.
    fn take_due(&self) -> Vec<(ObjectKey, Duration)> {
        let (mut due, now) = (self.due(), Instant::now());
        let ready = due.iter().filter(|(_, (at, _))| *at <= now).take(PER_SWEEP);
        let ready: Vec<_> = ready.map(|(key, (_, pause))| (key.clone(), *pause)).collect();
        for (key, _) in &ready {
            due.remove(key);
        }
        ready
    }

    /// Observes one Service, keeps its word, tells what came and went; whether something is wrong.
    async fn observe(self: &Arc<Self>, snapshot: &Arc<Snapshot>, service: &Arc<Service>) -> bool {
        let key = &service.meta.key;
        let (own, snapshot_too, service_too) = (self.clone(), snapshot.clone(), service.clone());
        // Looking into network namespaces blocks.
        let looked = tokio::task::spawn_blocking(move || own.gather(&snapshot_too, &service_too, Depth::Write));
        let Ok(mut facts) = looked.await else { return false };
        self.probe_errors(&key.namespace, &mut facts).await;
        let findings = self.diagnose(snapshot, service, &facts);
        let wrong: Vec<_> = findings.into_iter().filter(|finding| finding.severity < Severity::Note).collect();
        let now = self.state().snapshot.services.get(key).map(|now| now.meta.revision);
        if now != Some(service.meta.revision) {
            // Whoever changed it meanwhile made it due again; one that is gone has no state.
            return false;
        }
        self.keep(key, diagnose::word(&wrong));
        {
            let mut state = self.state();
            if wrong.is_empty() {
                state.observed.remove(key);
            } else {
                // Only what no object shows is worth keeping.
                let kept = Facts { pods: facts.pods, node_sockets: facts.node_sockets, ..Facts::default() };
                state.observed.insert(key.clone(), kept);
            }
        }
        told::tell(&self.api, service, &wrong).await;
        !wrong.is_empty()
    }
}

/// Follows what makes pods.
struct Templates {
    advisor: Arc<Advisor>,
}

/// As kubectl abbreviates the kind of a resource.
fn short(plural: &str) -> &'static str {
    match plural {
        "deployments" => "deploy",
        "statefulsets" => "sts",
        "daemonsets" => "ds",
        _ => "rs",
    }
}

impl Templates {
    /// Services without pods may be judged differently when a template comes or goes.
    fn judge_again(&self, namespace: &str) {
        let (snapshot, keys) = {
            let state = self.advisor.state();
            let unmatched =
                state.words.iter().filter(|(key, word)| *key.namespace == *namespace && **word == "SelectorNoMatch");
            let keys: Vec<_> = unmatched.map(|(key, _)| key.clone()).collect();
            (state.snapshot.clone(), keys)
        };
        for key in keys {
            self.advisor.judge(&snapshot, &key);
        }
    }
}

impl Follower for Templates {
    fn put(&mut self, plural: &'static str, object: &Object) {
        let Ok(json) = serde_json::from_slice::<Value>(&object.json) else { return };
        if let Some(workload) = Workload::decode(plural, &object.key, &json) {
            self.advisor.state().index.put_workload(&object.key.namespace, workload);
            self.judge_again(&object.key.namespace);
        }
    }

    fn delete(&mut self, plural: &'static str, key: &ObjectKey) {
        self.advisor.state().index.remove_workload(short(plural), key);
        self.judge_again(&key.namespace);
    }

    fn retain(&mut self, plural: &'static str, listed: &BTreeSet<ObjectKey>) {
        let mut state = self.advisor.state();
        for key in state.index.workload_keys(short(plural)) {
            if !listed.contains(&key) {
                state.index.remove_workload(short(plural), &key);
            }
        }
    }

    fn seen(&mut self, revision: Revision) {
        self.advisor.seen.send_modify(|seen| seen.workloads = seen.workloads.max(revision));
    }
}
