//! Turns the applied revision into `Programmed=True` on the Services that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::kinds::SERVICE;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use compile::snapshot::{Changes, Snapshot};
use contract::access::Access;
use contract::applied::Applied;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::events::stamp;
use crate::feed::Feed;
use crate::limits;

/// Runs until the feed ends.
pub(crate) async fn run(feed: Feed, access: Arc<dyn Access>, applied: Applied) {
    let mut subscription = feed.subscribe();
    let mut progress = applied.subscribe();
    let mut pending = BTreeMap::new();
    loop {
        tokio::select! {
            next = subscription.next() => {
                let Some((snapshot, changes)) = next else { return };
                collect(&mut pending, &snapshot, &changes);
            }
            _ = progress.changed(), if !pending.is_empty() => {}
        }
        let reached = *progress.borrow_and_update();
        settle(&mut pending, &access, reached).await;
    }
}

/// Keeps the Services whose condition is False, with the revision to wait for. The cost is that of the change.
fn collect(pending: &mut BTreeMap<ObjectKey, Revision>, snapshot: &Snapshot, changes: &Changes) {
    for key in &changes.services {
        match snapshot.services.get(key).filter(|service| service.programmed == Some(false)) {
            Some(service) => pending.insert(key.clone(), service.meta.revision),
            None => pending.remove(key),
        };
    }
}

async fn settle(pending: &mut BTreeMap<ObjectKey, Revision>, access: &Arc<dyn Access>, applied: Revision) {
    let due: Vec<ObjectKey> =
        pending.iter().filter(|(_, revision)| **revision <= applied).map(|(key, _)| key.clone()).collect();
    let writes = futures::stream::iter(due).map(|key| async move {
        let result = confirm(access, &key, applied).await;
        (key, result)
    });
    let mut writes = writes.buffer_unordered(limits::WRITES_AT_ONCE);
    while let Some((key, result)) = writes.next().await {
        match result {
            Ok(None) => {
                pending.remove(&key);
            }
            // It changed meanwhile: that change must be applied first.
            Ok(Some(newer)) => {
                pending.insert(key, newer);
            }
            Err(status) if status.code == 404 => {
                pending.remove(&key);
            }
            Err(status) => {
                tracing::debug!(%key, %status, "Programmed is not written yet: trying again with the next change")
            }
        }
    }
}

/// Writes the condition; returns the newer revision to wait for when the object has moved on.
async fn confirm(access: &Arc<dyn Access>, key: &ObjectKey, applied: Revision) -> Result<Option<Revision>, Status> {
    let stored = access.get(&SERVICE, key).await?;
    if stored.revision > applied {
        return Ok(Some(stored.revision));
    }
    let mut object: Value = serde_json::from_slice(&stored.json)
        .map_err(|error| Status::internal(format!("Service {key} as stored is not JSON: {error}")))?;
    let Some(conditions) = object["status"]["conditions"].as_array_mut() else { return Ok(None) };
    let Some(condition) = conditions.iter_mut().find(|condition| condition["type"] == "Programmed") else {
        return Ok(None);
    };
    if condition["status"] != "False" {
        return Ok(None);
    }
    *condition = json!({
        "type": "Programmed", "status": "True", "reason": "AppliedEverywhere",
        "message": format!("revision {applied} applied on 1 of 1 nodes"),
        "lastTransitionTime": stamp(Timestamp::now()),
    });
    access.update_status(&SERVICE, object).await.map(|_| None)
}
