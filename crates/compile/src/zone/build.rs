//! Keeps the zone in step with the snapshot: changed keys in, a new immutable zone out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::object::ObjectKey;
use rpds::RedBlackTreeMapSync;

use super::{Entry, EntryKind, Index, Space, Zone, ZoneConfig, endpoint};
use crate::snapshot::{Changes, Service, ServiceType, Snapshot};

/// The one writer of zones.
pub struct ZoneBuilder {
    zone: Zone,
    compiled: u64,
}

impl ZoneBuilder {
    /// A builder whose first zone is empty.
    pub fn new(config: ZoneConfig) -> Self {
        let zone = Zone {
            config: Arc::new(config),
            snapshot: Arc::default(),
            spaces: RedBlackTreeMapSync::default(),
            cluster_ips: RedBlackTreeMapSync::default(),
            endpoints: RedBlackTreeMapSync::default(),
            pods: RedBlackTreeMapSync::default(),
        };
        Self { zone, compiled: 0 }
    }

    /// How many Services were compiled so far: the cost of a change must not depend on how many there are.
    pub fn compiled(&self) -> u64 {
        self.compiled
    }

    /// The zone of `snapshot`, given that only `changes` differ from the last one.
    pub fn update(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Arc<Zone> {
        let before = std::mem::replace(&mut self.zone.snapshot, snapshot.clone());
        for key in &changes.namespaces {
            let exists = snapshot.namespaces.contains_key(key);
            self.space(&key.name, |space| space.exists = exists);
        }
        for key in &changes.services {
            self.compiled += 1;
            self.service(key);
        }
        for key in &changes.pods {
            let (old, new) = (pod_addresses(&before, key), pod_addresses(snapshot, key));
            replace(&mut self.zone.pods, &old, &new, key);
        }
        Arc::new(self.zone.clone())
    }

    fn service(&mut self, key: &ObjectKey) {
        let old = self.zone.spaces.get(&key.namespace).and_then(|space| space.services.get(&key.name).cloned());
        let service = self.zone.snapshot.services.get(key);
        let entry = service.and_then(|service| compile(&self.zone.snapshot, service));
        let of = |entry: Option<&Entry>, kind: &EntryKind| entry.filter(|entry| entry.kind == *kind).map(addresses);
        for kind in [EntryKind::Cluster, EntryKind::Headless] {
            let index = if kind == EntryKind::Cluster { &mut self.zone.cluster_ips } else { &mut self.zone.endpoints };
            let old = of(old.as_deref(), &kind).unwrap_or_default();
            let new = of(entry.as_ref(), &kind).unwrap_or_default();
            replace(index, &old, &new, key);
        }
        self.space(&key.namespace, |space| match entry {
            Some(entry) => space.services.insert_mut(key.name.clone(), Arc::new(entry)),
            None => {
                space.services.remove_mut(&key.name);
            }
        });
    }

    /// Changes one namespace; one that neither exists nor holds Services is dropped.
    fn space(&mut self, name: &str, change: impl FnOnce(&mut Space)) {
        let mut space = self.zone.spaces.get(name).map_or_else(Space::default, |space| Space::clone(space));
        change(&mut space);
        if space.exists || !space.services.is_empty() {
            self.zone.spaces.insert_mut(name.into(), Arc::new(space));
        } else {
            self.zone.spaces.remove_mut(name);
        }
    }
}

/// What the zone holds of a Service; none if it has no name in DNS (no address yet).
fn compile(snapshot: &Snapshot, service: &Service) -> Option<Entry> {
    if service.service_type == ServiceType::ExternalName {
        let target = service.external_name.trim_end_matches('.').to_ascii_lowercase();
        return Some(Entry { kind: EntryKind::External(target.into()), v4: Box::default(), v6: Box::default() });
    }
    let (kind, addresses): (_, Vec<IpAddr>) = if service.headless {
        (
            EntryKind::Headless,
            endpoint::ready(snapshot, &service.meta.key).map(|ready| ready.endpoint.address).collect(),
        )
    } else if service.cluster_ips.is_empty() {
        return None;
    } else {
        (EntryKind::Cluster, service.cluster_ips.clone())
    };
    let v4: BTreeSet<Ipv4Addr> = addresses.iter().filter_map(|address| as_v4(*address)).collect();
    let v6: BTreeSet<Ipv6Addr> = addresses.iter().filter_map(|address| as_v6(*address)).collect();
    Some(Entry { kind, v4: v4.into_iter().collect(), v6: v6.into_iter().collect() })
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn as_v6(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}

/// Sorted, since both families are and IPv4 sorts before IPv6.
fn addresses(entry: &Entry) -> Vec<IpAddr> {
    let v4 = entry.v4.iter().map(|address| IpAddr::V4(*address));
    v4.chain(entry.v6.iter().map(|address| IpAddr::V6(*address))).collect()
}

/// Addresses of a pod that runs or may still run, sorted.
fn pod_addresses(snapshot: &Snapshot, key: &ObjectKey) -> Vec<IpAddr> {
    let pod = snapshot.pods.get(key).filter(|pod| !pod.finished);
    let mut addresses = pod.map_or(Vec::new(), |pod| pod.ips.clone());
    addresses.sort_unstable();
    addresses
}

/// Changes `key`'s addresses in the index from `old` to `new` (both sorted); what stays costs no write.
fn replace(index: &mut Index, old: &[IpAddr], new: &[IpAddr], key: &ObjectKey) {
    for address in old.iter().filter(|address| new.binary_search(address).is_err()) {
        index.remove_mut(&(*address, key.clone()));
    }
    for address in new.iter().filter(|address| old.binary_search(address).is_err()) {
        index.insert_mut((*address, key.clone()), ());
    }
}

/// The keys that have `address`, in order.
pub(super) fn of(index: &Index, address: IpAddr) -> impl Iterator<Item = &ObjectKey> {
    from(index, address, ObjectKey::default())
}

/// The keys from `first` on that have `address`, in order.
pub(super) fn from(index: &Index, address: IpAddr, first: ObjectKey) -> impl Iterator<Item = &ObjectKey> {
    let rest = index.range((address, first)..).map(|((found, key), ())| (found, key));
    rest.take_while(move |(found, _)| **found == address).map(|(_, key)| key)
}
