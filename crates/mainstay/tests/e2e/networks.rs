//! Added Service networks on real packets: an address of one works from the node and from pods, has a name, and is
//! refused where no Service has it, until the network is gone.

use crate::sandbox::{Sandbox, text};

const MANIFEST: &str = "\
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.97.0.0/24]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec: {containers: [{name: main, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: main, image: mainstay/client}]}
---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {clusterIP: 10.97.0.9, selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
";

const NODE: [&str; 4] = ["curl", "-sS", "--max-time", "20"];

/// 10.97.0.0 as the kernel lists it among the destinations of routes.
const ROUTE: &str = "0000610A";

/// `curl` in the node's network, or in the pod `client`.
fn curl(sandbox: &Sandbox, from_pod: bool, url: &str) -> std::process::Output {
    let line = [&NODE[..], &[url]].concat();
    if from_pod { sandbox.kubectl(&[&["exec", "client", "--"][..], &line].concat()) } else { sandbox.exec(&line) }
}

#[test]
fn an_added_network_serves_until_its_last_service_is_gone() {
    let mut sandbox = Sandbox::start();
    sandbox.apply(MANIFEST);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/echo", "pod/client", "--timeout=60s"]);
    sandbox.kubectl_ok(&["wait", "--for=condition=Programmed", "service/far", "--timeout=60s"]);
    assert!(sandbox.kubectl_ok(&["get", "ip", "10.97.0.9"]).contains("services/default/far"));
    for from_pod in [true, false] {
        let answered = |sandbox: &Sandbox| curl(sandbox, from_pod, "http://10.97.0.9/").status.success();
        sandbox.until("the address answers", answered);
        let refused = curl(&sandbox, from_pod, "http://10.97.0.10/");
        assert_eq!(refused.status.code(), Some(7), "refused at once, not timed out: {}", text(&refused));
    }
    let routed = |sandbox: &Sandbox| sandbox.exec_ok(&["cat", "/proc/net/route"]).contains(ROUTE);
    assert!(routed(&sandbox) && sandbox.table().contains("10.97.0.0/24"), "{}", sandbox.table());
    let name = sandbox.exec_ok(&["dig", "+short", "-x", "10.97.0.9"]);
    assert_eq!(name.trim(), "far.default.svc.cluster.local.");

    sandbox.kill_server();
    sandbox.restart();
    sandbox.until("it answers after a restart", |sandbox| curl(sandbox, false, "http://10.97.0.9/").status.success());

    sandbox.kubectl_ok(&["delete", "servicecidr", "more", "--wait=false"]);
    let reason = ["get", "servicecidr", "more", "-o", "jsonpath={.status.conditions[0].reason}"];
    assert_eq!(sandbox.kubectl_ok(&reason), "Terminating");
    assert!(curl(&sandbox, true, "http://10.97.0.9/").status.success(), "what is held goes on");
    sandbox.kubectl_ok(&["delete", "service", "far"]);
    assert!(text(&sandbox.kubectl(&["get", "servicecidr", "more"])).contains("NotFound"));
    sandbox.until("the network is refused no more", |sandbox| !sandbox.table().contains("10.97.0.0"));
    sandbox.until("its route is gone", |sandbox| !routed(sandbox));
}
