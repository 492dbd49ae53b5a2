//! Events on Services: findings that last in, one Event per Service and code out, counted while it lasts and closed when
//! it is over. What was told is read back from the Events themselves, so a restart tells nothing twice.

use api::kinds::EVENT;
use api::object::ObjectKey;
use api::status::Status;
use apiserver::Api;
use compile::diagnose::{CODES, Finding};
use compile::snapshot::Service;
use contract::access::Access;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Who tells.
const COMPONENT: &str = "mainstay-doctor";

/// Tells what is wrong now, and what no longer is.
pub(super) async fn tell(api: &Api, service: &Service, wrong: &[Finding]) {
    for code in CODES {
        let key = event_key(service, code.id);
        let stored = api.read(&EVENT, &key).ok().and_then(|found| serde_json::from_slice::<Value>(&found.json).ok());
        let finding = wrong.iter().find(|finding| finding.code.id == code.id);
        let result = match (finding, stored) {
            (Some(finding), None) => {
                api.create(&EVENT, event(service, &key, code.word, &finding.line(), "Warning")).await.map(drop)
            }
            (Some(finding), Some(stored)) if stored["message"] != finding.line() => {
                change(api, stored, code.word, &finding.line(), "Warning").await
            }
            (None, Some(stored)) if stored["type"] == "Warning" => {
                change(api, stored, "Resolved", &format!("{} no longer holds", code.id), "Normal").await
            }
            _ => Ok(()),
        };
        if let Err(status) = result {
            tracing::debug!(%status, "an Event was not written");
        }
    }
}

/// The uid is in the name: a Service of the same name that comes later has Events of its own.
fn event_key(service: &Service, id: &str) -> ObjectKey {
    let uid = service.meta.uid.split('-').next().unwrap_or_default();
    ObjectKey::new(service.meta.key.namespace.clone(), format!("{}.{}.{uid}", service.meta.key.name, id.to_lowercase()))
}

fn event(service: &Service, key: &ObjectKey, reason: &str, message: &str, kind: &str) -> Value {
    let now = stamp();
    let about = &service.meta;
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": key.name, "namespace": key.namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "namespace": about.key.namespace, "name": about.key.name, "uid": about.uid,
        },
        "reason": reason, "message": message, "type": kind, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": { "component": COMPONENT }, "reportingComponent": COMPONENT, "reportingInstance": "",
    })
}

async fn change(api: &Api, mut event: Value, reason: &str, message: &str, kind: &str) -> Result<(), Status> {
    event["reason"] = reason.into();
    event["message"] = message.into();
    event["type"] = kind.into();
    event["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
    event["lastTimestamp"] = stamp().into();
    api.update(&EVENT, event).await.map(drop)
}

fn stamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
