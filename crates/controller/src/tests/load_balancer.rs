//! Load-balancer addresses on the toy API: through lost watches and conflicts, and not before the nodes let go.

use std::sync::atomic::{AtomicBool, Ordering};

use api::kinds::EVENT;
use compile::snapshot::{Changes, Snapshot};

use super::*;
use crate::{Backoff, Sink, SinkError, drive};

/// A node that applies everything, except while it is told not to.
struct Node(Arc<AtomicBool>);

impl Sink for Node {
    fn apply(&mut self, _: &Arc<Snapshot>, _: &Changes) -> Result<(), SinkError> {
        if self.0.load(Ordering::Relaxed) { Err(SinkError("told to fail".to_owned())) } else { Ok(()) }
    }
}

fn service(name: &str) -> Value {
    let spec = json!({ "type": "LoadBalancer", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ipFamilies": ["IPv4"], "ports": [{ "port": 80 }] });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

fn address(toy: &Toy, name: &str) -> Option<String> {
    let service = toy.value(&SERVICE, "default", name)?;
    Some(service.pointer("/status/loadBalancer/ingress/0/ip")?.as_str()?.to_owned())
}

fn told(toy: &Toy, name: &str, part: &str) -> Option<()> {
    let about = |event: &&Value| event["involvedObject"]["name"] == name;
    let events = toy.values(&EVENT, "default");
    events.iter().filter(about).any(|event| event["message"].as_str().unwrap().contains(part)).then_some(())
}

#[tokio::test(start_paused = true)]
async fn addresses_are_given_through_lost_watches_and_conflicts_and_taken_back_on_proof() {
    let toy = Toy::new();
    let (applied, failing) = (Applied::default(), Arc::new(AtomicBool::new(false)));
    let confirm = applied.sink("nft");
    let controllers = start(config(), toy.clone(), applied.clone());
    let node = drive(controllers.feed.subscribe(), Node(failing.clone()), confirm, Backoff::default());
    let node = tokio::spawn(node);
    toy.until("namespace", || toy.value(&NAMESPACE, "", "default")).await;
    toy.create(&SERVICE, service("a")).await.unwrap();
    assert_eq!(toy.until("the first address", || address(&toy, "a")).await, "10.99.0.1");
    let finalizers = toy.value(&SERVICE, "default", "a").unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["service.kubernetes.io/load-balancer-cleanup"]));

    toy.break_watches();
    toy.state.lock().unwrap().conflicts = 3;
    toy.create(&SERVICE, service("b")).await.unwrap();
    assert_eq!(toy.until("the second address", || address(&toy, "b")).await, "10.99.0.2");
    toy.create(&SERVICE, service("c")).await.unwrap();
    toy.until("what c is told", || told(&toy, "c", "all 2 of pool default are taken")).await;

    failing.store(true, Ordering::Relaxed);
    let key = ObjectKey::new("default", "a");
    toy.delete(&SERVICE, &key, &DeleteOptions::default()).await.unwrap();
    toy.until("why c still waits", || told(&toy, "c", "10.99.0.1 was given back")).await;
    assert!(toy.value(&SERVICE, "default", "a").is_some(), "the finalizer holds it");
    assert_eq!(address(&toy, "c"), None);

    failing.store(false, Ordering::Relaxed);
    assert_eq!(toy.until("the address for c", || address(&toy, "c")).await, "10.99.0.1");
    toy.until("the end of a", || toy.value(&SERVICE, "default", "a").is_none().then_some(())).await;
    toy.until("the last Event", || told(&toy, "a", "Deleted load balancer")).await;
    node.abort();
}
