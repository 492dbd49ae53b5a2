//! What one change costs does not depend on how many Services there are.

use compile::nft::Programmer;
use compile::snapshot::Changes;
use serde_json::json;

use super::size;
use super::world::{World, config};

fn slice(world: &mut World, service: usize, endpoints: &[usize]) {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| json!({"addresses": [format!("10.244.{}.{endpoint}", service % 200)], "conditions": {}}))
        .collect();
    let name = format!("s{service}");
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}], "endpoints": endpoints,
    });
    world.put("endpointslices", "d", &name, &slice);
}

/// A programmer in step with this many Services of three endpoints.
fn world(services: usize) -> (World, Programmer) {
    let mut world = World::default();
    for service in 0..services {
        let address = format!("10.96.{}.{}", service / 250 + 1, service % 250 + 1);
        let spec = json!({"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]});
        world.put("services", "d", &format!("s{service}"), &json!({"metadata": {}, "spec": spec}));
        slice(&mut world, service, &[1, 2, 3]);
    }
    let (snapshot, _) = world.builder.publish(world.revision);
    let mut programmer = Programmer::new(config());
    let plan = programmer.plan(&snapshot, &Changes::default(), 1 << 16, &size);
    assert_eq!(plan.keys_compiled, services);
    (world, programmer)
}

#[test]
fn one_change_costs_the_same_among_ten_and_two_thousand_services() {
    let costs = [10, 2000].map(|services| {
        let (mut world, mut programmer) = world(services);
        let steps: [&[usize]; 4] = [&[1, 2, 3, 4], &[1, 2, 4], &[1, 2, 5], &[]];
        steps.map(|endpoints| {
            slice(&mut world, 7, endpoints);
            let (snapshot, changes) = world.builder.publish(world.revision);
            assert_eq!(changes.services.len(), 1);
            let plan = programmer.plan(&snapshot, &changes, 1 << 16, &size);
            assert_eq!(plan.batches.len(), 1, "one Service never straddles two batches");
            (plan.keys_compiled, plan.bytes)
        })
    });
    assert_eq!(costs[0], costs[1]);
    // An endpoint takes three elements and the set's head is deleted and added: some forty bytes each.
    assert!(costs[0].iter().all(|(keys, bytes)| *keys == 1 && *bytes <= 400), "{costs:?}");
}

#[test]
fn a_change_that_changes_nothing_sends_nothing() {
    let (mut world, mut programmer) = world(3);
    slice(&mut world, 1, &[3, 2, 1]);
    let (snapshot, changes) = world.builder.publish(world.revision);
    let plan = programmer.plan(&snapshot, &changes, 1 << 16, &size);
    assert_eq!((plan.keys_compiled, plan.batches.len(), plan.bytes), (1, 0, 0));
    let plan = programmer.plan(&snapshot, &Changes::default(), 1 << 16, &size);
    assert_eq!((plan.keys_compiled, plan.batches.len()), (0, 0));
}
