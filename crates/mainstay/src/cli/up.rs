//! `mainstay up`: flags in, a running instance until Ctrl-C or SIGTERM.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use pods::sandbox::{Mode, Sandbox};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use super::client::Client;
use super::ends::Ends;
use super::{LogFormat, detach, hint};
use crate::config::{DataDir, Network};
use crate::exit::Exit;
use crate::host::{Host, HostFlags, Prepared};
use crate::instance::Instance;
use crate::manifest::{self, Manifest};
use crate::run::faults::Faults;
use crate::run::notify::Notify;
use crate::run::phases::Phases;
use crate::run::publish::Choice;
use crate::run::{self, NodeName, Settings, nft};

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
    /// Apply manifests once ready: a file, a folder, an http(s) URL or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    files: Vec<String>,
    /// With -f: look into the folders below a folder, too
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,
    /// Run in the background: return when ready, and log to DIR/server.log
    #[arg(long)]
    detach: bool,
    /// Be ready only when everything of -f works (see mainstay wait), or fail with exit code 5 after DURATION
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "60s",
        value_parser = super::duration::parse)]
    wait: Option<Duration>,
    /// This process was started by --detach
    #[arg(long, hide = true)]
    detached_child: bool,
    /// Hold SIGTERM until nothing routes to a pod any more
    #[arg(long, value_enum, default_value = "on", value_name = "on|off")]
    drain: Switch,
    /// Publish node ports and load-balancer ports on this host: on (127.0.0.1 and ::1), off, or other addresses. A number
    /// that is taken is replaced by a free one, which is printed and kept
    #[arg(long, value_name = "on|off|ADDRESS[,ADDRESS]", default_value = "on", num_args = 0..=1,
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
pub(crate) fn run(flags: &Flags) -> Result<Exit> {
    let mode = match (flags.sandbox, flags.host.host) {
        (true, _) => Mode::Sandbox,
        (_, true) => Mode::Host,
        _ => {
            return Err(Exit::Usage.error(
                "mainstay up does not know where to run.\nType: mainstay up --sandbox (this host is not touched), or as root \
                 mainstay up --host (its programs and network take part)",
            ));
        }
    };
    let known = Known::read(flags, mode).map_err(|error| Exit::Usage.of(error))?;
    if flags.detach && !flags.detached_child {
        detach::check(&known.data_dir)?;
        return detach::start(&known.data_dir, flags.files.iter().any(|file| file == manifest::STDIN));
    }
    let background = if flags.detached_child { Some(detach::Start::become_child()?) } else { None };
    log(flags, background.as_ref().map(|_| detach::Log::of_stderr(known.data_dir.path())));
    let start = Start { manifests: manifest::read(&flags.files, flags.recursive, None)?, wait: flags.wait, background };
    if mode == Mode::Sandbox {
        crate::host::refuse_sandbox(known.data_dir.path())?;
        serve_in(flags, known, start, None)?;
        return Ok(Exit::Fine);
    }
    let host = match crate::host::prepare(&flags.host, &known.data_dir, &known.network)? {
        Prepared::Go(host) => host,
        Prepared::End(exit) => return Ok(exit),
    };
    let directory = known.data_dir.path().to_owned();
    let ended = serve_in(flags, known, start, Some(host.clone()));
    crate::host::end(&host, &directory, ended).map(|()| Exit::Fine)
}

/// What the flags say, checked before anything starts.
struct Known {
    network: Network,
    node: Option<String>,
    domain: String,
    data_dir: DataDir,
    publish: Vec<std::net::IpAddr>,
}

impl Known {
    fn read(flags: &Flags, mode: Mode) -> Result<Self> {
        let mut network = Network::parse(&flags.service_cidr, &flags.pod_cidr)?;
        network.pools = crate::pools::choose(&flags.lb_pool, &network, mode)?;
        let node = flags.node_name.clone();
        node.as_deref().map_or(Ok(()), NodeName::check)?;
        let domain = domain(&flags.cluster_domain)?;
        if let Some(path) = flags.kubeconfig.as_deref().filter(|path| path.exists()) {
            crate::kubeconfig::read(path)?;
        }
        let (publish, data_dir) = (flags.publish.addresses()?, DataDir::choose(flags.data_dir.as_deref())?);
        Ok(Self { network, node, domain, data_dir, publish })
    }
}

/// Starts an instance and serves until told to stop. On a host, pods go on afterwards.
fn serve_in(flags: &Flags, known: Known, start: Start, host: Option<Arc<Host>>) -> Result<()> {
    let Known { network, node, domain, data_dir, publish } = known;
    let mut phases = Phases::new();
    let listener = listen(flags.listen)?;
    data_dir.create()?;
    Instance::refuse_copy(&data_dir)?;
    crate::keep::admit(&data_dir)?;
    let mode = if host.is_some() { Mode::Host } else { Mode::Sandbox };
    // From here on there is something to end.
    let ends = Ends::early()?;
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
        send_bytes: None,
        allow_external_ips: flags.allow_external_ips,
        faults: Faults::new(flags.faults, flags.drain == Switch::On),
        host,
        publish,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(settings, sandbox, start, &mut phases, ends));
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
async fn serve(
    settings: Settings,
    sandbox: Arc<Sandbox>,
    start: Start,
    phases: &mut Phases,
    mut ends: Ends,
) -> Result<()> {
    let own = settings.data_dir.kubeconfig();
    let kubeconfig = settings.kubeconfig.clone().unwrap_or_else(|| own.clone());
    let (host, mode) = (settings.host.clone(), sandbox.mode().name());
    let notify = Notify::from_environment();
    let mut running = tokio::select! {
        started = run::start(settings, sandbox, phases) => started?,
        _ = ends.next() => return Ok(()),
    };
    tokio::select! {
        () = running.ready() => {}
        _ = ends.next() => {
            running.stop();
            return Ok(());
        }
    }
    phases.done("ready", "every node has applied the fixed Services");
    if let Some(host) = host {
        host.is_ready();
    }
    let told = tokio::select! {
        told = start.finish(&own) => told?,
        _ = ends.next() => {
            running.stop();
            return Ok(());
        }
    };
    start.tell(told, &format!("ready in {} ms    {}", phases.elapsed_ms(), hint::export(&kubeconfig)))?;
    let pulse = running.pulse();
    notify.ready(&pulse.beat().await.unwrap_or_default());
    tokio::select! {
        _ = notify.signs_of_life(|| pulse.beat()) => {}
        _ = ends.next() => {}
        ended = &mut running.kubelet => match ended {
            Ok(Err(why)) => bail!("{why}.\nStart again: mainstay up --{mode}{}", hint::same()),
            Ok(Ok(())) => {}
            Err(error) => bail!(
                "the kubelet failed: {error}.\nStart again, and look at what it says: mainstay up --{mode}{} -vv",
                hint::same()
            ),
        },
    }
    notify.stopping("stopping");
    running.stop();
    Ok(())
}

/// What is left to do once the instance itself is ready.
struct Start {
    manifests: Vec<Manifest>,
    wait: Option<Duration>,
    background: Option<detach::Start>,
}

impl Start {
    /// Applies the manifests and waits for them as long as asked; what was missing at the end of that time.
    async fn finish(&self, kubeconfig: &Path) -> Result<Option<anyhow::Error>> {
        if self.manifests.is_empty() {
            return Ok(None);
        }
        let client = Client::from_kubeconfig(kubeconfig)?;
        for manifest in &self.manifests {
            let outcome = super::apply::one(&client, manifest).await?;
            eprintln!("            {outcome:<12} {}", manifest.resource());
        }
        let Some(patience) = self.wait else { return Ok(None) };
        match super::wait::until(&client, super::wait::of_manifests(&self.manifests), patience).await {
            Err(error) if crate::exit::code(&error) == Exit::TimedOut => Ok(Some(error)),
            other => other.map(|()| None),
        }
    }

    /// Tells the user, wherever that is, that the instance is ready. It runs also when its manifests are not.
    fn tell(&self, missing: Option<anyhow::Error>, ready: &str) -> Result<()> {
        let (exit, text) = match missing {
            None => (Exit::Fine, ready.to_owned()),
            Some(error) => (Exit::TimedOut, format!("{}\nThe instance runs: {ready}", crate::report(&error))),
        };
        eprintln!("{text}");
        self.background.as_ref().map_or(Ok(()), |background| background.tell(exit, &text))
    }
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
                    let taken = anyhow::anyhow!(
                        "cannot listen on {address}: the address is in use.\nStop what uses it, or choose another: \
                         --listen {}:0 picks a free port",
                        address.ip()
                    );
                    return Err(crate::exit::tag(crate::messages::MS0107, taken));
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

fn domain(text: &str) -> Result<String> {
    let domain = text.trim_end_matches('.').to_ascii_lowercase();
    if let Some(why) = api::names::dns1123_subdomain(&domain).first() {
        bail!("--cluster-domain {text:?}: {why}.\nFor example: --cluster-domain cluster.local");
    }
    Ok(domain)
}

fn log(flags: &Flags, file: Option<detach::Log>) {
    let level = ["warn", "info", "debug"][usize::from(flags.verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // A line that cannot be written is lost: complaining would panic when standard error has gone.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let writer = file.map_or_else(|| BoxMakeWriter::new(std::io::stderr), BoxMakeWriter::new);
    let builder = builder.with_writer(writer);
    match flags.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
