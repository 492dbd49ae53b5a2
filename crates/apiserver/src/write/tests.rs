//! Writes against a still clock and counted ids in, stored objects and refusals out.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ::api::kind::{Kind, Target};
use ::api::kinds::{CONFIG_MAP, ENDPOINTS, NAMESPACE, POD, SERVICE};
use compile::allocate::Ranges;
use contract::access::{Access, DeleteOptions};
use serde_json::{Value, json};
use store::Store;

use super::*;
use crate::clock::{Clock, Ids};
use crate::pipeline::Config;
use crate::write::patch::Language;

mod admission;
mod full_disk;
mod networks;

/// A clock that stands still until told otherwise.
pub(crate) struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// Ids that count, so that every run is the same.
pub(crate) struct Counted(AtomicU64);

impl Ids for Counted {
    fn bits(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

pub(crate) fn config(node_ports: std::ops::RangeInclusive<u16>) -> Config {
    Config {
        clock: Arc::new(Still(AtomicI64::new(1_795_248_000))),
        ids: Arc::new(Counted(AtomicU64::new(1))),
        ..Config::new(Ranges { service: vec!["10.96.0.0/24".parse().unwrap()], node_ports })
    }
}

/// An API over a store in a fresh directory, with the namespace `default`.
pub(crate) async fn fresh() -> (Api, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(Store::open_dir(dir.path()).unwrap(), config(30000..=30001)).unwrap();
    api.create(&NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap();
    (api, dir)
}

fn json_of(object: &Object) -> Value {
    serde_json::from_slice(&object.json).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn service(name: &str, kind: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "type": kind, "selector": { "app": name }, "ports": [{ "port": 80 }] },
    })
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "image": "mainstay/echo" }], "terminationGracePeriodSeconds": 7 },
    })
}

async fn now(api: &Api, kind: &'static Kind, name: &str) -> Value {
    json_of(&api.get(kind, &key(name)).await.unwrap())
}

#[tokio::test]
async fn creating_fills_what_the_server_owns() {
    let (api, _dir) = fresh().await;
    let mut sent = service("ham", "ClusterIP");
    sent["metadata"]["uid"] = "mine".into();
    sent["metadata"]["generation"] = 9.into();
    let made = json_of(&api.create(&SERVICE, sent).await.unwrap());
    assert_ne!(made["metadata"]["uid"], "mine");
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-11-21T08:00:00Z");
    assert!(made["metadata"].get("generation").is_none(), "Services have none");
    assert_eq!(made["metadata"]["resourceVersion"], api.store().revision().to_string());
    assert_eq!(made["status"]["conditions"][0]["lastTransitionTime"], "2026-11-21T08:00:00Z");
    let again = api.create(&SERVICE, service("ham", "ClusterIP")).await.unwrap_err();
    assert_eq!((again.code, again.message.as_str()), (409, "services \"ham\" already exists"));
    let mut versioned = service("eggs", "ClusterIP");
    versioned["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(api.create(&SERVICE, versioned).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn generated_names_differ_and_need_a_base() {
    let (api, _dir) = fresh().await;
    let base = json!({ "metadata": { "generateName": "ham-", "namespace": "default" } });
    let first = api.create(&CONFIG_MAP, base.clone()).await.unwrap().key.name.clone();
    let second = api.create(&CONFIG_MAP, base).await.unwrap().key.name.clone();
    assert!(first.starts_with("ham-") && first.len() == 9 && first != second, "{first} {second}");
    let none = api.create(&CONFIG_MAP, json!({ "metadata": { "namespace": "default" } })).await.unwrap_err();
    assert_eq!(
        none.message,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
}

#[tokio::test]
async fn an_update_checks_versions_and_a_no_op_writes_nothing() {
    let (api, _dir) = fresh().await;
    let made = json_of(&api.create(&SERVICE, service("ham", "ClusterIP")).await.unwrap());
    let revision = api.store().revision();
    let same = json_of(&api.update(&SERVICE, made.clone()).await.unwrap());
    assert_eq!((same, api.store().revision()), (made.clone(), revision));
    let mut changed = made.clone();
    changed["spec"]["ports"][0]["targetPort"] = 8080.into();
    changed["metadata"]["labels"] = json!({ "a": "b" });
    api.update(&SERVICE, changed.clone()).await.unwrap();
    let stale = api.update(&SERVICE, changed.clone()).await.unwrap_err();
    assert_eq!(stale.code, 409);
    assert!(
        stale.message.starts_with("Operation cannot be fulfilled on services \"ham\": the object has been modified")
    );
    changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    changed["metadata"]["uid"] = "other".into();
    assert!(api.update(&SERVICE, changed).await.unwrap_err().message.contains("UID in precondition: other"));
}

#[tokio::test]
async fn main_and_status_keep_to_themselves() {
    let (api, _dir) = fresh().await;
    let made = json_of(&api.create(&POD, pod("ham")).await.unwrap());
    let mut status = made.clone();
    status["status"]["phase"] = "Running".into();
    status["spec"]["containers"][0]["image"] = "other".into();
    status["metadata"]["annotations"] = json!({ "seen": "yes" });
    let after = json_of(&api.update_status(&POD, status).await.unwrap());
    assert_eq!(after["status"]["phase"], "Running");
    assert_eq!(after["spec"], made["spec"]);
    assert_eq!(after["metadata"]["annotations"]["seen"], "yes");
    assert_eq!(after["metadata"]["generation"], 1);
    let mut main = after.clone();
    main["status"]["phase"] = "Failed".into();
    main["spec"]["containers"][0]["image"] = "mainstay/client".into();
    let after = json_of(&api.update(&POD, main).await.unwrap());
    assert_eq!((&after["status"]["phase"], &after["metadata"]["generation"]), (&json!("Running"), &json!(2)));
}

#[tokio::test]
async fn refused_writes_and_dry_runs_keep_no_address() {
    let (api, _dir) = fresh().await;
    let revision = api.store().revision();
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    for _ in 0..5 {
        let outcome = api.create_object(&SERVICE, "", &service("ham", "NodePort"), &dry).await.unwrap();
        assert!(json_of(&outcome.object)["metadata"].get("resourceVersion").is_none());
        let mut bad = service("ham", "NodePort");
        bad["spec"]["ports"][0]["port"] = 0.into();
        assert_eq!(api.create(&SERVICE, bad).await.unwrap_err().code, 422);
    }
    assert_eq!(api.store().revision(), revision);
    // Both ports of the range are still free, and no third one exists.
    api.create(&SERVICE, service("a", "NodePort")).await.unwrap();
    api.create(&SERVICE, service("b", "NodePort")).await.unwrap();
    let full = api.create(&SERVICE, service("c", "NodePort")).await.unwrap_err();
    assert_eq!(full.code, 500, "{full}");
    api.delete(&SERVICE, &key("a"), &DeleteOptions::default()).await.unwrap();
    api.create(&SERVICE, service("c", "NodePort")).await.unwrap();
}

#[tokio::test]
async fn a_restart_knows_what_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let taken = {
        let api = Api::new(Store::open_dir(dir.path()).unwrap(), config(30000..=30001)).unwrap();
        api.create(&NAMESPACE, json!({ "metadata": { "name": "default" } })).await.unwrap();
        json_of(&api.create(&SERVICE, service("ham", "ClusterIP")).await.unwrap())["spec"]["clusterIP"].clone()
    };
    let api = Api::new(Store::open_dir(dir.path()).unwrap(), config(30000..=30001)).unwrap();
    assert_eq!(now(&api, &SERVICE, "ham").await["spec"]["clusterIP"], taken);
    let mut second = service("eggs", "ClusterIP");
    second["spec"]["clusterIP"] = taken;
    let refused = api.create(&SERVICE, second).await.unwrap_err();
    assert!(refused.message.contains("provided IP is already allocated"), "{refused}");
}

#[tokio::test]
async fn concurrent_creates_never_share_an_address() {
    let (api, _dir) = fresh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100 {
        let api = api.clone();
        tasks.spawn(async move { api.create(&SERVICE, service(&format!("s{number}"), "ClusterIP")).await.unwrap() });
    }
    let mut addresses = std::collections::BTreeSet::new();
    while let Some(made) = tasks.join_next().await {
        addresses.insert(json_of(&made.unwrap())["spec"]["clusterIP"].as_str().unwrap().to_owned());
    }
    assert_eq!(addresses.len(), 100);
}

#[tokio::test]
async fn a_service_takes_its_endpoints_along() {
    let (api, _dir) = fresh().await;
    api.create(&SERVICE, service("ham", "ClusterIP")).await.unwrap();
    api.create(&ENDPOINTS, json!({ "metadata": { "name": "ham", "namespace": "default" } })).await.unwrap();
    api.delete(&SERVICE, &key("ham"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(api.get(&ENDPOINTS, &key("ham")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn pods_go_with_grace_once_they_have_a_node() {
    let (api, _dir) = fresh().await;
    let options = DeleteOptions::default();
    api.create(&POD, pod("loose")).await.unwrap();
    api.delete(&POD, &key("loose"), &options).await.unwrap();
    assert_eq!(api.get(&POD, &key("loose")).await.unwrap_err().code, 404);

    let mut made = json_of(&api.create(&POD, pod("ham")).await.unwrap());
    made["spec"]["nodeName"] = "node-1".into();
    let bound = json_of(&api.update_subresource(&POD, "binding", made.clone()).await.unwrap());
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(api.update_subresource(&POD, "binding", made).await.unwrap_err().code, 409);
    let going = json_of(&api.delete(&POD, &key("ham"), &options).await.unwrap());
    assert_eq!(going["metadata"]["deletionTimestamp"], "2026-11-21T08:00:07Z");
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 7);
    // A longer wish changes nothing, a shorter one does.
    let longer = DeleteOptions { grace_seconds: Some(60), ..DeleteOptions::default() };
    assert_eq!(json_of(&api.delete(&POD, &key("ham"), &longer).await.unwrap()), going);
    let shorter = DeleteOptions { grace_seconds: Some(2), ..DeleteOptions::default() };
    let going = json_of(&api.delete(&POD, &key("ham"), &shorter).await.unwrap());
    assert_eq!(going["metadata"]["deletionTimestamp"], "2026-11-21T08:00:02Z");
    let other = DeleteOptions { grace_seconds: Some(0), uid: Some("other".into()), ..DeleteOptions::default() };
    assert_eq!(api.delete(&POD, &key("ham"), &other).await.unwrap_err().code, 409);
    let last = DeleteOptions { uid: going["metadata"]["uid"].as_str().map(str::to_owned), ..other };
    api.delete(&POD, &key("ham"), &last).await.unwrap();
    assert_eq!(api.get(&POD, &key("ham")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let (api, _dir) = fresh().await;
    let held = json!({ "metadata": { "name": "ham", "namespace": "default", "finalizers": ["example.org/hold"] } });
    api.create(&CONFIG_MAP, held).await.unwrap();
    let foreground = DeleteOptions { propagation: Some("Foreground".into()), ..DeleteOptions::default() };
    let mut going = json_of(&api.delete(&CONFIG_MAP, &key("ham"), &foreground).await.unwrap());
    assert_eq!(going["metadata"]["finalizers"], json!(["example.org/hold", "foregroundDeletion"]));
    going["metadata"]["finalizers"] = json!(["example.org/hold", "example.org/new"]);
    let refused = api.update(&CONFIG_MAP, going.clone()).await.unwrap_err();
    assert!(refused.message.contains("no new finalizers can be added"), "{refused}");
    going["metadata"].as_object_mut().unwrap().remove("finalizers");
    api.update(&CONFIG_MAP, going).await.unwrap();
    assert_eq!(api.get(&CONFIG_MAP, &key("ham")).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_namespace_waits_for_finalize() {
    let (api, _dir) = fresh().await;
    let perf = ObjectKey::new("", "perf");
    api.create(&NAMESPACE, json!({ "metadata": { "name": "perf" } })).await.unwrap();
    let mut going = json_of(&api.delete(&NAMESPACE, &perf, &DeleteOptions::default()).await.unwrap());
    assert_eq!(going["status"]["phase"], "Terminating");
    let mut late = pod("ham");
    late["metadata"]["namespace"] = "perf".into();
    let refused = api.create(&POD, late).await.unwrap_err();
    assert_eq!((refused.code, &refused.details["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    going["spec"]["finalizers"] = json!([]);
    api.update_subresource(&NAMESPACE, "finalize", going).await.unwrap();
    assert_eq!(api.get(&NAMESPACE, &perf).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn patches_meet_the_same_rules() {
    let (api, _dir) = fresh().await;
    api.create(&SERVICE, service("ham", "ClusterIP")).await.unwrap();
    let ham = key("ham");
    let patch = |language, change: Value| {
        let (api, ham, options) = (api.clone(), ham.clone(), WriteOptions::default());
        async move { api.patch_object(&SERVICE, &ham, Target::Main, language, &change, &options).await }
    };
    let outcome = patch(Language::Merge, json!({ "spec": { "sessionAffinity": "ClientIP" } })).await.unwrap();
    assert_eq!(json_of(&outcome.object)["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
    let renamed = patch(Language::Merge, json!({ "metadata": { "name": "eggs" } })).await.unwrap_err();
    assert_eq!(renamed.code, 400);
    let stale = patch(Language::Merge, json!({ "metadata": { "resourceVersion": "1" } })).await.unwrap_err();
    assert_eq!(stale.code, 409);
    let immutable = patch(Language::Strategic, json!({ "spec": { "clusterIP": "10.96.0.99" } })).await.unwrap_err();
    assert!(immutable.message.contains("may not change once set"), "{immutable}");
}

#[tokio::test]
async fn old_events_are_swept() {
    let (api, _dir) = fresh().await;
    let event = |name: &str, time: &str| {
        json!({
            "metadata": { "name": name, "namespace": "default" }, "lastTimestamp": time, "reason": "Test",
            "involvedObject": { "kind": "Pod", "name": "ham", "namespace": "default" }, "type": "Normal",
        })
    };
    for (name, time) in [("old", "2026-11-21T08:00:00Z"), ("new", "2026-11-21T08:59:00Z")] {
        api.create(&kinds::EVENT, event(name, time)).await.unwrap();
    }
    assert_eq!(api.sweep_events("2026-11-21T09:00:30Z".parse().unwrap()).await.unwrap(), 1);
    assert_eq!(api.get(&kinds::EVENT, &key("old")).await.unwrap_err().code, 404);
    api.get(&kinds::EVENT, &key("new")).await.unwrap();
}
