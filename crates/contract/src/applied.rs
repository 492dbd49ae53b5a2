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
    sinks: Mutex<Vec<(&'static str, watch::Sender<Revision>)>>,
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
        sinks.push((name, watch::Sender::new(Revision(0))));
        self.inner.minimum.send_replace(Revision(0));
        SinkHandle { inner: self.inner.clone(), index: sinks.len() - 1 }
    }

    /// The node's applied revision: the minimum over its sinks.
    pub fn node(&self) -> Revision {
        *self.inner.minimum.borrow()
    }

    /// What each sink has confirmed, in order of registration.
    pub fn sinks(&self) -> Vec<(&'static str, Revision)> {
        let sinks = self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner());
        sinks.iter().map(|(name, confirmed)| (*name, *confirmed.borrow())).collect()
    }

    /// A receiver that wakes when one sink confirms more; none if no such sink is registered.
    pub fn subscribe_sink(&self, name: &str) -> Option<watch::Receiver<Revision>> {
        let sinks = self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner());
        sinks.iter().find(|(known, _)| *known == name).map(|(_, confirmed)| confirmed.subscribe())
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
        let sinks = self.inner.sinks.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some((_, confirmed)) = sinks.get(self.index) {
            raise(confirmed, revision);
        }
        let minimum = sinks.iter().map(|(_, confirmed)| *confirmed.borrow()).min().unwrap_or_default();
        raise(&self.inner.minimum, minimum);
    }
}

/// Wakes receivers only when the value grows; it never falls.
fn raise(value: &watch::Sender<Revision>, to: Revision) {
    value.send_if_modified(|now| {
        let grew = to > *now;
        *now = to.max(*now);
        grew
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_as_far_as_its_slowest_sink_and_each_sink_can_be_followed() {
        let applied = Applied::default();
        let (nft, dns) = (applied.sink("nft"), applied.sink("dns"));
        let mut receiver = applied.subscribe_sink("nft").unwrap();
        nft.confirm(Revision(5));
        assert!(receiver.has_changed().unwrap());
        assert_eq!((*receiver.borrow_and_update(), applied.node()), (Revision(5), Revision(0)));
        dns.confirm(Revision(3));
        nft.confirm(Revision(4));
        assert!(!receiver.has_changed().unwrap(), "an older confirmation and another sink's are no news");
        assert_eq!(applied.sinks(), [("nft", Revision(5)), ("dns", Revision(3))]);
        assert_eq!(applied.node(), Revision(3));
        assert!(applied.subscribe_sink("ebpf").is_none());
    }
}
