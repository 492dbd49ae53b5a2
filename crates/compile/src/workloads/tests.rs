//! Rollouts on a toy API: tables for what clients read, and random orders of readiness that must never break a limit.

use std::collections::BTreeMap;

use api::kind::Kind;
use api::kinds::{DEPLOYMENT, POD, REPLICA_SET};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::write::{Target, Write};

mod jobs;
mod node_sets;
mod ordered;

/// Objects by kind and name, with resourceVersion as the real API keeps it.
#[derive(Default)]
struct Toy {
    objects: BTreeMap<(&'static str, String), Value>,
    revision: u64,
    events: Vec<String>,
    seconds: i64,
}

impl Toy {
    fn put(&mut self, kind: &Kind, name: &str, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert((kind.plural, name.to_owned()), object);
    }

    fn create(&mut self, kind: &'static Kind, mut object: Value) -> String {
        let metadata = &object["metadata"];
        let name = metadata["name"]
            .as_str()
            .map_or_else(|| format!("{}{}", metadata["generateName"].as_str().unwrap(), self.revision), str::to_owned);
        assert!(!self.objects.contains_key(&(kind.plural, name.clone())), "{name} exists already");
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!("ns");
        object["metadata"]["uid"] = json!(format!("uid-{}-{}", kind.plural, self.revision));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] =
            json!(format!("2026-01-01T00:{:02}:{:02}Z", self.revision / 60 % 60, self.revision % 60));
        self.put(kind, &name, object);
        name
    }

    fn current(&mut self, target: &Target) -> Option<Value> {
        let object = self.objects.get(&(target.kind.plural, target.key.name.to_string()))?.clone();
        let revision = target.revision.map(|revision| revision.to_string());
        let fresh = revision.is_none_or(|revision| object["metadata"]["resourceVersion"] == json!(revision));
        (fresh && object["metadata"]["uid"] == json!(target.uid)).then_some(object)
    }

    /// Writes decided on an older version are skipped, as the API refuses them.
    fn perform(&mut self, writes: Vec<Write>) {
        for write in writes {
            let note = match write {
                Write::Create { kind, object, note } => {
                    let name = self.create(kind, object);
                    note.map(|note| note.message.replace("{name}", &name))
                }
                Write::Status { target, status } => {
                    let Some(mut object) = self.current(&target) else { continue };
                    object["status"] = status;
                    self.put(target.kind, &target.key.name, object);
                    None
                }
                Write::Edit { target, edit, note } => {
                    let Some(mut object) = self.current(&target) else { continue };
                    let spec = object["spec"].clone();
                    edit.apply(&mut object);
                    if spec != object["spec"] {
                        object["metadata"]["generation"] =
                            json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
                    }
                    if object["metadata"]["deletionTimestamp"].is_string() && !held(&object) {
                        self.objects.remove(&(target.kind.plural, target.key.name.to_string()));
                    } else {
                        self.put(target.kind, &target.key.name, object);
                    }
                    note.map(|note| note.message)
                }
                Write::Delete { target, note, .. } => {
                    self.delete(target.kind, &target.key.name);
                    note.map(|note| note.message)
                }
                Write::Note(note) => Some(note.message),
                other => panic!("unexpected {other:?}"),
            };
            self.events.extend(note);
        }
    }

    /// A finalizer keeps the object, marked.
    fn delete(&mut self, kind: &'static Kind, name: &str) {
        let Some(mut object) = self.objects.remove(&(kind.plural, name.to_owned())) else { return };
        if held(&object) {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            self.put(kind, name, object);
        }
    }

    fn change(&mut self, kind: &'static Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.objects[&(kind.plural, name.to_owned())].clone();
        change(&mut object);
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        self.put(kind, name, object);
    }

    fn all<T>(&self, kind: &Kind, decode: impl Fn(&[u8]) -> Result<T, serde_json::Error>) -> Vec<T> {
        let mine = self.objects.iter().filter(|((plural, _), _)| *plural == kind.plural);
        mine.map(|(_, object)| decode(object.to_string().as_bytes()).unwrap()).collect()
    }

    fn now(&self) -> Now {
        Now {
            seconds: self.seconds,
            text: format!("2026-01-01T00:{:02}:{:02}Z", self.seconds / 60 % 60, self.seconds % 60),
        }
    }

    fn deployment(&self) -> Deployment {
        self.all(&DEPLOYMENT, Deployment::decode).pop().unwrap()
    }

    fn step_deployment(&mut self) -> usize {
        let (deployment, sets, pods) =
            (self.deployment(), self.all(&REPLICA_SET, ReplicaSet::decode), self.all(&POD, Pod::decode));
        let live =
            |uid: &str| pods.iter().filter(|pod| pod.meta.controller().is_some_and(|owner| *owner.uid == *uid)).count();
        let decision = deployment::reconcile(&deployment, &sets.iter().collect::<Vec<_>>(), &live, &self.now());
        let count = decision.writes.len();
        self.perform(decision.writes);
        count
    }

    fn step_sets(&mut self) -> usize {
        let mut count = 0;
        for set in self.all(&REPLICA_SET, ReplicaSet::decode) {
            let pods = self.all(&POD, Pod::decode);
            let visible = pods.iter().filter(|pod| pod.meta.controller().is_none_or(|owner| owner.uid == set.meta.uid));
            let decision = replica_set::reconcile(&set, &visible.collect::<Vec<_>>(), &self.now());
            count += decision.writes.len();
            self.perform(decision.writes);
        }
        count
    }

    fn ready(&mut self, name: &str) {
        let mut pod = self.objects[&("pods", name.to_owned())].clone();
        pod["status"] = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        self.put(&POD, name, pod);
    }

    fn unready_pods(&self) -> Vec<String> {
        self.all(&POD, Pod::decode).iter().filter(|pod| !pod.ready).map(|pod| pod.meta.name.to_string()).collect()
    }

    /// Until nothing is left to write, every pod becoming ready.
    fn settle(&mut self) {
        for _ in 0..500 {
            for name in self.unready_pods() {
                self.ready(&name);
            }
            if self.step_deployment() + self.step_sets() == 0 {
                return;
            }
        }
        panic!("does not come to rest: {:#?}", self.deployment().status);
    }

    fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        let mut object = self.objects[&("deployments", "web".to_owned())].clone();
        change(&mut object);
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        self.put(&DEPLOYMENT, "web", object);
    }

    fn sizes(&self) -> Vec<i64> {
        let mut sets = self.all(&REPLICA_SET, ReplicaSet::decode);
        sets.sort_by(|one, other| one.meta.creation_timestamp.cmp(&other.meta.creation_timestamp));
        sets.iter().map(|set| set.replicas).collect()
    }
}

fn held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

fn toy(replicas: i64, strategy: Value) -> Toy {
    let mut toy = Toy { seconds: 1_767_225_600, ..Toy::default() };
    let object = json!({
        "metadata": {"name": "web", "annotations": {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {
            "replicas": replicas, "strategy": strategy, "revisionHistoryLimit": 1, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    });
    toy.create(&DEPLOYMENT, object);
    toy
}

fn set_image(image: &'static str) -> impl FnOnce(&mut Value) {
    move |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
}

#[test]
fn a_rollout_tells_kubectl_what_it_reads() {
    let mut toy = toy(3, json!({"type": "RollingUpdate"}));
    toy.settle();
    let first = toy.all(&REPLICA_SET, ReplicaSet::decode).pop().unwrap();
    assert_eq!(first.annotations.get("team").map(String::as_str), Some("a"));
    assert!(!first.annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    let deployment = toy.deployment();
    assert_eq!(deployment.annotations["deployment.kubernetes.io/revision"], "1");
    let status = &deployment.status;
    assert_eq!((status.replicas, status.updated_replicas, status.ready_replicas), (3, 3, 3));
    assert_eq!((status.available_replicas, status.unavailable_replicas), (3, 0));
    assert_eq!(status.observed_generation, deployment.meta.generation);
    let reasons: Vec<&str> = status.conditions.iter().map(|condition| condition.reason.as_str()).collect();
    assert_eq!(reasons, ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]);
    assert!(
        toy.events[0].starts_with("Scaled up replica set web-") && toy.events[0].ends_with(" from 0 to 3"),
        "{:?}",
        toy.events
    );
    assert!(toy.events[1].starts_with("Created pod: web-"), "{:?}", toy.events);

    toy.edit(set_image("v2"));
    toy.settle();
    toy.edit(set_image("v1"));
    toy.settle();
    let again =
        toy.all(&REPLICA_SET, ReplicaSet::decode).into_iter().find(|set| set.meta.uid == first.meta.uid).unwrap();
    assert_eq!(again.annotations["deployment.kubernetes.io/revision"], "3", "an undo gives the old set a new number");
    assert_eq!(again.annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(toy.sizes(), [3, 0]);
    toy.edit(set_image("v3"));
    toy.settle();
    assert_eq!(toy.sizes().len(), 2, "history beyond the limit is deleted");
    assert_eq!(toy.deployment().annotations["deployment.kubernetes.io/revision"], "4");
}

#[test]
fn scaling_pausing_and_recreate() {
    let mut toy = toy(10, json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}));
    toy.settle();
    toy.edit(set_image("v2"));
    for _ in 0..3 {
        toy.step_deployment();
        toy.step_sets();
    }
    // The published example of proportional scaling: 8 old and 5 new at 10 wanted; at 15 wanted, 18 may exist.
    assert_eq!(toy.sizes(), [8, 5]);
    toy.edit(|object| object["spec"]["replicas"] = json!(15));
    toy.step_deployment();
    assert_eq!(toy.sizes(), [11, 7]);
    toy.settle();
    assert_eq!(toy.sizes(), [0, 15]);
    toy.edit(|object| object["spec"]["paused"] = json!(true));
    toy.edit(set_image("v3"));
    toy.edit(|object| object["spec"]["replicas"] = json!(4));
    toy.settle();
    assert_eq!(toy.sizes(), [0, 4], "a paused Deployment scales but does not roll");
    assert!(toy.deployment().status.conditions.iter().any(|condition| condition.reason == "DeploymentPaused"));
    toy.edit(|object| {
        object["spec"]["paused"] = json!(false);
        object["spec"]["strategy"] = json!({"type": "Recreate"});
    });
    toy.step_deployment();
    assert_eq!(toy.sizes(), [0, 0], "nothing new before the old pods are gone");
    toy.step_deployment();
    assert_eq!(toy.sizes(), [0, 0]);
    toy.settle();
    assert_eq!(toy.sizes().iter().sum::<i64>(), 4);
}

#[test]
fn a_rollout_without_progress_times_out_and_looks_again_in_time() {
    let mut toy = toy(1, json!({"type": "RollingUpdate"}));
    for _ in 0..4 {
        toy.step_deployment();
        toy.step_sets();
    }
    let (deployment, sets) = (toy.deployment(), toy.all(&REPLICA_SET, ReplicaSet::decode));
    let sets: Vec<&ReplicaSet> = sets.iter().collect();
    let decision = deployment::reconcile(&deployment, &sets, &|_| 1, &toy.now());
    assert_eq!(
        (decision.writes.len(), decision.again_after),
        (0, Some(600)),
        "{:?} {:?}",
        decision.writes,
        deployment.status
    );
    toy.seconds += 600;
    toy.step_deployment();
    let condition = toy.deployment().status.conditions.pop().unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "ProgressDeadlineExceeded"));
}

#[test]
fn replica_sets_adopt_release_and_delete_the_least_useful_first() {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": true});
    let pod = |name: &str, owners: Value, label: &str, phase: &str| {
        let json = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "labels": {"app": label}, "ownerReferences": owners},
            "spec": {"nodeName": "n"},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}]},
        });
        Pod::decode(json.to_string().as_bytes()).unwrap()
    };
    let set = json!({
        "metadata": {"name": "rs", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}}},
    });
    let set = ReplicaSet::decode(set.to_string().as_bytes()).unwrap();
    let pods = [
        pod("mine", json!([owner]), "a", "Running"),
        pod("pending", json!([owner]), "a", "Pending"),
        pod("stranger", json!([owner]), "b", "Running"),
        pod("orphan", json!([]), "a", "Running"),
        pod("over", json!([owner]), "a", "Succeeded"),
    ];
    let now = Now { seconds: 0, text: String::new() };
    let decision = replica_set::reconcile(&set, &pods.iter().collect::<Vec<_>>(), &now);
    let text: Vec<String> = decision.writes.iter().map(|write| format!("{write:?}")).collect();
    let status = r#"status of replicasets.apps ns/rs: {"availableReplicas":2,"fullyLabeledReplicas":3,"observedGeneration":2,"readyReplicas":2,"replicas":3}"#;
    assert_eq!(text[0], status);
    assert!(text[1].starts_with("edit pods ns/stranger: Disown"), "{text:?}");
    assert!(text[2].starts_with("edit pods ns/orphan: Own"), "{text:?}");
    assert_eq!(text[3], "delete pods ns/pending");
    assert_eq!(text.len(), 5, "{text:?}");
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_i64..4).prop_map(|number| json!(number)),
        (0_i64..101).prop_map(|percent| json!(format!("{percent}%")))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_rolling_update_keeps_its_limits_whatever_becomes_ready_when(
        replicas in 1_i64..8, surge in amount(), unavailable in amount(),
        order in proptest::collection::vec((0_u8..3, 0_usize..16), 60..200),
    ) {
        let mut toy = toy(replicas, json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}));
        toy.settle();
        let deployment = toy.deployment();
        let most = replicas + rolling::max_surge(&deployment);
        let least = replicas - rolling::max_unavailable(&deployment);
        toy.edit(set_image("v2"));
        for (what, which) in order {
            match what {
                0 => { toy.step_deployment(); }
                1 => { toy.step_sets(); }
                _ => {
                    let unready = toy.unready_pods();
                    if let Some(name) = unready.get(which % unready.len().max(1)) {
                        let name = name.clone();
                        toy.ready(&name);
                    }
                }
            }
            let pods = toy.all(&POD, Pod::decode);
            let available = i64::try_from(pods.iter().filter(|pod| pod.ready).count()).unwrap();
            prop_assert!(available >= least, "{available} available, at least {least} wanted");
            prop_assert!(i64::try_from(pods.len()).unwrap() <= most, "{} pods, at most {most} allowed", pods.len());
        }
        toy.settle();
        prop_assert_eq!(toy.sizes(), vec![0, replicas]);
        let status = toy.deployment().status;
        prop_assert_eq!((status.updated_replicas, status.replicas, status.available_replicas), (replicas, replicas, replicas));
    }
}
