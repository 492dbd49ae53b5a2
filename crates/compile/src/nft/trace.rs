//! A packet and what the maps hold -> which elements decide about it, in plain words: what `mainstay trace` prints.
//!
//! The words come from the decisions that the interpreter tells ([`super::interpret::Event`]); nothing is decided here.

#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::interpret::{Circumstances, Event, Interpreter, Memory, Packet, Run, Verdict};
use super::state::State;
use super::words::ServiceId;
use crate::snapshot::Protocol;

/// What a Service number stands for: `namespace/name:port` and the like; none if nobody knows.
pub type Names<'a> = &'a dyn Fn(ServiceId) -> Option<String>;

/// What is asked, and of what.
pub struct Question<'a> {
    /// The rules.
    pub rules: &'a Interpreter,
    /// What the maps hold.
    pub state: &'a State,
    /// Clients remembered.
    pub memory: &'a Memory,
    /// Addresses of the host.
    pub host: &'a [IpAddr],
    /// Names of Services.
    pub names: Names<'a>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The set or map that was looked at; none for decisions that need none.
    pub set: Option<String>,
    /// The key that was looked for.
    pub key: Option<String>,
    /// The element that was found: its value, or the range that contains the key.
    pub found: Option<String>,
    /// What that means.
    pub says: String,
}

/// Everything that is decided about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The packet.
    pub packet: Packet,
    /// In order.
    pub steps: Vec<Step>,
    /// Everything that may become of it: several where an endpoint is chosen.
    pub verdicts: BTreeSet<Verdict>,
    /// Why, in one sentence.
    pub why: String,
}

/// Follows the first packet of a flow.
pub fn trace(question: &Question<'_>, packet: &Packet, circumstances: Circumstances) -> Trace {
    let Question { rules, state, memory, host, .. } = *question;
    let verdicts = rules.verdicts_remembering(state, packet, circumstances, host, memory);
    let mut writer = words::Writer::new(question, verdicts.len());
    let mut choose = |_| 0;
    let mut observer = |event: Event<'_>| writer.event(event);
    let mut memory = memory.clone();
    rules.run(Run {
        state,
        commits: &[],
        packet,
        circumstances,
        host,
        choose: &mut choose,
        memory: &mut memory,
        observer: Some(&mut observer),
    });
    let (steps, why) = writer.finish(&verdicts);
    Trace { packet: *packet, steps, verdicts, why }
}

/// A transport protocol's name.
fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl Trace {
    /// `translated`, `refused`, `dropped` or `passed`.
    pub fn verdict(&self) -> &'static str {
        match self.verdicts.first() {
            Some(Verdict::Translate { .. }) => "translated",
            Some(Verdict::Refuse) => "refused",
            Some(Verdict::Drop) => "dropped",
            Some(Verdict::Pass) | None => "passed",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Packet { source, destination, protocol, port, source_is_host } = self.packet;
        let target = std::net::SocketAddr::new(destination, port);
        let host = if source_is_host { " (this host)" } else { "" };
        let mut out = format!("{source}{host} -> {target} {}\n", name(protocol));
        for step in &self.steps {
            let set = step.set.as_deref().unwrap_or("");
            let shown = match (&step.key, &step.found) {
                (Some(key), Some(found)) => format!(" [{key} = {found}]"),
                (Some(key), None) => format!(" [{key}]"),
                _ => String::new(),
            };
            out.push_str(&format!("  {set:<16} {}{shown}\n", step.says));
        }
        out.push_str(&format!("{}: {}\n", self.verdict(), self.why));
        for verdict in &self.verdicts {
            if let Verdict::Translate { backend, masquerade } = verdict {
                let seen = if *masquerade { "this host's address" } else { "the sender's own address" };
                let backend = std::net::SocketAddr::new(backend.address, backend.port);
                out.push_str(&format!("  {backend} sees {seen}\n"));
            }
        }
        out
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let endpoints = self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Translate { backend, masquerade } => {
                Some(json!({ "address": backend.address, "port": backend.port, "masqueraded": masquerade }))
            }
            _ => None,
        });
        let steps = self
            .steps
            .iter()
            .map(|step| json!({ "set": step.set, "key": step.key, "found": step.found, "says": step.says }));
        json!({
            "source": self.packet.source,
            "sourceIsHost": self.packet.source_is_host,
            "destination": self.packet.destination,
            "port": self.packet.port,
            "protocol": name(self.packet.protocol),
            "verdict": self.verdict(),
            "why": self.why,
            "endpoints": endpoints.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}
