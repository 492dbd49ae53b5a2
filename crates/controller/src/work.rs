//! Turns keys into work: each key at most once at a time, several keys at once, again later when it failed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;

/// Keys waiting to be looked at. A key that waits already is not added twice.
pub(crate) struct Queue<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    waiting: Mutex<(VecDeque<K>, BTreeSet<K>)>,
    wake: Notify,
}

/// What came of looking at a key.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing to do until it is added again.
    Done,
    /// Look again after this time.
    After(Duration),
    /// It failed: look again after a pause that grows.
    Retry,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { waiting: Mutex::default(), wake: Notify::new() }) }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Adds a key.
    pub(crate) fn add(&self, key: K) {
        {
            let mut waiting = self.inner.waiting.lock().unwrap_or_else(|poison| poison.into_inner());
            let (order, members) = &mut *waiting;
            if members.insert(key.clone()) {
                order.push_back(key);
            }
        }
        self.inner.wake.notify_one();
    }

    /// Adds several keys.
    pub(crate) fn extend(&self, keys: impl IntoIterator<Item = K>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    fn pop(&self) -> Option<K> {
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(|poison| poison.into_inner());
        let (order, members) = &mut *waiting;
        let key = order.pop_front()?;
        members.remove(&key);
        Some(key)
    }
}

/// Keys that are being looked at, or will be at a later time.
struct Board<K> {
    busy: BTreeSet<K>,
    again: BTreeSet<K>,
    later: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

/// Looks at keys for ever, at most `width` at the same time.
pub(crate) async fn serve<K, F, R>(queue: Queue<K>, width: usize, look: F)
where
    K: Ord + Clone,
    F: Fn(K) -> R,
    R: Future<Output = Outcome>,
{
    let mut running = FuturesUnordered::new();
    let mut board =
        Board { busy: BTreeSet::new(), again: BTreeSet::new(), later: BTreeSet::new(), failures: BTreeMap::new() };
    loop {
        while board.later.first().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, key)) = board.later.pop_first() {
                queue.add(key);
            }
        }
        while running.len() < width {
            let Some(key) = queue.pop() else { break };
            if board.busy.insert(key.clone()) {
                running.push(look(key.clone()).map(move |outcome| (key, outcome)));
            } else {
                board.again.insert(key);
            }
        }
        let due = board.later.first().map(|(due, _)| *due);
        let timer = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((key, outcome)) = running.next() => board.finish(&queue, key, outcome),
            () = queue.inner.wake.notified(), if running.len() < width => {}
            () = timer => {}
        }
    }
}

impl<K: Ord + Clone> Board<K> {
    fn finish(&mut self, queue: &Queue<K>, key: K, outcome: Outcome) {
        self.busy.remove(&key);
        match outcome {
            Outcome::Done => {
                self.failures.remove(&key);
            }
            Outcome::After(pause) => {
                self.failures.remove(&key);
                self.later.insert((Instant::now() + pause, key.clone()));
            }
            Outcome::Retry => {
                let failures = self.failures.entry(key.clone()).or_default();
                let pause = limits::RETRY_FIRST.saturating_mul(1 << (*failures).min(16)).min(limits::RETRY_MOST);
                *failures += 1;
                self.later.insert((Instant::now() + pause, key.clone()));
            }
        }
        if self.again.remove(&key) {
            queue.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_looked_at_once_at_a_time_and_again_when_it_failed_or_changed_meanwhile() {
        let queue: Queue<&str> = Queue::default();
        queue.extend(["a", "a", "b"]);
        let seen = Mutex::new(Vec::new());
        let inner = queue.clone();
        let look = |key: &'static str| {
            let nth = {
                let mut seen = seen.lock().unwrap();
                seen.push(key);
                seen.iter().filter(|one| **one == key).count()
            };
            if key == "a" && nth == 1 {
                inner.add("a");
            }
            async move {
                tokio::task::yield_now().await;
                if key == "b" && nth < 4 { Outcome::Retry } else { Outcome::Done }
            }
        };
        let run = serve(queue, 2, look);
        let _ = tokio::time::timeout(Duration::from_secs(3_600), run).await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().filter(|key| **key == "a").count(), 2, "{seen:?}");
        assert_eq!(seen.iter().filter(|key| **key == "b").count(), 4, "{seen:?}");
    }
}
