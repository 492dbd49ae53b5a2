//! An API in memory for the kubelet's test: objects in, watch steps out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use async_trait::async_trait;
use contract::access::{Access, DeleteOptions, List, Object, Scope, WatchStep};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::broadcast;

/// Objects by kind and key.
type Objects = BTreeMap<(&'static str, ObjectKey), Value>;

/// Objects with a revision per write.
pub(crate) struct Memory {
    objects: Mutex<(u64, Objects)>,
    steps: broadcast::Sender<WatchStep>,
}

fn key_of(object: &Value) -> ObjectKey {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    ObjectKey::new(text("namespace"), text("name"))
}

fn shown(object: &Value) -> Arc<Object> {
    let revision = object["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse().unwrap();
    Arc::new(Object {
        key: key_of(object),
        revision: Revision(revision),
        json: serde_json::to_vec(object).unwrap().into(),
    })
}

impl Memory {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), steps: broadcast::channel(4096).0 })
    }

    fn put(&self, kind: &'static Kind, mut object: Value) -> Arc<Object> {
        let mut objects = self.objects.lock().unwrap();
        objects.0 += 1;
        object["metadata"]["resourceVersion"] = objects.0.to_string().into();
        objects.1.insert((kind.plural, key_of(&object)), object.clone());
        let _ = self.steps.send(WatchStep::Put(kind.plural, shown(&object)));
        shown(&object)
    }

    fn find(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Value, Status> {
        let objects = self.objects.lock().unwrap();
        objects.1.get(&(kind.plural, key.clone())).cloned().ok_or_else(|| Status::not_found(kind, &key.name))
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, kind: &'static Kind) -> Vec<Value> {
        let objects = self.objects.lock().unwrap();
        objects.1.iter().filter(|((plural, _), _)| *plural == kind.plural).map(|(_, object)| object.clone()).collect()
    }

    /// Waits until `done` holds for all objects of a kind and returns what it found.
    pub(crate) async fn until<T>(&self, kind: &'static Kind, what: &str, done: impl Fn(&[Value]) -> Option<T>) -> T {
        let mut steps = self.steps.subscribe();
        let found = async {
            loop {
                if let Some(found) = done(&self.all(kind)) {
                    return found;
                }
                steps.recv().await.unwrap();
            }
        };
        // Only so that a failure says what it waited for instead of hanging.
        match tokio::time::timeout(std::time::Duration::from_secs(60), found).await {
            Ok(found) => found,
            Err(_) => panic!("never {what}: {:#?}", self.all(kind)),
        }
    }
}

#[async_trait]
impl Access for Memory {
    async fn get(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
        self.find(kind, key).map(|object| shown(&object))
    }

    async fn list(&self, kind: &'static Kind, _scope: &Scope) -> Result<List, Status> {
        let revision = Revision(self.objects.lock().unwrap().0);
        Ok(List { revision, items: self.all(kind).iter().map(shown).collect() })
    }

    async fn watch(
        &self,
        kinds: &[&'static Kind],
        _from: Revision,
    ) -> Result<BoxStream<'static, Result<WatchStep, Status>>, Status> {
        let wanted: Vec<_> = kinds.iter().map(|kind| kind.plural).collect();
        let receiver = self.steps.subscribe();
        let steps =
            futures::stream::unfold(
                receiver,
                |mut receiver| async move { Some((receiver.recv().await.ok()?, receiver)) },
            );
        let ours = move |step: &WatchStep| match step {
            WatchStep::Put(plural, _) | WatchStep::Delete(plural, _) => wanted.contains(plural),
            WatchStep::Progress(_) => true,
        };
        Ok(steps.filter(move |step| std::future::ready(ours(step))).map(Ok).boxed())
    }

    async fn create(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        Ok(self.put(kind, object))
    }

    async fn update(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        Ok(self.put(kind, object))
    }

    async fn update_status(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        let stored = self.find(kind, &key_of(&object))?;
        if object["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"] {
            return Err(Status::conflict(kind, &key_of(&object).name, "the object has been modified"));
        }
        Ok(self.put(kind, object))
    }

    async fn delete(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Object>, Status> {
        let mut object = self.find(kind, key)?;
        let default = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let grace = options.grace_seconds.unwrap_or(default);
        if grace == 0 {
            self.objects.lock().unwrap().1.remove(&(kind.plural, key.clone()));
            let _ = self.steps.send(WatchStep::Delete(kind.plural, shown(&object)));
            return Ok(shown(&object));
        }
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        object["metadata"]["deletionTimestamp"] = format!("{end:.0}").into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        Ok(self.put(kind, object))
    }
}
