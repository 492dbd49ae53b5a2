//! Turns snapshots into calls of one sink: one at a time, the newest only, again after a failure, confirmed after success.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::snapshot::{Changes, Snapshot};
use contract::applied::SinkHandle;

use crate::feed::Subscription;
use crate::limits;

/// Something that can be brought to what a snapshot says: kernel tables, a DNS zone.
pub trait Sink: Send {
    /// Makes `snapshot` so. `changes` names at least the keys that differ from the last success, so that after an error
    /// the keys of the failed call come again.
    fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError>;

    /// When the sink wants the last snapshot once more, without changes, because time has passed; never by default.
    fn wants_again(&self) -> Option<Instant> {
        None
    }
}

/// Why a sink could not apply a snapshot: what failed, why, what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// How long to wait after failures: `first`, then twice as long each time, up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Pause after the first failure.
    pub first: Duration,
    /// Longest pause.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: limits::RETRY_FIRST, most: Duration::from_secs(5) }
    }
}

/// Drives `sink` until the subscription ends. `confirm` hears of each revision that was applied.
pub async fn drive(mut subscription: Subscription, mut sink: impl Sink, confirm: SinkHandle, backoff: Backoff) {
    let mut last = None;
    while let Some((mut snapshot, mut changes)) = next(&mut subscription, sink.wants_again(), last.take()).await {
        let mut pause = backoff.first;
        while let Err(error) = sink.apply(&snapshot, &changes) {
            tracing::warn!(revision = %snapshot.revision, %error, ?pause, "applying a revision failed: trying again");
            let wait = tokio::time::sleep(pause);
            tokio::pin!(wait);
            // Meanwhile only collect: the next attempt is for the newest snapshot, with the keys of the failed one.
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    next = subscription.next() => {
                        let Some((newer, more)) = next else { return };
                        snapshot = newer;
                        changes.merge(&more);
                    }
                }
            }
            pause = (pause * 2).min(backoff.most);
        }
        confirm.confirm(snapshot.revision);
        last = Some(snapshot);
    }
}

/// What changed next; or the last snapshot again when its time has come.
async fn next(
    subscription: &mut Subscription,
    again: Option<Instant>,
    last: Option<Arc<Snapshot>>,
) -> Option<(Arc<Snapshot>, Changes)> {
    let (Some(at), Some(last)) = (again, last) else { return subscription.next().await };
    tokio::select! {
        biased;
        next = subscription.next() => next,
        () = tokio::time::sleep_until(at.into()) => Some((last, Changes::default())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use api::object::{ObjectKey, Revision};
    use contract::applied::Applied;

    use super::*;
    use crate::feed::feed;

    /// Fails as often as told, and records what it was asked.
    struct Faulty {
        failures: usize,
        calls: Arc<Mutex<Vec<(Revision, Changes)>>>,
    }

    impl Sink for Faulty {
        fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
            self.calls.lock().unwrap().push((snapshot.revision, changes.clone()));
            if self.failures > 0 {
                self.failures -= 1;
                return Err(SinkError("injected".to_owned()));
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_revision_is_not_confirmed_and_its_keys_come_again() {
        let (publisher, feed) = feed();
        let applied = Applied::default();
        let calls = Arc::default();
        let sink = Faulty { failures: 2, calls: Arc::clone(&calls) };
        let driver = tokio::spawn(drive(feed.subscribe(), sink, applied.sink("test"), Backoff::default()));
        let change = |name: &str| Changes { services: [ObjectKey::new("ns", name)].into(), ..Changes::default() };
        let at = |revision| Arc::new(Snapshot { revision: Revision(revision), ..Snapshot::default() });
        publisher.publish(&at(1), &change("a"));
        while calls.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(applied.node(), Revision(0));
        publisher.publish(&at(2), &change("b"));
        applied.reached(Revision(2)).await;
        publisher.publish(&at(3), &Changes::default());
        applied.reached(Revision(3)).await;
        drop(publisher);
        driver.await.unwrap();
        let calls = calls.lock().unwrap();
        let mut both = change("a");
        both.merge(&change("b"));
        assert_eq!(calls[0], (Revision(1), change("a")));
        assert_eq!(calls[1], (Revision(2), both.clone()));
        assert_eq!(calls[2], (Revision(2), both));
        assert_eq!(calls[3], (Revision(3), Changes::default()), "an empty change is confirmed as well");
        assert_eq!(calls.len(), 4);
    }

    /// Wants to be called three times for one snapshot.
    struct Stepping {
        calls: Arc<Mutex<Vec<(Revision, bool)>>>,
    }

    impl Sink for Stepping {
        fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
            self.calls.lock().unwrap().push((snapshot.revision, changes.is_empty()));
            Ok(())
        }

        fn wants_again(&self) -> Option<Instant> {
            let calls = self.calls.lock().unwrap().len();
            (calls < 3).then(|| tokio::time::Instant::now().into_std() + Duration::from_secs(30))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_wants_it_gets_the_last_snapshot_again_without_changes() {
        let (publisher, feed) = feed();
        let applied = Applied::default();
        let calls: Arc<Mutex<Vec<_>>> = Arc::default();
        let sink = Stepping { calls: Arc::clone(&calls) };
        let driver = tokio::spawn(drive(feed.subscribe(), sink, applied.sink("test"), Backoff::default()));
        let changes = Changes { services: [ObjectKey::new("ns", "a")].into(), ..Changes::default() };
        publisher.publish(&Arc::new(Snapshot { revision: Revision(7), ..Snapshot::default() }), &changes);
        // The clock is paused: it goes on only while everybody waits.
        while calls.lock().unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        drop(publisher);
        driver.await.unwrap();
        assert_eq!(*calls.lock().unwrap(), [(Revision(7), false), (Revision(7), true), (Revision(7), true)]);
        assert_eq!(applied.node(), Revision(7));
    }
}
