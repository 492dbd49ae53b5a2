//! Who holds an address when several statuses name it.

use super::*;
use crate::snapshot::{Changes, Snapshot};

#[derive(Default)]
struct World {
    builder: Builder,
    revision: u64,
}

impl World {
    fn put(&mut self, name: &str, share: &str, port: u16, addresses: &[&str]) {
        self.revision += 1;
        let ingress: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address })).collect();
        let object = json!({ "metadata": { "annotations": { SHARED: share } },
            "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{ "port": port }] },
            "status": { "loadBalancer": { "ingress": ingress } } });
        self.builder.put("services", &key(name), Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    fn publish(&mut self) -> (Arc<Snapshot>, Changes) {
        self.builder.publish(Revision(self.revision))
    }

    fn holders(&mut self, address: &str) -> Vec<String> {
        let holders = self.publish().0.holders.clone();
        holders.of(address.parse().unwrap()).iter().map(|key| key.name.to_string()).collect()
    }
}

#[test]
fn the_first_to_have_an_address_keeps_it_and_the_next_follows() {
    let mut world = World::default();
    world.put("z", "", 80, &["10.0.0.1"]);
    world.put("a", "", 81, &["10.0.0.1", "10.0.0.2"]);
    assert_eq!((world.holders("10.0.0.1"), world.holders("10.0.0.2")), (vec!["z".into()], vec!["a".to_owned()]));
    world.put("z", "", 82, &["10.0.0.1"]);
    assert_eq!(world.holders("10.0.0.1"), ["z"], "also after a change of its own");
    world.builder.delete("services", &key("z"));
    let (_, changes) = world.publish();
    assert!(changes.services.contains(&key("a")), "who gained it is looked at");
    assert_eq!(world.holders("10.0.0.1"), ["a"]);
    world.put("a", "", 81, &[]);
    assert_eq!(world.publish().0.holders.addresses().count(), 0);
}

#[test]
fn sharers_hold_together_until_one_of_them_gets_in_the_way() {
    let mut world = World::default();
    for (name, port) in [("a", 80), ("b", 81), ("c", 81)] {
        world.put(name, "k", port, &["10.0.0.1"]);
    }
    assert_eq!(world.holders("10.0.0.1"), ["a", "b"]);
    // It changes in a way that harms nobody: who was refused does not take its place.
    world.put("b", "k", 81, &["10.0.0.1", "10.0.0.3"]);
    assert_eq!(world.holders("10.0.0.1"), ["a", "b"]);
    world.put("a", "k", 81, &["10.0.0.1"]);
    assert_eq!(world.holders("10.0.0.1"), ["b"], "the one that changed gives way");
    world.put("b", "k", 90, &["10.0.0.1"]);
    assert_eq!(world.holders("10.0.0.1"), ["b", "a"], "and who came first comes back first");
}
