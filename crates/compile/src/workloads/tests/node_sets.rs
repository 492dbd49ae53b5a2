//! DaemonSets on the toy API: one pod per node that is selected, replaced within the limits.

use api::kinds::{DAEMON_SET, NODE, POD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Toy, set_image};
use crate::schedule::Node;
use crate::workloads::objects::Pod;
use crate::workloads::{DaemonSet, daemon_set};

fn toy(nodes: usize, rolling: Value) -> Toy {
    let mut toy = Toy { seconds: 1_767_225_600, ..Toy::default() };
    for index in 0..nodes {
        let disk = if index % 2 == 0 { "ssd" } else { "disk" };
        toy.create(&NODE, json!({"metadata": {"name": format!("n{index}"), "labels": {"disk": disk}}}));
    }
    toy.create(&DAEMON_SET, json!({
        "metadata": {"name": "agent", "annotations": {"deprecated.daemonset.template.generation": "1"}},
        "spec": {
            "revisionHistoryLimit": 1, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    }));
    toy
}

impl Toy {
    fn daemon_set(&self) -> DaemonSet {
        self.all(&DAEMON_SET, DaemonSet::decode).pop().unwrap()
    }

    fn step_daemon_set(&mut self) -> usize {
        let (set, pods, nodes) = (self.daemon_set(), self.all(&POD, Pod::decode), self.all(&NODE, Node::decode));
        let revisions = self.revisions();
        let (pods, revisions): (Vec<_>, Vec<_>) = (pods.iter().collect(), revisions.iter().collect());
        let decision = daemon_set::reconcile(&set, &revisions, nodes.iter(), &pods, &self.now());
        let count = decision.writes.len();
        self.perform(decision.writes);
        count
    }

    fn settle_daemon_set(&mut self) {
        for _ in 0..500 {
            if self.step_daemon_set() == 0 {
                let Some(name) = self.unready_pods().first().cloned() else { return };
                self.ready(&name);
            }
        }
        panic!("does not come to rest: {:#?}", self.daemon_set().status);
    }

    /// The node and the image of every pod.
    fn places(&self) -> Vec<(String, String)> {
        let pods = self.all(&POD, Pod::decode);
        let image = |pod: &Pod| {
            let object = &self.objects[&("pods", pod.meta.name.to_string())];
            object["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
        };
        let mut places: Vec<_> =
            pods.iter().map(|pod| (pod.only_node.as_deref().unwrap().to_owned(), image(pod))).collect();
        places.sort();
        places
    }
}

#[test]
fn every_selected_node_has_one_pod() {
    let mut toy = toy(3, json!({"maxUnavailable": 1, "maxSurge": 0}));
    toy.settle_daemon_set();
    let nodes: Vec<String> = toy.places().into_iter().map(|(node, _)| node).collect();
    assert_eq!(nodes, ["n0", "n1", "n2"]);
    let status = toy.daemon_set().status;
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (3, 3));
    assert_eq!((status.number_ready, status.number_available, status.updated_number_scheduled), (3, 3, 3));
    assert_eq!((status.number_misscheduled, status.number_unavailable), (0, 0));
    let pod = toy.all(&POD, Pod::decode).pop().unwrap();
    assert!(pod.tolerates_unschedulable);
    assert_eq!(pod.meta.labels.get("pod-template-generation").map(|label| &**label), Some("1"));
    // Another selector: pods leave the nodes that no longer fit, and come back.
    let select = |disk: &'static str| {
        move |set: &mut Value| set["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": disk})
    };
    toy.change(&DAEMON_SET, "agent", select("disk"));
    toy.settle_daemon_set();
    assert_eq!(toy.places(), [("n1".to_owned(), "v1".to_owned())]);
    toy.delete(&NODE, "n1");
    toy.settle_daemon_set();
    assert!(toy.places().is_empty() && toy.daemon_set().status.desired_number_scheduled == 0);
}

#[test]
fn failed_pods_are_replaced_after_a_while() {
    let mut toy = toy(1, json!({"maxUnavailable": 1, "maxSurge": 0}));
    toy.settle_daemon_set();
    let name = toy.names().pop().unwrap();
    let at = toy.now().text;
    let pod = toy.objects.get_mut(&("pods", name.clone())).unwrap();
    pod["status"] = json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]});
    toy.step_daemon_set();
    assert!(toy.names().contains(&name));
    toy.seconds += 10;
    toy.settle_daemon_set();
    assert!(toy.names().len() == 1 && toy.names()[0] != name);
}

#[test]
fn on_delete_waits_for_people() {
    let mut toy = toy(2, json!({"maxUnavailable": 1, "maxSurge": 0}));
    toy.change(&DAEMON_SET, "agent", |set| set["spec"]["updateStrategy"] = json!({"type": "OnDelete"}));
    toy.settle_daemon_set();
    toy.change(&DAEMON_SET, "agent", set_image("v2"));
    toy.settle_daemon_set();
    assert!(toy.places().iter().all(|(_, image)| image == "v1"));
    assert_eq!(toy.daemon_set().status.updated_number_scheduled, 0);
    let name = toy.names()[0].clone();
    toy.delete(&POD, &name);
    toy.settle_daemon_set();
    assert_eq!(toy.daemon_set().status.updated_number_scheduled, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_rolling_update_keeps_its_limits_on_any_number_of_nodes(
        nodes in 1_usize..6, surge in any::<bool>(), amount in 1_i64..4,
        order in proptest::collection::vec((any::<bool>(), 0_usize..8), 0..80),
    ) {
        let limits = if surge { (0, amount) } else { (amount, 0) };
        let mut toy = toy(nodes, json!({"maxUnavailable": limits.0, "maxSurge": limits.1}));
        toy.settle_daemon_set();
        toy.change(&DAEMON_SET, "agent", set_image("v2"));
        let count = i64::try_from(nodes).unwrap();
        for (step, which) in order {
            let unready = toy.unready_pods();
            match unready.get(which % unready.len().max(1)) {
                Some(name) if !step => toy.ready(&name.clone()),
                _ => { toy.step_daemon_set(); }
            }
            let pods = toy.all(&POD, Pod::decode);
            let available = i64::try_from(pods.iter().filter(|pod| pod.ready).count()).unwrap();
            prop_assert!(available >= count - limits.0, "{available} of {count} available, {limits:?}");
            let total = i64::try_from(pods.len()).unwrap();
            prop_assert!(total <= count + limits.1, "{total} pods on {count} nodes, {limits:?}");
        }
        toy.settle_daemon_set();
        let expected: Vec<_> = (0..nodes).map(|index| (format!("n{index}"), "v2".to_owned())).collect();
        prop_assert_eq!(toy.places(), expected);
        prop_assert_eq!(toy.daemon_set().status.updated_number_scheduled, count);
        prop_assert_eq!(toy.revisions().len(), 2);
    }
}
