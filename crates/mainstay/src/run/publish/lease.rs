//! Ports of cluster addresses that somebody asked for (`mainstay open`): open while they are asked for again.

use std::collections::{BTreeMap, BTreeSet};

use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use compile::snapshot::{Protocol, Snapshot};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limits;
use super::wanted::{Id, Source};

/// Where the answer goes: the row of the open port.
pub(super) type Reply = oneshot::Sender<Result<Value, Status>>;

/// A request.
pub(super) struct Ask {
    /// The Service.
    pub(super) key: ObjectKey,
    /// Name or number of its port; empty for the first.
    pub(super) port: String,
    /// Close instead of open.
    pub(super) close: bool,
    /// Where the answer goes.
    pub(super) reply: Reply,
}

/// Ports that were asked for, and until when.
#[derive(Default)]
pub(super) struct Leases(BTreeMap<(ObjectKey, Id), Instant>);

impl Leases {
    /// Takes a request: the port to open and where to tell about it, or the Service to look at once it was answered.
    pub(super) fn take(
        &mut self,
        ask: Ask,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<(ObjectKey, Id, Reply), ObjectKey> {
        let found = find(snapshot, &ask.key, &ask.port);
        let answer = match found {
            Ok(id) if ask.close => {
                self.0.remove(&(ask.key.clone(), id));
                Ok(Value::Null)
            }
            Ok(id) if self.0.len() < limits::LEASES || self.0.contains_key(&(ask.key.clone(), id)) => {
                self.0.insert((ask.key.clone(), id), now + limits::LEASE);
                return Ok((ask.key, id, ask.reply));
            }
            Ok(_) => {
                Err(Status::new(429, "TooManyRequests", "too many ports are open by request; end another one first"))
            }
            Err(status) => Err(status),
        };
        // Whoever asked may have left.
        let _ = ask.reply.send(answer);
        Err(ask.key)
    }

    /// The ports of a Service that are asked for.
    pub(super) fn of(&self, key: &ObjectKey) -> Vec<Id> {
        self.0.keys().filter(|(asked, _)| asked == key).map(|(_, id)| *id).collect()
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Ends those whose time has come: their Services.
    pub(super) fn end(&mut self, now: Instant) -> BTreeSet<ObjectKey> {
        self.0.extract_if(.., |_, end| *end <= now).map(|((key, _), _)| key).collect()
    }
}

/// The port of a Service by name or number, the first if neither is said.
fn find(snapshot: &Snapshot, key: &ObjectKey, port: &str) -> Result<Id, Status> {
    let service = snapshot.services.get(key).ok_or_else(|| Status::not_found(&kinds::SERVICE, &key.name))?;
    let named = |name: &str, number: u16| port.is_empty() || name == port || port.parse() == Ok(number);
    let mut relayed = service.ports.iter().filter(|port| port.protocol != Protocol::Sctp);
    let found = relayed.find(|port| named(&port.name, port.port));
    let found = found.ok_or_else(|| Status::bad_request(format!("port: {key} has no TCP or UDP port {port:?}")))?;
    if service.cluster_ips.is_empty() {
        return Err(Status::bad_request(format!("{key} has no cluster address: nothing to lead to")));
    }
    Ok(Id { source: Source::ClusterIp, udp: found.protocol == Protocol::Udp, port: found.port })
}
