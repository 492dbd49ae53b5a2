//! Node ports on 127.0.0.1 of a host: by the relay and no rule, at their own numbers or not at all.

use rustix::process::Signal;
use serde_json::Value;

use super::world::{HOST, World};
use crate::sandbox::text;

const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: ports}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: taken}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}
---
apiVersion: v1
kind: Service
metadata: {name: inside}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

fn said(world: &World, arguments: &[&str], code: i32) -> String {
    let output = world.mainstay(arguments).output().expect("mainstay runs");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}\n{}", text(&output), world.log());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn node_ports_answer_on_loopback_of_the_host_and_take_no_port_from_anybody() {
    let mut world = World::new();
    // A program of the host has the number of one Service.
    world.echo_on_host(30081);
    let before = world.host.ok(&["sh", "-c", "cat /proc/sys/net/ipv4/conf/*/route_localnet"]);
    world.up(&[]);
    world.apply(MANIFEST);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/web"]);
    world.kubectl_ok(&["wait", "--for=condition=Programmed", "service", "--all", "--timeout=60s"]);
    for url in ["http://127.0.0.1:30080", "http://[::1]:30080", &format!("http://{}:30080", HOST[0])] {
        let answer = world.answer(&world.host, url);
        assert!(answer.contains("\"pod\":\"web\""), "{url}: {answer}");
    }
    let listening = world.host.ok(&["ss", "-Hltn", "sport = :30080"]);
    let wide = ["0.0.0.0:30080", "*:30080", "[::]:30080"].iter().any(|address| listening.contains(address));
    assert!(!wide && listening.contains("127.0.0.1:30080"), "loopback only: {listening}");
    let now = world.host.ok(&["sh", "-c", "cat /proc/sys/net/ipv4/conf/*/route_localnet"]);
    assert!(!now.contains('1') && !before.contains('1'), "route_localnet is never set");

    // The other number stays with its program; the host's own address serves the Service all the same.
    let theirs = world.answer(&world.host, "http://127.0.0.1:30081");
    assert!(!theirs.contains("\"pod\":\"web\""), "{theirs}");
    let page = said(&world, &["status"], 2);
    assert!(page.contains("mode        host, up ") && page.contains("port 30081 is in use on this host"), "{page}");

    assert_eq!(said(&world, &["open", "svc/ports"], 0), "http://127.0.0.1:30080");
    let inside = said(&world, &["open", "svc/inside"], 0);
    assert!(
        world.answer(&world.host, &inside).contains("\"pod\":\"web\""),
        "a host reaches cluster addresses: {inside}"
    );

    // The relay goes with the server and comes back with it; kernel rules never stop.
    world.stop(Signal::KILL);
    assert!(!world.curl(&world.host, "http://127.0.0.1:30080").status.success());
    assert!(world.answer(&world.host, &format!("http://{}:30080", HOST[0])).contains("\"pod\":\"web\""));
    let down: Value = serde_json::from_str(&said(&world, &["status", "-o", "json"], 4)).expect("JSON");
    assert_eq!((&down["state"], &down["mode"]), (&"pods-only".into(), &"host".into()));
    world.up(&[]);
    assert!(world.answer(&world.host, "http://127.0.0.1:30080").contains("\"pod\":\"web\""));
}
