//! Turns published snapshots into wake-ups: a latest-only slot per subscriber, with the keys that changed since it looked.
//!
//! A busy subscriber finds the newest snapshot and the sum of the changes; an idle one is woken by each publication.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use compile::snapshot::{Changes, Snapshot};
use tokio::sync::{Notify, watch};

/// Where subscribers get snapshots. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

/// The one publisher of a [`Feed`]. Dropping it ends all subscriptions.
pub struct Publisher {
    inner: Arc<Inner>,
}

/// One subscriber's slot.
pub struct Subscription {
    slot: Arc<Slot>,
    first: bool,
}

struct Inner {
    latest: watch::Sender<Arc<Snapshot>>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    list: Vec<Weak<Slot>>,
    published: bool,
    closed: bool,
}

#[derive(Default)]
struct Slot {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Default)]
struct Pending {
    snapshot: Option<Arc<Snapshot>>,
    changes: Changes,
    closed: bool,
}

/// A feed and its publisher.
pub fn feed() -> (Publisher, Feed) {
    let latest = watch::Sender::new(Arc::new(Snapshot::default()));
    let inner = Arc::new(Inner { latest, slots: Mutex::new(Slots::default()) });
    (Publisher { inner: inner.clone() }, Feed { inner })
}

/// Every key of a snapshot, as if all of it had changed.
pub fn everything(snapshot: &Snapshot) -> Changes {
    Changes {
        // A slice may be there before its Service: its Service counts as changed as well.
        services: snapshot.services.keys().chain(snapshot.slices_of.keys()).cloned().collect(),
        pods: snapshot.pods.keys().cloned().collect(),
        nodes: snapshot.nodes.keys().cloned().collect(),
        namespaces: snapshot.namespaces.keys().cloned().collect(),
        networks: snapshot.networks.keys().cloned().collect(),
    }
}

impl Feed {
    /// A new subscription; its first delivery holds everything.
    pub fn subscribe(&self) -> Subscription {
        let slot = Arc::new(Slot::default());
        let mut slots = lock(&self.inner.slots);
        {
            let mut pending = lock(&slot.pending);
            pending.closed = slots.closed;
            if slots.published {
                pending.snapshot = Some(self.inner.latest.borrow().clone());
            }
        }
        slots.list.retain(|slot| slot.strong_count() > 0);
        slots.list.push(Arc::downgrade(&slot));
        Subscription { slot, first: true }
    }

    /// Delivers the newest snapshot to every subscriber once more, with no change: for a sink whose target lost what it
    /// held.
    pub fn again(&self) {
        let slots = lock(&self.inner.slots);
        if !slots.published {
            return;
        }
        for slot in slots.list.iter().filter_map(Weak::upgrade) {
            lock(&slot.pending).snapshot.get_or_insert_with(|| self.inner.latest.borrow().clone());
            slot.wake.notify_one();
        }
    }

    /// The newest snapshot, for those who only look. Empty at revision 0 until the first publication.
    pub fn latest(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.latest.subscribe()
    }
}

impl Publisher {
    /// Makes a snapshot the newest one and wakes every subscriber.
    pub fn publish(&self, snapshot: &Arc<Snapshot>, changes: &Changes) {
        let mut slots = lock(&self.inner.slots);
        slots.published = true;
        // Before the wake-ups, so that whoever was woken never finds an older one here.
        self.inner.latest.send_replace(snapshot.clone());
        for slot in slots.list.iter().filter_map(Weak::upgrade) {
            {
                let mut pending = lock(&slot.pending);
                pending.snapshot = Some(snapshot.clone());
                pending.changes.merge(changes);
            }
            slot.wake.notify_one();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut slots = lock(&self.inner.slots);
        slots.closed = true;
        for slot in slots.list.iter().filter_map(Weak::upgrade) {
            lock(&slot.pending).closed = true;
            slot.wake.notify_one();
        }
    }
}

impl Subscription {
    /// The newest snapshot with everything that changed since the last call; waits for one. None when there will be no
    /// more. Safe to drop while waiting: nothing is lost.
    pub async fn next(&mut self) -> Option<(Arc<Snapshot>, Changes)> {
        loop {
            {
                let mut pending = lock(&self.slot.pending);
                if let Some(snapshot) = pending.snapshot.take() {
                    let mut changes = std::mem::take(&mut pending.changes);
                    if std::mem::take(&mut self.first) {
                        changes.merge(&everything(&snapshot));
                    }
                    return Some((snapshot, changes));
                }
                if pending.closed {
                    return None;
                }
            }
            self.slot.wake.notified().await;
        }
    }
}

/// A panic elsewhere must not spread through the lock: the data is replaced as a whole, never left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

#[cfg(test)]
mod tests {
    use api::object::{ObjectKey, Revision};
    use compile::snapshot::Service;

    use super::*;

    fn snapshot(revision: u64, names: &[&str]) -> Arc<Snapshot> {
        let mut snapshot = Snapshot { revision: Revision(revision), ..Snapshot::default() };
        for name in names {
            snapshot.services.insert_mut(ObjectKey::new("ns", *name), Arc::new(Service::default()));
        }
        Arc::new(snapshot)
    }

    fn changed(names: &[&str]) -> Changes {
        Changes { services: names.iter().map(|name| ObjectKey::new("ns", *name)).collect(), ..Changes::default() }
    }

    #[tokio::test]
    async fn a_late_subscriber_gets_everything_and_a_busy_one_gets_the_sum() {
        let (publisher, feed) = feed();
        let mut early = feed.subscribe();
        publisher.publish(&snapshot(1, &["a"]), &changed(&["a"]));
        publisher.publish(&snapshot(2, &["a", "b"]), &changed(&["b"]));
        let mut late = feed.subscribe();
        for subscription in [&mut early, &mut late] {
            let (snapshot, changes) = subscription.next().await.unwrap();
            assert_eq!((snapshot.revision, changes), (Revision(2), changed(&["a", "b"])));
        }
        publisher.publish(&snapshot(3, &["a", "b"]), &changed(&["a"]));
        publisher.publish(&snapshot(4, &["b"]), &changed(&["a"]));
        publisher.publish(&snapshot(5, &["b"]), &Changes::default());
        let (snapshot, changes) = late.next().await.unwrap();
        assert_eq!((snapshot.revision, changes), (Revision(5), changed(&["a"])));
        assert_eq!(feed.latest().borrow().revision, Revision(5));
        feed.again();
        assert_eq!(
            late.next().await.map(|(snapshot, changes)| (snapshot.revision, changes)),
            Some((Revision(5), changed(&[])))
        );
        drop(publisher);
        assert!(late.next().await.is_none());
        assert!(feed.subscribe().next().await.is_some(), "what was published stays readable");
    }
}
