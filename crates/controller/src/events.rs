//! Turns notes into Event objects, off the path of the writes they tell about: a lost Event never delays a pod.

use std::sync::Arc;

use api::kinds::EVENT;
use api::object::ObjectKey;
use api::status::Status;
use compile::workloads::hash;
use compile::write::Note;
use contract::access::Access;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::limits;

/// Where notes are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(Note, Timestamp)>,
}

impl Events {
    /// The entrance and the exit.
    pub(crate) fn new() -> (Self, mpsc::Receiver<(Note, Timestamp)>) {
        let (sender, receiver) = mpsc::channel(limits::EVENTS_WAITING);
        (Self { sender }, receiver)
    }

    /// Hands a note in; dropped with a log line when too many wait.
    pub fn tell(&self, note: Note) {
        if self.sender.try_send((note, Timestamp::now())).is_err() {
            tracing::warn!(limit = limits::EVENTS_WAITING, "dropped an Event: too many are waiting to be written");
        }
    }
}

/// Now, as objects show it: whole seconds.
pub(crate) fn stamp(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes Events until every entrance is gone.
pub(crate) async fn run(access: Arc<dyn Access>, mut notes: mpsc::Receiver<(Note, Timestamp)>) {
    while let Some((note, moment)) = notes.recv().await {
        if let Err(status) = write(&access, &note, &stamp(moment)).await {
            tracing::debug!(?note, %status, "an Event was not written");
        }
    }
}

/// The same words about the same object are one Event that counts.
async fn write(access: &Arc<dyn Access>, note: &Note, now: &str) -> Result<(), Status> {
    let object = event(note, now);
    let key = ObjectKey::new(namespace(note), object["metadata"]["name"].as_str().unwrap_or_default());
    match access.create(&EVENT, object).await {
        Err(status) if status.reason == "AlreadyExists" => {}
        other => return other.map(|_| ()),
    }
    let stored = access.get(&EVENT, &key).await?;
    let mut value: Value = serde_json::from_slice(&stored.json)
        .map_err(|error| Status::internal(format!("Event {key} as stored is not JSON: {error}")))?;
    value["count"] = json!(value["count"].as_i64().unwrap_or(1) + 1);
    value["lastTimestamp"] = json!(now);
    access.update(&EVENT, value).await.map(|_| ())
}

/// Where the Event of a note lives.
pub(crate) fn namespace(note: &Note) -> &str {
    if note.about.key.namespace.is_empty() { "default" } else { &note.about.key.namespace }
}

fn event(note: &Note, now: &str) -> Value {
    let about = &note.about;
    let component = match about.kind.plural {
        "pods" => "default-scheduler".to_owned(),
        _ => format!("{}-controller", about.kind.singular),
    };
    let suffix = hash::text(&[&about.uid, note.reason, &note.message]);
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
        "source": { "component": component },
        "reportingComponent": component,
        "reportingInstance": "",
    })
}
