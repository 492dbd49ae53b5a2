//! Rounds of both proxies in turn in, medians out.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::api::Api;
use super::ground::{Ground, NODE, Node, SERVERS};
use super::process::output;
use super::side::{Programs, Proxy, Side, check_complete};

/// Rest before memory is read.
const REST: Duration = Duration::from_secs(20);
/// Connections of each kind and round that are timed one by one, and changes of each round.
const CONNECTIONS: &str = "5000";
const CHANGES: &str = "10";

/// How much there is to program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Services.
    pub(super) services: usize,
    /// Endpoints of each.
    pub(super) endpoints: usize,
}

/// What is measured in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Cold load, connections, changes.
    Speed,
    /// Cold load and memory.
    Memory,
}

/// Measures both proxies in turn, each time on a fresh node.
pub(super) fn measure(
    programs: &Programs<'_>,
    ground: &Ground,
    api: &Api,
    size: Size,
    rounds: usize,
    work: Work,
) -> Result<Value> {
    let mut taken: Vec<(Side, Vec<Value>)> = programs.sides.iter().map(|side| (*side, Vec::new())).collect();
    for round in 1..=rounds {
        for (side, figures) in &mut taken {
            eprintln!("xtask: {} x {}, round {round}, {}", size.services, size.endpoints, side.name());
            figures.push(once(*side, programs, ground, api, size, work)?);
        }
    }
    let mut all = json!({ "api": api.name, "services": size.services, "endpoints": size.endpoints, "rounds": rounds });
    for (side, figures) in &taken {
        all[side.name()] = medians(figures);
    }
    Ok(all)
}

fn once(side: Side, programs: &Programs<'_>, ground: &Ground, api: &Api, size: Size, work: Work) -> Result<Value> {
    let node = ground.node()?;
    let proxy = Proxy::start(side, programs, ground, &node, api)?;
    check_complete(side, &node, size.services)?;
    let mut figures = json!({ "cold_ms": millis(proxy.cold) });
    match work {
        Work::Speed => {
            join(&mut figures, "connect", between(programs, &node)?);
            join(&mut figures, "change", follow(programs, ground, &node, api)?);
        }
        Work::Memory => std::thread::sleep(REST),
    }
    let usage = kernel::usage::of(proxy.id()).context("cannot read the memory of the proxy")?;
    figures["pss_mib"] = ((usage.pss_kib as f64 / 102.4).round() / 10.0).into();
    figures["cpu_seconds"] = ((usage.cpu.as_secs_f64() * 100.0).round() / 100.0).into();
    proxy.stop()?;
    Ok(figures)
}

/// Connections from the client to the server, directly and through the Service `target`.
fn between(programs: &Programs<'_>, node: &Node) -> Result<Value> {
    let mut command = std::process::Command::new(programs.binary);
    command.args(["bench", "between", "--client", &node.client, "--server", &node.server, "--samples", CONNECTIONS]);
    let server = format!("{}:8080", SERVERS[0]);
    command.args(["--json", "--serve", &server, "--to", &format!("direct={server}")]);
    command.args(["--to", "service=10.96.1.1:80", "--to", &format!("node_port={NODE}:30080")]);
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

/// Changes of the endpoint of the Service `target`.
pub(super) fn follow(programs: &Programs<'_>, ground: &Ground, node: &Node, api: &Api) -> Result<Value> {
    let mut command = std::process::Command::new(programs.binary);
    command.args([
        "bench",
        "follow",
        "--client",
        &node.client,
        "--server",
        &node.server,
        "--samples",
        CHANGES,
        "--json",
    ]);
    command.args(["--from", ground.api(), "--addresses", SERVERS[0], SERVERS[1], "--kubeconfig"]).arg(api.kubeconfig());
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

fn join(all: &mut Value, prefix: &str, figures: Value) {
    for (name, value) in figures.as_object().into_iter().flatten() {
        all[format!("{prefix}_{name}")] = value.clone();
    }
}

/// The median of every figure, and under `<name>_all` of the cold load each of them.
fn medians(rounds: &[Value]) -> Value {
    let mut out = json!({});
    let names = rounds.first().and_then(Value::as_object).into_iter().flat_map(|figures| figures.keys());
    for name in names {
        let mut values: Vec<f64> = rounds.iter().filter_map(|figures| figures[name].as_f64()).collect();
        if name == "cold_ms" {
            out["cold_ms_all"] = json!(values);
        }
        values.sort_unstable_by(f64::total_cmp);
        // A count of what must not be is added up: a median would hide it.
        let value = if name.ends_with("_stale") { Some(values.iter().sum()) } else { middle(&values) };
        out[name] = json!(value);
    }
    out
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_each_figure_and_faults_are_added_up() {
        let rounds =
            [(3.0, 0), (1.0, 2), (2.0, 0)].map(|(cold, stale)| json!({ "cold_ms": cold, "change_stale": stale }));
        let medians = medians(&rounds);
        assert_eq!((&medians["cold_ms"], &medians["change_stale"]), (&json!(2.0), &json!(2.0)));
        assert_eq!(medians["cold_ms_all"], json!([3.0, 1.0, 2.0]));
        assert_eq!(middle(&[1.0, 2.0]), Some(1.5));
        assert_eq!(middle(&[]), None);
    }
}
