//! `Access` for callers in this process: the same pipeline as HTTP, without the wire.

use std::collections::VecDeque;
use std::sync::Arc;

use api::kind::{Kind, Target};
use api::object::{ObjectKey, Revision};
use api::status::Status;
use async_trait::async_trait;
use contract::access::{Access, DeleteOptions, List, Object, Scope, WatchStep};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};
use store::Event;

use crate::list::{ListFailure, ListOptions};
use crate::object::{key_of, kind_of_table, shown, table};
use crate::pipeline::{Api, read_failure};
use crate::select::Selection;
use crate::write::WriteOptions;

impl Api {
    fn options(&self) -> WriteOptions {
        WriteOptions::of(self.manager)
    }
}

#[async_trait]
impl Access for Api {
    fn named(&self, manager: &'static str) -> Option<Arc<dyn Access>> {
        Some(Arc::new(self.as_manager(manager)))
    }

    async fn get(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
        self.read(kind, key)
    }

    async fn list(&self, kind: &'static Kind, scope: &Scope) -> Result<List, Status> {
        let selection = Selection::parse(kind, Some(scope.namespace.clone()), &scope.labels, &scope.fields)?;
        match self.list_objects(kind, &selection, &ListOptions::default()).await {
            Ok(listed) => {
                let items = listed.records.iter().map(|record| shown(record)).collect();
                Ok(List { revision: listed.revision, items })
            }
            Err(ListFailure::Status(status)) => Err(status),
            Err(ListFailure::Expired(_)) => Err(Status::internal("a list without a token cannot expire")),
        }
    }

    async fn watch(
        &self,
        kinds: &[&'static Kind],
        from: Revision,
    ) -> Result<BoxStream<'static, Result<WatchStep, Status>>, Status> {
        let tables: Vec<_> = kinds.iter().map(|kind| table(kind)).collect();
        let watch = self.inner.store.watch(&tables, from).map_err(read_failure)?;
        let start = (Some(watch), VecDeque::new());
        let next = |(mut watch, mut steps): (Option<store::Watch>, VecDeque<WatchStep>)| async move {
            loop {
                if let Some(step) = steps.pop_front() {
                    return Some((Ok(step), (watch, steps)));
                }
                match watch.as_mut()?.next().await {
                    Ok((events, seen)) => {
                        steps.extend(events.iter().filter_map(step));
                        steps.push_back(WatchStep::Progress(seen));
                    }
                    Err(error) => return Some((Err(read_failure(error)), (None, steps))),
                }
            }
        };
        Ok(stream::unfold(start, next).boxed())
    }

    async fn create(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        Ok(self.create_object(kind, "", &object, &self.options()).await?.object)
    }

    async fn update(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        let key = key_of(&object);
        Ok(self.replace_object(kind, &key, Target::Main, &object, &self.options()).await?.object)
    }

    async fn update_status(&self, kind: &'static Kind, object: Value) -> Result<Arc<Object>, Status> {
        let key = key_of(&object);
        Ok(self.replace_object(kind, &key, Target::Status, &object, &self.options()).await?.object)
    }

    async fn update_subresource(
        &self,
        kind: &'static Kind,
        subresource: &'static str,
        object: Value,
    ) -> Result<Arc<Object>, Status> {
        let key = key_of(&object);
        match subresource {
            "binding" => {
                let binding = json!({ "target": { "kind": "Node", "name": object["spec"]["nodeName"] } });
                Ok(self.bind(&key, &binding, false).await?.object)
            }
            "finalize" => Ok(self.finalize_namespace(&key, &object, &self.options()).await?.object),
            "status" => self.update_status(kind, object).await,
            other => Err(Status::bad_request(format!(
                "{} has no subresource {other:?} to write to; use status, binding or finalize",
                kind.plural
            ))),
        }
    }

    async fn delete(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Arc<Object>, Status> {
        Ok(self.delete_object(kind, key, options, false).await?.object)
    }
}

fn step(event: &Event) -> Option<WatchStep> {
    let plural = kind_of_table(event.table)?.plural;
    let object = shown(&event.new);
    Some(if event.deleted { WatchStep::Delete(plural, object) } else { WatchStep::Put(plural, object) })
}
