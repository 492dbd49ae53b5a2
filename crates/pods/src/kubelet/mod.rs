//! The kubelet: Pods bound to this node in, one worker per Pod out, each making its Pod run and saying so.

mod container;
mod events;
mod lifecycle;
mod probe;
pub(crate) mod security;
mod start;
mod status;
mod termination;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use api::kinds::POD;
use api::object::Revision;
use api::status::Status;
use compile::snapshot::Snapshot;
use contract::access::{Access, Object, Scope, WatchStep};
use contract::applied::Applied;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::addresses::{Addresses, Range};
use crate::builtin::BuiltIn;
use crate::holder::message::{Abilities, ContainerRecord};
use crate::name_files::Names;
use crate::network;
use crate::sandbox::{Client, Sandbox};
use worker::Worker;

/// What the kubelet is told.
#[derive(Clone)]
pub struct Config {
    /// Name of this node.
    pub node_name: String,
    /// Addresses of this node in the pods' ranges, the source of its connections to pods.
    pub node_addresses: Vec<IpAddr>,
    /// Addresses by which others know this node; pods on the node's network have them. They may change.
    pub host_addresses: watch::Receiver<Vec<IpAddr>>,
    /// Ranges of pod addresses, one per family.
    pub pod_ranges: Vec<Range>,
    /// What names in pods resolve by.
    pub names: Names,
    /// Hold SIGTERM until no node sends new connections (`--drain=on`); may be switched while running.
    pub drain: Arc<AtomicBool>,
    /// A runtime whose sockets belong to the node's network; probes dial from there.
    pub node_runtime: tokio::runtime::Handle,
}

/// The containers that the holder knows, by pod uid and container name.
type Records = BTreeMap<(String, String), ContainerRecord>;

/// What all workers share.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) client: Client,
    pub(crate) netns: OwnedFd,
    pub(crate) directory: PathBuf,
    pub(crate) abilities: Abilities,
    pub(crate) built_ins: Vec<Arc<dyn BuiltIn>>,
    /// Whether pods live on the host itself.
    pub(crate) on_host: bool,
    addresses: Mutex<Addresses>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    applied: Applied,
    records: watch::Receiver<Arc<Records>>,
    /// Which pod and containers a key means now, for logs and exec.
    pub(crate) running: Mutex<BTreeMap<api::object::ObjectKey, Arc<Pod>>>,
}

/// Runs the Pods of one node.
pub struct Kubelet {
    node: Arc<Node>,
    publish: watch::Sender<Arc<Records>>,
    workers: BTreeMap<String, watch::Sender<Option<Arc<Pod>>>>,
}

impl Kubelet {
    /// A kubelet over a sandbox. `built_ins` are images without a process.
    pub fn new(
        config: Config,
        access: Arc<dyn Access>,
        sandbox: &Sandbox,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        applied: Applied,
        built_ins: Vec<Arc<dyn BuiltIn>>,
    ) -> std::io::Result<Self> {
        let (publish, records) = watch::channel(Arc::new(Records::new()));
        let node = Node {
            addresses: Mutex::new(Addresses::new(&config.pod_ranges)),
            config,
            access,
            client: sandbox.client().clone(),
            netns: sandbox.netns().try_clone_to_owned()?,
            directory: sandbox.directory().join("pods"),
            abilities: sandbox.abilities().clone(),
            built_ins,
            on_host: sandbox.mode() == crate::sandbox::Mode::Host,
            snapshot,
            applied,
            records,
            running: Mutex::new(BTreeMap::new()),
        };
        Ok(Self { node: Arc::new(node), publish, workers: BTreeMap::new() })
    }

    /// Logs and commands of the pods of this node.
    pub fn streams(&self) -> Arc<crate::streams::Streams> {
        Arc::new(crate::streams::Streams::new(self.node.clone()))
    }

    /// Runs until the sandbox is gone; the error says why it ended.
    pub async fn run(mut self) -> Result<(), String> {
        let (wake, mut woken) = watch::channel(0u64);
        let (lost, mut gone) = watch::channel(false);
        let client = self.node.client.clone();
        let subscribed = client.subscribe(move || wake.send_modify(|count| *count += 1), move || _ = lost.send(true));
        subscribed.map_err(|error| format!("listen to the holder: {error}"))?;
        self.observe().await?;
        let mut relist = std::time::Duration::ZERO;
        loop {
            tokio::time::sleep(relist).await;
            relist = std::time::Duration::from_secs(1);
            let revision = match self.relist().await {
                Ok(revision) => revision,
                Err(status) => {
                    tracing::warn!(%status, "pods not listed, trying again");
                    continue;
                }
            };
            let mut steps = match self.node.access.watch(&[&POD], revision).await {
                Ok(steps) => steps,
                Err(status) => {
                    tracing::warn!(%status, "pods not watched, listing again");
                    continue;
                }
            };
            loop {
                tokio::select! {
                    _ = gone.changed() => return Err("the sandbox is gone: its holder has ended".to_owned()),
                    Ok(()) = woken.changed() => self.observe().await?,
                    step = steps.next() => match step {
                        Some(Ok(step)) => self.step(step),
                        Some(Err(status)) => {
                            tracing::debug!(%status, "watch of pods ended");
                            relist = std::time::Duration::ZERO;
                            break;
                        }
                        None => break,
                    },
                }
            }
        }
    }

    /// Asks the holder what runs and tells the workers.
    async fn observe(&mut self) -> Result<(), String> {
        let listed = loop {
            let client = self.node.client.clone();
            let listed = tokio::task::spawn_blocking(move || client.containers()).await;
            match listed.map_err(|error| error.to_string())? {
                // One that goes on later has lost nothing.
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => tracing::warn!(%error, "pods not seen"),
                done => break done.map_err(|error| format!("ask the holder: {error}"))?,
            }
        };
        let key = |record: &ContainerRecord| (record.pod.clone(), record.container.clone());
        let records = listed.into_iter().map(|record| (key(&record), record)).collect();
        self.publish.send_replace(Arc::new(records));
        Ok(())
    }

    /// Lists all Pods, keeps the addresses they have before any new one gets one, and ends what has no Pod any more.
    async fn relist(&mut self) -> Result<Revision, Status> {
        let list = self.node.access.list(&POD, &Scope::default()).await?;
        let pods: Vec<_> = list.items.iter().filter_map(|object| self.ours(object)).collect();
        for pod in &pods {
            let addresses = worker::addresses_of(pod);
            if !addresses.is_empty() && !worker::finished(pod) {
                self.node.lock_addresses().keep(pod.metadata.uid.as_deref().unwrap_or_default(), &addresses);
            }
        }
        let uids: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        self.workers.retain(|uid, worker| {
            let listed = uids.contains(uid);
            if !listed {
                worker.send_replace(None);
            }
            listed
        });
        self.remove_strays(&uids).await;
        for pod in pods {
            self.put(pod);
        }
        Ok(list.revision)
    }

    /// Ends pods in the holder that the API no longer knows.
    async fn remove_strays(&self, uids: &[String]) {
        let node = self.node.clone();
        let known = uids.to_vec();
        let workers: Vec<_> = self.workers.keys().cloned().collect();
        let removed = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            for stray in node.client.pods()?.iter().filter(|uid| !known.contains(uid) && !workers.contains(uid)) {
                node.client.remove_pod(stray)?;
                network::disconnect(node.netns.as_fd(), stray)?;
                remove_directory(&node.directory.join(stray));
            }
            Ok(())
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "pods without an object in the API were not removed");
        }
    }

    fn step(&mut self, step: WatchStep) {
        match step {
            WatchStep::Put(_, object) => {
                if let Some(pod) = self.ours(&object) {
                    self.put(pod);
                }
            }
            WatchStep::Delete(_, object) => {
                let uid = self.ours(&object).and_then(|pod| pod.metadata.uid.clone());
                if let Some(worker) = uid.and_then(|uid| self.workers.remove(&uid)) {
                    worker.send_replace(None);
                }
            }
            WatchStep::Progress(_) => {}
        }
    }

    fn put(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        self.node.running.lock().unwrap_or_else(|poison| poison.into_inner()).insert(worker::key_of(&pod), pod.clone());
        match self.workers.get(&uid) {
            Some(worker) => drop(worker.send_replace(Some(pod))),
            None => {
                let (sender, receiver) = watch::channel(Some(pod.clone()));
                self.workers.insert(uid, sender);
                tokio::spawn(Worker::new(self.node.clone(), pod, receiver).run());
            }
        }
    }

    /// The Pod of an object, if it is bound to this node.
    fn ours(&self, object: &Object) -> Option<Arc<Pod>> {
        let pod: Pod = match serde_json::from_slice(&object.json) {
            Ok(pod) => pod,
            Err(error) => {
                tracing::warn!(pod = %object.key, %error, "pod not understood");
                return None;
            }
        };
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        (bound == Some(&self.node.config.node_name)).then(|| Arc::new(pod))
    }
}

impl Node {
    /// Addresses by which others know this node.
    pub(crate) fn host_addresses(&self) -> Vec<IpAddr> {
        self.config.host_addresses.borrow().clone()
    }

    fn lock_addresses(&self) -> std::sync::MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn remove_directory(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "directory of a pod not removed");
    }
}
