//! `mainstay trace` against what curl sees: the same endpoint, the same client address, the same refusal or silence.

use serde_json::Value;

use crate::sandbox::{Sandbox, text};

const OBJECTS: &str = "
apiVersion: v1
kind: Pod
metadata: { name: a, labels: { app: web, pod: a } }
spec: { containers: [{ name: main, image: mainstay/echo, ports: [{ containerPort: 8080 }] }], terminationGracePeriodSeconds: 1 }
---
apiVersion: v1
kind: Pod
metadata: { name: b, labels: { app: web } }
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
spec: { type: NodePort, selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: sticky }
spec: { selector: { app: web }, sessionAffinity: ClientIP, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: nobody }
spec: { selector: { app: nothing }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: far }
spec: { internalTrafficPolicy: Local, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: far-1, labels: { kubernetes.io/service-name: far } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: [10.244.9.9], nodeName: another-node }]
";

/// A trace, as a program reads it.
fn traced(sandbox: &Sandbox, source: &str, target: &str) -> Value {
    let directory = sandbox.path().to_string_lossy().into_owned();
    let output = sandbox.mainstay(&["trace", "--data-dir", &directory, "-o", "json", source, target]);
    assert!(output.status.success(), "trace {source} {target}: {}\nserver:\n{}", text(&output), sandbox.log());
    serde_json::from_slice(&output.stdout).expect("a trace is JSON")
}

/// What curl sees from the client pod or the node; its exit code if nothing.
fn asked(sandbox: &Sandbox, source: &str, target: &str) -> Result<Value, i32> {
    let url = format!("http://{target}");
    let curl = ["curl", "-s", "--connect-timeout", "1", &url];
    let output = match source.strip_prefix("pod/") {
        Some(pod) => sandbox.kubectl(&[&["exec", pod, "--"][..], &curl].concat()),
        None => sandbox.exec(&curl),
    };
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("the echo is JSON")),
        false => Err(output.status.code().unwrap_or_default()),
    }
}

#[test]
fn a_trace_says_what_curl_sees_on_every_way_in() {
    let sandbox = Sandbox::start();
    sandbox.apply(OBJECTS);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/a", "pod/b", "pod/client"]);
    sandbox.until("two endpoints programmed", |sandbox| {
        let address = sandbox.kubectl_ok(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
        let trace = traced(sandbox, "pod/client", &format!("{address}:80"));
        trace["endpoints"].as_array().is_some_and(|endpoints| endpoints.len() == 2)
    });
    let get = |kind: &str, name: &str, path: &str| {
        sandbox.kubectl_ok(&["get", kind, name, "-o", &format!("jsonpath={{{path}}}")])
    };
    let service = |name: &str| format!("{}:80", get("service", name, ".spec.clusterIP"));
    let node_port = format!("{}:{}", sandbox.node_address(), get("service", "web", ".spec.ports[0].nodePort"));
    let unknown = service("web").replace(":80", ":81");
    let pod = format!("{}:8080", get("pod", "a", ".status.podIP"));
    for (source, target, expected) in [
        ("pod/client", service("web"), "translated"),
        ("host", service("web"), "translated"),
        ("pod/a", service("web"), "translated"),
        ("pod/client", service("sticky"), "translated"),
        ("pod/client", service("sticky"), "translated"),
        ("pod/client", node_port.clone(), "translated"),
        ("host", node_port, "translated"),
        ("pod/client", service("nobody"), "refused"),
        ("pod/client", unknown, "refused"),
        ("host", service("nobody"), "refused"),
        ("pod/client", service("far"), "dropped"),
        ("pod/client", pod, "passed"),
    ] {
        let trace = traced(&sandbox, source, &target);
        assert_eq!(trace["verdict"], expected, "{source} {target}: {trace:#}");
        assert_eq!(trace["behind"], 0, "{trace:#}");
        assert!(trace["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{trace:#}");
        // From inside a pod, stock curl is in the client's image only.
        let seen = asked(&sandbox, if source == "pod/a" { "pod/client" } else { source }, &target);
        match expected {
            "translated" => {
                let seen = seen.unwrap_or_else(|code| panic!("{source} {target}: curl ended with {code}; {trace:#}"));
                let address = get("pod", seen["pod"].as_str().unwrap_or_default(), ".status.podIP");
                let endpoints = trace["endpoints"].as_array().cloned().unwrap_or_default();
                let chosen = endpoints.iter().find(|endpoint| endpoint["address"] == *address);
                let chosen = chosen.unwrap_or_else(|| panic!("{source} {target}: {seen:#} is not in {trace:#}"));
                if source == "pod/client" {
                    let own = seen["client"] == trace["source"];
                    assert_eq!(chosen["masqueraded"], !own, "{source} {target}: {seen:#} {trace:#}");
                }
            }
            "passed" => assert!(seen.is_ok(), "{source} {target}: {seen:?}"),
            // Refused at once, or no answer within the time.
            "refused" => assert_eq!(seen.err(), Some(7), "{source} {target}"),
            _ => assert_eq!(seen.err(), Some(28), "{source} {target}"),
        }
    }
    let own = traced(&sandbox, "pod/a", &service("web"));
    let itself = |endpoint: &&Value| endpoint["address"] == own["source"];
    let endpoints = own["endpoints"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        endpoints.iter().find(itself).map(|endpoint| &endpoint["masqueraded"]),
        Some(&Value::Bool(true)),
        "hairpin: {own:#}"
    );
    remembered(&sandbox, &service("sticky"));
    told(&sandbox, &service("web"));
}

/// After a connection the client has one endpoint left, and the map that says so is named.
fn remembered(sandbox: &Sandbox, target: &str) {
    let trace = traced(sandbox, "pod/client", target);
    assert_eq!(trace["endpoints"].as_array().map(Vec::len), Some(1), "{trace:#}");
    let steps = trace["steps"].as_array().cloned().unwrap_or_default();
    let step = steps.iter().find(|step| step["set"] == "affinity4").expect("the memory is looked up");
    assert!(step["says"].as_str().is_some_and(|says| says.starts_with("the client is remembered")), "{trace:#}");
}

/// For people: the Service by its name, and three parts where the question is wrong.
fn told(sandbox: &Sandbox, target: &str) {
    let directory = sandbox.path().to_string_lossy().into_owned();
    let say = |source: &str, target: &str| sandbox.mainstay(&["trace", "--data-dir", &directory, source, target]);
    let shown = text(&say("pod/client", target));
    for part in ["front4", "a cluster IP of default/web:http", "keeps its address", "to one of these 2 endpoints"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for (source, target, code, why) in [
        ("pod/nobody", target, 1, "there is no pod nobody in namespace default"),
        ("svc/web", target, 3, "sends nothing"),
        ("host", "web:80", 3, "no ADDRESS:PORT"),
    ] {
        let output = say(source, target);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
    }
}
