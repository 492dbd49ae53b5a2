//! Snapshots and the applied revision in, writes out: gives addresses, takes them back, and says why somebody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::kinds::SERVICE;
use api::object::{ObjectKey, Revision};
use serde_json::{Value, json};

use super::choose::{Choice, Known, Leaving, choose};
use super::share::name;
use super::{FINALIZER, Pools, Problem, is_ours};
use crate::snapshot::{Changes, Service, ServiceType, Snapshot};
use crate::write::{Edit, Note, Target, Write};

/// What is remembered between decisions. Losing it costs nothing but a repeated Event.
#[derive(Debug, Default)]
pub struct Desk {
    pools: Pools,
    snapshot: Arc<Snapshot>,
    /// To be looked at with the next decision.
    due: BTreeSet<ObjectKey>,
    /// Services without an address that they should have: a freed address may be theirs.
    pending: BTreeSet<ObjectKey>,
    /// Services whose status is empty, and the revision since when: the finalizer goes once it is applied.
    closing: BTreeMap<ObjectKey, Revision>,
    /// Addresses that were given back.
    leaving: BTreeMap<IpAddr, Leaving>,
    /// What was last told about a Service, so that it is told once.
    told: BTreeMap<ObjectKey, (Box<str>, Problem)>,
    /// Until this revision is applied nobody knows what an earlier run gave back.
    start: Option<Revision>,
    open: bool,
    /// Some Service with an address changed: whoever waits may now get one.
    stirred: bool,
}

/// Writes about one Service, to be made in this order.
pub type Decision = (ObjectKey, Vec<Write>);

impl Desk {
    /// A desk that gives addresses from these pools.
    pub fn new(pools: Pools) -> Self {
        Self { pools, ..Self::default() }
    }

    /// Takes a newer snapshot in.
    pub fn observe(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) {
        let before = std::mem::replace(&mut self.snapshot, snapshot.clone());
        self.start.get_or_insert(snapshot.revision);
        for key in &changes.services {
            let (had, after) = (before.services.get(key), snapshot.services.get(key));
            if had.zip(after).is_some_and(|(had, after)| Arc::ptr_eq(had, after)) && !self.contested(had) {
                continue;
            }
            let balanced = |service: &&Arc<Service>| service.service_type == ServiceType::LoadBalancer;
            self.stirred |= had.filter(balanced).or(after.filter(balanced)).is_some();
            let kept = |address: &IpAddr| {
                after.is_some_and(|service| service.load_balancer.addresses().any(|own| own == *address))
            };
            if let Some(service) = had {
                let leaving = Leaving { revision: snapshot.revision, uid: service.meta.uid.clone() };
                let gone = service.load_balancer.addresses().filter(|address| !kept(address));
                let gone = gone.filter(|address| before.holders.holds(*address, key));
                self.leaving.extend(gone.map(|address| (address, leaving.clone())));
            }
            if after.is_none() {
                self.pending.remove(key);
                self.closing.remove(key);
                self.told.remove(key);
            }
            self.due.insert(key.clone());
        }
    }

    /// Whether somebody else has, or had, an address of this Service in its status.
    fn contested(&self, service: Option<&Arc<Service>>) -> bool {
        let Some(service) = service else { return false };
        service.load_balancer.addresses().any(|address| !self.snapshot.holders.holds(address, &service.meta.key))
    }

    /// The writes about this Service failed: it is looked at again.
    pub fn again(&mut self, key: ObjectKey) {
        self.told.remove(&key);
        self.due.insert(key);
    }

    /// Whether something waits for the applied revision to grow.
    pub fn waits(&self) -> bool {
        !self.open || !self.leaving.is_empty() || !self.closing.is_empty()
    }

    /// What to write now that every node has applied `applied`. The caller makes the writes, and observes a snapshot that
    /// contains them before it asks again.
    pub fn decide(&mut self, applied: Revision) -> Vec<Decision> {
        self.open |= self.start.is_some_and(|start| applied >= start);
        if !self.open {
            return Vec::new();
        }
        let before = self.leaving.len();
        self.leaving.retain(|_, leaving| leaving.revision > applied);
        if std::mem::take(&mut self.stirred) || self.leaving.len() < before {
            self.due.extend(self.pending.iter().cloned());
        }
        self.due.extend(self.closing.iter().filter(|(_, since)| **since <= applied).map(|(key, _)| key.clone()));
        let snapshot = self.snapshot.clone();
        let due = std::mem::take(&mut self.due);
        let mut due: Vec<&Arc<Service>> = due.iter().filter_map(|key| snapshot.services.get(key)).collect();
        // First come, first served.
        due.sort_by_key(|service| service.meta.revision);
        let mut promised = BTreeMap::new();
        let decisions = due.into_iter().map(|service| {
            let writes = self.look(&snapshot, service, applied, &mut promised);
            (service.meta.key.clone(), writes)
        });
        decisions.filter(|(_, writes)| !writes.is_empty()).collect()
    }

    fn look(
        &mut self,
        snapshot: &Snapshot,
        service: &Service,
        applied: Revision,
        promised: &mut BTreeMap<IpAddr, Vec<ObjectKey>>,
    ) -> Vec<Write> {
        let key = &service.meta.key;
        let balanced = service.service_type == ServiceType::LoadBalancer;
        if balanced && !self.pools.serve(service.load_balancer.class.as_deref()) {
            let class = service.load_balancer.class.clone().unwrap_or_default();
            return self.tell(service, Some(Problem::OtherClass(class)));
        }
        if !balanced || service.meta.deleting {
            self.pending.remove(key);
            self.told.remove(key);
            if service.load_balancer.finalizer {
                return self.close(snapshot, service, applied);
            }
            self.closing.remove(key);
            return Vec::new();
        }
        self.closing.remove(key);
        let known = Known { snapshot, pools: &self.pools, promised, leaving: &self.leaving };
        let choice = choose(service, &known);
        for address in &choice.addresses {
            promised.entry(*address).or_default().push(key.clone());
        }
        if choice.problem.is_some() {
            self.pending.insert(key.clone())
        } else {
            self.pending.remove(key)
        };
        let mut writes = give(service, &choice);
        writes.extend(self.tell(service, choice.problem));
        writes
    }

    /// Takes everything back: first the status, then, on proof that no node programmes it, the finalizer.
    fn close(&mut self, snapshot: &Snapshot, service: &Service, applied: Revision) -> Vec<Write> {
        let key = &service.meta.key;
        if !service.load_balancer.ingress.is_empty() {
            let note = note(service, "DeletingLoadBalancer", "Deleting load balancer".to_owned(), false);
            return vec![edit(service, Edit::LoadBalancer(Vec::new()), Some(note))];
        }
        let since = *self.closing.entry(key.clone()).or_insert(snapshot.revision);
        if since > applied {
            return Vec::new();
        }
        let note = note(service, "DeletedLoadBalancer", "Deleted load balancer".to_owned(), false);
        vec![edit(service, Edit::RemoveFinalizer(FINALIZER), Some(note))]
    }

    /// Says what is wrong, once.
    fn tell(&mut self, service: &Service, problem: Option<Problem>) -> Vec<Write> {
        let key = &service.meta.key;
        let Some(problem) = problem else {
            self.told.remove(key);
            return Vec::new();
        };
        let told = (service.meta.uid.clone(), problem);
        if self.told.get(key) == Some(&told) {
            return Vec::new();
        }
        let problem = &told.1;
        let text = match problem {
            Problem::OtherClass(_) => problem.to_string(),
            _ => format!("Failed to allocate a load-balancer address for \"{key}\": {problem}"),
        };
        let write = Write::Note(note(service, problem.reason(), text, true));
        self.told.insert(key.clone(), told);
        vec![write]
    }
}

/// The writes that bring finalizer and status to the choice; the finalizer always comes first.
fn give(service: &Service, choice: &Choice) -> Vec<Write> {
    let wanted = ingress(service, choice);
    if !differs(service, choice) {
        return Vec::new();
    }
    if !choice.addresses.is_empty() && !service.load_balancer.finalizer {
        let note = note(service, "EnsuringLoadBalancer", "Ensuring load balancer".to_owned(), false);
        return vec![edit(service, Edit::AddFinalizer(FINALIZER), Some(note))];
    }
    let gain = !choice.addresses.is_empty() && !service.load_balancer.addresses().eq(choice.addresses.iter().copied());
    let note = gain.then(|| note(service, "EnsuredLoadBalancer", "Ensured load balancer".to_owned(), false));
    vec![edit(service, Edit::LoadBalancer(wanted), note)]
}

fn differs(service: &Service, choice: &Choice) -> bool {
    let ports = ports(service);
    let same = |ingress: &crate::snapshot::load_balancer::Ingress| ingress.ports == ports;
    let addresses = service.load_balancer.ingress.iter().map(|ingress| ingress.address);
    let finalizer = service.load_balancer.finalizer || choice.addresses.is_empty();
    !finalizer
        || !addresses.eq(choice.addresses.iter().copied().map(Some))
        || !service.load_balancer.ingress.iter().all(same)
}

fn ports(service: &Service) -> Vec<(crate::snapshot::Protocol, u16)> {
    service.ports.iter().map(|port| (port.protocol, port.port)).collect()
}

/// `status.loadBalancer.ingress`. An `ipMode` that somebody set for an address stays.
fn ingress(service: &Service, choice: &Choice) -> Vec<Value> {
    let ports: Vec<Value> = ports(service)
        .into_iter()
        .map(|(protocol, port)| json!({ "port": port, "protocol": name(protocol) }))
        .collect();
    let proxy = |address: &IpAddr| {
        service.load_balancer.ingress.iter().any(|ingress| ingress.proxy && ingress.address == Some(*address))
    };
    let entry = |address: &IpAddr| {
        let mode = if proxy(address) { "Proxy" } else { "VIP" };
        json!({ "ip": address.to_string(), "ipMode": mode, "ports": ports })
    };
    choice.addresses.iter().map(entry).collect()
}

fn target(service: &Service) -> Target {
    Target {
        kind: &SERVICE,
        key: service.meta.key.clone(),
        uid: service.meta.uid.clone(),
        revision: Some(service.meta.revision),
    }
}

fn edit(service: &Service, edit: Edit, note: Option<Note>) -> Write {
    Write::Edit { target: target(service), edit, note }
}

fn note(service: &Service, reason: &'static str, message: String, warning: bool) -> Note {
    Note { about: target(service), reason, message, warning }
}

impl Desk {
    /// The pools.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Whether the Service is one that this desk gives addresses to.
    pub fn is_ours(&self, service: &Service) -> bool {
        is_ours(service, &self.pools)
    }
}
