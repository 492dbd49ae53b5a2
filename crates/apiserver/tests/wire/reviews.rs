//! `authorization.k8s.io` and `authentication.k8s.io`: who one is, and what one may do.

use serde_json::{Value, json};

use crate::client::{Answer, Wire};

const RIGHTS: &str = "/apis/authorization.k8s.io/v1";
const JSON: (&str, &str) = ("content-type", "application/json");
const NOBODY: (&str, &str) = ("impersonate-user", "system:anonymous");

async fn ask(wire: &Wire, path: &str, spec: Value) -> Answer {
    wire.send("POST", &format!("{RIGHTS}/{path}"), &[JSON], &json!({ "spec": spec }).to_string()).await
}

#[tokio::test]
async fn everybody_known_may_everything_and_strangers_see_health_and_version() {
    let wire = Wire::start().await;
    let pods = json!({ "verb": "create", "resource": "pods", "namespace": "default" });
    let known = json!({ "user": "bob", "resourceAttributes": pods });
    let stranger =
        json!({ "user": "system:anonymous", "groups": ["system:unauthenticated"], "resourceAttributes": pods });
    let health = json!({ "user": "system:anonymous", "nonResourceAttributes": { "verb": "get", "path": "/healthz" } });
    for (path, spec, allowed) in [
        ("selfsubjectaccessreviews", json!({ "resourceAttributes": pods }), true),
        ("selfsubjectaccessreviews", json!({ "nonResourceAttributes": { "verb": "get", "path": "/x" } }), true),
        ("subjectaccessreviews", known.clone(), true),
        ("subjectaccessreviews", stranger.clone(), false),
        ("subjectaccessreviews", health, true),
        ("namespaces/default/localsubjectaccessreviews", known, true),
        ("namespaces/default/localsubjectaccessreviews", stranger, false),
    ] {
        let answer = ask(&wire, path, spec.clone()).await;
        assert_eq!(answer.code, 201, "{path} {spec}: {}", answer.text());
        assert_eq!((&answer.json()["status"]["allowed"], &answer.json()["spec"]), (&json!(allowed), &spec), "{path}");
    }
    let rules = ask(&wire, "selfsubjectrulesreviews", json!({ "namespace": "default" })).await.json();
    let everything = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
    assert!(rules["status"]["resourceRules"].as_array().unwrap().contains(&everything), "{rules}");
}

#[tokio::test]
async fn one_is_who_the_certificate_says_or_whom_one_says_to_be() {
    let wire = Wire::start().await;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = wire.send("POST", path, &[JSON], "{}").await.json();
    let groups = json!(["system:masters", "system:authenticated"]);
    assert_eq!(me["status"]["userInfo"], json!({ "username": "mainstay-admin", "groups": groups }));
    let bob = [JSON, ("impersonate-user", "bob"), ("impersonate-group", "cooks")];
    let bob = wire.send("POST", path, &bob, "{}").await.json();
    let groups = json!(["cooks", "system:authenticated"]);
    assert_eq!(bob["status"]["userInfo"], json!({ "username": "bob", "groups": groups }));
    // Whoever says to be nobody may do what nobody may.
    let refused = wire.send("GET", "/api/v1/pods", &[NOBODY], "").await.refusal();
    assert_eq!((refused.0, refused.1.as_str()), (403, "Forbidden"));
    assert_eq!(wire.send("GET", "/version", &[NOBODY], "").await.code, 200);
    assert_eq!(wire.send("GET", "/api/v1/pods", &[("impersonate-group", "cooks")], "").await.refusal().0, 400);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let wire = Wire::start().await;
    let (pods, path) = (json!({ "verb": "get", "resource": "pods" }), json!({ "verb": "get", "path": "/x" }));
    for (place, spec, expected) in [
        ("selfsubjectaccessreviews", json!({}), "exactly one of nonResourceAttributes or resourceAttributes"),
        (
            "selfsubjectaccessreviews",
            json!({ "resourceAttributes": pods, "nonResourceAttributes": path }),
            "cannot be specified in combination with resourceAttributes",
        ),
        ("subjectaccessreviews", json!({ "resourceAttributes": pods }), "at least one of user or group"),
        (
            "namespaces/default/localsubjectaccessreviews",
            json!({ "user": "b", "nonResourceAttributes": path }),
            "disallowed on this kind of request",
        ),
        (
            "namespaces/default/localsubjectaccessreviews",
            json!({ "user": "b", "resourceAttributes": { "verb": "get", "namespace": "other" } }),
            "must match metadata.namespace",
        ),
    ] {
        let (code, reason, message) = ask(&wire, place, spec).await.refusal();
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let named = json!({ "metadata": { "name": "x" }, "spec": { "resourceAttributes": pods } });
    let named = wire.send("POST", &format!("{RIGHTS}/selfsubjectaccessreviews"), &[JSON], &named.to_string()).await;
    assert!(named.refusal().2.contains("metadata: Invalid value"), "{}", named.text());
    assert_eq!(ask(&wire, "selfsubjectrulesreviews", json!({})).await.refusal().2, "no namespace on request");
    let table = [JSON, ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    assert_eq!(wire.send("POST", &format!("{RIGHTS}/selfsubjectaccessreviews"), &table, "{}").await.code, 406);
    for (method, path, code) in [
        ("GET", "selfsubjectaccessreviews", 405),
        ("DELETE", "selfsubjectaccessreviews", 405),
        ("GET", "selfsubjectaccessreviews/x", 404),
    ] {
        assert_eq!(wire.send(method, &format!("{RIGHTS}/{path}"), &[], "").await.code, code, "{method} {path}");
    }
}

#[tokio::test]
async fn discovery_and_openapi_show_questions_as_create_only() {
    let wire = Wire::start().await;
    let list = wire.get(RIGHTS).await.json();
    let names: Vec<_> =
        list["resources"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews"]
    );
    assert!(list["resources"].as_array().unwrap().iter().all(|entry| entry["verbs"] == json!(["create"])));
    let document = wire.get("/openapi/v3/apis/authorization.k8s.io/v1").await.json();
    let path = &document["paths"]["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"];
    assert!(path["post"].is_object() && path["get"].is_null(), "{path}");
}
