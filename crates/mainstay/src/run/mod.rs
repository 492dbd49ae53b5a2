//! The only wiring: settings and a sandbox in, a running instance with every role out.

mod advice;
mod certificates;
mod dial;
mod dns;
mod extension;
pub(crate) mod faults;
mod health_check;
pub(crate) mod network;
pub(crate) mod nft;
mod node_thread;
pub(crate) mod notify;
pub(crate) mod phases;
pub(crate) mod publish;
mod pulse;
mod reach;
mod service_routes;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use api::object::Revision;
use apiserver::{Api, Credentials, Server};
use compile::allocate::Ranges;
use compile::service_table;
use contract::applied::Applied;
use controller::{Controllers, Feed};
use pods::sandbox::Sandbox;
use pods::{Config as KubeletConfig, Kubelet};
use store::Store;
use tokio::sync::watch;

use crate::config::{DataDir, Network};
use crate::host::{self, Host};
use crate::instance::Instance;
use faults::Faults;
use phases::Phases;
use reach::Reach;

/// Port of the API on the node's addresses inside the node's network.
const API_PORT: u16 = 6443;
/// Node ports, as in Kubernetes.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// What `mainstay up` was told.
pub(crate) struct Settings {
    /// Where everything is kept.
    pub(crate) data_dir: DataDir,
    /// Ranges and addresses.
    pub(crate) network: Network,
    /// Where the API listens on the host.
    pub(crate) listener: TcpListener,
    /// Name of the node.
    pub(crate) node: String,
    /// Cluster domain.
    pub(crate) domain: String,
    /// Another place for the kubeconfig.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Which dataplane.
    pub(crate) dataplane: nft::Kind,
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

/// Starts every role. Must run on the main runtime; `sandbox` was started before any thread.
pub(crate) async fn start(settings: Settings, sandbox: Arc<Sandbox>, phases: &mut Phases) -> Result<Running> {
    let Settings { data_dir, network, listener, node, domain, kubeconfig, dataplane, faults, host, .. } = settings;
    let (allow_external_ips, publish) = (settings.allow_external_ips, settings.publish);
    let address = listener.local_addr()?;
    let server = format!("https://{address}");
    let store = Store::open_dir(data_dir.store())?;
    phases.done("store", &format!("revision {} in {}", store.revision(), data_dir.store().display()));

    let credentials = credentials(&data_dir, &network, &node, &domain, address)?;
    let api = open_api(&store, &network, allow_external_ips).await?;
    let https = Arc::new(Server::new(api.clone(), &credentials)?);
    let (stop, stopping) = watch::channel(false);
    serve_host(listener, &https, &stopping)?;
    write_kubeconfig(&data_dir, kubeconfig.as_deref(), &credentials.kubeconfig(&server))?;
    let kept = certificates::Kept { data_dir: data_dir.clone(), kubeconfig, server: server.clone() };
    tokio::spawn(certificates::keep(credentials.clone(), https.clone(), kept));
    phases.done("api", &server);

    write_node_resolver(&data_dir, &network, &domain)?;
    let node_runtime = node_thread::start(sandbox.clone(), network.clone(), host.clone())?;
    if let Some(host) = &host {
        host.meet_neighbours(data_dir.path(), &domain, phases)?;
        host.note_fixed()?;
        host::follow(host)?;
    }
    let reach = Reach::of(host.as_ref(), &network);
    serve_inside(&node_runtime, &network, &https, &stopping, host.as_ref().map(|_| address)).await?;
    phases.done("network", &format!("node {} at {}", node, join(&reach.primary.borrow())));

    api.set_dial(Arc::new(dial::NodeDial(node_runtime.clone())));
    let applied = Applied::default();
    let nft_confirm = applied.sink("nft");
    let dns_confirm = applied.sink("dns");
    let access: Arc<dyn contract::access::Access> = Arc::new(api.clone());
    let report = nft::Report::default();
    let controllers =
        controller::start(controllers_config(&network, &node, &credentials, &reach), access.clone(), applied.clone());
    let feed = controllers.feed.clone();
    let table = table_config(&network, &node, &reach, host.is_some());
    let shared = nft::Shared { report: report.clone(), faults: faults.clone(), node_ports: reach.node_ports.clone() };
    node_runtime.spawn(service_routes::keep(
        table.clone(),
        network.node_addresses.clone(),
        feed.latest(),
        host.clone(),
    ));
    if let Some(host) = &host {
        host.guard_neighbours(&domain, &feed, &report)?;
    }
    let thread = nft::start(dataplane, sandbox.clone(), table, feed.subscribe(), nft_confirm, shared)?;
    let names = dns::start(&network, &domain, &node_runtime, feed.subscribe(), dns_confirm).await?;
    phases.done("services", &format!("{} dataplane, DNS at {}", dataplane.name(), join(&network.dns_addresses)));

    phases.done("addresses", &crate::pools::describe(&network.pools));
    let source = health_source(&reach, &node, &feed, &report);
    node_runtime.spawn(health_check::run(feed.subscribe(), source, controllers.events.clone()));
    let publish = publish_config(publish, &network, &reach, host.is_none(), &data_dir);
    let publish = publish::start(publish, node_runtime.clone(), feed.subscribe(), controllers.events.clone())?;

    let config = kubelet_config(&network, &node, &domain, &faults, node_runtime.clone(), &reach)?;
    let named = contract::access::named(&access, "mainstay-kubelet");
    let kubelet = Kubelet::new(config, named, &sandbox, feed.latest(), applied.clone(), vec![names.built_in()])
        .context("cannot start the kubelet")?;
    api.set_streams(kubelet.streams());
    let abilities = sandbox.abilities().clone();
    let asked = advice::Pods { streams: kubelet.streams(), abilities: abilities.clone() };
    let advisor = advice::start(&network, &domain, &api, asked, &applied, &feed, names.addresses());
    tokio::spawn(api.clone().expire_events());
    let kubelet = tokio::spawn(kubelet.run());
    tokio::spawn(dns::keep_pod(access, node.clone(), feed.latest()));
    phases.done("pods", &format!("kubelet of {node}"));

    let instance = Instance::of_this_process(server.clone(), node.clone(), &data_dir, sandbox.mode())?;
    api.set_extension(Arc::new(extension::Instance {
        server,
        node,
        mode: instance.mode.clone(),
        data_dir: data_dir.path().display().to_string(),
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
    }));
    instance.write(&data_dir)?;
    let (dataplane, _controllers) = (Arc::new(thread), controllers);
    Ok(Running { applied, feed, api, store, report, kubelet, stop, node_runtime, _controllers, dataplane })
}

async fn open_api(store: &Store, network: &Network, allow_external_ips: bool) -> Result<Api> {
    let ranges = Ranges { service: network.service_cidrs.clone(), node_ports: NODE_PORTS };
    let config = apiserver::Config { allow_external_ips, ..apiserver::Config::new(ranges) };
    let api = Api::new(store.clone(), config).map_err(|status| anyhow::anyhow!("{status}"))?;
    let made = api.bootstrap().await.map_err(|status| anyhow::anyhow!("{status}"))?;
    tokio::spawn(api.clone().keep(made));
    Ok(api)
}

fn health_source(reach: &Reach, node: &str, feed: &Feed, report: &nft::Report) -> health_check::Source {
    health_check::Source {
        node: node.to_owned(),
        addresses: reach.node_ports.clone(),
        latest: feed.latest(),
        report: report.clone(),
    }
}

/// On a host, load-balancer addresses can be reached as they are, and a node port has one number everywhere.
fn publish_config(
    addresses: Vec<IpAddr>,
    network: &Network,
    reach: &Reach,
    sandboxed: bool,
    data_dir: &DataDir,
) -> publish::Config {
    publish::Config {
        addresses,
        node_ports: reach.node_ports.clone(),
        pools: if sandboxed { network.pools.clone() } else { Default::default() },
        renumber: sandboxed,
        file: data_dir.path().join("published.json"),
    }
}

async fn serve(server: Arc<Server>, listener: tokio::net::TcpListener, stop: apiserver::Stop) {
    server.serve(listener, stop).await;
}

/// Serves where `--listen` says.
fn serve_host(listener: TcpListener, https: &Arc<Server>, stop: &apiserver::Stop) -> Result<()> {
    listener.set_nonblocking(true)?;
    let host = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(serve(https.clone(), host, stop.clone()));
    Ok(())
}

/// Serves on the node's addresses inside the node's network. `shared` is where `--listen` serves in the same network: if
/// that is every address, it serves here already.
async fn serve_inside(
    node_runtime: &tokio::runtime::Handle,
    network: &Network,
    https: &Arc<Server>,
    stop: &apiserver::Stop,
    shared: Option<SocketAddr>,
) -> Result<()> {
    let served = |address: &IpAddr| {
        shared
            .is_some_and(|at| at.port() == API_PORT && at.ip().is_unspecified() && (at.is_ipv6() || address.is_ipv4()))
    };
    for address in network.node_addresses.iter().filter(|address| !served(address)) {
        let inside = inside_listener(node_runtime, SocketAddr::new(*address, API_PORT)).await?;
        node_runtime.spawn(serve(https.clone(), inside, stop.clone()));
    }
    Ok(())
}

/// A listener in the node's network: sockets belong to the network of the thread that makes them.
async fn inside_listener(runtime: &tokio::runtime::Handle, address: SocketAddr) -> Result<tokio::net::TcpListener> {
    let bind = runtime.spawn(async move { tokio::net::TcpListener::bind(address).await });
    bind.await?.with_context(|| format!("cannot listen on {address} in the node's network"))
}

fn credentials(
    data_dir: &DataDir,
    network: &Network,
    node: &str,
    domain: &str,
    listen: SocketAddr,
) -> Result<Credentials> {
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned).into();
    names.push(format!("kubernetes.default.svc.{domain}"));
    names.push(node.to_owned());
    let mut addresses: Vec<IpAddr> = vec![IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
    if !listen.ip().is_unspecified() {
        addresses.push(listen.ip());
    }
    addresses.extend(&network.node_addresses);
    addresses.extend(network.service_cidrs.iter().map(|cidr| crate::config::offset(cidr.network, 1)));
    let (now, lives) = (jiff::Timestamp::now(), certificates::lives());
    Ok(Credentials::load_or_create_at(now, lives, &data_dir.pki(), &names, &addresses)?)
}

/// Writes the kubeconfig, with the instance's directory in an extension that kubectl ignores and we find it by.
fn write_kubeconfig(data_dir: &DataDir, other: Option<&Path>, text: &str) -> Result<()> {
    let directory = serde_json::Value::from(data_dir.path().to_string_lossy());
    let extension =
        format!("  cluster:\n    extensions:\n    - name: mainstay\n      extension:\n        dataDir: {directory}\n");
    let text = text.replacen("  cluster:\n", &extension, 1);
    for path in std::iter::once(data_dir.kubeconfig().as_path()).chain(other) {
        write_private(path, &text).with_context(|| {
            format!("cannot write the kubeconfig to {}.\nChoose another place: --kubeconfig PATH", path.display())
        })?;
    }
    Ok(())
}

/// Commands in the node's network (`mainstay exec`) resolve names as pods do.
fn write_node_resolver(data_dir: &DataDir, network: &Network, domain: &str) -> Result<()> {
    let mut text: String = network.dns_addresses.iter().map(|address| format!("nameserver {address}\n")).collect();
    text.push_str(&format!("search default.svc.{domain} svc.{domain} {domain}\noptions ndots:5\n"));
    let path = data_dir.path().join("node/resolv.conf");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that only its owner may read, replacing it at once.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}

fn controllers_config(network: &Network, node: &str, credentials: &Credentials, reach: &Reach) -> controller::Config {
    controller::Config {
        node: node.to_owned(),
        node_addresses: network.node_addresses.clone(),
        host_addresses: reach.primary.clone(),
        pod_cidrs: network.pod_cidrs.iter().map(ToString::to_string).collect(),
        api_port: API_PORT,
        kubernetes_address: crate::config::offset(network.service_cidrs[0].network, 1),
        dns_addresses: network.dns_addresses.clone(),
        pools: network.pools.clone(),
        ca_pem: credentials.ca_pem().to_owned(),
        version: format!("v{}", env!("CARGO_PKG_VERSION")),
    }
}

fn table_config(network: &Network, node: &str, reach: &Reach, egress: bool) -> service_table::Config {
    service_table::Config {
        node: node.into(),
        pod_cidrs: network.pod_cidrs.clone(),
        service_cidrs: network.service_cidrs.clone(),
        egress,
        node_port_addresses: reach.node_ports.borrow().clone(),
        dns_addresses: network.dns_addresses.clone(),
        pools: network.pools.clone(),
    }
}

fn kubelet_config(
    network: &Network,
    node: &str,
    domain: &str,
    faults: &Faults,
    node_runtime: tokio::runtime::Handle,
    reach: &Reach,
) -> Result<KubeletConfig> {
    let range = |cidr: &compile::allocate::Cidr| {
        let text = cidr.to_string();
        pods::addresses::Range::parse(&text).with_context(|| format!("--pod-cidr {text} is not a range"))
    };
    let names = pods::name_files::Names {
        dns: network.dns_addresses.clone(),
        domain: domain.to_owned(),
        host_resolv: crate::host::neighbours::resolv_conf_for_pods(),
    };
    Ok(KubeletConfig {
        node_name: node.to_owned(),
        node_addresses: network.node_addresses.clone(),
        host_addresses: reach.primary.clone(),
        pod_ranges: network.pod_cidrs.iter().map(range).collect::<Result<_>>()?,
        names,
        drain: faults.drain(),
        node_runtime,
    })
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
