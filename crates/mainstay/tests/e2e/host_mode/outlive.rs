//! Pods of a host outlive the server and their holder: the next ones go on with them and write nothing; a reboot starts them
//! anew and says so.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::world::World;
use crate::account;
use crate::processes::Ours;
use crate::sandbox::text;

const MANIFEST: &str = include_str!("../../../src/cli/demo/types.yaml");

/// A pod that counts without end, so that its log shows what got lost.
const COUNTER: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: counter }\nspec:\n  terminationGracePeriodSeconds: 0\n  \
                       containers:\n  - name: counter\n    image: mainstay/host\n    command: [sh, -c, 'i=0; while :; do echo $i; \
                       i=$((i+1)); sleep 0.002; done']\n";

fn with_pods() -> World {
    let mut world = World::new();
    world.up(&[]);
    world.apply(MANIFEST);
    world.apply(COUNTER);
    world.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "pod/counter", "--timeout=60s"]);
    world.until("everything is applied", |world| world.status("applied") >= world.status("revision"));
    world
}

fn pods(world: &World) -> String {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,READY:.status.conditions[?(@.type==\"Ready\")].status,\
                   STARTED:.status.containerStatuses[0].state.running.startedAt,RESTARTS:.status.containerStatuses[0].restartCount";
    world.kubectl_ok(&["get", "pods", "-o", columns])
}

fn pid_in(path: &Path) -> i32 {
    let text = std::fs::read(path).expect("the process is recorded");
    let record: Value = serde_json::from_slice(&text).expect("the record is JSON");
    i32::try_from(record["pid"].as_i64().expect("a process id")).expect("a small number")
}

fn holder(world: &World) -> i32 {
    pid_in(&world.path().join("holder.json"))
}

fn first_process(world: &World, pod: &str) -> i32 {
    let uid = world.kubectl_ok(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"]);
    pid_in(&world.path().join(format!("holder/{uid}_{pod}.json")))
}

fn kill(pid: i32) {
    let process = Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(process, Signal::KILL).expect("it can be killed");
}

fn kill_holder(world: &World) -> i32 {
    let pid = holder(world);
    kill(pid);
    pid
}

/// Links, addresses and routes that change while it runs, by the kernel's own messages.
fn monitor(world: &World) -> Child {
    let mut command = world.host.command(&["ip", "-o", "monitor", "link", "address", "route"]);
    command.stdout(Stdio::piped()).spawn().expect("ip must be installed")
}

fn changes(mut monitor: Child) -> String {
    monitor.kill().expect("the monitor can be stopped");
    let mut text = String::new();
    monitor.stdout.take().expect("it has an output").read_to_string(&mut text).expect("text");
    monitor.wait().expect("it ends");
    text
}

fn numbers(world: &World) -> Vec<u64> {
    let log = world.kubectl_ok(&["logs", "counter"]);
    log.lines().map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn server_and_holder_killed_at_once_are_followed_by_others_that_write_nothing() {
    let mut world = with_pods();
    let (before, table) = (pods(&world), world.host.ok(&["nft", "-s", "list", "table", "inet", "mainstay"]));
    let address = world.kubectl_ok(&["get", "svc", "my-clusterip-service", "-o", "jsonpath={.spec.clusterIP}"]);
    let monitor = monitor(&world);
    let old = kill_holder(&world);
    world.stop(Signal::KILL);
    for _ in 0..20 {
        let output = world.curl(&world.host, &format!("http://{address}/"));
        assert!(output.status.success(), "nothing of ours but the pods runs: {}", text(&output));
    }
    world.up(&[]);
    world.until("everything is applied", |world| world.status("applied") >= world.status("revision"));
    assert_ne!(holder(&world), old);
    assert_eq!(pods(&world), before, "the same pods, never started again");
    let status = world.kubectl_ok(&["get", "--raw", "/mainstay/status"]);
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    assert_eq!(status["programming"]["batches"], 0, "nothing changed, so nothing is written: {status}");
    assert_eq!(changes(monitor), "", "links, addresses and routes are left alone");
    assert_eq!(world.host.ok(&["nft", "-s", "list", "table", "inet", "mainstay"]), table);
    let counted = numbers(&world);
    let expected: Vec<u64> = (0..counted.len() as u64).collect();
    assert_eq!(counted, expected, "no line is lost or doubled");
    assert!(world.answer_to_pod(&format!("http://{address}/")).contains("my-app-"), "commands beside adopted pods run");
    world.kubectl_ok(&["delete", "pod", "counter", "--timeout=30s"]);
}

#[test]
fn a_holder_that_dies_is_replaced_under_a_server_that_goes_on() {
    let world = with_pods();
    let before = pods(&world);
    let monitor = monitor(&world);
    for round in 1..=5 {
        let old = kill_holder(&world);
        world.until("there is another holder", |world| holder(world) != old);
        world.until("the server has noticed", |world| {
            world.log().matches("a new one has taken them over").count() == round
        });
    }
    assert!(world.runs(), "{}", world.log());
    assert_eq!(pods(&world), before);
    assert_eq!(changes(monitor), "");
    let counted = numbers(&world);
    let expected: Vec<u64> = (0..counted.len() as u64).collect();
    assert_eq!(counted, expected, "no line is lost or doubled");
    // The end of a container that another holder started is seen, with its code, and the container comes again.
    let address = world.kubectl_ok(&["get", "svc", "my-clusterip-service", "-o", "jsonpath={.spec.clusterIP}"]);
    kill(first_process(&world, "counter"));
    world.until("the container runs again", |world| {
        let columns = "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} \
                       {.status.containerStatuses[0].lastState.terminated.exitCode} \
                       {.status.containerStatuses[0].lastState.terminated.reason}";
        world.kubectl_ok(&["get", "pod", "counter", "-o", columns]) == "1 true 137 Error"
    });
    assert!(world.answer_to_pod(&format!("http://{address}/")).contains("my-app-"));
}

#[test]
fn after_a_reboot_pods_are_started_anew_with_their_names_and_addresses() {
    let mut world = with_pods();
    let identity = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP";
    let before = world.kubectl_ok(&["get", "pods", "-o", identity]);
    let ours = Ours::on_host(world.path(), world.host.pid());
    world.stop(Signal::KILL);
    assert!(ours.kill() > 0);
    world.until("every process has ended", |_| ours.left().is_empty());
    world.reboot();
    world.up(&[]);
    let last = "jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} \
                {.status.containerStatuses[0].lastState.terminated.exitCode} \
                {.status.containerStatuses[0].lastState.terminated.reason}{\"\\n\"}{end}";
    world.until("every pod runs for the second time", |world| {
        let pods = world.kubectl_ok(&["get", "pods", "-o", last]);
        pods.lines().count() == 5 && pods.lines().all(|line| line == "1 true 137 ContainerStatusUnknown")
    });
    assert_eq!(world.kubectl_ok(&["get", "pods", "-o", identity]), before);
    let first = world.kubectl_ok(&["logs", "counter", "--previous", "--tail=1"]);
    assert!(first.parse::<u64>().is_ok(), "the log before the reboot is there: {first}");
}

#[test]
fn ten_rounds_of_chaos_fail_no_connection() {
    // The chore names its network namespaces in /run/netns; other tests compare what they find there.
    let own_run = "mount -t tmpfs none /run && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", own_run, "sh", env!("CARGO")]);
    command.args(["run", "--quiet", "--package", "xtask", "--", "chaos"]);
    command.args(["--rounds", "10", "--rate", "200", "--kept", "20", "--binary"]).arg(account::program());
    let output = command.output().expect("unshare must be installed (util-linux)");
    assert!(output.status.success(), "{}", text(&output));
}
