//! Turns the API into snapshots: follows the kinds that compile steps read, and publishes one snapshot per batch of changes.

use std::sync::Arc;

use api::kind::Kind;
use api::kinds::{ENDPOINT_SLICE, NAMESPACE, NODE, POD, SERVICE};
use api::object::{ObjectKey, Revision};
use compile::snapshot::{Builder, Snapshot};
use contract::access::{Access, Object};

use crate::feed::Publisher;
use crate::follow::{Follower, follow};

/// What a snapshot is made of.
static KINDS: [&Kind; 5] = [&NAMESPACE, &NODE, &SERVICE, &POD, &ENDPOINT_SLICE];

struct Reflector {
    builder: Builder,
    publisher: Publisher,
    snapshot: Arc<Snapshot>,
}

/// Publishes snapshots for ever.
pub async fn reflect(access: Arc<dyn Access>, publisher: Publisher) {
    let reflector = Reflector { builder: Builder::default(), publisher, snapshot: Arc::default() };
    follow(access, &KINDS, reflector).await;
}

impl Follower for Reflector {
    fn put(&mut self, plural: &'static str, object: &Object) {
        if let Err(problem) = self.builder.put(plural, &object.key, object.revision, &object.json) {
            tracing::warn!(kind = plural, key = %object.key, ?problem, "ignored an object that cannot be read");
        }
    }

    fn delete(&mut self, plural: &'static str, key: &ObjectKey) {
        self.builder.delete(plural, key);
    }

    fn known(&self, plural: &'static str) -> Vec<ObjectKey> {
        // What was put since the last publication is never swept: a sweep follows a list, which names it.
        match plural {
            "services" => self.snapshot.services.keys().cloned().collect(),
            "endpointslices" => self.snapshot.slices.keys().cloned().collect(),
            "pods" => self.snapshot.pods.keys().cloned().collect(),
            "nodes" => self.snapshot.nodes.keys().cloned().collect(),
            "namespaces" => self.snapshot.namespaces.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn seen(&mut self, revision: Revision) {
        // Also when nothing changed that a compile step reads: sinks then confirm the revision at once.
        let revision = revision.max(self.snapshot.revision);
        let (snapshot, changes) = self.builder.publish(revision);
        self.publisher.publish(&snapshot, &changes);
        self.snapshot = snapshot;
    }
}
