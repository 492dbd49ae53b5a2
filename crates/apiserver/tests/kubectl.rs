//! A stock kubectl against the server: what people type, and what they then see.

#[path = "kubectl/networking.rs"]
mod networking;
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "kubectl/server.rs"]
mod server;

use std::io::{BufRead, BufReader};

use api::kinds;
use serde_json::json;
use server::Cluster;

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: ham
  labels: {app: ham}
spec:
  selector: {app: ham}
  ports:
  - name: http
    port: 80
    targetPort: 8080
";

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

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_applied_shown_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let file = cluster.file("ham.yaml", SERVICE);
    let apply = format!("apply -f {}", file.display());
    has(&cluster.kubectl(&apply).await, &["service/ham created"]);
    has(&cluster.kubectl(&apply).await, &["service/ham unchanged"]);
    has(&cluster.kubectl("get svc").await, &["NAME", "TYPE", "CLUSTER-IP", "ham", "ClusterIP", "10.96.", "80/TCP"]);
    has(&cluster.kubectl("get svc ham -o wide").await, &["SELECTOR", "app=ham"]);
    has(&cluster.kubectl("get svc ham -o name").await, &["service/ham"]);
    has(&cluster.kubectl("get svc ham -o jsonpath={.spec.ports[0].targetPort}").await, &["8080"]);
    has(&cluster.kubectl("get svc ham -o yaml").await, &["clusterIPs:", "ipFamilies:", "resourceVersion:"]);
    has(&cluster.kubectl("get svc -A -l app=ham -o json").await, &["\"kind\": \"List\"", "\"name\": \"ham\""]);
    has(&cluster.kubectl("get svc -l app=nobody").await, &["No resources found"]);
    has(&cluster.kubectl("describe svc ham").await, &["Name:", "ham", "TargetPort:", "8080/TCP", "Events:"]);

    has(&cluster.kubectl("label svc ham tier=back").await, &["service/ham labeled"]);
    has(&cluster.kubectl("get svc -L tier").await, &["TIER", "back"]);
    has(&cluster.kubectl("annotate svc ham note=x").await, &["service/ham annotated"]);
    let types = [
        ("strategic", "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":8081}]}}", "8081"),
        ("merge", "{\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80,\"targetPort\":8082}]}}", "8082"),
        ("json", "[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":8083}]", "8083"),
    ];
    for (kind, patch, expected) in types {
        has(&cluster.kubectl(&format!("patch svc ham --type={kind} -p '{patch}'")).await, &["service/ham patched"]);
        has(&cluster.kubectl("get svc ham -o jsonpath={.spec.ports[0].targetPort}").await, &[expected]);
    }
    cluster.file("ham.yaml", &SERVICE.replace("port: 80\n", "port: 81\n"));
    has(&cluster.kubectl(&apply).await, &["service/ham configured"]);
    has(&cluster.kubectl("delete svc ham --wait").await, &["service \"ham\" deleted"]);
    has(&cluster.refused("get svc ham").await, &["Error from server (NotFound): services \"ham\" not found"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_created_scaled_exposed_and_waited_for() {
    let cluster = Cluster::start().await;
    let file = cluster.file("eggs.yaml", DEPLOYMENT);
    has(&cluster.kubectl(&format!("create -f {}", file.display())).await, &["deployment.apps/eggs created"]);
    has(&cluster.kubectl("get deploy").await, &["READY", "UP-TO-DATE", "AVAILABLE", "eggs", "0/2"]);
    has(&cluster.kubectl("scale deploy eggs --replicas=3").await, &["deployment.apps/eggs scaled"]);
    has(&cluster.kubectl("scale deploy eggs --current-replicas=3 --replicas=4").await, &["scaled"]);
    has(&cluster.refused("scale deploy eggs --replicas=-1").await, &["replicas"]);
    has(&cluster.kubectl("get deploy eggs -o jsonpath={.spec.replicas}/{.metadata.generation}").await, &["4/3"]);
    has(&cluster.kubectl("expose deploy eggs --port=80 --target-port=8080").await, &["service/eggs exposed"]);
    has(&cluster.kubectl("get svc eggs -o jsonpath={.spec.selector}").await, &["{\"app\":\"eggs\"}"]);
    has(&cluster.kubectl("get all").await, &["service/eggs", "deployment.apps/eggs"]);
    let status = json!({
        "observedGeneration": 3, "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4, "availableReplicas": 4,
        "conditions": [{ "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
            "message": "ok", "lastTransitionTime": "2026-11-21T08:00:00Z", "lastUpdateTime": "2026-11-21T08:00:00Z" }],
    });
    cluster.set_status(&kinds::DEPLOYMENT, "default", "eggs", status).await;
    has(&cluster.kubectl("rollout status deploy eggs --timeout=20s").await, &["successfully rolled out"]);
    has(&cluster.kubectl("wait --for=condition=Available deploy/eggs --timeout=20s").await, &["condition met"]);
    has(&cluster.kubectl("describe deploy eggs").await, &["Replicas:", "4 desired", "mainstay/echo"]);
    has(&cluster.kubectl("rollout restart deploy eggs").await, &["deployment.apps/eggs restarted"]);
    has(&cluster.kubectl("set image deploy eggs main=mainstay/client").await, &["image updated"]);
    has(&cluster.kubectl("delete deploy eggs").await, &["deployment.apps \"eggs\" deleted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_run_logged_entered_and_deleted_with_grace() {
    let cluster = Cluster::start().await;
    has(&cluster.kubectl("run ham --image=mainstay/echo").await, &["pod/ham created"]);
    has(&cluster.kubectl("get pods").await, &["READY", "STATUS", "RESTARTS", "ham", "0/1", "Pending"]);
    let pod = cluster.api_object(&kinds::POD, "default", "ham").await;
    cluster.bind("ham", "node-1").await;
    has(&cluster.kubectl("get pods -o wide --field-selector spec.nodeName=node-1").await, &["ham", "node-1"]);
    cluster.set_status(&kinds::POD, "default", "ham", json!({ "phase": "Running", "podIP": "10.244.0.5" })).await;
    has(&cluster.kubectl("logs ham --tail=3").await, &["log of default/ham ham tail Some(3)"]);
    has(&cluster.kubectl("exec ham -- true 0").await, &["ran true 0"]);
    has(&cluster.refused("exec ham -- false 3").await, &["exit code 3"]);
    has(&cluster.refused("exec ham -- missing").await, &["no such program in the container"]);
    has(&cluster.kubectl_with_input("exec -i ham -- cat", "some input\n").await, &["ran cat\nsome input\n"]);
    has(&cluster.kubectl("describe pod ham").await, &["Name:", "Node:", "node-1"]);

    has(&cluster.kubectl("delete pod ham --wait=false").await, &["pod \"ham\" deleted"]);
    has(&cluster.kubectl("get pods").await, &["Terminating"]);
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let wait = cluster.spawn("wait --for=delete pod/ham --timeout=20s");
    let options = contract::access::DeleteOptions { grace_seconds: Some(0), uid: Some(uid), ..Default::default() };
    cluster.delete(&kinds::POD, "default", "ham", &options).await;
    let waited = tokio::task::spawn_blocking(move || wait.wait_with_output().unwrap()).await.unwrap();
    assert!(waited.status.success());
    has(&cluster.refused("get pod ham").await, &["NotFound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_follow_changes_in_order() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.spawn("get cm -w -l app=ham --no-headers -o name");
    let out = watch.stdout.take().unwrap();
    let mut lines = BufReader::new(out).lines();
    for name in ["one", "two"] {
        cluster.kubectl(&format!("create cm {name}")).await;
        cluster.kubectl(&format!("label cm {name} app=ham")).await;
    }
    cluster.kubectl("delete cm two").await;
    let seen = tokio::task::spawn_blocking(move || {
        let seen: Vec<_> = lines.by_ref().take(3).map(Result::unwrap).collect();
        (seen, lines)
    });
    let (seen, lines) = seen.await.unwrap();
    assert_eq!(seen, ["configmap/one", "configmap/two", "configmap/two"]);
    cluster.stop();
    // A server that stops ends its watches; kubectl then gives up by itself.
    watch.kill().unwrap();
    watch.wait().unwrap();
    drop(lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_created_from_the_command_line() {
    // These commands send protobuf.
    let cluster = Cluster::start().await;
    has(&cluster.kubectl("create namespace perf").await, &["namespace/perf created"]);
    has(
        &cluster.kubectl("create deployment ham -n perf --image=mainstay/echo --replicas=0 --port=8080").await,
        &["created"],
    );
    let path = "{.spec.replicas}/{.spec.template.spec.containers[0].ports[0].containerPort}/{.spec.strategy.type}";
    has(&cluster.kubectl(&format!("get deploy ham -n perf -o jsonpath={path}")).await, &["0/8080/RollingUpdate"]);
    has(&cluster.kubectl("create svc nodeport ham -n perf --tcp=80:8080 --node-port=30080").await, &["created"]);
    has(&cluster.kubectl("get svc ham -n perf").await, &["NodePort", "80:30080/TCP"]);
    has(
        &cluster.refused("create svc nodeport eggs --tcp=80 --node-port=30080").await,
        &["already allocated (by perf/ham)"],
    );
    has(&cluster.kubectl("create svc externalname out --external-name=example.org").await, &["created"]);
    has(&cluster.kubectl("create secret generic key --from-literal=a=b").await, &["secret/key created"]);
    has(&cluster.kubectl("get secret key -o jsonpath={.data.a}").await, &["Yg=="]);
    has(&cluster.kubectl("create cm settings --from-literal=a=b").await, &["configmap/settings created"]);
    has(&cluster.kubectl("create sa robot").await, &["serviceaccount/robot created"]);
    has(&cluster.kubectl("delete ns perf --wait=false").await, &["namespace \"perf\" deleted"]);
    has(&cluster.kubectl("get ns perf").await, &["Terminating"]);
    has(&cluster.refused("create cm late -n perf").await, &["because it is being terminated"]);
    has(&cluster.refused("delete ns default").await, &["this namespace may not be deleted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_one_clear_line_and_changes_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.api.store().revision();
    for (text, expected) in [
        (SERVICE.replace("port: 80", "port: eighty"), "cannot be handled as a Service"),
        (
            SERVICE.replace("port: 80\n", "port: 0\n"),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535",
        ),
        (SERVICE.replace("  selector", "  selektor"), "unknown field \"spec.selektor\""),
        (SERVICE.replace("spec:", "spec:\n  clusterIP: 192.0.2.1"), "spec.clusterIPs"),
        (SERVICE.replace("name: ham", "name: Ham"), "metadata.name"),
        (SERVICE.replace("metadata:", "metadata:\n  namespace: nowhere"), "namespaces \"nowhere\" not found"),
        (DEPLOYMENT.replace("matchLabels: {app: eggs}", "matchLabels: {app: ham}"), "`selector` does not match"),
    ] {
        let file = cluster.file("bad.yaml", &text);
        let refused = cluster.refused(&format!("create -f {}", file.display())).await;
        has(&refused, &[expected]);
        assert_eq!(refused.trim_end().lines().count(), 1, "{refused}");
    }
    let big = format!(
        "{SERVICE}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: {:?}}}\n",
        "x".repeat(4 << 20)
    );
    let file = cluster.file("big.yaml", &big.replace(SERVICE, ""));
    has(
        &cluster.refused(&format!("create -f {}", file.display())).await,
        &["Request entity too large: limit is 3145728"],
    );
    let file = cluster.file("frob.yaml", &SERVICE.replace("kind: Service", "kind: Frob"));
    has(&cluster.refused(&format!("create -f {}", file.display())).await, &["no matches for kind \"Frob\""]);
    let file = cluster.file("ham.yaml", SERVICE);
    has(
        &cluster.kubectl(&format!("apply --server-side --dry-run=server -f {}", file.display())).await,
        &["(server dry run)"],
    );
    has(&cluster.kubectl(&format!("apply --dry-run=server -f {}", file.display())).await, &["(server dry run)"]);
    has(&cluster.refused("get svc ham").await, &["NotFound"]);
    assert_eq!(cluster.api.store().revision(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_tells_what_it_serves() {
    let cluster = Cluster::start().await;
    has(&cluster.kubectl("version").await, &["Server Version: v1.37.0+mainstay"]);
    has(&cluster.kubectl("api-resources").await, &["services", "svc", "deployments", "apps/v1", "endpointslices"]);
    has(&cluster.kubectl("api-versions").await, &["apps/v1", "discovery.k8s.io/v1", "v1"]);
    has(&cluster.kubectl("explain service.spec.clusterIP").await, &["FIELD: clusterIP <string>", "DESCRIPTION:"]);
    has(&cluster.kubectl("explain deploy.spec --recursive").await, &["revisionHistoryLimit", "template"]);
    has(&cluster.kubectl("get --raw /readyz").await, &["ok"]);
    has(&cluster.kubectl("cluster-info").await, &["is running at", &cluster.url]);
    has(&cluster.refused("get --raw /nowhere").await, &["NotFound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_learn_the_version_and_nothing_else() {
    let cluster = Cluster::start().await;
    has(&cluster.get("/version", "").await, &["HTTP/1.1 200", "v1.37.0+mainstay"]);
    has(&cluster.get("/readyz", "").await, &["HTTP/1.1 200", "ok"]);
    let pods = "/api/v1/namespaces/default/pods";
    let refused = cluster.get(pods, "").await;
    has(&refused, &["HTTP/1.1 403", "User \\\"system:anonymous\\\" cannot list resource"]);
    has(&cluster.get("/nowhere", "").await, &["HTTP/1.1 403"]);
    has(&cluster.get(pods, "Authorization: Bearer guess\r\n").await, &["HTTP/1.1 401", "\"reason\":\"Unauthorized\""]);
    let wrong = format!("--token=guess --kubeconfig=/dev/null --server={}", cluster.url);
    has(&cluster.refused(&format!("{wrong} version")).await, &["certificate"]);
    has(&cluster.refused(&format!("{wrong} --insecure-skip-tls-verify get pods")).await, &["You must be logged in"]);
}
