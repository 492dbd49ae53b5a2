//! A node under load that one proxy takes over from the other, and gives back, in; what each connection met out.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::ground::{API_CPU, Ground, NODE, Node, SERVERS, command};
use super::process::{Process, output};
use super::side::{Programs, Proxy, Side, clean_up};

/// How long each state is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// New connections a second of each client.
const RATE: &str = "300";
/// Connections that are kept and used once a second.
const KEPT: &str = "50";
const PATIENCE: Duration = Duration::from_secs(30);

/// kube-proxy, then Mainstay, then kube-proxy again.
pub(super) fn run(programs: &Programs<'_>, ground: &Ground, api: &Api) -> Result<Value> {
    eprintln!("xtask: take-over");
    let node = ground.node()?;
    let _server = echo(programs.binary, ground, &node)?;
    let first = Proxy::start(Side::KubeProxy, programs, ground, &node, api)?;
    let loads = Loads::start(programs.binary, &node)?;
    let mut steps = Vec::new();
    // What failed so far is looked at after each step's rest, so that a failure is seen beside what caused it.
    let mut step = |what: &str| {
        std::thread::sleep(WATCHED);
        steps.push(json!({ "step": what, "failed": loads.failed() }));
    };
    step("kube-proxy alone");
    let ours = Proxy::start_with(Side::Mainstay, &["--take-over"], programs, ground, &node, api)?;
    step("mainstay node --take-over started beside kube-proxy");
    first.stop()?;
    step("kube-proxy stopped");
    gone(&node, ["ip", "kube-proxy"])?;
    step("the rules of kube-proxy are gone");
    let second = Proxy::start(Side::KubeProxy, programs, ground, &node, api)?;
    step("kube-proxy started beside mainstay node");
    ours.stop()?;
    step("mainstay node stopped");
    clean_up(programs, &node)?;
    gone(&node, ["inet", "mainstay"])?;
    step("mainstay node --cleanup");
    let clients = loads.finish()?;
    second.stop()?;
    let failed: u64 = clients.iter().map(|(_, outcome)| failures(outcome)).sum();
    let sum = |name: &str| clients.iter().filter_map(|(_, outcome)| outcome[name].as_u64()).sum::<u64>();
    let of: serde_json::Map<String, Value> =
        clients.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect();
    Ok(json!({
        "steps": steps, "started": sum("started"), "ok": sum("ok"), "stalled": sum("stalled"), "failed": failed, "clients": of,
    }))
}

/// Waits until a table is gone.
fn gone(node: &Node, [family, table]: [&str; 2]) -> Result<()> {
    let began = Instant::now();
    while output(node.command("nft").args(["list", "tables"]))?.contains(&format!("table {family} {table}\n")) {
        if began.elapsed() > PATIENCE {
            bail!("table {family} {table} is still there after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The server behind the Service.
fn echo(binary: &Path, ground: &Ground, node: &Node) -> Result<Process> {
    let mut echo = command(&node.server, "1", binary);
    echo.args(["guest", "echo", "8080,8081"]).env("MAINSTAY_POD", SERVERS[0]);
    let mut process = Process::start("echo", echo, &ground.directory().join("echo.log"))?;
    process.until(PATIENCE, |log| log.contains("serves HTTP"))?;
    Ok(process)
}

/// Clients that connect all the time.
struct Loads(Vec<Client>);

struct Client {
    name: &'static str,
    child: Child,
    /// What it counted last.
    outcome: Arc<Mutex<Value>>,
    reader: JoinHandle<()>,
}

impl Loads {
    fn start(binary: &Path, node: &Node) -> Result<Self> {
        let (cluster_ip, node_port) = ("10.96.1.1:80".to_owned(), format!("{NODE}:30080"));
        let begin = |name: &'static str, namespace: &str, target: &str, flags: &[&str]| -> Result<Client> {
            let mut load: Command = command(namespace, API_CPU, binary);
            load.args(["load", target, "--report", "--seconds", "86400"]).args(flags);
            let mut child =
                load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a client")?;
            let output = child.stdout.take().context("a client has an output")?;
            let outcome = Arc::new(Mutex::new(Value::Null));
            let of_reader = outcome.clone();
            let reader = std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let counted = serde_json::from_str::<Value>(&line).ok().filter(|value| value["ok"].is_u64());
                    if let (Some(counted), Ok(mut outcome)) = (counted, of_reader.lock()) {
                        *outcome = counted;
                    }
                }
            });
            Ok(Client { name, child, outcome, reader })
        };
        let new = ["--reset", "--rate", RATE];
        Ok(Self(vec![
            begin("new, pod to ClusterIP", &node.client, &cluster_ip, &new)?,
            begin("new, pod to NodePort", &node.client, &node_port, &new)?,
            begin("new, node to ClusterIP", &node.node, &cluster_ip, &new)?,
            begin("kept, pod to ClusterIP", &node.client, &cluster_ip, &["--kept", KEPT])?,
            begin("kept, pod to NodePort", &node.client, &node_port, &["--kept", KEPT])?,
        ]))
    }

    /// Failures so far, as the clients said within the last second.
    fn failed(&self) -> u64 {
        self.0.iter().map(|client| failures(&client.outcome())).sum()
    }

    fn finish(self) -> Result<Vec<(&'static str, Value)>> {
        let mut all = Vec::new();
        for mut client in self.0 {
            drop(client.child.stdin.take());
            client.child.wait()?;
            let outcome = client.outcome.clone();
            client.reader.join().map_err(|_| anyhow!("the reader of {} panicked", client.name))?;
            let outcome = outcome.lock().map(|outcome| outcome.clone()).unwrap_or_default();
            if !outcome["ok"].is_u64() {
                bail!("{} counted nothing", client.name);
            }
            all.push((client.name, outcome));
        }
        Ok(all)
    }
}

impl Client {
    fn outcome(&self) -> Value {
        self.outcome.lock().map(|outcome| outcome.clone()).unwrap_or_default()
    }
}

fn failures(outcome: &Value) -> u64 {
    outcome["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}
