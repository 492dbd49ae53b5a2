//! The nftables sink: snapshots in, the kernel's maps follow; on a thread of its own inside the node's network.

mod report;
mod sink;
mod told;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use compile::nft::{rules, text};
use compile::service_table::Config;
use contract::applied::SinkHandle;
use controller::{Backoff, Events, Feed, drive};
use dataplane::Dataplane;
use dataplane::memory::Memory;
use dataplane::nft::Nft;

use self::sink::NftSink;
use self::watch::Watch;
use super::faults::Faults;

pub(crate) use self::report::{Report, Synced};

/// Which dataplane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The kernel's nftables.
    #[default]
    Nft,
    /// Memory: nothing is translated (for tests).
    Memory,
}

impl Kind {
    /// Its name in figures and status.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Memory => "memory",
        }
    }
}

/// What the sink shares with the rest of the instance.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What it did.
    pub(crate) report: Report,
    /// Faults it obeys.
    pub(crate) faults: Faults,
    /// Addresses that serve node ports.
    pub(crate) node_ports: tokio::sync::watch::Receiver<Vec<IpAddr>>,
    /// Where it tells of damage by others; nowhere but the log without.
    pub(crate) events: Option<Events>,
    /// Whether the table is being taken back on purpose: then nothing is repaired.
    pub(crate) leaving: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Largest send buffer, see [`Nft::limit_send`].
    pub(crate) send_bytes: Option<usize>,
}

/// For [`Shared::leaving`], where nobody takes the table back while this runs.
pub(crate) fn staying() -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(|| false)
}

/// Brings the calling thread into the network that is programmed; `|| Ok(())` for the one it is in.
pub(crate) type Enter = Box<dyn FnOnce() -> Result<()> + Send>;

/// Starts the sink's thread. It ends when the feed does.
pub(crate) fn start(
    kind: Kind,
    enter: Enter,
    config: Config,
    feed: &Feed,
    confirm: SinkHandle,
    shared: Shared,
) -> Result<JoinHandle<()>> {
    let (opened, wait) = std::sync::mpsc::channel();
    let (feed, subscription) = (feed.clone(), feed.subscribe());
    let thread = std::thread::Builder::new().name("dataplane".into()).spawn(move || {
        let watch = Watch::default();
        let plane = enter().and_then(|()| open(kind, &config, &shared, &watch, feed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match (plane, runtime) {
            (Ok(plane), Ok(runtime)) => {
                let _ = opened.send(Ok(()));
                let sink = NftSink::new(config, plane, shared, watch);
                runtime.block_on(drive(subscription, sink, confirm, Backoff::default()));
            }
            (Err(error), _) => drop(opened.send(Err(error))),
            (_, Err(error)) => drop(opened.send(Err(error.into()))),
        }
    })?;
    wait.recv().context("the dataplane's thread ended at once")??;
    Ok(thread)
}

fn open(kind: Kind, config: &Config, shared: &Shared, watch: &Watch, feed: Feed) -> Result<Box<dyn Dataplane>> {
    Ok(match kind {
        Kind::Nft => {
            let mut nft = Nft::open_with(config.rules(true)).context("cannot open nftables")?;
            shared.send_bytes.map_or(Ok(()), |bytes| nft.limit_send(bytes))?;
            watch.start(nft.monitor().context("cannot listen to nftables")?, feed, shared.leaving.clone())?;
            if let Err(error) = nft.follow_flows() {
                tracing::warn!(%error, "UDP flows of endpoints that leave are found by walks of the table, not by an index");
            }
            Box::new(nft)
        }
        Kind::Memory => Box::new(Memory::default()),
    })
}

/// The rules and data that the kernel holds in the calling thread's network namespace, as text.
pub(crate) fn dump() -> Result<String> {
    let state = Nft::open()?.observe()?.context("the kernel holds no table of this version of Mainstay here")?;
    Ok(format!("{}{}", text::ruleset(&rules::ruleset(true)), text::state(&state)))
}
