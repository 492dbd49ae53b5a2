//! What Services and their slices cost in memory once they are stored, as the API writes them, by a counting allocator.

use std::sync::Arc;

use api::kinds;
use apiserver::{Api, Config};
use compile::allocate::Ranges;
use contract::access::Access;
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use store::Limits;
use store::log::memory::MemoryLog;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const SERVICES: usize = 400;
const ENDPOINTS: usize = 10;

fn service(number: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("service-{number:05}"), "namespace": "default",
            "labels": { "app": format!("app-{number:05}"), "tier": "backend" },
        },
        "spec": {
            "selector": { "app": format!("app-{number:05}") },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }, { "name": "metrics", "port": 9090 }],
        },
    })
}

fn slice(number: usize) -> Value {
    let endpoint = |index: usize| {
        let address = number * ENDPOINTS + index;
        json!({
            "addresses": [format!("10.244.{}.{}", address / 250, address % 250 + 1)], "nodeName": "node-1",
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "targetRef": { "kind": "Pod", "namespace": "default", "name": format!("app-{number:05}-{index}") },
        })
    };
    json!({
        "metadata": {
            "name": format!("service-{number:05}-abcde"), "namespace": "default",
            "labels": {
                "kubernetes.io/service-name": format!("service-{number:05}"),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }, { "name": "metrics", "port": 9090, "protocol": "TCP" }],
    })
}

#[test]
fn a_service_with_its_slice_takes_a_third_of_its_json() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limits = Limits { history_events: 0, ..Limits::default() };
    let store = store::Store::open(Box::new(MemoryLog::default()), limits).expect("a store in memory");
    let cidr = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is a range"));
    let ranges = Ranges { service: vec![cidr("10.96.0.0/16")], node_ports: 30_000..=32_767 };
    let api = Api::new(store.clone(), Config::new(ranges)).unwrap_or_else(|status| panic!("{status}"));
    let (users, slices, status): (Arc<dyn Access>, Arc<dyn Access>, Arc<dyn Access>) = (
        Arc::new(api.as_manager("kubectl-create")),
        Arc::new(api.as_manager("mainstay-endpoints")),
        Arc::new(api.as_manager("mainstay-programmed")),
    );
    runtime.block_on(async {
        api.bootstrap().await.unwrap_or_else(|status| panic!("{status}"));
        let namespace = json!({ "metadata": { "name": "default" } });
        users.create(&kinds::NAMESPACE, namespace).await.unwrap_or_else(|status| panic!("{status}"));
        let add = async |number: usize| {
            let made = users.create(&kinds::SERVICE, service(number)).await;
            let made = made.unwrap_or_else(|status| panic!("{status}"));
            slices.create(&kinds::ENDPOINT_SLICE, slice(number)).await.unwrap_or_else(|status| panic!("{status}"));
            let mut object: Value = serde_json::from_slice(&made.json).expect("JSON");
            object["status"]["conditions"] = json!([{
                "type": "Programmed", "status": "True", "reason": "Programmed", "message": "every node has applied it",
                "lastTransitionTime": "2026-11-21T08:00:00Z", "observedGeneration": 1,
            }]);
            status.update_status(&kinds::SERVICE, object).await.unwrap_or_else(|status| panic!("{status}"));
        };
        // Dictionaries, tables and caches are there after the first ones.
        for number in 0..SERVICES {
            add(number).await;
        }
        let (held, plain) = store.body_bytes();
        let before = ALLOCATED.current_usage();
        for number in SERVICES..2 * SERVICES {
            add(number).await;
        }
        let (held, plain) = (store.body_bytes().0 - held, store.body_bytes().1 - plain);
        // The log in memory shares its records with the store; only its own tree is counted with it.
        let all = ALLOCATED.current_usage() - before;
        println!(
            "a Service, its slice of {ENDPOINTS} endpoints and its IPAddress: {} bytes of JSON, {} held, {} allocated in all",
            plain / SERVICES,
            held / SERVICES,
            all / SERVICES
        );
        assert!(held * 3 < plain, "{held} of {plain} bytes");
        assert!(all < plain, "{all} bytes allocated for {plain} bytes of JSON");
    });
}
