//! `mainstay up`: flags in, a running instance until Ctrl-C or SIGTERM.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use pods::sandbox::{Mode, Sandbox};
use tokio::signal::unix::{SignalKind, signal};

use super::LogFormat;
use crate::config::{DataDir, Network};
use crate::host::{Host, HostFlags, Prepared};
use crate::run::faults::Faults;
use crate::run::phases::Phases;
use crate::run::publish::Choice;
use crate::run::{self, Running, Settings, nft};

/// Flags of `mainstay up`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Run in namespaces of its own: nothing of the host is touched, and nothing is left
    #[arg(long)]
    sandbox: bool,
    #[command(flatten)]
    host: HostFlags,
    /// Where the API listens on this host; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Directory for everything that must last [default: /var/lib/mainstay as root, else ~/.local/state/mainstay]
    #[arg(long, value_name = "DIR", env = "MAINSTAY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Also write the kubeconfig here (~/.kube/config is never touched unless named)
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Service ranges, one per family, primary first
    #[arg(long, default_value = "10.96.0.0/16,fd00:10:96::/112", value_name = "CIDR[,CIDR]")]
    service_cidr: String,
    /// Pod ranges, one per family, in the same order
    #[arg(long, default_value = "10.244.0.0/16,fd00:10:244::/64", value_name = "CIDR[,CIDR]")]
    pod_cidr: String,
    /// Addresses for Services of type LoadBalancer: a network, FIRST-LAST or one address. Repeat it for more ranges and
    /// families; the same NAME is one pool. `none`: no addresses [default in a sandbox: 10.99.0.0/24,fd00:10:99::/120]
    #[arg(long, value_name = "[NAME=]RANGE[,class=CLASS][,namespaces=A+B]")]
    lb_pool: Vec<String>,
    /// Domain of cluster names
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// Let Services claim addresses by spec.externalIPs (CVE-2020-8554: whoever writes Services may then take any address)
    #[arg(long)]
    allow_external_ips: bool,
    /// Name of the node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Apply these manifests once ready
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Hold SIGTERM until nothing routes to a pod any more
    #[arg(long, value_enum, default_value = "on", value_name = "on|off")]
    drain: Switch,
    /// Publish node ports and load-balancer ports on this host: on (127.0.0.1 and ::1), off, or other addresses. A number
    /// that is taken is replaced by a free one, which is printed and kept
    #[arg(long, value_name = "on|off|ADDRESS[,ADDRESS]", default_value = "on", num_args = 0..=1, require_equals = true,
        default_missing_value = "on")]
    publish: Choice,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// More log lines (twice: everything)
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Which dataplane; `memory` translates nothing
    #[arg(long, value_enum, default_value_t, hide = true)]
    dataplane: nft::Kind,
    /// Let clients of the API switch faults on (for tests)
    #[arg(long, hide = true)]
    faults: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Runs the subcommand. The process must still have a single thread.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let mode = match (flags.sandbox, flags.host.host) {
        (true, _) => Mode::Sandbox,
        (_, true) => Mode::Host,
        _ => bail!(
            "mainstay up does not know where to run.\nType: mainstay up --sandbox (this host is not touched), or as root \
             mainstay up --host (its programs and network take part)"
        ),
    };
    log(flags);
    let mut network = Network::parse(&flags.service_cidr, &flags.pod_cidr)?;
    network.pools = crate::pools::choose(&flags.lb_pool, &network, mode)?;
    let data_dir = DataDir::choose(flags.data_dir.as_deref())?;
    if mode == Mode::Sandbox {
        crate::host::refuse_sandbox(data_dir.path())?;
        return start(flags, network, data_dir, None).map(|_| ExitCode::SUCCESS);
    }
    let host = match crate::host::prepare(&flags.host, &data_dir, &network)? {
        Prepared::Go(host) => host,
        Prepared::End(code) => return Ok(code),
    };
    let directory = data_dir.path().to_owned();
    let ended = start(flags, network, data_dir, Some(host.clone()));
    crate::host::end(&host, &directory, ended).map(|()| ExitCode::SUCCESS)
}

/// Starts an instance and serves until told to stop. On a host, pods go on afterwards.
fn start(flags: &Flags, network: Network, data_dir: DataDir, host: Option<Arc<Host>>) -> Result<()> {
    let mut phases = Phases::new();
    let node = node_name(flags.node_name.as_deref())?;
    let domain = domain(&flags.cluster_domain)?;
    let publish = flags.publish.addresses()?;
    let objects = flags.files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?.concat();
    let listener = listen(flags.listen)?;
    data_dir.create()?;
    let mode = if host.is_some() { Mode::Host } else { Mode::Sandbox };
    let sandbox = Arc::new(Sandbox::start_or_adopt(data_dir.path(), &crate::guest::APPLETS, mode)?);
    let adopted = sandbox.adopted();
    let new = if mode == Mode::Host { "this host" } else { "new namespaces" };
    phases.done(mode.name(), if adopted { "adopted with its pods" } else { new });
    let settings = Settings {
        data_dir: data_dir.clone(),
        network,
        listener,
        node,
        domain,
        kubeconfig: flags.kubeconfig.clone(),
        dataplane: flags.dataplane,
        allow_external_ips: flags.allow_external_ips,
        faults: Faults::new(flags.faults, flags.drain == Switch::On),
        publish,
        host,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(settings, sandbox, objects, &mut phases));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    if mode == Mode::Host || (ended.is_err() && adopted) {
        // Pods of an earlier server are not this one's to end, and a host's pods outlive every server.
        return ended;
    }
    Sandbox::kill(data_dir.path())?;
    let _ = std::fs::remove_file(data_dir.instance());
    ended?;
    eprintln!("stopped");
    Ok(())
}

/// Serves until told to stop. An error means that the sandbox was lost or never came to be.
async fn serve(settings: Settings, sandbox: Arc<Sandbox>, objects: Vec<Manifest>, phases: &mut Phases) -> Result<()> {
    // Listen for signals first, so that none is lost while starting.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let kubeconfig = settings.kubeconfig.clone().unwrap_or_else(|| settings.data_dir.kubeconfig());
    let (host, mode) = (settings.host.clone(), sandbox.mode().name());
    let mut running = run::start(settings, sandbox, phases).await?;
    tokio::select! {
        () = running.ready() => {}
        _ = interrupt.recv() => {
            running.stop();
            return Ok(());
        }
        _ = terminate.recv() => {
            running.stop();
            return Ok(());
        }
    }
    phases.done("ready", "every node has applied the fixed Services");
    if let Some(host) = host {
        host.is_ready();
    }
    for object in objects {
        apply(&running, object).await?;
    }
    eprintln!("ready in {} ms    export KUBECONFIG={}", phases.elapsed_ms(), kubeconfig.display());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut running.kubelet => match ended {
            Ok(Err(why)) => bail!("{why}.\nStart again: mainstay up --{mode}"),
            Ok(Ok(())) => {}
            Err(error) => bail!("the kubelet failed: {error}"),
        },
    }
    running.stop();
    Ok(())
}

/// An object of a file, its kind, and the file.
type Manifest = (PathBuf, &'static api::kind::Kind, serde_json::Value);

/// The objects of a file.
fn read(file: &Path) -> Result<Vec<Manifest>> {
    let next = || format!("cannot use {}.\nGive a readable file of manifests: -f FILE", file.display());
    let text = std::fs::read_to_string(file).with_context(next)?;
    let object = |mut object: serde_json::Value| {
        let kind = crate::manifest::kind(&object)?;
        if kind.namespaced && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        Ok((file.to_owned(), kind, object))
    };
    crate::manifest::parse(&text).with_context(next)?.into_iter().map(object).collect::<Result<_>>().with_context(next)
}

/// Creates an object; one that exists is replaced.
async fn apply(running: &Running, (file, kind, object): Manifest) -> Result<()> {
    use contract::access::Access;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let result = match running.api.create(kind, object.clone()).await {
        Err(status) if status.reason == "AlreadyExists" => running.api.update(kind, object).await,
        other => other,
    };
    result.map_err(|status| anyhow::anyhow!("{}: {} {name}: {status}", file.display(), kind.kind))?;
    eprintln!("            applied      {} {name}", kind.kind);
    Ok(())
}

/// Binds the API's address. A killed server's child may hold it for some milliseconds more, so a taken address is
/// tried again before it is an error.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let began = std::time::Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if began.elapsed() > std::time::Duration::from_millis(300) {
                    bail!(
                        "cannot listen on {address}: the address is in use.\nStop what uses it, or choose another: \
                         --listen {}:0 picks a free port",
                        address.ip()
                    );
                }
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot listen on {address}.\nChoose another: --listen 127.0.0.1:0"));
            }
        }
    }
}

fn node_name(given: Option<&str>) -> Result<String> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase(),
    };
    let wrong = api::names::dns1123_subdomain(&name);
    if let Some(why) = wrong.first() {
        bail!("{name:?} cannot be the name of a node: {why}.\nGive one: --node-name node-1");
    }
    Ok(name)
}

fn domain(text: &str) -> Result<String> {
    let domain = text.trim_end_matches('.').to_ascii_lowercase();
    if let Some(why) = api::names::dns1123_subdomain(&domain).first() {
        bail!("--cluster-domain {text:?}: {why}.\nFor example: --cluster-domain cluster.local");
    }
    Ok(domain)
}

fn log(flags: &Flags) {
    let level = ["warn", "info", "debug"][usize::from(flags.verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
