//! Turns the API into snapshots: follows the kinds that compile steps read, and publishes one snapshot per batch of changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::kind::Kind;
use api::kinds::{ENDPOINT_SLICE, NAMESPACE, NODE, POD, SERVICE, SERVICE_CIDR};
use api::object::{ObjectKey, Revision};
use compile::snapshot::{Builder, Changes, Snapshot};
use contract::access::{Access, Object};

use crate::feed::Publisher;
use crate::follow::{Follower, follow};

/// What a node needs to programme its Services.
static NODE_KINDS: [&Kind; 4] = [&NODE, &SERVICE_CIDR, &SERVICE, &ENDPOINT_SLICE];

/// What a snapshot is made of.
static KINDS: [&Kind; 6] = [&NAMESPACE, &NODE, &SERVICE_CIDR, &SERVICE, &POD, &ENDPOINT_SLICE];

struct Reflector<F> {
    builder: Builder,
    publisher: Publisher,
    revision: Revision,
    told: F,
}

/// Publishes snapshots for ever.
pub async fn reflect(access: Arc<dyn Access>, publisher: Publisher) {
    let told = |_: &Arc<Snapshot>, _: &Changes| ();
    let reflector = Reflector { builder: Builder::default(), publisher, revision: Revision(0), told };
    follow(access, &KINDS, reflector).await;
}

/// The same for one node that programmes Services and does nothing else: Pods and Namespaces are not followed, and of
/// slices only that is kept which matters there.
/// `told` hears of every snapshot before it is published.
pub async fn reflect_node(
    access: Arc<dyn Access>,
    publisher: Publisher,
    node: &str,
    told: impl FnMut(&Arc<Snapshot>, &Changes) + Send,
) {
    let reflector = Reflector { builder: Builder::for_node(node), publisher, revision: Revision(0), told };
    follow(access, &NODE_KINDS, reflector).await;
}

impl<F: FnMut(&Arc<Snapshot>, &Changes) + Send> Follower for Reflector<F> {
    fn put(&mut self, plural: &'static str, object: &Object) {
        if let Err(error) = self.builder.put(plural, &object.key, object.revision, &object.json) {
            tracing::warn!(%error, "ignored an object that cannot be read");
        }
    }

    fn delete(&mut self, plural: &'static str, key: &ObjectKey) {
        self.builder.delete(plural, key);
    }

    fn retain(&mut self, plural: &'static str, listed: &BTreeSet<ObjectKey>) {
        self.builder.retain(plural, listed);
    }

    fn seen(&mut self, revision: Revision) {
        // Also when nothing changed that a compile step reads: sinks then confirm the revision at once.
        self.revision = self.revision.max(revision);
        let (snapshot, changes) = self.builder.publish(self.revision);
        (self.told)(&snapshot, &changes);
        self.publisher.publish(&snapshot, &changes);
    }
}
