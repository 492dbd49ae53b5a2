//! A stock kubectl that applies on the server: ownership, conflicts, force, migration, diff.

#[allow(clippy::unwrap_used, dead_code, reason = "a test stops at the first surprise; shared with other tests")]
#[path = "kubectl/server.rs"]
mod server;

use api::kinds;
use serde_json::Value;
use server::Cluster;

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: eggs
spec:
  replicas: 2
  selector:
    matchLabels: {app: eggs}
  template:
    metadata:
      labels: {app: eggs}
    spec:
      containers:
      - name: main
        image: mainstay/echo
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: ham
spec:
  selector: {app: ham}
  ports:
  - name: http
    port: 80
";

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

/// The entry of a manager in `metadata.managedFields`.
fn entry(object: &Value, manager: &str, operation: &str) -> Option<Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.into_iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation).cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_creates_owns_and_removes() {
    let cluster = Cluster::start().await;
    let file = cluster.file("ham.yaml", SERVICE);
    let apply = format!("apply --server-side -f {}", file.display());
    has(&cluster.kubectl(&apply).await, &["service/ham serverside-applied"]);
    let first = cluster.api_object(&kinds::SERVICE, "default", "ham").await;
    let owned = entry(&first, "kubectl", "Apply").unwrap();
    assert_eq!(
        owned["fieldsV1"],
        serde_json::json!({ "f:spec": {
            "f:ports": { "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:name": {}, "f:port": {} } },
            "f:selector": {},
        } })
    );
    // The same again changes nothing, not even the revision.
    has(&cluster.kubectl(&apply).await, &["service/ham serverside-applied"]);
    assert_eq!(cluster.api_object(&kinds::SERVICE, "default", "ham").await, first);
    // A field that is no longer applied goes, what others set stays.
    has(&cluster.kubectl("label svc ham tier=back").await, &["labeled"]);
    cluster.file("ham.yaml", &SERVICE.replace("  - name: http\n    port: 80\n", "  - port: 81\n"));
    has(&cluster.kubectl(&apply).await, &["serverside-applied"]);
    has(&cluster.kubectl("get svc ham -o jsonpath={.spec.ports[*].port}/{.metadata.labels.tier}").await, &["81/back"]);
    assert!(!cluster.kubectl("get svc ham -o yaml").await.contains("managedFields"));
    has(
        &cluster.kubectl("get svc ham -o yaml --show-managed-fields").await,
        &["managedFields:", "manager: kubectl-label", "operation: Apply", "k:{\"port\":81,\"protocol\":\"TCP\"}:"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_told_forced_and_shared() {
    let cluster = Cluster::start().await;
    let file = cluster.file("eggs.yaml", DEPLOYMENT);
    let apply = |who: &str| format!("apply --server-side --field-manager={who} -f {}", file.display());
    has(&cluster.kubectl(&apply("alice")).await, &["serverside-applied"]);
    has(&cluster.kubectl(&apply("bob")).await, &["serverside-applied"]);
    cluster.file("eggs.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 5"));
    has(
        &cluster.refused(&apply("bob")).await,
        &["Apply failed with 1 conflict: conflict with \"alice\": .spec.replicas", "--force-conflicts"],
    );
    has(&cluster.kubectl(&format!("{} --force-conflicts", apply("bob"))).await, &["serverside-applied"]);
    has(&cluster.kubectl("get deploy eggs -o jsonpath={.spec.replicas}").await, &["5"]);
    let eggs = cluster.api_object(&kinds::DEPLOYMENT, "default", "eggs").await;
    assert!(entry(&eggs, "alice", "Apply").unwrap()["fieldsV1"]["f:spec"].get("f:replicas").is_none());
    // Who scales owns the number from then on.
    has(&cluster.kubectl("scale deploy eggs --replicas=3").await, &["scaled"]);
    has(
        &cluster.refused(&apply("bob")).await,
        &["conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"],
    );
    cluster.file("eggs.yaml", &DEPLOYMENT.replace("  replicas: 2\n", ""));
    has(&cluster.kubectl(&apply("bob")).await, &["serverside-applied"]);
    has(&cluster.kubectl("get deploy eggs -o jsonpath={.spec.replicas}").await, &["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubectl_applied_itself_migrates_without_conflicts() {
    let cluster = Cluster::start().await;
    let file = cluster.file("eggs.yaml", DEPLOYMENT);
    has(&cluster.kubectl(&format!("apply -f {}", file.display())).await, &["deployment.apps/eggs created"]);
    cluster.file("eggs.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 4"));
    let server_side = format!("apply --server-side -f {}", file.display());
    has(&cluster.kubectl(&server_side).await, &["serverside-applied"]);
    let eggs = cluster.api_object(&kinds::DEPLOYMENT, "default", "eggs").await;
    assert_eq!(eggs["spec"]["replicas"], 4);
    assert!(entry(&eggs, "kubectl", "Apply").is_some());
    assert!(entry(&eggs, "kubectl-client-side-apply", "Update").is_none(), "{:#}", eggs["metadata"]);
    // A field of the first manifest that the second lacks goes, though it was applied on the client's side.
    cluster.file("eggs.yaml", &DEPLOYMENT.replace("  replicas: 2\n", ""));
    has(&cluster.kubectl(&server_side).await, &["serverside-applied"]);
    has(&cluster.kubectl("get deploy eggs -o jsonpath={.spec.replicas}").await, &["1"]);
    // And back.
    cluster.file("eggs.yaml", &DEPLOYMENT.replace("mainstay/echo", "mainstay/client"));
    has(&cluster.kubectl(&format!("apply -f {}", file.display())).await, &["deployment.apps/eggs configured"]);
    has(&cluster.kubectl("get deploy eggs -o jsonpath={..image}").await, &["mainstay/client"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diff_shows_what_an_apply_would_do() {
    let cluster = Cluster::start().await;
    let file = cluster.file("ham.yaml", SERVICE);
    has(&cluster.kubectl(&format!("apply --server-side -f {}", file.display())).await, &["serverside-applied"]);
    let diff = format!("diff --server-side -f {}", file.display());
    assert_eq!(cluster.kubectl(&diff).await, "");
    cluster.file("ham.yaml", &SERVICE.replace("port: 80", "port: 88"));
    let before = cluster.api.store().revision();
    let (code, text) = cluster.output(&diff).await;
    assert_eq!(code, 1, "{text}");
    has(&text, &["-  - name: http", "+    port: 88"].map(|part| part.trim_start_matches(['-', '+'])));
    assert_eq!(cluster.api.store().revision(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_given_twice_are_refused_or_told_of() {
    // kubectl makes JSON of YAML by itself, so only raw bodies and patches reach the server with a key twice.
    let cluster = Cluster::start().await;
    let twice = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#;
    let file = cluster.file("twice.json", twice);
    let raw = |how: &str| {
        format!("create --raw /api/v1/namespaces/default/configmaps?fieldValidation={how} -f {}", file.display())
    };
    has(&cluster.refused(&raw("Strict")).await, &["strict decoding error: duplicate field \"data.k\""]);
    has(&cluster.kubectl(&raw("Warn")).await, &["\"k\":\"2\"", "Warning: duplicate field \"data.k\""]);
    let patch = "patch cm a --type=merge -p '{\"data\":{\"k\":\"3\",\"k\":\"4\"}}'";
    has(&cluster.kubectl(patch).await, &["patched"]);
    has(&cluster.kubectl("get cm a -o jsonpath={.data.k}").await, &["4"]);
}
