//! Events by the group that newer clients write to, kube-proxy among them: the same objects under other names.

use serde_json::{Value, json};

use crate::client::{Lines, Wire};

const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const CORE: &str = "/api/v1/namespaces/default/events";
const JSON: (&str, &str) = ("content-type", "application/json");

/// What kube-proxy says when it starts.
fn event() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "peer.1", "namespace": "default" },
        "eventTime": "2026-11-21T23:08:25.993704Z", "reportingController": "kube-proxy",
        "reportingInstance": "kube-proxy-peer", "action": "StartKubeProxy", "reason": "Starting",
        "regarding": { "kind": "Node", "name": "peer" }, "note": "up", "type": "Normal",
    })
}

#[tokio::test]
async fn an_event_written_by_the_newer_group_is_read_by_both() {
    let wire = Wire::start().await;
    let made = wire.send("POST", NEWER, &[JSON], &event().to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    for field in ["apiVersion", "note", "regarding", "reportingController", "eventTime", "action"] {
        assert_eq!(made[field], event()[field], "{made}");
    }
    let core = wire.get(&format!("{CORE}/peer.1")).await.json();
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("up")));
    assert_eq!((&core["involvedObject"]["name"], &core["reportingComponent"]), (&json!("peer"), &json!("kube-proxy")));
    let listed = wire.get(&format!("{NEWER}?fieldSelector=reason%3DStarting")).await.json();
    assert_eq!((&listed["kind"], &listed["apiVersion"]), (&json!("EventList"), &json!("events.k8s.io/v1")));
    assert_eq!(listed["items"], json!([made]));
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let rows = wire.send("GET", NEWER, &table, "").await.json();
    assert_eq!(rows["rows"][0]["cells"][3], "node/peer", "{rows}");
}

#[tokio::test]
async fn a_series_is_patched_and_watched() {
    let wire = Wire::start().await;
    let from = wire.send("POST", NEWER, &[JSON], &event().to_string()).await.json();
    let mut lines = Lines::open(
        &wire,
        &format!("{NEWER}?watch=1&resourceVersion={}", from["metadata"]["resourceVersion"].as_str().unwrap()),
        "",
    )
    .await;
    let series =
        json!({ "series": { "count": 2, "lastObservedTime": "2026-11-21T23:09:00.000000Z" }, "note": "again" });
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    let patched = wire.send("PATCH", &format!("{NEWER}/peer.1"), &kind, &series.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    assert_eq!((&patched.json()["series"]["count"], &patched.json()["note"]), (&json!(2), &json!("again")));
    let seen = lines.next().await.unwrap();
    assert_eq!((&seen["type"], &seen["object"]), (&json!("MODIFIED"), &patched.json()));
    assert_eq!(wire.get(&format!("{CORE}/peer.1")).await.json()["message"], "again");
}

#[tokio::test]
async fn an_event_of_nobody_is_refused_and_discovery_names_the_group() {
    let wire = Wire::start().await;
    let mut nobody = event();
    nobody["reportingController"] = "".into();
    let refused = wire.send("POST", NEWER, &[JSON], &nobody.to_string()).await.refusal();
    assert_eq!((refused.0, refused.1.as_str()), (422, "Invalid"));
    assert!(refused.2.contains("reportingController: Required value"), "{}", refused.2);
    let resources = wire.get("/apis/events.k8s.io/v1").await.json();
    assert_eq!(
        (&resources["resources"][0]["name"], &resources["resources"][0]["kind"]),
        (&json!("events"), &json!("Event"))
    );
}
