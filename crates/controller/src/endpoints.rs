//! Turns changed Services, pods and nodes into EndpointSlice and Endpoints writes, one Service at a time.

use std::sync::{Arc, Mutex};

use api::object::{ObjectKey, Revision};
use compile::endpoints::{self, Config, Index, legacy};
use compile::snapshot::Snapshot;
use tokio::sync::watch;

use crate::feed::Feed;
use crate::limits;
use crate::work::{Outcome, Queue, serve};
use crate::world::World;
use crate::writer::Writer;

/// Runs for ever.
pub(crate) async fn run(feed: Feed, world: Arc<World>, writer: Writer, queue: Queue<ObjectKey>) {
    let index = Arc::new(Mutex::new(Index::default()));
    let touched = watch_for_touched(feed.clone(), index.clone(), queue.clone());
    let latest = feed.latest();
    let work = serve(queue, limits::SERVICES_AT_ONCE, |key| look(key, &index, latest.clone(), &world, &writer));
    tokio::select! {
        () = touched => {}
        () = work => {}
    }
}

async fn watch_for_touched(feed: Feed, index: Arc<Mutex<Index>>, queue: Queue<ObjectKey>) {
    let mut subscription = feed.subscribe();
    let mut before = Arc::new(Snapshot::default());
    while let Some((snapshot, changes)) = subscription.next().await {
        if !changes.is_empty() {
            let touched = {
                let mut index = index.lock().unwrap_or_else(|poison| poison.into_inner());
                index.update(&before, &snapshot, &changes)
            };
            // Those that are gone are looked at once more, for an Endpoints object that crossed the deletion.
            let ours = |key: &ObjectKey| snapshot.services.get(key).is_none_or(|service| endpoints::is_ours(service));
            queue.extend(touched.into_iter().filter(ours));
        }
        before = snapshot;
    }
}

async fn look(
    key: ObjectKey,
    index: &Mutex<Index>,
    mut latest: watch::Receiver<Arc<Snapshot>>,
    world: &World,
    writer: &Writer,
) -> Outcome {
    let snapshot = latest.borrow_and_update().clone();
    match snapshot.services.get(&key) {
        None => return tidy(&key, snapshot, latest, world, writer).await,
        Some(service) if !endpoints::is_ours(service) => return Outcome::Done,
        Some(_) => {}
    }
    // The Endpoints object is known through the other watch: it must not be behind, or it would be written twice.
    world.reached(snapshot.revision).await;
    let (slices, legacy) = {
        let index = index.lock().unwrap_or_else(|poison| poison.into_inner());
        let slices = endpoints::reconcile(&snapshot, &index, &key, Config::default());
        let state = world.state();
        (slices, legacy::reconcile(&snapshot, &index, &key, state.endpoints.get(&key)))
    };
    let node_missing = slices.node_missing;
    let mut writes = slices.writes;
    writes.extend(legacy);
    if writes.is_empty() {
        return if node_missing { Outcome::Retry } else { Outcome::Done };
    }
    let written = writer.in_order(writes).await;
    caught_up(&mut latest, world, written.revision).await;
    match written.outcome(&key) {
        Outcome::Done if node_missing => Outcome::Retry,
        outcome => outcome,
    }
}

/// Deletes the Endpoints object of a Service that is gone.
async fn tidy(
    key: &ObjectKey,
    mut snapshot: Arc<Snapshot>,
    mut latest: watch::Receiver<Arc<Snapshot>>,
    world: &World,
    writer: &Writer,
) -> Outcome {
    world.reached(snapshot.revision).await;
    let Some(stored) = world.state().endpoints.get(key).cloned() else { return Outcome::Done };
    if snapshot.revision < stored.revision {
        let Ok(newer) = latest.wait_for(|snapshot| snapshot.revision >= stored.revision).await else {
            return Outcome::Done;
        };
        snapshot = newer.clone();
    }
    let Some(write) = legacy::leftover(&snapshot, key, &stored) else { return Outcome::Done };
    let written = writer.in_order(vec![write]).await;
    caught_up(&mut latest, world, written.revision).await;
    written.outcome(key)
}

/// Waits until both views of the world contain one's own writes, so that nothing is written twice.
async fn caught_up(latest: &mut watch::Receiver<Arc<Snapshot>>, world: &World, revision: Revision) {
    if latest.wait_for(|snapshot| snapshot.revision >= revision).await.is_ok() {
        world.reached(revision).await;
    }
}
