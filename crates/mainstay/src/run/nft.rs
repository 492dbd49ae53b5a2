//! The nftables sink: snapshots in, the kernel's maps follow; on a thread of its own inside the node's network.

mod first;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::object::Revision;
use compile::nft::{Programmer, rules, state::State, text};
use compile::service_table::Config;
use compile::snapshot::{Changes, Snapshot};
use contract::applied::SinkHandle;
use controller::{Backoff, Sink, SinkError, Subscription, drive};
use dataplane::Dataplane;
use dataplane::memory::Memory;
use dataplane::nft::{Nft, encoded_len};
use pods::sandbox::Sandbox;
use tokio::sync::watch;

use super::faults::Faults;

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

/// What others may look at while the sink works.
#[derive(Clone)]
pub(crate) struct Report {
    began: Instant,
    inner: Arc<Mutex<Inner>>,
}

impl Default for Report {
    fn default() -> Self {
        Self { began: Instant::now(), inner: Arc::default() }
    }
}

#[derive(Default)]
struct Inner {
    problems: Vec<String>,
    batches: u64,
    bytes: u64,
    keys: u64,
    failures: u64,
    first: Option<(Revision, Duration)>,
    last_error: Option<String>,
    lost: bool,
    neighbours: Option<String>,
}

impl Report {
    /// What is not programmed, and why.
    pub(crate) fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        inner.last_error.iter().chain(&inner.neighbours).chain(&inner.problems).cloned().collect()
    }

    /// Somebody removed the table or its rules: the next apply makes all of it anew.
    pub(crate) fn lose(&self) {
        self.lock().lost = true;
    }

    /// What somebody else on this host does to the packets of pods.
    pub(crate) fn set_neighbours(&self, problem: Option<String>) {
        self.lock().neighbours = problem;
    }

    /// Whether the kernel follows.
    pub(crate) fn healthy(&self) -> bool {
        self.lock().last_error.is_none()
    }

    /// Totals since the start.
    pub(crate) fn totals(&self) -> BTreeMap<&'static str, u64> {
        let inner = self.lock();
        BTreeMap::from([
            ("batches", inner.batches),
            ("bytes", inner.bytes),
            ("keysCompiled", inner.keys),
            ("failures", inner.failures),
        ])
    }

    /// The first revision that the kernel acknowledged, and how long after the start of this report.
    pub(crate) fn first(&self) -> Option<(Revision, Duration)> {
        self.lock().first
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poison| poison.into_inner())
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
    pub(crate) node_ports: watch::Receiver<Vec<IpAddr>>,
}

struct NftSink {
    config: Config,
    node_ports: watch::Receiver<Vec<IpAddr>>,
    programmer: Programmer,
    plane: Box<dyn Dataplane>,
    /// Whether the programmer knows what the kernel holds.
    known: bool,
    faults: Faults,
    report: Report,
}

impl NftSink {
    /// Other addresses for node ports: everything is compiled again, and what differs is written.
    fn follow_addresses(&mut self) {
        let addresses = self.node_ports.borrow_and_update().clone();
        if addresses != self.config.node_port_addresses {
            self.config.node_port_addresses = addresses;
            self.programmer = Programmer::new(self.config.clone());
            self.known = false;
        }
    }

    fn program(&mut self, snapshot: &Snapshot, changes: &Changes) -> dataplane::Result<()> {
        self.follow_addresses();
        let mut empty = false;
        let lost = std::mem::take(&mut self.report.lock().lost);
        if lost {
            self.plane.install().inspect_err(|_| self.report.lose())?;
            self.programmer.adopt(State::new());
            (self.known, empty) = (true, true);
        }
        if !self.known {
            let state = match self.plane.observe()? {
                Some(state) => state,
                None => {
                    self.plane.install()?;
                    empty = true;
                    State::new()
                }
            };
            self.programmer.adopt(state);
            self.known = true;
        }
        let loaded = if empty { first::load(&mut self.programmer, &mut *self.plane, snapshot)? } else { None };
        let done = match loaded {
            Some(done) => done,
            None => self.plan_and_apply(snapshot, changes)?,
        };
        let began = self.report.began;
        let mut report = self.report.lock();
        report.batches += done.batches as u64;
        report.bytes += done.bytes as u64;
        report.keys += done.keys_compiled as u64;
        report.first.get_or_insert_with(|| (snapshot.revision, began.elapsed()));
        report.last_error = None;
        if done.keys_compiled > 0 {
            report.problems =
                self.programmer.problems().map(|problem| format!("{}: {}", problem.service, problem.why)).collect();
        }
        Ok(())
    }

    fn plan_and_apply(&mut self, snapshot: &Snapshot, changes: &Changes) -> dataplane::Result<first::Done> {
        let plan = self.programmer.plan(snapshot, changes, self.plane.batch_bytes_max(), &encoded_len);
        for batch in &plan.batches {
            self.plane.apply(batch)?;
        }
        Ok(first::Done { batches: plan.batches.len(), bytes: plan.bytes, keys_compiled: plan.keys_compiled })
    }
}

impl Sink for NftSink {
    fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
        let delay = self.faults.apply_delay();
        if !delay.is_zero() && !changes.is_empty() {
            std::thread::sleep(delay);
        }
        let result = match self.faults.fail_applies() {
            true => Err("failing on request (--faults)".to_owned()),
            false => self.program(snapshot, changes).map_err(|error| error.to_string()),
        };
        result.map_err(|why| {
            self.known = false;
            let mut report = self.report.lock();
            report.failures += 1;
            report.last_error = Some(format!("the dataplane failed: {why}"));
            SinkError(why)
        })
    }
}

/// Starts the sink's thread. It ends when the feed does.
pub(crate) fn start(
    kind: Kind,
    sandbox: Arc<Sandbox>,
    config: Config,
    subscription: Subscription,
    confirm: SinkHandle,
    shared: Shared,
) -> Result<JoinHandle<()>> {
    let Shared { report, faults, node_ports } = shared;
    let (opened, wait) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("dataplane".into()).spawn(move || {
        let plane = sandbox.enter().context("cannot enter the node's network").and_then(|()| open(kind));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match (plane, runtime) {
            (Ok(plane), Ok(runtime)) => {
                let _ = opened.send(Ok(()));
                let programmer = Programmer::new(config.clone());
                let sink = NftSink { config, node_ports, programmer, plane, known: false, faults, report };
                runtime.block_on(drive(subscription, sink, confirm, Backoff::default()));
            }
            (Err(error), _) => drop(opened.send(Err(error))),
            (_, Err(error)) => drop(opened.send(Err(error.into()))),
        }
    })?;
    wait.recv().context("the dataplane's thread ended at once")??;
    Ok(thread)
}

fn open(kind: Kind) -> Result<Box<dyn Dataplane>> {
    Ok(match kind {
        Kind::Nft => {
            let mut nft = Nft::open().context("cannot open nftables")?;
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
