//! The parts that must turn, in; one line about them, or what does not turn, out.

use std::sync::Arc;
use std::thread::JoinHandle;

use api::object::ObjectKey;
use apiserver::Api;
use contract::access::Access;
use contract::applied::Applied;
use store::Store;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::Running;

/// What a supervisor wants to know again and again: does it live?
pub(crate) struct Pulse {
    api: Api,
    store: Store,
    applied: Applied,
    node_runtime: Handle,
    kubelet: AbortHandle,
    dataplane: Arc<JoinHandle<()>>,
}

impl Running {
    /// The pulse of this instance.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            api: self.api.clone(),
            store: self.store.clone(),
            applied: self.applied.clone(),
            node_runtime: self.node_runtime.clone(),
            kubelet: self.kubelet.abort_handle(),
            dataplane: self.dataplane.clone(),
        }
    }
}

impl Pulse {
    /// One beat: the API answers, the thread in the node's network answers, and neither the kubelet nor the dataplane has
    /// ended. A part that hangs makes the beat hang. What the kernel refuses is no standstill: a restart would not mend it.
    pub(crate) async fn beat(&self) -> Result<String, String> {
        let key = ObjectKey::new("default", "kubernetes");
        self.api.get(&api::kinds::SERVICE, &key).await.map_err(|status| format!("the API: {status}"))?;
        let turned = self.node_runtime.spawn(async {}).await;
        turned.map_err(|error| format!("the thread in the node's network: {error}"))?;
        if self.kubelet.is_finished() {
            return Err("the kubelet ended".to_owned());
        }
        if self.dataplane.is_finished() {
            return Err("the dataplane's thread ended".to_owned());
        }
        Ok(format!("serving; revision {}, applied {}", self.store.revision(), self.applied.node()))
    }
}
