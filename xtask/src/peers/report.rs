//! Figures in, tables for docs/performance.md out.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::process::output;
use super::side::Programs;
use super::sources::{ETCD, KUBERNETES};

/// What is compared, on what.
pub(super) fn head(programs: &Programs<'_>) -> Result<Value> {
    let ours = output(Command::new(programs.binary).arg("version"))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(json!({
        "mainstay": ours.lines().next().unwrap_or_default(),
        "kubernetes": KUBERNETES, "etcd": ETCD,
        "kernel": output(Command::new("uname").arg("-r"))?.trim(),
        "processors": std::thread::available_parallelism()?.get(),
        "load_before": load.split(' ').next().unwrap_or_default(),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    }))
}

/// Rows: name, key, unit, whether more is better.
const SPEED: [(&str, &str, &str); 14] = [
    ("cold load", "cold_ms", "ms"),
    ("one change, request to first packet p50", "change_packet_p50_us", "us"),
    ("  max", "change_packet_max_us", "us"),
    ("  answers of the old endpoint afterwards", "change_stale", ""),
    ("connect directly p50", "connect_direct_p50_us", "us"),
    ("connect through ClusterIP p50", "connect_service_p50_us", "us"),
    ("connect through NodePort p50", "connect_node_port_p50_us", "us"),
    ("connections/s directly", "connect_direct_per_s", "/s"),
    ("connections/s through ClusterIP", "connect_service_per_s", "/s"),
    ("connections/s through NodePort", "connect_node_port_per_s", "/s"),
    ("request-response directly p50", "connect_direct_rr_us", "us"),
    ("request-response through ClusterIP p50", "connect_service_rr_us", "us"),
    ("request-response through NodePort p50", "connect_node_port_rr_us", "us"),
    ("PSS of the proxy", "pss_mib", "MiB"),
];
const MEMORY: [(&str, &str, &str); 3] =
    [("cold load", "cold_ms", "ms"), ("PSS of the proxy", "pss_mib", "MiB"), ("processor time", "cpu_seconds", "s")];

/// Everything that was measured.
pub(super) fn markdown(figures: &Value) -> String {
    let mut out = format!(
        "Mainstay `{}`, kube-proxy v{} (nftables), etcd v{}, Linux {}, {} processors, load {} before; `cargo xtask {}`\n\n",
        text(&figures["mainstay"]),
        text(&figures["kubernetes"]),
        text(&figures["etcd"]),
        text(&figures["kernel"]),
        figures["processors"],
        text(&figures["load_before"]),
        text(&figures["command"]),
    );
    for measured in figures["speed"].as_array().into_iter().flatten() {
        table(&mut out, measured, &SPEED);
    }
    for measured in figures["memory"].as_array().into_iter().flatten() {
        table(&mut out, measured, &MEMORY);
    }
    if figures["cluster"].is_object() {
        table(&mut out, &figures["cluster"], &SPEED);
        for met in figures["cluster"]["behaviour"]["mainstay"].as_array().into_iter().flatten() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "- {}, with both", text(met));
        }
        out.push('\n');
    }
    let takeover = &figures["takeover"];
    if takeover.is_object() {
        let _ = writeln!(
            out,
            "Take-over and back under load: {} connections started, {} failed, {} slower than 0.9 s",
            takeover["started"], takeover["failed"], takeover["stalled"]
        );
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn table(out: &mut String, measured: &Value, rows: &[(&str, &str, &str)]) {
    let size = format!("{} x {} from {}", measured["services"], measured["endpoints"], text(&measured["api"]));
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "| {size}, medians of {} | kube-proxy | Mainstay | ratio |\n|---|---|---|---|",
        measured["rounds"]
    );
    for (name, key, unit) in rows {
        let (peer, ours) = (measured["kube_proxy"][key].as_f64(), measured["mainstay"][key].as_f64());
        let (Some(peer), Some(ours)) = (peer, ours) else { continue };
        // What is counted by the second is better when larger.
        let ratio = if unit.ends_with("/s") { ours / peer } else { peer / ours };
        let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { String::new() };
        let _ = writeln!(out, "| {name} | {peer} {unit} | {ours} {unit} | {ratio} |");
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_how_much_better_mainstay_is() {
        let figures = json!({
            "mainstay": "m", "kubernetes": "1", "etcd": "2", "kernel": "6", "processors": 2, "load_before": "0.1", "command": "peers",
            "speed": [{
                "api": "mainstay", "services": 10, "endpoints": 4, "rounds": 3,
                "kube_proxy": { "cold_ms": 300.0, "connect_service_per_s": 100.0 },
                "mainstay": { "cold_ms": 10.0, "connect_service_per_s": 110.0 },
            }],
            "takeover": { "started": 10, "failed": 0, "stalled": 1 },
        });
        let text = markdown(&figures);
        for line in [
            "| cold load | 300 ms | 10 ms | 30.00 |",
            "| connections/s through ClusterIP | 100 /s | 110 /s | 1.10 |",
            "10 connections started, 0 failed, 1 slower than 0.9 s",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("PSS"), "what was not measured is not shown");
    }
}
