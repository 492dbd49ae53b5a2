//! A Pod's status: its containers, addresses and the status before in, the new status out. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::container::{Slot, State, time};

/// What the status is made of.
pub(super) struct Input<'a> {
    pub(super) uid: &'a str,
    pub(super) slots: &'a [Slot],
    pub(super) addresses: &'a [IpAddr],
    pub(super) node_addresses: &'a [IpAddr],
    pub(super) restart_policy: &'a str,
    pub(super) generation: Option<i64>,
    /// Being deleted and no container is left.
    pub(super) finished: bool,
    pub(super) now_ms: i64,
    pub(super) readiness_gates: Vec<String>,
}

/// The new status; members of `old` that are not the kubelet's stay.
pub(super) fn status(input: &Input<'_>, old: &Value) -> Value {
    let mut new = if old.is_object() { old.clone() } else { json!({}) };
    let phase = phase(input);
    new["phase"] = phase.into();
    let texts = |addresses: &[IpAddr]| addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>();
    if let Some(first) = input.node_addresses.first() {
        new["hostIP"] = first.to_string().into();
        new["hostIPs"] = texts(input.node_addresses).into();
    }
    if let Some(first) = input.addresses.first() {
        new["podIP"] = first.to_string().into();
        new["podIPs"] = texts(input.addresses).into();
    }
    if new["startTime"].is_null() {
        new["startTime"] = time(input.now_ms).into();
    }
    if let Some(generation) = input.generation {
        new["observedGeneration"] = generation.into();
    }
    let of = |init: bool| input.slots.iter().filter(move |slot| slot.init == init);
    new["containerStatuses"] = of(false).map(|slot| slot.status(input.uid)).collect();
    if of(true).next().is_some() {
        new["initContainerStatuses"] = of(true).map(|slot| slot.status(input.uid)).collect();
    }
    let done = matches!(phase, "Succeeded" | "Failed");
    let initialized = of(true).all(|slot| slot.succeeded() || (slot.sidecar() && slot.started));
    let unready: Vec<_> = of(false).filter(|slot| !slot.ready).map(|slot| slot.spec.name.as_str()).collect();
    let containers_ready = unready.is_empty() && initialized && !done;
    let gates = input.readiness_gates.iter().all(|gate| condition_of(old, gate) == Some("True"));
    let why = match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ if !initialized => ("ContainersNotInitialized", "containers with incomplete status".to_owned()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))),
    };
    let gate_why = ("ReadinessGatesNotReady", "the status of a pod readiness gate is not \"True\"".to_owned());
    let mut conditions = old["conditions"].as_array().cloned().unwrap_or_default();
    let mut set = |kind: &str, holds: bool, why: &(&str, String)| put(&mut conditions, kind, holds, why, input.now_ms);
    set("PodScheduled", true, &("", String::new()));
    set("PodReadyToStartContainers", !input.addresses.is_empty() && !done, &("", String::new()));
    set("Initialized", initialized || done, &why);
    set("ContainersReady", containers_ready, &why);
    set("Ready", containers_ready && gates, if containers_ready { &gate_why } else { &why });
    new["conditions"] = conditions.into();
    new
}

fn condition_of<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// Sets a condition; the time changes only with the status.
fn put(conditions: &mut Vec<Value>, kind: &str, holds: bool, why: &(&str, String), now_ms: i64) {
    let status = if holds { "True" } else { "False" };
    let old = conditions.iter().position(|condition| condition["type"] == kind);
    let since = old.map(|index| &conditions[index]).filter(|old| old["status"] == status);
    let since = since.and_then(|old| old["lastTransitionTime"].as_str()).map_or_else(|| time(now_ms), str::to_owned);
    let mut condition = json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since });
    if !holds && !why.0.is_empty() {
        condition["reason"] = why.0.into();
        if !why.1.is_empty() {
            condition["message"] = why.1.as_str().into();
        }
    }
    match old {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

fn phase(input: &Input<'_>) -> &'static str {
    let main = || input.slots.iter().filter(|slot| !slot.init);
    let ended = |slot: &Slot| matches!(slot.state, State::Ended(_));
    let init_failed = input.slots.iter().any(|slot| slot.init && ended(slot) && !slot.succeeded());
    if init_failed && (input.restart_policy == "Never" || input.finished) {
        return "Failed";
    }
    if main().count() > 0 && main().all(ended) {
        return if main().all(Slot::succeeded) { "Succeeded" } else { "Failed" };
    }
    if input.finished {
        return "Failed";
    }
    let begun = main().any(|slot| slot.attempt > 0 || !matches!(slot.state, State::Waiting { .. }));
    if begun { "Running" } else { "Pending" }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;

    use super::*;
    use crate::kubelet::container::Ended;

    fn slots(count: usize) -> Vec<Slot> {
        let named = |index| Container { name: format!("c{index}"), ..Container::default() };
        (0..count).map(|index| Slot::new(named(index), false)).collect()
    }

    fn make(slots: &[Slot], old: &Value, now_ms: i64) -> Value {
        let addresses = ["10.244.0.2".parse().unwrap()];
        let input = Input {
            uid: "u",
            slots,
            addresses: &addresses,
            node_addresses: &[],
            restart_policy: "Never",
            generation: None,
            finished: false,
            now_ms,
            readiness_gates: Vec::new(),
        };
        status(&input, old)
    }

    fn end(slot: &mut Slot, code: i32) {
        let (reason, message) = (String::new(), String::new());
        slot.state = State::Ended(Ended { code, reason, message, started_ms: 0, ended_ms: 1, attempt: 0 });
    }

    #[test]
    fn phases_from_pending_to_done() {
        let mut slots = slots(2);
        assert_eq!(make(&slots, &Value::Null, 0)["phase"], "Pending");
        slots[0].state = State::Running { since_ms: 1 };
        assert_eq!(make(&slots, &Value::Null, 0)["phase"], "Running");
        end(&mut slots[0], 0);
        end(&mut slots[1], 0);
        assert_eq!(make(&slots, &Value::Null, 0)["phase"], "Succeeded");
        end(&mut slots[1], 3);
        assert_eq!(make(&slots, &Value::Null, 0)["phase"], "Failed");
    }

    #[test]
    fn ready_needs_every_container_and_keeps_its_time() {
        let mut slots = slots(2);
        let first = make(&slots, &Value::Null, 1000);
        assert_eq!(condition_of(&first, "Ready"), Some("False"));
        let message = first["conditions"].as_array().unwrap().last().unwrap()["message"].clone();
        assert_eq!(message, "containers with unready status: [c0 c1]");
        for slot in &mut slots {
            (slot.state, slot.ready) = (State::Running { since_ms: 1 }, true);
        }
        let second = make(&slots, &first, 2000);
        assert_eq!(condition_of(&second, "Ready"), Some("True"));
        assert_eq!(make(&slots, &second, 9000), second, "nothing changed, so nothing may change");
    }
}
