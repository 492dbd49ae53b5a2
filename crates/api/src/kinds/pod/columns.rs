//! Turns a Pod into the cells of a server-side Table; the status word condenses phase, conditions and container states.

use serde_json::Value;

use crate::kind::Column;
use crate::kinds::print::{self, AGE, NAME, column, wide};
use crate::kinds::read;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "Containers that accept traffic, of all containers."),
    column("Status", "What the containers of the pod are doing, in one word."),
    column("Restarts", "How often containers were restarted, and when the last one was."),
    AGE,
    wide("IP", "Address of the pod."),
    wide("Node", "Node that the pod runs on."),
    wide("Nominated Node", "Node that is being freed for the pod."),
    wide("Readiness Gates", "Extra readiness conditions that are true, of all that are asked for."),
];

/// What has been learnt from container statuses so far.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
    sidecar_restarts: i64,
    last_sidecar_restart: Option<i64>,
}

pub(super) fn cells(pod: &Value, now_seconds: i64) -> Vec<Value> {
    let mut summary = Summary {
        reason: first_reason(pod),
        ready: 0,
        total: read::list(pod, "/spec/containers").len(),
        restarts: 0,
        last_restart: None,
        sidecar_restarts: 0,
        last_sidecar_restart: None,
    };
    let init = read::list(pod, "/spec/initContainers");
    summary.total += init.iter().filter(|container| is_sidecar(container)).count();
    let initializing = init_containers(&mut summary, pod);
    if !initializing || has_condition(pod, "Initialized") {
        containers(&mut summary, pod);
    }
    deletion(&mut summary, pod);
    let restarts = match (summary.restarts, summary.last_restart) {
        (0, _) | (_, None) => summary.restarts.to_string(),
        (count, Some(last)) => format!("{count} ({} ago)", print::duration(now_seconds.saturating_sub(last))),
    };
    let or_none = |text: &str| Value::from(if text.is_empty() { "<none>" } else { text });
    let ip = read::list(pod, "/status/podIPs").first().map_or("", |ip| read::text(ip, "/ip"));
    vec![
        print::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        print::age(pod, now_seconds),
        or_none(ip),
        or_none(read::text(pod, "/spec/nodeName")),
        or_none(read::text(pod, "/status/nominatedNodeName")),
        gates(pod).into(),
    ]
}

fn first_reason(pod: &Value) -> String {
    let gated = read::list(pod, "/status/conditions").iter().any(|condition| {
        read::text(condition, "/type") == "PodScheduled" && read::text(condition, "/reason") == "SchedulingGated"
    });
    let reason = read::text(pod, "/status/reason");
    match (gated, reason) {
        (true, _) => "SchedulingGated".to_owned(),
        (false, "") => read::text(pod, "/status/phase").to_owned(),
        (false, reason) => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    read::text(container, "/restartPolicy") == "Always"
}

/// Adds up init containers until the first that is not done; true if there is one.
fn init_containers(summary: &mut Summary, pod: &Value) -> bool {
    let specs = read::list(pod, "/spec/initContainers");
    for (i, status) in read::list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let name = read::text(status, "/name");
        let sidecar = specs.iter().any(|container| read::text(container, "/name") == name && is_sidecar(container));
        count_restarts(&mut summary.restarts, &mut summary.last_restart, status);
        if sidecar {
            count_restarts(&mut summary.sidecar_restarts, &mut summary.last_sidecar_restart, status);
        }
        let terminated = read::present(status, "/state/terminated");
        if terminated && exit_code(status) == 0 {
            continue;
        }
        if sidecar && read::flag(status, "/started") {
            summary.ready += usize::from(read::flag(status, "/ready"));
            continue;
        }
        let waiting = read::text(status, "/state/waiting/reason");
        summary.reason = if terminated {
            format!("Init:{}", termination(status))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", specs.len())
        };
        return true;
    }
    false
}

fn containers(summary: &mut Summary, pod: &Value) {
    summary.restarts = summary.sidecar_restarts;
    summary.last_restart = summary.last_sidecar_restart;
    let (mut running, mut error) = (false, String::new());
    // Backwards, so that the first container has the last word.
    for status in read::list(pod, "/status/containerStatuses").iter().rev() {
        count_restarts(&mut summary.restarts, &mut summary.last_restart, status);
        let waiting = read::text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if read::present(status, "/state/terminated") {
            summary.reason = termination(status);
            if exit_code(status) != 0 {
                error.clone_from(&summary.reason);
            }
        } else if read::flag(status, "/ready") && read::present(status, "/state/running") {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" {
        if running && has_condition(pod, "Ready") {
            summary.reason = "Running".to_owned();
        } else if !error.is_empty() {
            summary.reason = error;
        } else if running {
            summary.reason = "NotReady".to_owned();
        }
    }
}

fn deletion(summary: &mut Summary, pod: &Value) {
    if !read::present(pod, "/metadata/deletionTimestamp") {
        return;
    }
    if read::text(pod, "/status/reason") == "NodeLost" {
        summary.reason = "Unknown".to_owned();
    } else if !matches!(read::text(pod, "/status/phase"), "Succeeded" | "Failed") {
        summary.reason = "Terminating".to_owned();
    }
}

fn count_restarts(count: &mut i64, last: &mut Option<i64>, status: &Value) {
    *count += read::int(status, "/restartCount").unwrap_or(0);
    *last = (*last).max(print::seconds(read::text(status, "/lastState/terminated/finishedAt")));
}

fn exit_code(status: &Value) -> i64 {
    read::int(status, "/state/terminated/exitCode").unwrap_or(0)
}

fn termination(status: &Value) -> String {
    let reason = read::text(status, "/state/terminated/reason");
    match (reason, read::int(status, "/state/terminated/signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", exit_code(status)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let mut conditions = read::list(pod, "/status/conditions").iter();
    conditions.any(|condition| read::text(condition, "/type") == kind && read::text(condition, "/status") == "True")
}

fn gates(pod: &Value) -> String {
    let gates = read::list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| has_condition(pod, read::text(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}
