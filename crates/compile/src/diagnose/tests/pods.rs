//! MS1004, MS1006 and MS1601: ports, readiness, rollouts, and what is read out of pods and the kernel.

use super::*;

fn ports(name: &str, number: u16, protocol: &str) -> Value {
    json!([{ "name": "main", "ports": [{ "name": name, "containerPort": number, "protocol": protocol }] }])
}

fn named(pod_port: Value, target: &str) -> World {
    let mut world = World::new();
    let port = json!([{ "name": "web", "port": 80, "targetPort": target }]);
    world.service("nginx-service", json!({ "selector": { "app": "nginx" }, "ports": port }));
    world.pod_with("nginx", "nginx", json!({ "app": "nginx" }), pod_port, true);
    world
}

#[test]
fn ms1004_a_named_port_that_no_pod_declares() {
    let world = named(ports("http-web", 80, "TCP"), "http-web-svc");
    let finding = world.one("nginx-service", "MS1004");
    assert_eq!(
        finding.line(),
        "MS1004 targetPort \"http-web-svc\": no matched pod declares a port of this name; nearest: http-web (80)"
    );
    assert_eq!(
        (finding.field.as_str(), word(&world.find("nginx-service"))),
        ("spec.ports[0].targetPort", Some("PortNotServed"))
    );
    let service = json!({ "spec": { "selector": { "app": "nginx" }, "ports": [{ "name": "web", "port": 80, "targetPort": "x" }] } });
    assert_eq!(world.fixed("nginx-service", "MS1004", &service), "1 endpoint, nothing left to mend");
    let other = named(ports("http-web-svc", 80, "UDP"), "http-web-svc").one("nginx-service", "MS1004");
    assert_eq!(other.summary, "targetPort \"http-web-svc\" is TCP here, the pods declare it as UDP");
    let nothing = named(json!([{ "name": "main" }]), "http").one("nginx-service", "MS1004");
    assert_eq!((nothing.fix.is_none(), nothing.evidence), (true, vec!["pod nginx declares no named port".to_owned()]));
    assert_eq!(named(ports("http", 80, "TCP"), "http").wrong("nginx-service"), [] as [&str; 0]);
}

#[test]
fn ms1004_a_name_that_only_some_pods_declare_is_a_warning() {
    let mut world = named(ports("http", 80, "TCP"), "http");
    world.pod("old", "nginx", json!({ "app": "nginx" }));
    let finding = world.one("nginx-service", "MS1004");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.summary.starts_with("targetPort \"http\": 1 of 2 pods do not declare"), "{finding:?}");
}

#[test]
fn ms1004_a_number_on_which_nobody_listens() {
    use Protocol::{Tcp, Udp};
    for (sockets, summary, fix) in [
        (&[(Tcp, "[::]:9376")][..], "nobody listens there; the pods listen on 9376", Some("9376")),
        (
            &[(Tcp, "127.0.0.1:8080")],
            "the process listens on 127.0.0.1:8080 only, which no other pod can reach",
            Some("0.0.0.0"),
        ),
        (
            &[(Tcp, "[::1]:8080")],
            "the process listens on [::1]:8080 only, which no other pod can reach",
            Some("0.0.0.0"),
        ),
        (&[(Udp, "0.0.0.0:8080")], "nobody listens there; 8080/UDP is listened to", Some("UDP")),
        (&[], "none of 1 pod listens there", None),
        (&[(Tcp, "0.0.0.0:1"), (Tcp, "0.0.0.0:2")], "none of 1 pod listens there", None),
    ] {
        let mut world = World::new();
        world.service("web", json!({ "selector": { "app": "web" } }));
        world.pod("p", "web", json!({ "app": "web" })).listens("p", sockets);
        let finding = world.one("web", "MS1004");
        assert_eq!(finding.summary, format!("targetPort 8080/TCP: {summary}"));
        assert_eq!(finding.fix.is_some(), fix.is_some());
        assert!(fix.is_none_or(|fix| command(&finding).contains(fix)), "{finding:?}");
        world.listens("p", &[(Tcp, "[::]:8080"), (Tcp, "127.0.0.1:8080")]);
        assert_eq!(world.wrong("web"), [] as [&str; 0]);
        let facts = world.facts.pods.values_mut().next().unwrap();
        (facts.host_network, facts.listening) = (true, Some(vec![]));
        assert_eq!(
            world.wrong("web"),
            [] as [&str; 0],
            "a pod in the node's network is not judged by the node's sockets"
        );
    }
}

#[test]
fn ms1006_pods_that_are_not_ready_with_the_probes_last_words() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } }));
    world.pod_with("a", "web", json!({ "app": "web" }), json!([]), false);
    let facts = super::facts::pod(
        &json!({ "metadata": {}, "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "False",
            "lastTransitionTime": "2026-11-21T10:00:00Z", "message": "containers with unready status: [main]" }] } }),
        Some("Readiness probe failed: HTTP probe failed with statuscode: 503"),
    );
    world.facts.pods.insert(ObjectKey::new("default", "a"), facts);
    let finding = world.one("web", "MS1006");
    assert_eq!(finding.severity, Severity::Problem);
    assert_eq!(
        finding.evidence,
        ["pod a: not ready since 2026-11-21T10:00:00Z; Readiness probe failed: HTTP probe failed with statuscode: 503"]
    );
    world.pod("b", "web", json!({ "app": "web" }));
    assert_eq!(world.one("web", "MS1006").severity, Severity::Warning);
    assert!(world.one("web", "MS1006").summary.starts_with("1 of 2 pods not ready"));
    world.service("web", json!({ "selector": { "app": "web" }, "publishNotReadyAddresses": true }));
    assert_eq!(world.one("web", "MS1006").severity, Severity::Note);
}

#[test]
fn why_a_pod_is_not_ready_is_read_off_its_status() {
    let pod = |status: Value| json!({ "metadata": {}, "status": status });
    let waiting = json!({ "phase": "Pending", "containerStatuses": [{ "name": "main", "state": { "waiting": {
        "reason": "ImagePullBackOff", "message": "no such image" } } }] });
    let ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    let why = |status: Value| super::facts::pod(&pod(status), None).unready;
    assert_eq!(why(waiting).as_deref(), Some("container main waits: ImagePullBackOff: no such image"));
    assert_eq!(why(json!({})).as_deref(), Some("phase Pending"));
    assert_eq!(why(ready), None);
    let deleting = json!({ "metadata": { "deletionTimestamp": "x" } });
    assert_eq!(super::facts::pod(&deleting, None).unready.as_deref(), Some("it is being deleted"));
}

#[test]
fn ms1601_no_probe_and_a_sleep_that_is_not_needed() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } }));
    world.pod("a", "web", json!({ "app": "web" }));
    let of = |hook: Value| {
        super::facts::pod(&json!({ "spec": { "containers": [{ "lifecycle": { "preStop": hook } }] } }), None)
    };
    world.facts.pods.insert(ObjectKey::new("default", "a"), of(json!({ "sleep": { "seconds": 10 } })));
    let found: Vec<_> = world.find("web").into_iter().filter(|finding| finding.code.id == "MS1601").collect();
    let summaries: Vec<_> = found.iter().map(|finding| finding.summary.as_str()).collect();
    assert_eq!(
        summaries,
        [
            "deploy/web has no readinessProbe: its pods get traffic before they listen",
            "deploy/web waits in preStop (sleep 10): not needed, SIGTERM comes after traffic has stopped",
        ]
    );
    assert!(found.iter().all(|finding| finding.severity == Severity::Note));
    let fix = |finding: &Finding| finding.fix.clone().unwrap().command;
    assert!(fix(&found[0]).contains("/spec/template/spec/containers/0/readinessProbe"), "{}", fix(&found[0]));
    let side = json!({ "spec": { "containers": [
        { "name": "side", "ports": [{ "containerPort": 9 }] },
        { "name": "main", "ports": [{ "name": "http", "containerPort": 8080 }], "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } } },
    ] } });
    world.facts.pods.insert(ObjectKey::new("default", "a"), super::facts::pod(&side, None));
    let found: Vec<_> = world.find("web").into_iter().filter(|finding| finding.code.id == "MS1601").collect();
    assert!(fix(&found[0]).contains("/containers/1/readinessProbe"), "the container that serves: {}", fix(&found[0]));
    assert!(fix(&found[1]).contains("/containers/1/lifecycle/preStop"), "{}", fix(&found[1]));
    for (command, sleeps) in [
        (json!(["sleep", "15"]), true),
        (json!(["/bin/sh", "-c", "sleep 5"]), true),
        (json!(["sh", "-c", "sleep 5 && nginx -s quit"]), false),
        (json!(["nginx", "-s", "quit"]), false),
        (json!([]), false),
    ] {
        assert_eq!(of(json!({ "exec": { "command": command } })).pre_stop_sleep.is_some(), sleeps, "{command}");
    }
}

#[test]
fn listening_sockets_are_read_off_the_kernels_tables() {
    let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
        1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
        2: garbage\n";
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let socket = |protocol, text: &str| Socket { protocol, address: at(text).ip(), port: at(text).port() };
    assert_eq!(super::facts::proc_net(Protocol::Tcp, tcp), [socket(Protocol::Tcp, "127.0.0.1:8080")]);
    let six = "head\n0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 07 0:0\n";
    assert_eq!(super::facts::proc_net(Protocol::Udp, six), [socket(Protocol::Udp, "[::1]:80")]);
    assert_eq!(super::facts::proc_net(Protocol::Tcp, ""), []);
}

#[test]
fn a_pod_tells_which_services_lead_to_it_or_nearly_do() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } })).pod("a", "web", json!({ "app": "web" }));
    world.service("shop", json!({ "selector": { "app": "my-app" } })).pod("b", "x", json!({ "app": "myapp" }));
    let steps = |name: &str| {
        let pod = world.snapshot.pods.get(&ObjectKey::new("default", name)).unwrap();
        let steps = pod_steps(&world.snapshot, pod, &PodFacts::default());
        steps.iter().map(|step| format!("{} {} {}", step.name, step.verdict.text(), step.text)).collect::<Vec<_>>()
    };
    assert_eq!(
        steps("a"),
        ["READY ok it is ready", "SOCKETS - not looked at", "SERVICE FAIL svc/web: no slice of it holds this pod"]
    );
    assert_eq!(
        steps("b")[2],
        "SERVICE WARN no Service selects app=myapp,pod-template-hash=abc; svc/shop nearly selects it: app=myapp instead of app=my-app"
    );
}
