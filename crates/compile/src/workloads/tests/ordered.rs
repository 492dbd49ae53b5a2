//! StatefulSets on the toy API: order, identity, partitions, history, and random histories that must come to rest.

use api::kinds::{CONTROLLER_REVISION, POD, STATEFUL_SET};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Toy, set_image};
use crate::workloads::objects::Pod;
use crate::workloads::{ControllerRevision, StatefulSet, stateful_set};

fn toy(spec: Value) -> Toy {
    let mut toy = Toy { seconds: 1_767_225_600, ..Toy::default() };
    let mut object = json!({
        "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": "first"}},
        "spec": {
            "replicas": 3, "serviceName": "nginx", "revisionHistoryLimit": 1,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    });
    for (name, value) in spec.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    toy.create(&STATEFUL_SET, object);
    toy
}

impl Toy {
    fn stateful_set(&self) -> StatefulSet {
        self.all(&STATEFUL_SET, StatefulSet::decode).pop().unwrap()
    }

    fn step_stateful_set(&mut self) -> usize {
        let (set, pods) = (self.stateful_set(), self.all(&POD, Pod::decode));
        let revisions = self.revisions();
        let (pods, revisions): (Vec<_>, Vec<_>) = (pods.iter().collect(), revisions.iter().collect());
        let decision = stateful_set::reconcile(&set, &revisions, &pods, &self.now());
        let count = decision.writes.len();
        self.perform(decision.writes);
        count
    }

    pub(super) fn revisions(&self) -> Vec<ControllerRevision> {
        let mut revisions = self.all(&CONTROLLER_REVISION, ControllerRevision::decode);
        revisions.sort_by_key(|revision| revision.revision);
        revisions
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all(&POD, Pod::decode).iter().map(|pod| pod.meta.name.to_string()).collect()
    }

    /// Until nothing is left to write; pods become ready one by one. Returns what happened, in order.
    fn settle_stateful_set(&mut self) -> Vec<String> {
        let before = self.events.len();
        for _ in 0..500 {
            if self.step_stateful_set() == 0 {
                let Some(name) = self.unready_pods().first().cloned() else { return self.events[before..].to_vec() };
                self.ready(&name);
            }
        }
        panic!("does not come to rest: {:#?} {:?}", self.stateful_set().status, self.names());
    }
}

fn words(events: &[String]) -> Vec<String> {
    let short = |event: &String| event.split(' ').take(3).collect::<Vec<_>>().join(" ").replace(" Pod ", " ");
    events.iter().map(short).collect()
}

#[test]
fn pods_come_in_order_keep_their_names_and_go_in_reverse() {
    let mut toy = toy(json!({}));
    assert_eq!(words(&toy.settle_stateful_set()), ["Create web-0", "Create web-1", "Create web-2"]);
    let pod = &toy.objects[&("pods", "web-1".to_owned())];
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("nginx")));
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-1");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    let status = toy.stateful_set().status;
    assert_eq!(labels["controller-revision-hash"], json!(status.update_revision));
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (3, 3, 3));
    assert_eq!((status.current_replicas, status.updated_replicas), (3, 3));
    assert_eq!(status.current_revision, status.update_revision);
    let stored = &toy.objects[&("controllerrevisions", status.update_revision.clone())];
    assert_eq!(stored["metadata"]["annotations"]["kubernetes.io/change-cause"], "first");
    assert_eq!(stored["data"]["spec"]["template"]["$patch"], "replace");

    toy.delete(&POD, "web-1");
    assert_eq!(words(&toy.settle_stateful_set()), ["Create web-1"]);
    toy.change(&STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(1));
    assert_eq!(words(&toy.settle_stateful_set()), ["Delete web-2", "Delete web-1"]);
    toy.change(&STATEFUL_SET, "web", |set| set["spec"]["ordinals"] = json!({"start": 5}));
    assert_eq!(words(&toy.settle_stateful_set()), ["Create web-5", "Delete web-0"]);
    assert_eq!(toy.stateful_set().status.observed_generation, 3);
}

#[test]
fn parallel_pods_come_and_go_together() {
    let mut toy = toy(json!({"podManagementPolicy": "Parallel"}));
    toy.step_stateful_set();
    assert_eq!(toy.names(), ["web-0", "web-1", "web-2"]);
    toy.settle_stateful_set();
    toy.change(&STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(0));
    toy.step_stateful_set();
    assert!(toy.names().is_empty());
}

#[test]
fn updates_go_from_the_highest_number_to_the_partition_and_back() {
    let mut toy = toy(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}));
    toy.settle_stateful_set();
    let first = toy.stateful_set().status.update_revision;
    toy.change(&STATEFUL_SET, "web", set_image("v2"));
    let seen = toy.settle_stateful_set();
    assert_eq!(words(&seen), ["Delete web-2", "Create web-2", "Delete web-1", "Create web-1"]);
    let status = toy.stateful_set().status;
    assert_eq!((status.current_replicas, status.updated_replicas), (1, 2));
    assert_eq!(status.current_revision, first);
    assert_ne!(status.update_revision, first);
    // A pod below the partition comes back as it was.
    toy.delete(&POD, "web-0");
    toy.settle_stateful_set();
    assert_eq!(toy.objects[&("pods", "web-0".to_owned())]["spec"]["containers"][0]["image"], "v1");
    // Back to the first template: its revision gets the highest number, nothing new is made.
    toy.change(&STATEFUL_SET, "web", set_image("v1"));
    toy.settle_stateful_set();
    let revisions = toy.revisions();
    assert_eq!(revisions.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(*revisions[1].meta.name, *first);
    assert_eq!(toy.stateful_set().status.update_revision, first);
}

#[test]
fn without_rolling_updates_pods_change_when_somebody_deletes_them() {
    let mut toy = toy(json!({"updateStrategy": {"type": "OnDelete"}}));
    toy.settle_stateful_set();
    toy.change(&STATEFUL_SET, "web", set_image("v2"));
    assert!(toy.settle_stateful_set().is_empty());
    toy.delete(&POD, "web-1");
    toy.settle_stateful_set();
    assert_eq!(toy.stateful_set().status.updated_replicas, 1);
    assert_eq!(toy.objects[&("pods", "web-1".to_owned())]["spec"]["containers"][0]["image"], "v2");
}

#[test]
fn old_revisions_go_beyond_the_limit_and_orphans_are_taken_back() {
    let mut toy = toy(json!({"replicas": 1}));
    for image in ["v1", "v2", "v3", "v4"] {
        toy.change(&STATEFUL_SET, "web", set_image(image));
        toy.settle_stateful_set();
    }
    let numbers: Vec<i64> = toy.revisions().iter().map(|revision| revision.revision).collect();
    assert_eq!(numbers, [3, 4], "the present one and one more");
    for (kind, name) in toy.objects.keys().cloned().collect::<Vec<_>>() {
        if kind != "statefulsets" {
            toy.objects.get_mut(&(kind, name)).unwrap()["metadata"]["ownerReferences"] = json!([]);
        }
    }
    assert!(toy.settle_stateful_set().is_empty(), "nothing is made again");
    let pod = &toy.objects[&("pods", "web-0".to_owned())];
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(toy.revisions().len(), 2);
    assert!(toy.revisions().iter().all(|revision| revision.meta.controller().is_some()));
    // A pod that is called differently is nobody's business.
    let stranger = json!({"metadata": {"name": "other", "labels": {"app": "web"}}, "spec": {}});
    toy.create(&POD, stranger);
    toy.ready("other");
    assert!(toy.settle_stateful_set().is_empty());
}

#[test]
fn claims_become_empty_directories_and_failed_pods_are_made_again() {
    let mut toy = toy(json!({"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}));
    toy.settle_stateful_set();
    let pod = toy.objects.get_mut(&("pods", "web-0".to_owned())).unwrap();
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}]));
    pod["status"] = json!({"phase": "Failed"});
    assert_eq!(words(&toy.settle_stateful_set()), ["Delete web-0", "Create web-0"]);
}

#[derive(Clone, Debug)]
enum Op {
    Scale(i64),
    Image(&'static str),
    Lose(usize),
    Ready(usize),
    Fail(usize),
    Step,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0_i64..5).prop_map(Op::Scale),
        prop_oneof![Just("v1"), Just("v2"), Just("v3")].prop_map(Op::Image),
        (0_usize..5).prop_map(Op::Lose),
        (0_usize..5).prop_map(Op::Ready),
        (0_usize..5).prop_map(Op::Fail),
        Just(Op::Step),
        Just(Op::Step),
        Just(Op::Step),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_the_pods_are_in_the_end_those_of_the_newest_template(
        parallel in any::<bool>(), ops in proptest::collection::vec(op(), 0..60), last in 0_i64..5,
    ) {
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let mut toy = toy(json!({"podManagementPolicy": policy}));
        for op in ops {
            let names = toy.names();
            let pick = |index: usize| names.get(index % names.len().max(1)).cloned();
            match op {
                Op::Scale(size) => toy.change(&STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(size)),
                Op::Image(image) => toy.change(&STATEFUL_SET, "web", set_image(image)),
                Op::Lose(index) => if let Some(name) = pick(index) { toy.delete(&POD, &name) },
                Op::Ready(index) => if let Some(name) = pick(index) { toy.ready(&name) },
                Op::Fail(index) => if let Some(name) = pick(index) {
                    toy.objects.get_mut(&("pods", name)).unwrap()["status"] = json!({"phase": "Failed"});
                },
                Op::Step => { toy.step_stateful_set(); }
            }
        }
        toy.change(&STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(last));
        toy.settle_stateful_set();
        let expected: Vec<String> = (0..last).map(|ordinal| format!("web-{ordinal}")).collect();
        prop_assert_eq!(toy.names(), expected);
        let status = toy.stateful_set().status;
        prop_assert_eq!((status.replicas, status.updated_replicas, status.ready_replicas), (last, last, last));
        prop_assert_eq!(&status.current_revision, &status.update_revision);
        let live = toy.all(&POD, Pod::decode);
        prop_assert!(live.iter().all(|pod| pod.meta.labels.get("controller-revision-hash").is_some_and(|hash| **hash == *status.update_revision)));
        prop_assert!(toy.revisions().len() <= 2);
    }
}
