//! What one change sends to a real kernel, counted at the socket: the same among 100 and among 10,000 Services, and
//! proportional to the change.
//!
//! A program of its own, because the count is the process's. Needs root or `unshare -Urn`; without it, it fails.

use std::collections::BTreeSet;

use api::object::{ObjectKey, Revision};
use compile::nft::Programmer;
use compile::service_table::Config;
use compile::snapshot::{Builder, Changes};
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};
use serde_json::json;

/// Services, and endpoints of each before anything changes.
const SIZES: [usize; 2] = [100, 10_000];
const ENDPOINTS: usize = 4;

struct World {
    builder: Builder,
    programmer: Programmer,
    plane: Nft,
    revision: Revision,
}

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
impl World {
    fn new(services: usize) -> Self {
        let range = |text: &str| text.parse().unwrap();
        let config = Config {
            node: "node".into(),
            pod_cidrs: vec![range("10.240.0.0/12")],
            service_cidrs: vec![range("10.96.0.0/12")],
            ..Config::default()
        };
        let mut plane = Nft::open().unwrap();
        plane.install().unwrap();
        let programmer = Programmer::new(config);
        let mut world = Self { builder: Builder::default(), programmer, plane, revision: Revision(0) };
        for number in 0..services {
            let address = format!("10.96.{}.{}", 1 + number / 250, 1 + number % 250);
            let spec = json!({
                "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                "ports": [{ "port": 80, "protocol": "TCP" }],
            });
            world.put(
                "services",
                number,
                &json!({ "metadata": { "name": name(number), "namespace": "d" }, "spec": spec }),
            );
            world.slice(number, &(0..ENDPOINTS).collect::<Vec<_>>());
        }
        world.apply();
        world
    }

    fn put(&mut self, plural: &str, number: usize, object: &serde_json::Value) {
        self.revision.0 += 1;
        let key = ObjectKey::new("d", name(number));
        self.builder.put(plural, &key, self.revision, object.to_string().as_bytes()).unwrap();
    }

    fn slice(&mut self, number: usize, endpoints: &[usize]) {
        let endpoint = |at: &usize| json!({ "addresses": [format!("10.24{at}.{}.{}", number / 250, number % 250)] });
        let slice = json!({
            "metadata": { "labels": { "kubernetes.io/service-name": name(number) } }, "addressType": "IPv4",
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(), "ports": [{ "port": 8080, "protocol": "TCP" }],
        });
        self.put("endpointslices", number, &slice);
    }

    /// Sends what changed; how many bytes went to the kernel, in how many transactions.
    fn apply(&mut self) -> (u64, usize) {
        let (snapshot, changes): (_, Changes) = self.builder.publish(self.revision);
        let before = kernel::nl::sent_bytes();
        let plan = self.programmer.plan(&snapshot, &changes, self.plane.batch_bytes_max(), &encoded_len);
        for batch in &plan.batches {
            self.plane.apply(batch).unwrap();
        }
        (kernel::nl::sent_bytes() - before, plan.batches.len())
    }
}

fn name(number: usize) -> String {
    format!("s{number}")
}

#[test]
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn bytes_follow_the_change_and_not_the_number_of_services() {
    let costs = SIZES.map(|services| {
        // The thread's namespace ends with it.
        let work = move || {
            kernel::namespace::new_net().expect("a network namespace can be made: run as root or under unshare -Urn");
            let mut world = World::new(services);
            let mut costs = Vec::new();
            // One endpoint more, one replaced, one less, all gone; then the same change of ten Services at once.
            for endpoints in [&[0, 1, 2, 3, 4][..], &[0, 1, 2, 3, 5], &[0, 1, 2, 3], &[]] {
                world.slice(7, endpoints);
                costs.push(world.apply());
            }
            for number in 10..20 {
                world.slice(number, &[0, 1, 2, 5]);
            }
            costs.push(world.apply());
            world.slice(50, &[0, 1, 2, 5]);
            costs.push(world.apply());
            costs
        };
        std::thread::spawn(work).join().unwrap()
    });
    assert_eq!(costs[0], costs[1], "bytes among {SIZES:?} Services");
    assert_eq!(costs[0].iter().map(|(_, batches)| *batches).collect::<BTreeSet<_>>(), BTreeSet::from([1]));
    let [.., ten, one] = &costs[0][..] else { panic!("six changes were made") };
    // A transaction has a beginning and an end beside its elements.
    assert!(one.0 < 1_500, "one replaced endpoint took {} bytes", one.0);
    // Those of one set share a message, so that each further Service costs its elements only.
    let further = (ten.0 - one.0) / 9;
    assert!((100..300).contains(&further), "ten took {} bytes, one {}", ten.0, one.0);
}
