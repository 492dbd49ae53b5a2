//! `serviceaccounts/NAME/token`: who holds a token is the service account, as long as that exists.

use api::kinds;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::client::{Answer, Wire};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn ask(wire: &Wire, account: &str, body: Value) -> Answer {
    wire.send("POST", &format!("{ACCOUNTS}/{account}/token"), &[JSON], &body.to_string()).await
}

/// What a client without a certificate gets.
async fn with_token(wire: &Wire, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {token}");
    let answer = wire.open(false, method, path, &[JSON, ("authorization", &bearer)], body).await;
    let code = answer.status().as_u16();
    (code, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

async fn cluster() -> Wire {
    let wire = Wire::start().await;
    let meta = json!({ "name": "cook", "namespace": "default" });
    wire.create(&kinds::SERVICE_ACCOUNT, json!({ "metadata": meta })).await;
    wire
}

#[tokio::test]
async fn a_token_is_its_service_account_until_that_is_gone() {
    let wire = cluster().await;
    let answer = ask(&wire, "cook", json!({})).await;
    assert_eq!((answer.code, &answer.json()["spec"]["expirationSeconds"]), (201, &json!(3600)), "{}", answer.text());
    let token = answer.json()["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&wire, &token, "GET", "/api/v1/pods", "").await.0, 200);
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = with_token(&wire, &token, "POST", me, "{}").await.1;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:cook");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(me["status"]["userInfo"]["groups"], groups);
    let review = async |spec: Value| {
        let body = json!({ "spec": spec }).to_string();
        wire.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &[JSON], &body).await.json()["status"].clone()
    };
    assert_eq!(review(json!({ "token": token })).await["authenticated"], true);
    assert_eq!(review(json!({ "token": "nope" })).await, json!({ "user": {}, "error": "invalid bearer token" }));
    assert_eq!(review(json!({ "token": token, "audiences": ["x"] })).await["authenticated"], Value::Null);
    wire.send("DELETE", &format!("{ACCOUNTS}/cook"), &[], "").await;
    assert_eq!(with_token(&wire, &token, "GET", "/api/v1/pods", "").await.0, 401);
    assert_eq!(with_token(&wire, "nope", "GET", "/version", "").await.0, 401);
}

#[tokio::test]
async fn tokens_for_others_and_bound_ones() {
    let wire = cluster().await;
    let other = ask(&wire, "cook", json!({ "spec": { "audiences": ["vault"] } })).await.json();
    let other = other["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&wire, &other, "GET", "/api/v1/pods", "").await.0, 401);
    let mut pod = json!({ "metadata": { "name": "eggs", "namespace": "default" }, "spec": { "containers": [{ "name": "m", "image": "x" }] } });
    wire.create(&kinds::POD, pod.clone()).await;
    let reference = |name: &str| json!({ "kind": "Pod", "apiVersion": "v1", "name": name });
    let foreign = ask(&wire, "cook", json!({ "spec": { "boundObjectRef": reference("eggs") } })).await.refusal();
    assert!(foreign.0 == 400 && foreign.2.contains("running with different serviceaccount name"), "{foreign:?}");
    pod["metadata"]["name"] = "ham".into();
    pod["spec"]["serviceAccountName"] = "cook".into();
    wire.create(&kinds::POD, pod).await;
    let reference = reference("ham");
    let bound = ask(&wire, "cook", json!({ "spec": { "boundObjectRef": reference } })).await.json();
    let bound = bound["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&wire, &bound, "GET", "/api/v1/pods", "").await.0, 200);
    wire.send("DELETE", "/api/v1/namespaces/default/pods/ham", &[], "").await;
    assert_eq!(with_token(&wire, &bound, "GET", "/api/v1/pods", "").await.0, 401);
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let wire = cluster().await;
    for (account, body, code, message) in [
        ("nope", json!({}), 404, "serviceaccounts \"nope\" not found"),
        (
            "cook",
            json!({ "spec": { "expirationSeconds": 60 } }),
            422,
            "may not specify a duration less than 10 minutes",
        ),
        ("cook", json!({ "spec": { "expirationSeconds": 5_000_000_000_u64 } }), 422, "larger than 2^32 seconds"),
        ("cook", json!({ "metadata": { "name": "x" } }), 422, "must match the service account name if specified"),
        (
            "cook",
            json!({ "spec": { "boundObjectRef": { "kind": "Foo", "apiVersion": "v1", "name": "x" } } }),
            400,
            "cannot bind token to object of type /v1, Kind=Foo",
        ),
        (
            "cook",
            json!({ "spec": { "boundObjectRef": { "kind": "Pod", "apiVersion": "v1", "name": "x" } } }),
            404,
            "pods \"x\" not found",
        ),
    ] {
        let refusal = ask(&wire, account, body).await.refusal();
        assert!(refusal.0 == code && refusal.2.contains(message), "{refusal:?}");
    }
    assert_eq!(wire.get(&format!("{ACCOUNTS}/cook/token")).await.refusal().0, 405);
}
