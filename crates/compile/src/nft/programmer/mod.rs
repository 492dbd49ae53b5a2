//! The programmer: a snapshot and the keys that changed in, batches for the kernel out; cost follows the change.
//!
//! It remembers a compact record per Service of what the kernel holds. `plan` assumes that its batches will be applied;
//! after any error the caller observes the kernel and calls `adopt`, and the next plan repairs whatever differs.

mod adopt;
mod batches;
mod claims;
mod number;
mod ops;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;

use self::adopt::Recovered;
use self::batches::Group;
use self::claims::Claims;
use super::flows;
use super::held::{Held, kept_seconds, octets};
use super::ids::Numbers;
use super::state::{Batch, Element, SetName, State, Value};
use super::words::{IDENTITY_MAX, SERVICE_MAX, ServiceId};
use crate::allocate::Cidr;
use crate::service_table::{Config, PortEntry, Problem, ServiceEntry, compile_service, outermost, service_networks};
use crate::snapshot::{Changes, Protocol, Snapshot};

/// How the size of an element on the wire is asked for, in bytes.
pub type EncodedLen<'a> = &'a dyn Fn(&Element) -> usize;

/// What to send to the kernel.
#[derive(Debug, Default)]
pub struct Plan {
    /// In order; each is one transaction, and after each the kernel is in a state that loses nothing.
    pub batches: Vec<Batch>,
    /// How many Services were compiled.
    pub keys_compiled: usize,
    /// Sum of the sizes of all elements to send, in bytes.
    pub bytes: usize,
}

/// Keeps the kernel's data in step with snapshots.
pub struct Programmer {
    config: Config,
    services: BTreeMap<ObjectKey, Vec<Held>>,
    claims: Claims,
    ids: Numbers,
    identities: Numbers,
    /// Addresses of pods on this node, with how many pods have each.
    hairpins: BTreeMap<IpAddr, usize>,
    pods: BTreeMap<ObjectKey, Vec<IpAddr>>,
    zone: Option<Box<str>>,
    /// Service ranges: those of the configuration and those of ServiceCIDRs.
    networks: Vec<Cidr>,
    problems: BTreeMap<ObjectKey, Vec<Problem>>,
    /// What the kernel holds, between `adopt` and the next plan.
    observed: Option<State>,
}

impl Programmer {
    /// A programmer for a kernel that holds the rules and no data.
    pub fn new(config: Config) -> Self {
        Self {
            networks: config.service_cidrs.clone(),
            config,
            services: BTreeMap::new(),
            claims: Claims::default(),
            ids: Numbers::new(SERVICE_MAX),
            identities: Numbers::new(IDENTITY_MAX),
            hairpins: BTreeMap::new(),
            pods: BTreeMap::new(),
            zone: None,
            problems: BTreeMap::new(),
            observed: Some(State::new()),
        }
    }

    /// Takes what the kernel holds, at the start or after an error. Numbers found in it are kept.
    pub fn adopt(&mut self, observed: State) {
        *self = Self { observed: Some(observed), ..Self::new(self.config.clone()) };
    }

    /// What is not programmed, and why, in order of Services.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// What the kernel holds once every planned batch is applied.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let data = self.services.values().flatten().flat_map(Held::elements);
        for ((set, key), value) in self.fixed_elements().into_iter().chain(data) {
            state.entry(set).or_default().insert(key, value);
        }
        state
    }

    /// Batches that bring the kernel to `snapshot`. Only `changes` are looked at, except right after `adopt`. Batches
    /// stay below `bytes_max` as far as one element does.
    pub fn plan(
        &mut self,
        snapshot: &Snapshot,
        changes: &Changes,
        bytes_max: usize,
        encoded_len: EncodedLen<'_>,
    ) -> Plan {
        let observed = self.observed.take();
        let node = ObjectKey::new("", self.config.node.clone());
        let zone = snapshot.nodes.get(&node).and_then(|node| node.zone.clone());
        let everything = observed.is_some() || zone != self.zone;
        self.zone = zone;

        let keys: BTreeSet<ObjectKey> = if everything {
            snapshot.services.keys().chain(self.services.keys()).cloned().collect()
        } else {
            changes.services.clone()
        };

        let start = observed.is_some();
        let mut recovered = Recovered::new(observed.unwrap_or_default(), &mut self.ids, &mut self.identities);
        let mut groups = vec![recovered.strays()];
        if everything || !changes.pods.is_empty() || !changes.networks.is_empty() {
            let before = if start { recovered.take_fixed() } else { self.fixed_elements() };
            self.pods_changed(snapshot, changes, everything);
            self.networks = service_networks(snapshot, &self.config);
            groups.push(Group { before, after: self.fixed_elements(), flush: Vec::new() });
        }
        let keys_compiled = self.compile(snapshot, keys, &mut recovered, &mut groups);
        groups.extend(recovered.rest(&mut self.ids, &mut self.identities));
        let (batches, bytes) = batches::pack(batches::join(groups), bytes_max, encoded_len);
        Plan { batches, keys_compiled, bytes }
    }

    /// Compiles Services, settles who holds which frontend, and adds the differences to `groups`.
    fn compile(
        &mut self,
        snapshot: &Snapshot,
        keys: BTreeSet<ObjectKey>,
        recovered: &mut Recovered,
        groups: &mut Vec<Group>,
    ) -> usize {
        let mut compiled = BTreeMap::new();
        let mut affected = BTreeSet::new();
        for key in keys {
            let (entry, problems) = compile_service(snapshot, &key, &self.config);
            affected.extend(self.claims.set(&key, &entry));
            compiled.insert(key, (entry, problems));
        }
        for key in affected {
            compiled.entry(key.clone()).or_insert_with(|| compile_service(snapshot, &key, &self.config));
        }
        let count = compiled.len();
        for (key, (entry, problems)) in compiled {
            groups.push(self.service(&key, entry, problems, recovered));
        }
        count
    }

    /// The difference for one Service; its record becomes what the kernel will hold.
    fn service(
        &mut self,
        key: &ObjectKey,
        mut entry: ServiceEntry,
        mut problems: Vec<Problem>,
        recovered: &mut Recovered,
    ) -> Group {
        problems.extend(self.claims.retain_won(key, &mut entry));
        let old = self.services.remove(key).unwrap_or_default();
        let mut group = Group { before: old.iter().flat_map(Held::elements).collect(), ..Group::default() };
        let mut new = Vec::new();
        let mut old: BTreeMap<_, Held> = old.into_iter().map(|held| (held.key, held)).collect();
        for (port, entry) in entry {
            let known =
                old.remove(&port).or_else(|| recovered.take(port, &entry, &mut self.identities, &mut group.before));
            let before = known.as_ref().map(|held| flows::held_before(held, &group.before)).unwrap_or_default();
            let mut left = Vec::new();
            let Some(held) = self.number(known, port, &entry, &mut left) else {
                let why = format!("all {SERVICE_MAX} Service numbers are in use: port {} is not programmed", port.port);
                problems.push(Problem { service: key.clone(), why });
                continue;
            };
            problems.extend(rounded(key, &entry));
            group.after.extend(held.elements());
            group.flush.push(flows::flush(&before, left, Some(&held)));
            new.push(held);
        }
        for gone in old.into_values() {
            let mut left = Vec::new();
            self.release(&gone, &mut left);
            group.flush.push(flows::flush(&flows::held_before(&gone, &group.before), left, None));
        }
        group.flush.retain(|flush| !flush.is_empty());
        if !new.is_empty() {
            new.shrink_to_fit();
            self.services.insert(key.clone(), new);
        }
        self.set_problems(key, problems);
        group
    }

    /// Frees the numbers of a record that is no more.
    fn release(&mut self, gone: &Held, left: &mut Vec<u32>) {
        self.ids.free(gone.id.0);
        for numbered in gone.endpoints.values() {
            self.forget(gone.key.protocol, numbered.identity, left);
        }
    }

    /// An endpoint left: its UDP flows must end, or their sender would talk to nobody for as long as it keeps talking.
    fn forget(&mut self, protocol: Protocol, identity: u32, left: &mut Vec<u32>) {
        if identity == 0 {
            return;
        }
        self.identities.free(identity);
        if protocol == Protocol::Udp {
            left.push(super::words::IDENTITY_OURS | identity);
        }
    }

    fn set_problems(&mut self, key: &ObjectKey, mut problems: Vec<Problem>) {
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            self.problems.remove(key);
        } else {
            self.problems.insert(key.clone(), problems);
        }
    }

    fn pods_changed(&mut self, snapshot: &Snapshot, changes: &Changes, everything: bool) {
        let keys: Vec<ObjectKey> = if everything {
            snapshot.pods.keys().chain(self.pods.keys()).cloned().collect()
        } else {
            changes.pods.iter().cloned().collect()
        };
        for key in keys {
            let here = |pod: &&std::sync::Arc<crate::snapshot::Pod>| pod.node.as_deref() == Some(&*self.config.node);
            let ips = snapshot.pods.get(&key).filter(here).map_or(Vec::new(), |pod| pod.ips.clone());
            for ip in &ips {
                *self.hairpins.entry(*ip).or_default() += 1;
            }
            let old = if ips.is_empty() { self.pods.remove(&key) } else { self.pods.insert(key, ips) };
            for ip in old.into_iter().flatten() {
                if let Some(count) = self.hairpins.get_mut(&ip) {
                    *count -= 1;
                    if *count == 0 {
                        self.hairpins.remove(&ip);
                    }
                }
            }
        }
    }

    /// Elements that belong to no Service: ranges, the node's addresses, addresses that may talk to themselves.
    fn fixed_elements(&self) -> BTreeMap<super::held::Place, Value> {
        let mut elements = BTreeMap::new();
        let mut add = |sets: [SetName; 2], v4: bool, key: Vec<u8>| {
            elements.insert((if v4 { sets[0] } else { sets[1] }, key.into()), Value::default());
        };
        let virtual_cidrs = [&self.networks[..], &self.config.pools.cidrs()].concat();
        let egress = if self.config.egress { self.config.pod_cidrs.clone() } else { Vec::new() };
        let ranges = [
            ([SetName::Pods4, SetName::Pods6], &self.config.pod_cidrs),
            ([SetName::Egress4, SetName::Egress6], &egress),
            // What no Service has declared is refused on load-balancer addresses as well.
            ([SetName::ServiceCidrs4, SetName::ServiceCidrs6], &virtual_cidrs),
        ];
        for (sets, cidrs) in ranges {
            for cidr in &outermost(cidrs) {
                add(sets, cidr.network.is_ipv4(), interval(cidr));
            }
        }
        for address in &self.config.node_port_addresses {
            add([SetName::NodeportAddrs4, SetName::NodeportAddrs6], address.is_ipv4(), octets(*address));
        }
        for address in &self.config.dns_addresses {
            add([SetName::DnsAddrs4, SetName::DnsAddrs6], address.is_ipv4(), octets(*address));
        }
        for address in self.hairpins.keys() {
            let twice = [octets(*address), octets(*address)].concat();
            add([SetName::Hairpin4, SetName::Hairpin6], address.is_ipv4(), twice);
        }
        elements
    }

    /// Takes a Service number.
    fn take_id(&mut self) -> Option<ServiceId> {
        self.ids.take().map(ServiceId)
    }
}

/// A timeout of affinity that the rules do not have exactly.
fn rounded(service: &ObjectKey, entry: &PortEntry) -> Option<Problem> {
    let (asked, kept) = (entry.affinity_seconds?, kept_seconds(entry)?);
    let why = format!(
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {asked} is rounded up: clients are remembered for {kept} seconds"
    );
    (asked != kept).then(|| Problem { service: service.clone(), why })
}

/// A range as the key of an interval set: first address, then the one after the last.
fn interval(cidr: &Cidr) -> Vec<u8> {
    let (first, last) = super::held::bounds(cidr);
    let end = match last {
        IpAddr::V4(last) => octets(IpAddr::V4(u32::from(last).wrapping_add(1).into())),
        IpAddr::V6(last) => octets(IpAddr::V6(u128::from(last).wrapping_add(1).into())),
    };
    [octets(first), end].concat()
}
