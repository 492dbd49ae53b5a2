//! `Access`: read, watch and write objects, locally (same process, same admission) or at any kube-apiserver.

use std::sync::Arc;

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;

/// One object as the API shows it, undecoded.
#[derive(Clone, Debug)]
pub struct Object {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Revision of its last change (`metadata.resourceVersion`).
    pub revision: Revision,
    /// The whole object as JSON, `resourceVersion` included.
    pub json: Bytes,
}

/// A consistent list.
pub struct List {
    /// The revision at which all items were read; a watch continues from here.
    pub revision: Revision,
    /// Items in key order.
    pub items: Vec<Arc<Object>>,
}

/// One step of a watch. Steps arrive in revision order.
#[derive(Clone, Debug)]
pub enum WatchStep {
    /// Created or changed.
    Put(&'static str, Arc<Object>),
    /// Deleted; the object is its last state, `revision` is that of the deletion.
    Delete(&'static str, Arc<Object>),
    /// Everything up to this revision has been seen (bookmark; also sent when other kinds changed).
    Progress(Revision),
}

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this namespace; all when empty.
    pub namespace: String,
    /// Label selector in its text form; empty selects all.
    pub labels: String,
    /// Field selector in its text form; empty selects all.
    pub fields: String,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Grace in seconds; none means the kind's default.
    pub grace_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan`; none means the default.
    pub propagation: Option<String>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object still has this revision.
    pub revision: Option<Revision>,
}

/// Read, watch and write objects. Errors are the Status a client of the API would see.
#[async_trait]
pub trait Access: Send + Sync + 'static {
    /// The same objects for a caller that writes as `manager` (`metadata.managedFields`); none where that makes no
    /// difference.
    fn named(&self, manager: &'static str) -> Option<Arc<dyn Access>> {
        let _ = manager;
        None
    }
    /// One object.
    async fn get(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status>;
    /// All objects of a kind in `scope` at one revision.
    async fn list(&self, kind: &'static Kind, scope: &Scope) -> Result<List, Status>;
    /// The same objects one by one, in any order, for a caller that keeps little of each: where they come over a wire, the
    /// whole list is never held. The revision at which all were read; after an error what was handed on is a part.
    async fn each(
        &self,
        kind: &'static Kind,
        scope: &Scope,
        take: &mut (dyn for<'o> FnMut(&'o Object) + Send),
    ) -> Result<Revision, Status> {
        let list = self.list(kind, scope).await?;
        list.items.iter().for_each(|object| take(object));
        Ok(list.revision)
    }
    /// Changes of several kinds after `from`, in revision order across the kinds (the `&'static str` of a step is the
    /// kind's plural). Ends with status 410 when `from` is too old: list again.
    async fn watch(
        &self,
        kinds: &[&'static Kind],
        from: Revision,
    ) -> Result<BoxStream<'static, Result<WatchStep, Status>>, Status>;
    /// Creates.
    async fn create(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status>;
    /// Replaces; a `metadata.resourceVersion` in `object` is a precondition.
    async fn update(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status>;
    /// Replaces status (and labels, annotations, finalizers).
    async fn update_status(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status>;
    /// Writes through a subresource other than `status`: `binding` of a Pod (`spec.nodeName` is taken), `finalize` of a
    /// Namespace (`spec.finalizers` is taken). `object` is the whole object as it should be.
    async fn update_subresource(
        &self,
        kind: &'static Kind,
        subresource: &'static str,
        object: Value,
    ) -> Result<Arc<Object>, Status> {
        let _ = subresource;
        self.update(kind, object).await
    }
    /// Deletes, or starts to (grace, finalizers): the object as it then is.
    async fn delete(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Object>, Status>;
}

/// Access for a caller that owns what it writes as `manager`.
pub fn named(access: &Arc<dyn Access>, manager: &'static str) -> Arc<dyn Access> {
    access.named(manager).unwrap_or_else(|| access.clone())
}
