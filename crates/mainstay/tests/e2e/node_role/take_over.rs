//! A node goes from kube-proxy's rules to ours and back under load: no connection fails, new or old.

use std::io::Read;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::{CLUSTER_IP, NODE, Scene, cluster_url, end, program, started};
use crate::host_mode::world::Net;

/// As kube-proxy left them in a kernel.
const KUBE_PROXY: &str = include_str!("kube-proxy.nft");

/// Connections without pause, until standard input ends.
struct Load(Child);

impl Load {
    fn start(net: &Net, target: &str, flags: &[&str]) -> Self {
        let program = program();
        let mut command = net.command(&[&[program.as_str(), "load", target, "--seconds", "600"][..], flags].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the load starts");
        let mut line = Vec::new();
        let output = child.stdout.as_mut().expect("its output");
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("it says that it has started");
            line.push(byte[0]);
        }
        Self(child)
    }

    /// What came of it.
    fn end(mut self) -> Value {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().expect("its output").read_to_string(&mut text).expect("its outcome");
        self.0.wait().expect("the load ends");
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("an outcome is JSON")
    }
}

fn install(scene: &Scene) {
    let file = scene.file("kube-proxy.nft");
    std::fs::write(&file, KUBE_PROXY).expect("a file of rules");
    scene.node.ok(&["nft", "-f", &file]);
}

#[test]
fn from_kube_proxy_and_back_no_connection_fails() {
    let mut scene = started();
    install(&scene);
    scene.reaches(&scene.node, &cluster_url());
    let (inside, outside) = (format!("{CLUSTER_IP}:80"), format!("{NODE}:30080"));
    let loads = [
        ("new from the node", Load::start(&scene.node, &inside, &["--rate", "100", "--reset"])),
        ("new from the LAN", Load::start(&scene.api, &outside, &["--rate", "100", "--reset"])),
        ("kept from the LAN", Load::start(&scene.api, &outside, &["--kept", "20"])),
        ("kept from the pod", Load::start(&scene.pod, &inside, &["--kept", "20"])),
    ];
    scene.follow(&["--take-over"]);
    scene.until("kube-proxy's tables are gone", |scene| !scene.tables().contains("kube-proxy"));
    assert!(scene.tables().contains("table inet mainstay"));
    scene.until("some hundred connections are ours", |scene| passed(scene) > 300);

    install(&scene);
    end(&mut scene.role, Signal::TERM);
    scene.node.ok(&[&program(), "node", "--cleanup"]);
    assert!(!scene.tables().contains("mainstay") && scene.tables().contains("table ip kube-proxy"));
    scene.reaches(&scene.node, &cluster_url());
    for (what, load) in loads {
        let outcome = load.end();
        assert_eq!(outcome["failed"], serde_json::json!({}), "{what}: {outcome}");
        assert!(outcome["ok"].as_u64() >= Some(20), "{what}: {outcome}");
    }
}

/// Connections that our rules have counted.
fn passed(scene: &Scene) -> u64 {
    let text = scene.node.ok(&["nft", "-j", "list", "map", "inet", "mainstay", "nodeport4"]);
    let value: Value = serde_json::from_str(&text).expect("nft prints JSON");
    fn packets(value: &Value) -> u64 {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| value.as_u64().filter(|_| name == "packets").unwrap_or_else(|| packets(value)))
                .sum(),
            Value::Array(items) => items.iter().map(packets).sum(),
            _ => 0,
        }
    }
    packets(&value)
}
