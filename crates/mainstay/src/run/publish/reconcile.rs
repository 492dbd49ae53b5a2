//! Snapshots and requests in, ports opened and closed on the host out. One task, which owns all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::kinds::SERVICE;
use api::object::ObjectKey;
use compile::snapshot::Snapshot;
use compile::write::{Note, Target};
use controller::{Events, Subscription};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lease::{Ask, Leases};
use super::numbers::Numbers;
use super::open::{self, Opened};
use super::report::{Report, Row};
use super::tcp::{Shared, Targets};
use super::wanted::{Id, Scope, Source, Wanted, wanted};
use super::{limits, tcp, udp};

/// What the task works with.
pub(super) struct Relay {
    /// Where ports are opened.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether a port may have another number than in the cluster.
    pub(super) renumber: bool,
    /// What is published.
    pub(super) scope: Scope,
    /// Numbers of earlier starts.
    pub(super) numbers: Numbers,
    /// What is shown.
    pub(super) report: Report,
    /// What all ports share.
    pub(super) shared: Shared,
    /// Where Events go.
    pub(super) events: Events,
    /// What is there now.
    pub(super) state: State,
}

/// What is there now.
#[derive(Default)]
pub(super) struct State {
    snapshot: Arc<Snapshot>,
    open: BTreeMap<ObjectKey, BTreeMap<Id, Port>>,
    wanted: BTreeMap<ObjectKey, Vec<Wanted>>,
    /// How many Services want a number for themselves.
    claims: HashMap<(bool, u16), usize>,
    leases: Leases,
    /// Services of which some port could not be opened.
    failed: BTreeSet<ObjectKey>,
    retry: Option<Instant>,
    lines: usize,
    begun: bool,
}

/// An open port. Dropping it closes it; connections that were taken go on.
struct Port {
    row: Row,
    targets: Targets,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Works until there are no more snapshots.
    pub(super) async fn run(
        mut self,
        mut snapshots: Subscription,
        mut node_ports: watch::Receiver<Vec<IpAddr>>,
        mut asks: mpsc::Receiver<Ask>,
    ) {
        loop {
            self.scope.node_addresses.clone_from(&node_ports.borrow_and_update());
            let wake = self.state.leases.next_end().into_iter().chain(self.state.retry).min();
            tokio::select! {
                next = snapshots.next() => match next {
                    Some((snapshot, changes)) => {
                        self.state.snapshot = snapshot;
                        self.reconcile(&changes.services).await;
                    }
                    None => return,
                },
                // Addresses of a node that keeps them are never heard of again.
                Ok(()) = node_ports.changed() => {
                    self.scope.node_addresses.clone_from(&node_ports.borrow_and_update());
                    let all = self.state.snapshot.services.keys().cloned().collect();
                    self.reconcile(&all).await;
                }
                Some(ask) = asks.recv() => self.answer(ask).await,
                () = until(wake) => {
                    let mut keys = self.state.leases.end(Instant::now());
                    if self.state.retry.is_some_and(|retry| retry <= Instant::now()) {
                        keys.append(&mut self.state.failed);
                        self.state.retry = None;
                    }
                    self.reconcile(&keys).await;
                }
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        let (key, id, reply) = match self.state.leases.take(ask, &self.state.snapshot, Instant::now()) {
            Ok(asked) => asked,
            Err(key) => return self.reconcile(&BTreeSet::from([key])).await,
        };
        self.reconcile(&BTreeSet::from([key.clone()])).await;
        let port = self.state.open.get(&key).and_then(|ports| ports.get(&id));
        // Whoever asked may have left.
        let _ = reply.send(port.map(|port| super::report::row_json(&key, &port.row)).ok_or_else(|| {
            let why = self.report.why(&key, &id).unwrap_or_else(|| "the Service has no cluster address".to_owned());
            api::status::Status::new(409, "Conflict", format!("port {} of {key} cannot be opened here: {why}", id.port))
        }));
    }

    /// Makes the ports of some Services what they should be. Closes first: a number may go from one to another.
    async fn reconcile(&mut self, keys: &BTreeSet<ObjectKey>) {
        for key in keys {
            let asked = self.state.leases.of(key);
            let wanted = wanted(&self.state.snapshot, key, &self.scope, &asked);
            self.close(key, &wanted).await;
            self.claim(key, wanted);
        }
        if !std::mem::replace(&mut self.state.begun, true) {
            let all = self.state.wanted.iter().flat_map(|(key, list)| list.iter().map(move |one| (key, one.id)));
            self.numbers.only(all);
        }
        for key in keys {
            self.open(key);
        }
        self.numbers.save();
    }

    /// Closes what is not wanted any more, and waits until its numbers are free.
    async fn close(&mut self, key: &ObjectKey, wanted: &[Wanted]) {
        let stays = |id: &Id| wanted.iter().any(|wanted| wanted.id == *id);
        let before = self.state.wanted.get(key).into_iter().flatten();
        for gone in before.filter(|before| !stays(&before.id)) {
            self.numbers.forget(key, &gone.id);
        }
        let Some(ports) = self.state.open.get_mut(key) else { return };
        for (id, mut port) in ports.extract_if(.., |id, _| !stays(id)) {
            port.tasks.shutdown().await;
            tracing::info!(service = %key, source = id.source.name(), port = id.port, "no longer published");
        }
        if ports.is_empty() {
            self.state.open.remove(key);
        }
    }

    /// Notes what a Service wants, and which numbers with it.
    fn claim(&mut self, key: &ObjectKey, wanted: Vec<Wanted>) {
        for old in self.state.wanted.remove(key).into_iter().flatten() {
            let number = (old.id.udp, old.id.port);
            if let Some(count) = self.state.claims.get_mut(&number) {
                *count -= 1;
                if *count == 0 {
                    self.state.claims.remove(&number);
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        for new in wanted.iter().filter(|new| new.id.source != Source::ClusterIp) {
            *self.state.claims.entry((new.id.udp, new.id.port)).or_default() += 1;
        }
        self.state.wanted.insert(key.clone(), wanted);
    }

    /// Opens what is wanted and not open; leads what is open to where it should go.
    fn open(&mut self, key: &ObjectKey) {
        let mut rows = BTreeMap::new();
        for wanted in self.state.wanted.get(key).cloned().unwrap_or_default() {
            let id = wanted.id;
            if let Some(port) = self.state.open.get_mut(key).and_then(|ports| ports.get_mut(&id)) {
                port.targets.set(&wanted.targets);
                port.row.wanted = wanted;
                rows.insert(id, port.row.clone());
                continue;
            }
            let claims = &self.state.claims;
            let claimed = |number: u16| claims.contains_key(&(id.udp, number));
            let candidates = self.numbers.candidates(key, &id, claimed);
            let candidates = if self.renumber { candidates } else { vec![id.port] };
            let opened = open::open(&self.addresses, &id, &candidates, self.renumber);
            rows.insert(id, self.opened(key, wanted, opened));
        }
        self.report.set(key, rows);
    }

    /// Takes a port into service, or notes why not.
    fn opened(&mut self, key: &ObjectKey, wanted: Wanted, opened: Result<Opened, String>) -> Row {
        let id = wanted.id;
        let opened = match opened {
            Ok(opened) => opened,
            Err(why) => {
                let first = self.report.why(key, &id).as_ref() != Some(&why);
                let row = Row { wanted, addresses: Vec::new(), why: Some(why) };
                if first {
                    self.tell(key, &row);
                }
                self.state.failed.insert(key.clone());
                self.state.retry.get_or_insert_with(|| Instant::now() + limits::RETRY);
                return row;
            }
        };
        let targets = Targets::default();
        targets.set(&wanted.targets);
        let mut tasks = JoinSet::new();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (socket, address) in opened.sockets {
            addresses.push(address);
            match socket {
                super::bind::Socket::Tcp(listener) => {
                    tasks.spawn(tcp::serve(listener, targets.clone(), self.shared.clone()))
                }
                super::bind::Socket::Udp(socket) => {
                    tasks.spawn(udp::serve(socket, targets.clone(), self.shared.clone()))
                }
            };
        }
        if id.source != Source::ClusterIp {
            self.numbers.keep(key, &id, opened.number);
        }
        let row = Row { wanted, addresses, why: opened.why };
        self.tell(key, &row);
        self.state.open.entry(key.clone()).or_default().insert(id, Port { row: row.clone(), targets, tasks });
        row
    }

    /// Prints where a port is, and says it in an Event if that is not where one looks first.
    fn tell(&mut self, key: &ObjectKey, row: &Row) {
        let id = &row.wanted.id;
        if id.source == Source::ClusterIp {
            return;
        }
        self.state.lines += 1;
        match self.state.lines.cmp(&(limits::LINES + 1)) {
            std::cmp::Ordering::Less => eprintln!("            {:<12} {}", row.verb(), row.line(key)),
            std::cmp::Ordering::Equal => eprintln!("            published    more ports: mainstay status"),
            std::cmp::Ordering::Greater => {}
        }
        let (Some(why), Some(service)) = (&row.why, self.state.snapshot.services.get(key)) else { return };
        let places: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
        let (source, port) = (id.source.name(), id.port);
        let (reason, message) = if places.is_empty() {
            ("NotPublished", format!("{source} port {port} is not published on this host: {why}"))
        } else {
            ("Renumbered", format!("{source} port {port} is published at {}: {why}", places.join(" and ")))
        };
        let about = Target { kind: &SERVICE, key: key.clone(), uid: service.meta.uid.clone(), revision: None };
        self.events.tell(Note { about, reason, message, warning: places.is_empty() });
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
