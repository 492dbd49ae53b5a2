//! Turns changed namespaces into their furniture while they live, and into nothing when they are deleted.

use std::sync::Arc;

use api::kind::Kind;
use api::kinds::{ALL, NAMESPACE};
use api::object::ObjectKey;
use api::status::Status;
use compile::namespaces::{Found, INITIAL, furniture, namespace, terminate};
use compile::workloads::objects::Meta;
use contract::access::Scope;
use serde::Deserialize;
use serde_json::Value;

use crate::limits;
use crate::work::{Outcome, Queue, serve};
use crate::world::World;
use crate::writer::Writer;

#[derive(Deserialize)]
struct OnlyMeta {
    metadata: Meta,
}

/// Runs for ever.
pub(crate) async fn run(world: Arc<World>, writer: Writer, queue: Queue<ObjectKey>, ca_pem: String) {
    world.complete().await;
    queue.extend(INITIAL.iter().map(|name| ObjectKey::new("", *name)));
    serve(queue, limits::OBJECTS_AT_ONCE, |key| look(key, &world, &writer, &ca_pem)).await;
}

async fn look(key: ObjectKey, world: &World, writer: &Writer, ca_pem: &str) -> Outcome {
    let known = world.state().namespaces.get(&key).cloned();
    let result = match known {
        Some(meta) if meta.deleting() => empty(meta, world, writer).await,
        Some(_) => furnish(&key.name, writer, ca_pem).await,
        None if INITIAL.contains(&&*key.name) => create(writer, &NAMESPACE, namespace(&key.name)).await,
        None => Ok(()),
    };
    match result {
        Ok(()) => Outcome::Done,
        Err(status) if status.code == 404 => Outcome::Done,
        Err(status) => {
            tracing::debug!(namespace = %key, %status, "a namespace is not as it should be yet: trying again");
            Outcome::Retry
        }
    }
}

async fn create(writer: &Writer, kind: &'static Kind, object: Value) -> Result<(), Status> {
    match writer.access.create(kind, object).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}

async fn furnish(name: &str, writer: &Writer, ca_pem: &str) -> Result<(), Status> {
    for (kind, object) in furniture(name, ca_pem) {
        let key = ObjectKey::new(name, object["metadata"]["name"].as_str().unwrap_or_default());
        match writer.access.get(kind, &key).await {
            Err(status) if status.code == 404 => create(writer, kind, object).await?,
            Err(status) => return Err(status),
            Ok(stored) => {
                let mut value: Value = serde_json::from_slice(&stored.json)
                    .map_err(|error| Status::internal(format!("{key} as stored is not JSON: {error}")))?;
                if object.get("data").is_some_and(|data| value["data"] != *data) {
                    value["data"] = object["data"].clone();
                    writer.access.update(kind, value).await?;
                }
            }
        }
    }
    Ok(())
}

/// Deletes what is in a namespace until only what is on its way out is left; that wakes this again when it is gone.
async fn empty(mut meta: Meta, world: &World, writer: &Writer) -> Result<(), Status> {
    for _ in 0..limits::NAMESPACE_ROUNDS {
        let contents = contents(&meta.name, writer).await?;
        let last = contents.is_empty();
        let writes = terminate(&meta, &contents);
        if writes.is_empty() {
            return Ok(());
        }
        let written = writer.growing(writes).await;
        world.reached(written.revision).await;
        if let Some(status) = written.failure {
            return Err(status);
        }
        if last {
            return Ok(());
        }
        if let Some(newer) = world.state().namespaces.get(&meta.key()) {
            meta = newer.clone();
        }
    }
    Err(Status::internal(format!("namespace {} fills up while it is being emptied", meta.name)))
}

async fn contents(namespace: &str, writer: &Writer) -> Result<Vec<Found>, Status> {
    let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
    let mut found = Vec::new();
    for kind in ALL.iter().copied().filter(|kind| kind.namespaced) {
        for object in writer.access.list(kind, &scope).await?.items {
            let only: OnlyMeta = serde_json::from_slice(&object.json)
                .map_err(|error| Status::internal(format!("{} as stored is not JSON: {error}", object.key)))?;
            let deleting = only.metadata.deleting();
            found.push(Found { kind, key: object.key.clone(), uid: only.metadata.uid, deleting });
        }
    }
    Ok(found)
}
