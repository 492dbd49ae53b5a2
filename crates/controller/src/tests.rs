//! All controllers on a toy API in memory: lost watches, repeated steps, conflicts, and a whole rollout to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use api::kind::Kind;
use api::kinds::{self, DEPLOYMENT, NAMESPACE, POD, REPLICA_SET, SERVICE};
use api::object::{ObjectKey, Revision};
use api::status::Status;
use async_trait::async_trait;
use compile::load_balancer::Pools;
use contract::access::{Access, DeleteOptions, List, Object, Scope, WatchStep};
use contract::applied::Applied;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Config, start};

mod load_balancer;
mod mirroring;

type Id = (&'static str, ObjectKey);

/// A small API: preconditions, generated names, finalizers, watches that break on demand.
struct Toy {
    me: Weak<Toy>,
    state: Mutex<State>,
    grown: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Id, Arc<Object>>,
    log: Vec<WatchStep>,
    /// Watches that started before this many breaks have ended.
    breaks: u64,
    /// So many writes are refused with a conflict.
    conflicts: usize,
    creates: BTreeMap<&'static str, usize>,
}

impl Toy {
    fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self { me: me.clone(), state: Mutex::default(), grown: watch::Sender::new(0) })
    }

    fn store(&self, state: &mut State, kind: &'static Kind, mut value: Value) -> Arc<Object> {
        state.revision += 1;
        value["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let object =
            Arc::new(Object { key: key.clone(), revision: Revision(state.revision), json: value.to_string().into() });
        let finished = value["metadata"]["deletionTimestamp"].is_string()
            && value["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && value["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if finished {
            state.objects.remove(&(kind.plural, key));
            state.log.push(WatchStep::Delete(kind.plural, object.clone()));
        } else {
            state.objects.insert((kind.plural, key), object.clone());
            state.log.push(WatchStep::Put(kind.plural, object.clone()));
        }
        self.grown.send_replace(state.revision);
        object
    }

    fn replace(&self, kind: &'static Kind, mut value: Value) -> Result<Arc<Object>, Status> {
        let mut state = self.state.lock().unwrap();
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let Some(old) = state.objects.get(&(kind.plural, key.clone())).cloned() else {
            return Err(Status::not_found(kind, &key.name));
        };
        if state.conflicts > 0 || text("resourceVersion") != old.revision.to_string() {
            state.conflicts = state.conflicts.saturating_sub(1);
            return Err(Status::conflict(kind, &key.name, "the object has been modified"));
        }
        let before: Value = serde_json::from_slice(&old.json).unwrap();
        value["metadata"]["uid"] = before["metadata"]["uid"].clone();
        if before["spec"] != value["spec"] {
            value["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        if before == value { Ok(old) } else { Ok(self.store(&mut state, kind, value)) }
    }

    /// Ends every watch.
    fn break_watches(&self) {
        self.state.lock().unwrap().breaks += 1;
        self.grown.send_modify(|_| {});
    }

    fn value(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        let object = state.objects.get(&(kind.plural, ObjectKey::new(namespace, name)))?;
        Some(serde_json::from_slice(&object.json).unwrap())
    }

    fn values(&self, kind: &Kind, namespace: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let mine =
            state.objects.iter().filter(|((plural, key), _)| *plural == kind.plural && *key.namespace == *namespace);
        mine.map(|(_, object)| serde_json::from_slice(&object.json).unwrap()).collect()
    }

    /// Waits for a level: looks again whenever something was written.
    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let mut grown = self.grown.subscribe();
        let wait = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                grown.changed().await.unwrap();
            }
        };
        // Virtual time: this passes only when nothing at all is left to do.
        tokio::time::timeout(Duration::from_secs(600), wait).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// Plays the node: every bound pod gets an address and becomes ready.
    async fn run_pods(self: Arc<Self>) {
        let mut grown = self.grown.subscribe();
        let mut address = 1_u8;
        loop {
            let namespaces: Vec<String> = {
                let state = self.state.lock().unwrap();
                state
                    .objects
                    .keys()
                    .filter(|(plural, _)| *plural == "namespaces")
                    .map(|(_, key)| key.name.to_string())
                    .collect()
            };
            for mut pod in namespaces.iter().flat_map(|namespace| self.values(&POD, namespace)) {
                if pod["spec"]["nodeName"].is_string() && pod["status"].is_null() {
                    address += 1;
                    pod["status"] = json!({
                        "phase": "Running", "podIPs": [{"ip": format!("10.244.0.{address}")}], "podIP": format!("10.244.0.{address}"),
                        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    });
                    // Somebody else wrote: the next turn sees it.
                    let _ = self.replace(&POD, pod);
                }
            }
            grown.changed().await.unwrap();
        }
    }
}

#[async_trait]
impl Access for Toy {
    async fn get(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
        let state = self.state.lock().unwrap();
        state.objects.get(&(kind.plural, key.clone())).cloned().ok_or_else(|| Status::not_found(kind, &key.name))
    }

    async fn list(&self, kind: &'static Kind, scope: &Scope) -> Result<List, Status> {
        // As over a wire: others run between two lists.
        tokio::task::yield_now().await;
        let state = self.state.lock().unwrap();
        let fits = |key: &ObjectKey| scope.namespace.is_empty() || *key.namespace == *scope.namespace;
        let mine = state.objects.iter().filter(|((plural, key), _)| *plural == kind.plural && fits(key));
        Ok(List { revision: Revision(state.revision), items: mine.map(|(_, object)| object.clone()).collect() })
    }

    async fn watch(
        &self,
        kinds: &[&'static Kind],
        from: Revision,
    ) -> Result<BoxStream<'static, Result<WatchStep, Status>>, Status> {
        let plurals: Vec<&'static str> = kinds.iter().map(|kind| kind.plural).collect();
        let toy = self.me.upgrade().unwrap();
        let breaks = toy.state.lock().unwrap().breaks;
        let position = toy.state.lock().unwrap().log.iter().take_while(|step| at(step) <= from).count();
        let cursor = (toy.clone(), toy.grown.subscribe(), position, breaks, false);
        let stream = futures::stream::unfold(cursor, move |(toy, mut grown, position, breaks, over)| {
            let plurals = plurals.clone();
            async move {
                if over {
                    return None;
                }
                loop {
                    grown.borrow_and_update();
                    let (step, broken) = {
                        let state = toy.state.lock().unwrap();
                        (state.log.get(position).cloned(), state.breaks != breaks)
                    };
                    if broken {
                        let gone = Status::new(410, "Expired", "too old resource version");
                        return Some((Err(gone), (toy, grown, position, breaks, true)));
                    }
                    if let Some(step) = step {
                        let wanted = match &step {
                            WatchStep::Put(plural, _) | WatchStep::Delete(plural, _) => plurals.contains(plural),
                            WatchStep::Progress(_) => true,
                        };
                        let step = if wanted { step } else { WatchStep::Progress(at(&step)) };
                        return Some((Ok(step), (toy, grown, position + 1, breaks, false)));
                    }
                    if grown.changed().await.is_err() {
                        return None;
                    }
                }
            }
        });
        Ok(stream.boxed())
    }

    async fn create(&self, kind: &'static Kind, mut value: Value) -> Result<Arc<Object>, Status> {
        let mut state = self.state.lock().unwrap();
        let next = state.revision + 1;
        if value["metadata"]["name"].is_null() {
            value["metadata"]["name"] = json!(format!("{}{next}", value["metadata"]["generateName"].as_str().unwrap()));
        }
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let home = ("namespaces", ObjectKey::new("", key.namespace.clone()));
        if kind.namespaced && !state.objects.contains_key(&home) {
            return Err(Status::not_found(&NAMESPACE, &key.namespace));
        }
        if state.objects.contains_key(&(kind.plural, key.clone())) {
            return Err(Status::already_exists(kind, &key.name));
        }
        value["metadata"]["uid"] = json!(format!("uid-{next}"));
        value["metadata"]["generation"] = json!(1);
        value["metadata"]["creationTimestamp"] =
            json!(format!("2026-01-01T00:{:02}:{:02}Z", next / 60 % 60, next % 60));
        if kind.plural == "namespaces" {
            value["spec"]["finalizers"] = json!(["kubernetes"]);
        }
        *state.creates.entry(kind.plural).or_default() += 1;
        Ok(self.store(&mut state, kind, value))
    }

    async fn update(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        self.replace(kind, object)
    }

    async fn update_status(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        self.replace(kind, object)
    }

    async fn delete(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Object>, Status> {
        let mut state = self.state.lock().unwrap();
        let Some(old) = state.objects.get(&(kind.plural, key.clone())).cloned() else {
            return Err(Status::not_found(kind, &key.name));
        };
        let mut value: Value = serde_json::from_slice(&old.json).unwrap();
        let other = options.uid.as_ref().is_some_and(|uid| value["metadata"]["uid"] != json!(uid));
        if other || options.revision.is_some_and(|revision| revision != old.revision) {
            return Err(Status::conflict(kind, &key.name, "the precondition does not hold"));
        }
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        if options.propagation.as_deref() == Some("Foreground") {
            value["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        }
        Ok(self.store(&mut state, kind, value))
    }
}

fn at(step: &WatchStep) -> Revision {
    match step {
        WatchStep::Put(_, object) | WatchStep::Delete(_, object) => object.revision,
        WatchStep::Progress(revision) => *revision,
    }
}

fn config() -> Config {
    Config {
        pools: Pools::parse(&["10.99.0.1-10.99.0.2"]).unwrap(),
        node: "n1".to_owned(),
        node_addresses: vec!["10.244.0.1".parse().unwrap()],
        host_addresses: tokio::sync::watch::channel(vec!["10.244.0.1".parse().unwrap()]).1,
        pod_cidrs: vec!["10.244.0.0/24".to_owned()],
        api_port: 6443,
        kubernetes_address: "10.96.0.1".parse().unwrap(),
        dns_addresses: vec!["10.96.0.10".parse().unwrap()],
        ca_pem: "PEM".to_owned(),
        version: "v1.37.0+mainstay".to_owned(),
    }
}

fn deployment(image: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate"},
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn rolled_out(toy: &Toy, replicas: i64) -> Option<Value> {
    let value = toy.value(&DEPLOYMENT, "default", "web")?;
    let status = &value["status"];
    let same = |field: &str| status[field].as_i64() == Some(replicas);
    let current = status["observedGeneration"] == value["metadata"]["generation"];
    let complete = status["conditions"].as_array()?.iter().any(|one| one["reason"] == "NewReplicaSetAvailable");
    (current && complete && same("replicas") && same("updatedReplicas") && same("availableReplicas")).then_some(value)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_furnishes_itself_and_a_deployment_rolls_through_lost_watches_and_conflicts() {
    let toy = Toy::new();
    let node = tokio::spawn(toy.clone().run_pods());
    let applied = Applied::default();
    let controllers = start(config(), toy.clone(), applied.clone());
    for (kind, namespace, name) in [
        (&kinds::SERVICE_ACCOUNT, "kube-public", "default"),
        (&kinds::CONFIG_MAP, "default", "kube-root-ca.crt"),
        (&SERVICE, "default", "kubernetes"),
        (&kinds::ENDPOINTS, "default", "kubernetes"),
        (&SERVICE, "kube-system", "kube-dns"),
        (&kinds::LEASE, "kube-node-lease", "n1"),
    ] {
        toy.until(name, || toy.value(kind, namespace, name)).await;
    }
    toy.create(&DEPLOYMENT, deployment("v1", 3)).await.unwrap();
    toy.until("the first rollout", || rolled_out(&toy, 3)).await;
    assert_eq!(toy.values(&POD, "default").len(), 3);
    assert_eq!(toy.state.lock().unwrap().creates["pods"], 3, "a slow watch creates nothing twice");

    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
            "selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    });
    toy.create(&SERVICE, service).await.unwrap();
    let ready = || {
        let of_web = |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web";
        let slices: Vec<Value> = toy.values(&kinds::ENDPOINT_SLICE, "default").into_iter().filter(of_web).collect();
        let [slice] = slices.as_slice() else { return None };
        let ready = slice["endpoints"].as_array()?.iter().filter(|one| one["conditions"]["ready"] == true);
        (ready.count() == 3).then(|| slice["endpoints"].to_string())
    };
    let first = toy.until("three endpoints in one slice", ready).await;
    toy.until("the Endpoints object", || toy.value(&kinds::ENDPOINTS, "default", "web")).await;

    toy.break_watches();
    let mut value = toy.value(&DEPLOYMENT, "default", "web").unwrap();
    value["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    toy.replace(&DEPLOYMENT, value).unwrap();
    toy.state.lock().unwrap().conflicts = 5;
    let done = toy.until("the second rollout", || rolled_out(&toy, 3)).await;
    assert_eq!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    let replaced = || {
        let endpoints = ready().filter(|endpoints| *endpoints != first)?;
        let named = |pod: &Value| endpoints.contains(pod["metadata"]["uid"].as_str().unwrap());
        toy.values(&POD, "default").iter().all(named).then_some(())
    };
    toy.until("the new pods in the slice", replaced).await;
    assert_eq!(toy.values(&POD, "default").len(), 3);
    assert_eq!(toy.values(&REPLICA_SET, "default").len(), 2);
    toy.until("an Event", || {
        toy.values(&kinds::EVENT, "default").into_iter().find(|event| event["reason"] == "ScalingReplicaSet")
    })
    .await;

    let key = ObjectKey::new("default", "web");
    toy.delete(&DEPLOYMENT, &key, &DeleteOptions::default()).await.unwrap();
    toy.until("dependents to go", || {
        (toy.values(&POD, "default").is_empty() && toy.values(&REPLICA_SET, "default").is_empty()).then_some(())
    })
    .await;
    drop(controllers);
    node.abort();
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_a_deleted_service_left_behind_go_and_those_of_people_stay() {
    let toy = Toy::new();
    toy.create(&NAMESPACE, json!({"metadata": {"name": "default"}})).await.unwrap();
    for (name, labels) in
        [("left", json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"})), ("own", json!({}))]
    {
        let object = json!({"metadata": {"name": name, "namespace": "default", "labels": labels}});
        toy.create(&kinds::ENDPOINTS, object).await.unwrap();
    }
    let controllers = start(config(), toy.clone(), Applied::default());
    let gone = |name: &'static str| {
        let toy = toy.clone();
        move || toy.value(&kinds::ENDPOINTS, "default", name).is_none().then_some(())
    };
    toy.until("what a server left behind to go", gone("left")).await;
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]},
    });
    toy.create(&SERVICE, service).await.unwrap();
    toy.until("Endpoints", || toy.value(&kinds::ENDPOINTS, "default", "web")).await;
    // This API takes the Service alone, as if the Endpoints had been written a moment later.
    toy.delete(&SERVICE, &ObjectKey::new("default", "web"), &DeleteOptions::default()).await.unwrap();
    toy.until("what crossed the deletion to go", gone("web")).await;
    assert!(toy.value(&kinds::ENDPOINTS, "default", "own").is_some());
    drop(controllers);
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing_when_nothing_has_changed() {
    let toy = Toy::new();
    let node = tokio::spawn(toy.clone().run_pods());
    let controllers = start(config(), toy.clone(), Applied::default());
    toy.until("the namespace", || toy.value(&NAMESPACE, "", "default")).await;
    for number in 0..20 {
        let name = format!("web-{number}");
        let service = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "type": "ClusterIP", "clusterIP": format!("10.96.1.{number}"), "ipFamilies": ["IPv4"],
                "selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
            },
        });
        toy.create(&SERVICE, service).await.unwrap();
    }
    toy.create(&DEPLOYMENT, deployment("v1", 3)).await.unwrap();
    toy.until("the rollout", || rolled_out(&toy, 3)).await;
    // Virtual time passes only when nothing at all is left to do.
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(controllers);
    for restart in 0..20 {
        let before = toy.state.lock().unwrap().log.len();
        let controllers = start(config(), toy.clone(), Applied::default());
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(controllers);
        let state = toy.state.lock().unwrap();
        let slices = state.log[before..].iter().filter(|step| match step {
            WatchStep::Put(plural, _) | WatchStep::Delete(plural, _) => {
                matches!(*plural, "endpointslices" | "endpoints")
            }
            WatchStep::Progress(_) => false,
        });
        assert_eq!(slices.count(), 0, "restart {restart} took endpoints away or wrote what was there already");
        assert_eq!(state.creates["pods"], 3, "restart {restart} made pods although all were there");
    }
    node.abort();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_is_emptied_and_a_default_one_comes_back() {
    let toy = Toy::new();
    let controllers = start(config(), toy.clone(), Applied::default());
    toy.create(&NAMESPACE, json!({"metadata": {"name": "perf"}})).await.unwrap();
    toy.until("furniture", || toy.value(&kinds::CONFIG_MAP, "perf", "kube-root-ca.crt")).await;
    toy.create(&kinds::SECRET, json!({"metadata": {"name": "s", "namespace": "perf"}})).await.unwrap();
    toy.delete(&kinds::SERVICE_ACCOUNT, &ObjectKey::new("perf", "default"), &DeleteOptions::default()).await.unwrap();
    toy.until("the account to come back", || toy.value(&kinds::SERVICE_ACCOUNT, "perf", "default")).await;
    for name in ["perf", "kube-public"] {
        toy.delete(&NAMESPACE, &ObjectKey::new("", name), &DeleteOptions::default()).await.ok();
    }
    toy.until("the namespace to go", || toy.value(&NAMESPACE, "", "perf").is_none().then_some(())).await;
    assert!(toy.values(&kinds::SECRET, "perf").is_empty());
    let alive =
        || toy.value(&NAMESPACE, "", "kube-public").filter(|value| value["metadata"]["deletionTimestamp"].is_null());
    toy.until("kube-public to come back", alive).await;
    drop(controllers);
}

#[tokio::test(start_paused = true)]
async fn programmed_turns_true_once_the_node_has_applied_the_change_and_not_before() {
    let toy = Toy::new();
    let applied = Applied::default();
    let sink = applied.sink("test");
    let controllers = start(config(), toy.clone(), applied.clone());
    toy.until("the default namespace", || toy.value(&NAMESPACE, "", "default")).await;
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80}]},
        "status": {"conditions": [{"type": "Programmed", "status": "False", "reason": "Pending"}]},
    });
    let created = toy.create(&SERVICE, service).await.unwrap();
    let condition = || toy.value(&SERVICE, "default", "web").unwrap()["status"]["conditions"][0]["status"].clone();
    let mut latest = controllers.feed.latest();
    latest.wait_for(|snapshot| snapshot.revision >= created.revision).await.unwrap();
    sink.confirm(Revision(created.revision.0 - 1));
    // A later write has been seen by every controller: had one turned the condition, it would show.
    let later = toy.create(&kinds::SECRET, json!({"metadata": {"name": "s", "namespace": "default"}})).await.unwrap();
    latest.wait_for(|snapshot| snapshot.revision >= later.revision).await.unwrap();
    assert_eq!(condition(), "False");
    sink.confirm(later.revision);
    toy.until("Programmed", || (condition() == "True").then_some(())).await;
    drop(controllers);
}

#[tokio::test(start_paused = true)]
async fn a_relist_sweeps_what_went_while_nobody_watched() {
    let toy = Toy::new();
    toy.create(&NAMESPACE, json!({"metadata": {"name": "default"}})).await.unwrap();
    for name in ["a", "b"] {
        let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}]}});
        toy.create(&SERVICE, object).await.unwrap();
    }
    let (publisher, feed) = crate::feed();
    let reflector = tokio::spawn(crate::reflect(toy.clone(), publisher));
    let mut subscription = feed.subscribe();
    let (snapshot, changes) = subscription.next().await.unwrap();
    assert_eq!((snapshot.services.size(), changes.services.len()), (2, 2));
    toy.break_watches();
    toy.delete(&SERVICE, &ObjectKey::new("default", "a"), &DeleteOptions::default()).await.unwrap();
    let (snapshot, changes) = loop {
        let (snapshot, changes) = subscription.next().await.unwrap();
        assert!(snapshot.services.size() > 0, "never an empty snapshot in between");
        if snapshot.services.size() == 1 {
            break (snapshot, changes);
        }
    };
    assert!(changes.services.contains(&ObjectKey::new("default", "a")), "the swept key is named");
    assert!(snapshot.services.contains_key(&ObjectKey::new("default", "b")));
    reflector.abort();
}
