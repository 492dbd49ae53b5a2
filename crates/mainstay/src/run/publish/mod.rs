//! Services in, their ports on 127.0.0.1 of the host out: a relay on a thread of its own.
//!
//! Clients connect to a socket of the host; the relay connects on from the node's network, so that the kernel's rules
//! there choose the endpoint as for any client. Endpoints therefore see the node's address, not the client's. The relay
//! ends with the server; the next start opens the same numbers.

mod bind;
mod counts;
mod dial;
mod flag;
mod lease;
mod limits;
mod numbers;
mod open;
mod pump;
mod reconcile;
mod report;
mod tcp;
mod udp;
mod wanted;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::object::ObjectKey;
use api::status::Status;
use compile::load_balancer::Pools;
use controller::{Events, Subscription};
use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use lease::Ask;

pub(crate) use flag::Choice;
pub(crate) use report::Report;

/// What is published, and where.
pub(crate) struct Config {
    /// Addresses of this host to listen on; empty: nothing is published.
    pub(crate) addresses: Vec<IpAddr>,
    /// Addresses of the node at which node ports answer, as they are now.
    pub(crate) node_ports: watch::Receiver<Vec<IpAddr>>,
    /// Load-balancer addresses whose ports are published as well.
    pub(crate) pools: Pools,
    /// Whether a port may get another number when its own is taken.
    pub(crate) renumber: bool,
    /// Where numbers are kept for the next start.
    pub(crate) file: PathBuf,
}

/// The running relay, as the API sees it.
#[derive(Clone)]
pub(crate) struct Publish {
    on: bool,
    report: Report,
    asks: mpsc::Sender<Ask>,
}

/// Starts the relay. `node` is the runtime of the thread in the node's network; the caller's thread must be in the network
/// of the host.
pub(crate) fn start(config: Config, node: Handle, snapshots: Subscription, events: Events) -> Result<Publish> {
    let (asks, asked) = mpsc::channel(limits::LEASES);
    let report = Report::default();
    let publish = Publish { on: !config.addresses.is_empty(), report: report.clone(), asks };
    if !publish.on {
        return Ok(publish);
    }
    let room = descriptors();
    let shared = tcp::Shared {
        dialer: dial::Dialer::new(node),
        counts: report.counts.clone(),
        connections: Arc::new(Semaphore::new((room / 2).clamp(1, limits::CONNECTIONS))),
        udp_clients: Arc::new(Semaphore::new((room / 4).clamp(1, limits::UDP_CLIENTS))),
    };
    let Config { addresses, node_ports, pools, renumber, file } = config;
    let scope = wanted::Scope { node_addresses: Vec::new(), pools };
    let numbers = numbers::Numbers::load(&file);
    let state = reconcile::State::default();
    let relay = reconcile::Relay { addresses, renumber, scope, numbers, report, shared, events, state };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(relay.run(snapshots, node_ports, asked));
    std::thread::Builder::new().name("publish".into()).spawn(run).context("cannot start the thread of the relay")?;
    Ok(publish)
}

/// Raises the limit of descriptors as far as allowed; how many the relay may use.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let current = if raised.is_ok() { limit.maximum } else { limit.current };
    let all = current.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    // A connection needs two descriptors, a UDP client one.
    all.saturating_sub(limits::DESCRIPTORS_SPARED) / 2
}

impl Publish {
    /// Ports that should be open and are not.
    pub(crate) fn problems(&self) -> Vec<String> {
        let ended = self.ended().then(|| {
            "the relay of published ports has ended: what is published stays as it was. Start the server again: mainstay up"
                .to_owned()
        });
        ended.into_iter().chain(self.report.problems()).collect()
    }

    /// Whether the relay's thread is gone while the server goes on.
    fn ended(&self) -> bool {
        self.on && self.asks.is_closed()
    }

    /// For `mainstay status`.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "on": self.on, "ports": self.report.ports(), "relay": self.report.counts() })
    }

    /// Answers a request under `/mainstay/`; none if it is not about published ports.
    pub(crate) fn work(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<BoxFuture<'static, Result<Value, Status>>> {
        if path != "/mainstay/published" {
            return None;
        }
        let close = match method {
            "GET" => return Some(futures::future::ready(Ok(self.to_json())).boxed()),
            "POST" => false,
            "DELETE" => true,
            _ => return None,
        };
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        let (reply, answer) = oneshot::channel();
        let ask = Ask { key, port: text("port"), close, reply };
        let asks = self.asks.clone();
        let why = match self.on {
            true => "nothing more is published: the relay of published ports has ended",
            false => "nothing is published: the server runs with --publish=off",
        };
        let off = move || Status::new(503, "ServiceUnavailable", why);
        Some(
            async move {
                asks.send(ask).await.map_err(|_| off())?;
                answer.await.map_err(|_| off())?
            }
            .boxed(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_has_ended_is_a_problem() {
        let (asks, asked) = mpsc::channel(1);
        let publish = Publish { on: true, report: Report::default(), asks };
        assert!(publish.problems().is_empty());
        drop(asked);
        let problems = publish.problems();
        assert!(problems.len() == 1 && problems[0].contains("has ended"), "{problems:?}");
        let off = Publish { on: false, ..publish };
        assert!(off.problems().is_empty(), "nothing is published: nothing has ended");
    }
}
