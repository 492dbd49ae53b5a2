//! The articles' traps: what fails or never works on a correct implementation is refused or warned of, in words that help.

use serde_json::{Value, json};

use super::Stage;
use super::report::{Said, Unseen};

/// One object that must be refused or warned of.
struct Trap {
    name: &'static str,
    object: Value,
    /// HTTP code of the answer.
    code: u16,
    /// What the message or the warning must contain.
    says: &'static str,
}

/// Every trap, as dry runs: nothing stays.
pub(super) async fn all(stage: &mut Stage) -> Result<Said, Unseen> {
    let mut below = Vec::new();
    for trap in traps() {
        let path = crate::manifest::collection(&trap.object)?;
        let answer = stage.cluster.api.post(&format!("{path}?dryRun=All"), &trap.object).await?;
        let said = match answer.body["message"].as_str() {
            Some(message) if answer.code >= 400 => message.to_owned(),
            _ => answer.warnings.join("; "),
        };
        if answer.code != trap.code || !said.contains(trap.says) {
            let expected = format!("{}: {} and {:?}", trap.name, trap.code, trap.says);
            return Err(Unseen::new(expected, format!("{} {said}", answer.code), "kubectl apply --dry-run=server"));
        }
        below.push(format!("{:<34} {}", trap.name, shorten(&said)));
    }
    Ok(Said { line: format!("{} traps, each answered", below.len()), below })
}

fn traps() -> Vec<Trap> {
    let service =
        |spec: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "trap" }, "spec": spec });
    let slice = |port: &str, address: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "my-service-1", "labels": { "kubernetes.io/service-name": "my-service" } },
            "ports": [{ "name": port, "port": 9376 }], "endpoints": [{ "addresses": [address] }],
        })
    };
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "trap" },
        "spec": { "template": {
            "metadata": { "labels": { "app": "my-app" } },
            "spec": { "containers": [{ "name": "my-app-container", "image": "my-app-image" }] },
        } },
    });
    let trap = |name, object, code, says| Trap { name, object, code, says };
    let node_port = |port: u16| service(json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] }));
    vec![
        trap("a Deployment without selector", deployment, 422, "spec.selector: Required value"),
        trap(
            "a selector that matches nothing",
            service(json!({ "selector": { "app": "myapp" }, "ports": [{ "port": 80 }] })),
            201,
            "MS100",
        ),
        trap("a slice port that joins nothing", slice("http", "10.4.5.6"), 201, "MS1005"),
        trap("an endpoint on loopback", slice("", "127.0.0.1"), 422, "loopback range"),
        trap("a node port out of range", node_port(29999), 422, "not in the valid range"),
        trap("a node port that is taken", node_port(30007), 422, "default/my-nodeport-service"),
        trap(
            "externalIPs (CVE-2020-8554)",
            service(json!({ "externalIPs": ["198.51.100.1"], "ports": [{ "port": 80 }] })),
            422,
            "--allow-external-ips",
        ),
    ]
}

fn shorten(text: &str) -> String {
    let line = text.replace('\n', " ");
    if line.chars().count() <= 110 { line } else { line.chars().take(107).chain("...".chars()).collect() }
}
