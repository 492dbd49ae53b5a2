//! Who runs on this node, in; the addresses that may talk to themselves through a Service, and what of them changed, out.
//!
//! A pod that reaches itself through a virtual address must see another source, or it answers itself past the translation.
//! Where Pods are followed they say who is here; where they are not, the endpoints that name this node do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;

use crate::snapshot::{Changes, Snapshot};

/// The addresses, each with how many name it.
#[derive(Debug, Default)]
pub(super) struct Hairpins {
    counts: BTreeMap<IpAddr, u32>,
    /// What each Pod, or each Service without Pods, contributes.
    by: BTreeMap<ObjectKey, Box<[IpAddr]>>,
}

/// Addresses that went and came.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Moved {
    pub(super) gone: BTreeSet<IpAddr>,
    pub(super) came: BTreeSet<IpAddr>,
}

impl Hairpins {
    pub(super) fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.counts.keys()
    }

    /// Takes in what changed; everything when `everything` is set.
    pub(super) fn update(&mut self, snapshot: &Snapshot, changes: &Changes, everything: bool, node: &str) -> Moved {
        let changed = if snapshot.without_pods { &changes.services } else { &changes.pods };
        let keys: BTreeSet<ObjectKey> = match (everything, snapshot.without_pods) {
            (false, _) => changed.clone(),
            (true, true) => snapshot.slices_of.keys().chain(self.by.keys()).cloned().collect(),
            (true, false) => snapshot.pods.keys().chain(self.by.keys()).cloned().collect(),
        };
        let mut moved = Moved::default();
        for key in keys {
            let addresses =
                if snapshot.without_pods { of_service(snapshot, &key, node) } else { of_pod(snapshot, &key, node) };
            self.set(key, addresses, &mut moved);
        }
        moved
    }

    fn set(&mut self, key: ObjectKey, addresses: Box<[IpAddr]>, moved: &mut Moved) {
        for address in &addresses {
            let count = self.counts.entry(*address).or_default();
            *count += 1;
            if *count == 1 && !moved.gone.remove(address) {
                moved.came.insert(*address);
            }
        }
        let old = if addresses.is_empty() { self.by.remove(&key) } else { self.by.insert(key, addresses) };
        for address in old.iter().flatten() {
            let Some(count) = self.counts.get_mut(address) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(address);
                if !moved.came.remove(address) {
                    moved.gone.insert(*address);
                }
            }
        }
    }
}

fn of_pod(snapshot: &Snapshot, key: &ObjectKey, node: &str) -> Box<[IpAddr]> {
    let pod = snapshot.pods.get(key).filter(|pod| pod.node.as_deref() == Some(node));
    pod.map_or_else(Box::default, |pod| pod.ips.clone().into())
}

fn of_service(snapshot: &Snapshot, key: &ObjectKey, node: &str) -> Box<[IpAddr]> {
    let keys = snapshot.slices_of.get(key).into_iter().flat_map(|keys| keys.iter());
    let endpoints = keys.filter_map(|key| snapshot.slices.get(key)).flat_map(|slice| &slice.endpoints);
    let here = endpoints.filter(|endpoint| endpoint.node.as_deref() == Some(node));
    here.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use api::object::Revision;
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::Builder;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn slice(service: &str, endpoints: &[(&str, &str)]) -> Value {
        let endpoint = |(address, node): &(&str, &str)| json!({ "addresses": [address], "nodeName": node });
        json!({
            "metadata": { "labels": { "kubernetes.io/service-name": service } }, "addressType": "IPv4",
            "ports": [{ "port": 80 }], "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn without_pods_the_endpoints_that_name_this_node_are_taken() {
        let (mut builder, mut hairpins) = (Builder::for_node("here"), Hairpins::default());
        let mut step = |name: &str, slice: Option<Value>| {
            let key = ObjectKey::new("ns", name);
            match slice {
                Some(slice) => {
                    let revision = Revision(u64::from(slice.to_string().len() as u32));
                    builder.put("endpointslices", &key, revision, slice.to_string().as_bytes()).unwrap();
                }
                None => builder.delete("endpointslices", &key),
            }
            let (snapshot, changes) = builder.publish(Revision(1));
            hairpins.update(&snapshot, &changes, false, "here")
        };
        let moved = step("a-1", Some(slice("a", &[("10.0.0.1", "here"), ("10.0.0.2", "there")])));
        assert_eq!((moved.came, moved.gone), (addresses(&["10.0.0.1"]), addresses(&[])));
        let again = step("b-1", Some(slice("b", &[("10.0.0.1", "here")])));
        assert_eq!(again, Moved::default(), "the same pod in another Service");
        assert_eq!(step("a-1", None), Moved::default(), "b still names it");
        let moved = step("b-1", None);
        assert_eq!((moved.came, moved.gone), (addresses(&[]), addresses(&["10.0.0.1"])));
    }

    #[test]
    fn an_address_that_goes_from_one_to_another_has_not_moved() {
        let mut builder = Builder::default();
        let pod = |node: &str| json!({ "metadata": {}, "spec": { "nodeName": node }, "status": { "podIPs": [{ "ip": "10.0.0.1" }], "podIP": "10.0.0.1" } });
        let mut hairpins = Hairpins::default();
        let (one, two) = (ObjectKey::new("ns", "one"), ObjectKey::new("ns", "two"));
        builder.put("pods", &one, Revision(1), pod("here").to_string().as_bytes()).unwrap();
        let (snapshot, changes) = builder.publish(Revision(1));
        let moved = hairpins.update(&snapshot, &changes, false, "here");
        assert_eq!(moved.came, addresses(&["10.0.0.1"]));
        builder.delete("pods", &one);
        builder.put("pods", &two, Revision(2), pod("here").to_string().as_bytes()).unwrap();
        let (snapshot, changes) = builder.publish(Revision(2));
        assert_eq!(hairpins.update(&snapshot, &changes, false, "here"), Moved::default());
        let all = Hairpins::default().update(&snapshot, &Changes::default(), true, "here");
        assert_eq!((all.came, all.gone), (addresses(&["10.0.0.1"]), addresses(&[])));
    }
}
