//! What holds for every kind: lists in chunks, watches, deletions, dry runs, options that make no sense.

use std::collections::BTreeSet;

use api::kinds;
use contract::access::Access;
use serde_json::{Value, json};

use crate::client::{Answer, Lines, Wire};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A server with the ConfigMaps `a` to `e`; all but `e` are labelled `app=ham`.
async fn maps() -> Wire {
    let wire = Wire::start().await;
    fill(&wire).await;
    wire
}

async fn fill(wire: &Wire) {
    for name in ["a", "b", "c", "d", "e"] {
        let labels = if name == "e" { json!({}) } else { json!({ "app": "ham" }) };
        let object = json!({ "metadata": { "name": name, "namespace": "default", "labels": labels } });
        wire.create(&kinds::CONFIG_MAP, object).await;
    }
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn post(wire: &Wire, path: &str, body: Value) -> Answer {
    wire.send("POST", path, &[JSON], &body.to_string()).await
}

async fn delete(wire: &Wire, path: &str, body: Value) -> Answer {
    wire.send("DELETE", path, &[JSON], &body.to_string()).await
}

#[tokio::test]
async fn lists_come_in_chunks_of_one_revision() {
    let wire = maps().await;
    let first = wire.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".into(), "b".into()], &json!(3)));
    post(&wire, MAPS, json!({ "metadata": { "name": "c2" } })).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = wire.get(&format!("{MAPS}?limit=5&continue={token}")).await.json();
    assert_eq!((names(&rest), &rest["metadata"]["continue"]), (vec!["c".into(), "d".into(), "e".into()], &Value::Null));
    assert_eq!(first["metadata"]["resourceVersion"], rest["metadata"]["resourceVersion"]);
    // With a selector nobody counts what is left.
    let selected = wire.get(&format!("{MAPS}?limit=2&labelSelector=app%3Dham")).await.json();
    assert!(selected["metadata"]["continue"].is_string() && selected["metadata"]["remainingItemCount"].is_null());
    let refused = wire.get(&format!("{MAPS}?continue={token}&resourceVersion=1")).await.refusal();
    assert_eq!(
        (refused.0, refused.2.as_str()),
        (400, "specifying resource version is not allowed when using continue")
    );
    // A Table and metadata come in the same chunks.
    for shape in ["Table", "PartialObjectMetadataList"] {
        let accept = format!("application/json;as={shape};v=v1;g=meta.k8s.io");
        let chunk = wire.send("GET", &format!("{MAPS}?limit=2"), &[("accept", &accept)], "").await.json();
        assert_eq!((&chunk["kind"], &chunk["metadata"]["remainingItemCount"]), (&json!(shape), &json!(4)), "{chunk}");
    }
}

#[tokio::test]
async fn a_token_that_is_too_old_comes_with_one_that_is_not() {
    let wire = Wire::with_history(20).await;
    fill(&wire).await;
    let token = wire.get(&format!("{MAPS}?limit=2")).await.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    for round in 0..30 {
        let path = format!("{MAPS}/e");
        let patch = json!({ "data": { "round": round.to_string() } }).to_string();
        wire.send("PATCH", &path, &[("content-type", "application/merge-patch+json")], &patch).await;
    }
    let expired = wire.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((expired.code, expired.refusal().1.as_str()), (410, "Expired"));
    let fresh = expired.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    post(&wire, MAPS, json!({ "metadata": { "name": "c2" } })).await;
    let rest = wire.get(&format!("{MAPS}?limit=9&continue={fresh}")).await.json();
    assert_eq!(names(&rest), ["c", "c2", "d", "e"]);
    // A watch from then is as late.
    let late = wire.get("/api/v1/configmaps?watch=true&resourceVersion=2").await;
    assert_eq!((late.code, late.refusal().1.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn versions_of_lists() {
    let wire = maps().await;
    let before = wire.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    delete(&wire, &format!("{MAPS}/a"), json!({})).await;
    let count = async |query: &str| names(&wire.get(&format!("{MAPS}?{query}")).await.json()).len();
    assert_eq!(count(&format!("resourceVersion={before}&resourceVersionMatch=Exact")).await, 5);
    assert_eq!(count(&format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan")).await, 4);
    assert_eq!(count(&format!("resourceVersion={before}")).await, 4);
    assert_eq!(count("resourceVersion=0").await, 4);
    for (query, code) in [
        ("resourceVersion=x", 400),
        ("resourceVersion=99999", 504),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Newest", 422),
        ("sendInitialEvents=true", 422),
        ("limit=x", 400),
        ("continue=x", 400),
        ("labelSelector=a%20foo%20b", 400),
        ("labelSelector=a%3Eb", 400),
        ("fieldSelector=data%3Dx", 400),
    ] {
        assert_eq!(wire.get(&format!("{MAPS}?{query}")).await.refusal().0, code, "{query}");
    }
    assert_eq!(count("labelSelector=n%3E4").await, 0);
}

#[tokio::test]
async fn each_kind_says_which_fields_select() {
    let wire = Wire::start().await;
    let other = "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    for (path, known, why) in [
        ("/api/v1/pods", "spec.nodeName", "field label not supported: data"),
        ("/api/v1/pods", "status.phase", "field label not supported: data"),
        ("/api/v1/services", "spec.type", "field label not supported: data"),
        ("/api/v1/services", "spec.clusterIP", "field label not supported: data"),
        ("/api/v1/nodes", "spec.unschedulable", "field label not supported: data"),
        ("/api/v1/namespaces", "status.phase", "field label not supported: data"),
        ("/api/v1/secrets", "type", "field label not supported: data"),
        ("/api/v1/events", "involvedObject.uid", "field label not supported: data"),
        ("/api/v1/configmaps", "metadata.namespace", other),
        ("/apis/apps/v1/deployments", "metadata.name", other),
        ("/apis/discovery.k8s.io/v1/endpointslices", "metadata.name", other),
    ] {
        assert_eq!(wire.get(&format!("{path}?fieldSelector={known}%3Dx")).await.code, 200, "{path} {known}");
        let refused = wire.get(&format!("{path}?fieldSelector=data%3Dx")).await.refusal();
        assert_eq!(refused, (400, "BadRequest".into(), why.into()), "{path}");
    }
    let unclear = wire.get("/api/v1/pods?fieldSelector=foo").await.refusal();
    assert_eq!(unclear.2, "invalid selector: 'foo'; can't understand 'foo'");
}

#[tokio::test]
async fn a_watch_list_shows_what_is_there_and_says_when_that_was_all() {
    let wire = maps().await;
    let version = wire.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut lines = Lines::open(&wire, &format!("{MAPS}?{query}&resourceVersion={version}"), "").await;
    let mut seen = BTreeSet::new();
    let bookmark = loop {
        let event = lines.next().await.unwrap();
        if event["type"] == "BOOKMARK" {
            break event["object"].clone();
        }
        assert_eq!(event["type"], "ADDED");
        seen.insert(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    };
    assert_eq!(seen.len(), 5);
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!((&bookmark["metadata"]["resourceVersion"], &bookmark["kind"]), (&json!(version), &json!("ConfigMap")));
    delete(&wire, &format!("{MAPS}/a"), json!({})).await;
    let event = lines.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("a")));
    for (query, count) in [
        ("sendInitialEvents=true", 2),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 1),
        ("resourceVersionMatch=Exact", 2),
        ("resourceVersionMatch=NotOlderThan", 1),
    ] {
        let answer = wire.get(&format!("{MAPS}?watch=true&{query}")).await;
        assert_eq!(answer.code, 422, "{query}");
        assert_eq!(answer.json()["details"]["causes"].as_array().unwrap().len(), count, "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn watches_end_by_their_time_after_a_last_bookmark_in_every_shape() {
    let wire = maps().await;
    let shapes = [("", "ConfigMap"), ("Table", "Table"), ("PartialObjectMetadata", "PartialObjectMetadata")];
    let wire = &wire;
    let all = shapes.map(|(shape, kind)| async move {
        let accept = if shape.is_empty() {
            "application/json".to_owned()
        } else {
            format!("application/json;as={shape};v=v1;g=meta.k8s.io,application/json")
        };
        let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=3");
        let mut lines = Lines::open(wire, &path, &accept).await;
        for _ in 0..5 {
            let event = lines.next().await.unwrap();
            assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!(kind)));
        }
        // What this client does not select only shows in the version of the bookmark.
        post(wire, "/api/v1/namespaces/default/secrets", json!({ "metadata": { "generateName": "s-" } })).await;
        let event = lines.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("BOOKMARK"), &json!(kind)));
        assert!(lines.next().await.is_none(), "the stream ends");
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn many_are_deleted_at_once_as_selected() {
    let wire = maps().await;
    let left = async || names(&wire.get(MAPS).await.json()).join("");
    let all = delete(&wire, &format!("{MAPS}?dryRun=All"), json!({})).await;
    assert_eq!((all.code, names(&all.json()).len(), left().await.as_str()), (200, 5, "abcde"));
    let one = delete(&wire, &format!("{MAPS}?fieldSelector=metadata.name%3Da"), json!({})).await;
    assert_eq!((names(&one.json()), left().await.as_str()), (vec!["a".into()], "bcde"));
    let wrong = json!({ "preconditions": { "uid": "x" } });
    assert_eq!(delete(&wire, &format!("{MAPS}?labelSelector=app%3Dham"), wrong).await.refusal().0, 409);
    let orphan = json!({ "propagationPolicy": "Orphan" });
    delete(&wire, &format!("{MAPS}?labelSelector=app%3Dham&limit=1"), orphan).await;
    let b = wire.get(&format!("{MAPS}/b")).await.json();
    assert_eq!(b["metadata"]["finalizers"], json!(["orphan"]));
    delete(&wire, &format!("{MAPS}?labelSelector=app%3Dham"), json!({})).await;
    assert_eq!(left().await, "be", "b waits for the garbage collector");
    assert_eq!(delete(&wire, "/api/v1/configmaps", json!({})).await.refusal().0, 405);
}

#[tokio::test]
async fn deletions_mind_preconditions_and_policies() {
    let wire = maps().await;
    let a = format!("{MAPS}/a");
    let version = wire.get(&a).await.json()["metadata"]["resourceVersion"].clone();
    for (options, code) in [
        (json!({ "preconditions": { "uid": "x" } }), 409),
        (json!({ "preconditions": { "resourceVersion": "1" } }), 409),
        (json!({ "propagationPolicy": "Sometimes" }), 422),
        (json!({ "propagationPolicy": "Orphan", "orphanDependents": true }), 422),
        (json!({ "dryRun": ["Some"] }), 422),
        (json!({ "kind": "ConfigMap" }), 400),
        (json!({ "gracePeriodSeconds": "x" }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(delete(&wire, &a, options.clone()).await.refusal().0, code, "{options}");
    }
    let query = format!("{a}?propagationPolicy=Sometimes");
    let refused = wire.send("DELETE", &query, &[], "").await.refusal();
    assert_eq!(
        refused.2,
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sometimes\": supported values: \
         \"Foreground\", \"Background\", \"Orphan\", \"nil\""
    );
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let answer = wire.send("DELETE", &format!("{a}?propagationPolicy={policy}&dryRun=All"), &[], "").await.json();
        assert_eq!(answer["metadata"]["finalizers"], json!([finalizer]));
        assert!(answer["metadata"]["deletionTimestamp"].is_string(), "{answer}");
    }
    let done = delete(&wire, &a, json!({ "preconditions": { "resourceVersion": version } })).await.json();
    assert_eq!(
        (&done["kind"], &done["status"], &done["details"]["name"]),
        (&json!("Status"), &json!("Success"), &json!("a"))
    );
    assert_eq!(delete(&wire, &a, json!({})).await.refusal().0, 404);
}

#[tokio::test]
async fn a_dry_run_stores_and_takes_nothing_whatever_the_verb() {
    let wire = maps().await;
    let revision = wire.api.store().revision();
    let services = "/api/v1/namespaces/default/services?dryRun=All";
    let service = json!({ "metadata": { "name": "s" }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } });
    let shown = post(&wire, services, service).await;
    assert_eq!((shown.code, &shown.json()["spec"]["type"]), (201, &json!("NodePort")), "{}", shown.text());
    let merge = [("content-type", "application/merge-patch+json")];
    let a = format!("{MAPS}/a?dryRun=All");
    let patched = wire.send("PATCH", &a, &merge, "{\"data\":{\"x\":\"y\"}}").await.json();
    assert_eq!(patched["data"], json!({ "x": "y" }));
    let put = json!({ "metadata": { "name": "a" }, "data": { "x": "z" } }).to_string();
    assert_eq!(wire.send("PUT", &a, &[JSON], &put).await.json()["data"], json!({ "x": "z" }));
    assert_eq!(wire.send("DELETE", &a, &[], "").await.code, 200);
    assert_eq!(delete(&wire, MAPS, json!({ "dryRun": ["All"] })).await.code, 200);
    assert_eq!(wire.api.store().revision(), revision);
    assert_eq!(wire.get(&format!("{MAPS}/a")).await.json()["data"], Value::Null);
    for (method, options) in [("POST", "CreateOptions"), ("DELETE", "DeleteOptions")] {
        let path = if method == "POST" { MAPS.to_owned() } else { format!("{MAPS}/a") };
        let body = if method == "POST" { "{\"metadata\":{\"name\":\"z\"}}" } else { "" };
        let refused = wire.send(method, &format!("{path}?dryRun=Some"), &[JSON], body).await.refusal();
        assert_eq!((refused.0, refused.2.starts_with(options)), (422, true), "{}", refused.2);
    }
}

#[tokio::test]
async fn evictions_delete_pods_and_nothing_else() {
    let wire = Wire::start().await;
    let pod = json!({ "metadata": { "name": "ham", "namespace": "default" }, "spec": { "containers": [{ "name": "m", "image": "x" }] } });
    wire.create(&kinds::POD, pod).await;
    let path = "/api/v1/namespaces/default/pods/ham/eviction";
    let evict = |name: &str, options: Value| json!({ "kind": "Eviction", "apiVersion": "policy/v1", "metadata": { "name": name }, "deleteOptions": options });
    assert_eq!(
        post(&wire, path, evict("eggs", json!({}))).await.refusal().2,
        "name in URL does not match name in Eviction object"
    );
    assert_eq!(post(&wire, path, json!({ "kind": "Pod" })).await.refusal().0, 400);
    assert_eq!(post(&wire, path, evict("ham", json!({ "preconditions": { "uid": "x" } }))).await.refusal().0, 409);
    assert_eq!(post(&wire, &format!("{path}?dryRun=All"), evict("ham", json!({}))).await.code, 201);
    assert_eq!(wire.get("/api/v1/namespaces/default/pods/ham").await.code, 200);
    let done = post(&wire, path, evict("ham", json!({ "gracePeriodSeconds": 0 }))).await;
    assert_eq!((done.code, &done.json()["status"]), (201, &json!("Success")));
    assert_eq!(post(&wire, path, evict("ham", json!({}))).await.refusal().0, 404);
    assert_eq!(wire.get(path).await.refusal().0, 405);
    let list = wire.get("/api/v1").await.json();
    let entry = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == "pods/eviction").unwrap();
    assert_eq!((&entry["group"], &entry["kind"]), (&json!("policy"), &json!("Eviction")));
}

#[tokio::test]
async fn paths_and_media_that_nobody_serves() {
    let wire = maps().await;
    for path in [
        "/api/v1/foos",
        "/apis/foo.com/v1",
        "/apis/foo.com",
        "/apis/apps/v1/foos",
        "/apis/apps/v2/deployments",
        "/api/v1/namespaces/default/pods/x/foo",
    ] {
        let missing = wire.get(path).await.refusal();
        assert_eq!(
            missing,
            (404, "NotFound".into(), "the server could not find the requested resource".into()),
            "{path}"
        );
    }
    let other = wire.get("/foo").await;
    assert_eq!((other.code, other.text().as_str()), (404, "404 page not found\n"));
    let text = [("content-type", "text/plain")];
    assert_eq!(wire.send("POST", MAPS, &text, "x").await.refusal().0, 415);
    assert_eq!(wire.send("PATCH", &format!("{MAPS}/a"), &text, "x").await.refusal().0, 415);
    assert_eq!(wire.send("GET", MAPS, &[("accept", "text/html")], "").await.refusal().0, 406);
    for (method, path) in [("PUT", MAPS.to_owned()), ("POST", format!("{MAPS}/a")), ("PATCH", MAPS.to_owned())] {
        assert_eq!(wire.send(method, &path, &[JSON], "{}").await.refusal().0, 405, "{method} {path}");
    }
    assert_eq!(wire.send("POST", MAPS, &[JSON], "{").await.refusal().0, 400);
}

#[tokio::test]
async fn a_name_that_cannot_be_made_says_so() {
    let wire = Wire::with_equal_ids().await;
    let body = json!({ "metadata": { "generateName": "ham-", "namespace": "default" } });
    let first = post(&wire, MAPS, body.clone()).await;
    assert_eq!(first.code, 201, "{}", first.text());
    let (code, reason, message) = post(&wire, MAPS, body).await.refusal();
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));
    assert!(message.ends_with("the server was not able to generate a unique name for the object"), "{message}");
    assert_eq!(wire.api.list(&kinds::CONFIG_MAP, &Default::default()).await.ok().unwrap().items.len(), 1);
}
