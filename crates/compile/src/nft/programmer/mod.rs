//! The programmer: a snapshot and the keys that changed in, batches for the kernel out; cost follows the change.
//!
//! It remembers a compact record per Service of what the kernel holds. `plan` assumes that its batches will be applied;
//! after any error the caller observes the kernel and calls `adopt`, and the next plan repairs whatever differs.

mod adopt;
mod arrange;
mod batches;
mod claims;
mod hairpins;
mod number;
mod ops;
mod starting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use api::object::ObjectKey;

use self::adopt::Recovered;
use self::arrange::Lanes;
use self::batches::Group;
use self::claims::Claims;
use self::hairpins::Hairpins;
use self::starting::{Starting, Young};
use super::account::Directory;
use super::flows;
use super::held::{Held, Place, Way, kept_seconds, octets};
use super::ids::Numbers;
use super::state::{Batch, Element, SetName, State, Value};
use super::words::{IDENTITY_MAX, SERVICE_MAX, ServiceId};
use crate::allocate::Cidr;
use crate::balance::Algorithm;
use crate::service_table::{
    Config, Interface, LocalPods, PortEntry, PortKey, Problem, ServiceEntry, compile_service, outermost,
    service_networks,
};
use crate::snapshot::{Changes, Protocol, Snapshot};

/// First name, and the one after the last.
type NameRange = ([u8; Interface::BYTES], [u8; Interface::BYTES]);

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
    lanes: Lanes,
    /// Time since some moment, as the caller told it last.
    now: Duration,
    /// Endpoints that became ready a short while ago, of Services with a slow start.
    young: BTreeMap<ObjectKey, Young>,
    /// Which Service port has which number.
    directory: Directory,
    /// Addresses of pods on this node.
    hairpins: Hairpins,
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
            lanes: Lanes::default(),
            now: Duration::ZERO,
            young: BTreeMap::new(),
            directory: Directory::default(),
            hairpins: Hairpins::default(),
            zone: None,
            problems: BTreeMap::new(),
            observed: Some(State::new()),
        }
    }

    /// Takes what the kernel holds, at the start or after an error. Numbers found in it are kept.
    pub fn adopt(&mut self, observed: State) {
        let young = std::mem::take(&mut self.young);
        *self = Self { observed: Some(observed), now: self.now, young, ..Self::new(self.config.clone()) };
    }

    /// Tells the time, as a duration since any fixed moment. It matters to slow starts only.
    pub fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// When the next plan has something to do even if nothing changes: a slow start goes on. Since the same moment.
    pub fn next_step(&self) -> Option<Duration> {
        self.young.values().flat_map(Young::steps).min()
    }

    /// Which Service port each number in the kernel's words stands for; a cheap copy.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// What is not programmed, and why, in order of Services.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Which Service port each number stands for: its Service, and family, protocol and port.
    pub fn numbers(&self) -> BTreeMap<ServiceId, (ObjectKey, PortKey)> {
        let held = self.services.iter().flat_map(|(key, ports)| ports.iter().map(move |held| (key, held)));
        held.map(|(key, held)| (held.id, (key.clone(), held.key))).collect()
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
            let due = self.young.iter().filter(|(_, young)| young.steps().any(|step| step <= self.now));
            changes.services.iter().chain(due.map(|(key, _)| key)).cloned().collect()
        };

        let start = observed.is_some();
        let observed = observed.unwrap_or_default();
        let mut recovered = Recovered::new(observed, &mut self.ids, &mut self.identities, &mut self.lanes);
        let mut groups = vec![recovered.strays()];
        let found = start.then(|| recovered.take_fixed());
        groups.push(self.fixed(snapshot, changes, everything, found));
        let keys_compiled = self.compile(snapshot, keys, &mut recovered, &mut groups);
        groups.extend(recovered.rest(&mut self.ids, &mut self.identities, &mut self.lanes));
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
        let mut young = self.young.remove(key).unwrap_or_default();
        for (port, entry) in entry {
            let known = old.remove(&port);
            // Of what was there before us nobody knows how old it is.
            let mut starting = Starting { young: &mut young, now: self.now, follows: known.is_some() };
            let known =
                known.or_else(|| recovered.take(port, &entry, &mut self.identities, &self.claims, &mut group.before));
            let before = known.as_ref().map(|held| flows::held_before(held, &group.before)).unwrap_or_default();
            let mut left = Vec::new();
            let Some(held) = self.number(known, port, &entry, &mut starting, &mut left) else {
                let why = format!("all {SERVICE_MAX} Service numbers are in use: port {} is not programmed", port.port);
                problems.push(Problem { service: key.clone(), why });
                continue;
            };
            problems.extend(rounded(key, &entry));
            problems.extend(without_turns(key, &held, &entry));
            self.directory.add(held.id, key, port);
            group.after.extend(held.elements());
            group.flush.push(flows::flush(&before, left, Some(&held)));
            new.push(held);
        }
        for gone in old.into_values() {
            let mut left = Vec::new();
            self.release(&gone, &mut left);
            group.flush.push(flows::flush(&flows::held_before(&gone, &group.before), left, None));
        }
        young.retain(|(port, _)| new.iter().any(|held: &Held| held.key == *port));
        if !young.is_empty() {
            self.young.insert(key.clone(), young);
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
        self.directory.remove(gone.id);
        [Some(&gone.cluster), gone.local.as_ref()].into_iter().flatten().for_each(|chosen| self.give_up(chosen));
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

    /// The difference in what belongs to no Service; at the start `found` is what the kernel held of it.
    fn fixed(
        &mut self,
        snapshot: &Snapshot,
        changes: &Changes,
        everything: bool,
        found: Option<BTreeMap<Place, Value>>,
    ) -> Group {
        let mut group = Group::default();
        if everything || !changes.networks.is_empty() {
            group.before = found.unwrap_or_else(|| self.ranges());
            self.networks = service_networks(snapshot, &self.config);
            group.after = self.ranges();
        }
        let moved = self.hairpins.update(snapshot, changes, everything, &self.config.node);
        // What comes at the start may have been found: then it is no change.
        group.before.extend(moved.gone.iter().map(hairpin));
        group.after.extend(moved.came.iter().map(hairpin));
        group
    }

    /// Elements that belong to no Service.
    fn fixed_elements(&self) -> BTreeMap<Place, Value> {
        let mut elements = self.ranges();
        elements.extend(self.hairpins.addresses().map(hairpin));
        elements
    }

    /// Elements that belong to no Service and to no pod: ranges and the node's addresses.
    fn ranges(&self) -> BTreeMap<Place, Value> {
        let mut elements = BTreeMap::new();
        let mut add = |sets: [SetName; 2], v4: bool, key: Vec<u8>| {
            elements.insert((if v4 { sets[0] } else { sets[1] }, key.into()), Value::default());
        };
        let virtual_cidrs = [&self.networks[..], &self.config.pools.cidrs()].concat();
        let egress = if self.config.egress { self.config.pod_cidrs.clone() } else { Vec::new() };
        let none = Vec::new();
        let (pods, interfaces) = match &self.config.local_pods {
            LocalPods::Ranges => (&self.config.pod_cidrs, &[][..]),
            LocalPods::Interfaces(interfaces) => (&none, &interfaces[..]),
            LocalPods::Nobody => (&none, &[][..]),
        };
        let ranges = [
            ([SetName::Pods4, SetName::Pods6], pods),
            ([SetName::Egress4, SetName::Egress6], &egress),
            // What no Service has declared is refused on load-balancer addresses as well.
            ([SetName::ServiceCidrs4, SetName::ServiceCidrs6], &virtual_cidrs),
        ];
        for (sets, cidrs) in ranges {
            for cidr in &outermost(cidrs) {
                add(sets, cidr.network.is_ipv4(), interval(cidr));
            }
        }
        for (first, end) in distinct(interfaces) {
            add([SetName::PodInterfaces; 2], true, [first, end].concat());
        }
        for address in self.config.node_port_addresses.iter().filter(|address| !address.is_loopback()) {
            add([SetName::NodeportAddrs4, SetName::NodeportAddrs6], address.is_ipv4(), octets(*address));
        }
        for address in &self.config.dns_addresses {
            add([SetName::DnsAddrs4, SetName::DnsAddrs6], address.is_ipv4(), octets(*address));
        }
        elements
    }

    /// Takes a Service number.
    fn take_id(&mut self) -> Option<ServiceId> {
        self.ids.take().map(ServiceId)
    }
}

/// An address that may talk to itself.
fn hairpin(address: &IpAddr) -> (Place, Value) {
    let set = if address.is_ipv4() { SetName::Hairpin4 } else { SetName::Hairpin6 };
    let twice = [octets(*address), octets(*address)].concat();
    ((set, twice.into()), Value::default())
}

/// Ranges of names that lie in no other one: two names, or a name and a prefix, either are apart or one holds the other.
fn distinct(interfaces: &[Interface]) -> Vec<NameRange> {
    let all: BTreeSet<NameRange> = interfaces.iter().map(Interface::bounds).collect();
    let within = |one: &NameRange, other: &NameRange| one != other && other.0 <= one.0 && one.1 <= other.1;
    all.iter().filter(|one| !all.iter().any(|other| within(one, other))).copied().collect()
}

/// A timeout of affinity that the rules do not have exactly.
fn rounded(service: &ObjectKey, entry: &PortEntry) -> Option<Problem> {
    let (asked, kept) = (entry.affinity_seconds?, kept_seconds(entry)?);
    let why = format!(
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {asked} is rounded up: clients are remembered for {kept} seconds"
    );
    (asked != kept).then(|| Problem { service: service.clone(), why })
}

/// A ring that found no rule to count for it.
fn without_turns(service: &ObjectKey, held: &Held, entry: &PortEntry) -> Option<Problem> {
    let sets = [Some(&held.cluster), held.local.as_ref()];
    let random = sets.into_iter().flatten().any(|set| set.way == Way::Random && set.order.len() > 1);
    let why = format!(
        "annotation {}: all rings of the size that port {} needs are in use, so it chooses at random: set another \
         Service with round-robin to random",
        crate::balance::BALANCE,
        held.key.port
    );
    (entry.algorithm == Algorithm::RoundRobin && random).then(|| Problem { service: service.clone(), why })
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
