//! What Pods and Ingresses take over from the classes they name, and what is refused for lack of one.

use ::api::kinds::{INGRESS, INGRESS_CLASS, NETWORK_POLICY, PRIORITY_CLASS, RUNTIME_CLASS};

use super::*;

fn with(name: &str, members: Value) -> Value {
    let mut pod = pod(name);
    for (key, value) in members.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

async fn classes() -> (Api, tempfile::TempDir) {
    let (api, dir) = fresh().await;
    api.bootstrap().await.unwrap();
    let high = json!({ "metadata": { "name": "high" }, "value": 1000, "preemptionPolicy": "Never" });
    api.create(&PRIORITY_CLASS, high).await.unwrap();
    (api, dir)
}

async fn refused(api: &Api, table: &[(Value, &str)]) {
    for (members, why) in table {
        let refused = api.create(&POD, with("bad", members.clone())).await.unwrap_err();
        assert_eq!((refused.code, refused.message), (403, format!("pods \"bad\" is forbidden: {why}")));
    }
}

#[tokio::test]
async fn pods_get_the_priority_of_their_class() {
    let (api, _dir) = classes().await;
    let lower = "PreemptLowerPriority";
    let table = [
        (json!({}), 0, lower),
        (json!({ "priorityClassName": "high" }), 1000, "Never"),
        (json!({ "priorityClassName": "system-node-critical", "priority": 2_000_001_000 }), 2_000_001_000, lower),
    ];
    for (i, (members, priority, policy)) in table.into_iter().enumerate() {
        let made = json_of(&api.create(&POD, with(&format!("p{i}"), members)).await.unwrap());
        assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(priority), &json!(policy)));
        let mut bare = made.clone();
        bare["spec"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !["priority", "preemptionPolicy"].contains(&key.as_str()));
        let kept = json_of(&api.update(&POD, bare).await.unwrap());
        assert_eq!(kept["spec"], made["spec"], "an update that leaves them out keeps them");
    }
    let refusals = [
        (json!({ "priorityClassName": "nope" }), "no PriorityClass with name nope was found"),
        (
            json!({ "priorityClassName": "high", "priority": 7 }),
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed \
             1000 from the given PriorityClass name",
        ),
        (
            json!({ "preemptionPolicy": "Never" }),
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission \
             controller computed PreemptLowerPriority from the given PriorityClass name",
        ),
    ];
    refused(&api, &refusals).await;
}

#[tokio::test]
async fn one_priority_class_may_be_the_default() {
    let (api, _dir) = classes().await;
    let class = |name: &str, value: i64| json!({ "metadata": { "name": name }, "value": value, "globalDefault": true });
    let cluster = |name: &str| ObjectKey::new("", name);
    api.create(&PRIORITY_CLASS, class("low", -5)).await.unwrap();
    let made = json_of(&api.create(&POD, pod("ham")).await.unwrap());
    assert_eq!((&made["spec"]["priority"], &made["spec"]["priorityClassName"]), (&json!(-5), &json!("low")));
    let second = api.create(&PRIORITY_CLASS, class("other", 5)).await.unwrap_err();
    assert_eq!(
        second.message,
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass low is already marked as default. Only \
         one default can exist"
    );
    let same = json_of(&api.get(&PRIORITY_CLASS, &cluster("low")).await.unwrap());
    api.update(&PRIORITY_CLASS, same).await.unwrap();
    let options = DeleteOptions::default();
    let built_in = api.delete(&PRIORITY_CLASS, &cluster("system-node-critical"), &options).await.unwrap_err();
    assert_eq!(
        built_in.message,
        "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and \
         cannot be deleted"
    );
    api.delete(&PRIORITY_CLASS, &cluster("low"), &options).await.unwrap();
}

#[tokio::test]
async fn pods_get_what_their_runtime_class_asks_for() {
    let (api, _dir) = fresh().await;
    let scheduling = json!({ "nodeSelector": { "a/b": "c" }, "tolerations": [{ "key": "k", "operator": "Exists" }] });
    let class = json!({ "metadata": { "name": "gvisor" }, "handler": "runsc",
        "overhead": { "podFixed": { "cpu": "10m" } }, "scheduling": scheduling });
    api.create(&RUNTIME_CLASS, class).await.unwrap();
    let made = json_of(&api.create(&POD, with("ham", json!({ "runtimeClassName": "gvisor" }))).await.unwrap());
    assert_eq!(made["spec"]["overhead"], json!({ "cpu": "10m" }));
    assert_eq!(made["spec"]["nodeSelector"], json!({ "a/b": "c" }));
    assert!(made["spec"]["tolerations"].as_array().unwrap().contains(&scheduling["tolerations"][0]));
    let refusals = [
        (json!({ "runtimeClassName": "nope" }), "pod rejected: RuntimeClass \"nope\" not found"),
        (
            json!({ "overhead": { "cpu": "1" } }),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({ "runtimeClassName": "gvisor", "overhead": { "cpu": "1" } }),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({ "runtimeClassName": "gvisor", "nodeSelector": { "a/b": "d" } }),
            "conflict: runtimeClass.scheduling.nodeSelector[a/b] = c; pod.spec.nodeSelector[a/b] = d",
        ),
    ];
    refused(&api, &refusals).await;
}

fn ingress(name: &str) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    json!({ "metadata": { "name": name, "namespace": "default" }, "spec": { "defaultBackend": backend } })
}

#[tokio::test]
async fn ingresses_get_the_newest_default_class() {
    let (api, _dir) = fresh().await;
    let class = |name: &str| {
        let annotations = json!({ "ingressclass.kubernetes.io/is-default-class": "true" });
        json!({ "metadata": { "name": name, "annotations": annotations }, "spec": { "controller": "a.b/c" } })
    };
    let class_of = async |ingress: Value| {
        json_of(&api.create(&INGRESS, ingress).await.unwrap())["spec"].get("ingressClassName").cloned()
    };
    assert_eq!(class_of(ingress("none")).await, None);
    // Made in the same second: the first by name.
    for name in ["two", "one"] {
        api.create(&INGRESS_CLASS, class(name)).await.unwrap();
    }
    assert_eq!(class_of(ingress("default")).await, Some("one".into()));
    let mut own = ingress("own");
    own["spec"]["ingressClassName"] = "two".into();
    assert_eq!(class_of(own).await, Some("two".into()));
    let mut old_style = ingress("old-style");
    old_style["metadata"]["annotations"] = json!({ "kubernetes.io/ingress.class": "x" });
    assert_eq!(class_of(old_style).await, None);
}

#[tokio::test]
async fn what_is_not_enforced_says_so_on_every_write_but_status() {
    let (api, _dir) = fresh().await;
    let told = INGRESS.not_enforced.unwrap();
    let options = WriteOptions::default();
    let made = api.create_object(&INGRESS, "", &ingress("ham"), &options).await.unwrap();
    assert_eq!(made.warnings, [told]);
    let change = json!({ "metadata": { "labels": { "a": "b" } } });
    for (target, warnings) in [(Target::Main, vec![told.to_owned()]), (Target::Status, vec![])] {
        let patched = api.patch_object(&INGRESS, &key("ham"), target, Language::Merge, &change, &options).await;
        assert_eq!(patched.unwrap().warnings, warnings);
    }
    let policy = json!({ "metadata": { "name": "deny", "namespace": "default" }, "spec": { "podSelector": {} } });
    let made = api.create_object(&NETWORK_POLICY, "", &policy, &options).await.unwrap();
    assert_eq!(made.warnings, [NETWORK_POLICY.not_enforced.unwrap()]);
    let made = api.create_object(&SERVICE, "", &service("web", "ClusterIP"), &options).await.unwrap();
    assert!(made.warnings.is_empty());
}
