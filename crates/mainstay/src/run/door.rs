//! Settings and the store in, the API served to this host and to the node's network out, with its certificates and kubeconfig.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{Api, Credentials, Server};
use compile::allocate::Ranges;
use store::Store;
use tokio::sync::watch;

use super::{API_PORT, certificates};
use crate::config::{DataDir, Network};
use crate::kubeconfig;

/// Node ports, as in Kubernetes.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// What the door is made of.
pub(super) struct Plan<'a> {
    /// Where certificates and kubeconfig are kept.
    pub(super) data_dir: &'a DataDir,
    /// Ranges and addresses.
    pub(super) network: &'a Network,
    /// Name of the node and cluster domain, for the certificate.
    pub(super) names: (&'a str, &'a str),
    /// Another place for the kubeconfig.
    pub(super) kubeconfig: Option<PathBuf>,
    /// Whether Services may claim addresses by `spec.externalIPs`.
    pub(super) allow_external_ips: bool,
}

/// The API and who serves it.
pub(super) struct Door {
    /// The API, in this process.
    pub(super) api: Api,
    /// Its address as clients type it.
    pub(super) server: String,
    /// Certificates and keys.
    pub(super) credentials: Credentials,
    /// Ends watches and connections in order.
    pub(super) stop: watch::Sender<bool>,
    https: Arc<Server>,
    address: SocketAddr,
}

impl Door {
    /// Opens it: from now on the API answers where `listener` listens.
    pub(super) async fn open(plan: Plan<'_>, listener: TcpListener, store: &Store) -> Result<Self> {
        let Plan { data_dir, network, names: (node, domain), kubeconfig, allow_external_ips } = plan;
        let address = listener.local_addr()?;
        let server = format!("https://{address}");
        let credentials = credentials(data_dir, network, node, domain, address)?;
        let api = open_api(store, network, allow_external_ips).await?;
        let https = Arc::new(Server::new(api.clone(), &credentials)?);
        let (stop, stopping) = watch::channel(false);
        serve_host(listener, &https, &stopping)?;
        write_kubeconfig(data_dir, kubeconfig.as_deref(), &credentials.kubeconfig(&server), true)?;
        let kept = certificates::Kept { data_dir: data_dir.clone(), kubeconfig, server: server.clone() };
        tokio::spawn(certificates::keep(credentials.clone(), https.clone(), kept));
        Ok(Self { api, server, credentials, stop, https, address })
    }

    /// Serves on the node's addresses inside the node's network, too. On a host that is the network of `--listen`: if it
    /// serves every address, it serves there already.
    pub(super) async fn open_inside(
        &self,
        node_runtime: &tokio::runtime::Handle,
        network: &Network,
        on_host: bool,
    ) -> Result<()> {
        let shared = on_host.then_some(self.address);
        serve_inside(node_runtime, network, &self.https, &self.stop.subscribe(), shared).await
    }
}

async fn open_api(store: &Store, network: &Network, allow_external_ips: bool) -> Result<Api> {
    let ranges = Ranges { service: network.service_cidrs.clone(), node_ports: NODE_PORTS };
    let config = apiserver::Config { allow_external_ips, ..apiserver::Config::new(ranges) };
    let api = Api::new(store.clone(), config).map_err(|status| anyhow::anyhow!("{status}"))?;
    let made = api.bootstrap().await.map_err(|status| anyhow::anyhow!("{status}"))?;
    tokio::spawn(api.clone().keep(made));
    Ok(api)
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

/// Writes the kubeconfig of the instance, and its entries into another one. The first time (`switch`), kubectl is pointed at
/// the instance there.
pub(super) fn write_kubeconfig(data_dir: &DataDir, other: Option<&Path>, text: &str, switch: bool) -> Result<()> {
    let ours = kubeconfig::with_instance(serde_saphyr::from_str(text)?, data_dir.path());
    let own = data_dir.kubeconfig();
    kubeconfig::write(&own, &ours).with_context(|| format!("cannot write the kubeconfig to {}", own.display()))?;
    other.map_or(Ok(()), |path| kubeconfig::merge_into(path, &ours, switch)).with_context(|| {
        let path = other.unwrap_or(&own).display();
        format!("cannot put the instance into the kubeconfig {path}.\nChoose another place: --kubeconfig PATH")
    })
}
