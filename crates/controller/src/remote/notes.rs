//! Notes of a node role in, Events created at the server out: few, because a broken node must not become the cluster's
//! trouble. Only `create` is needed, so the same words are said once and then not for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::kinds::EVENT;
use compile::workloads::hash;
use compile::write::Note;
use contract::access::Access;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::events::{Events, namespace, stamp};
use crate::limits;

/// Name under which Events of this role are reported.
const COMPONENT: &str = "mainstay-node";

/// Decides which notes become Events.
pub(super) struct Gate {
    tokens: u32,
    filled: Instant,
    said: BTreeMap<String, Instant>,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: limits::NODE_EVENTS_BURST, filled: now, said: BTreeMap::new() }
    }

    /// Whether words may be said now.
    pub(super) fn admits(&mut self, words: String, now: Instant) -> bool {
        self.said.retain(|_, at| now.duration_since(*at) < limits::NODE_EVENT_SAME);
        let every = limits::NODE_EVENT_EVERY;
        while self.tokens < limits::NODE_EVENTS_BURST && now.duration_since(self.filled) >= every {
            (self.tokens, self.filled) = (self.tokens + 1, self.filled + every);
        }
        if self.tokens == limits::NODE_EVENTS_BURST {
            self.filled = now;
        }
        if self.tokens == 0 || self.said.contains_key(&words) || self.said.len() >= limits::NODE_EVENTS_KNOWN {
            return false;
        }
        self.tokens -= 1;
        self.said.insert(words, now);
        true
    }
}

/// Events of a node role.
pub struct NodeEvents {
    notes: mpsc::Receiver<(Note, Timestamp)>,
    node: String,
}

impl NodeEvents {
    /// Where notes are handed in, and what writes them as the node `node`.
    pub fn new(node: &str) -> (Events, Self) {
        let (events, notes) = Events::new();
        (events, Self { notes, node: node.to_owned() })
    }

    /// Writes until every entrance is gone. An Event that is refused is logged and forgotten.
    pub async fn run(mut self, access: Arc<dyn Access>) {
        let mut gate = Gate::new(Instant::now());
        while let Some((note, moment)) = self.notes.recv().await {
            let words = format!("{} {} {} {}", note.about.kind.plural, note.about.key, note.reason, note.message);
            if !gate.admits(words, Instant::now()) {
                continue;
            }
            if let Err(status) = access.create(&EVENT, event(&note, &self.node, moment)).await {
                tracing::debug!(?note, %status, "an Event was not written");
            }
        }
    }
}

fn event(note: &Note, node: &str, moment: Timestamp) -> Value {
    let (about, now) = (&note.about, stamp(moment));
    let suffix = hash::text(&[&about.uid, note.reason, &note.message, &moment.as_nanosecond().to_string()]);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{}.{suffix}", about.key.name), "namespace": namespace(note) },
        "involvedObject": {
            "apiVersion": about.kind.api_version(), "kind": about.kind.kind, "namespace": about.key.namespace,
            "name": about.key.name, "uid": about.uid,
        },
        "reason": note.reason,
        "message": note.message,
        "type": if note.warning { "Warning" } else { "Normal" },
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": { "component": COMPONENT, "host": node },
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    })
}

#[cfg(test)]
mod gate_tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_broken_node_says_little() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        assert!(gate.admits("a".into(), start) && !gate.admits("a".into(), start));
        let said = (0..100).filter(|number| gate.admits(format!("b{number}"), start)).count();
        assert_eq!(said + 1, limits::NODE_EVENTS_BURST as usize);
        let later = start + limits::NODE_EVENT_EVERY;
        assert!(gate.admits("c".into(), later) && !gate.admits("d".into(), later), "one for each period");
        let much_later = later + limits::NODE_EVENT_SAME + Duration::from_secs(1);
        assert!(gate.admits("a".into(), much_later), "old words are news again");
    }
}
