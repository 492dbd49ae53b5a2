//! Turns changed Services, pods and nodes into EndpointSlice and Endpoints writes, one Service at a time.

use std::sync::{Arc, Mutex, MutexGuard};

use api::object::{ObjectKey, Revision};
use compile::endpoints::{self, Config, Index, legacy, mirror};
use compile::snapshot::Snapshot;
use compile::write::Write;
use serde_json::Value;
use tokio::sync::watch;

use crate::feed::Feed;
use crate::limits;
use crate::work::{Outcome, Queue, serve};
use crate::world::{State, World};
use crate::writer::Writer;

/// A snapshot and the index of the same snapshot. The newest snapshot of the feed will not do: with an index that lags
/// behind it, pods look as if no Service selected them, and their endpoints would be taken away for a moment.
#[derive(Default)]
struct Known {
    index: Index,
    snapshot: Arc<Snapshot>,
}

struct View {
    known: Mutex<Known>,
    revision: watch::Sender<Revision>,
}

impl View {
    fn new() -> Self {
        Self { known: Mutex::default(), revision: watch::Sender::new(Revision(0)) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    async fn reached(&self, revision: Revision) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.revision.subscribe().wait_for(|seen| *seen >= revision).await;
    }
}

/// Runs for ever.
pub(crate) async fn run(feed: Feed, world: Arc<World>, writer: Writer, queue: Queue<ObjectKey>) {
    let view = View::new();
    let touched = watch_for_touched(feed, &view, queue.clone());
    let work = serve(queue, limits::SERVICES_AT_ONCE, |key| look(key, &view, &world, &writer));
    tokio::select! {
        () = touched => {}
        () = work => {}
    }
}

async fn watch_for_touched(feed: Feed, view: &View, queue: Queue<ObjectKey>) {
    let mut subscription = feed.subscribe();
    while let Some((snapshot, changes)) = subscription.next().await {
        let touched = {
            let mut known = view.lock();
            let before = std::mem::replace(&mut known.snapshot, snapshot.clone());
            known.index.update(&before, &snapshot, &changes)
        };
        view.revision.send_replace(snapshot.revision);
        // Those that are gone are looked at once more, for an Endpoints object that crossed the deletion; those without
        // selector, for one that is mirrored or no longer is.
        queue.extend(touched);
    }
}

async fn look(key: ObjectKey, view: &View, world: &World, writer: &Writer) -> Outcome {
    let Some((writes, node_missing)) = decide(&key, view, world).await else { return Outcome::Done };
    if writes.is_empty() {
        return if node_missing { Outcome::Retry } else { Outcome::Done };
    }
    let written = writer.in_order(writes).await;
    // Both views of the world contain one's own writes before anything is decided again, so that nothing is written twice.
    view.reached(written.revision).await;
    world.reached(written.revision).await;
    match written.outcome(&key) {
        Outcome::Done if node_missing => Outcome::Retry,
        outcome => outcome,
    }
}

/// What looking at one Service came to.
enum Decision {
    /// Nothing is to be done.
    Nothing,
    /// One of the two views of the world must first have got this far.
    Wait(Revision),
    /// These writes; whether a pod's node is not known yet.
    Writes(Vec<Write>, bool),
}

/// The writes that a Service needs, once both views of the world are far enough to tell.
async fn decide(key: &ObjectKey, view: &View, world: &World) -> Option<(Vec<Write>, bool)> {
    loop {
        match decide_now(key, view, world) {
            Decision::Nothing => return None,
            Decision::Writes(writes, node_missing) => return Some((writes, node_missing)),
            Decision::Wait(revision) => {
                view.reached(revision).await;
                world.reached(revision).await;
            }
        }
    }
}

fn decide_now(key: &ObjectKey, view: &View, world: &World) -> Decision {
    let known = view.lock();
    let revision = known.snapshot.revision;
    // The Endpoints object is known through the other watch: it must not be behind, or it would be written twice.
    if revision > world.seen() {
        return Decision::Wait(revision);
    }
    let state = world.state();
    let stored = state.endpoints.get(key);
    let service = known.snapshot.services.get(key);
    if let Some(stored) = stored.filter(|stored| service.is_none() && stored.revision > revision) {
        return Decision::Wait(stored.revision);
    }
    let mut writes = mirrored(&known.snapshot, &state, key);
    let mut node_missing = false;
    match service {
        None => writes.extend(stored.and_then(|stored| legacy::leftover(&known.snapshot, key, stored))),
        Some(service) if !endpoints::is_ours(service) => {}
        Some(_) => {
            let slices = endpoints::reconcile(&known.snapshot, &known.index, key, Config::default());
            // Additions before removals: mirrored slices go once those made from pods are there.
            writes.splice(0..0, slices.writes);
            writes.extend(legacy::reconcile(&known.snapshot, &known.index, key, stored));
            node_missing = slices.node_missing;
        }
    }
    if writes.is_empty() && !node_missing { Decision::Nothing } else { Decision::Writes(writes, node_missing) }
}

/// Writes for the slices that mirror an Endpoints object. Most Services have neither.
fn mirrored(snapshot: &Snapshot, state: &State, key: &ObjectKey) -> Vec<Write> {
    let service = snapshot.services.get(key).map(|service| &**service);
    let stored = state.mirrored.of(key);
    let json = state.endpoints_json.get(key).filter(|_| service.is_none_or(|service| service.selector.is_none()));
    if stored.is_empty() && json.is_none() {
        return Vec::new();
    }
    // What the API stored is JSON.
    let endpoints: Option<Value> = json.and_then(|json| serde_json::from_slice(json).ok());
    let is_free = |name: &str| !snapshot.slices.contains_key(&ObjectKey::new(key.namespace.clone(), name));
    mirror::reconcile(service, endpoints.as_ref(), &stored, is_free)
}
