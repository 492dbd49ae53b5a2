//! Turns decided writes into calls of the API, each refused if its object has changed since the decision.

use std::sync::Arc;

use api::object::Revision;
use api::status::Status;
use compile::write::{Edit, Note, Target, Write};
use contract::access::{Access, DeleteOptions, Object, named};
use futures::future::join_all;
use serde_json::Value;

use crate::events::Events;
use crate::limits;
use crate::work::Outcome;

/// Carries writes out.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) access: Arc<dyn Access>,
    pub(crate) events: Events,
}

/// What came of several writes.
pub(crate) struct Written {
    /// Revision of the last of those that succeeded.
    pub(crate) revision: Revision,
    /// The first failure. What came after it was not tried.
    pub(crate) failure: Option<Status>,
}

impl Written {
    /// What to do about the key that these writes were about.
    pub(crate) fn outcome(&self, key: &dyn std::fmt::Display) -> Outcome {
        let Some(status) = &self.failure else { return Outcome::Done };
        if is_terminating(status) {
            // Nothing can be created in a namespace that is going, and nothing needs to be.
            return Outcome::Done;
        }
        if status.code == 409 {
            tracing::debug!(%key, %status, "decided on old state: deciding again");
        } else {
            tracing::warn!(%key, %status, "a write was refused: trying again");
        }
        Outcome::Retry
    }
}

/// Whether a create was refused because its namespace is going or gone.
fn is_terminating(status: &Status) -> bool {
    let cause = status.details["causes"]
        .as_array()
        .is_some_and(|causes| causes.iter().any(|cause| cause["reason"].as_str() == Some("NamespaceTerminating")));
    let gone = status.code == 404 && status.details["kind"].as_str() == Some("namespaces");
    cause || gone
}

impl Writer {
    /// The same writer, whose writes are owned by `manager`.
    pub(crate) fn named(&self, manager: &'static str) -> Self {
        Self { access: named(&self.access, manager), ..self.clone() }
    }

    /// One after the other, up to the first failure.
    pub(crate) async fn in_order(&self, writes: Vec<Write>) -> Written {
        let mut revision = Revision(0);
        for write in writes {
            match self.perform(write).await {
                Ok(written) => revision = revision.max(written),
                Err(status) => return Written { revision, failure: Some(status) },
            }
        }
        Written { revision, failure: None }
    }

    /// In batches that grow from one: if the first is refused, as by a quota, the others are not even tried.
    pub(crate) async fn growing(&self, writes: Vec<Write>) -> Written {
        let mut written = Written { revision: Revision(0), failure: None };
        let mut writes = writes.into_iter();
        let mut size = 1;
        loop {
            let batch: Vec<Write> = writes.by_ref().take(size).collect();
            if batch.is_empty() || written.failure.is_some() {
                return written;
            }
            for result in join_all(batch.into_iter().map(|write| self.perform(write))).await {
                match result {
                    Ok(revision) => written.revision = written.revision.max(revision),
                    Err(status) => written.failure = written.failure.or(Some(status)),
                }
            }
            size = (size * 2).min(limits::WRITES_AT_ONCE);
        }
    }

    /// One write; the revision it got, or zero if nothing had to be done.
    pub(crate) async fn perform(&self, write: Write) -> Result<Revision, Status> {
        let (object, note) = match write {
            Write::Create { kind, object, note } => (self.access.create(kind, object).await?, note),
            Write::Update { kind, object } => (self.access.update(kind, object).await?, None),
            Write::Status { target, status } => {
                let (_, mut value) = self.current(&target).await?;
                value["status"] = status;
                (self.access.update_status(target.kind, value).await?, None)
            }
            Write::Edit { target, edit, note } => match self.edit(&target, &edit).await? {
                Some(object) => (object, note),
                None => return Ok(Revision(0)),
            },
            Write::Delete { target, propagation, note } => match self.delete(&target, propagation).await? {
                Some(object) => (object, note),
                None => return Ok(Revision(0)),
            },
            Write::Note(note) => {
                self.events.tell(note);
                return Ok(Revision(0));
            }
        };
        if let Some(Note { message, .. }) = &note
            && let Some(note) = note.clone()
        {
            let message = message.replace("{name}", &object.key.name);
            self.events.tell(Note { message, ..note });
        }
        Ok(object.revision)
    }

    async fn edit(&self, target: &Target, edit: &Edit) -> Result<Option<Arc<Object>>, Status> {
        let (_, mut value) = self.current(target).await?;
        if !edit.apply(&mut value) {
            return Ok(None);
        }
        let object = match edit.subresource() {
            Some(subresource) => self.access.update_subresource(target.kind, subresource, value).await?,
            None => self.access.update(target.kind, value).await?,
        };
        Ok(Some(object))
    }

    async fn delete(&self, target: &Target, propagation: Option<&str>) -> Result<Option<Arc<Object>>, Status> {
        let options = DeleteOptions {
            propagation: propagation.map(str::to_owned),
            uid: Some(target.uid.to_string()),
            revision: target.revision,
            ..DeleteOptions::default()
        };
        match self.access.delete(target.kind, &target.key, &options).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The object as it is now, if it still is the one that the decision was about.
    async fn current(&self, target: &Target) -> Result<(Arc<Object>, Value), Status> {
        let object = self.access.get(target.kind, &target.key).await?;
        let value: Value = serde_json::from_slice(&object.json)
            .map_err(|error| Status::internal(format!("{target:?} as stored is not JSON: {error}")))?;
        let same = value["metadata"]["uid"].as_str() == Some(&target.uid);
        if !same || target.revision.is_some_and(|revision| revision != object.revision) {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Status::conflict(target.kind, &target.key.name, why));
        }
        Ok((object, value))
    }
}
