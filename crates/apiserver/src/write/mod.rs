//! One write in, one transaction out: everything that is checked or allocated is so against the state it changes.

pub(crate) mod addresses;
mod admission;
pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
mod external_ips;
pub(crate) mod finish;
pub(crate) mod patch;
pub(crate) mod subresource;
mod track;
pub(crate) mod update;

#[cfg(test)]
mod semantics;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use api::decode::Validation;
use api::kind::Kind;
use api::kinds;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use bytes::Bytes;
use compile::allocate::Taken;
use contract::access::Object;
use jiff::Timestamp;
use serde_json::Value;
use store::{Record, Txn, WriteError};

use crate::object::{meta_mut, parsed, set, table};
use crate::pipeline::{Api, Book, Inner};

/// How a write is to be done.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    /// Do everything but store the result.
    pub dry_run: bool,
    /// What to do about unknown and duplicate fields.
    pub validation: Validation,
    /// Who writes: owner of the fields written.
    pub manager: String,
    /// What the parser found in the body that `validation` is about: keys that occur twice.
    pub faults: Vec<String>,
}

impl WriteOptions {
    /// Of a caller in this process, who writes only what it means to.
    pub(crate) fn of(manager: &str) -> Self {
        Self { manager: manager.to_owned(), ..Self::default() }
    }
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { dry_run: false, validation: Validation::Ignore, manager: String::new(), faults: Vec::new() }
    }
}

/// What a write did.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The object as it now is, or as it last was.
    pub object: Arc<Object>,
    /// Whether it did not exist before.
    pub created: bool,
    /// Whether it no longer exists.
    pub gone: bool,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

impl Outcome {
    fn of(object: Arc<Object>) -> Self {
        Self { object, created: false, gone: false, warnings: Vec::new() }
    }
}

enum Refusal {
    Status(Status),
    /// Not a failure: a dry run ends like one, so that the store drops what it staged.
    DryRun(Box<Outcome>),
}

/// A transaction of the API: the store's, with Kubernetes' bookkeeping.
pub(crate) struct Draft<'d, 't> {
    txn: &'d mut Txn<'t>,
    pub(crate) api: &'d Inner,
    pub(crate) now: Timestamp,
    pub(crate) dry_run: bool,
    /// What holds addresses and ports, before and after, to book once nothing can fail any more.
    bookings: Vec<(&'static str, Option<Value>, Option<Value>)>,
}

/// Kinds that decide who may have which address.
const BOOKED: [&Kind; 3] = [&kinds::SERVICE, &kinds::SERVICE_CIDR, &kinds::IP_ADDRESS];

impl Api {
    /// Runs `change` in a transaction; its result is durable when this returns.
    pub(crate) async fn commit(
        &self,
        dry_run: bool,
        change: impl FnOnce(&mut Draft<'_, '_>) -> Result<Outcome, Status> + Send,
    ) -> Result<Outcome, Status> {
        let inner = &self.inner;
        let written = inner.store.write(|txn| {
            let now = inner.config.clock.now();
            crate::bookings::refresh(inner, txn).map_err(Refusal::Status)?;
            let mut draft = Draft { txn, api: inner, now, dry_run, bookings: Vec::new() };
            let outcome = change(&mut draft).map_err(Refusal::Status)?;
            if dry_run {
                return Err(Refusal::DryRun(Box::new(outcome)));
            }
            draft.book();
            Ok(outcome)
        });
        match written.await {
            Ok((outcome, _)) => Ok(outcome),
            Err(WriteError::Refused(Refusal::DryRun(outcome))) => Ok(*outcome),
            Err(WriteError::Refused(Refusal::Status(status))) => Err(status),
            Err(WriteError::Log(why)) => {
                tracing::error!(%why, "the store cannot write");
                let code = if inner.store.failure_passes() { 507 } else { 500 };
                let reason = if code == 507 { "InsufficientStorage" } else { "InternalError" };
                Err(Status::new(code, reason, format!("the store cannot write: {why}")))
            }
        }
    }
}

impl Draft<'_, '_> {
    /// The stored record, if there is one.
    pub(crate) fn record(&self, kind: &Kind, key: &ObjectKey) -> Option<Arc<Record>> {
        self.txn.get(table(kind), key)
    }

    /// The stored object; 404 if there is none.
    pub(crate) fn existing(&self, kind: &Kind, key: &ObjectKey) -> Result<(Arc<Record>, Value), Status> {
        let record = self.record(kind, key).ok_or_else(|| Status::not_found(kind, &key.name))?;
        let object = parsed(&record.body.bytes())?;
        Ok((record, object))
    }

    /// All records of a cluster-scoped kind, in order of names.
    pub(crate) fn scan(&self, kind: &Kind) -> Vec<Arc<Record>> {
        self.txn.scan(table(kind), None)
    }

    /// Stores an object under its next revision.
    pub(crate) fn put(&mut self, kind: &Kind, key: &ObjectKey, object: Value, old: Option<&Value>) -> Arc<Object> {
        if kind.kind == kinds::SERVICE.kind {
            self.move_addresses(old, Some(&object));
        }
        let unsettles =
            kind.kind == kinds::SERVICE_CIDR.kind && !old.is_some_and(|old| addresses::same_network(old, &object));
        self.book_later(kind, old, Some(&object));
        let put = self.put_unbooked(kind, key, object, old);
        if unsettles {
            self.settle_networks();
        }
        put
    }

    /// Removes an object; watchers see it once more as it last was.
    pub(crate) fn remove(&mut self, kind: &Kind, key: &ObjectKey, last: Value, old: &Value) -> Arc<Object> {
        self.book_later(kind, Some(old), None);
        let removed = self.remove_unbooked(kind, key, last, old);
        if kind.kind == kinds::SERVICE.kind {
            self.remove_endpoints(key);
            self.move_addresses(Some(old), None);
        }
        removed
    }

    fn put_unbooked(&mut self, kind: &Kind, key: &ObjectKey, mut object: Value, old: Option<&Value>) -> Arc<Object> {
        let (revision, body) = self.stamp(&mut object, old);
        self.txn.put(table(kind), key.clone(), body.clone());
        Arc::new(Object { key: key.clone(), revision, json: body })
    }

    fn remove_unbooked(&mut self, kind: &Kind, key: &ObjectKey, mut last: Value, old: &Value) -> Arc<Object> {
        let (revision, body) = self.stamp(&mut last, Some(old));
        self.txn.delete(table(kind), key, body.clone());
        Arc::new(Object { key: key.clone(), revision, json: body })
    }

    fn book_later(&mut self, kind: &Kind, old: Option<&Value>, new: Option<&Value>) {
        if let Some(booked) = BOOKED.iter().find(|booked| booked.kind == kind.kind) {
            self.bookings.push((booked.kind, old.cloned(), new.cloned()));
        }
    }

    /// Endpoints of a Service go with it, in the same transaction (their EndpointSlices are garbage collected).
    fn remove_endpoints(&mut self, key: &ObjectKey) {
        let kind = &kinds::ENDPOINTS;
        if let Some(record) = self.record(kind, key)
            && let Ok(old) = parsed(&record.body.bytes())
        {
            self.remove_unbooked(kind, key, old.clone(), &old);
        }
    }

    /// Writes the next revision into an object. A dry run shows the stored one, or none.
    fn stamp(&self, object: &mut Value, old: Option<&Value>) -> (Revision, Bytes) {
        let revision = self.txn.next_revision();
        let version = if self.dry_run {
            old.and_then(|old| old["metadata"].get("resourceVersion").cloned())
        } else {
            Some(revision.to_string().into())
        };
        set(meta_mut(object), "resourceVersion", version);
        (revision, object.to_string().into())
    }

    /// Books who has which addresses and ports. Called last, when the transaction can no longer be refused.
    fn book(&mut self) {
        let mut taken = self.api.taken();
        for (kind, old, new) in self.bookings.drain(..) {
            let (remove, add): (Book, Book) = match kind {
                "ServiceCIDR" => (Taken::remove_network, Taken::put_network),
                "IPAddress" => (Taken::unclaim, Taken::claim),
                _ => (Taken::remove, Taken::add),
            };
            if let Some(old) = &old {
                remove(&mut taken, old);
            }
            if let Some(new) = &new {
                add(&mut taken, new);
            }
        }
    }
}
