//! Settings in, this node's Services programmed from somebody else's API out: kube-proxy's place, and nothing more.
//!
//! Everything runs in the calling process's own network namespace. What was programmed stays when the process ends.

mod addresses;
pub(crate) mod conntrack;
mod health;
pub(crate) mod http;
mod metrics;
mod routes;
mod standing;
pub(crate) mod take_over;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::kinds::{ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR};
use api::object::ObjectKey;
use compile::service_table::{Config, IngressAddresses, LocalPods, MarkBit};
use compile::snapshot::Snapshot;
use compile::write::{Note, Target as About};
use contract::access::{Access, Scope};
use contract::applied::Applied;
use controller::remote::{self, NodeEvents, Remote, View};
use controller::{Events, Feed};
use serde_json::Value;
use tokio::sync::watch;

use self::metrics::Metrics;
use self::standing::Standing;
use super::faults::Faults;
use super::{health_check, nft};
use crate::host::NodePorts;

/// Label whose value names the proxy that a Service is for.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// How packets of pods are told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detect {
    /// As said: ranges or interfaces.
    Known(LocalPods, Vec<compile::allocate::Cidr>),
    /// By the ranges that the Node object names; nothing is programmed before it names some.
    NodeRanges,
}

/// What `mainstay node` was told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Which API, and as whom.
    pub(crate) target: remote::Target,
    /// Name of this node.
    pub(crate) node: String,
    /// Which packets are pods'.
    pub(crate) detect: Detect,
    /// Masquerade all connections to cluster IPs.
    pub(crate) masquerade_all: bool,
    /// Bit of the conntrack mark.
    pub(crate) mark: MarkBit,
    /// Which Services are ours by label; none: those without it.
    pub(crate) proxy_name: Option<String>,
    /// Which addresses serve node ports.
    pub(crate) node_ports: NodePorts,
    /// Address of this node where the Node object has none.
    pub(crate) bind: IpAddr,
    /// Where `/healthz` and `/livez` are.
    pub(crate) healthz: Option<SocketAddr>,
    /// Where `/metrics` and the rest are.
    pub(crate) metrics: Option<SocketAddr>,
    /// Not being able to bind is an error; else it is tried again and again.
    pub(crate) bind_hard: bool,
    /// A change that waits longer for the kernel makes the node unhealthy.
    pub(crate) late: Duration,
    /// What is set in the kernel's connection tracking.
    pub(crate) conntrack: conntrack::Wanted,
    /// Remove kube-proxy's rules once ours stand and kube-proxy is gone.
    pub(crate) take_over: bool,
    /// All of it as data, for `/configz`.
    pub(crate) shown: Value,
}

/// A running node role. Dropping it stops following; the kernel keeps what it has.
pub(crate) struct Running {
    /// What the kernel has acknowledged.
    pub(crate) applied: Applied,
    /// Snapshots.
    pub(crate) feed: Feed,
    /// What is known about the whole.
    pub(crate) standing: Arc<Standing>,
    tasks: tokio::task::JoinSet<()>,
    dataplane: std::thread::JoinHandle<()>,
}

impl Running {
    /// Waits until one of the parts that must turn has ended, and says which.
    pub(crate) async fn ended(&mut self) -> String {
        let Self { tasks, dataplane, .. } = self;
        let patrol = async {
            while !dataplane.is_finished() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        // One that has done its work is no loss.
        let failed = async {
            loop {
                match tasks.join_next().await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return error,
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = patrol => "the dataplane's thread ended".to_owned(),
            error = failed => format!("a task failed: {error}"),
        }
    }
}

/// Starts the role. Returns when it follows the API for the first time and the sink has begun.
pub(crate) async fn start(settings: Settings) -> Result<Running> {
    let (client, server) = remote::connect(&settings.target).await.context(
        "cannot prepare to talk to the API.\nName a kubeconfig that works with kubectl: mainstay node --kubeconfig PATH",
    )?;
    let remote = Remote::new(client, views(&settings.node, settings.proxy_name.as_deref()));
    let access: Arc<dyn Access> = Arc::new(remote.clone());
    let (publisher, feed) = controller::feed();
    let (events, notes) = NodeEvents::new(&settings.node);
    let (report, applied) = (nft::Report::default(), Applied::default());
    let metrics = Arc::new(Metrics::new(remote.link().clone(), report.clone(), applied.clone()));
    let standing = Arc::new(Standing::new(&settings, server, metrics.clone(), feed.latest()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(notes.run(access.clone()));
    conntrack::set(&settings.conntrack);
    // Before anything is known, so that whoever asks is told that it is not.
    let bound = http::start(&settings, &standing, &events, &mut tasks)?;
    let told = {
        let metrics = metrics.clone();
        move |snapshot: &Arc<Snapshot>, changes: &_| metrics.published(snapshot, changes)
    };
    let node = settings.node.clone();
    tasks.spawn(async move { controller::reflect_node(access, publisher, &node, told).await });

    let first = first(&settings, &feed).await;
    let config = table(&settings, &first);
    let own = config.node_addresses.clone();
    let (node_ports, follower) = addresses::follow(&settings, &feed)?;
    tasks.spawn(follower);
    tasks.spawn(routes::keep(feed.latest(), own));
    let config = Config { node_port_addresses: node_ports.borrow().clone(), ..config };
    let told = metrics.clone();
    report.tell(Box::new(move |synced| told.synced(synced)));
    let faults = Faults::new(false, true);
    let shared = nft::Shared {
        report: report.clone(),
        faults,
        node_ports: node_ports.clone(),
        events: Some(events.clone()),
        leaving: nft::staying(),
    };
    let confirm = applied.sink("nft");
    let dataplane = nft::start(nft::Kind::Nft, Box::new(|| Ok(())), config, &feed, confirm, shared)?;
    let source = health_check::Source {
        node: settings.node.clone(),
        addresses: node_ports,
        latest: feed.latest(),
        report: report.clone(),
    };
    tasks.spawn(health_check::run(feed.subscribe(), source, events.clone()));
    tasks.spawn(take_over::run(settings.take_over, bound, applied.clone(), about(&settings.node), events.clone()));
    tasks.spawn(super::rest::keep());
    Ok(Running { applied, feed, standing, tasks, dataplane })
}

/// What of the cluster one node looks at, as kube-proxy does: its own Node, the Services that are for it, no slices of
/// headless ones.
fn views(node: &str, proxy_name: Option<&str>) -> Vec<View> {
    let view = |kind, labels: String, fields: String, optional| {
        let scope = Scope { labels, fields, namespace: String::new() };
        View { kind, scope, optional }
    };
    let services = match proxy_name {
        None => format!("!{PROXY_NAME}"),
        Some(name) => format!("{PROXY_NAME}={name}"),
    };
    vec![
        view(&NODE, String::new(), format!("metadata.name={node}"), false),
        view(&SERVICE, services, String::new(), false),
        view(&ENDPOINT_SLICE, "!service.kubernetes.io/headless".to_owned(), String::new(), false),
        // Served since Kubernetes 1.33.
        view(&SERVICE_CIDR, String::new(), String::new(), true),
    ]
}

/// What the role asks of the API: kinds and verbs, for whoever gives it the right to.
#[cfg(test)]
pub(crate) fn needs() -> Vec<(&'static api::kind::Kind, &'static str)> {
    let seen = views("", None).into_iter().flat_map(|view| [(view.kind, "list"), (view.kind, "watch")]);
    seen.chain([(&api::kinds::EVENT, "create")]).collect()
}

/// The first whole snapshot; for `Detect::NodeRanges` one in which the node has ranges.
async fn first(settings: &Settings, feed: &Feed) -> Arc<Snapshot> {
    let key = ObjectKey::new("", settings.node.as_str());
    let mut latest = feed.latest();
    let enough = |snapshot: &Arc<Snapshot>| {
        let ranges = || snapshot.nodes.get(&key).is_some_and(|node| !node.pod_cidrs.is_empty());
        snapshot.number > 0 && (settings.detect != Detect::NodeRanges || ranges())
    };
    // The publisher lives in a task that does not end.
    let first = latest.wait_for(enough).await.map_or_else(|_| Arc::default(), |snapshot| snapshot.clone());
    if !first.nodes.contains_key(&key) {
        tracing::warn!(
            node = settings.node,
            "the cluster has no Node of this name: without one there are no local endpoints and no primary addresses. \
             Name it as kubectl get nodes does: --hostname-override NAME"
        );
    }
    first
}

/// What the compile steps are told.
fn table(settings: &Settings, first: &Snapshot) -> Config {
    let node = first.nodes.get(&ObjectKey::new("", settings.node.as_str()));
    let (local_pods, pod_cidrs) = match &settings.detect {
        Detect::Known(pods, ranges) => (pods.clone(), ranges.clone()),
        Detect::NodeRanges => (LocalPods::Ranges, node.map(|node| node.pod_cidrs.clone()).unwrap_or_default()),
    };
    Config {
        node: settings.node.as_str().into(),
        pod_cidrs,
        local_pods,
        node_addresses: node.map(|node| node.addresses.clone()).unwrap_or_default(),
        ingress: IngressAddresses::All,
        masquerade_all: settings.masquerade_all,
        service_proxy_name: settings.proxy_name.as_deref().map(Into::into),
        mark: settings.mark,
        drop_invalid: !settings.conntrack.is_liberal(),
        ..Config::default()
    }
}

/// This node, as Events name it: `kubectl describe node` looks for the name in the place of the uid.
fn about(node: &str) -> About {
    About { kind: &NODE, key: ObjectKey::new("", node), uid: node.into(), revision: None }
}

/// Tells something about the node.
fn tell(events: &Events, node: &str, reason: &'static str, message: String, warning: bool) {
    events.tell(Note { about: about(node), reason, message, warning });
}

/// What others may look at: the newest snapshot.
type Latest = watch::Receiver<Arc<Snapshot>>;
