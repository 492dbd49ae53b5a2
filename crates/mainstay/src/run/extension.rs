//! What the API serves beside Kubernetes, under /mainstay/: status, problems, faults.

use std::net::IpAddr;
use std::sync::Arc;

use api::status::Status;
use apiserver::Extension;
use compile::load_balancer::{Pool, Pools};
use compile::snapshot::Snapshot;
use contract::applied::Applied;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::advice::Advisor;
use super::faults::Faults;
use super::nft;
use super::publish::Publish;
use super::trace::Tracer;

/// Answers for one running instance.
pub(crate) struct Instance {
    /// Address, node, mode and directory.
    pub(crate) facts: crate::instance::Instance,
    /// Name of the dataplane.
    pub(crate) dataplane: &'static str,
    /// What the holder can give to pods.
    pub(crate) abilities: pods::holder::message::Abilities,
    /// Newest durable revision.
    pub(crate) store: store::Store,
    /// What the sinks have confirmed.
    pub(crate) applied: Applied,
    /// Newest snapshot.
    pub(crate) latest: watch::Receiver<Arc<Snapshot>>,
    /// The nftables sink.
    pub(crate) report: nft::Report,
    /// Load-balancer addresses.
    pub(crate) pools: Pools,
    /// Switches for tests.
    pub(crate) faults: Faults,
    /// The zone as text.
    pub(crate) zone: Box<dyn Fn() -> String + Send + Sync>,
    /// Knows what is wrong.
    pub(crate) advisor: Arc<Advisor>,
    /// Ports on the host.
    pub(crate) publish: Publish,
    /// Follows packets through the kernel's rules.
    pub(crate) tracer: Tracer,
}

impl Extension for Instance {
    fn work(&self, method: &str, path: &str, body: &Value) -> Option<BoxFuture<'static, Result<Value, Status>>> {
        crate::keep::online::work(&self.store, &self.facts.data_dir, method, path, body)
            .or_else(|| self.publish.work(method, path, body))
            .or_else(|| self.tracer.work(method, path, body))
            .or_else(|| Advisor::work(&self.advisor, method, path, body))
    }

    fn serve(&self, method: &str, path: &str, body: &Value) -> Option<Result<Value, Status>> {
        match (method, path) {
            ("GET", "/mainstay/status") => Some(Ok(self.status())),
            ("GET", "/mainstay/faults") => Some(Ok(self.faults.to_json())),
            ("GET", "/mainstay/zone") => Some(Ok(json!({ "text": (self.zone)() }))),
            ("PUT", "/mainstay/faults") => Some(self.faults.set(body).map(|()| self.faults.to_json())),
            _ => None,
        }
    }
}

impl Instance {
    fn pools(&self, snapshot: &Snapshot) -> Vec<Value> {
        let used = |pool: &Pool| {
            let mine = |address: &IpAddr| pool.ranges.iter().any(|range| range.contains(*address));
            snapshot.holders.addresses().filter(mine).count()
        };
        let describe = |pool: &Pool| {
            json!({
                "name": pool.name,
                "ranges": pool.ranges.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "class": pool.class,
                "namespaces": pool.namespaces,
                "used": used(pool),
            })
        };
        self.pools.list.iter().map(describe).collect()
    }

    /// What the dataplane and the relay cannot do, and why the store takes no writes.
    fn problems(&self) -> Vec<String> {
        let store = self.store.failure().map(|why| format!("the store cannot write: {why}"));
        store.into_iter().chain(self.report.problems()).chain(self.publish.problems()).collect()
    }

    fn status(&self) -> Value {
        let snapshot = self.latest.borrow().clone();
        let sinks: Map<String, Value> =
            self.applied.sinks().into_iter().map(|(name, revision)| (name.to_owned(), revision.0.into())).collect();
        json!({
            "server": self.facts.server,
            "mode": self.facts.mode,
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.facts.node,
            "dataDir": self.facts.data_dir,
            "dataplane": self.dataplane,
            "limits": self.abilities.limits_text(),
            "users": self.abilities.users_text(),
            "revision": self.store.revision().0,
            "applied": self.applied.node().0,
            "sinks": sinks,
            "programming": self.report.totals(),
            "netlinkWrites": kernel::nl::writes(),
            "problems": self.problems(),
            "published": self.publish.to_json(),
            "pools": self.pools(&snapshot),
            "pods": pods(&snapshot),
            "objects": {
                "services": snapshot.services.size(),
                "endpointslices": snapshot.slices.size(),
                "pods": snapshot.pods.size(),
            },
        })
    }
}

/// Names of pods that are not ready which are listed.
const PODS_NAMED: usize = 10;

/// How many pods are how well.
fn pods(snapshot: &Snapshot) -> Value {
    let (mut ready, mut finished, mut not_ready, mut names) = (0, 0, 0, Vec::new());
    for (key, pod) in &snapshot.pods {
        match (pod.finished, pod.ready, pod.meta.deleting) {
            (true, ..) => finished += 1,
            (_, true, _) => ready += 1,
            // On its way out: neither.
            (.., true) => {}
            _ => {
                not_ready += 1;
                if names.len() < PODS_NAMED {
                    names.push(key.to_string());
                }
            }
        }
    }
    json!({ "ready": ready, "finished": finished, "notReady": not_ready, "notReadyNames": names })
}
