//! What becomes of watches in, "since when is the server not heard, and why" out: for metrics, health and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The state of the watches on one server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Link {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Kinds that are not followed, with the time since when.
    lost: BTreeMap<&'static str, Instant>,
    why: Option<String>,
    lists: u64,
    resumes: u64,
    objects: u64,
}

/// The server is not heard.
#[derive(Clone, Debug)]
pub struct Loss {
    /// For so long: what is held may be so old.
    pub age: Duration,
    /// The last failure; empty before the first attempt has ended.
    pub why: String,
}

impl Link {
    /// No watch stands yet.
    pub(super) fn new(kinds: impl Iterator<Item = &'static str>) -> Self {
        let now = Instant::now();
        let lost = kinds.map(|kind| (kind, now)).collect();
        Self { inner: Arc::new(Mutex::new(Inner { lost, ..Inner::default() })) }
    }

    /// None while every kind is followed. A connection that dies without a word is noticed after `limits::SILENCE`.
    pub fn loss(&self) -> Option<Loss> {
        let inner = self.lock();
        let since = inner.lost.values().min()?;
        Some(Loss { age: since.elapsed(), why: inner.why.clone().unwrap_or_default() })
    }

    /// Since the start: lists of a kind that were read to their end, watches that were taken up again where they ended,
    /// objects that came.
    pub fn totals(&self) -> [(&'static str, u64); 3] {
        let inner = self.lock();
        [("lists", inner.lists), ("resumes", inner.resumes), ("objects", inner.objects)]
    }

    pub(super) fn follows(&self, kind: &'static str) {
        let mut inner = self.lock();
        inner.lost.remove(kind);
        if inner.lost.is_empty() {
            inner.why = None;
        }
    }

    pub(super) fn lose(&self, kind: &'static str, why: Option<&str>) {
        let mut inner = self.lock();
        inner.lost.entry(kind).or_insert_with(Instant::now);
        if let Some(why) = why {
            inner.why = Some(why.to_owned());
        }
    }

    /// A request failed before any watch stood.
    pub(super) fn failed(&self, why: &str) {
        self.lock().why = Some(why.to_owned());
    }

    pub(super) fn listed(&self) {
        self.lock().lists += 1;
    }

    pub(super) fn resumed(&self) {
        self.lock().resumes += 1;
    }

    pub(super) fn came(&self) {
        self.lock().objects += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_heard_when_every_kind_is_followed() {
        let link = Link::new(["services", "nodes"].into_iter());
        link.failed("refused");
        assert_eq!(link.loss().map(|loss| loss.why), Some("refused".to_owned()));
        link.follows("services");
        assert!(link.loss().is_some());
        link.follows("nodes");
        assert!(link.loss().is_none());
        link.lose("nodes", Some("ended"));
        link.lose("nodes", None);
        assert_eq!(link.loss().map(|loss| loss.why), Some("ended".to_owned()));
        link.follows("nodes");
        assert!(link.loss().is_none());
    }
}
