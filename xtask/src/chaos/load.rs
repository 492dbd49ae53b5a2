//! Clients of the instance: where they are in, what each of them counted out.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::server::Server;
use super::world::{HOST, World};
use super::{CLUSTER_IP, NODE_PORT, Options};

/// What one client counted.
pub(super) struct Counted {
    pub(super) name: &'static str,
    pub(super) outcome: Value,
}

/// The clients that run here; the one in a pod runs by itself.
pub(super) struct Loads(Vec<(&'static str, Child)>);

impl Loads {
    /// Starts new connections from the host and from the LAN, and half of the kept ones in both.
    pub(super) fn start(world: &World, binary: &std::path::Path, options: &Options) -> Result<Self> {
        let node_port = format!("{HOST}:{NODE_PORT}");
        let (rate, kept) = ((options.rate / 3).max(1).to_string(), (options.kept / 2).max(1).to_string());
        let begin = |command: Command, target: &str, flags: &[&str]| -> Result<Child> {
            // First in line for the processor, and in a session of its own as pods are (sched_autogroup): a client that has to
            // wait behind a compiler would count that as a slow answer.
            let mut first = Command::new("setsid");
            first.args(["nice", "-n", "-15"]).arg(command.get_program()).args(command.get_args());
            let mut command = first;
            command.args(["load", target, "--seconds", "86400"]).args(flags);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a client")
        };
        Ok(Self(vec![
            ("new, host to ClusterIP", begin(world.host(binary), CLUSTER_IP, &["--reset", "--rate", &rate])?),
            ("new, LAN to NodePort", begin(world.lan(binary), &node_port, &["--reset", "--rate", &rate])?),
            ("kept, host to ClusterIP", begin(world.host(binary), CLUSTER_IP, &["--kept", &kept])?),
            ("kept, LAN to NodePort", begin(world.lan(binary), &node_port, &["--kept", &kept])?),
        ]))
    }

    /// Stops them and reads what they counted.
    pub(super) fn finish(self, server: &Server<'_>) -> Result<Vec<Counted>> {
        let mut all = Vec::new();
        for (name, mut child) in self.0 {
            drop(child.stdin.take());
            let mut text = String::new();
            child.stdout.take().context("a client has an output")?.read_to_string(&mut text)?;
            child.wait()?;
            all.push(Counted { name, outcome: last(&text).with_context(|| format!("{name} counted nothing"))? });
        }
        let text = server.kubectl(&["logs", "load", "--tail=2"])?;
        all.push(Counted { name: "new, pod to ClusterIP", outcome: last(&text).context("the pod counted nothing")? });
        Ok(all)
    }
}

/// The last line that is a whole outcome.
fn last(text: &str) -> Option<Value> {
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|value| value["ok"].is_u64())
}
