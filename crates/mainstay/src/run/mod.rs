//! The only wiring: settings and a sandbox in, a running instance with every role out.

mod advice;
mod certificates;
mod dial;
mod dns;
mod door;
mod extension;
pub(crate) mod faults;
mod health_check;
pub(crate) mod network;
pub(crate) mod nft;
mod node;
mod node_name;
pub(crate) mod node_role;
mod node_thread;
pub(crate) mod notify;
pub(crate) mod phases;
pub(crate) mod publish;
mod pulse;
mod reach;
mod rest;
mod service_routes;
pub(crate) mod trace;

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use api::object::Revision;
use apiserver::Api;
use contract::applied::Applied;
use controller::{Controllers, Feed};
use pods::Kubelet;
use pods::sandbox::Sandbox;
use store::Store;
use tokio::sync::watch;

use crate::config::{DataDir, Network};
use crate::host::{self, Host};
use crate::instance::Instance;
use door::Door;
use faults::Faults;
use node::Node;
pub(crate) use node_name::NodeName;
use phases::Phases;
use reach::Reach;

/// Port of the API on the node's addresses inside the node's network.
const API_PORT: u16 = 6443;

/// What `mainstay up` was told.
pub(crate) struct Settings {
    /// Where everything is kept.
    pub(crate) data_dir: DataDir,
    /// Ranges and addresses.
    pub(crate) network: Network,
    /// Where the API listens on the host.
    pub(crate) listener: TcpListener,
    /// Name of the node, if one was asked for.
    pub(crate) node: Option<String>,
    /// Cluster domain.
    pub(crate) domain: String,
    /// Another place for the kubeconfig.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Which dataplane.
    pub(crate) dataplane: nft::Kind,
    /// Largest send buffer of the dataplane; none asks for as much as it wants.
    pub(crate) send_bytes: Option<usize>,
    /// Whether Services may claim addresses by `spec.externalIPs`.
    pub(crate) allow_external_ips: bool,
    /// Faults that may be set.
    pub(crate) faults: Faults,
    /// The host that is changed; none in a sandbox.
    pub(crate) host: Option<Arc<Host>>,
    /// Addresses of the host on which Services are published.
    pub(crate) publish: Vec<IpAddr>,
}

/// A running instance. Dropping it stops the controllers; the sandbox and its pods go on.
pub(crate) struct Running {
    /// What the sinks have confirmed.
    pub(crate) applied: Applied,
    /// Snapshots.
    pub(crate) feed: Feed,
    /// The API, in this process.
    api: Api,
    /// The durable store under the API.
    pub(crate) store: Store,
    /// What the nftables sink did.
    pub(crate) report: nft::Report,
    /// The kubelet's task; it ends with an error when the sandbox is gone.
    pub(crate) kubelet: tokio::task::JoinHandle<Result<(), String>>,
    stop: watch::Sender<bool>,
    node_runtime: tokio::runtime::Handle,
    _controllers: Controllers,
    dataplane: Arc<JoinHandle<()>>,
}

impl Running {
    /// Ends watches and connections in order.
    pub(crate) fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until everything up to now is applied by every sink, the fixed Services included.
    pub(crate) async fn ready(&self) {
        let mut latest = self.feed.latest();
        let fixed = |snapshot: &Arc<compile::snapshot::Snapshot>| {
            let has = |namespace: &str, name: &str| {
                snapshot.services.contains_key(&api::object::ObjectKey::new(namespace, name))
            };
            has("default", "kubernetes") && has("kube-system", "kube-dns")
        };
        // The feed lives as long as this does, so waiting cannot fail.
        let revision = latest.wait_for(fixed).await.map_or(Revision(0), |snapshot| snapshot.revision);
        self.applied.reached(revision).await;
    }
}

/// What every role stands on.
struct Ground {
    store: Store,
    door: Door,
    node: Node,
    node_runtime: tokio::runtime::Handle,
    sandbox: Arc<Sandbox>,
    host: Option<Arc<Host>>,
    data_dir: DataDir,
    /// What is wrong on the host.
    problem: Option<String>,
}

/// Starts every role. Must run on the main runtime; `sandbox` was started before any thread.
pub(crate) async fn start(settings: Settings, sandbox: Arc<Sandbox>, phases: &mut Phases) -> Result<Running> {
    let Settings { data_dir, network, listener, node: asked, domain, host, .. } = settings;
    let store = Store::open_dir(data_dir.store())?;
    let name = NodeName::choose(asked, &store)?;
    phases.done("store", &format!("revision {} in {}", store.revision(), data_dir.store().display()));
    let (kubeconfig, allow_external_ips) = (settings.kubeconfig, settings.allow_external_ips);
    let (names, directory) = ((name.as_str(), domain.as_str()), &data_dir);
    let plan = door::Plan { data_dir: directory, network: &network, names, kubeconfig, allow_external_ips };
    let door = Door::open(plan, listener, &store).await?;
    phases.done("api", &door.server);

    let node_runtime = node_thread::start(sandbox.clone(), network.clone(), host.clone())?;
    let mut problem = None;
    if let Some(host) = &host {
        let (asked, directory, domain) = (host.clone(), data_dir.path().to_owned(), domain.clone());
        // It sends packets and waits for them: a signal is heard meanwhile.
        let met = tokio::task::spawn_blocking(move || asked.meet_neighbours(&directory, &domain)).await??;
        met.said.iter().for_each(|line| phases.done("neighbours", line));
        problem = met.problem;
        host.note_fixed()?;
        host::follow(host)?;
    }
    let reach = Reach::of(host.as_ref(), &network);
    let node = Node { name, domain, network, reach, on_host: host.is_some() };
    node.write_resolver(&data_dir)?;
    door.open_inside(&node_runtime, &node.network, node.on_host).await?;
    phases.done("network", &format!("node {} at {}", node.name, join(&node.reach.primary.borrow())));
    let ground = Ground { store, door, node, node_runtime, sandbox, host, data_dir, problem };
    start_roles(ground, (settings.dataplane, settings.send_bytes), settings.faults, settings.publish, phases).await
}

async fn start_roles(
    ground: Ground,
    (dataplane, send_bytes): (nft::Kind, Option<usize>),
    faults: Faults,
    publish: Vec<IpAddr>,
    phases: &mut Phases,
) -> Result<Running> {
    let Ground { store, door, node, node_runtime, sandbox, host, data_dir, problem } = ground;
    let (api, network, domain) = (door.api.clone(), &node.network, &node.domain);
    api.set_dial(Arc::new(dial::NodeDial(node_runtime.clone())));
    let applied = Applied::default();
    let (nft_confirm, dns_confirm) = (applied.sink("nft"), applied.sink("dns"));
    let access: Arc<dyn contract::access::Access> = Arc::new(api.clone());
    let controllers = controller::start(node.controllers(&door.credentials), access.clone(), applied.clone());
    let feed = controllers.feed.clone();
    let (table, report, node_ports) = (node.table(), nft::Report::default(), node.reach.node_ports.clone());
    let events = Some(controllers.events.clone());
    let leaving = host.as_ref().map_or_else(nft::staying, |host| host.leaving());
    let (reported, faulty) = (report.clone(), faults.clone());
    let shared = nft::Shared { report: reported, faults: faulty, node_ports, events, leaving, send_bytes };
    let own = network.node_addresses.clone();
    node_runtime.spawn(service_routes::keep(table.clone(), own, feed.latest(), host.clone()));
    if let Some(host) = &host {
        host.guard_neighbours(domain, &report, problem)?;
    }
    let tracer = trace::Tracer {
        sandbox: sandbox.clone(),
        table: table.clone(),
        node_ports: shared.node_ports.clone(),
        latest: feed.latest(),
    };
    let inside = sandbox.clone();
    let enter: nft::Enter = Box::new(move || inside.enter().context("cannot enter the node's network"));
    let thread = nft::start(dataplane, enter, table, &feed, nft_confirm, shared)?;
    let names = dns::start(network, domain, &node_runtime, feed.subscribe(), dns_confirm).await?;
    phases.done("services", &format!("{} dataplane, DNS at {}", dataplane.name(), join(&network.dns_addresses)));

    phases.done("addresses", &crate::pools::describe(&network.pools));
    let events = controllers.events.clone();
    node_runtime.spawn(health_check::run(feed.subscribe(), node.health(&feed, &report), events.clone()));
    let relay = node.publish(publish, &data_dir);
    let publish = publish::start(relay, node_runtime.clone(), feed.subscribe(), events)?;

    let config = node.kubelet(&faults, node_runtime.clone())?;
    let named = contract::access::named(&access, "mainstay-kubelet");
    let kubelet = Kubelet::new(config, named, &sandbox, feed.latest(), applied.clone(), vec![names.built_in()])
        .context("cannot start the kubelet")?;
    api.set_streams(kubelet.streams());
    let abilities = sandbox.abilities().clone();
    let asked = advice::Pods { streams: kubelet.streams(), abilities: abilities.clone() };
    let advisor = advice::start(network, domain, &api, asked, &applied, &feed, names.addresses());
    tokio::spawn(api.clone().expire_events());
    tokio::spawn(rest::keep());
    let kubelet = tokio::spawn(kubelet.run());
    tokio::spawn(dns::keep_pod(access, node.name.clone(), feed.latest()));
    phases.done("pods", &format!("kubelet of {}", node.name));

    let facts = Instance::of_this_process(door.server, node.name.clone(), &data_dir, sandbox.mode())?;
    facts.write(&data_dir)?;
    api.set_extension(Arc::new(extension::Instance {
        facts,
        dataplane: dataplane.name(),
        abilities,
        store: store.clone(),
        applied: applied.clone(),
        latest: feed.latest(),
        report: report.clone(),
        pools: network.pools.clone(),
        faults,
        zone: names.text(),
        advisor,
        publish,
        tracer,
    }));
    let (dataplane, _controllers, stop) = (Arc::new(thread), controllers, door.stop);
    Ok(Running { applied, feed, api, store, report, kubelet, stop, node_runtime, _controllers, dataplane })
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
