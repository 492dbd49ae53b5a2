//! What users do to Services, and the Services list of the conformance tests: `services.sh` against a sandbox.

use crate::account;
use crate::sandbox::{Sandbox, text};

#[test]
fn every_change_of_a_service_by_kubectl_curl_and_dig() {
    let sandbox = Sandbox::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/services.sh");
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output();
    let output = output.expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), 14, "every step spoke: {}", text(&output));
}

const EXTERNAL: &str = "
apiVersion: v1
kind: Pod
metadata: { name: a, labels: { app: web } }
spec: { containers: [{ name: main, image: mainstay/echo, ports: [{ containerPort: 8080 }] }], terminationGracePeriodSeconds: 1 }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec: { containers: [{ name: main, image: mainstay/client }], terminationGracePeriodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, externalIPs: [198.51.100.7], ports: [{ port: 80, targetPort: 8080 }] }
";

#[test]
fn external_addresses_answer_where_they_are_allowed_and_stay_when_they_no_longer_are() {
    let mut sandbox = Sandbox::start_with(&["--allow-external-ips"]);
    let file = sandbox.path().join("external.yaml");
    std::fs::write(&file, EXTERNAL).expect("the manifest can be written");
    let applied = text(&sandbox.kubectl(&["apply", "-f", &file.to_string_lossy()]));
    assert!(applied.contains("service/web created"), "{applied}");
    assert!(applied.contains("Warning: spec.externalIPs is deprecated"), "{applied}");
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/a", "pod/client"]);
    let curl = ["exec", "client", "--", "curl", "-s", "-m", "2", "http://198.51.100.7"];
    let answers = |sandbox: &Sandbox| text(&sandbox.kubectl(&curl)).contains("\"pod\":\"a\"");
    sandbox.until("an answer at the external address", answers);

    // Without the flag the stored address goes on and other fields may change; a new one is refused.
    sandbox.kill_server();
    sandbox.restart_with(&[]);
    sandbox.kubectl_ok(&[
        "patch",
        "service",
        "web",
        "--type=merge",
        "-p",
        "{\"spec\":{\"sessionAffinity\":\"ClientIP\"}}",
    ]);
    sandbox.until("an answer after the restart", answers);
    let more = "{\"spec\":{\"externalIPs\":[\"198.51.100.7\",\"198.51.100.8\"]}}";
    let refused = text(&sandbox.kubectl(&["patch", "service", "web", "--type=merge", "-p", more]));
    assert!(refused.contains("start the server with --allow-external-ips"), "{refused}");
    sandbox.kubectl_ok(&["patch", "service", "web", "--type=merge", "-p", "{\"spec\":{\"externalIPs\":null}}"]);
    sandbox.until("no answer any more", |sandbox| !answers(sandbox));
}
