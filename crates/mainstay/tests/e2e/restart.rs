//! The server dies by kill -9: pods and virtual addresses go on, the next start adopts them, `down` removes all.

use crate::processes::Ours;
use crate::sandbox::{Sandbox, text};

const MANIFEST: &str = include_str!("../../src/cli/demo/types.yaml");

fn answers(sandbox: &Sandbox, address: &str) -> bool {
    let output = sandbox.exec(&["curl", "-s", "--max-time", "5", &format!("http://{address}")]);
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("my-app-")
}

fn pods(sandbox: &Sandbox) -> String {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,READY:.status.conditions[?(@.type==\"Ready\")].status,\
                   STARTED:.status.containerStatuses[0].state.running.startedAt,RESTARTS:.status.containerStatuses[0].restartCount";
    sandbox.kubectl_ok(&["get", "pods", "-o", columns])
}

fn cluster_ip(sandbox: &Sandbox) -> String {
    sandbox.kubectl_ok(&["get", "svc", "my-clusterip-service", "-o", "jsonpath={.spec.clusterIP}"])
}

fn start() -> Sandbox {
    let sandbox = Sandbox::start();
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "service/my-clusterip-service", "--timeout=60s"]);
    let address = cluster_ip(&sandbox);
    sandbox.until("the Service answers", |sandbox| answers(sandbox, &address));
    let names = sandbox.kubectl_ok(&["get", "pods", "-l", "app=my-app", "-o", "name"]);
    if names.lines().count() != 3 {
        let all = sandbox.kubectl_ok(&["get", "pods,rs,deploy,events", "-o", "yaml"]);
        panic!("three replicas are three pods, not {names}; {all}; server:\n{}", sandbox.log());
    }
    sandbox
}

/// Three pods are ready behind three Services, and every write of now is applied.
fn settled(sandbox: &Sandbox) {
    let ready = "jsonpath={.items[*].endpoints[*].conditions.ready}";
    sandbox.until("every slice has its ready endpoints", |sandbox| {
        sandbox.kubectl_ok(&["get", "endpointslices", "-o", ready]).matches("true").count() == 3 * 3 + 1
    });
    let revision = sandbox.status()["revision"].as_u64();
    sandbox.until("everything is applied", |sandbox| sandbox.status()["applied"].as_u64() >= revision);
}

#[test]
fn pods_and_addresses_outlive_the_server_and_are_adopted() {
    let mut sandbox = start();
    settled(&sandbox);
    let (before, address, table) = (pods(&sandbox), cluster_ip(&sandbox), sandbox.table());
    sandbox.kill_server();
    for _ in 0..20 {
        assert!(answers(&sandbox, &address), "the virtual address answers while no server runs");
    }
    sandbox.restart();
    settled(&sandbox);
    assert_eq!(pods(&sandbox), before, "the same pods, never restarted");
    assert_eq!(cluster_ip(&sandbox), address);
    let programming = sandbox.status()["programming"].clone();
    assert_eq!(programming["batches"], 0, "nothing changed, so nothing is written: {programming}");
    assert_eq!(sandbox.table(), table, "the kernel holds what it held");
    sandbox.kubectl_ok(&["scale", "deployment/my-app", "--replicas=1"]);
    sandbox.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    sandbox.until("the pods that were scaled away are gone", |sandbox| {
        sandbox.kubectl_ok(&["get", "pods", "-l", "app=my-app", "-o", "name"]).lines().count() == 1
    });
    for _ in 0..10 {
        assert!(answers(&sandbox, &address), "the adopted dataplane follows changes");
    }
}

#[test]
fn a_pod_that_ends_while_no_server_runs_is_started_again() {
    let mut sandbox = start();
    let first = "jsonpath={.items[0].metadata.name}";
    let name = sandbox.kubectl_ok(&["get", "pods", "-l", "app=my-app", "-o", first]);
    sandbox.kill_server();
    assert!(Ours::of(sandbox.path()).kill_with(&format!("MAINSTAY_POD={name}")) > 0, "{name} has a process");
    sandbox.restart();
    sandbox.until("the container was started again, once", |sandbox| {
        let columns = "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} \
                       {.status.containerStatuses[0].lastState.terminated.exitCode}";
        sandbox.kubectl_ok(&["get", "pod", &name, "-o", columns]) == "1 true 137"
    });
    let counts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let mut counts: Vec<String> =
        sandbox.kubectl_ok(&["get", "pods", "-o", counts]).split(' ').map(str::to_owned).collect();
    counts.sort_unstable();
    assert_eq!(counts, ["0", "0", "0", "1"], "the other pods went on");
}

#[test]
fn down_removes_all_also_without_a_server() {
    let mut sandbox = start();
    sandbox.kill_server();
    let ours = Ours::of(sandbox.path());
    let (processes, networks) = ours.count();
    assert!(processes >= 5 && networks >= 5, "holder, four pods and their networks were found: {ours:?}");
    let output = sandbox.down();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(ours.left(), Vec::<String>::new(), "processes are left");
    let again = sandbox.down();
    assert!(again.status.success() && text(&again).contains("nothing runs"), "{}", text(&again));
}

#[test]
fn the_same_directory_brings_objects_and_addresses_back() {
    let mut sandbox = start();
    let columns = "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,UID:.metadata.uid,IPS:.spec.clusterIPs,PORTS:.spec.ports[*].nodePort";
    let services = sandbox.kubectl_ok(&["get", "svc", "-A", "-o", columns]);
    let uids = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP";
    let before = sandbox.kubectl_ok(&["get", "pods", "-o", uids]);
    let output = sandbox.down();
    assert!(output.status.success(), "{}", text(&output));
    sandbox.restart();
    assert_eq!(sandbox.kubectl_ok(&["get", "svc", "-A", "-o", columns]), services);
    assert_eq!(sandbox.kubectl_ok(&["get", "pods", "-o", uids]), before);
    let address = cluster_ip(&sandbox);
    sandbox.until("the pods of before answer again", |sandbox| answers(sandbox, &address));
}
