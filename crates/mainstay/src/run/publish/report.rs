//! What is published now, for those who ask: rows by Service, problems, counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::object::ObjectKey;
use serde_json::{Value, json};

use super::counts::Counts;
use super::wanted::{Id, Wanted};

/// One published port.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which port of the Service.
    pub(super) wanted: Wanted,
    /// Where it listens on the host; empty if it could not be opened.
    pub(super) addresses: Vec<SocketAddr>,
    /// Why it has another number than in the cluster, or could not be opened.
    pub(super) why: Option<String>,
}

impl Row {
    /// What happened to it.
    pub(super) fn verb(&self) -> &'static str {
        if self.addresses.is_empty() { "unpublished" } else { "published" }
    }

    /// One line for people.
    pub(super) fn line(&self, key: &ObjectKey) -> String {
        let id = &self.wanted.id;
        let udp = if id.udp { "/UDP" } else { "" };
        let what = format!("{key} {} {}{udp}", id.source.name(), id.port);
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let places: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        if places.is_empty() { format!("{what}{why}") } else { format!("{what} at {}{why}", places.join(" and ")) }
    }
}

/// Shared between the relay, which writes, and the API, which shows.
#[derive(Clone, Default)]
pub(crate) struct Report {
    rows: Arc<Mutex<BTreeMap<ObjectKey, BTreeMap<Id, Row>>>>,
    pub(super) counts: Arc<Counts>,
}

impl Report {
    /// Replaces what is known of a Service.
    pub(super) fn set(&self, key: &ObjectKey, rows: BTreeMap<Id, Row>) {
        if rows.is_empty() {
            self.lock().remove(key);
        } else {
            self.lock().insert(key.clone(), rows);
        }
    }

    /// Ports that could not be opened, one line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let rows = self.lock();
        let all = rows.iter().flat_map(|(key, rows)| rows.values().map(move |row| (key, row)));
        let failed = all.filter(|(_, row)| row.addresses.is_empty());
        let line = |(key, row): (&ObjectKey, &Row)| {
            let (id, why) = (&row.wanted.id, row.why.as_deref().unwrap_or("not yet opened"));
            format!("{} {} of {key} is not published on this host: {why}", id.source.name(), id.port)
        };
        failed.map(line).collect()
    }

    /// Why a port has another number, or could not be opened.
    pub(super) fn why(&self, key: &ObjectKey, id: &Id) -> Option<String> {
        self.lock().get(key)?.get(id)?.why.clone()
    }

    /// Every published port.
    pub(crate) fn ports(&self) -> Vec<Value> {
        let rows = self.lock();
        rows.iter().flat_map(|(key, rows)| rows.values().map(move |row| row_json(key, row))).collect()
    }

    /// What the relay did.
    pub(crate) fn counts(&self) -> Value {
        self.counts.to_json()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, BTreeMap<Id, Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row as JSON.
pub(super) fn row_json(key: &ObjectKey, row: &Row) -> Value {
    let id = &row.wanted.id;
    json!({
        "namespace": key.namespace,
        "name": key.name,
        "portName": row.wanted.name,
        "appProtocol": row.wanted.app_protocol,
        "source": id.source.name(),
        "protocol": id.protocol(),
        "port": id.port,
        "addresses": row.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "why": row.why,
    })
}
