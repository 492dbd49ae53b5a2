//! A snapshot and an empty kernel in, a loaded kernel out: one thread compiles the next Services while another waits for
//! the kernel to take the last ones.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use compile::nft::Programmer;
use compile::nft::state::{Batch, Element, SetName};
use compile::snapshot::{Changes, Snapshot};

use crate::nft::encoded_len;
use crate::{Dataplane, Result};

/// Services compiled at a time: with a few endpoints each, about what fits in one batch.
const SERVICES_AT_ONCE: usize = 2_000;
/// Batches that wait for the kernel. Each is at most a mebibyte on the wire.
const BATCHES_AHEAD: usize = 2;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) batches: usize,
    pub(super) bytes: usize,
    pub(super) keys_compiled: usize,
}

/// Loads everything. `programmer` must have adopted an empty table. None if the system gave no second thread; then
/// nothing was done.
pub(super) fn load(
    programmer: &mut Programmer,
    plane: &mut dyn Dataplane,
    snapshot: &Snapshot,
) -> Result<Option<Loaded>> {
    let bytes_max = plane.batch_bytes_max();
    let (send, receive) = sync_channel(BATCHES_AHEAD);
    thread::scope(|scope| {
        let planner = thread::Builder::new().name("dataplane-plan".into());
        let planner = planner.spawn_scoped(scope, move || plan(programmer, snapshot, bytes_max, &send));
        let Ok(planner) = planner else { return Ok(None) };
        let applied = receive.into_iter().try_for_each(|batch| plane.apply(&batch));
        // After a failure the receiver is gone, so that the planner ends at its next batch.
        let done = planner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        applied.map(|()| Some(done))
    })
}

/// Plans the same elements as one plan of everything would, in the same order but for the ranges of Services: an address in
/// them that no Service has is refused. Before the Services are there that would be all of them, also on a node where
/// another proxy's rules still serve them.
fn plan(programmer: &mut Programmer, snapshot: &Snapshot, bytes_max: usize, batches: &SyncSender<Batch>) -> Loaded {
    let mut done = Loaded::default();
    let mut ranges = Vec::new();
    let mut step = |snapshot: &Snapshot, changes: &Changes| {
        let plan = programmer.plan(snapshot, changes, bytes_max, &encoded_len);
        done.batches += plan.batches.len();
        done.bytes += plan.bytes;
        done.keys_compiled += plan.keys_compiled;
        plan.batches.into_iter().all(|mut batch| {
            ranges.extend(batch.add.iter().filter(|element| is_service_range(element)).cloned());
            batch.add.retain(|element| !is_service_range(element));
            batch == Batch::default() || batches.send(batch).is_ok()
        })
    };
    // The first plan after an adoption looks at everything, so it gets the snapshot without Services.
    let bare = Snapshot { services: Default::default(), ..snapshot.clone() };
    if !step(&bare, &Changes::default()) {
        return done;
    }
    let keys: Vec<_> = snapshot.services.keys().cloned().collect();
    for some in keys.chunks(SERVICES_AT_ONCE) {
        let changes = Changes { services: some.iter().cloned().collect(), ..Changes::default() };
        if !step(snapshot, &changes) {
            return done;
        }
    }
    // Whoever does not take them has failed, and says so itself.
    let _ended = batches.send(Batch { add: ranges, ..Batch::default() });
    done.batches += 1;
    done
}

fn is_service_range(element: &Element) -> bool {
    matches!(element.set, SetName::ServiceCidrs4 | SetName::ServiceCidrs6)
}

#[cfg(test)]
pub(super) mod tests {
    use api::object::{ObjectKey, Revision};
    use compile::nft::state::State;
    use compile::service_table::Config;
    use compile::snapshot::Builder;
    use serde_json::json;

    use super::*;
    use crate::memory::Memory;

    pub(in crate::keeper) fn config() -> Config {
        let range = |text: &str| text.parse().unwrap();
        Config {
            node: "node".into(),
            pod_cidrs: vec![range("10.244.0.0/16")],
            service_cidrs: vec![range("10.96.0.0/16")],
            egress: false,
            node_port_addresses: vec!["10.244.0.1".parse().unwrap()],
            dns_addresses: vec!["10.96.0.10".parse().unwrap()],
            pools: compile::load_balancer::Pools::default(),
            ..Config::default()
        }
    }

    /// So many Services and one more; the last one wants the address of the first.
    pub(in crate::keeper) fn snapshot(last: usize) -> std::sync::Arc<Snapshot> {
        let mut builder = Builder::default();
        for number in 0..=last {
            let key = ObjectKey::new("ns", format!("s{number:05}"));
            let low = if number == last { 0 } else { number };
            let address = format!("10.96.{}.{}", 1 + low / 250, low % 250);
            let metadata = json!({ "name": &*key.name, "namespace": "ns", "labels": { "kubernetes.io/service-name": &*key.name } });
            let service = json!({
                "metadata": metadata,
                "spec": { "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP",
                          "ports": [{ "port": 80, "protocol": "TCP" }] },
            });
            let slice = json!({
                "metadata": metadata, "addressType": "IPv4",
                "endpoints": [{ "addresses": [format!("10.244.{}.{}", 1 + number / 250, number % 250)] }],
                "ports": [{ "port": 8080, "protocol": "TCP" }],
            });
            builder.put("services", &key, Revision(1), service.to_string().as_bytes()).unwrap();
            builder.put("endpointslices", &key, Revision(1), slice.to_string().as_bytes()).unwrap();
        }
        let pod = json!({
            "metadata": { "name": "p", "namespace": "ns" }, "spec": { "nodeName": "node" },
            "status": { "phase": "Running", "podIP": "10.244.1.1", "podIPs": [{ "ip": "10.244.1.1" }] },
        });
        builder.put("pods", &ObjectKey::new("ns", "p"), Revision(1), pod.to_string().as_bytes()).unwrap();
        builder.publish(Revision(1)).0
    }

    fn fresh() -> (Programmer, Memory) {
        let mut programmer = Programmer::new(config());
        programmer.adopt(State::new());
        let mut plane = Memory::default();
        plane.install().unwrap();
        (programmer, plane)
    }

    #[test]
    fn steps_load_what_one_plan_loads() {
        let snapshot = snapshot(SERVICES_AT_ONCE + 1);
        let (mut one, mut whole) = fresh();
        let plan = one.plan(&snapshot, &Changes::default(), whole.batch_bytes_max(), &encoded_len);
        plan.batches.iter().for_each(|batch| whole.apply(batch).unwrap());

        let (mut many, mut stepped) = fresh();
        let done = load(&mut many, &mut stepped, &snapshot).unwrap().unwrap();
        assert_eq!(done.keys_compiled, SERVICES_AT_ONCE + 2);
        assert_eq!(done.bytes, plan.bytes);
        assert_eq!(stepped.state(), whole.state());
        assert_eq!(many.state(), one.state());
        assert!(many.problems().eq(one.problems()), "the second claim to an address is refused, also across steps");
        assert_eq!(many.problems().count(), 1);
    }

    #[test]
    fn unknown_addresses_are_refused_only_once_every_service_is_known() {
        let (mut programmer, plane) = fresh();
        let (send, receive) = sync_channel(64);
        plan(&mut programmer, &snapshot(1), plane.batch_bytes_max(), &send);
        drop(send);
        let batches: Vec<Batch> = receive.into_iter().collect();
        let (last, before) = batches.split_last().unwrap();
        assert!(before.len() > 1 && before.iter().all(|batch| !batch.add.iter().any(is_service_range)));
        assert!(!last.add.is_empty() && last.add.iter().all(is_service_range));
    }

    #[test]
    fn a_failed_batch_ends_the_load_and_is_reported() {
        let (mut programmer, _) = fresh();
        // Nothing was installed here: the first batch is refused.
        let mut plane = Memory::default();
        assert!(load(&mut programmer, &mut plane, &snapshot(3)).is_err());
    }
}
