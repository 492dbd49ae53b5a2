//! `mainstay status`: what runs, where, how far each sink has applied the store's revisions, and what is wrong.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ls::age;
use super::{InstanceFlags, Output, hint};
use crate::exit::{self, Exit};
use crate::instances::{self, Listed, State};

/// Flags of `mainstay status`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 fine, 1 error, 2 problems or pods that are not ready, 3 usage, 4 the server is not reachable.\n\
    Services are looked at by: mainstay doctor"
)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Published ports that are printed; JSON holds all.
const PORTS_SHOWN: usize = 20;

/// Runs the subcommand; its exit code says what was found.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    // A kubeconfig of another machine has no directory here.
    let data_dir = flags.instance.data_dir();
    let local = data_dir.as_ref().ok().and_then(|data_dir| instances::look(data_dir.path()));
    let answer = match flags.instance.client() {
        Ok(client) => client.get("/mainstay/status").await.and_then(super::client::Answer::ok),
        Err(error) => Err(error),
    };
    let mut status = match answer {
        Ok(status) => status,
        Err(error) => return Ok(down(flags.output, local.as_ref(), &error)),
    };
    add_local(&mut status, local.as_ref());
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", page(&status, Timestamp::now())),
    }
    Ok(ExitCode::from(if is_fine(&status) { Exit::Fine } else { Exit::Findings }))
}

/// What only this machine knows.
fn add_local(status: &mut Value, local: Option<&Listed>) {
    status["state"] = json!(State::Running);
    status["pid"] = json!(local.and_then(|local| local.pid));
    status["since"] = local.map_or(Value::Null, |local| json!(local)["since"].clone());
    status["holder"] = json!(local.and_then(|local| local.holder.as_ref()));
}

fn is_fine(status: &Value) -> bool {
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    none(&status["problems"]) && status["pods"]["notReady"].as_u64().unwrap_or(0) == 0
}

/// The server does not answer: says what still runs and what to type.
fn down(output: Output, local: Option<&Listed>, error: &anyhow::Error) -> ExitCode {
    let exit = if exit::code(error) == Exit::Unreachable { Exit::Unreachable } else { Exit::Error };
    if output == Output::Json {
        let mut status = local.map_or_else(|| json!({ "state": null }), |local| json!(local));
        status["error"] = error.to_string().lines().next().unwrap_or_default().into();
        println!("{status:#}");
        return ExitCode::from(exit);
    }
    match local.filter(|_| exit == Exit::Unreachable) {
        Some(local) => print!("{}", down_page(local, error)),
        None => eprintln!("mainstay: {}", crate::told(error)),
    }
    ExitCode::from(exit)
}

fn down_page(local: &Listed, error: &anyhow::Error) -> String {
    let directory = hint::word(&local.data_dir);
    let start = format!("mainstay up --{} --data-dir {directory}", local.mode.as_deref().unwrap_or("sandbox"));
    let data = format!("data        {}\n", local.data_dir.display());
    match (&local.state, &local.holder) {
        (State::Running, _) => format!(
            "server      process {} runs, but its API does not answer: {}\n{data}start anew  mainstay down --data-dir \
             {directory}; {start}\n",
            local.pid.unwrap_or_default(),
            crate::report(error).lines().next().unwrap_or_default()
        ),
        (State::PodsOnly, Some(holder)) => {
            let count = |number: Option<usize>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
            format!(
                "server      not running; the holder (process {}) keeps pods, addresses and rules\npods        {}, with {} \
                 containers that run\n{data}start       {start}\n",
                holder.pid,
                count(holder.pods),
                count(holder.containers)
            )
        }
        _ => format!("server      not running\npods        none\n{data}start       {start}\n"),
    }
}

fn page(status: &Value, now: Timestamp) -> String {
    let text = |field: &str| status[field].as_str().unwrap_or("?").to_owned();
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<12}{value}\n"));
    line("API", &text("server"));
    line("mode", &format!("{}, {}", text("mode"), uptime(status, now)));
    line("version", &versions(status));
    line("node", &text("node"));
    line("data", &text("dataDir"));
    line("revision", &status["revision"].to_string());
    line("applied", &format!("{}  ({})", status["applied"], sinks(status)));
    line("dataplane", &text("dataplane"));
    let count = |field: &str| status["objects"][field].as_u64().unwrap_or(0);
    let objects = [count("services"), count("endpointslices"), count("pods")];
    line("objects", &format!("{} services, {} endpointslices, {} pods", objects[0], objects[1], objects[2]));
    line("pods", &pods(&status["pods"]));
    line("pod limits", &text("limits"));
    line("pod users", &text("users"));
    line("lb pools", &pools(status));
    let ports = ports(&status["published"]);
    line("published", ports.first().map_or("", String::as_str));
    ports.iter().skip(1).for_each(|port| line("", port));
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    let number = if problems.is_empty() { "none".to_owned() } else { problems.len().to_string() };
    line("problems", &format!("{number}  (of Services: mainstay doctor)"));
    problems.iter().filter_map(Value::as_str).for_each(|problem| out.push_str(&format!("  {problem}\n")));
    out
}

fn uptime(status: &Value, now: Timestamp) -> String {
    let since: Option<Timestamp> = status["since"].as_str().and_then(|since| since.parse().ok());
    let process = status["pid"].as_i64().map_or_else(String::new, |pid| format!(" (process {pid})"));
    since.map_or_else(|| "up".to_owned(), |since| format!("up {}{process}", age(since, now)))
}

fn versions(status: &Value) -> String {
    let server = status["version"].as_str().unwrap_or("?");
    let holder = &status["holder"];
    match holder["program"].as_str() {
        Some(program) if !program.is_empty() => {
            format!("server {server}, holder {program} (protocol {})", holder["protocol"])
        }
        _ => format!("server {server}"),
    }
}

/// How many pods there are, and which of them are not ready.
fn pods(pods: &Value) -> String {
    let count = |field: &str| pods[field].as_u64().unwrap_or(0);
    let names: Vec<&str> = pods["notReadyNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rest = count("notReady").saturating_sub(names.len() as u64);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    match count("notReady") {
        0 => format!("{} ready, {} finished", count("ready"), count("finished")),
        not => format!(
            "{} ready, {} finished, {not} not ready: {}{more}",
            count("ready"),
            count("finished"),
            names.join(", ")
        ),
    }
}

/// A line per published port.
fn ports(published: &Value) -> Vec<String> {
    if published["on"] != true {
        return vec!["nothing: mainstay up --publish".to_owned()];
    }
    let all = published["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let line = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let places: Vec<&str> = row["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let udp = if text("protocol") == "UDP" { "/UDP" } else { "" };
        let why = if text("why").is_empty() { String::new() } else { format!("  ({})", text("why")) };
        let place = if places.is_empty() { "not published".to_owned() } else { places.join(" ") };
        format!("{}/{} {} {}{udp} at {place}{why}", text("namespace"), text("name"), text("source"), row["port"])
    };
    let mut lines: Vec<String> = all.iter().take(PORTS_SHOWN).map(line).collect();
    if all.len() > PORTS_SHOWN {
        lines.push(format!("and {} more: mainstay status -o json", all.len() - PORTS_SHOWN));
    }
    if lines.is_empty() {
        lines.push("no port: no Service of type NodePort or LoadBalancer".to_owned());
    }
    lines
}

fn pools(status: &Value) -> String {
    let pool = |pool: &Value| {
        let ranges: Vec<&str> = pool["ranges"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{} {} ({} used)", pool["name"].as_str().unwrap_or("?"), ranges.join(", "), pool["used"])
    };
    let pools: Vec<String> = status["pools"].as_array().into_iter().flatten().map(pool).collect();
    if pools.is_empty() { "none: mainstay up --lb-pool RANGE".to_owned() } else { pools.join("; ") }
}

fn sinks(status: &Value) -> String {
    let sinks = status["sinks"].as_object();
    let each: Vec<_> = sinks.into_iter().flatten().map(|(name, revision)| format!("{name} {revision}")).collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_ports_pods_and_problems() {
        let port = |number: u16, why: Option<&str>| {
            json!({ "namespace": "default", "name": "web", "source": "NodePort", "protocol": "TCP", "port": number,
                "addresses": [format!("127.0.0.1:{number}"), format!("[::1]:{number}")], "why": why })
        };
        let mut status = json!({
            "server": "https://127.0.0.1:6443", "mode": "sandbox", "version": "0.1.0", "since": "2026-11-21T10:00:00Z",
            "pid": 7, "revision": 9, "applied": 9, "sinks": { "dns": 9, "nft": 9 }, "objects": {},
            "holder": { "program": "0.1.0", "protocol": 1 },
            "pods": { "ready": 2, "finished": 1, "notReady": 2, "notReadyNames": ["default/a"] },
            "published": { "on": true, "ports": [port(30007, Some("it is taken"))] }, "problems": ["p"],
        });
        let seen = page(&status, "2026-11-21T12:30:00Z".parse().unwrap());
        for line in [
            "mode        sandbox, up 2h30m (process 7)\n",
            "version     server 0.1.0, holder 0.1.0 (protocol 1)\n",
            "pods        2 ready, 1 finished, 2 not ready: default/a and 1 more\n",
            "published   default/web NodePort 30007 at 127.0.0.1:30007 [::1]:30007  (it is taken)\n",
            "problems    1  (of Services: mainstay doctor)\n  p\n",
        ] {
            assert!(seen.contains(line), "{line}in:\n{seen}");
        }
        assert!(!is_fine(&status));
        status["problems"] = json!([]);
        assert!(!is_fine(&status), "pods are not ready");
        status["pods"] = json!({ "ready": 4, "notReady": 0 });
        status["published"]["ports"] = (0..50).map(|index| port(30000 + index, None)).collect();
        assert!(is_fine(&status));
        assert!(page(&status, Timestamp::now()).contains("and 30 more: mainstay status -o json"));
    }

    #[test]
    fn a_server_that_is_gone_leaves_its_pods_and_the_line_to_type() {
        let holder =
            instances::Holder { pid: 8, program: "0.1.0".into(), protocol: 1, pods: Some(3), containers: Some(4) };
        let mut local = Listed {
            data_dir: "/tmp/a".into(),
            mode: Some("sandbox".to_owned()),
            state: State::PodsOnly,
            server: None,
            pid: None,
            holder: Some(holder),
            since: None,
        };
        let error = anyhow::anyhow!("refused");
        let page = down_page(&local, &error);
        assert!(page.contains("the holder (process 8) keeps pods"), "{page}");
        assert!(page.contains("pods        3, with 4 containers that run\n"), "{page}");
        assert!(page.ends_with("start       mainstay up --sandbox --data-dir /tmp/a\n"), "{page}");
        (local.state, local.holder) = (State::Stopped, None);
        assert!(down_page(&local, &error).contains("pods        none\n"));
        (local.state, local.pid) = (State::Running, Some(5));
        assert!(down_page(&local, &error).contains("process 5 runs, but its API does not answer: refused\n"));
    }
}
