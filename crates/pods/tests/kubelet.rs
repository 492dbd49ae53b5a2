//! The kubelet over a real sandbox and an API in memory: Pods started, probed, restarted, drained and removed.
//!
//! The test's own executable is the holder and the program in the pods. It needs namespaces and fails without.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use api::kinds::{CONFIG_MAP, EVENT, POD};
use api::object::{ObjectKey, Revision};
use compile::snapshot::{self, Snapshot};
use contract::access::{Access, DeleteOptions};
use contract::applied::Applied;
use contract::streams::{ExecOptions, LogOptions, PodStreams};
use futures::StreamExt;
use memory::Memory;
use pods::addresses::Range;
use pods::name_files::Names;
use pods::sandbox::{Mode, Sandbox};
use pods::{Config, Kubelet, holder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

const PROGRAM: &str = "/run/mainstay/bin/mainstay";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(role) if role == holder::ROLE => holder::main(&arguments[2..]),
        Some("echo") => return echo(),
        _ => {}
    }
    let home = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start_or_adopt(home.path(), &[], Mode::Sandbox).unwrap();
    let netns = sandbox.netns().try_clone_to_owned().unwrap();
    let (handle, given) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        kernel::namespace::enter_net(netns.as_fd()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        handle.send(runtime.handle().clone()).unwrap();
        runtime.block_on(std::future::pending::<()>());
    });
    let node_runtime = given.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let done =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(story(&sandbox, node_runtime))));
    assert!(Sandbox::kill(home.path()).unwrap());
    if done.is_err() {
        std::process::exit(1);
    }
    println!("test kubelet ... ok");
    // The thread in the sandbox's network never ends by itself.
    drop(home);
    std::process::exit(0);
}

async fn story(sandbox: &Sandbox, node_runtime: tokio::runtime::Handle) {
    let access = Memory::new();
    let ranges = ["10.244.0.0/16", "fd00:10:244::/64"].map(|text| Range::parse(text).unwrap());
    let config = Config {
        node_name: "node".into(),
        node_addresses: ranges.iter().map(Range::node).collect(),
        host_addresses: tokio::sync::watch::channel(ranges.iter().map(Range::node).collect()).1,
        pod_ranges: ranges.into(),
        names: Names {
            dns: vec!["10.96.0.10".parse().unwrap()],
            domain: "cluster.local".into(),
            host_resolv: String::new(),
        },
        drain: std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)),
        node_runtime,
    };
    let applied = Applied::default();
    let sink = applied.sink("nft");
    let (snapshots, snapshot) = watch::channel(Arc::new(Snapshot::default()));
    let kubelet = Kubelet::new(config, access.clone(), sandbox, snapshot, applied, Vec::new()).unwrap();
    let streams = kubelet.streams();
    tokio::spawn(kubelet.run());

    access
        .create(&CONFIG_MAP, json!({ "metadata": { "namespace": "ns", "name": "cm" }, "data": { "key": "value" } }))
        .await
        .unwrap();
    for pod in [web(), crash(), job(), unknown_image()] {
        access.create(&POD, pod).await.unwrap();
    }
    let web = until_ready(&access, "web").await;
    serves(sandbox, &web);
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(web["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    println!("test a pod gets ready after its init container and answers on both families ... ok");
    logs_and_commands(streams.as_ref()).await;
    println!("test logs, exec with streams and exec on a terminal ... ok");
    ends(&access).await;
    println!("test crash back-off, completion and unknown image ... ok");
    drained(&access, sandbox, &snapshots, &sink, &web).await;
    println!("test SIGTERM is held until the revision is applied ... ok");
    let gone = access.all(&POD).iter().map(|pod| pod["metadata"]["name"].to_string()).collect::<BTreeSet<_>>();
    assert!(!gone.contains("\"web\""));
    let force = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    access.delete(&POD, &ObjectKey::new("ns", "crash"), &force).await.unwrap();
}

fn pod(name: &str, restart: &str, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "ns", "name": name, "uid": format!("uid-{name}"), "labels": { "app": name } },
        "spec": { "nodeName": "node", "restartPolicy": restart, "containers": containers, "terminationGracePeriodSeconds": 20 },
    })
}

fn web() -> Value {
    let container = json!({
        "name": "web", "image": "mainstay/host", "command": [PROGRAM, "echo"], "ports": [{ "name": "http", "containerPort": 80 }],
        "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }],
        "readinessProbe": { "tcpSocket": { "port": "http" }, "periodSeconds": 1 },
        "livenessProbe": { "exec": { "command": ["test", "-e", "/data/key"] }, "periodSeconds": 1, "timeoutSeconds": 10 },
        "volumeMounts": [{ "name": "cm", "mountPath": "/data" }, { "name": "scratch", "mountPath": "/scratch" }],
    });
    let mut web = pod("web", "Always", json!([container]));
    let init = json!({
        "name": "init", "image": "mainstay/host", "command": ["sh", "-c", "echo made > /scratch/made"],
        "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
    });
    web["spec"]["initContainers"] = json!([init]);
    web["spec"]["volumes"] =
        json!([{ "name": "cm", "configMap": { "name": "cm" } }, { "name": "scratch", "emptyDir": {} }]);
    web
}

fn crash() -> Value {
    pod("crash", "Always", json!([{ "name": "c", "image": "mainstay/host", "command": ["sh", "-c", "exit 3"] }]))
}

fn job() -> Value {
    pod("job", "Never", json!([{ "name": "c", "image": "mainstay/host", "command": ["sh", "-c", "echo done"] }]))
}

fn unknown_image() -> Value {
    pod("bad", "Always", json!([{ "name": "c", "image": "nginx:1.27" }]))
}

async fn until_ready(access: &Memory, name: &str) -> Value {
    let ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        pod["metadata"]["name"] == name && conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    access.until(&POD, &format!("{name} ready"), |pods| pods.iter().find(ready).cloned()).await
}

/// Connects from the node's network to every address of the pod.
fn serves(sandbox: &Sandbox, pod: &Value) {
    let addresses: Vec<IpAddr> = pod["status"]["podIPs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["ip"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let answer = kernel::namespace::within_net(sandbox.netns(), || {
            let mut answer = String::new();
            TcpStream::connect((address, 80))?.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let own = pod["status"]["podIP"].as_str().unwrap();
        assert_eq!(answer.unwrap(), format!("I am {own}"), "{address}");
    }
}

async fn logs_and_commands(streams: &dyn PodStreams) {
    let web = ObjectKey::new("ns", "web");
    let mut log = streams.logs(&web, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), "listening\n");
    let command = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let options = ExecOptions {
        command: command("cat; cat /data/key /scratch/made /etc/hostname >&2; exit 5"),
        stdin: true,
        stdout: true,
        stderr: true,
        ..ExecOptions::default()
    };
    let mut session = streams.exec(&web, &options).await.unwrap();
    session.stdin.take().unwrap().write_all(b"typed").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("typed", "valuemade\nweb\n"));
    assert_eq!(session.exit.await.unwrap(), Ok(5));

    let options =
        ExecOptions { command: command("read line; stty size; tty"), tty: true, stdin: true, stdout: true, ..options };
    let mut session = streams.exec(&web, &options).await.unwrap();
    session.resize.as_ref().unwrap().send((99, 33)).await.unwrap();
    // The size travels beside the input: it has been taken once the channel is empty again.
    while session.resize.as_ref().unwrap().capacity() < session.resize.as_ref().unwrap().max_capacity() {
        tokio::task::yield_now().await;
    }
    session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    let mut out = String::new();
    session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    assert!(out.contains("33 99\r\n"), "{out:?}");
}

async fn ends(access: &Memory) {
    let status = |name: &'static str| {
        move |pods: &[Value]| {
            let pod = pods.iter().find(|pod| pod["metadata"]["name"] == name)?;
            Some((pod["status"]["phase"].clone(), pod["status"]["containerStatuses"][0].clone()))
        }
    };
    let looping = |pods: &[Value]| {
        status("crash")(pods).filter(|(_, container)| container["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    };
    let (phase, container) = access.until(&POD, "CrashLoopBackOff", looping).await;
    assert_eq!((phase, &container["restartCount"]), (json!("Running"), &json!(1)));
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    let succeeded = |pods: &[Value]| status("job")(pods).filter(|(phase, _)| phase == "Succeeded");
    let (_, container) = access.until(&POD, "Succeeded", succeeded).await;
    assert_eq!(container["state"]["terminated"]["reason"], "Completed");
    let refused = |pods: &[Value]| {
        status("bad")(pods).filter(|(_, container)| container["state"]["waiting"]["reason"] == "ErrImagePull")
    };
    access.until(&POD, "ErrImagePull", refused).await;
    let says = |events: &[Value]| {
        let text = "mainstay image alias nginx=mainstay/echo";
        events.iter().find(|event| event["message"].as_str().is_some_and(|message| message.contains(text))).cloned()
    };
    assert_eq!(access.until(&EVENT, "an Event for the image", says).await["reason"], "Failed");
}

/// Deletes `web` while a Service has another ready endpoint: it must serve until the revision is applied.
async fn drained(
    access: &Memory,
    sandbox: &Sandbox,
    snapshots: &watch::Sender<Arc<Snapshot>>,
    sink: &contract::applied::SinkHandle,
    web: &Value,
) {
    let key = ObjectKey::new("ns", "web");
    snapshots.send_replace(Arc::new(terminating()));
    access.delete(&POD, &key, &DeleteOptions::default()).await.unwrap();
    sink.confirm(Revision(89));
    // The kubelet has taken notice once it has answered another change that came later.
    access.create(&POD, job_named("later")).await.unwrap();
    let later = |pods: &[Value]| {
        pods.iter().any(|pod| pod["metadata"]["name"] == "later" && pod["status"]["phase"] == "Succeeded").then_some(())
    };
    access.until(&POD, "the later pod", later).await;
    serves(sandbox, web);
    sink.confirm(Revision(90));
    let gone = |pods: &[Value]| (!pods.iter().any(|pod| pod["metadata"]["name"] == "web")).then_some(());
    access.until(&POD, "web removed", gone).await;
    let drained = |events: &[Value]| events.iter().find(|event| event["reason"] == "Drained").cloned();
    let event = access.until(&EVENT, "a Drained Event", drained).await;
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("No node sends new connections since revision 90: waited "), "{message}");
}

fn job_named(name: &str) -> Value {
    pod(name, "Never", json!([{ "name": "c", "image": "mainstay/host", "command": ["true"] }]))
}

fn terminating() -> Snapshot {
    let meta = |name: &str, uid: &str, label: (&str, &str)| snapshot::Meta {
        key: ObjectKey::new("ns", name),
        uid: uid.into(),
        revision: Revision(90),
        labels: [(label.0.into(), label.1.into())].into(),
        deleting: true,
    };
    let endpoint = |uid: &str, ready: bool| snapshot::Endpoint {
        address: "10.244.0.2".parse().unwrap(),
        ready,
        serving: true,
        terminating: !ready,
        node: None,
        zone: None,
        hostname: None,
        pod: None,
        pod_uid: Some(uid.into()),
        hint_zones: Vec::new(),
        hint_nodes: Vec::new(),
        weight: None,
    };
    let slice = snapshot::EndpointSlice {
        meta: meta("svc-1", "s", ("kubernetes.io/service-name", "svc")),
        family: Some(snapshot::Family::V4),
        ports: Vec::new(),
        endpoints: vec![endpoint("uid-web", false), endpoint("other", true)],
        owner_uid: None,
        trigger_time: None,
        weights_unread: None,
    };
    let pod = snapshot::Pod { meta: meta("web", "uid-web", ("app", "web")), ..snapshot::Pod::default() };
    let mut all = Snapshot { revision: Revision(90), ..Snapshot::default() };
    all.slices_of.insert_mut(ObjectKey::new("ns", "svc"), Arc::new([slice.meta.key.clone()]));
    all.slices.insert_mut(slice.meta.key.clone(), Arc::new(slice));
    all.pods.insert_mut(pod.meta.key.clone(), Arc::new(pod));
    all
}

/// The program in `web`: says its address to every connection; ends at SIGTERM at once, by default action of its parent.
fn echo() {
    let listener = TcpListener::bind("[::]:80").unwrap();
    println!("listening");
    std::io::stdout().flush().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let address = std::env::var("IP").unwrap();
            let _ = write!(connection.unwrap(), "I am {address}");
        }
    });
    // As pid 1 of its namespace it gets SIGTERM only if it handles it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        terminated.recv().await;
    });
}
