//! Who knows what is wrong: snapshots and observations in, warnings for writers, cells for columns, Events, answers to
//! `mainstay explain` and `mainstay doctor` out. What is wrong is decided in [`compile::diagnose`] alone.

mod answer;
mod gather;
mod names;
mod told;
mod tried;
mod watch;
mod when;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use apiserver::Api;
use async_trait::async_trait;
use compile::diagnose::{self, Case, Config, Facts, Finding, Index};
use compile::snapshot::{Builder, Service, Snapshot};
use contract::advice::{Advice, Written};
use contract::applied::Applied;
use contract::streams::PodStreams;
use controller::Feed;
use pods::holder::message::Abilities;
use serde_json::Value;
use tokio::sync::watch as channel;

use crate::config::Network;

/// How long a client waits for its own write to be seen here, before what is known is told.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pods of one Service that are looked at when somebody asks.
const PODS: usize = 16;
/// Pods of one Service that are looked at while a client waits, and in the background.
const PODS_AT_WRITE: usize = 4;

/// Looks names up as the name server answers them.
pub(crate) type Lookup = Box<dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync>;

/// Everything that is known, for those who ask.
pub(crate) struct Advisor {
    config: Config,
    api: Api,
    streams: Arc<dyn PodStreams>,
    abilities: Abilities,
    applied: Applied,
    lookup: Lookup,
    state: Mutex<State>,
    /// Revisions up to which snapshots and workloads were taken in.
    seen: channel::Sender<Seen>,
    recorder: when::Recorder,
    due: Mutex<watch::Due>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    snapshot: Revision,
    workloads: Revision,
}

/// What changes with every snapshot.
#[derive(Default)]
struct State {
    index: Index,
    snapshot: Arc<Snapshot>,
    /// The word for the column PROBLEM, of Services that have one.
    words: BTreeMap<ObjectKey, &'static str>,
    /// What was observed of Services that have a problem which only observation shows.
    observed: BTreeMap<ObjectKey, Facts>,
}

/// What is known of pods.
pub(crate) struct Pods {
    /// Logs and commands.
    pub(crate) streams: Arc<dyn PodStreams>,
    /// What the holder can give to them.
    pub(crate) abilities: Abilities,
}

/// Kinds that have a pod spec.
const WITH_PODS: [&str; 8] =
    ["Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"];

/// Starts to watch; the API asks from now on.
pub(crate) fn start(
    network: &Network,
    domain: &str,
    api: &Api,
    pods: Pods,
    applied: &Applied,
    feed: &Feed,
    lookup: Lookup,
) -> Arc<Advisor> {
    let advisor = Arc::new(Advisor {
        config: Config {
            domain: domain.into(),
            service_cidrs: network.service_cidrs.clone(),
            pools: network.pools.clone(),
        },
        api: api.clone(),
        streams: pods.streams,
        abilities: pods.abilities,
        applied: applied.clone(),
        lookup,
        state: Mutex::default(),
        seen: channel::Sender::new(Seen::default()),
        recorder: when::Recorder::default(),
        due: Mutex::default(),
    });
    watch::start(&advisor, feed);
    when::start(&advisor, applied);
    api.set_advice(Arc::new(Asked(advisor.clone())));
    advisor
}

/// The advisor as the API server meets it.
struct Asked(Arc<Advisor>);

#[async_trait]
impl Advice for Asked {
    async fn warnings(&self, kind: &'static Kind, written: &Written<'_>) -> Vec<String> {
        let advisor = &self.0;
        if WITH_PODS.contains(&kind.kind) {
            return pods::enforced::object(written.object, &advisor.abilities);
        }
        let Some(plural) = [&kinds::SERVICE, &kinds::ENDPOINT_SLICE, &kinds::ENDPOINTS]
            .into_iter()
            .find(|known| known.kind == kind.kind)
        else {
            return Vec::new();
        };
        if plural.kind == kinds::SERVICE.kind && !written.dry_run && is_new(written) {
            advisor.recorder.written(&key_of(written.object), written.revision, written.began);
        }
        // What is right may be said at once; before something is called wrong, everything before it must have been seen.
        if advisor.judged(plural.plural, written.object).is_empty() {
            return Vec::new();
        }
        advisor.reach(written.revision).await;
        advisor.judged(plural.plural, written.object)
    }

    fn cells(&self, kind: &'static Kind, object: &Value) -> Vec<(&'static str, Value)> {
        if kind.kind == kinds::SERVICE.kind { self.0.cells(object) } else { Vec::new() }
    }
}

/// Whether the write made the object. Times of objects are whole seconds.
fn is_new(written: &Written<'_>) -> bool {
    let waited = i64::try_from(written.began.elapsed().as_secs()).unwrap_or(0);
    let arrived = jiff::Timestamp::now().as_second() - waited - 1;
    let created = written.object["metadata"]["creationTimestamp"].as_str();
    created.and_then(|text| text.parse::<jiff::Timestamp>().ok()).is_some_and(|time| time.as_second() >= arrived)
}

fn key_of(object: &Value) -> ObjectKey {
    let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    ObjectKey::new(meta("namespace"), meta("name"))
}

impl Advisor {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Waits until everything up to a revision was taken in, but not long.
    async fn reach(&self, revision: Revision) {
        let mut seen = self.seen.subscribe();
        let there = |seen: &Seen| seen.snapshot >= revision && seen.workloads >= revision;
        // The sender lives in `self`; what is known after a time-out is what is told.
        let _ = tokio::time::timeout(PATIENCE, seen.wait_for(there)).await;
    }

    /// The newest snapshot as it would be with an object in it.
    fn with(&self, plural: &str, object: &Value) -> Option<(Arc<Snapshot>, ObjectKey)> {
        let key = key_of(object);
        let mut builder = Builder::over(&self.state().snapshot.clone());
        builder.put(plural, &key, Revision(u64::MAX), object.to_string().as_bytes()).ok()?;
        let revision = self.state().snapshot.revision;
        Some((builder.publish(revision).0, key))
    }

    fn judged(&self, plural: &str, object: &Value) -> Vec<String> {
        match plural {
            "services" => self.of_service(object),
            "endpointslices" => self.of_slice(object),
            _ => self.of_endpoints(object),
        }
    }

    fn of_service(&self, object: &Value) -> Vec<String> {
        let Some((snapshot, key)) = self.with("services", object) else { return Vec::new() };
        let Some(service) = snapshot.services.get(&key) else { return Vec::new() };
        let facts = self.gather(&snapshot, service, gather::Depth::Write);
        diagnose::warnings(&self.diagnose(&snapshot, service, &facts))
    }

    fn of_slice(&self, object: &Value) -> Vec<String> {
        let Some((snapshot, key)) = self.with("endpointslices", object) else { return Vec::new() };
        let Some(slice) = snapshot.slices.get(&key) else { return Vec::new() };
        let findings = diagnose::slice_findings(&self.config, &snapshot, &self.state().index, slice);
        diagnose::warnings(&findings)
    }

    fn of_endpoints(&self, object: &Value) -> Vec<String> {
        let snapshot = self.state().snapshot.clone();
        let findings =
            diagnose::endpoints_findings(&self.config, &snapshot, &self.state().index, &key_of(object), object);
        diagnose::warnings(&findings)
    }

    fn diagnose(&self, snapshot: &Snapshot, service: &Service, facts: &Facts) -> Vec<Finding> {
        diagnose::diagnose(&Case { config: &self.config, snapshot, index: &self.state().index, facts, service })
    }

    fn cells(&self, object: &Value) -> Vec<(&'static str, Value)> {
        let key = key_of(object);
        let version: u64 =
            object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let (snapshot, word) = {
            let state = self.state();
            (state.snapshot.clone(), state.words.get(&key).copied())
        };
        let known = snapshot.services.get(&key).is_some_and(|service| service.meta.revision.0 >= version);
        let word = if known { word } else { self.word_of(object) };
        let endpoints = if object["spec"]["type"] == "ExternalName" {
            "<none>".to_owned()
        } else {
            let (ready, all, _) = diagnose::endpoint_count(&snapshot, &key);
            format!("{ready}/{all}")
        };
        vec![("Endpoints", endpoints.into()), ("Problem", word.unwrap_or("<none>").into())]
    }

    /// The word for a Service that the snapshot does not have yet.
    fn word_of(&self, object: &Value) -> Option<&'static str> {
        let (snapshot, key) = self.with("services", object)?;
        let service = snapshot.services.get(&key)?;
        diagnose::word(&self.diagnose(&snapshot, service, &Facts { brief: true, ..Facts::default() }))
    }
}

/// Since when, in milliseconds with one decimal place.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    let micros = to.saturating_duration_since(from).as_micros();
    (micros as f64 / 100.0).round() / 10.0
}
