//! Services of type LoadBalancer, traffic policies and affinity by stock programs, seen from another network namespace:
//! `types.sh`, `policies.sh` and `affinity.sh`, each against a sandbox of its own.

use crate::account;
use crate::sandbox::{Sandbox, text};

/// Runs a script, which must have said this many things.
fn play(script: &str, steps: usize) {
    let sandbox = Sandbox::start();
    let script = format!("{}/tests/e2e/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = sandbox.client("sh").arg(script).env("MAINSTAY", account::program()).output().expect("sh runs");
    assert!(output.status.success(), "{}\nserver:\n{}", text(&output), sandbox.log());
    assert_eq!(text(&output).matches("ok   ").count(), steps, "every step spoke: {}", text(&output));
}

#[test]
fn load_balancer_addresses_are_given_shared_refused_and_taken_back() {
    play("types.sh", 10);
}

#[test]
fn policies_source_ranges_and_kept_sources() {
    play("policies.sh", 6);
}

#[test]
fn affinity_sticks_moves_and_forgets() {
    play("affinity.sh", 4);
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: { name: NAME }
spec: { type: LoadBalancer, ports: [{ port: 80 }] }
";

fn service(name: &str) -> String {
    SERVICE.replace("NAME", name)
}

fn address(sandbox: &Sandbox, name: &str) -> String {
    sandbox.kubectl_ok(&["get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"])
}

fn warnings(sandbox: &Sandbox, name: &str) -> String {
    let only = format!("involvedObject.name={name},type=Warning");
    let list = sandbox.kubectl_ok(&["get", "events", "--field-selector", &only, "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let line = |event: &serde_json::Value| format!("{} {} x{}\n", event["reason"], event["message"], event["count"]);
    list["items"].as_array().into_iter().flatten().map(line).collect()
}

#[test]
fn without_a_pool_an_event_names_the_flag_and_a_restart_with_one_gives_an_address() {
    let mut sandbox = Sandbox::start_with(&["--lb-pool", "none"]);
    sandbox.apply(&service("web"));
    sandbox.until("the Event", |sandbox| warnings(sandbox, "web").contains("mainstay up --lb-pool 10.99.0.0/24"));
    let columns = sandbox.kubectl_ok(&["get", "service", "web", "--no-headers"]);
    assert_eq!(columns.split_whitespace().nth(3), Some("<pending>"), "{columns}");
    // Changes that do not help are not complained about again.
    sandbox.kubectl_ok(&["label", "service", "web", "a=b"]);
    sandbox.kubectl_ok(&["patch", "service", "web", "-p", r#"{"spec":{"selector":{"app":"x"}}}"#]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "--timeout=60s", "service/web"]);
    let told = warnings(&sandbox, "web");
    assert_eq!(told.matches("AllocationFailed").count(), 1, "{told}");
    assert!(told.contains("x1"), "{told}");

    sandbox.kill_server();
    sandbox.restart_with(&["--lb-pool", "tenants=192.168.7.10-192.168.7.11", "--lb-pool", "tenants=fd00:7::/120"]);
    sandbox.until("an address of the pool", |sandbox| address(sandbox, "web") == "192.168.7.10");
    sandbox.kill_server();
    sandbox.restart_with(&["--lb-pool", "tenants=192.168.7.0/24"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "--timeout=60s", "service/web"]);
    assert_eq!(address(&sandbox, "web"), "192.168.7.10", "a restart gives nothing anew");
    let pools = &sandbox.status()["pools"];
    assert_eq!((&pools[0]["name"], &pools[0]["used"]), (&"tenants".into(), &1.into()), "{pools}");
}

#[test]
fn an_address_is_given_again_only_when_the_kernel_has_let_it_go() {
    let sandbox = Sandbox::start_with(&["--lb-pool", "10.99.0.9", "--faults"]);
    sandbox.apply(&service("old"));
    sandbox.until("the only address", |sandbox| address(sandbox, "old") == "10.99.0.9");
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "--timeout=60s", "service/old"]);
    let fail = |fail: bool| {
        let file = sandbox.path().join("faults.json");
        std::fs::write(&file, format!(r#"{{"failApplies":{fail}}}"#)).expect("a file");
        sandbox.kubectl_ok(&["replace", "--raw", "/mainstay/faults", "-f", &file.to_string_lossy()]);
    };
    fail(true);
    sandbox.kubectl_ok(&["delete", "service", "old", "--wait=false"]);
    sandbox.apply(&service("new"));
    sandbox.until("the Event", |sandbox| warnings(sandbox, "new").contains("10.99.0.9 was given back"));
    assert!(sandbox.table().contains("10.99.0.9 . tcp . 80"), "the kernel still programmes it");
    assert_eq!(address(&sandbox, "new"), "");
    let kept = sandbox.kubectl_ok(&["get", "service", "old", "-o", "jsonpath={.metadata.finalizers}"]);
    assert!(kept.contains("load-balancer-cleanup"), "{kept}");
    fail(false);
    sandbox.until("the address", |sandbox| address(sandbox, "new") == "10.99.0.9");
    sandbox.until("the end of the old one", |sandbox| !sandbox.kubectl(&["get", "service", "old"]).status.success());
}
