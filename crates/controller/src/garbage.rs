//! Turns objects whose owners may be gone into deletions, after a read has confirmed that the owners are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::kind::Kind;
use api::kinds::ALL;
use api::object::ObjectKey;
use api::status::Status;
use compile::garbage::Uid;
use compile::workloads::objects::{Meta, Owner};
use serde::Deserialize;

use crate::limits;
use crate::work::{Outcome, Queue, serve};
use crate::world::World;
use crate::writer::Writer;

#[derive(Deserialize)]
struct OnlyMeta {
    metadata: Meta,
}

/// Runs for ever.
pub(crate) async fn run(world: Arc<World>, writer: Writer, queue: Queue<Uid>) {
    world.complete().await;
    serve(queue, limits::OBJECTS_AT_ONCE, |uid| look(uid, &world, &writer)).await;
}

async fn look(uid: Uid, world: &World, writer: &Writer) -> Outcome {
    let doubts = world.state().graph.doubts(&uid);
    let mut absent = BTreeSet::new();
    for (key, owner) in doubts {
        match is_absent(writer, key, &owner).await {
            Ok(true) => {
                absent.insert(owner.uid);
            }
            Ok(false) => {}
            Err(status) => {
                tracing::debug!(%status, owner = %owner.name, "an owner cannot be looked up: trying again");
                return Outcome::Retry;
            }
        }
    }
    let writes = world.state().graph.decide(&uid, &absent);
    let written = writer.growing(writes).await;
    world.reached(written.revision).await;
    written.outcome(&uid)
}

/// Whether no object with the uid of `owner` exists. A kind that we do not serve is never taken for absent.
async fn is_absent(writer: &Writer, key: ObjectKey, owner: &Owner) -> Result<bool, Status> {
    let same = |kind: &&&'static Kind| *kind.kind == *owner.kind && kind.api_version() == *owner.api_version;
    let Some(kind) = ALL.iter().find(same).copied() else { return Ok(false) };
    let key = if kind.namespaced { key } else { ObjectKey::new("", key.name) };
    match writer.access.get(kind, &key).await {
        Err(status) if status.code == 404 => Ok(true),
        Err(status) => Err(status),
        Ok(object) => {
            let only: OnlyMeta = serde_json::from_slice(&object.json)
                .map_err(|error| Status::internal(format!("{key} as stored is not JSON: {error}")))?;
            Ok(only.metadata.uid != owner.uid)
        }
    }
}
