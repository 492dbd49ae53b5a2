//! Keeps the zone in step with the snapshot: changed keys in, a new immutable zone out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::object::ObjectKey;
use rpds::RedBlackTreeMapSync;

use super::{Entry, EntryKind, Space, Zone, ZoneConfig, endpoint};
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
            let addresses = |snapshot: &Snapshot| snapshot.pods.get(key).map_or(Vec::new(), |pod| pod.ips.clone());
            for address in addresses(&before) {
                index_remove(&mut self.zone.pods, address, key);
            }
            for address in addresses(snapshot) {
                index_insert(&mut self.zone.pods, address, key);
            }
        }
        Arc::new(self.zone.clone())
    }

    fn service(&mut self, key: &ObjectKey) {
        let old = self.zone.spaces.get(&key.namespace).and_then(|space| space.services.get(&key.name).cloned());
        if let Some(old) = old {
            for address in addresses(&old) {
                match old.kind {
                    EntryKind::Cluster if self.zone.cluster_ips.get(&address) == Some(key) => {
                        self.zone.cluster_ips.remove_mut(&address);
                    }
                    EntryKind::Headless => index_remove(&mut self.zone.endpoints, address, key),
                    _ => {}
                }
            }
        }
        let service = self.zone.snapshot.services.get(key).cloned();
        let entry = service.and_then(|service| compile(&self.zone.snapshot, &service));
        for address in entry.iter().flat_map(addresses) {
            match entry.as_ref().map(|entry| &entry.kind) {
                Some(EntryKind::Cluster) => self.zone.cluster_ips.insert_mut(address, key.clone()),
                Some(EntryKind::Headless) => index_insert(&mut self.zone.endpoints, address, key),
                _ => {}
            }
        }
        self.space(&key.namespace, |space| match entry {
            Some(entry) => space.services.insert_mut(key.name.clone(), Arc::new(entry)),
            None => drop(space.services.remove_mut(&key.name)),
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
        (EntryKind::Headless, endpoint::ready(snapshot, &service.meta.key).map(|ready| ready.endpoint.address).collect())
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

fn addresses(entry: &Entry) -> impl Iterator<Item = IpAddr> + '_ {
    entry.v4.iter().map(|address| IpAddr::V4(*address)).chain(entry.v6.iter().map(|address| IpAddr::V6(*address)))
}

type Index = RedBlackTreeMapSync<IpAddr, Arc<BTreeSet<ObjectKey>>>;

fn index_insert(index: &mut Index, address: IpAddr, key: &ObjectKey) {
    let mut keys = index.get(&address).map_or_else(BTreeSet::new, |keys| BTreeSet::clone(keys));
    keys.insert(key.clone());
    index.insert_mut(address, Arc::new(keys));
}

fn index_remove(index: &mut Index, address: IpAddr, key: &ObjectKey) {
    let Some(keys) = index.get(&address) else { return };
    let mut keys = BTreeSet::clone(keys);
    keys.remove(key);
    if keys.is_empty() {
        index.remove_mut(&address);
    } else {
        index.insert_mut(address, Arc::new(keys));
    }
}
