//! Snapshots and workloads in, the state that answers come from out; a second, slower look at what changed observes pods
//! and tells Events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use compile::diagnose::{self, Facts, Severity, Workload};
use compile::snapshot::{Changes, Service, Snapshot};
use contract::access::{Access, Object};
use controller::{Feed, Follower, follow};
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
/// How long after a look that found something the next one comes.
const AGAIN: Duration = Duration::from_secs(5);
/// Services that one sweep looks at.
const PER_SWEEP: usize = 50;

/// Starts the tasks; they live as long as the runtime.
pub(super) fn start(advisor: &Arc<Advisor>, feed: &Feed) {
    let access: Arc<dyn Access> = Arc::new(advisor.api.clone());
    tokio::spawn(follow(access, &WORKLOADS, Templates { advisor: advisor.clone() }));
    let (advisor, mut subscription) = (advisor.clone(), feed.subscribe());
    tokio::spawn(async move {
        let mut due = BTreeMap::new();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = subscription.next() => {
                    let Some((snapshot, changes)) = next else { return };
                    let touched = advisor.take(&snapshot, &changes);
                    advisor.recorder.slices(&snapshot, &touched);
                    due.extend(touched.into_iter().map(|key| (key, Instant::now() + SETTLED)));
                }
                _ = sweep.tick() => advisor.look(&mut due).await,
            }
        }
    });
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
        let facts = self.state().observed.get(key).cloned().unwrap_or_default();
        self.keep(key, diagnose::word(&self.diagnose(snapshot, service, &facts)));
    }

    fn keep(&self, key: &ObjectKey, word: Option<&'static str>) {
        let mut state = self.state();
        match word {
            Some(word) => state.words.insert(key.clone(), word),
            None => state.words.remove(key),
        };
    }

    /// Looks closely at the Services that are due.
    async fn look(&self, due: &mut BTreeMap<ObjectKey, Instant>) {
        let now = Instant::now();
        let ready: Vec<_> =
            due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).take(PER_SWEEP).collect();
        for key in ready {
            due.remove(&key);
            let snapshot = self.state().snapshot.clone();
            let Some(service) = snapshot.services.get(&key) else {
                continue;
            };
            if self.observe(&snapshot, service).await {
                due.insert(key, Instant::now() + AGAIN);
            }
        }
    }

    /// Observes one Service, keeps its word, tells what came and went; whether something is wrong.
    async fn observe(&self, snapshot: &Snapshot, service: &Service) -> bool {
        let key = &service.meta.key;
        let mut facts = self.gather(snapshot, service, Depth::Write);
        self.probe_errors(&key.namespace, &mut facts).await;
        let findings = self.diagnose(snapshot, service, &facts);
        let wrong: Vec<_> = findings.into_iter().filter(|finding| finding.severity < Severity::Note).collect();
        self.keep(key, diagnose::word(&wrong));
        {
            let mut state = self.state();
            if wrong.is_empty() {
                state.observed.remove(key);
            } else {
                // Only what no object shows is worth keeping.
                let kept = Facts {
                    pods: facts.pods,
                    pending: facts.pending,
                    node_sockets: facts.node_sockets,
                    ..Facts::default()
                };
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
