//! The applied revision of one node: the smallest revision that every sink of the node has confirmed.

use std::sync::{Arc, Mutex};

use api::object::Revision;
use tokio::sync::watch;

/// Collects confirmations of named sinks (`nft`, `dns`, ...) and publishes their minimum.
#[derive(Clone)]
pub struct Applied {
    inner: Arc<Inner>,
}

struct Inner {
    sinks: Mutex<Vec<(&'static str, Revision)>>,
    minimum: watch::Sender<Revision>,
}

/// The handle with which one sink confirms.
pub struct SinkHandle {
    inner: Arc<Inner>,
    index: usize,
}

impl Default for Applied {
    fn default() -> Self {
        let inner = Inner { sinks: Mutex::new(Vec::new()), minimum: watch::Sender::new(Revision(0)) };
        Self { inner: Arc::new(inner) }
    }
}

impl Applied {
    /// Registers a sink. Until it confirms, the node's applied revision is zero.
    pub fn sink(&self, name: &'static str) -> SinkHandle {
        let mut sinks = self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner());
        sinks.push((name, Revision(0)));
        self.inner.minimum.send_replace(Revision(0));
        SinkHandle { inner: self.inner.clone(), index: sinks.len() - 1 }
    }

    /// The node's applied revision: the minimum over its sinks.
    pub fn node(&self) -> Revision {
        *self.inner.minimum.borrow()
    }

    /// What each sink has confirmed, in order of registration.
    pub fn sinks(&self) -> Vec<(&'static str, Revision)> {
        self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner()).clone()
    }

    /// A receiver that wakes when the node's applied revision grows.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.inner.minimum.subscribe()
    }

    /// Waits until the node has applied `revision`.
    pub async fn reached(&self, revision: Revision) {
        let mut receiver = self.subscribe();
        // The sender lives in `self.inner`, so waiting cannot fail.
        let _ = receiver.wait_for(|applied| *applied >= revision).await;
    }
}

impl SinkHandle {
    /// Confirms that this sink reflects everything up to `revision`.
    pub fn confirm(&self, revision: Revision) {
        let mut sinks = self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some((_, confirmed)) = sinks.get_mut(self.index) {
            *confirmed = revision.max(*confirmed);
        }
        let minimum = sinks.iter().map(|(_, revision)| *revision).min().unwrap_or_default();
        self.inner.minimum.send_if_modified(|applied| {
            let grew = minimum > *applied;
            *applied = minimum;
            grew
        });
    }
}
