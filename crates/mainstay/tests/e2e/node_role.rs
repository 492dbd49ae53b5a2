//! `mainstay node` in a network of its own, on the API of a sandbox in another one: packets through it, its answers, the
//! loss of the API and its return, its own end, a restart and `--cleanup`.

mod take_over;

use std::process::{Child, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::account;
use crate::host_mode::world::Net;
use crate::sandbox::{PATIENCE, pause, text};

/// The API's side, which is also the LAN's, and the node's.
const API: &str = "192.0.2.1";
const NODE: &str = "192.0.2.2";
const POD: &str = "10.200.1.2";
const CLUSTER_IP: &str = "10.96.77.80";

const MANIFEST: &str = "\
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {type: NodePort, clusterIP: 10.96.77.80, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: others, labels: {service.kubernetes.io/service-proxy-name: another}}
spec: {clusterIP: 10.96.77.81, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: far-1, labels: {kubernetes.io/service-name: far}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.200.1.2], nodeName: n1}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: others-1, labels: {kubernetes.io/service-name: others}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.200.1.2], nodeName: n1}]
";

struct Scene {
    api: Net,
    node: Net,
    pod: Net,
    directory: tempfile::TempDir,
    server: Option<Child>,
    role: Option<Child>,
    echo: Option<Child>,
}

fn program() -> String {
    account::program().to_str().expect("a path of text").to_owned()
}

fn end(child: &mut Option<Child>, signal: Signal) {
    let Some(mut child) = child.take() else { return };
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
    let _ = child.wait();
}

impl Scene {
    fn new() -> Self {
        let (api, node, pod) = (Net::new(), Net::new(), Net::new());
        for net in [&api, &node, &pod] {
            net.script("ip link set lo up; mount --make-rprivate /; mount -t tmpfs tmpfs /run");
        }
        api.script(&format!("ip link add node0 type veth peer name eth0 netns {}", node.pid()));
        api.script(&format!("ip addr add {API}/24 dev node0; ip link set node0 up"));
        node.script(&format!("ip link add pod0 type veth peer name eth0 netns {}", pod.pid()));
        node.script(&format!(
            "ip addr add {NODE}/24 dev eth0; ip link set eth0 up; ip addr add 10.200.1.1/24 dev pod0; ip link set pod0 up; \
             ip route add default via {API}; echo 1 > /proc/sys/net/ipv4/ip_forward"
        ));
        pod.script(&format!("ip addr add {POD}/24 dev eth0; ip link set eth0 up; ip route add default via 10.200.1.1"));
        let mut command = pod.command(&[&program(), "guest", "echo", "8080"]);
        let echo = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("echo starts");
        let directory = account::directory();
        Self { api, node, pod, directory, server: None, role: None, echo: Some(echo) }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Starts the API on an address that the node reaches, on the same port each time.
    fn serve(&mut self) {
        let before = self.log("server.log").matches("export KUBECONFIG=").count();
        let log = || std::fs::File::options().create(true).append(true).open(self.file("server.log")).expect("a log");
        let listen = format!("{API}:16443");
        let data = self.file("data");
        let mut command = self.api.command(&[
            &program(),
            "up",
            "--sandbox",
            "--publish=off",
            "--listen",
            &listen,
            "--data-dir",
            &data,
        ]);
        command.env_remove("KUBECONFIG").stdout(log()).stderr(log());
        self.server = Some(command.spawn().expect("mainstay up starts"));
        self.until("the API is ready", |scene| scene.log("server.log").matches("export KUBECONFIG=").count() > before);
    }

    /// Starts the role and waits until it has programmed what there is.
    fn follow(&mut self, flags: &[&str]) {
        let before = self.log("node.log").matches("programmed at revision").count();
        let log = || std::fs::File::options().create(true).append(true).open(self.file("node.log")).expect("a log");
        let kubeconfig = self.file("data/kubeconfig");
        let mut command = self.node.command(&[&program(), "node", "--kubeconfig", &kubeconfig]);
        command.args(["--hostname-override", "n1", "--cluster-cidr", "10.200.0.0/16"]).args(flags);
        command.stdout(log()).stderr(log());
        self.role = Some(command.spawn().expect("mainstay node starts"));
        self.until("the node has programmed", |scene| {
            scene.log("node.log").matches("programmed at revision").count() > before
        });
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = self.api.command(&[&["kubectl"][..], arguments].concat());
        command.env("KUBECONFIG", self.file("data/kubeconfig")).env("HOME", self.directory.path());
        let output = command.output().expect("kubectl must be installed: sh scripts/test.sh does it");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn until(&self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !look(self) {
            let logs = [self.log("server.log"), self.log("node.log")].join("\nnode:\n");
            assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}; server:\n{logs}");
            pause();
        }
    }

    fn curl(&self, from: &Net, url: &str) -> Output {
        from.run(&["curl", "-sS", "--max-time", "5", url])
    }

    /// Waits until somebody reaches a URL; what it answers.
    fn reaches(&self, from: &Net, url: &str) -> String {
        let mut answer = String::new();
        self.until(&format!("{url} answers"), |scene| {
            let output = scene.curl(from, url);
            answer = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success()
        });
        answer
    }

    /// The body of one of the role's own paths, with its status.
    fn told(&self, port: u16, path: &str) -> (String, String) {
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = self.node.ok(&["curl", "-sS", "--max-time", "5", "-w", "\n%{http_code}", &url]);
        let (body, code) = answer.rsplit_once('\n').expect("a status");
        (code.to_owned(), body.to_owned())
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.told(10249, "/status").1).expect("the status is JSON")
    }

    fn tables(&self) -> String {
        self.node.ok(&["nft", "list", "tables"])
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        end(&mut self.role, Signal::TERM);
        end(&mut self.echo, Signal::KILL);
        end(&mut self.server, Signal::TERM);
        let down = self.api.run(&[&program(), "down", "--data-dir", &self.file("data")]);
        if !std::thread::panicking() {
            assert!(down.status.success(), "{}", text(&down));
        }
    }
}

fn cluster_url() -> String {
    format!("http://{CLUSTER_IP}/")
}

fn started() -> Scene {
    let mut scene = Scene::new();
    scene.serve();
    std::fs::write(scene.file("manifest.yaml"), MANIFEST).expect("a manifest");
    scene.kubectl(&["apply", "-f", &scene.file("manifest.yaml")]);
    let addresses = format!(r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"{NODE}"}}]}}}}"#);
    scene.kubectl(&["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", &addresses]);
    scene
}

/// Pods, the node itself and the LAN reach the Service; the pod also itself, and then it sees another source than its own.
fn packets(scene: &Scene) {
    let url = cluster_url();
    scene.reaches(&scene.node, &url);
    let hairpin = scene.reaches(&scene.pod, &url);
    assert!(
        hairpin.contains("\"client\":") && !hairpin.contains(&format!("\"client\":\"{POD}\"")),
        "a pod that reaches itself is masqueraded: {hairpin}"
    );
    scene.reaches(&scene.api, &format!("http://{NODE}:30080/"));
    let other = scene.curl(&scene.pod, "http://10.96.77.81/");
    assert!(!other.status.success(), "a Service of another proxy is left alone: {}", text(&other));
    // An endpoint that is not ready is none: refused at once.
    let ready = |ready: bool| {
        let endpoint = format!(r#"{{"addresses":["{POD}"],"nodeName":"n1","conditions":{{"ready":{ready}}}}}"#);
        let patch = format!(r#"{{"endpoints":[{endpoint}]}}"#);
        scene.kubectl(&["patch", "endpointslice", "far-1", "--type=merge", "-p", &patch]);
    };
    ready(false);
    scene.until("a Service without endpoints refuses", |scene| scene.curl(&scene.node, &url).status.code() == Some(7));
    ready(true);
    scene.reaches(&scene.node, &url);
}

/// kube-proxy's paths say what they say there.
fn answers(scene: &Scene) {
    for path in ["/healthz", "/livez"] {
        let (code, body) = scene.told(10256, path);
        let body: Value = serde_json::from_str(&body).expect("health is JSON");
        assert_eq!((code.as_str(), &body["healthy"]), ("200", &Value::Bool(true)), "{path}: {body}");
        assert_eq!(body.get("nodeEligible").is_some(), path == "/healthz");
    }
    assert_eq!(scene.told(10249, "/proxyMode"), ("200".into(), "nftables".into()));
    assert_eq!(scene.told(10249, "/healthz"), ("200".into(), "ok".into()));
    assert!(scene.told(10249, "/configz").1.contains("\"clusterCIDR\":\"10.200.0.0/16\""));
    assert_eq!(scene.told(10249, "/nothing").0, "404");
    let (_, metrics) = scene.told(10249, "/metrics");
    for line in ["kubeproxy_sync_proxy_rules_duration_seconds_count ", "mainstay_api_connected 1", "mainstay_services "]
    {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} in {metrics}");
    }
    scene.kubectl(&[
        "patch",
        "node",
        "n1",
        "--type=merge",
        "-p",
        r#"{"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]}}"#,
    ]);
    scene.until("a node that leaves is not eligible", |scene| scene.told(10256, "/healthz").0 == "503");
    assert_eq!(scene.told(10256, "/livez").0, "200", "and lives");
    scene.kubectl(&["patch", "node", "n1", "--type=merge", "-p", r#"{"spec":{"taints":null}}"#]);
    scene.until("a node that stays is", |scene| scene.told(10256, "/healthz").0 == "200");
}

/// Without the API the kernel keeps what it has; what was deleted meanwhile goes when the API is back.
fn loss(scene: &mut Scene) {
    end(&mut scene.server, Signal::KILL);
    scene.until("the loss is noticed", |scene| scene.status()["api"]["connected"] == false);
    scene.reaches(&scene.node, &cluster_url());
    assert_eq!(scene.told(10256, "/healthz").0, "200", "what is programmed is still right");
    scene.until("the snapshot ages", |scene| scene.status()["api"]["snapshotAgeSeconds"].as_u64() > Some(0));
    scene.node.script("ip link set eth0 down");
    scene.serve();
    scene.kubectl(&["delete", "service", "others"]);
    scene.kubectl(&["delete", "service", "far"]);
    scene.node.script(&format!("ip link set eth0 up; ip route add default via {API}"));
    scene.until("what went meanwhile goes", |scene| scene.curl(&scene.pod, &cluster_url()).status.code() == Some(7));
    scene.until("the API is heard", |scene| scene.status()["api"]["connected"] == true);
    scene.kubectl(&["apply", "-f", &scene.file("manifest.yaml")]);
    scene.reaches(&scene.node, &cluster_url());
}

#[test]
fn a_node_of_somebody_elses_cluster() {
    let mut scene = started();
    scene.follow(&[]);
    packets(&scene);
    answers(&scene);
    let second = scene.node.run(&[&program(), "node", "--kubeconfig", &scene.file("data/kubeconfig")]);
    assert!(!second.status.success() && text(&second).contains("End it first: kill"), "{}", text(&second));
    loss(&mut scene);

    end(&mut scene.role, Signal::TERM);
    scene.reaches(&scene.node, &cluster_url());
    scene.follow(&[]);
    assert_eq!(scene.status()["dataplane"]["batches"], 0, "a restart writes nothing: {}", scene.status());
    end(&mut scene.role, Signal::TERM);
    assert!(scene.tables().contains("table inet mainstay"));
    scene.node.ok(&[&program(), "node", "--cleanup"]);
    assert_eq!(scene.tables(), "");
}
