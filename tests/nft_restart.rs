//! A process that starts where another one programmed: it adopts what the kernel holds, and writes nothing.
//!
//! Alone in its process, because it counts the writes of a process. Needs root (or `unshare -Urn`). For figures:
//! `MAINSTAY_SERVICES=10000,50000x2 cargo test --release -p mainstay-tests --test nft_restart -- --nocapture`.

#[allow(dead_code, clippy::unwrap_used, reason = "shared with nft_kernel, which uses all of it")]
#[path = "nft_kernel/topology.rs"]
mod topology;

#[allow(dead_code, clippy::unwrap_used, reason = "shared with property_nft, which uses all of it")]
#[path = "property_nft/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Instant;

use compile::snapshot::{Changes, Snapshot};
use dataplane::keeper::Keeper;
use dataplane::nft::Nft;
use serde_json::json;

use self::topology::Netns;
use self::world::{World, config};

/// Endpoints of each Service and family.
const ENDPOINTS: usize = 4;

/// So many Services with four endpoints each, in one family or two.
fn snapshot(services: usize, dual: bool) -> Arc<Snapshot> {
    let mut world = World::default();
    for index in 0..services {
        let name = format!("s{index:05}");
        let (high, low) = (index / 250 + 1, index % 250 + 1);
        let mut addresses = vec![format!("10.96.{high}.{low}")];
        if dual {
            addresses.push(format!("fd96::{high:x}:{low:x}"));
        }
        let spec = json!({"clusterIP": addresses[0], "clusterIPs": addresses, "ports": [{"port": 80}]});
        world.put("services", "d", &name, &json!({"metadata": {}, "spec": spec}));
        for (family, six) in [("IPv4", false), ("IPv6", true)].into_iter().take(addresses.len()) {
            let endpoints: Vec<_> = (0..ENDPOINTS)
                .map(|endpoint| {
                    let number = index * ENDPOINTS + endpoint;
                    let [a, b, c] = [number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff];
                    let address =
                        if six { format!("fd24::{a:x}:{b:x}:{c:x}") } else { format!("10.{}.{b}.{c}", 200 + a) };
                    json!({"addresses": [address]})
                })
                .collect();
            let slice = json!({
                "metadata": {"labels": {"kubernetes.io/service-name": name}}, "addressType": family,
                "ports": [{"name": "", "port": 8080}], "endpoints": endpoints,
            });
            world.put("endpointslices", "d", &format!("{name}-{family}"), &slice);
        }
    }
    world.builder.publish(world.revision).0
}

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn keeper(netns: &Netns) -> Keeper {
    Keeper::new(config(), Box::new(netns.run(|| Nft::open().unwrap())))
}

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn adopt(services: usize, dual: bool) {
    let (netns, snapshot) = (Netns::new(), snapshot(services, dual));
    let began = Instant::now();
    let loaded = keeper(&netns).program(&snapshot, &Changes::default()).unwrap();
    println!("{services} Services, dual-stack {dual}: loaded in {:?}, {} bytes", began.elapsed(), loaded.bytes);
    assert!(loaded.switched && loaded.keys_compiled == services);
    for _ in 0..3 {
        let before = kernel::nl::writes();
        let began = Instant::now();
        let mut next = keeper(&netns);
        let done = next.program(&snapshot, &Changes::default()).unwrap();
        println!("adopted in {:?}", began.elapsed());
        assert_eq!((done.batches, done.bytes, done.switched), (0, 0, false), "nothing changed, nothing is written");
        assert_eq!(kernel::nl::writes(), before, "not one request that could change something");
        assert_eq!(done.keys_compiled, services);
    }
}

#[test]
fn a_start_that_finds_everything_writes_nothing() {
    let asked = std::env::var("MAINSTAY_SERVICES").unwrap_or_else(|_| "500,500x2".to_owned());
    for one in asked.split(',') {
        let (services, dual) = one.strip_suffix("x2").map_or((one, false), |services| (services, true));
        adopt(services.parse().expect("MAINSTAY_SERVICES is numbers such as 10000 or 50000x2"), dual);
    }
}
