//! `Access` at any kube-apiserver, or Mainstay's: requests over HTTPS, objects as the bytes that came.
//!
//! A watch of several kinds is one watch per kind, merged. Each kind's steps come in the order of their revisions, and
//! nothing is lost or repeated within a kind; between kinds the order is that of arrival, so that the newest revision seen
//! is no proof that every older one of another kind was seen. `Progress` is such a proof: it is the smallest revision that
//! every kind has reached. `follow` needs no more: it compares revisions per kind only.

mod connect;
mod event;
mod fault;
mod lines;
mod link;
mod list;
mod notes;
mod path;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use async_trait::async_trait;
use bytes::Bytes;
use contract::access::{Access, DeleteOptions, List, Object, Scope, WatchStep};
use futures::stream::BoxStream;
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub use connect::{ConnectError, Target, connect};
pub use link::{Link, Loss};
pub use notes::NodeEvents;

use crate::limits;

/// What of a kind is looked at, when not all of it.
#[derive(Clone)]
pub struct View {
    /// The kind.
    pub kind: &'static Kind,
    /// Which of its objects.
    pub scope: Scope,
    /// A server that does not have the kind has none of it: no error.
    pub optional: bool,
}

/// Objects of a server on the other side of a wire. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    client: Client,
    views: BTreeMap<&'static str, View>,
    link: Link,
    /// Whether the server has refused a list as a stream of events: then pages are asked for.
    pages: AtomicBool,
    /// The newest revision at which a list was read.
    listed: AtomicU64,
}

impl Remote {
    /// Through `client`; lists and watches of the kinds in `views` mean these objects only.
    pub fn new(client: Client, views: Vec<View>) -> Self {
        let link = Link::new(views.iter().map(|view| view.kind.plural));
        let views = views.into_iter().map(|view| (view.kind.plural, view)).collect();
        Self {
            inner: Arc::new(Inner { client, views, link, pages: AtomicBool::new(false), listed: AtomicU64::new(0) }),
        }
    }

    /// Whether the server is heard, and since when not.
    pub fn link(&self) -> &Link {
        &self.inner.link
    }
}

impl Inner {
    /// What a list or watch of a kind is about; the view's and the asked selectors hold both.
    fn scope(&self, kind: &Kind, asked: &Scope) -> Scope {
        let Some(view) = self.views.get(kind.plural) else { return asked.clone() };
        let both = |one: &str, other: &str| match (one, other) {
            ("", only) | (only, "") => only.to_owned(),
            (one, other) => format!("{one},{other}"),
        };
        let namespace = if asked.namespace.is_empty() { &view.scope.namespace } else { &asked.namespace };
        Scope {
            namespace: namespace.clone(),
            labels: both(&view.scope.labels, &asked.labels),
            fields: both(&view.scope.fields, &asked.fields),
        }
    }

    fn is_optional(&self, kind: &Kind) -> bool {
        self.views.get(kind.plural).is_some_and(|view| view.optional)
    }

    /// Sends one request and collects its answer.
    async fn ask(&self, request: Request<Body>) -> Result<Bytes, Status> {
        let answered = tokio::time::timeout(limits::ANSWER, async {
            let response = self.open(request).await?;
            let body = response.into_body().collect().await.map_err(|error| fault::lost(&error))?;
            Ok(body.to_bytes())
        });
        answered.await.unwrap_or_else(|_| Err(fault::silent(limits::ANSWER)))
    }

    /// Sends a request; the answer's body is still to be read. A refusal is the server's Status.
    async fn open(&self, request: Request<Body>) -> Result<http::Response<Body>, Status> {
        let sent = tokio::time::timeout(limits::ANSWER, self.client.send(request)).await;
        let response = sent.map_err(|_| fault::silent(limits::ANSWER))?.map_err(|error| fault::of(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = http_body_util::Limited::new(response.into_body(), limits::REFUSAL_BYTES);
        let text = match tokio::time::timeout(limits::ANSWER, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            // The code alone says enough.
            _ => Bytes::new(),
        };
        Err(fault::refused(code, &text))
    }

    async fn write(&self, method: http::Method, path: &str, kind: &Kind, object: Value) -> Result<Arc<Object>, Status> {
        let mut object = object;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let body = Body::from(object.to_string().into_bytes());
        let request = request(method, path, body)?;
        whole(self.ask(request).await?)
    }
}

/// A request with the headers that all of them have.
fn request(method: http::Method, path: &str, body: Body) -> Result<Request<Body>, Status> {
    let builder = Request::builder().method(method).uri(path).header(http::header::ACCEPT, "application/json");
    let built = builder.header(http::header::CONTENT_TYPE, "application/json").body(body);
    built.map_err(|error| Status::bad_request(format!("cannot ask for {path}: {error}")))
}

/// The one object of an answer.
fn whole(json: Bytes) -> Result<Arc<Object>, Status> {
    event::object(json).map(Arc::new).map_err(|why| fault::nonsense(&why))
}

/// Namespace and name of an object that is to be written.
fn key_of(object: &Value) -> ObjectKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectKey::new(text("namespace"), text("name"))
}

#[async_trait]
impl Access for Remote {
    async fn get(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
        let request = request(http::Method::GET, &path::of_object(kind, key, ""), Body::empty())?;
        whole(self.inner.ask(request).await?)
    }

    async fn list(&self, kind: &'static Kind, scope: &Scope) -> Result<List, Status> {
        let mut items = Vec::new();
        let revision = self.each(kind, scope, &mut |object| items.push(Arc::new(object.clone()))).await?;
        items.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(List { revision, items })
    }

    async fn each(
        &self,
        kind: &'static Kind,
        scope: &Scope,
        take: &mut (dyn for<'o> FnMut(&'o Object) + Send),
    ) -> Result<Revision, Status> {
        list::each(&self.inner, kind, &self.inner.scope(kind, scope), take).await
    }

    async fn watch(
        &self,
        kinds: &[&'static Kind],
        from: Revision,
    ) -> Result<BoxStream<'static, Result<WatchStep, Status>>, Status> {
        watch::merged(self.inner.clone(), kinds, from).await
    }

    async fn create(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        let path = path::of_kind(kind, &key_of(&object).namespace);
        self.inner.write(http::Method::POST, &path, kind, object).await
    }

    async fn update(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        self.update_subresource(kind, "", object).await
    }

    async fn update_status(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        self.update_subresource(kind, "status", object).await
    }

    async fn update_subresource(
        &self,
        kind: &'static Kind,
        subresource: &'static str,
        object: Value,
    ) -> Result<Arc<Object>, Status> {
        let key = key_of(&object);
        let path = path::of_object(kind, &key, subresource);
        if subresource != "binding" {
            return self.inner.write(http::Method::PUT, &path, kind, object).await;
        }
        // A Binding is a kind of its own, is created, and is answered with a Status.
        let node = object["spec"]["nodeName"].clone();
        let metadata = json!({ "name": &*key.name, "namespace": &*key.namespace, "uid": object["metadata"]["uid"] });
        let target = json!({ "apiVersion": "v1", "kind": "Node", "name": node });
        let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target });
        let body = Body::from(binding.to_string().into_bytes());
        self.inner.ask(request(http::Method::POST, &path, body)?).await?;
        self.get(kind, &key).await
    }

    async fn delete(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Object>, Status> {
        // The answer may be a Status without the object: what it was is asked for first.
        let before = self.get(kind, key).await?;
        let revision = options.revision.map(|revision| revision.to_string());
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "gracePeriodSeconds": options.grace_seconds, "propagationPolicy": options.propagation,
            "preconditions": { "uid": options.uid, "resourceVersion": revision },
        });
        let body = Body::from(options.to_string().into_bytes());
        let answer = self.inner.ask(request(http::Method::DELETE, &path::of_object(kind, key, ""), body)?).await?;
        Ok(event::object(answer).ok().filter(|object| object.key == *key).map_or(before, Arc::new))
    }
}
