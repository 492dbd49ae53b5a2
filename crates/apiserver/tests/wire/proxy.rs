//! `pods|services/[scheme:]name[:port]/proxy/...`: what arrives at the pod, and what comes back.

use api::kinds;
use contract::access::Access;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend;
use crate::client::Wire;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Two pods, one of them with an address that leads nowhere good, and a Service of two ports in front of the first.
async fn cluster() -> Wire {
    let wire = Wire::start().await;
    wire.api.set_dial(backend::start().await);
    for (name, address) in [("ham", "10.244.0.5"), ("evil", "127.0.0.1")] {
        let port = json!({ "name": "web", "containerPort": 8080 });
        wire.create(
            &kinds::POD,
            json!({
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "containers": [{ "name": "main", "image": "x", "ports": [port] }] },
            }),
        )
        .await;
        let pod = wire.get(&format!("{PODS}/{name}")).await.json();
        let status = json!({ "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] });
        wire.api.update_status(&kinds::POD, with(pod, "status", status)).await.unwrap();
    }
    let ports = json!([{ "name": "web", "port": 80 }, { "name": "tls", "port": 443 }, { "name": "gone", "port": 9 }]);
    for name in ["ham", "foreign", "empty"] {
        wire.create(
            &kinds::SERVICE,
            json!({ "metadata": { "name": name, "namespace": "default" }, "spec": { "ports": ports } }),
        )
        .await;
    }
    let address = |name: &str| json!({ "ip": "10.244.0.5", "targetRef": { "kind": "Pod", "name": name, "namespace": "default" } });
    let subsets = |address: Value| json!([{ "addresses": [address], "ports": ports }]);
    for (name, subsets) in
        [("ham", subsets(address("ham"))), ("foreign", subsets(address("evil"))), ("empty", json!([]))]
    {
        wire.create(
            &kinds::ENDPOINTS,
            json!({ "metadata": { "name": name, "namespace": "default" }, "subsets": subsets }),
        )
        .await;
    }
    wire
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

#[tokio::test]
async fn every_method_reaches_the_pod_with_its_path_query_and_body() {
    let wire = cluster().await;
    for id in [
        "pods/ham",
        "pods/ham:8080",
        "pods/http:ham:web",
        "services/ham:web",
        "services/ham:80",
        "services/https:ham:tls",
        "services/https:ham:443",
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let path = format!("/api/v1/namespaces/default/{id}/proxy/a//b%20c/?method={method}&x=100%");
            let body = if method == "GET" { "" } else { "some body" };
            let answer = wire.send(method, &path, &[("x-mine", "1"), ("te", "trailers")], body).await;
            assert_eq!(answer.code, 200, "{method} {id}: {}", answer.text());
            let seen = answer.json();
            assert_eq!(seen["method"], method);
            assert_eq!(seen["uri"], format!("/a//b%20c/?method={method}&x=100%"));
            assert_eq!(seen["body"], body);
            assert_eq!((&seen["headers"]["x-mine"], &seen["headers"]["te"]), (&json!("1"), &Value::Null));
            assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
            assert_eq!(seen["headers"]["x-forwarded-uri"], format!("/api/v1/namespaces/default/{id}/proxy/a//b%20c/"));
        }
    }
    let head = wire.send("HEAD", &format!("{PODS}/ham/proxy/large"), &[], "").await;
    assert_eq!((head.code, head.header("content-length"), head.body.len()), (200, "400000", 0));
    // A large answer is passed on as it is, also to a client that accepts gzip.
    let large = wire.send("GET", &format!("{PODS}/ham/proxy/large"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!((large.header("content-encoding"), large.body.len()), ("", 400_000));
    let trace = wire.send("TRACE", &format!("{PODS}/ham/proxy/"), &[], "").await;
    assert_eq!(trace.code, 405);
}

#[tokio::test]
async fn without_its_slash_a_read_is_redirected_and_a_write_is_not() {
    let wire = cluster().await;
    for method in ["GET", "HEAD"] {
        let answer = wire.send(method, &format!("{SERVICES}/ham:80/proxy?method={method}"), &[], "").await;
        let location = format!("{SERVICES}/ham:80/proxy/?method={method}");
        assert_eq!((answer.code, answer.header("location")), (301, location.as_str()));
        assert!(answer.body.is_empty());
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = wire.send(method, &format!("{SERVICES}/ham:80/proxy?method={method}"), &[], "").await;
        assert_eq!((answer.code, &answer.json()["uri"]), (200, &json!(format!("/?method={method}"))));
    }
}

#[tokio::test]
async fn answers_lead_back_through_the_proxy() {
    let wire = cluster().await;
    let link = format!("<a href=\"{PODS}/ham/proxy/rewriteme\">test</a>");
    assert_eq!(wire.get(&format!("{PODS}/ham/proxy/page")).await.text(), link);
    let packed = wire.send("GET", &format!("{PODS}/ham/proxy/packed"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut page = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut page).unwrap();
    assert_eq!(page, link);
    let moved = wire.get(&format!("{PODS}/ham/proxy/moved")).await;
    assert_eq!((moved.code, moved.header("location")), (302, format!("{PODS}/ham/proxy/new?x=1").as_str()));
    let missing = wire.get(&format!("{PODS}/ham/proxy/missing")).await;
    assert_eq!((missing.code, missing.text().as_str()), (404, "the pod's own 404"));
    assert_eq!(wire.get(&format!("{PODS}/ham/proxy/browser")).await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn what_leads_nowhere_is_refused_in_upstreams_words() {
    let wire = cluster().await;
    for (path, code, reason, message) in [
        ("pods/nope/proxy/", 404, "NotFound", "pods \"nope\" not found"),
        ("pods/a:b:c:d/proxy/", 400, "BadRequest", "invalid pod request \"a:b:c:d\""),
        ("pods/ham:nope/proxy/", 400, "BadRequest", "invalid pod request \"ham:nope\""),
        ("pods/evil/proxy/", 400, "BadRequest", "address not allowed"),
        (
            "pods/ham:9/proxy/",
            503,
            "ServiceUnavailable",
            "error trying to reach service: dial tcp 10.244.0.5:9: connect: connection refused",
        ),
        ("services/nope/proxy/", 404, "NotFound", "endpoints \"nope\" not found"),
        ("services/nope:80/proxy/", 404, "NotFound", "services \"nope\" not found"),
        ("services/ftp:ham:80/proxy/", 400, "BadRequest", "invalid service request \"ftp:ham:80\""),
        ("services/ham/proxy/", 503, "ServiceUnavailable", "no endpoints available for service \"ham\""),
        ("services/ham:nope/proxy/", 503, "ServiceUnavailable", "no endpoints available for service \"ham:nope\""),
        ("services/ham:81/proxy/", 503, "ServiceUnavailable", "no service port 81 found for service \"ham\""),
        ("services/empty:web/proxy/", 503, "ServiceUnavailable", "no endpoints available for service \"empty\""),
        // Its endpoint names a pod that has another address.
        (
            "services/foreign:web/proxy/",
            503,
            "ServiceUnavailable",
            "no endpoints available for service \"foreign:web\"",
        ),
    ] {
        let refusal = wire.get(&format!("/api/v1/namespaces/default/{path}")).await.refusal();
        assert_eq!(refusal, (code, reason.into(), message.into()), "{path}");
    }
    // TLS to a program that does not speak it.
    let (code, _, message) = wire.get(&format!("{PODS}/https:ham:8080/proxy/")).await.refusal();
    assert!(code == 503 && message.starts_with("error trying to reach service: tls: "), "{message}");
    wire.create(&kinds::NODE, json!({ "metadata": { "name": "n1" } })).await;
    let (code, _, message) = wire.get("/api/v1/nodes/n1/proxy/metrics").await.refusal();
    assert!(code == 501 && message.contains("kubectl logs"), "{message}");
    assert_eq!(wire.get("/api/v1/nodes/n2/proxy/metrics").await.code, 404);
}

#[tokio::test]
async fn a_pod_never_sees_who_the_client_is_and_strangers_reach_no_pod() {
    let wire = cluster().await;
    let seen = wire
        .send(
            "GET",
            &format!("{PODS}/ham/proxy/"),
            &[("authorization", "Bearer secret"), ("impersonate-user", "bob")],
            "",
        )
        .await
        .json();
    assert_eq!(seen["headers"]["authorization"], Value::Null);
    assert_eq!(seen["headers"]["impersonate-user"], Value::Null);
    let refused = wire.open(false, "GET", &format!("{PODS}/ham/proxy/"), &[], "").await;
    assert_eq!(refused.status(), 403);
    let body: Value = serde_json::from_slice(&refused.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        body["message"],
        "pods \"ham\" is forbidden: User \"system:anonymous\" cannot get resource \"pods/proxy\" in API group \"\" in \
         the namespace \"default\""
    );
}

#[tokio::test]
async fn upgraded_connections_are_joined() {
    let wire = cluster().await;
    let headers = [("connection", "Upgrade"), ("upgrade", "echo"), ("sec-websocket-key", "x")];
    let answer = wire.open(true, "GET", &format!("{SERVICES}/ham:web/proxy/upgrade"), &headers, "").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["upgrade"].to_str().unwrap()), (101, "echo"));
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for message in ["hello", "again"] {
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message.as_bytes());
    }
    let refused = wire.send("GET", &format!("{PODS}/ham/proxy/missing"), &headers, "").await;
    assert_eq!((refused.code, refused.text().as_str()), (404, "the pod's own 404"));
    let (code, _, message) = wire.send("GET", &format!("{PODS}/ham/proxy/page"), &headers, "").await.refusal();
    assert!(code == 500 && message.ends_with("invalid upgrade response: status code 200"), "{message}");
}
