//! What a diagnosis cannot read off a snapshot: what pods listen on, why they are not ready, what was tried. Objects as
//! JSON and texts of the kernel in, facts out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::object::{ObjectKey, Revision};
use serde_json::Value;

use crate::snapshot::{Protocol, TargetPort};

/// Observations around one Service. What is absent was not looked at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Of pods, by key.
    pub pods: BTreeMap<ObjectKey, PodFacts>,
    /// What the node's sinks have confirmed.
    pub applied: Option<Revision>,
    /// Addresses that the name server answers for the Service's name.
    pub answers: Option<Vec<IpAddr>>,
    /// Sockets of the node itself that listen.
    pub node_sockets: Option<Vec<Socket>>,
    /// What a pod tried.
    pub tried: Vec<Tried>,
    /// Only the code matters: the nearest label set is not looked for, which is the one search that costs.
    pub brief: bool,
    /// Pods that the selector nearly matches are named also when it matches others.
    pub thorough: bool,
}

/// A socket that listens (UDP: that is bound and not connected).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Protocol.
    pub protocol: Protocol,
    /// Own address.
    pub address: IpAddr,
    /// Own port.
    pub port: u16,
}

impl Socket {
    /// Whether only the pod itself can reach it.
    pub fn loopback(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }
}

/// Something that was tried from a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Step it belongs to: `DNS` or `CONNECT`.
    pub step: &'static str,
    /// What was typed.
    pub command: String,
    /// Whether it worked.
    pub ok: bool,
    /// What it said.
    pub said: String,
}

/// Observations of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    /// Sockets that listen in its network namespace.
    pub listening: Option<Vec<Socket>>,
    /// Why it is not ready, in the words of its status and of the last failed probe.
    pub unready: Option<String>,
    /// Whether some container has a readiness probe.
    pub readiness_probe: bool,
    /// A `preStop` hook that only waits: position of its container, and its command.
    pub pre_stop_sleep: Option<(usize, String)>,
    /// Ports that each container declares, by name and number.
    pub ports: Vec<Vec<(String, u16)>>,
    /// Whether it shares the node's network.
    pub host_network: bool,
}

/// Facts out of a Pod as the API shows it. `probe_error` is the message of its last failed probe.
pub fn pod(object: &Value, probe_error: Option<&str>) -> PodFacts {
    let containers = || object.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    PodFacts {
        listening: None,
        unready: unready(object, probe_error),
        readiness_probe: containers().any(|container| container["readinessProbe"].is_object()),
        pre_stop_sleep: containers().enumerate().find_map(|(at, container)| Some((at, pre_stop_sleep(container)?))),
        ports: containers().map(ports).collect(),
        host_network: object["spec"]["hostNetwork"].as_bool().unwrap_or(false),
    }
}

impl PodFacts {
    /// Position of the container that serves a target: the one that declares its port, else the first.
    pub fn serves(&self, target: &TargetPort) -> usize {
        let is = |(name, number): &(String, u16)| match target {
            TargetPort::Number(wanted) => number == wanted,
            TargetPort::Name(wanted) => **name == **wanted,
        };
        self.ports.iter().position(|ports| ports.iter().any(is)).unwrap_or(0)
    }
}

fn ports(container: &Value) -> Vec<(String, u16)> {
    let port = |port: &Value| {
        let number = port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())?;
        Some((port["name"].as_str().unwrap_or_default().to_owned(), number))
    };
    container["ports"].as_array().into_iter().flatten().filter_map(port).collect()
}

fn unready(object: &Value, probe_error: Option<&str>) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    if ready.is_some_and(|ready| ready["status"] == "True") {
        return None;
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Some("it is being deleted".to_owned());
    }
    let since = ready.and_then(|ready| ready["lastTransitionTime"].as_str());
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let statuses = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    for status in statuses.into_iter().flatten() {
        let (name, waiting) = (status["name"].as_str().unwrap_or("?"), &status["state"]["waiting"]);
        if let Some(reason) = waiting["reason"].as_str() {
            let message = waiting["message"].as_str().map_or_else(String::new, |message| format!(": {message}"));
            return Some(format!("container {name} waits: {reason}{message}"));
        }
    }
    if let Some(error) = probe_error {
        return Some(format!("not ready{since}; {error}"));
    }
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
    let why = ready.and_then(|ready| ready["message"].as_str()).filter(|why| !why.is_empty());
    Some(format!("phase {phase}{since}{}", why.map_or_else(String::new, |why| format!("; {why}"))))
}

/// `sleep` as a hook action or as the only thing a shell or program is asked to do.
fn pre_stop_sleep(container: &Value) -> Option<String> {
    let hook = container.pointer("/lifecycle/preStop")?;
    if let Some(seconds) = hook.pointer("/sleep/seconds").and_then(Value::as_i64) {
        return Some(format!("sleep {seconds}"));
    }
    let words = hook.pointer("/exec/command").and_then(Value::as_array)?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let text = match words.as_slice() {
        [shell, "-c", text] if shell.ends_with("sh") => (*text).to_owned(),
        words => words.join(" "),
    };
    let rest = text.trim().strip_prefix("sleep ")?;
    let waits = rest.trim().chars().all(|letter| letter.is_ascii_digit() || "smh.".contains(letter));
    waits.then(|| text.trim().to_owned())
}

/// Listening sockets out of a file of `/proc/net`: `tcp`, `tcp6`, `udp` or `udp6`. Lines that cannot be read are skipped.
pub fn proc_net(protocol: Protocol, text: &str) -> Vec<Socket> {
    // State 0A is LISTEN; a UDP socket that is not connected is in 07.
    let wanted = if protocol == Protocol::Udp { "07" } else { "0A" };
    let socket = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        let (address, port) = local.split_once(':')?;
        let (address, port) = (proc_address(address)?, u16::from_str_radix(port, 16).ok()?);
        (state == wanted && port != 0).then_some(Socket { protocol, address, port })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// An address as `/proc/net` writes it: words of 32 bits in the byte order of the machine, in hexadecimal.
fn proc_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}
