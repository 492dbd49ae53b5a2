//! The server dies by kill -9: pods and virtual addresses go on, the next start adopts them, `down` removes all.

mod common;

use common::Sandbox;

const MANIFEST: &str = include_str!("../src/cli/demo/types.yaml");

fn answers(sandbox: &Sandbox, address: &str) -> bool {
    let output = sandbox.exec(&["curl", "-s", "--max-time", "5", &format!("http://{address}")]);
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("my-app-")
}

fn pods(sandbox: &Sandbox) -> String {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,STARTED:.status.containerStatuses[0].state.running.startedAt,RESTARTS:.status.containerStatuses[0].restartCount";
    sandbox.kubectl_ok(&["get", "pods", "-o", columns])
}

fn cluster_ip(sandbox: &Sandbox) -> String {
    sandbox.kubectl_ok(&["get", "svc", "my-clusterip-service", "-o", "jsonpath={.spec.clusterIP}"])
}

fn start() -> Sandbox {
    let sandbox = Sandbox::start(&[]);
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "service/my-clusterip-service", "--timeout=60s"]);
    let address = cluster_ip(&sandbox);
    sandbox.until("the Service answers", |sandbox| answers(sandbox, &address));
    sandbox
}

#[test]
fn pods_and_addresses_outlive_the_server_and_are_adopted() {
    let mut sandbox = start();
    let (before, address) = (pods(&sandbox), cluster_ip(&sandbox));
    sandbox.server.kill().expect("kill -9 of the server");
    let _ = sandbox.server.wait();
    for _ in 0..20 {
        assert!(answers(&sandbox, &address), "the virtual address answers while no server runs");
    }
    sandbox.restart(&[]);
    assert_eq!(pods(&sandbox), before, "the same pods, never restarted");
    assert_eq!(cluster_ip(&sandbox), address);
    sandbox.kubectl_ok(&["scale", "deployment/my-app", "--replicas=1"]);
    sandbox.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    assert!(answers(&sandbox, &address), "the adopted dataplane follows changes");
}

#[test]
fn the_same_directory_brings_objects_and_addresses_back() {
    let mut sandbox = start();
    let columns = "custom-columns=NS:.metadata.namespace,NAME:.metadata.name,UID:.metadata.uid,IPS:.spec.clusterIPs,PORTS:.spec.ports[*].nodePort";
    let services = sandbox.kubectl_ok(&["get", "svc", "-A", "-o", columns]);
    let uids = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP";
    let before = sandbox.kubectl_ok(&["get", "pods", "-o", uids]);
    let output = sandbox.down();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sandbox.restart(&[]);
    assert_eq!(sandbox.kubectl_ok(&["get", "svc", "-A", "-o", columns]), services);
    assert_eq!(sandbox.kubectl_ok(&["get", "pods", "-o", uids]), before);
    let address = cluster_ip(&sandbox);
    sandbox.until("the pods of before answer again", |sandbox| answers(sandbox, &address));
}
