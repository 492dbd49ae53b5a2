//! Turns list and watch into a stream that never breaks: every change of some kinds is handed on, and after a lost watch
//! what is gone is swept, so that the follower never sees an empty world in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use contract::access::{Access, Object, Scope, WatchStep};
use futures::{FutureExt, StreamExt};

use crate::limits;

/// Who takes changes in. Kinds are named by their plural.
pub trait Follower: Send {
    /// An object is there, new or changed or as before.
    fn put(&mut self, plural: &'static str, object: &Object);
    /// An object is gone.
    fn delete(&mut self, plural: &'static str, key: &ObjectKey);
    /// A list of this kind is over: everything that was not in it is gone.
    fn retain(&mut self, plural: &'static str, listed: &BTreeSet<ObjectKey>);
    /// Everything up to this revision has been handed on: make it visible.
    fn seen(&mut self, revision: Revision);
}

/// Follows `kinds` for ever.
pub async fn follow(access: Arc<dyn Access>, kinds: &'static [&'static Kind], mut follower: impl Follower) {
    let mut pause = limits::RETRY_FIRST;
    loop {
        let (status, progressed) = session(&access, kinds, &mut follower).await;
        if progressed {
            pause = limits::RETRY_FIRST;
        }
        if status.code == 410 {
            tracing::info!("the watch fell behind what the server keeps: listing again");
        } else {
            tracing::warn!(error = %status, "the watch ended: listing again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(limits::RETRY_MOST);
    }
}

/// One list and the watch that continues it. Returns why it ended and whether the watch delivered anything.
async fn session(access: &Arc<dyn Access>, kinds: &[&'static Kind], follower: &mut impl Follower) -> (Status, bool) {
    let floors = match list(access, kinds, follower).await {
        Ok(floors) => floors,
        Err(status) => return (status, false),
    };
    let start = floors.values().copied().min().unwrap_or_default();
    follower.seen(start);
    let mut stream = match access.watch(kinds, start).await {
        Ok(stream) => stream,
        Err(status) => return (status, false),
    };
    let mut progressed = false;
    let mut seen = start;
    while let Some(step) = stream.next().await {
        let mut next = Some(step);
        let mut taken = 0;
        let mut failed = None;
        while let Some(step) = next.take() {
            match step {
                Ok(step) => seen = seen.max(take(follower, &floors, step)),
                Err(status) => {
                    failed = Some(status);
                    break;
                }
            }
            taken += 1;
            if taken < limits::WATCH_BATCH {
                // Only what is there already: waiting for more would delay what has been taken in.
                next = stream.next().now_or_never().flatten();
            }
        }
        if taken > 0 {
            follower.seen(seen);
            progressed = true;
        }
        if let Some(status) = failed {
            return (status, progressed);
        }
    }
    (Status::new(500, "WatchEnded", "the server ended the watch"), progressed)
}

/// Lists all kinds and sweeps what is gone. Returns the revision that each kind was read at.
async fn list(
    access: &Arc<dyn Access>,
    kinds: &[&'static Kind],
    follower: &mut impl Follower,
) -> Result<BTreeMap<&'static str, Revision>, Status> {
    let mut floors = BTreeMap::new();
    for kind in kinds {
        let mut listed = BTreeSet::new();
        let mut take = |object: &Object| {
            follower.put(kind.plural, object);
            listed.insert(object.key.clone());
        };
        let revision = access.each(kind, &Scope::default(), &mut take).await?;
        follower.retain(kind.plural, &listed);
        floors.insert(kind.plural, revision);
    }
    Ok(floors)
}

/// Hands one step on. Kinds were listed one after the other and the watch starts at the oldest of these lists, so that
/// steps which a later list already contained are skipped: they would turn an object back.
fn take(follower: &mut impl Follower, floors: &BTreeMap<&'static str, Revision>, step: WatchStep) -> Revision {
    let fresh = |plural: &str, revision: Revision| floors.get(plural).is_none_or(|floor| revision > *floor);
    match step {
        WatchStep::Put(plural, object) => {
            if fresh(plural, object.revision) {
                follower.put(plural, &object);
            }
            object.revision
        }
        WatchStep::Delete(plural, object) => {
            if fresh(plural, object.revision) {
                follower.delete(plural, &object.key);
            }
            object.revision
        }
        WatchStep::Progress(revision) => revision,
    }
}
